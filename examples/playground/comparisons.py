"""`comparisons`: what is nearest to a chunk, found by the chunk's own vector; nothing is embedded for it."""

from __future__ import annotations

import time

import numpy as np

import reflow as rf
from playground.rows import ChunkRow, with_sources
from playground.schema import Chunk, Comparison, Related, Source

MOST = 100
"""Largest number of neighbours that a comparison can ask for."""

comparisons = rf.Module("comparisons", rename="camel")


class ComparisonRow(rf.Object, rename="camel"):
    """A comparison with its chunks in full: the target, and its neighbours as of now."""

    _id: rf.Id[Comparison]
    _creationTime: float
    target: ChunkRow
    count: int
    related_chunks: list[ChunkRow]
    query_ms: float | None = rf.missing()


@comparisons.mutation
async def upsert(ctx: rf.MutationCtx, target: rf.Id[Chunk], count: int = 10) -> rf.Id[Comparison]:
    """The id of a comparison of `target` with at least `count` neighbours: an earlier one or a new one."""
    if not 1 <= count <= MOST:
        raise rf.ApplicationError(f"A comparison shows 1 to {MOST} neighbours, not {count}")
    if await ctx.db.get(target) is None:
        raise rf.ApplicationError("This chunk does not exist (any more): choose another one")
    found = await ctx.db.query(Comparison).using(Comparison.by_target, target=target).gte(count).first()
    if found is not None:
        return found.id
    id = await ctx.db.insert(Comparison(target=target, count=count))
    await ctx.scheduler.run_after(0, compare, target=target, comparison_id=id, top_k=count)
    return id


@comparisons.query
async def get(ctx: rf.QueryCtx, comparison_id: rf.Id[Comparison]) -> ComparisonRow | None:
    """A comparison; None while its target waits to be embedded. A target that can't be embedded has no neighbours."""
    comparison = await ctx.db.get(comparison_id)
    chunk = None if comparison is None else await ctx.db.get(comparison.target)
    if comparison is None or chunk is None:
        raise rf.ApplicationError("This comparison's chunk was deleted: choose another one")
    vector = await ctx.db.vector(Chunk.meaning, chunk.id)
    if vector is None and not await _has_failed(ctx, chunk):
        return None
    near = [] if vector is None else await ctx.db.nearest(Chunk.meaning, vector, limit=comparison.count + 1)
    neighbours = [(hit.doc, hit.score) for hit in near if hit.doc.id != chunk.id]
    rows = await with_sources(ctx.db, [(chunk, None), *neighbours[: comparison.count]])
    return ComparisonRow(
        _id=comparison.id,
        _creationTime=comparison.created,
        target=rows[0],
        count=comparison.count,
        related_chunks=rows[1:],
        query_ms=comparison.query_ms,
    )


async def _has_failed(ctx: rf.QueryCtx, chunk: Chunk) -> bool:
    source: Source | None = await ctx.db.get(chunk.source_id)
    return source is not None and source.state == "failed"


@comparisons.internal_action
async def compare(
    ctx: rf.ActionCtx, target: rf.Id[Chunk], top_k: int, comparison_id: rf.Id[Comparison] | None = None
) -> list[Related]:
    """The `top_k` chunks nearest to `target`, without it. With `comparison_id` they are stored there."""
    vector = await ctx.run_query(vector_of, chunk=target)
    if vector is None:
        return []
    started = time.perf_counter()
    hits = await ctx.nearest(Chunk.meaning, np.frombuffer(vector, "<f4"), limit=top_k + 1)
    query_ms = (time.perf_counter() - started) * 1000
    related = [Related(id=hit.doc.id, score=hit.score) for hit in hits if hit.doc.id != target][:top_k]
    if comparison_id is not None:
        await ctx.run_mutation(patch, comparison_id=comparison_id, related_chunks=related, query_ms=query_ms)
    return related


@comparisons.internal_query
async def vector_of(ctx: rf.QueryCtx, chunk: rf.Id[Chunk]) -> bytes | None:
    """The vector of a chunk, float32 as bytes."""
    vector = await ctx.db.vector(Chunk.meaning, chunk)
    return None if vector is None else vector.astype("<f4").tobytes()


@comparisons.internal_mutation
async def patch(
    ctx: rf.MutationCtx, comparison_id: rf.Id[Comparison], related_chunks: list[Related], query_ms: float
) -> None:
    """Stores what was nearest when the comparison was made."""
    if await ctx.db.get(comparison_id) is not None:
        await ctx.db.patch(comparison_id, related_chunks=related_chunks, query_ms=query_ms)
