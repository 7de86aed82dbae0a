"""A flip of generations under load: `python -m benchmarks.vectors.flip DIRECTORY` prints figures as JSON.

Two models embed the same rows, the second one with the vectors of other rows, so that nearly every answer tells which
generation it is from. While a second generation is filled, made the one that searches use, and taken back several
times, tasks search, a writer inserts rows, and live searches follow. Every answer must be the one of either generation,
and of the new one as soon as the flip is acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import numpy as np
import uvloop
from numpy.typing import NDArray

import reflow as rf
from benchmarks.load import Figures, quantile
from reflow.backend import Backend
from reflow.generations import Embedding, Model

from .data import DIMS, Floats, dataset

ROWS = 20_000
FLIPS = 10
SEARCHERS = 4
FOLLOWED = 40
"""Live searches."""
HITS = 10
BETWEEN_SECONDS = 0.3
"""Between two flips."""

_BATCH = 500
_WAIT_SECONDS = 60.0
_STEP = 7919
"""The second model gives a row the vector of the row that is this much further on."""

FORMER = Model(embedder="bench/former", dims=DIMS)
NEXT = Model(embedder="bench/next", dims=DIMS)

flipping = rf.Module("flipping")


class Line(rf.Table, table="lines"):
    """A row that both models have embedded."""

    number: int

    meaning = rf.VectorIndex(dims=DIMS)


class Pair(rf.Object):
    """A row with its embeddings."""

    number: int
    embeddings: list[Embedding]


@flipping.query
async def nearest(ctx: rf.QueryCtx, embeddings: list[Embedding], turn: int) -> list[int]:
    """The numbers of the nearest rows. Another `turn` is another query, whose answer is not in the cache."""
    hits = await ctx.db.nearest(Line.meaning, embeddings, limit=HITS)
    return [hit.doc.number for hit in hits]


@flipping.mutation
async def insert(ctx: rf.MutationCtx, pairs: list[Pair]) -> None:
    """Stores rows with their embeddings by the models in use."""
    models = [row.model for row in await ctx.generations.list(Line.meaning)] or [FORMER]
    used = [[one for one in pair.embeddings if one.model in models] for pair in pairs]
    lines = [Line(number=pair.number) for pair in pairs]
    await ctx.db.insert_many(lines, vectors=[{Line.meaning: embeddings} for embeddings in used])


@flipping.action
async def fill(ctx: rf.ActionCtx) -> int:
    """Fills the second generation; its number."""
    row = await ctx.generations.start(Line.meaning, NEXT)
    vectors = dataset(f"clustered-{ROWS}").vectors
    while lacking := await ctx.generations.lacking(Line.meaning, row.number, limit=_BATCH):
        pairs = [(line, Embedding.of(_next(vectors, line.number), NEXT)) for line in lacking]
        await ctx.generations.put(Line.meaning, row.number, pairs)
    return row.number


@flipping.action
async def flip(ctx: rf.ActionCtx, number: int) -> None:
    """Makes a generation the one that searches use."""
    await ctx.generations.flip(Line.meaning, number)


def _next(vectors: Floats, number: int) -> Floats:
    """What the second model makes of a row. Rows of the writer are far from every question."""
    return vectors[(number + _STEP) % ROWS] if number < ROWS else -vectors[number % ROWS]


@dataclass
class Truth:
    """The right answers of both generations."""

    former: list[list[int]]
    next: list[list[int]]


@dataclass
class Seen:
    """What the load met."""

    active: int = 1
    """The generation that the last acknowledged flip made the active one."""
    begun: bool = False
    """Whether a flip is under way: both answers are right then."""
    latencies_ms: list[float] = field(default_factory=list[float])
    failed: int = 0
    mixed: int = 0
    stale: int = 0
    written: int = 0
    stopped: bool = False


class Load:
    """Those who search and write while generations change."""

    def __init__(self, backend: Backend, vectors: Floats, queries: Floats) -> None:
        self._backend = backend
        self._vectors = vectors
        self.questions = [[Embedding.of(query, FORMER), Embedding.of(query, NEXT)] for query in queries]
        self.truth = Truth(_best(vectors, queries, 0), _best(vectors, queries, _STEP))
        self.seen = Seen()
        self.latest: dict[int, list[int]] = {}
        self._turns = count(1)

    def right(self, query: int) -> list[int]:
        """The answer of the active generation."""
        return (self.truth.former if self.seen.active == 1 else self.truth.next)[query]

    async def search(self, first: int) -> None:
        """Asks one question after another."""
        seen, number = self.seen, first
        while not seen.stopped:
            number = (number + SEARCHERS) % len(self.questions)
            flipping_before, right_before, began = seen.begun, self.right(number), time.perf_counter()
            try:
                found = await self._backend.query(nearest, self.questions[number], next(self._turns))
            except rf.ReflowError:
                seen.failed += 1
                continue
            seen.latencies_ms.append((time.perf_counter() - began) * 1e3)
            if found not in (self.truth.former[number], self.truth.next[number]):
                seen.mixed += 1
            elif found != right_before and found != self.right(number) and not (flipping_before or seen.begun):
                seen.stale += 1
            await asyncio.sleep(0)  # as between two requests: a small search may never suspend

    async def write(self) -> None:
        """Inserts rows that are far from every question, embedded by both models."""
        while not self.seen.stopped:
            number = ROWS + self.seen.written
            vector = -self._vectors[number % ROWS]
            both = [Embedding.of(vector, model) for model in (FORMER, NEXT)]
            await self._backend.mutation(insert, [Pair(number=number, embeddings=both)])
            self.seen.written += 1
            await asyncio.sleep(0.005)

    async def follow(self, query: int) -> None:
        """Keeps the latest answer of a live search."""
        async for found in self._backend.watch(nearest, self.questions[query], 0):
            self.latest[query] = found

    async def followed(self) -> None:
        """Returns once every live search shows the active generation's answer. Raises TimeoutError."""
        async with asyncio.timeout(_WAIT_SECONDS):
            while any(self.latest.get(query) != self.right(query) for query in range(FOLLOWED)):
                await asyncio.sleep(0.001)


