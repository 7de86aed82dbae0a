"""`Searches`: searches by words, by meaning and by both, stored as documents.

Whoever starts a search gets its id at once and subscribes to it; the question is embedded in the background. What it
shows is found anew, from the question's stored vector and words, whenever something changes: a search that is used
again is never out of date. Only a reranker's order is stored, and the results say when it is of other chunks.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

import reflow as rf
from reflow.errors import GenerationMismatch, ProviderError, SettingsError
from reflow.rag.search.asking import transforms_of
from reflow.rag.search.finding import Finding
from reflow.rag.search.near import near
from reflow.rag.search.queries import (
    Mode,
    Options,
    Question,
    check_input,
    check_limit,
    digest_of,
    question_digest_of,
)
from reflow.rag.search.retrieval import Retrieval
from reflow.rag.search.search_rows import (
    Choices,
    Explanation,
    Near,
    PastRow,
    Results,
    SearchRow,
    fields_of,
    is_outdated,
    model_of,
    shown,
)
from reflow.rag.search.search_runs import SearchRuns
from reflow.rag.tables import Search

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

_SPARE = 20
"""Stored searches with the same question as the one that similar ones are looked for, at most, that are passed over."""


class Searches(Finding):
    """Searches by words, by meaning and by both, stored as documents."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus)
        self.runs = SearchRuns(self, corpus)
        self.follow = self.runs.following.follow
        self.start = self.mutation("start", self._start)
        self.rerun = self.mutation("rerun", self._rerun)
        self.results = self.query("results", self._results)
        self.explain = self.query("explain", self._explain)
        self.get = self.query("get", self._get)
        self.history = self.query("history", self._history)
        self.past = self.query("past", self._past)
        self.similar = self.query("similar", self._similar)
        self.pin = self.mutation("pin", self._pin)
        self.delete = self.mutation("delete", self._delete)
        self.near = self.query("near", self._near)
        self.choices = self.query("choices", self._choices)

    # Whose

    async def _search(self, ctx: rf.QueryCtx | rf.MutationCtx, id: str) -> Search:
        """A search of the caller's. Raises ApplicationError."""
        return await self.found(ctx, self.corpus.tables.Search, id, "search")

    # Starting

    async def _start(self, ctx: rf.MutationCtx, input: str, options: Options | None = None) -> str:
        """The id of a search, at once: of the identical one where there is one, else of a new one that begins now."""
        text = check_input(input, self.corpus.limits)
        options = await self._checked(ctx, options or Options())
        table, own, now = self.corpus.tables.Search, self._own(ctx), ctx.now() * 1000
        digest = digest_of(text, options)
        found = await ctx.db.query(table).using(table.by_digest, **own, digest=digest).first()
        if found is None:
            return await self._insert(ctx, text, options, digest)
        await ctx.db.patch(found.id, used=now, asks=found.asks + 1)
        if found.state != "pending" and (found.error is not None or is_outdated(found, await self._active(ctx))):
            await self.runs.start(ctx, found, anew=found.state == "failed" or found.error is None)
        return found.id

    async def _insert(self, ctx: rf.MutationCtx, text: str, options: Options, digest: str) -> str:
        """A new search. An equal question that was embedded before is not embedded again."""
        table, own, now = self.corpus.tables.Search, self._own(ctx), ctx.now() * 1000
        embedded = question_digest_of(text, options)
        row = table(input=text, options=options, digest=digest, question_digest=embedded, state="pending", used=now)
        if not options.needs_vector:
            row.question = Question(text=text)
        else:
            query = ctx.db.query(table).using(table.by_question, **own, question_digest=embedded).order("desc")
            known = await query.first()
            if known is not None and known.question is not None and not is_outdated(known, await self._active(ctx)):
                row.question, row.asked, row.asked_as = known.question, known.asked, known.asked_as
        await self._make_room(ctx)
        return await self.runs.insert(ctx, row)

    async def _make_room(self, ctx: rf.MutationCtx) -> None:
        """Deletes the searches that were used longest ago, beyond the limit."""
        table, most = self.corpus.tables.Search, self.corpus.limits.searches_kept
        unpinned = ctx.db.query(table).using(table.by_pin, **self._own(ctx), pinned=False)
        excess = await unpinned.count() + 1 - most
        if excess > 0:
            await ctx.db.delete_many([row.id for row in await unpinned.take(excess)])

    async def _active(self, ctx: rf.QueryCtx | rf.MutationCtx) -> rf.Model | None:
        """The model of the chunks' vectors that searches use; None before the first."""
        generations = await ctx.generations.list(self.corpus.tables.Chunk.meaning)
        return next((one.model for one in generations if one.state == "active"), None)

    async def _rerun(self, ctx: rf.MutationCtx, search_id: str) -> None:
        """Rewrites, embeds and reranks anew. Until then the search shows what it showed before."""
        row = await self._search(ctx, search_id)
        await self.runs.start(ctx, row, anew=True)

    # Results

    async def _results(self, ctx: rf.QueryCtx, search_id: str, mode: Mode | None = None) -> Results | None:
        """What a search finds, as of now; None while its question is not embedded. Raises for an unknown search.

        `mode` shows it as if it had been asked so, but for the reranker, which has judged what was asked.
        """
        row = await self._search(ctx, search_id)
        options = row.options if mode is None else msgspec.structs.replace(row.options, mode=mode)
        if self._waits(row, options):
            return None
        judged = row.reranked if options.rerank and options.mode == row.options.mode else None
        found = await self._retrieval(ctx, row, options).found(judged)
        return Results(**fields_of(found), state=row.state, error=row.error)

    def _waits(self, row: Search, options: Options) -> bool:
        """Whether there is nothing to show yet. Once a try has failed there is what the words find."""
        if row.state != "pending" or row.error is not None:
            return False
        return (options.needs_vector and row.question is None) or (options.rerank and row.reranked is None)

    def _retrieval(self, ctx: rf.QueryCtx, row: Search, options: Options) -> Retrieval:
        question = row.question or Question(text=row.input)
        return Retrieval(
            ctx.db, self.corpus.tables, question, options, limits=self.corpus.limits, within=self._own(ctx)
        )

    async def _explain(self, ctx: rf.QueryCtx, search_id: str, mode: Mode | None = None) -> Explanation | None:
        """The same, with the place of each chunk in both rankings, and what was left out and why.

        A reranker gives no reasons: what is explained is the order that it was given.
        """
        row = await self._search(ctx, search_id)
        options = row.options if mode is None else msgspec.structs.replace(row.options, mode=mode)
        if self._waits(row, options):
            return None
        told = await self._retrieval(ctx, row, options).explained()
        return Explanation(
            **fields_of(told),
            options=options,
            asked=row.asked or row.input,
            model=model_of(row, await self._active(ctx)),
            state=row.state,
            error=row.error,
        )

    async def vector(self, ctx: rf.QueryCtx, search_id: str) -> NDArray[np.float32] | None:
        """The vector of a search's question, of the model that the chunks' vectors in use are of; None while there is
        none. Raises ApplicationError for an unknown search."""
        row = await self._search(ctx, search_id)
        embeddings = [] if row.question is None else row.question.embeddings
        active = await self._active(ctx)
        return next((one.array for one in embeddings if active is None or one.model == active), None)

    # Stored searches

    async def _get(self, ctx: rf.QueryCtx, search_id: str) -> SearchRow:
        """A stored search. Raises for an unknown one."""
        row = await self._search(ctx, search_id)
        return SearchRow(**shown(row, await self._active(ctx)))

    async def _history(
        self, ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions, pinned: bool | None = None
    ) -> rf.Page[SearchRow]:
        """Searches, those first that were asked for last."""
        table = self.corpus.tables.Search
        query = ctx.db.query(table)
        own = self._own(ctx)
        chosen = query.using(table.by_use, **own) if pinned is None else query.using(table.by_pin, **own, pinned=pinned)
        page = await chosen.order("desc").paginate(pagination_opts)
        active = await self._active(ctx)
        return page.with_items([SearchRow(**shown(row, active)) for row in page.page])

    async def _past(self, ctx: rf.QueryCtx, input: str, limit: int = 10) -> list[PastRow]:
        """Earlier searches that hold words of `input`, the best first."""
        check_limit(limit, self.corpus.limits)
        hits = await ctx.db.search(self.corpus.tables.Search.words, input, limit=limit, **self._any(ctx))
        return await self._past_rows(ctx, hits)

    async def _similar(self, ctx: rf.QueryCtx, search_id: str, limit: int = 10) -> list[PastRow] | None:
        """Earlier searches for something alike, the nearest first, without those for the very same; None while the
        question is not embedded."""
        check_limit(limit, self.corpus.limits)
        row = await self._search(ctx, search_id)
        if row.question is None or not row.question.embeddings:
            return None if row.state == "pending" else []
        index = self.corpus.tables.Search.meaning
        try:
            hits = await ctx.db.nearest(index, row.question.embeddings, limit=limit + 1 + _SPARE, **self._any(ctx))
        except GenerationMismatch:
            return []  # the searches are about to follow the chunks to another model
        others = [hit for hit in hits if hit.doc.question_digest != row.question_digest]
        return await self._past_rows(ctx, others[:limit])

    def _any(self, ctx: rf.QueryCtx) -> dict[str, Any]:
        """The caller as a condition, typed as any other."""
        return dict(self._own(ctx))

    async def _past_rows(self, ctx: rf.QueryCtx, hits: Sequence[rf.Hit[Search]]) -> list[PastRow]:
        active = await self._active(ctx)
        return [PastRow(**shown(hit.doc, active), score=hit.score) for hit in hits]

    async def _pin(self, ctx: rf.MutationCtx, search_id: str, pinned: bool = True, name: str | None = None) -> None:
        """Keeps a search as a standing one, under a name, or lets it go again."""
        row = await self._search(ctx, search_id)
        most = self.corpus.limits.source_name_length
        changes: dict[str, Any] = {"pinned": pinned}
        if name is not None:
            changes["name"] = name.strip()[:most] or rf.UNSET
        await ctx.db.patch(row.id, **changes)

    async def _delete(self, ctx: rf.MutationCtx, search_id: str) -> None:
        """Forgets a search; nothing happens where there is none. A run that is under way has no effect any more."""
        known = ctx.db.normalize_id(self.corpus.tables.Search, search_id)
        if known is not None and await ctx.db.get(known) is not None:
            await ctx.db.delete(known)

    # Neighbours and choices

    async def _near(
        self,
        ctx: rf.QueryCtx,
        chunk: str,
        limit: int = 10,
        other_sources: bool = False,
        min_length: int | None = None,
    ) -> Near | None:
        """The chunks nearest to a chunk, without itself; None while it has no vector. Raises for an unknown chunk.

        `other_sources` leaves out those of its own source.
        """
        check_limit(limit, self.corpus.limits)
        table = self.corpus.tables.Chunk
        return await near(
            ctx,
            table,
            await self.found(ctx, table, chunk, "chunk"),
            limit=limit,
            other_sources=other_sources,
            min_length=min_length,
            within=self._any(ctx),
        )

    async def _choices(self, ctx: rf.QueryCtx) -> Choices:
        """What searches of this corpus can be asked for."""
        table, limits = self.corpus.tables.Source, self.corpus.limits
        categories: list[str] = []
        query = ctx.db.query(table).using(table.by_category, **self._own(ctx))
        following = await query.gte("").first()
        while following is not None and following.category is not None and len(categories) < limits.choices_listed:
            categories.append(following.category)
            following = await query.gt(following.category).first()
        try:
            transforms = transforms_of(self.corpus, ctx)
        except (ProviderError, SettingsError):  # the chat model can't be used as it is set up: see the status
            transforms = self.corpus.search.transforms
        return Choices(
            transforms=sorted(transforms),
            rerank=self.corpus.search.reranker is not None,
            filters=list(self._filters),
            categories=categories,
            limit=limits.search_results,
        )
