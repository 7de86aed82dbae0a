"""Running stored searches in the background, so that a crash or a provider's bad day leaves none without an end."""

from __future__ import annotations

from collections.abc import Sequence
from time import perf_counter
from typing import TYPE_CHECKING

import reflow as rf
from reflow.errors import GenerationMismatch, ProviderError, ReflowError, RetryAfter
from reflow.rag.faults import in_words
from reflow.rag.search.asking import ask, judge
from reflow.rag.search.finding import Finding
from reflow.rag.search.following import Following
from reflow.rag.search.queries import Asked, Options, Question, Spent
from reflow.rag.tables import Reranked, Search

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

RETRY = rf.Retry(attempts=20, first=0.5, factor=2.0, longest=8.0)
"""Somebody is waiting. The search's own count of tries ends it; this one is larger, so that it does not end first when
the server is stopped again and again."""


class Try(rf.Object):
    """What a try of a run works with. `question` is there where only reranking is left to do."""

    input: str
    options: Options
    question: Question | None
    within: dict[str, str]
    """Whose chunks are searched."""
    attempts: int


class SearchRuns:
    """The background work of a corpus's searches."""

    def __init__(self, part: Finding, corpus: Corpus) -> None:
        self._part = part
        self._corpus = corpus
        self._limits = corpus.limits
        self.following = Following(part, corpus)
        self.run = part.background_action("run", self._run, retry=RETRY)
        self.begin_try = part.background_mutation("beginTry", self._begin_try)
        self.keep = part.background_mutation("keep", self._keep)
        self.keep_order = part.background_mutation("keepOrder", self._keep_order)
        self.give_up = part.background_mutation("giveUp", self._give_up)

    async def start(self, ctx: rf.MutationCtx, row: Search, *, anew: bool) -> None:
        """Runs a search, in place of a run that may be under way. With `anew` its question is embedded once more.

        Until then it shows what it showed before.
        """
        run = row.run + 1
        made = row.question_run if anew or row.question is None else run
        await ctx.db.patch(row.id, state="pending", run=run, question_run=made, attempts=0, error=rf.UNSET)
        await ctx.scheduler.run_after(0, self.run, row.id, run)

    async def insert(self, ctx: rf.MutationCtx, row: Search) -> str:
        """Stores a search and begins its first run, unless there is nothing left to do."""
        done = row.question is not None
        row.question_run = row.run if done else 0
        row.state = "ready" if done and not row.options.rerank else "pending"
        id = await ctx.db.insert(row)
        if row.question is not None:
            await self.remember(ctx, id, row.question)
        if row.state == "pending":
            await ctx.scheduler.run_after(0, self.run, id, row.run)
        return id

    async def _run(self, ctx: rf.ActionCtx, search: str, run: int) -> None:
        """One try of a run; what fails and may work later is tried again."""
        row = await ctx.run_mutation(self.begin_try, search, run)
        if row is None:
            return
        spent: list[Spent] = []
        try:
            await self._work(ctx, search, run, row, spent)
        except Exception as error:
            again = row.attempts < self._limits.search_attempts and self._may_work_soon(error)
            await ctx.run_mutation(self.give_up, search, run, in_words(error), again, spent)
            if again:
                raise
            ctx.log(f"search {search} has failed: {error!r}", level="ERROR")

    async def _work(self, ctx: rf.ActionCtx, search: str, run: int, row: Try, spent: list[Spent]) -> None:
        question = row.question
        if question is None:
            asked = await ask(self._corpus, ctx, row.input, row.options, spent)
            question = asked.question
            started = perf_counter()
            await ctx.run_query(self._part.seek, question, row.options, None, row.within)
            await ctx.run_mutation(self.keep, search, run, asked, (perf_counter() - started) * 1000)
            spent.clear()
        if not row.options.rerank:
            return
        reranker = self._corpus.search.reranker
        if reranker is None:
            raise ReflowError("this corpus has no reranker any more: add Corpus(search=SearchSettings(reranker=...))")
        candidates = await ctx.run_query(self._part.candidates, question, row.options, row.within)
        scores = await judge(ctx, reranker, question.text, candidates, spent)
        await ctx.run_mutation(self.keep_order, search, run, scores, spent)

    async def _found(self, ctx: rf.MutationCtx, search: str, run: int, spent: Sequence[Spent] = ()) -> Search | None:
        """The search, unless it was deleted or another run has begun. What this one took is recorded all the same."""
        row: Search | None = await ctx.db.get(rf.Id(search))
        if row is None:
            return None
        await self._corpus.ledger.record(ctx, *(one.entry(row) for one in spent))
        return row if row.run == run else None

    async def _begin_try(self, ctx: rf.MutationCtx, search: str, run: int) -> Try | None:
        row = await self._found(ctx, search, run)
        if row is None or row.state != "pending":
            return None
        attempts = row.attempts + 1
        if attempts > self._limits.search_attempts:
            why = row.error or "the server was stopped each time"
            await self._fail(ctx, row, f"given up after {row.attempts} tries: {why}")
            return None
        refusal = await self._corpus.ledger.refusal(ctx, "search", row=row)
        if refusal is not None:
            await self._fail(ctx, row, refusal.reason)
            return None
        await ctx.db.patch(row.id, attempts=attempts)
        question = row.question if row.question_run == run else None
        within = self._corpus.owned(row)
        return Try(input=row.input, options=row.options, question=question, within=within, attempts=attempts)

    async def _fail(self, ctx: rf.MutationCtx, row: Search, error: str) -> None:
        """Ends a run. One that only lacks its order shows what it has found."""
        if row.question_run == row.run:
            await ctx.db.patch(row.id, state="ready", error=f"not reranked: {error}", reranked=rf.UNSET)
        else:
            await ctx.db.patch(row.id, state="failed", error=error)

    async def _give_up(
        self, ctx: rf.MutationCtx, search: str, run: int, error: str, again: bool, spent: list[Spent]
    ) -> None:
        row = await self._found(ctx, search, run, spent)
        if row is None:
            return
        if again:
            await ctx.db.patch(row.id, error=error)
        else:
            await self._fail(ctx, row, error)

    async def _keep(self, ctx: rf.MutationCtx, search: str, run: int, asked: Asked, search_ms: float) -> None:
        """Stores the question's vector, and what it took."""
        row = await self._found(ctx, search, run, asked.spent)
        if row is None:
            return
        embedded, rewritten = asked.spent_on("search"), asked.spent_on("rewrite")
        await ctx.db.patch(
            row.id,
            state="pending" if row.options.rerank else "ready",
            error=rf.UNSET,
            question=asked.question,
            question_run=run,
            asked=asked.text if asked.text != row.input else rf.UNSET,
            asked_as=asked.kind,
            tokens=rf.UNSET if embedded is None else embedded.tokens_in,
            embedding_ms=rf.UNSET if embedded is None else embedded.ms,
            transform_ms=rf.UNSET if rewritten is None else rewritten.ms,
            search_ms=search_ms,
        )
        await self.remember(ctx, row.id, asked.question)

    async def remember(self, ctx: rf.MutationCtx, id: rf.Id[Search], question: Question) -> None:
        """Lets a search be found by its meaning, too."""
        if not question.embeddings:
            return
        try:
            await ctx.db.set_vector(self._corpus.tables.Search.meaning, id, question.embeddings)
        except GenerationMismatch:
            # The chunks have changed over to another model: the searches come after, this one among them.
            await ctx.scheduler.run_after(0, self.following.follow)

    async def _keep_order(
        self, ctx: rf.MutationCtx, search: str, run: int, scores: list[Reranked], spent: list[Spent]
    ) -> None:
        """Stores what the reranker said."""
        row = await self._found(ctx, search, run, spent)
        if row is not None:
            ms = sum(one.ms for one in spent)
            await ctx.db.patch(row.id, state="ready", error=rf.UNSET, reranked=scores, rerank_ms=ms)

    def _may_work_soon(self, error: Exception) -> bool:
        """Whether to try again what has failed while somebody waits. reflow's own errors say so, others are taken for
        a bad moment."""
        if isinstance(error, RetryAfter) and error.seconds > self._limits.search_patience_seconds:
            return False
        if isinstance(error, ProviderError):
            return error.retryable
        return isinstance(error, RetryAfter) or not isinstance(error, ReflowError)