def _best(vectors: Floats, queries: Floats, step: int) -> list[list[int]]:
    """Row numbers of the best, where row n has the vector of row n + step."""
    scores = queries.astype(np.float64) @ vectors.astype(np.float64).T
    order: NDArray[np.intp] = np.argsort(-scores, axis=1, kind="stable")[:, :HITS]
    return ((order - step) % ROWS).tolist()


async def measure(directory: Path) -> Figures:
    """Fills, flips to and fro, and counts what went wrong."""
    data = dataset(f"clustered-{ROWS}")
    app = rf.App(modules=[flipping], tables=[Line], data=directory, environment={})
    async with app.open() as backend:
        load = Load(backend, data.vectors, data.queries)
        for start in range(0, ROWS, _BATCH):
            pairs = [
                Pair(number=row, embeddings=[Embedding.of(data.vectors[row], FORMER)])
                for row in range(start, start + _BATCH)
            ]
            await backend.mutation(insert, pairs)
        tasks = [asyncio.create_task(load.search(number)) for number in range(SEARCHERS)]
        tasks += [asyncio.create_task(load.write())]
        live = [asyncio.create_task(load.follow(query)) for query in range(FOLLOWED)]
        await load.followed()
        began = time.perf_counter()
        number = await backend.action(fill)
        filled = time.perf_counter() - began
        took = [await _flip(load, backend, to) for to in _to_and_fro(number)]
        load.seen.stopped = True
        await asyncio.gather(*tasks)
        for task in live:
            task.cancel()
        return _figures(load.seen, filled, took)


def _to_and_fro(number: int) -> Sequence[int]:
    return [number if turn % 2 == 0 else 1 for turn in range(FLIPS)]


async def _flip(load: Load, backend: Backend, number: int) -> float:
    """Flips, and waits until every live search has followed; the milliseconds until then."""
    began = time.perf_counter()
    load.seen.begun = True
    await backend.action(flip, number)
    load.seen.active, load.seen.begun = number, False
    await load.followed()
    took = (time.perf_counter() - began) * 1e3
    await asyncio.sleep(BETWEEN_SECONDS)
    return took


def _figures(seen: Seen, filled: float, took: list[float]) -> Figures:
    return {
        "searches": len(seen.latencies_ms),
        "written": seen.written,
        "failed": seen.failed,
        "mixed": seen.mixed,
        "stale": seen.stale,
        "p50_ms": quantile(seen.latencies_ms, 0.5),
        "p99_ms": quantile(seen.latencies_ms, 0.99),
        "max_ms": max(seen.latencies_ms),
        "fill_rows_per_s": ROWS / filled,
        "flip_and_follow_ms": quantile(took, 0.5),
    }


def main() -> None:
    print(json.dumps(uvloop.run(measure(Path(sys.argv[1])))))


if __name__ == "__main__":
    main()
