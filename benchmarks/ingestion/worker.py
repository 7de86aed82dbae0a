"""The process that ingests: `python -m benchmarks.ingestion.worker DIRECTORY CHUNKS LOG [URL KEY CONCURRENCY]`.

Prints a line when it begins to add and one of JSON when everything is embedded. Appends the hash of each text that was
embedded to the log as soon as its vector is there, so that the log tells also what a killed process had done.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import reflow as rf
from reflow.rag.embedders.base import Embedder, Kind, Vectors
from reflow.rag.embedders.local import LocalEmbedder
from reflow.rag.embedders.openai import OpenAICompatible
from reflow.rag.ingestion.cache import text_hash

from .library import texts
from .stored import corpus_of

DIMS = 64
_POLL_SECONDS = 1.0


class LoggedEmbedder(LocalEmbedder):
    """The local embedder, with a log of what it has embedded."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        """Unit vectors, shape (texts, 384)."""
        vectors = await super().embed(texts, kind)
        os.write(self._log, "".join(f"{text_hash(text)}\n" for text in texts).encode())
        return vectors


def embedder_of(arguments: Sequence[str], log: Path) -> Embedder:
    """The local model, or one behind an address."""
    if not arguments:
        return LoggedEmbedder(log)
    url, key, concurrency = arguments
    return OpenAICompatible(
        "test-embed", base_url=url, api_key=key, dims=DIMS, max_batch=32, concurrency=int(concurrency)
    )


async def main(directory: Path, chunks: int, log: Path, arguments: Sequence[str]) -> None:
    embedder = embedder_of(arguments, log)
    if isinstance(embedder, LocalEmbedder):
        await embedder.load()
    library = list(texts(chunks))
    corpus = corpus_of(embedder)
    app = rf.App(modules=[], components=[corpus])
    async with app.open(directory) as backend:
        print("adding", flush=True)
        resting_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        wall, cpu = time.perf_counter(), time.process_time()
        for name, text in library:
            await backend.mutation(corpus.sources.put, key=name, text=text, name=name, bulk=True)
        added = time.perf_counter() - wall
        while (await backend.query(corpus.jobs.status)).state != "idle":
            await asyncio.sleep(_POLL_SECONDS)
        figures = {
            "sources": len(library),
            "chunks": (await backend.query(corpus.sources.totals)).chunks,
            "adding_s": added,
            "wall_s": time.perf_counter() - wall,
            "cpu_s": time.process_time() - cpu,
            "resting_mb": resting_mb,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }
        if isinstance(embedder, LocalEmbedder):
            stats = embedder.stats
            figures |= {"model_cpu_s": stats.session_cpu_seconds, "texts": stats.texts, "windows": stats.runs}
        print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), sys.argv[4:]))
