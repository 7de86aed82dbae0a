"""`Sources`: what is added, replaced and deleted, and what can be seen of it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag import texts
from reflow.rag.chunking import split
from reflow.rag.part import Part
from reflow.rag.tables import FilterValue, Kind, Source, SourceState, Version
from reflow.rag.versions import Cut, Versions, changes, pieces_of
from reflow.rag.views import (
    Added,
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

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

Reader = rf.QueryCtx | rf.MutationCtx


class Sources(Part):
    """What is added, replaced and deleted, and what can be seen of it.

    Every function can be awaited in a function of your own, as a part of its transaction:
    `await corpus.sources.put(ctx, "notes/1", text)`.
    """

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "sources")
        self.versions_of = Versions(corpus)
        self.put = self.mutation("put", self._put)
        self.remove = self.mutation("remove", self._remove)
        self.remove_key = self.mutation("remove_key", self._remove_key)
        self.list = self.query("list", self._list)
        self.get = self.query("get", self._get)
        self.by_key = self.query("by_key", self._by_key)
        self.totals = self.query("totals", self._totals)
        self.versions = self.query("versions", self._versions)
        self.blocks = self.query("blocks", self._blocks)
        self.chunks = self.query("chunks", self._chunks)
        self.chunk = self.query("chunk", self._chunk)
        self.neighbours = self.query("neighbours", self._neighbours)

    # Adding and removing

    async def _put(
        self,
        ctx: rf.MutationCtx,
        key: str,
        text: str,
        name: str | None = None,
        kind: Kind = "text",
        category: str | None = None,
        importance: float | None = None,
        summary: str | None = None,
        fields: dict[str, FilterValue] | None = None,
        origin: str | None = None,
    ) -> Added:
        """Adds a text under a key, or puts it in the place of the one that is there.

        What is not given stays as it was. A text that the source has already changes nothing. The new one is searched
        as soon as each of its parts has its vector; until then the former one is.
        """
        source = await self._named(ctx, key, name, kind)
        source = await self._described(ctx, source, name, category, importance, summary, fields, origin)
        digest = sha256(f"{self.corpus.cutting}\0{kind}\0{text}".encode()).hexdigest()
        if source.content_hash == digest and source.state not in ("failed", "stopped"):
            return _added(source, changed=False)
        source, version = await self.versions_of.begin(ctx, source, kind, digest)
        await self._keep(ctx, source, version, text)
        await self.versions_of.stage(ctx, source, version, self._cuts(text))
        return _added(await self.row(ctx, source.id), changed=True)

    async def _remove(self, ctx: rf.MutationCtx, source: str) -> None:
        """Deletes a source with all that belongs to it, in one commit."""
        await self.versions_of.clear(ctx, await self.row(ctx, source))

    async def _remove_key(self, ctx: rf.MutationCtx, key: str) -> bool:
        """Deletes the source under a key; false where there is none."""
        source = await self._of_key(ctx, key)
        if source is not None:
            await self.versions_of.clear(ctx, source)
        return source is not None

    # What jobs use

    async def finish(self, ctx: rf.MutationCtx, source: rf.Id[Any]) -> bool:
        """Ends the work on a source of which no chunk waits for its vector any more; see `Versions.finish`."""
        return await self.versions_of.finish(ctx, source)

    async def version_in_work(self, ctx: Reader, source: Source) -> Version | None:
        """The version in the making, else the one that is searched."""
        return await self.versions_of.row(ctx, source, source.version if source.pending is None else source.pending)

    def pieces(self, source: Source) -> Any:
        """The table that holds what of a source is to be embedded: its chunks, or the drafts of a new version."""
        return pieces_of(self.corpus, source)

    # What can be seen

    async def row(self, ctx: Reader, id: str) -> Source:
        """The source of an id. Raises ApplicationError where there is none."""
        return await self.found(ctx, self.corpus.tables.Source, id, "source")

    async def _list(
        self, ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions, state: SourceState | None = None
    ) -> rf.Page[SourceView]:
        """The sources, those that changed last first."""
        table = self.corpus.tables.Source
        query = ctx.db.query(table)
        query = query.using(table.by_update) if state is None else query.using(table.by_state, state=state)
        page = await query.order("desc").paginate(pagination_opts)
        return page.with_items([await self._view(ctx, source) for source in page.page])

    async def _get(self, ctx: rf.QueryCtx, source: str) -> SourceView | None:
        """A source, null once it is deleted."""
        id = ctx.db.normalize_id(self.corpus.tables.Source, source)
        found = None if id is None else await ctx.db.get(id)
        return None if found is None else await self._view(ctx, found)

    async def _by_key(self, ctx: rf.QueryCtx, key: str) -> SourceView | None:
        """The source under a key."""
        found = await self._of_key(ctx, key)
        return None if found is None else await self._view(ctx, found)

    async def _totals(self, ctx: rf.QueryCtx) -> Totals:
        """The corpus in numbers."""
        tables = self.corpus.tables
        states = ctx.db.query(tables.Source)
        waiting = [
            await ctx.db.query(table).using(table.by_embedded, embedded=False).count()
            for table in (tables.Chunk, tables.Draft)
        ]
        return Totals(
            sources=await ctx.db.query(tables.Source).count(),
            chunks=await ctx.db.query(tables.Chunk).count(),
            waiting=sum(waiting),
            reading=await states.using(tables.Source.by_state, state="reading").count(),
            embedding=await states.using(tables.Source.by_state, state="embedding").count(),
            ready=await states.using(tables.Source.by_state, state="ready").count(),
            failed=await states.using(tables.Source.by_state, state="failed").count(),
            stopped=await states.using(tables.Source.by_state, state="stopped").count(),
        )

    async def _versions(self, ctx: rf.QueryCtx, source: str) -> list[VersionView]:
        """The versions of a source that are kept, newest first."""
        found = await self.versions_of.all(ctx, await self.row(ctx, source))
        return [version_view(one, None if one.file is None else await ctx.storage.url(one.file)) for one in found]

    async def _blocks(
        self, ctx: rf.QueryCtx, source: str, pagination_opts: rf.PaginationOptions, version: int | None = None
    ) -> rf.Page[BlockView]:
        """The text of a version, by default of the one whose chunks are there."""
        row = await self.row(ctx, source)
        page = await texts.blocks(ctx, self.corpus.tables, row.id, version or row.version or row.pending or 0).paginate(
            pagination_opts
        )
        return page.with_items([block_view(block) for block in page.page])

    async def _chunks(self, ctx: rf.QueryCtx, source: str, pagination_opts: rf.PaginationOptions) -> rf.Page[ChunkView]:
        """The chunks of a source in order."""
        page = await self.versions_of.chunks(ctx, await self.row(ctx, source)).paginate(pagination_opts)
        return page.with_items([chunk_view(chunk, self.corpus.filters) for chunk in page.page])

    async def _chunk(self, ctx: rf.QueryCtx, chunk: str) -> ChunkView | None:
        """A chunk, null once it is gone."""
        id = ctx.db.normalize_id(self.corpus.tables.Chunk, chunk)
        found = None if id is None else await ctx.db.get(id)
        return None if found is None else chunk_view(found, self.corpus.filters)

    async def _neighbours(self, ctx: rf.QueryCtx, chunk: str, before: int = 1, after: int = 1) -> list[ChunkView]:
        """A chunk with those around it, in order."""
        row = await self.found(ctx, self.corpus.tables.Chunk, chunk, "chunk")
        table = self.corpus.tables.Chunk
        around = ctx.db.query(table).using(table.by_source, source=row.source)
        found = await around.gte(row.number - before).lte(row.number + after).collect()
        return [chunk_view(one, self.corpus.filters) for one in found]

    async def _view(self, ctx: rf.QueryCtx, source: Source) -> SourceView:
        if source.state == "ready":
            return source_view(source, self.corpus.filters, None, 0)
        waiting = await self.versions_of.without_vector(ctx, source).count()
        return source_view(source, self.corpus.filters, await self.version_in_work(ctx, source), waiting)

    # Steps of adding

    async def _of_key(self, ctx: Reader, key: str) -> Source | None:
        table = self.corpus.tables.Source
        return await ctx.db.query(table).using(table.by_key, key=key).first()

    async def _named(self, ctx: rf.MutationCtx, key: str, name: str | None, kind: Kind) -> Source:
        """The source under a key, a new one where there is none."""
        bound = self.corpus.limits.source_key_length
        if not key or len(key) > bound:
            raise ApplicationError(f"a source's key has 1 to limits.source_key_length = {bound} characters")
        found = await self._of_key(ctx, key)
        if found is not None:
            return found
        made = self.corpus.tables.Source(
            key=key, name=name or key, kind=kind, state="reading", updated=ctx.now() * 1000
        )
        return await self.row(ctx, await ctx.db.insert(made))

    async def _described(
        self,
        ctx: rf.MutationCtx,
        source: Source,
        name: str | None,
        category: str | None,
        importance: float | None,
        summary: str | None,
        fields: dict[str, FilterValue] | None,
        origin: str | None,
    ) -> Source:
        unknown = (fields or {}).keys() - set(self.corpus.filters)
        if unknown:
            raise ApplicationError(
                f"{sorted(unknown)} are no fields of {self.corpus.name!r}: its filters are {list(self.corpus.filters)}"
            )
        given: dict[str, Any] = {"name": name, "importance": importance, "origin": origin, "category": category}
        wanted = {field: value for field, value in given.items() if value is not None} | (fields or {})
        if wanted.get("category") == "":
            wanted["category"] = None
        changed = changes(source, wanted)
        if changed:
            await ctx.db.patch(source.id, **changed)
        return await self.row(ctx, source.id) if changed else source

    async def _keep(self, ctx: rf.MutationCtx, source: Source, version: Version, text: str) -> None:
        size, bound = len(text.encode()), self.corpus.limits.source_text_bytes
        if size > bound:
            raise ApplicationError(
                f"{source.key!r} has {size} bytes of text: more than limits.source_text_bytes = {bound}. Split it up"
            )
        await ctx.db.patch(version.id, characters=len(text), size=size, lines=texts.lines_in(text))
        owned = self.corpus.owned(source)
        await texts.store(ctx, self.corpus.tables, version, text, self.corpus.limits.source_block_chars, owned)

    def _cuts(self, text: str) -> list[Cut]:
        corpus = self.corpus
        chunks = split(text, max_chars=corpus.chunk_chars, overlap=corpus.overlap, splitter=corpus.splitter)
        return [
            Cut(text=one.text, first_line=one.first_line, last_line=one.last_line, start=one.start, end=one.end)
            for one in chunks
        ]


def _added(source: Source, *, changed: bool) -> Added:
    version = source.version if source.pending is None else source.pending
    return Added(source=source.id, version=version, changed=changed, state=source.state)
