"""`reconcile`: compares a remote store with the documents, and repairs what differs.

`reflow run reconcile:run --data DIR` does it at once and prints what was found; by itself it happens every hour.
Vectors inside reflow can't differ from their documents: for them there is nothing to do.
"""

from __future__ import annotations

import reflow as rf
from article import counters, progress
from article.embedding import embed_in_turn
from article.jobs import is_alive
from article.lib import pinecone
from article.schema import Chunk, Source
from article.stores import store_of
from article.stores.remote import unknown

EVERY_SECONDS = 3600.0

RETRY = rf.Retry(attempts=8, first=5.0, factor=2.0, longest=300.0)

SOURCES = 20
"""Sources whose chunks are read at once; each may have thousands."""

IDS = 1000
"""Ids that are looked up, or deleted, at once."""

reconcile = rf.Module("reconcile", rename="camel")


class Report(rf.Object, rename="camel"):
    """What was found: vectors in the store, those without a document, and chunks that should have one and don't."""

    vectors: int
    orphans: int
    missing: int


class Stored(rf.Object, rename="camel"):
    """Chunks of which documents say that they have a vector, by source; `next` is where the following ones begin."""

    chunks: dict[rf.Id[Source], list[rf.Id[Chunk]]]
    next: str | None


@reconcile.internal_action(retry=RETRY)
async def run(ctx: rf.ActionCtx) -> Report:
    """Removes vectors without documents, and has chunks embedded again whose vectors are lost."""
    if not store_of(ctx).drifts:
        return Report(vectors=0, orphans=0, missing=0)
    # The documents first: what they say is stored was stored before the store is asked.
    stored = await _stored(ctx)
    there = await pinecone.all_ids(ctx, "chunks")
    listed = sorted(there)
    orphans: list[str] = []
    for start in range(0, len(listed), IDS):
        orphans += await ctx.run_query(unknown, ids=listed[start : start + IDS])
    for start in range(0, len(orphans), IDS):
        await pinecone.delete_vectors(ctx, "chunks", orphans[start : start + IDS])
    missing = 0
    for source, chunks in stored.items():
        lost = len(set(chunks) - there)
        if lost and await ctx.run_mutation(embed_again, source=source):
            missing += lost
    if orphans or missing:
        ctx.log(f"{len(there)} vectors: {len(orphans)} had no document, {missing} were missing", level="WARN")
    return Report(vectors=len(there), orphans=len(orphans), missing=missing)


async def _stored(ctx: rf.ActionCtx) -> dict[rf.Id[Source], list[rf.Id[Chunk]]]:
    stored: dict[rf.Id[Source], list[rf.Id[Chunk]]] = {}
    cursor: str | None = None
    while True:
        page = await ctx.run_query(stored_chunks, cursor=cursor)
        stored |= page.chunks
        cursor = page.next
        if cursor is None:
            return stored


@reconcile.internal_query
async def stored_chunks(ctx: rf.QueryCtx, cursor: str | None) -> Stored:
    """What some of the sources say."""
    page = await ctx.db.query(Source).paginate(rf.PaginationOptions(num_items=SOURCES, cursor=cursor))
    chunks = {source.id: source.chunk_ids[: source.embedded] for source in page.page if source.embedded}
    return Stored(chunks=chunks, next=None if page.is_done else page.continue_cursor)


@reconcile.internal_mutation
async def embed_again(ctx: rf.MutationCtx, source: rf.Id[Source]) -> bool:
    """Has a source embedded again from its first chunk on; False when it was deleted meanwhile."""
    found = await ctx.db.get(source)
    if found is None:
        return False
    await progress.start_anew(ctx, found)
    await embed_in_turn(ctx)
    return True


# Now and then


@reconcile.internal_action(retry=RETRY)
async def run_regularly(ctx: rf.ActionCtx) -> None:
    """Reconciles, and plans the next time."""
    await run(ctx)
    await ctx.run_mutation(plan)


@reconcile.internal_mutation
async def plan(ctx: rf.MutationCtx) -> None:
    """The next time is in an hour."""
    job = await ctx.scheduler.run_after(EVERY_SECONDS, run_regularly)
    await counters.update(ctx, reconciliation=job)


async def keep_planned(ctx: rf.MutationCtx) -> None:
    """There is a next time, where it is needed."""
    if store_of(ctx).drifts and not await is_alive(ctx.db, (await counters.read(ctx.db)).reconciliation):
        await plan(ctx)


@reconcile.internal_mutation
async def start(ctx: rf.MutationCtx) -> None:
    """Reconciles now, where it is needed: nobody knows how the last run of the server ended."""
    now = await counters.read(ctx.db)
    if now.reconciliation is not None and await is_alive(ctx.db, now.reconciliation):
        await ctx.scheduler.cancel(now.reconciliation)
    if store_of(ctx).drifts:
        job = await ctx.scheduler.run_after(0, run_regularly)
        await counters.update(ctx, reconciliation=job)
