"""What a corpus stores, for tests that compare two of them: apart from ids and times."""

from __future__ import annotations

from typing import Any

import numpy as np

import reflow as rf
from reflow.rag.corpus import Corpus


class StoredChunk(rf.Object):
    """A chunk with its vector, as float32 numbers."""

    key: str
    number: int
    text: str
    hash: str
    first_line: int
    error: str | None
    vector: bytes | None


class StoredSource(rf.Object):
    """A source and its versions' states."""

    key: str
    state: str
    error: str | None
    chunk_count: int
    versions: list[str]


class Stored:
    """Reads everything; `app` has the corpus and these functions."""

    def __init__(self, corpus: Corpus) -> None:
        tables = corpus.tables
        module = rf.Module("stored")

        @module.internal_query(owners="all")
        async def sources(ctx: rf.QueryCtx) -> list[StoredSource]:
            found: list[StoredSource] = []
            for source in await ctx.db.query(tables.Source).using(tables.Source.by_key).collect():
                versions = ctx.db.query(tables.Version).using(tables.Version.by_source, source=source.id)
                states: list[str] = [row.state for row in await versions.collect()]
                found.append(
                    StoredSource(
                        key=source.key,
                        state=source.state,
                        error=source.error,
                        chunk_count=source.chunk_count,
                        versions=states,
                    )
                )
            return found

        @module.internal_query(owners="all")
        async def chunks(ctx: rf.QueryCtx, key: str) -> list[StoredChunk]:
            source = await ctx.db.query(tables.Source).using(tables.Source.by_key, key=key).unique()
            assert source is not None
            found: list[StoredChunk] = []
            for chunk in await ctx.db.query(tables.Chunk).using(tables.Chunk.by_source, source=source.id).collect():
                vector = await ctx.db.vector(tables.Chunk.meaning, chunk.id)
                assert (vector is not None) == chunk.embedded
                data = None if vector is None else np.ascontiguousarray(vector, "<f4").tobytes()
                found.append(
                    StoredChunk(
                        key=key,
                        number=chunk.number,
                        text=chunk.text,
                        hash=chunk.hash,
                        first_line=chunk.first_line,
                        error=chunk.error,
                        vector=data,
                    )
                )
            return found

        @module.internal_query(owners="all")
        async def counts(ctx: rf.QueryCtx) -> dict[str, int]:
            return {table.__name__: await ctx.db.query(table).count() for table in tables}

        self.sources = sources
        self.chunks = chunks
        self.counts = counts
        self.app = rf.App(modules=[module], components=[corpus])

    async def all(self, backend: Any) -> tuple[list[StoredSource], list[StoredChunk]]:
        """All sources and all chunks."""
        found: list[StoredSource] = await backend.query(self.sources)
        chunks = [chunk for source in found for chunk in await backend.query(self.chunks, key=source.key)]
        return found, chunks
