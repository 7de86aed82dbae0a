"""`lib/pinecone`: vectors in Pinecone, or in what speaks its API, where the settings name one.

Without REFLOW_VECTORS_URL vectors live in reflow itself, and nothing here is used.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

import reflow as rf
from article.schema import DIMS
from reflow.vectors import Index, Match

Vector = NDArray[np.float32]

URL = "REFLOW_VECTORS_URL"
KEY = "PINECONE_API_KEY"

Namespace = Literal["chunks", "searches"]
"""One for each table with vectors; a vector's id is that of its document."""

index = rf.Vectors("playground", dims=DIMS, metric="cosine")

pinecone = rf.Module("lib/pinecone", rename="camel")


@pinecone.query
async def env_check(ctx: rf.QueryCtx) -> dict[str, bool]:
    """For each setting that is needed whether it is there. Vectors in reflow itself need none."""
    return {KEY: bool(ctx.env.get(KEY))} if is_configured(ctx.env) else {}


def is_configured(environment: Mapping[str, str]) -> bool:
    """Whether the settings name a remote store."""
    return bool(environment.get(URL, "").strip())


def index_of(ctx: rf.ActionCtx) -> Index:
    """The index of this application, which is made when it is first used."""
    return ctx.vectors.index(index)


async def upsert_vectors(
    ctx: rf.ActionCtx, namespace: Namespace, vectors: Iterable[tuple[str, Vector, Mapping[str, Any]]]
) -> None:
    """Stores (id, vector, metadata). Doing it again changes nothing."""
    await index_of(ctx).upsert(vectors, namespace=namespace)


async def delete_vectors(ctx: rf.ActionCtx, namespace: Namespace, ids: Sequence[str]) -> None:
    """Removes vectors; those that are not there are no error."""
    await index_of(ctx).delete(ids, namespace=namespace)


async def nearest(ctx: rf.ActionCtx, namespace: Namespace, vector: Vector, top_k: int) -> list[Match]:
    """The vectors most similar to one."""
    return (await index_of(ctx).query(vector=vector, top_k=top_k, namespace=namespace)).matches


async def nearest_to(ctx: rf.ActionCtx, namespace: Namespace, id: str, top_k: int) -> list[Match]:
    """The vectors most similar to a stored one, which is among them; none when it is not stored."""
    return (await index_of(ctx).query(id=id, top_k=top_k, namespace=namespace)).matches


async def all_ids(ctx: rf.ActionCtx, namespace: Namespace) -> set[str]:
    """The ids of all vectors, with everything that was written here before."""
    await index_of(ctx).settled(namespace=namespace)
    ids: set[str] = set()
    token: str | None = None
    while True:
        page = await index_of(ctx).list(namespace=namespace, pagination_token=token)
        ids.update(page.ids)
        token = page.next
        if token is None:
            return ids
