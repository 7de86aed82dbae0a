"""The vectors of a corpus, read piece by piece for a map: all of them, or of too many a part."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple
from zlib import crc32

import numpy as np

import reflow as rf
from reflow.rag.measures.projection import Vectors
from reflow.rag.part import Part

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


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


class Gathered(NamedTuple):
    """The vectors of a map, shape (count, dims), with their chunks and sources; `total` are there in all."""

    chunks: list[str]
    sources: list[str]
    vectors: Vectors
    total: int


class MapVectors:
    """Reads the vectors of an owner's chunks in an action."""

    def __init__(self, part: Part, corpus: Corpus) -> None:
        self._corpus = corpus
        self._limits = corpus.limits
        self.batch = part.background_query("batch", self._batch)

    async def gather(self, ctx: rf.ActionCtx, owner: str) -> Gathered:
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
        dims = self._corpus.embedder.dims
        return Gathered(chunks, sources, np.concatenate(parts) if parts else np.empty((0, dims), np.float32), total)

    async def _batch(self, ctx: rf.QueryCtx, owner: str, position: Position, below: float) -> Batch:
        """The next chunks with a vector whose hash is small enough."""
        tables, most = self._corpus.tables, self._limits.map_batch
        found = Batch(chunks=[], sources=[], vectors=b"", seen=0, next=None)
        vectors: list[bytes] = []
        read = 0
        sources = ctx.db.query(tables.Source).using(tables.Source.by_key, **self._corpus.whose(owner)).gte(position.key)
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


def _hash(id: str) -> float:
    """A number in 0..1 that is the same for the same chunk."""
    return crc32(id.encode()) / (1 << 32)
