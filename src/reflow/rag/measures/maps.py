"""`Maps`: the vectors in two dimensions.

A map is made in the background and stored in blocks of points, which never change. It says when the corpus has changed
since; it is made anew when somebody asks for it, and until then the former one is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.measures.map_making import Block, MapMaking
from reflow.rag.measures.projection import Plane
from reflow.rag.part import Part
from reflow.rag.tables import OWNER, MapRow, Share

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

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


class Place(rf.Object):
    """Where something is on the map; what the map was not made of may be outside of -1..1."""

    x: float
    y: float


class Maps(Part):
    """The vectors in two dimensions. In a corpus with an owner each has a map of their own."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "maps")
        self._making = MapMaking(self, corpus)
        self.make = self.mutation("make", self._make)
        self.get = self.query("get", self._get)
        self.points = self.query("points", self._points)
        self.place = self.query("place", self._place)
        self.state = self.background_query("state", self._state)

    async def _make(self, ctx: rf.MutationCtx) -> None:
        """Makes the map anew in the background, unless that is under way. Raises ApplicationError for nobody."""
        owner = self._whose(ctx)
        if self.corpus.owner is not None and not owner:
            raise ApplicationError("A map is made of one's own sources: sign in first")
        await ctx.run_mutation(self._making.start, owner)

    def _whose(self, ctx: rf.QueryCtx | rf.MutationCtx) -> str:
        """The caller as an owner: "" in a corpus without owners, and for who owns nothing."""
        return self.own(ctx).get(OWNER, "")

    async def _get(self, ctx: rf.QueryCtx) -> MapState:
        """The map, live."""
        return await ctx.run_query(self.state, self._whose(ctx))

    async def _state(self, ctx: rf.QueryCtx, owner: str) -> MapState:
        row = await self._making.row(ctx, owner)
        if row is None:
            row = self.corpus.tables.Map()
        state: Literal["none", "making", "ready", "failed"] = "ready" if row.version else "none"
        error = row.error
        if row.making is not None:
            alive = await self._making.is_alive(ctx, row)
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
            stale=row.version > 0 and row.stamp != await self._making.stamp(ctx, owner),
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
        row = await self._making.row(ctx, self._whose(ctx))
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
