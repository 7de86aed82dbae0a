"""Vectors inside: each is stored, changed and deleted in the transaction of its document, and searched live."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import reflow as rf
from article import counters, progress
from article.schema import Chunk, Comparison, Related, Search, Source
from article.stores.base import Answer, Embedded, Vector

inside = rf.Module("inside", rename="camel")


class Embedding(rf.Object):
    """A chunk's vector (float32 as bytes) and tokens."""

    chunk: rf.Id[Chunk]
    vector: bytes
    tokens: int


class Inside:
    """The store that reflow itself is."""

    name = "inside"
    drifts = False

    async def mark_deleted(self, ctx: rf.MutationCtx, chunks: Sequence[rf.Id[Chunk]]) -> None:
        """Nothing to do: a document takes its vectors along."""

    async def discard(self, ctx: rf.MutationCtx, source: Source) -> None:
        """Removes the vectors of a source."""
        for chunk in source.chunk_ids:
            await ctx.db.delete_vector(Chunk.meaning, chunk)

    async def missing(self, db: rf.DatabaseReader, source: Source, limit: int) -> list[rf.Id[Chunk]]:
        """Chunks without a vector. They are embedded in order, so the search starts behind those that have one."""
        wanted: list[rf.Id[Chunk]] = []
        for id in (*source.chunk_ids[source.embedded :], *source.chunk_ids[: source.embedded]):
            if len(wanted) == limit:
                break
            if await db.vector(Chunk.meaning, id) is None:
                wanted.append(id)
        return wanted

    async def results(self, db: rf.DatabaseReader, search: Search, limit: int) -> list[rf.Hit[Chunk]] | None:
        """The chunks nearest to the search's vector, live."""
        vector = await db.vector(Search.meaning, search.id)
        return None if vector is None else await db.nearest(Chunk.meaning, vector, limit=limit)

    async def neighbours(self, db: rf.DatabaseReader, comparison: Comparison) -> list[rf.Hit[Chunk]] | None:
        """The chunks nearest to the target's vector, live."""
        vector = await db.vector(Chunk.meaning, comparison.target)
        if vector is None:
            return None
        hits = await db.nearest(Chunk.meaning, vector, limit=comparison.count + 1)
        return [hit for hit in hits if hit.doc.id != comparison.target][: comparison.count]

    async def is_outdated(self, db: rf.DatabaseReader, asked: Search | Comparison) -> bool:
        """Never: what is shown is found anew whenever something changes."""
        return False

    async def save(self, ctx: rf.ActionCtx, embedded: Embedded) -> None:
        """One transaction stores the vectors and says so."""
        embeddings = [
            Embedding(chunk=piece.id, vector=vector.astype("<f4").tobytes(), tokens=tokens)
            for piece, vector, tokens in zip(embedded.pieces, embedded.vectors, embedded.tokens, strict=True)
        ]
        await ctx.run_mutation(
            save_vectors, vectors=embeddings, model=embedded.model, milliseconds=embedded.milliseconds
        )

    async def nearest(self, ctx: rf.ActionCtx, vector: Vector, limit: int) -> Answer:
        """The chunks nearest to a vector, as of now."""
        hits = await ctx.nearest(Chunk.meaning, vector, limit=limit)
        return Answer(related=[Related(id=hit.doc.id, score=hit.score) for hit in hits])

    async def like(self, ctx: rf.ActionCtx, chunk: rf.Id[Chunk], limit: int) -> Answer:
        """The chunks nearest to a chunk's vector, as of now; none while it has no vector."""
        vector = await ctx.run_query(vector_of, chunk=chunk)
        if vector is None:
            return Answer(related=[])
        found = await self.nearest(ctx, np.frombuffer(vector, "<f4"), limit + 1)
        return Answer(related=[related for related in found.related if related.id != chunk][:limit])

    async def remember(self, ctx: rf.ActionCtx, search: rf.Id[Search], input: str, vector: Vector) -> None:
        """Nothing to do: a search is stored with its vector."""


@inside.internal_mutation
async def save_vectors(ctx: rf.MutationCtx, vectors: list[Embedding], model: str, milliseconds: float) -> None:
    """Stores vectors of chunks that are still there and have none. A source with its last vector is saved."""
    await progress.check_model(ctx, model, Inside.name)
    chunks = await ctx.db.get_many([embedding.chunk for embedding in vectors])
    tokens: dict[rf.Id[Source], list[int]] = {}
    for chunk, embedding in zip(chunks, vectors, strict=True):
        if chunk is None or await ctx.db.vector(Chunk.meaning, chunk.id) is not None:
            continue
        await ctx.db.set_vector(Chunk.meaning, chunk.id, np.frombuffer(embedding.vector, "<f4"))
        tokens.setdefault(chunk.source_id, []).append(embedding.tokens)
    for id, counts in tokens.items():
        await progress.advance(ctx, id, counts, milliseconds * len(counts) / len(vectors))
    stored = sum(map(len, tokens.values()))
    await counters.count(ctx, embedded=stored, run=stored)


@inside.internal_query
async def vector_of(ctx: rf.QueryCtx, chunk: rf.Id[Chunk]) -> bytes | None:
    """The vector of a chunk, float32 as bytes."""
    vector = await ctx.db.vector(Chunk.meaning, chunk)
    return None if vector is None else vector.astype("<f4").tobytes()


INSIDE = Inside()
