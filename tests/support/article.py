"""The playground's application in memory, with an embedder for tests and a clock that runs fast."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from article.app import app
from article.lib import embeddings
from article.schema import Chunk
from reflow import Backend, values
from reflow.engine.documents import FIRST_GENERATION
from reflow.rag.embedders.base import Embedder
from reflow.storage.memory import MemoryStorage
from reflow.testing.embedder import HashingEmbedder

FIRST_PAGE = {"numItems": 10, "cursor": None, "id": 1}
SPEED = 200
PATIENCE_SECONDS = 20


class FastClock:
    """A clock that runs SPEED times as fast, so that pauses between tries are short."""

    def __init__(self) -> None:
        self._zero = time.time_ns()
        self._began = time.perf_counter_ns()

    def now_ns(self) -> int:
        """Nanoseconds since 1970, once this clock is wound."""
        return self._zero + (time.perf_counter_ns() - self._began) * SPEED

    async def sleep(self, seconds: float) -> None:
        """Returns after that time of this clock."""
        await asyncio.sleep(seconds / SPEED)

    def skip(self, seconds: float) -> None:
        """Sets the clock forward; who sleeps does not notice."""
        self._zero += int(seconds * 1e9)


class Playground:
    """Calls by wire names and wire values, as a client makes them."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def __call__(self, path: str, **args: Any) -> Any:
        """The JSON that a client gets from a public or internal function."""
        engine = self.backend.engine
        function = engine.resolve(path)
        raw = values.encode(args)
        if function.kind == "mutation":
            result = (await engine.mutation(function, raw)).result
        elif function.kind == "action":
            result = await engine.action(function, raw)
        else:
            result = await engine.query(function, raw)
        if result.failure is not None:
            raise AssertionError(result.failure)
        return json.loads(result.value or b"null")

    async def add(self, name: str, *texts: str) -> str:
        """Adds a source and gives its id."""
        await self("sources:add", name=name, chunks=chunks_of(texts))
        return (await self.sources())[0]["_id"]

    async def sources(self) -> list[Any]:
        """The first page of sources."""
        return (await self("sources:paginate", paginationOpts=FIRST_PAGE))["page"]

    async def search(self, input: str, **args: Any) -> str:
        """Starts a search, waits for its end, and gives its id."""
        id = await self("searches:upsert", input=input, **args)
        await self.until(lambda results: results["status"] != "pending", "searches:results", searchId=id)
        return id

    async def until(self, condition: Callable[[Any], bool], path: str, **args: Any) -> Any:
        """The first result of a query that fulfils a condition."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            result = await self(path, **args)
            if condition(result):
                return result
            assert time.monotonic() < deadline, f"{path} still says {result}"
            await asyncio.sleep(0.005)

    def vectors(self) -> int:
        """How many vectors of chunks there are."""
        engine = self.backend.engine
        _, index = engine.catalog.index(Chunk.meaning)
        return engine.vectors.count((index.number, FIRST_GENERATION), engine.committer.published)


def chunks_of(texts: Iterable[str]) -> list[dict[str, Any]]:
    """Chunks as a client sends them."""
    return [{"text": text, "lines": {"from": n, "to": n + 1}} for n, text in enumerate(texts, 1)]


@asynccontextmanager
async def playing(embedder: Embedder | None = None) -> AsyncIterator[Playground]:
    """The playground over memory, with `embedder` (default: one that counts words)."""
    embeddings.use(embedder if embedder is not None else HashingEmbedder())
    engine = app.engine(MemoryStorage(), clock=FastClock(), log_errors=False)
    await engine.start()
    try:
        yield Playground(Backend(engine))
    finally:
        await engine.close()
        embeddings.use(None)
