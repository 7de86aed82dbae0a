"""What can be seen of a corpus's sources: lists, texts, chunks. Everything here is live in a query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, get_args

import reflow as rf
from reflow.rag.sources import texts
from reflow.rag.sources.views import (
    BlockView,
    ChunkView,
    SourceView,
    Totals,
    VersionView,
    block_view,
    chunk_view,
    source_view,
    version_view,
)
from reflow.rag.tables import Chunk, Source, SourceState

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus
    from reflow.rag.sources.sources import Sources


class SourceQueries:
    """The handlers of the queries that `Sources` registers."""

    def __init__(self, corpus: Corpus, sources: Sources) -> None:
        self._corpus = corpus
        self._sources = sources

    async def page(
        self, ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions, state: SourceState | None = None
    ) -> rf.Page[SourceView]:
        """The sources, those that changed last first."""
        table, own = self._corpus.tables.Source, self._sources.own(ctx)
        query = ctx.db.query(table)
        query = (
            query.using(table.by_update, **own) if state is None else query.using(table.by_state, **own, state=state)
        )
        page = await query.order("desc").paginate(pagination_opts)
        return page.with_items([await self._view(ctx, source) for source in page.page])

    async def get(self, ctx: rf.QueryCtx, source: str) -> SourceView | None:
        """A source, null once it is deleted."""
        id = ctx.db.normalize_id(self._corpus.tables.Source, source)
        found = None if id is None else await ctx.db.get(id)
        return None if found is None else await self._view(ctx, found)

    async def by_key(self, ctx: rf.QueryCtx, key: str) -> SourceView | None:
        """The source under a key."""
        found = await self._sources.of_key(ctx, key)
        return None if found is None else await self._view(ctx, found)

    async def totals(self, ctx: rf.QueryCtx) -> Totals:
        """The corpus in numbers."""
        tables, own = self._corpus.tables, self._sources.own(ctx)
        sources, states = ctx.db.query(tables.Source), tables.Source.by_state
        counts = {state: await sources.using(states, **own, state=state).count() for state in get_args(SourceState)}
        waiting = [
            await ctx.db.query(table).using(table.by_embedded, embedded=False).count()
            for table in (tables.Chunk, tables.Draft)
        ]
        return Totals(
            sources=sum(counts.values()),
            chunks=await ctx.db.query(tables.Chunk).count(),
            waiting=sum(waiting),
            **counts,
        )

    async def versions(self, ctx: rf.QueryCtx, source: str) -> list[VersionView]:
        """The versions of a source that are kept, newest first."""
        found = await self._sources.versions_of.all(ctx, await self._sources.row(ctx, source))
        return [version_view(one, None if one.file is None else await ctx.storage.url(one.file)) for one in found]

    async def blocks(
        self, ctx: rf.QueryCtx, source: str, pagination_opts: rf.PaginationOptions, version: int | None = None
    ) -> rf.Page[BlockView]:
        """The text of a version, by default of the one whose chunks are there."""
        row = await self._sources.row(ctx, source)
        number = version or row.version or row.pending or 0
        page = await texts.blocks(ctx, self._corpus.tables, row.id, number).paginate(pagination_opts)
        return page.with_items([block_view(block) for block in page.page])

    async def chunks(
        self, ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions, source: str | None = None
    ) -> rf.Page[ChunkView]:
        """The chunks of a source in order, or those of all in the order in which they came."""
        if source is None:
            chunks = ctx.db.query(self._corpus.tables.Chunk)
        else:
            chunks = self._sources.versions_of.chunks(ctx, await self._sources.row(ctx, source))
        page = await chunks.paginate(pagination_opts)
        return page.with_items(await self._named(ctx, page.page))

    async def chunk(self, ctx: rf.QueryCtx, chunk: str) -> ChunkView | None:
        """A chunk, null once it is gone."""
        id = ctx.db.normalize_id(self._corpus.tables.Chunk, chunk)
        found = None if id is None else await ctx.db.get(id)
        return None if found is None else (await self._named(ctx, [found]))[0]

    async def neighbours(self, ctx: rf.QueryCtx, chunk: str, before: int = 1, after: int = 1) -> list[ChunkView]:
        """A chunk with those around it, in order: up to `limits.chunk_neighbours` on each side."""
        row = await self._sources.found(ctx, self._corpus.tables.Chunk, chunk, "chunk")
        table, most = self._corpus.tables.Chunk, self._corpus.limits.chunk_neighbours
        around = ctx.db.query(table).using(table.by_source, source=row.source)
        lower, upper = row.number - min(max(before, 0), most), row.number + min(max(after, 0), most)
        return await self._named(ctx, await around.gte(lower).lte(upper).collect())

    async def _named(self, ctx: rf.QueryCtx, chunks: Sequence[Chunk]) -> list[ChunkView]:
        """Chunks with the names of their sources; one whose source is gone goes with it."""
        ids = list(dict.fromkeys(chunk.source for chunk in chunks))
        sources = dict(zip(ids, await ctx.db.get_many(ids), strict=True))
        return [
            chunk_view(chunk, source, self._corpus.filters)
            for chunk in chunks
            if (source := sources[chunk.source]) is not None
        ]

    async def _view(self, ctx: rf.QueryCtx, source: Source) -> SourceView:
        waiting = 0 if source.state == "ready" else await self._sources.versions_of.without_vector(ctx, source).count()
        pause = await self._corpus.jobs.pause(ctx) if source.state == "embedding" else None
        version = await self._sources.version_in_work(ctx, source)
        return source_view(source, self._corpus.filters, version, waiting, pause)
