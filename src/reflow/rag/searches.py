"""`Searches`: searches by words, by meaning and by both, stored as documents.

Whoever starts a search gets its id at once and subscribes to it; the question is embedded in the background. What it
shows is found anew, from the question's stored vector and words, whenever something changes: a search that is used
again is never out of date. Only a reranker's order is stored, and the results say when it is of other chunks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

import reflow as rf
from reflow.errors import DefinitionError, InvalidFilter
from reflow.rag.part import Part
from reflow.rag.queries import (
    Mode,
    Options,
    Question,
    Spent,
    check_input,
    check_options,
    digest_of,
    question_digest_of,
)
from reflow.rag.results import Explained, Found, ResultRow
from reflow.rag.retrieval import Retrieval
from reflow.rag.search_runs import SearchRuns
from reflow.rag.tables import OWNER, Search, SearchState

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class SearchRow(rf.Object, rename="camel"):
    """A stored search in a list. Times are milliseconds.

    `asked` is what was embedded, where a transformation changed it; `outdated`: its vector is of another model than
    the chunks', so that it has to run again.
    """

    _id: str
    _creationTime: float
    input: str
    options: Options
    state: SearchState
    error: str | None
    name: str | None
    pinned: bool
    used: float
    asks: int
    asked: str | None
    model: str | None
    tokens: int | None
    embedding_ms: float | None
    transform_ms: float | None
    rerank_ms: float | None
    outdated: bool


class PastRow(SearchRow):
    """An earlier search that was found; `score` is BM25 or a cosine."""

    score: float


class Results(Found):
    """What a stored search shows; `error` is why its last run failed."""

    state: SearchState
    error: str | None


class Explanation(Explained, rename="camel"):
    """The same with reasons, and how it came about."""

    options: Options
    asked: str
    """What was embedded."""
    model: str | None
    importance: dict[str, float]
    """Weights of sources that are not 1, by the source's id: of those that show up."""


class Near(rf.Object):
    """The chunks nearest to a chunk. `error`: it has no vector and will have none."""

    target: ResultRow
    rows: list[ResultRow]
    error: str | None = rf.missing()


class Choices(rf.Object, rename="camel"):
    """What a search can be asked for here."""

    transforms: list[str]
    rerank: bool
    filters: list[str]
    categories: list[str]
    limit: int


class FoundOnce(Found):
    """What a search found that is not stored. `searchMs` is without embedding, rewriting and reranking."""

    asked: str
    spent: list[Spent]
    search_ms: float


