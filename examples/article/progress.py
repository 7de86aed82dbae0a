"""How far a source is: chunk by chunk until it is saved, or failed with the reason."""

from __future__ import annotations

from collections.abc import Sequence

import reflow as rf
from article import counters
from article.schema import Model, Source


async def check_model(ctx: rf.MutationCtx, name: str, store: str) -> None:
    """Notes which model makes the vectors, and where they are. Raises ApplicationError when others are there."""
    known = await ctx.db.query(Model).first()
    if known is None:
        await ctx.db.insert(Model(name=name, store=store))
    elif (known.name, known.store) != (name, store):
        raise rf.ApplicationError(
            f"The stored vectors are of {known.name} ({known.store}), the embedder is {name} ({store}): "
            "restart the server"
        )


async def advance(ctx: rf.MutationCtx, id: rf.Id[Source], tokens: Sequence[int], milliseconds: float) -> None:
    """Notes new vectors, given by the tokens of their chunks. A source with its last vector is saved."""
    source = await ctx.db.get(id)
    if source is None:
        return
    embedded = source.embedded + len(tokens)
    await ctx.db.patch(
        id,
        embedded=embedded,
        total_tokens=(source.total_tokens or 0) + sum(tokens),
        embedding_ms=(source.embedding_ms or 0) + milliseconds,
    )
    if source.state == "failed":
        await counters.count(ctx, failed=-len(tokens))
    if embedded == source.chunk_count:
        await ctx.db.patch(id, saved=True, state="saved", error=rf.UNSET)


async def start_anew(ctx: rf.MutationCtx, source: Source) -> None:
    """All chunks of a source are to be embedded (again), in turn with others."""
    await counters.count(ctx, embedded=-source.embedded, failed=source.embedded if source.state == "failed" else 0)
    await ctx.db.patch(
        source.id,
        embedded=0,
        total_tokens=rf.UNSET,
        embedding_ms=rf.UNSET,
        bulk=True,
        saved=False,
        state="failed" if source.state == "failed" else "pending",
    )
