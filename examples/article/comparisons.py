"""`comparisons`: what is nearest to a chunk, found by the chunk's own vector."""

from __future__ import annotations

import time

import reflow as rf
from article.jobs import is_last_try
from article.rows import ChunkRow, with_sources
from article.schema import Chunk, Comparison, Related, Source
from article.stores import store_of

RETRY = rf.Retry(attempts=3, first=0.5, factor=2.0, longest=5.0)
"""Somebody is waiting for the neighbours."""

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
    if found is None:
        id = await ctx.db.insert(Comparison(target=target, count=count))
        await _start(ctx, id)
        return id
    over = found.related_chunks is not None or found.error is not None
    if over and (found.error is not None or await store_of(ctx).is_outdated(ctx.db, found)):
        await _start(ctx, found.id)
    return found.id


async def _start(ctx: rf.MutationCtx, id: rf.Id[Comparison]) -> None:
    job = await ctx.scheduler.run_after(0, run, comparison_id=id)
    await ctx.db.patch(id, error=rf.UNSET, job=job)


@comparisons.query
async def get(ctx: rf.QueryCtx, comparison_id: rf.Id[Comparison]) -> ComparisonRow | None:
    """A comparison; None while its target waits to be embedded. One that can't be made has no neighbours."""
    comparison = await ctx.db.get(comparison_id)
    chunk = None if comparison is None else await ctx.db.get(comparison.target)
    if comparison is None or chunk is None:
        raise rf.ApplicationError("This comparison's chunk was deleted: choose another one")
    near = await store_of(ctx).neighbours(ctx.db, comparison)
    if near is None and comparison.error is None and not await _has_failed(ctx, chunk):
        return None
    rows = await with_sources(ctx.db, [(chunk, None), *((hit.doc, hit.score) for hit in near or [])])
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


@comparisons.internal_action(retry=RETRY)
async def run(ctx: rf.ActionCtx, comparison_id: rf.Id[Comparison]) -> None:
    """Makes a stored comparison. When the last try fails, the comparison says why."""
    found, last_try = await ctx.run_query(to_run, comparison_id=comparison_id)
    if found is None:
        return
    try:
        await compare(ctx, target=found.target, top_k=found.count, comparison_id=comparison_id)
    except Exception as error:
        if not last_try:
            raise
        ctx.log(f"the comparison failed for good: {error!r}", level="ERROR")
        await ctx.run_mutation(fail, comparison_id=comparison_id, error=str(error) or type(error).__name__)


@comparisons.internal_action
async def compare(
    ctx: rf.ActionCtx, target: rf.Id[Chunk], top_k: int, comparison_id: rf.Id[Comparison] | None = None
) -> list[Related]:
    """The `top_k` chunks nearest to `target`, without it. With `comparison_id` they are stored there."""
    started = time.perf_counter()
    answer = await store_of(ctx).like(ctx, target, top_k)
    query_ms = (time.perf_counter() - started) * 1000
    if comparison_id is not None:
        await ctx.run_mutation(
            patch,
            comparison_id=comparison_id,
            related_chunks=answer.related,
            as_of=answer.as_of,
            query_ms=query_ms,
        )
    return answer.related


@comparisons.internal_query
async def to_run(ctx: rf.QueryCtx, comparison_id: rf.Id[Comparison]) -> tuple[Comparison | None, bool]:
    """The comparison, None when it is gone, and whether this try of making it is the last one."""
    found = await ctx.db.get(comparison_id)
    return found, await is_last_try(ctx.db, None if found is None else found.job, RETRY)


@comparisons.internal_mutation
async def patch(
    ctx: rf.MutationCtx,
    comparison_id: rf.Id[Comparison],
    related_chunks: list[Related],
    as_of: int | None,
    query_ms: float,
) -> None:
    """Stores what was nearest when the comparison was made."""
    if await ctx.db.get(comparison_id) is not None:
        await ctx.db.patch(comparison_id, related_chunks=related_chunks, as_of=as_of, query_ms=query_ms)


@comparisons.internal_mutation
async def fail(ctx: rf.MutationCtx, comparison_id: rf.Id[Comparison], error: str) -> None:
    """Says why a comparison has no neighbours."""
    if await ctx.db.get(comparison_id) is not None:
        await ctx.db.patch(comparison_id, error=error)
