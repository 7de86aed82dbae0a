"""`Status`: what a corpus works with, what it still needs, and who watches it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec

import reflow as rf
from reflow.errors import ReflowError
from reflow.rag.embedders.base import batching
from reflow.rag.part import Part
from reflow.rag.search.asking import transforms_of
from reflow.rag.tables import OWNER

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

CheckState = Literal["ok", "warning", "missing", "off"]
"""It works; it works, but there is something to know; it can't work; it is not there and not needed."""


class Variable(rf.Object, rename="camel"):
    """A variable that something needs. What it holds is not told."""

    name: str
    is_set: bool


class Check(rf.Object):
    """Something that a corpus works with: what it is or lacks, and the command that mends it."""

    name: Literal["embedder", "model", "chat", "reranker", "transforms", "budget", "prices"]
    state: CheckState
    text: str
    variables: list[Variable] = msgspec.field(default_factory=list[Variable])
    command: str | None = rf.missing()


class Gate(rf.Object):
    """Everything that a corpus works with. `ready`: nothing is missing."""

    ready: bool
    currency: str
    checks: list[Check]


class Status(Part):
    """What a corpus works with, what it still needs, and who watches it."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "status")
        self.check = self.query("check", self._check)
        # How busy all owners are together is not for each of them to see.
        register = self.query if corpus.owner is None else self.background_query
        self.live = register("live", self._live)

    async def _check(self, ctx: rf.QueryCtx) -> Gate:
        """What is configured and what is missing, live: a variable that is set clears what it was missing for."""
        checks = [
            self._embedder(ctx),
            *await self._model(ctx),
            self._chat(ctx),
            self._reranker(ctx),
            *self._transforms(ctx),
            *await self._spending(ctx),
        ]
        ready = all(check.state != "missing" for check in checks)
        return Gate(ready=ready, currency=self.corpus.spending.currency, checks=checks)

    async def _live(self, ctx: rf.QueryCtx) -> rf.Watched:
        """Which live queries there are, and over how many connections: of the whole application, anew each second."""
        return ctx.watched(every=1.0)

    # Models

    def _embedder(self, ctx: rf.QueryCtx) -> Check:
        embedder = self.corpus.embedder
        needs = _variables(ctx, batching(embedder).needs)
        lacks: str | None = getattr(embedder, "lacks", None)
        if lacks is not None:
            return Check(name="embedder", state="missing", text=lacks)
        return _by_variables("embedder", f"{embedder.id}, {embedder.dims} dimensions", needs)

    async def _model(self, ctx: rf.QueryCtx) -> list[Check]:
        """Whether the vectors that are searched are of the embedder that there is."""
        generations = await ctx.generations.list(self.corpus.tables.Chunk.meaning)
        active = next((one.model for one in generations if one.state == "active"), None)
        if active is None or active.embedder == self.corpus.embedder.id:
            return []
        known = any(active.embedder == one.id for one in self.corpus.embedders)
        text = f"the chunks have vectors of {active}, and the corpus embeds with {self.corpus.embedder.id}"
        return [
            Check(
                name="model",
                state="warning" if known else "missing",
                text=f"{text}: change over to it" if known else f"{text}: add the former embedder with others=[...]",
                command="reflow reembed" if known else None,
            )
        ]

    def _chat(self, ctx: rf.QueryCtx) -> Check:
        try:
            chat = self.corpus.chat_for(ctx)
        except ReflowError as error:
            return Check(name="chat", state="missing", text=str(error))
        if chat is None:
            text = "no chat model: answers are put together from sentences of the sources"
            how = "give the corpus a chat=" if self.corpus.chat is None else "set the variable that names one"
            return Check(name="chat", state="off", text=f"{text}. To have them worded, {how}")
        # One that was given its key needs nothing any more: the one in the code tells what it took.
        source = chat if callable(self.corpus.chat) else self.corpus.chat
        needs: Sequence[str] = getattr(source, "needs", ())
        return _by_variables("chat", chat.id, _variables(ctx, needs))

    def _reranker(self, ctx: rf.QueryCtx) -> Check:
        reranker = self.corpus.search.reranker
        if reranker is None:
            return Check(name="reranker", state="off", text="no reranker: results are in the order of their scores")
        return _by_variables("reranker", reranker.id, _variables(ctx, reranker.needs))

    def _transforms(self, ctx: rf.QueryCtx) -> list[Check]:
        try:
            names = ", ".join(sorted(transforms_of(self.corpus, ctx)))
        except ReflowError:
            return []  # what is wrong with the chat model is told already
        return [Check(name="transforms", state="ok", text=names)] if names else []

    # Money

    async def _spending(self, ctx: rf.QueryCtx) -> list[Check]:
        """Budgets that stop work, and models whose work no budget of money counts."""
        ledger, owner = self.corpus.ledger, self.own(ctx).get(OWNER, "")
        states = await ctx.run_query(ledger.states, owner)
        found = [Check(name="budget", state="warning", text=ledger.reason(one)) for one in states if one.exhausted]
        if any(state.money is not None for state in states):
            totals = await ctx.run_query(ledger.totals_of, "", "total")
            models = sorted({total.model for total in totals if total.unpriced and self._has_no_price(total.model)})
            if models:
                text = f"no price is known of {', '.join(models)}: budgets of money don't count what it costs"
                found.append(Check(name="prices", state="warning", text=f"{text}. Add it to Spending(prices=...)"))
        return found

    def _has_no_price(self, model: str) -> bool:
        return self.corpus.spending.price(model) is None


def _variables(ctx: rf.QueryCtx, names: Sequence[str]) -> list[Variable]:
    return [Variable(name=name, is_set=bool(ctx.env.get(name))) for name in names]


def _by_variables(name: Literal["embedder", "chat", "reranker"], text: str, variables: list[Variable]) -> Check:
    """Something that works once its variables are set."""
    unset = [variable.name for variable in variables if not variable.is_set]
    fields: dict[str, Any] = {"name": name, "variables": variables}
    if not unset:
        return Check(state="ok", text=text, **fields)
    needs = f"{text}: {' and '.join(unset)} {'is' if len(unset) == 1 else 'are'} not set"
    return Check(state="missing", text=needs, command=f"reflow env set {unset[0]}", **fields)
