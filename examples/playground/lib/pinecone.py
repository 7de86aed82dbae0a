"""`lib/pinecone`: what the vector store needs of the environment. Vectors live in reflow itself, so: nothing."""

from __future__ import annotations

import reflow as rf

pinecone = rf.Module("lib/pinecone", rename="camel")


@pinecone.query
async def env_check(ctx: rf.QueryCtx) -> dict[str, bool]:
    """For each setting that is needed whether it is there."""
    return {}
