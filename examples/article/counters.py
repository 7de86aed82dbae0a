"""The counters: one document that tells how far embedding is, so that nobody has to count."""

from __future__ import annotations

from typing import Any

import reflow as rf
from article.schema import Counters, Model


async def read(db: rf.DatabaseReader) -> Counters:
    """The counters; all zero before the first write."""
    return await db.query(Counters).first() or Counters()


async def model(db: rf.DatabaseReader) -> str | None:
    """Which model made the stored vectors; None before the first."""
    found = await db.query(Model).first()
    return None if found is None else found.name


async def update(ctx: rf.MutationCtx, **changes: Any) -> Counters:
    """Sets fields of the counters and gives them as they are then."""
    before = await ctx.db.query(Counters).first()
    if before is None:
        await ctx.db.insert(Counters(**changes))
    else:
        await ctx.db.patch(before.id, **changes)
    return await read(ctx.db)


async def count(
    ctx: rf.MutationCtx, *, total: int = 0, embedded: int = 0, failed: int = 0, sources: int = 0, run: int = 0
) -> None:
    """Adds to the counters; a run of the corpus ends with its last chunk."""
    now = await read(ctx.db)
    changes: dict[str, Any] = {
        "total": now.total + total,
        "embedded": now.embedded + embedded,
        "failed": now.failed + failed,
        "sources": now.sources + sources,
        "run_embedded": now.run_embedded + run,
    }
    if embedded:
        changes["changes"] = now.changes + 1
    if embedded > 0:
        changes["updated_at"] = ctx.now() * 1000
    waiting = changes["total"] - changes["embedded"] - changes["failed"]
    if waiting == 0 and not now.listing and now.started_at is not None and now.finished_at is None:
        changes["finished_at"] = ctx.now() * 1000
    await update(ctx, **changes)
