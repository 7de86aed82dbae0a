"""The corpus under test, and what it holds, without ids and times."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import numpy as np

import reflow as rf
from reflow.rag.corpus import Corpus
from reflow.rag.embedders.base import Embedder, Kind, Vectors
from reflow.rag.ingestion.jobs import Pace
from reflow.rag.reembed import model_of


class Silent:
    """An embedder of the same name that never answers: so that a corpus can be looked at while nothing goes on."""

    max_tokens: int | None = None

    def __init__(self, embedder: Embedder) -> None:
        model = model_of(embedder)
        self.id, self.revision, self.dims, self.normalized = (
            model.embedder,
            model.revision,
            model.dims,
            model.normalized,
        )

    def count_tokens(self, text: str) -> int:
        """Nothing is counted."""
        return 0

    async def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """Waits to be cancelled."""
        await asyncio.Event().wait()
        return np.empty((0, self.dims), np.float32)


class Contents(rf.Object):
    """What a corpus holds. `digest` is of every chunk with its place, text and vector."""

    digest: str
    states: dict[str, int]
    """Sources by state."""
    reasons: list[str]
    """Why sources failed."""
    chunks: int
    embedded: list[str]
    """Hashes of the texts whose vectors are stored."""


def corpus_of(embedder: Embedder) -> Corpus:
    """A corpus as an application has it; failures are tried again sooner than by default."""
    return Corpus("docs", embedder=embedder, pace=Pace(longest_pause=5.0))


class Inspected:
    """A corpus with a function that reads it, page by page."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        tables = corpus.tables
        module = rf.Module("inspection")

        @module.internal_query
        async def sources(ctx: rf.QueryCtx) -> list[tuple[str, str, str | None]]:
            found = await ctx.db.query(tables.Source).using(tables.Source.by_key).collect()
            return [(source.key, source.state, source.error) for source in found]

        @module.internal_query
        async def chunks(ctx: rf.QueryCtx, key: str) -> list[tuple[int, str, bytes]]:
            source = await ctx.db.query(tables.Source).using(tables.Source.by_key, key=key).unique()
            if source is None:
                return []
            rows = await ctx.db.query(tables.Chunk).using(tables.Chunk.by_source, source=source.id).collect()
            found: list[tuple[int, str, bytes]] = []
            for row in rows:
                vector = await ctx.db.vector(tables.Chunk.meaning, row.id)
                data = b"" if vector is None else np.ascontiguousarray(vector, "<f4").tobytes()
                found.append((row.number, row.hash, data))
            return found

        self._sources = sources
        self._chunks = chunks
        self.app = rf.App(modules=[module], components=[corpus])

    async def read(self, directory: Path) -> Contents:
        """Everything there is. The embedder should be silent."""
        digest, embedded, count = sha256(), list[str](), 0
        states: dict[str, int] = {}
        reasons: list[str] = []
        async with self.app.open(directory) as backend:
            for key, state, reason in await backend.query(self._sources):
                states[state] = states.get(state, 0) + 1
                reasons += [] if reason is None else [reason]
                for number, hash, data in await backend.query(self._chunks, key=key):
                    digest.update(f"{key}\0{number}\0{hash}\0".encode() + data)
                    count += 1
                    embedded += [hash] if data else []
        return Contents(digest=digest.hexdigest(), states=states, reasons=reasons, chunks=count, embedded=embedded)
