"""Making a map in the background: a run that was cut short is made again, one that failed says why."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import TYPE_CHECKING, Any

import numpy as np

import reflow as rf
from reflow.errors import ReflowError
from reflow.rag.faults import in_words
from reflow.rag.measures.map_vectors import Gathered, MapVectors
from reflow.rag.measures.projection import Plane, Points, Vectors, fitted, principal_plane
from reflow.rag.part import Part
from reflow.rag.tables import MapRow, Share, Stamp

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

RETRY = rf.Retry(attempts=5, first=1.0, longest=30.0)
"""After a stop of the server: what fails otherwise ends the run."""

_ALIVE = ("pending", "inProgress")
_LARGEST = 50


class Block(rf.Object, rename="camel"):
    """Some points, column by column: the chunk, its source as a place in `sources`, and where it is, in -1..1."""

    chunks: list[str]
    sources: list[str]
    source: list[int]
    x: list[float]
    y: list[float]


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


class MapMaking:
    """Makes maps. All of it works for one owner, who is named; "" in a corpus without owners."""

    def __init__(self, part: Part, corpus: Corpus) -> None:
        self._corpus = corpus
        self._vectors = MapVectors(part, corpus)
        self.start = part.background_mutation("start", self._start)
        self.begin = part.background_mutation("begin", self._begin)
        self.store = part.background_mutation("store", self._store)
        self.finish = part.background_mutation("finish", self._finish)
        self.fail = part.background_mutation("fail", self._fail)
        self.run = part.background_action("run", self._run, retry=RETRY)

    # What is there

    async def row(self, ctx: rf.QueryCtx | rf.MutationCtx, owner: str) -> MapRow | None:
        """The map, None where none was asked for yet."""
        table = self._corpus.tables.Map
        query = ctx.db.query(table)
        return await (
            query if self._corpus.owner is None else query.using(table.by_owner, **self._corpus.whose(owner))
        ).first()

    async def is_alive(self, ctx: rf.QueryCtx | rf.MutationCtx, row: MapRow) -> bool:
        """Whether the run is there that is to make it."""
        job = None if row.job is None else await ctx.db.get(row.job)
        return isinstance(job, rf.Scheduled) and job.state.kind in _ALIVE

    async def stamp(self, ctx: rf.QueryCtx | rf.MutationCtx, owner: str) -> Stamp:
        """What a map that is begun now is of."""
        tables = self._corpus.tables
        sources = ctx.db.query(tables.Source).using(tables.Source.by_update, **self._corpus.whose(owner))
        last = await sources.order("desc").first()
        generations = await ctx.generations.list(tables.Chunk.meaning)
        model = next((str(one.model) for one in generations if one.state == "active"), "")
        return Stamp(updated=0.0 if last is None else last.updated, sources=await sources.count(), model=model)

    # A run

    async def _start(self, ctx: rf.MutationCtx, owner: str) -> None:
        table = self._corpus.tables.Map
        row = await self.row(ctx, owner)
        if row is not None and row.making is not None and await self.is_alive(ctx, row):
            return
        job = await ctx.scheduler.run_after(0, self.run, owner)
        if row is None:
            await ctx.db.insert(table(making=1, job=job, **self._corpus.whose(owner)))
        else:
            await ctx.db.patch(row.id, making=max(row.version, row.making or 0) + 1, job=job, error=rf.UNSET)

    async def _begin(self, ctx: rf.MutationCtx, owner: str) -> int | None:
        """The version to make, with nothing of it left from a run that was cut short; None: there is nothing to do."""
        row = await self.row(ctx, owner)
        if row is None or row.making is None:
            return None
        await self._delete_blocks(ctx, owner, other_than=row.version)
        await ctx.db.patch(row.id, making_stamp=await self.stamp(ctx, owner))
        return row.making

    async def _delete_blocks(self, ctx: rf.MutationCtx, owner: str, *, other_than: int) -> None:
        table = self._corpus.tables.MapBlock
        blocks = await ctx.db.query(table).using(table.by_number, **self._corpus.whose(owner)).collect()
        await ctx.db.delete_many(block.id for block in blocks if block.version != other_than)

    async def _run(self, ctx: rf.ActionCtx, owner: str) -> None:
        version = await ctx.run_mutation(self.begin, owner)
        if version is None:
            return
        began = perf_counter()
        try:
            gathered = await self._vectors.gather(ctx, owner)
            points, plane = await asyncio.to_thread(self._projected, gathered.vectors)
            blocks = list(_blocks(gathered, points, self._corpus.limits.map_block_points))
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
            reason = in_words(error)
            await ctx.run_mutation(self.fail, owner, version, reason)

    def _projected(self, vectors: Vectors) -> tuple[Points, Plane | None]:
        """Where the vectors are, and the plane, where it is one."""
        if not len(vectors):
            return np.empty((0, 2), np.float32), None
        if self._corpus.projection is None:
            plane = principal_plane(vectors)
            return plane.place(vectors), plane
        points = np.asarray(self._corpus.projection(vectors))
        if points.shape != (len(vectors), 2) or not np.isfinite(points).all():
            raise ReflowError(
                f"the corpus's projection gave shape {points.shape}, or something that is no number, for "
                f"{len(vectors)} vectors: it must give two finite numbers for each"
            )
        return fitted(points), None

    async def _store(self, ctx: rf.MutationCtx, owner: str, version: int, number: int, block: Block) -> None:
        fields = {name: getattr(block, name) for name in block.__struct_fields__}
        await ctx.db.insert(
            self._corpus.tables.MapBlock(version=version, number=number, **fields, **self._corpus.whose(owner))
        )

    async def _finish(self, ctx: rf.MutationCtx, owner: str, version: int, made: Finished) -> None:
        """Shows the new version in the place of the former one."""
        row = await self.row(ctx, owner)
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
        row = await self.row(ctx, owner)
        if row is not None and row.making == version:
            await ctx.db.patch(row.id, making=rf.UNSET, job=rf.UNSET, error=reason)


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
