"""`Finding`: searching once, from the application's own functions; what stored searches are built on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import msgspec

import reflow as rf
from reflow.errors import DefinitionError, InvalidFilter
from reflow.rag.part import Part
from reflow.rag.search import asking
from reflow.rag.search.queries import Asked, Options, Question, Spent, check_input, check_options
from reflow.rag.search.results import Candidate, Found
from reflow.rag.search.retrieval import Retrieval
from reflow.rag.search.search_rows import FoundOnce, fields_of
from reflow.rag.tables import OWNER, Reranked

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class Finding(Part):
    """Searching once: with a question's vectors in a transaction, or from its text in an action."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "searches")
        self.once = self.action("find", self._find)
        self.checked = self.module.internal_query(name="checked")(self._checked)
        self.note = self.module.internal_mutation(name="note")(self._note)
        self.candidates = self.background_query("candidates", self._candidates)
        self.seek = self.background_query("seek", self._seek)

    # Whose, and what can be asked

    def _own(self, ctx: rf.QueryCtx | rf.MutationCtx) -> dict[str, str]:
        """The caller as a condition: their rows only. Nobody has any."""
        owner = self.corpus.owner
        return {} if owner is None else {OWNER: owner.of(ctx.auth.identity()) or ""}

    def _caller(self, ctx: rf.ActionCtx) -> dict[str, str]:
        """The same, of a caller who has to be somebody: what goes on in the background would find nobody's rows."""
        owner = self.corpus.owner
        whose = f"a search of corpus {self.corpus.name!r}"
        return {} if owner is None else {OWNER: owner.required(ctx.auth.identity(), whose)}

    def _check_options(self, ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx, options: Options) -> None:
        """Raises ApplicationError for options that can't be, whatever there is to be found."""
        transforms = () if options.transform is None else tuple(asking.transforms_of(self.corpus, ctx))
        check_options(options, self.corpus.limits, transforms, self.corpus.search.reranker is not None)

    async def _checked(self, ctx: rf.QueryCtx | rf.MutationCtx, options: Options) -> Options:
        """Options that can be searched with. Raises ApplicationError that says what can't be."""
        self._check_options(ctx, options)
        sources = None if options.sources is None else sorted(set(options.sources))
        for id in sources or ():
            await self.found(ctx, self.corpus.tables.Source, id, "source")
        try:
            await ctx.db.search(self.corpus.tables.Chunk.words, "a", limit=1, filter=options.conditions)
        except (InvalidFilter, DefinitionError) as error:
            known = ", ".join(self._filters)
            raise rf.ApplicationError(f"This filter can't be used: {error}. It can use {known}") from None
        return msgspec.structs.replace(options, sources=sources)

    @property
    def _filters(self) -> tuple[str, ...]:
        return tuple(name for name in self.corpus.tables.Chunk.words.filters if name != OWNER)

    # For the application's own functions

    async def ask(self, ctx: rf.ActionCtx, text: str, options: Options | None = None) -> Asked:
        """A question with its vectors, for `look`. Raises ProviderError, and GenerationMismatch where the corpus's
        embedder is not the one that the chunks were embedded with."""
        return await asking.ask(self.corpus, ctx, text, options or Options(), [])

    async def look(
        self,
        ctx: rf.QueryCtx | rf.MutationCtx,
        question: Question,
        options: Options | None = None,
        *,
        reranked: Sequence[Reranked] | None = None,
        within: Mapping[str, str] | None = None,
    ) -> Found:
        """What a question finds, of this transaction's moment; live in a query.

        In a corpus with owners that are the caller's chunks. Background work, which has no caller, names the owner:
        `within=corpus.owned(row)`.
        """
        return await self._asked(ctx, question, options, within).found(reranked)

    def _asked(
        self,
        ctx: rf.QueryCtx | rf.MutationCtx,
        question: Question,
        options: Options | None,
        within: Mapping[str, str] | None,
    ) -> Retrieval:
        conditions = self._own(ctx) if within is None else within
        if self.corpus.owner is not None and OWNER not in conditions:
            raise DefinitionError(
                f"corpus {self.corpus.name!r} has owners: a search in the background names one, as in "
                "within=corpus.owned(row)"
            )
        return Retrieval(
            ctx.db, self.corpus.tables, question, options or Options(), limits=self.corpus.limits, within=conditions
        )

    async def find(
        self,
        ctx: rf.ActionCtx,
        text: str,
        options: Options | None = None,
        *,
        within: Mapping[str, str] | None = None,
    ) -> FoundOnce:
        """Searches once; nothing is stored but what it took, in the ledger.

        With `within` (see `look`) it is for the caller of this to record `spent`, for whom they know. Raises
        ApplicationError for what can't be searched for, ProviderError, and what `ask` raises.
        """
        text = check_input(text, self.corpus.limits)
        options = options or Options()
        conditions = self._caller(ctx) if within is None else dict(within)
        self._check_options(ctx, options)
        if within is None:
            options = await ctx.run_query(self.checked, options)
            refusal = await self.corpus.ledger.refusal(ctx, "search")
            if refusal is not None:
                raise rf.ApplicationError(refusal.reason)
        spent: list[Spent] = []
        try:
            return await self._find_now(ctx, text, options, conditions, spent)
        finally:
            if within is None and spent:
                await ctx.run_mutation(self.note, spent)

    async def _find_now(
        self, ctx: rf.ActionCtx, text: str, options: Options, within: dict[str, str], spent: list[Spent]
    ) -> FoundOnce:
        asked = await asking.ask(self.corpus, ctx, text, options, spent)
        reranker, reranked = self.corpus.search.reranker, None
        if options.rerank and reranker is not None:
            candidates = await ctx.run_query(self.candidates, asked.question, options, within)
            reranked = await asking.judge(ctx, reranker, text, candidates, spent)
        started = perf_counter()
        found = await ctx.run_query(self.seek, asked.question, options, reranked, within)
        search_ms = (perf_counter() - started) * 1000
        return FoundOnce(**fields_of(found), asked=asked.text, spent=list(spent), search_ms=search_ms)

    async def _find(self, ctx: rf.ActionCtx, input: str, options: Options | None = None) -> FoundOnce:
        """Searches once; nothing is stored."""
        return await self.find(ctx, input, options)

    async def _seek(
        self,
        ctx: rf.QueryCtx,
        question: Question,
        options: Options,
        reranked: list[Reranked] | None,
        within: dict[str, str],
    ) -> Found:
        return await self.look(ctx, question, options, reranked=reranked, within=within)

    async def _candidates(
        self, ctx: rf.QueryCtx, question: Question, options: Options, within: dict[str, str]
    ) -> list[Candidate]:
        return await self._asked(ctx, question, options, within).candidates()

    async def _note(self, ctx: rf.MutationCtx, spent: list[Spent]) -> None:
        """Records what a search took that is not stored."""
        await self.corpus.ledger.record(ctx, *(one.entry() for one in spent))
