"""A part of a corpus: some of its functions, in a module of their own."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.tables import OWNER

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T", bound=rf.Table)


class Part:
    """Registers functions under "corpus/part:name".

    What `query`, `mutation` and `action` register is for clients where the corpus is public, and runs for its caller.
    The others are for background work: clients never see them, and they work with the rows of all owners.
    """

    def __init__(self, corpus: Corpus, name: str) -> None:
        self.corpus = corpus
        self.module = rf.Module(f"{corpus.name}/{name}", rename="camel")

    def own(self, ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx) -> dict[str, Any]:
        """The caller as the first field of an index, in a corpus with an owner: their rows only. Nobody has any."""
        owner = self.corpus.owner
        return {} if owner is None else {OWNER: owner.of(ctx.auth.identity()) or ""}

    async def found(self, ctx: rf.QueryCtx | rf.MutationCtx, table: type[T], id: str, what: str) -> T:
        """The row of a table that a caller names. Raises ApplicationError where there is none for them."""
        known = ctx.db.normalize_id(table, id)
        row: T | None = None if known is None else await ctx.db.get(known)
        if row is None:
            raise ApplicationError(
                f"{id[:80]!r} is no {what} of {self.corpus.name!r}: it was deleted, or the id is of something else"
            )
        return row

    def query(self, name: str, handler: Callable[Concatenate[rf.QueryCtx, P], Awaitable[R]]) -> rf.QueryFunction[P, R]:
        """A query of the corpus's face."""
        register = self.module.query if self.corpus.public else self.module.internal_query
        return register(name=name)(handler)

    def mutation(
        self, name: str, handler: Callable[Concatenate[rf.MutationCtx, P], Awaitable[R]]
    ) -> rf.MutationFunction[P, R]:
        """A mutation of the corpus's face."""
        register = self.module.mutation if self.corpus.public else self.module.internal_mutation
        return register(name=name)(handler)

    def action(
        self, name: str, handler: Callable[Concatenate[rf.ActionCtx, P], Awaitable[R]]
    ) -> rf.ActionFunction[P, R]:
        """An action of the corpus's face."""
        register = self.module.action if self.corpus.public else self.module.internal_action
        return register(name=name)(handler)

    def background_query(
        self, name: str, handler: Callable[Concatenate[rf.QueryCtx, P], Awaitable[R]]
    ) -> rf.QueryFunction[P, R]:
        """A query that background work asks, over the rows of all owners."""
        return self.module.internal_query(name=name, owners="all")(handler)

    def background_mutation(
        self, name: str, handler: Callable[Concatenate[rf.MutationCtx, P], Awaitable[R]]
    ) -> rf.MutationFunction[P, R]:
        """A mutation of background work, over the rows of all owners: what it inserts must name one."""
        return self.module.internal_mutation(name=name, owners="all")(handler)

    def background_action(
        self,
        name: str,
        handler: Callable[Concatenate[rf.ActionCtx, P], Awaitable[R]],
        *,
        retry: rf.Retry | None = None,
    ) -> rf.ActionFunction[P, R]:
        """Background work: scheduled, never called by clients."""
        return self.module.internal_action(name=name, owners="all", retry=retry)(handler)
