"""`Maps`: the vectors in two dimensions.

A map is made in the background and stored in blocks of points, which never change. It says when the corpus has changed
since; it is made anew when somebody asks for it, and until then the former one is shown.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import TYPE_CHECKING, Any, Literal, NamedTuple
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

import reflow as rf
from reflow.errors import ApplicationError, ReflowError
from reflow.rag.part import Part
from reflow.rag.projection import Plane, Points, Vectors, fitted, principal_plane
from reflow.rag.tables import OWNER, MapRow, Share, Stamp

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

RETRY = rf.Retry(attempts=5, first=1.0, longest=30.0)
_ALIVE = ("pending", "inProgress")
_LARGEST = 50
_NEIGHBOURS = 8
_SHARPNESS = 10.0
"""How much more a nearer neighbour counts: e times for every tenth of a cosine."""


class Named(rf.Object, rename="camel"):
    """A source with its number of points."""

    source: str
    key: str
    name: str
    category: str | None
    count: int


class MapState(rf.Object, rename="camel"):
    """What is known of a map.

    `state` "none": there is none yet; "making": it is on its way; "failed": the last try to make it was in vain, and
    `error` says why. What is shown, if `blocks` is not 0, is the former one. `count` of `total` vectors are on it: of
    large corpora a sample. `stale`: the corpus has changed since. `explained` is the part of the variance that is
    seen, where the map is a plane. `largest` are the sources with the most points. Times are milliseconds.
    """

    state: Literal["none", "making", "ready", "failed"]
    version: int
    blocks: int
    count: int
    total: int
    stale: bool
    explained: float | None
    made: float | None
    ms: float | None
    error: str | None
    largest: list[Named]


class Block(rf.Object, rename="camel"):
    """Some points, column by column: the chunk, its source as a place in `sources`, and where it is, in -1..1."""

    chunks: list[str]
    sources: list[str]
    source: list[int]
    x: list[float]
    y: list[float]


class Place(rf.Object):
    """Where something is on the map; what the map was not made of may be outside of -1..1."""

    x: float
    y: float


class Position(rf.Object):
    """A place among all chunks of an owner: a source by its key, and a number in it."""

    key: str
    number: int


class Batch(rf.Object):
    """Some chunks on their way to the map: `vectors` are float32 numbers, one after another. `seen` counts those that
    were not taken, too; `next` is where to go on."""

    chunks: list[str]
    sources: list[str]
    vectors: bytes
    seen: int
    next: Position | None


class Finished(rf.Object):
    """A map that was made."""

    blocks: int
    count: int
    total: int
    ms: float
    largest: list[Share]
    scale: float
    plane: bytes | None
    explained: float | None


class Gathered(NamedTuple):
    """The vectors of a map, shape (count, dims), with their chunks and sources; `total` are there in all."""

    chunks: list[str]
    sources: list[str]
    vectors: Vectors
    total: int


class Maps(Part):
    """The vectors in two dimensions. In a corpus with an owner each has a map of their own."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "maps")
        self._limits = corpus.limits
        self.make = self.mutation("make", self._make)
        self.get = self.query("get", self._get)
        self.points = self.query("points", self._points)
        self.place = self.query("place", self._place)
        self.state = self.background_query("state", self._state)
        self.start = self.background_mutation("start", self._start)
        self.begin = self.background_mutation("begin", self._begin)
        self.batch = self.background_query("batch", self._batch)
        self.store = self.background_mutation("store", self._store)
        self.finish = self.background_mutation("finish", self._finish)
        self.fail = self.background_mutation("fail", self._fail)
        self.run = self.background_action("run", self._run, retry=RETRY)

    # What is seen

    def _whose(self, ctx: rf.QueryCtx | rf.MutationCtx) -> str:
        """The caller as an owner: "" in a corpus without owners, and for who owns nothing."""
        return self.own(ctx).get(OWNER, "")

    def _scope(self, owner: str) -> dict[str, Any]:
        return {} if self.corpus.owner is None else {OWNER: owner}

    async def _get(self, ctx: rf.QueryCtx) -> MapState:
        """The map, live."""
        return await ctx.run_query(self.state, self._whose(ctx))

    async def _state(self, ctx: rf.QueryCtx, owner: str) -> MapState:
        row = await self._row(ctx, owner)
        if row is None:
            row = self.corpus.tables.Map()
        state: Literal["none", "making", "ready", "failed"] = "ready" if row.version else "none"
        error = row.error
        if row.making is not None:
            alive = await self._is_alive(ctx, row)
            state = "making" if alive else "failed"
            error = None if alive else "the server was stopped each time: make it again"
        elif error is not None:
            state = "failed"
        return MapState(
            state=state,
            version=row.version,
            blocks=row.blocks,
            count=row.count,
            total=row.total,
            stale=row.version > 0 and row.stamp != await self._stamp(ctx, owner),
            explained=row.explained,
            made=row.made,
            ms=row.ms,
            error=error,
            largest=await self._named(ctx, row.largest),
        )

    async def _named(self, ctx: rf.QueryCtx, shares: Sequence[Share]) -> list[Named]:
        """The sources that are still there, under the names they have now."""
        found = await ctx.db.get_many(rf.Id[Any](share.source) for share in shares)
        return [
            Named(source=row.id, key=row.key, name=row.name, category=row.category, count=share.count)
            for share, row in zip(shares, found, strict=True)
            if row is not None
        ]

    async def _points(self, ctx: rf.QueryCtx, version: int, number: int) -> Block | None:
        """A block of points, `number` counting from 0; None where there is none, such as of a former version."""
        table = self.corpus.tables.MapBlock
        row = await ctx.db.query(table).using(table.by_number, **self.own(ctx), version=version, number=number).first()
        return (
            None if row is None else Block(chunks=row.chunks, sources=row.sources, source=row.source, x=row.x, y=row.y)
        )

    async def _place(self, ctx: rf.QueryCtx, search_id: str) -> Place | None:
        """Where a search's question is among the chunks, live; None while either is not there.

        Raises ApplicationError for an unknown search.
        """
        vector = await self.corpus.searches.vector(ctx, search_id)
        row = await self._row(ctx, self._whose(ctx))
        if vector is None or row is None or not row.version:
            return None
        if row.plane is not None:
            plane = Plane.unpacked(row.plane, row.scale, 0.0)
            if plane.centre.shape != vector.shape:
                return None
            x, y = plane.place(vector[np.newaxis])[0]
            return Place(x=float(x), y=float(y))
        return await self._amid_neighbours(ctx, row, vector)

    async def _amid_neighbours(self, ctx: rf.QueryCtx, row: MapRow, vector: NDArray[np.float32]) -> Place | None:
        """The mean of the nearest chunks' places, the nearer the more: another projection can't place what is new."""
        meaning, table = self.corpus.tables.Chunk.meaning, self.corpus.tables.MapBlock
        generations = await ctx.generations.list(meaning)
        active = next((one.model for one in generations if one.state == "active"), None)
        wanted = vector if active is None else rf.Embedding.of(vector, active)
        near = {hit.doc.id: hit.score for hit in await ctx.db.nearest(meaning, wanted, limit=_NEIGHBOURS)}
        best = max(near.values(), default=0.0)
        x = y = whole = 0.0
        blocks = await ctx.db.query(table).using(table.by_number, **self.own(ctx), version=row.version).collect()
        for block in blocks:
            for place, chunk in enumerate(block.chunks):
                if chunk in near:
                    weight = float(np.exp((near[chunk] - best) * _SHARPNESS))
                    x, y, whole = x + weight * block.x[place], y + weight * block.y[place], whole + weight
        return Place(x=x / whole, y=y / whole) if whole else None

    # Making

    async def _make(self, ctx: rf.MutationCtx) -> None:
        """Makes the map anew in the background, unless that is under way. Raises ApplicationError for nobody."""
        owner = self._whose(ctx)
        if self.corpus.owner is not None and not owner:
            raise ApplicationError("A map is made of one's own sources: sign in first")
        await ctx.run_mutation(self.start, owner)

    async def _row(self, ctx: rf.QueryCtx | rf.MutationCtx, owner: str) -> MapRow | None:
        table = self.corpus.tables.Map
        query = ctx.db.query(table)
        return await (query if self.corpus.owner is None else query.using(table.by_owner, **self._scope(owner))).first()

    async def _is_alive(self, ctx: rf.QueryCtx | rf.MutationCtx, row: MapRow) -> bool:
        job = None if row.job is None else await ctx.db.get(row.job)
        return isinstance(job, rf.Scheduled) and job.state.kind in _ALIVE

    async def _start(self, ctx: rf.MutationCtx, owner: str) -> None:
        table = self.corpus.tables.Map
        row = await self._row(ctx, owner)
        if row is not None and row.making is not None and await self._is_alive(ctx, row):
            return
        job = await ctx.scheduler.run_after(0, self.run, owner)
        if row is None:
            await ctx.db.insert(table(making=1, job=job, **self._scope(owner)))
        else:
            await ctx.db.patch(row.id, making=max(row.version, row.making or 0) + 1, job=job, error=rf.UNSET)

    async def _stamp(self, ctx: rf.QueryCtx | rf.MutationCtx, owner: str) -> Stamp:
        """What a map that is begun now is of."""
        tables = self.corpus.tables
        sources = ctx.db.query(tables.Source).using(tables.Source.by_update, **self._scope(owner))
        last = await sources.order("desc").first()
        generations = await ctx.generations.list(tables.Chunk.meaning)
        model = next((str(one.model) for one in generations if one.state == "active"), "")
        return Stamp(updated=0.0 if last is None else last.updated, sources=await sources.count(), model=model)

    async def _begin(self, ctx: rf.MutationCtx, owner: str) -> int | None:
        """The version to make, with nothing of it left from a run that was cut short; None: there is nothing to do."""
        row = await self._row(ctx, owner)
        if row is None or row.making is None:
            return None
        await self._delete_blocks(ctx, owner, other_than=row.version)
        await ctx.db.patch(row.id, making_stamp=await self._stamp(ctx, owner))
        return row.making

    async def _delete_blocks(self, ctx: rf.MutationCtx, owner: str, *, other_than: int) -> None:
        table = self.corpus.tables.MapBlock
        blocks = await ctx.db.query(table).using(table.by_number, **self._scope(owner)).collect()
        await ctx.db.delete_many(block.id for block in blocks if block.version != other_than)

    async def _run(self, ctx: rf.ActionCtx, owner: str) -> None:
        version = await ctx.run_mutation(self.begin, owner)
        if version is None:
            return
        began = perf_counter()
        try:
            gathered = await self._gather(ctx, owner)
            points, plane = await asyncio.to_thread(self._projected, gathered.vectors)
            blocks = list(_blocks(gathered, points, self._limits.map_block_points))
            for number, block in enumerate(blocks):
                await ctx.run_mutation(self.store, owner, version, number, block)
            largest = Counter(gathered.sources).most_common(_LARGEST)
            made = Finished(
                blocks=len(blocks),
                count=len(gathered.chunks),
                total=gathered.total,
                ms=(perf_counter() - began) * 1000,
                largest=[Share(source=source, count=count) for source, count in largest],
                scale=1.0 if plane is None else plane.scale,
                plane=None if plane is None else plane.packed(),
                explained=None if plane is None else plane.explained,
            )
            await ctx.run_mutation(self.finish, owner, version, made)
        except Exception as error:
            ctx.log(f"the map can't be made: {error!r}", level="ERROR")
            reason = str(error) if isinstance(error, ReflowError) else f"{type(error).__name__}: {error}"
            await ctx.run_mutation(self.fail, owner, version, reason)

    async def _gather(self, ctx: rf.ActionCtx, owner: str) -> Gathered:
        """The vectors of all chunks; of too many those with the smallest hashes, which are as good as random ones."""
        chunks: list[str] = []
        sources: list[str] = []
        parts: list[Vectors] = []
        total, below, position = 0, 1.0, Position(key="", number=0)
        while True:
            batch = await ctx.run_query(self.batch, owner, position, below)
            total += batch.seen
            if batch.chunks:
                chunks += batch.chunks
                sources += batch.sources
                parts.append(np.frombuffer(batch.vectors, "<f4").reshape(len(batch.chunks), -1))
            while len(chunks) > self._limits.map_points:
                below /= 2
                kept = [place for place, chunk in enumerate(chunks) if _hash(chunk) < below]
                chunks, sources = [chunks[place] for place in kept], [sources[place] for place in kept]
                parts = [np.concatenate(parts)[kept]]
            if batch.next is None:
                break
            position = batch.next
        dims = self.corpus.embedder.dims
        return Gathered(chunks, sources, np.concatenate(parts) if parts else np.empty((0, dims), np.float32), total)

    async def _batch(self, ctx: rf.QueryCtx, owner: str, position: Position, below: float) -> Batch:
        """The next chunks with a vector whose hash is small enough."""
        tables, most = self.corpus.tables, self._limits.map_batch
        found = Batch(chunks=[], sources=[], vectors=b"", seen=0, next=None)
        vectors: list[bytes] = []
        read = 0
        sources = ctx.db.query(tables.Source).using(tables.Source.by_key, **self._scope(owner)).gte(position.key)
        async for source in sources:
            after = position.number if source.key == position.key else 0
            pieces = ctx.db.query(tables.Chunk).using(tables.Chunk.by_source, source=source.id).gte(after)
            async for chunk in pieces:
                if read == most:
                    found.next = Position(key=source.key, number=chunk.number)
                    found.vectors = b"".join(vectors)
                    return found
                read += 1
                found.seen += chunk.embedded
                if chunk.embedded and _hash(chunk.id) < below:
                    vector = await ctx.db.vector(tables.Chunk.meaning, chunk.id)
                    if vector is not None:
                        found.chunks.append(chunk.id)
                        found.sources.append(source.id)
                        vectors.append(vector.astype("<f4").tobytes())
        found.vectors = b"".join(vectors)
        return found

    def _projected(self, vectors: Vectors) -> tuple[Points, Plane | None]:
        """Where the vectors are, and the plane, where it is one."""
        if not len(vectors):
            return np.empty((0, 2), np.float32), None
        if self.corpus.projection is None:
            plane = principal_plane(vectors)
            return plane.place(vectors), plane
        points = np.asarray(self.corpus.projection(vectors))
        if points.shape != (len(vectors), 2) or not np.isfinite(points).all():
            raise ReflowError(
                f"the corpus's projection gave shape {points.shape}, or something that is no number, for "
                f"{len(vectors)} vectors: it must give two finite numbers for each"
            )
        return fitted(points), None

    async def _store(self, ctx: rf.MutationCtx, owner: str, version: int, number: int, block: Block) -> None:
        fields = {name: getattr(block, name) for name in block.__struct_fields__}
        await ctx.db.insert(self.corpus.tables.MapBlock(version=version, number=number, **fields, **self._scope(owner)))

    async def _finish(self, ctx: rf.MutationCtx, owner: str, version: int, made: Finished) -> None:
        """Shows the new version in the place of the former one."""
        row = await self._row(ctx, owner)
        if row is None or row.making != version:
            return
        await self._delete_blocks(ctx, owner, other_than=version)
        fields: dict[str, Any] = {name: getattr(made, name) for name in made.__struct_fields__}
        fields |= {name: rf.UNSET for name in ("plane", "explained") if fields[name] is None}
        await ctx.db.patch(
            row.id,
            version=version,
            making=rf.UNSET,
            job=rf.UNSET,
            error=rf.UNSET,
            stamp=row.making_stamp,
            made=ctx.now() * 1000,
            **fields,
        )

    async def _fail(self, ctx: rf.MutationCtx, owner: str, version: int, reason: str) -> None:
        row = await self._row(ctx, owner)
        if row is not None and row.making == version:
            await ctx.db.patch(row.id, making=rf.UNSET, job=rf.UNSET, error=reason)


def _hash(id: str) -> float:
    """A number in 0..1 that is the same for the same chunk."""
    return crc32(id.encode()) / (1 << 32)


def _blocks(gathered: Gathered, points: Points, size: int) -> Iterator[Block]:
    """The points in blocks, those of one source together."""
    for start in range(0, len(gathered.chunks), size):
        part = slice(start, start + size)
        own = gathered.sources[part]
        places = {source: place for place, source in enumerate(dict.fromkeys(own))}
        yield Block(
            chunks=gathered.chunks[part],
            sources=list(places),
            source=[places[source] for source in own],
            x=[round(float(x), 4) for x in points[part, 0]],
            y=[round(float(y), 4) for y in points[part, 1]],
        )