class Searches(Part):
    """Searches by words, by meaning and by both, stored as documents."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "searches")
        self.runs = SearchRuns(self, corpus)
        self.start = self.mutation("start", self._start)
        self.rerun = self.mutation("rerun", self._rerun)
        self.results = self.query("results", self._results)
        self.get = self.query("get", self._get)
        self.history = self.query("history", self._history)

    # Whose

    def _own(self, ctx: rf.QueryCtx | rf.MutationCtx) -> dict[str, str]:
        """The caller as the first field of an index: their rows only. Nobody has any."""
        owner = self.corpus.owner
        return {} if owner is None else {OWNER: owner.of(ctx.auth.identity()) or ""}

    async def _found(self, ctx: rf.QueryCtx | rf.MutationCtx, id: str) -> Search:
        """A search of the caller's. Raises ApplicationError."""
        return await self.found(ctx, self.corpus.tables.Search, id, "search")

    # Starting

    async def _start(self, ctx: rf.MutationCtx, input: str, options: Options | None = None) -> str:
        """The id of a search, at once: of the identical one where there is one, else of a new one that begins now."""
        text, options = await self._checked(ctx, input, options or Options())
        table, own, now = self.corpus.tables.Search, self._own(ctx), ctx.now() * 1000
        digest = digest_of(text, options)
        found = await ctx.db.query(table).using(table.by_digest, **own, digest=digest).first()
        if found is None:
            return await self._insert(ctx, text, options, digest)
        await ctx.db.patch(found.id, used=now, asks=found.asks + 1)
        if found.state != "pending" and (found.error is not None or await self._is_outdated(ctx, found)):
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
            if known is not None and known.question is not None and not await self._is_outdated(ctx, known):
                row.question, row.asked = known.question, known.asked
        await self._make_room(ctx)
        return await self.runs.insert(ctx, row)

    async def _make_room(self, ctx: rf.MutationCtx) -> None:
        """Deletes the searches that were used longest ago, beyond the limit."""
        table, most = self.corpus.tables.Search, self.corpus.limits.searches_kept
        unpinned = ctx.db.query(table).using(table.by_pin, **self._own(ctx), pinned=False)
        excess = await unpinned.count() + 1 - most
        if excess > 0:
            await ctx.db.delete_many([row.id for row in await unpinned.take(excess)])

    async def _checked(self, ctx: rf.QueryCtx | rf.MutationCtx, input: str, options: Options) -> tuple[str, Options]:
        """Input and options that can be searched with. Raises ApplicationError that says what can't be."""
        text = check_input(input, self.corpus.limits)
        settings = self.corpus.search
        check_options(options, self.corpus.limits, settings.transforms, settings.reranker is not None)
        sources = None if options.sources is None else sorted(set(options.sources))
        for id in sources or ():
            await self.found(ctx, self.corpus.tables.Source, id, "source")
        try:
            await ctx.db.search(self.corpus.tables.Chunk.words, "", limit=1, filter=options.conditions)
        except (InvalidFilter, DefinitionError) as error:
            known = ", ".join(self._filters)
            raise rf.ApplicationError(f"This filter can't be used: {error} (filters: {known})") from None
        return text, msgspec.structs.replace(options, sources=sources)

    @property
    def _filters(self) -> tuple[str, ...]:
        return tuple(name for name in self.corpus.tables.Chunk.words.filters if name != OWNER)

    async def _is_outdated(self, ctx: rf.QueryCtx | rf.MutationCtx, row: Search) -> bool:
        """Whether a search's vector is of another model than the one that the chunks' vectors in use are of."""
        if row.question is None or not row.options.needs_vector:
            return False
        made = [one.model for one in row.question.embeddings]
        generations = await ctx.generations.list(self.corpus.tables.Chunk.meaning)
        return any(one.state == "active" and one.model not in made for one in generations)

    async def _rerun(self, ctx: rf.MutationCtx, search_id: str) -> None:
        """Rewrites, embeds and reranks anew. Until then the search shows what it showed before."""
        row = await self._found(ctx, search_id)
        await self.runs.start(ctx, row, anew=True)

    # Results

    async def _results(self, ctx: rf.QueryCtx, search_id: str, mode: Mode | None = None) -> Results | None:
        """What a search finds, as of now; None while its question is not embedded. Raises for an unknown search.

        `mode` shows it as if it had been asked so.
        """
        row = await self._found(ctx, search_id)
        options = row.options if mode is None else msgspec.structs.replace(row.options, mode=mode)
        waits = row.state == "pending" and (row.question is None or (options.rerank and row.reranked is None))
        if waits and options.needs_vector:
            return None
        found = await self._retrieval(ctx, row, options).found(row.reranked if options.rerank else None)
        return Results(**_fields(found), state=row.state, error=row.error)

    def _retrieval(self, ctx: rf.QueryCtx, row: Search, options: Options) -> Retrieval:
        question = row.question or Question(text=row.input)
        return Retrieval(ctx.db, self.corpus.tables, question, options, limits=self.corpus.limits, within={})

    async def _get(self, ctx: rf.QueryCtx, search_id: str) -> SearchRow:
        """A stored search. Raises for an unknown one."""
        return await self._row(ctx, await self._found(ctx, search_id))

    async def _history(
        self, ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions, pinned: bool | None = None
    ) -> rf.Page[SearchRow]:
        """Searches, those first that were asked for last."""
        table = self.corpus.tables.Search
        query = ctx.db.query(table)
        own = self._own(ctx)
        chosen = query.using(table.by_use, **own) if pinned is None else query.using(table.by_pin, **own, pinned=pinned)
        page = await chosen.order("desc").paginate(pagination_opts)
        return page.with_items([await self._row(ctx, row) for row in page.page])

    async def _row(self, ctx: rf.QueryCtx, row: Search) -> SearchRow:
        return SearchRow(**await self._shown(ctx, row))

    async def _shown(self, ctx: rf.QueryCtx, row: Search) -> dict[str, Any]:
        """A search's fields in a list."""
        embeddings = [] if row.question is None else row.question.embeddings
        same = {name: getattr(row, name) for name in SearchRow.__struct_fields__ if name in row.__struct_fields__}
        model = str(embeddings[0].model) if embeddings else None
        return same | {"model": model, "outdated": await self._is_outdated(ctx, row)}


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    """A struct's fields as they are, for one that has more."""
    return {name: getattr(value, name) for name in value.__struct_fields__}
