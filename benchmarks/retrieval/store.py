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

CANDIDATES = 50
"""Chunks of either kind that a fused ranking chooses from; the playground takes as many."""

BATCH = 500
"""Passages that one mutation stores, or one call embeds."""


class Stored(rf.Table, table="passages"):
    """A passage; which one, `number` tells."""

    number: int
    text: str

    words = rf.TextIndex("text")
    meaning = rf.VectorIndex(dims=384)


Ranking = list[tuple[int, float]]
"""Numbers of passages with scores, best first."""


class Legs(rf.Object):
    """Both rankings of a question."""

    dense: Ranking
    text: Ranking


passages = rf.Module("passages")


@passages.internal_mutation
async def add(ctx: rf.MutationCtx, first: int, texts: list[str], vectors: bytes) -> None:
    """Stores passages numbered from `first`, with their vectors (float32)."""
    rows = np.frombuffer(vectors, "<f4").reshape(len(texts), -1)
    for number, (text, row) in enumerate(zip(texts, rows, strict=True), first):
        await ctx.db.insert(Stored(number=number, text=text), vectors={Stored.meaning: row})


@passages.internal_query
async def legs(ctx: rf.QueryCtx, question: str, vector: bytes) -> Legs:
    """The first `CANDIDATES` passages by vector and by words."""
    dense = await ctx.db.nearest(Stored.meaning, np.frombuffer(vector, "<f4"), limit=CANDIDATES)
    text = await ctx.db.search(Stored.words, question, limit=CANDIDATES)
    return Legs(
        dense=[(hit.doc.number, hit.score) for hit in dense], text=[(hit.doc.number, hit.score) for hit in text]
    )


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
