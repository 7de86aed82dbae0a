"""The passages in reflow's own engine: text, vector and hybrid search are those that applications use."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np

import reflow as rf
from reflow.backend import Backend
from reflow.rag.embedders.base import Embedder, Vectors

from .corpora import Passage

DEPTH = 50
"""Chunks of a ranking. A hybrid one is fused from as many of either kind, which is what it takes by default."""

WEIGHTS = (0.5, 0.6, 0.75, 0.9)
"""Shares of the vectors that are measured; the default is among them."""

DEFAULT = "hybrid"
"""The search as it comes, without a word about weights."""

BATCH = 500
"""Passages that one mutation stores, or one call embeds."""


class Stored(rf.Table, table="passages"):
    """A passage; which one, `number` tells."""

    number: int
    text: str

    words = rf.TextIndex("text")
    meaning = rf.VectorIndex(dims=384)


passages = rf.Module("passages")


@passages.internal_mutation
async def add(ctx: rf.MutationCtx, first: int, texts: list[str], vectors: bytes) -> None:
    """Stores passages numbered from `first`, with their vectors (float32)."""
    rows = np.frombuffer(vectors, "<f4").reshape(len(texts), -1)
    for number, (text, row) in enumerate(zip(texts, rows, strict=True), first):
        await ctx.db.insert(Stored(number=number, text=text), vectors={Stored.meaning: row})


@passages.internal_query
async def rankings(ctx: rf.QueryCtx, question: str, vector: bytes) -> dict[str, list[int]]:
    """Method -> numbers of passages, best first."""
    row = np.frombuffer(vector, "<f4")
    found: dict[str, Sequence[rf.Hit[Stored] | rf.HybridHit[Stored]]] = {
        "text": await ctx.db.search(Stored.words, question, limit=DEPTH),
        "dense": await ctx.db.nearest(Stored.meaning, row, limit=DEPTH),
        DEFAULT: await ctx.db.hybrid(Stored.meaning, Stored.words, row, question, limit=DEPTH),
    }
    for weight in WEIGHTS:
        found[f"hybrid {weight}"] = await ctx.db.hybrid(
            Stored.meaning, Stored.words, row, question, limit=DEPTH, weight=weight
        )
    found["rrf 0.5"] = await ctx.db.hybrid(
        Stored.meaning, Stored.words, row, question, limit=DEPTH, weight=0.5, method="rrf"
    )
    return {method: [hit.doc.number for hit in hits] for method, hits in found.items()}


app = rf.App(modules=[passages])


@asynccontextmanager
async def stored(found: Sequence[Passage], vectors: Vectors, data: Path) -> AsyncGenerator[Backend, None]:
    """An engine that holds the passages."""
    async with app.open(data, durability="relaxed") as backend:
        for first in range(0, len(found), BATCH):
            texts = [passage.text for passage in found[first : first + BATCH]]
            rows = vectors[first : first + BATCH].astype("<f4").tobytes()
            await backend.mutation(add, first=first, texts=texts, vectors=rows)
        yield backend


async def embed(embedder: Embedder, texts: Sequence[str], cache: Path) -> Vectors:
    """Vectors of the texts, taken from `cache` where an equal call left them."""
    digest = hashlib.blake2b("\0".join([embedder.id, embedder.revision, *texts]).encode("utf-8", "replace"))
    file = cache / f"{digest.hexdigest()[:32]}.npy"
    if file.exists():
        return np.load(file)
    parts = [await embedder.embed(texts[at : at + BATCH], "document") for at in range(0, len(texts), BATCH)]
    cache.mkdir(parents=True, exist_ok=True)
    np.save(file, np.concatenate(parts))
    return np.load(file)
