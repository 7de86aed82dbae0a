"""`Evaluation`: a golden set of questions, and how well searches find what is expected.

The measures are live queries: they are of the chunks, the model and the weights as they are now. `measure` searches
once for all questions, with a reranker too, and can keep the result to compare with.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.measures.golden import GoldenSet
from reflow.rag.measures.metrics import Average, Cut, Expected, Score, average, checked_cutoffs, score
from reflow.rag.part import Part
from reflow.rag.search.asking import transforms_of
from reflow.rag.search.queries import Options, Question, check_options
from reflow.rag.search.results import Found
from reflow.rag.search.retrieval import Retrieval
from reflow.rag.tables import Golden, Measured

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

_TOP = 3


class Report(Average):
    """The means over the questions that could be searched for. `pending` are being embedded, `failed` could not be."""

    pending: int
    failed: int


class TopRow(rf.Object, rename="camel"):
    """One of the first rows that a question found."""

    chunk: str
    source: str
    source_key: str
    source_name: str
    score: float


class RankRow(rf.Object, rename="camel"):
    """A question and what it found. Without `measures` it could not be searched for: it is being embedded, or `error`
    says why not."""

    _id: str
    question: str
    expected: list[Expected]
    measures: Score | None
    top: list[TopRow]
    error: str | None


class MeasuredRow(rf.Object, rename="camel"):
    """What the golden set was worth at one time (`created`, milliseconds since 1970)."""

    _id: str
    created: float
    name: str
    options: Options
    questions: int
    mrr: float
    at: list[Cut]
    model: str
    sources: int
    search_ms: float


class Evaluation(Part):
    """A golden set of questions, and how well searches find what is expected."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "evaluation")
        self.golden = GoldenSet(self, corpus)
        self.metrics = self.query("metrics", self._metrics)
        self.ranks = self.query("ranks", self._ranks)
        self.measure = self.action("measure", self._measure)
        self.measured = self.query("measured", self._measured)
        self.forget = self.mutation("forget", self._forget)
        self.keep_measured = self.module.internal_mutation(name="keepMeasured")(self._keep_measured)

    # Live

    async def _metrics(
        self, ctx: rf.QueryCtx, options: Options | None = None, cutoffs: list[int] | None = None
    ) -> Report:
        """The measures of searches with these options over the whole golden set, live.

        Raises ApplicationError for a set that is too large to be searched for with every change: `ranks` gives it in
        pages, `measure` once.
        """
        chosen, cuts = self._checked(ctx, options, cutoffs)
        rows = await self.golden.rows(ctx)
        if len(rows) > self.corpus.limits.golden_live:
            raise ApplicationError(
                f"{len(rows)} questions are too many for one live query (limits.golden_live = "
                f"{self.corpus.limits.golden_live}): evaluation:ranks has them in pages, evaluation:measure searches "
                "for all of them once"
            )
        ranked = [await self._ranked(ctx, row, chosen, cuts) for row in rows]
        return _report([row.measures for row in ranked], [row.error for row in ranked], cuts)

    async def _ranks(
        self,
        ctx: rf.QueryCtx,
        pagination_opts: rf.PaginationOptions,
        options: Options | None = None,
        cutoffs: list[int] | None = None,
    ) -> rf.Page[RankRow]:
        """The same per question, live: each page is a query of its own. The means over the rows are the measures."""
        chosen, cuts = self._checked(ctx, options, cutoffs)
        most = min(pagination_opts.num_items, self.corpus.limits.golden_live)
        page = await self.golden.page(ctx, msgspec.structs.replace(pagination_opts, num_items=most))
        return page.with_items([await self._ranked(ctx, row, chosen, cuts) for row in page.page])

    def _checked(
        self, ctx: rf.QueryCtx, options: Options | None, cutoffs: list[int] | None
    ) -> tuple[Options, tuple[int, ...]]:
        """Options that live searches can have. Raises ApplicationError."""
        chosen, cuts = self._measurable(ctx, options, cutoffs)
        if chosen.rerank:
            raise ApplicationError(
                "A reranker is asked anew for each question, so it can't be evaluated live: evaluation:measure does it "
                "once; or leave rerank out"
            )
        return chosen, cuts

    def _measurable(
        self, ctx: rf.QueryCtx | rf.ActionCtx, options: Options | None, cutoffs: list[int] | None
    ) -> tuple[Options, tuple[int, ...]]:
        """Options and cutoffs, with as many results as the longest cutoff needs. Raises ApplicationError."""
        chosen = options or Options()
        limits = self.corpus.limits
        transforms = () if chosen.transform is None else transforms_of(self.corpus, ctx)
        check_options(chosen, limits, transforms, self.corpus.search.reranker is not None)
        cuts = checked_cutoffs(cutoffs, limits.search_results)
        return msgspec.structs.replace(chosen, limit=cuts[-1], before=0, after=0), cuts

    async def _ranked(self, ctx: rf.QueryCtx, row: Golden, options: Options, cuts: Sequence[int]) -> RankRow:
        question = await self.golden.question(ctx, row, options)
        if isinstance(question, Question):
            found = await self._retrieval(ctx, question, options).found()
            return _rank_row(row, found, cuts)
        return RankRow(_id=row.id, question=row.question, expected=row.expected, measures=None, top=[], error=question)

    def _retrieval(self, ctx: rf.QueryCtx, question: Question, options: Options) -> Retrieval:
        return Retrieval(ctx.db, self.corpus.tables, question, options, limits=self.corpus.limits, within={})

    # Once

    async def _measure(
        self,
        ctx: rf.ActionCtx,
        options: Options | None = None,
        cutoffs: list[int] | None = None,
        name: str | None = None,
    ) -> Report:
        """The measures, once; the questions are embedded (rewritten, reranked) anew. With a `name` they are kept.

        Raises ProviderError, and ApplicationError where there is no question or the budget is used up.
        """
        chosen, cuts = self._measurable(ctx, options, cutoffs)
        questions = await ctx.run_query(self.golden.export)
        if not questions:
            raise ApplicationError("The golden set is empty: add questions and what they should find first")
        turns = asyncio.Semaphore(self.corpus.limits.evaluation_requests)

        async def one(text: str, expected: list[Expected]) -> tuple[Score, float]:
            async with turns:
                found = await self.corpus.searches.find(ctx, text, chosen)
            return score(found.rows, expected, cuts), found.search_ms

        ended = await asyncio.gather(*(one(row.question, row.expected) for row in questions))
        report = _report([measures for measures, _ in ended], [], cuts)
        if name is not None:
            mean = Average(questions=report.questions, mrr=report.mrr, at=report.at)
            await ctx.run_mutation(self.keep_measured, name, chosen, mean, sum(ms for _, ms in ended) / len(ended))
        return report

    # Kept measures

    async def _keep_measured(
        self, ctx: rf.MutationCtx, name: str, options: Options, mean: Average, search_ms: float
    ) -> None:
        tables = self.corpus.tables
        generations = await ctx.generations.list(tables.Chunk.meaning)
        model = next((str(one.model) for one in generations if one.state == "active"), "")
        sources = await ctx.db.query(tables.Source).count()
        await ctx.db.insert(
            tables.Measured(name=name, options=options, average=mean, model=model, sources=sources, search_ms=search_ms)
        )

    async def _measured(self, ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions) -> rf.Page[MeasuredRow]:
        """What was measured and kept, newest first."""
        page = await ctx.db.query(self.corpus.tables.Measured).order("desc").paginate(pagination_opts)
        return page.with_items([_measured_row(row) for row in page.page])

    async def _forget(self, ctx: rf.MutationCtx, measured: str) -> None:
        """Removes measures that were kept. Those that are not there are left alone."""
        id = ctx.db.normalize_id(self.corpus.tables.Measured, measured)
        if id is not None and await ctx.db.get(id) is not None:
            await ctx.db.delete(id)


def _rank_row(row: Golden, found: Found, cuts: Sequence[int]) -> RankRow:
    return RankRow(
        _id=row.id,
        question=row.question,
        expected=row.expected,
        measures=score(found.rows, row.expected, cuts),
        top=[
            TopRow(
                chunk=one.id, source=one.source, source_key=one.source_key, source_name=one.source_name, score=one.score
            )
            for one in found.rows[:_TOP]
        ],
        error=None,
    )


def _measured_row(row: Measured) -> MeasuredRow:
    return MeasuredRow(
        _id=row.id,
        created=row.created,
        name=row.name,
        options=row.options,
        questions=row.average.questions,
        mrr=row.average.mrr,
        at=row.average.at,
        model=row.model,
        sources=row.sources,
        search_ms=row.search_ms,
    )


def _report(scores: Sequence[Score | None], errors: Sequence[str | None], cuts: Sequence[int]) -> Report:
    mean = average([one for one in scores if one is not None], cuts)
    failed = sum(error is not None for error in errors)
    pending = sum(one is None for one in scores) - failed
    return Report(questions=mean.questions, mrr=mean.mrr, at=mean.at, pending=pending, failed=failed)
