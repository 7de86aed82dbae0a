"""What is nearest to a chunk, found by the chunk's own vector: a graph of neighbours to walk through."""

from __future__ import annotations

from typing import Any

import reflow as rf
from reflow.rag.search.results import Hit, rows_of, sources_of
from reflow.rag.search.search_rows import Near
from reflow.rag.tables import Chunk


async def near(
    ctx: rf.QueryCtx,
    table: type[Chunk],
    target: Chunk,
    *,
    limit: int,
    other_sources: bool,
    min_length: int | None,
    within: dict[str, Any],
) -> Near | None:
    """The chunks nearest to `target`, as of now, without itself; None while it has no vector but will have one."""
    vector = await ctx.db.vector(table.meaning, target.id)
    hits: list[rf.Hit[Chunk]] = []
    if vector is not None:
        generations = await ctx.generations.list(table.meaning)
        model = next((one.model for one in generations if one.state == "active"), None)
        wanted = vector if model is None else rf.Embedding.of(vector, model)
        filter = {"source": {"$ne": target.source}} if other_sources else None
        # One more, since the target is nearest to itself.
        found = await ctx.db.nearest(
            table.meaning, wanted, limit=limit + 1, filter=filter, min_length=min_length, **within
        )
        hits = [hit for hit in found if hit.doc.id != target.id][:limit]
    sources = await sources_of(ctx.db, [target, *(hit.doc for hit in hits)])
    error = target.error or sources[target.source].error
    if vector is None and error is None:
        return None
    shown = [
        Hit(chunk=hit.doc, unweighed=hit.score, dense=rf.Leg(rank=rank, score=hit.score), words=rf.Leg())
        for rank, hit in enumerate(hits, 1)
    ]
    itself = Hit(chunk=target, unweighed=1.0 if vector is not None else 0.0, dense=rf.Leg(), words=rf.Leg())
    return Near(
        target=rows_of([itself], sources)[0],
        rows=rows_of(shown, sources),
        error=None if vector is not None else error,
    )
