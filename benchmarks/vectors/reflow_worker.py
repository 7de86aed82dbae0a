"""reflow in a process of its own: `python -m benchmarks.vectors.reflow_worker DATASET [build]`; see `worker`.

It searches in three ways: `reflow` as a function does, in a transaction that reads a snapshot and loads the documents
found; `reflow-store` asks the vector store alone; `reflow-approximate` does so and allows approximate answers.
"""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import uvloop
from numpy.typing import NDArray

import reflow as rf
from reflow.backend import Backend
from reflow.database import DatabaseReader, DatabaseWriter
from reflow.engine.documents import FIRST_GENERATION
from reflow.engine.engine import Engine
from reflow.engine.transaction import EngineTransaction
from reflow.ids import parse_id
from reflow.search.cells import AVAILABLE
from reflow.search.filters import parse
from reflow.search.metric import VectorQuery

from .cases import Case, cases
from .corpus import corpus
from .data import BLOCK, DIMS, Dataset, dataset
from .measuring import Measured, anonymous_mb, measure_async
from .worker import build, built, directory_of, replies_only, serve

BATCH = 1000
SEQUENCES = "sequences.npy"
"""The file with the sequence number of each row's document."""
BUILT = "reflow"
INDEX = "bench"
"""Name of a free-standing index."""
_POLL_SECONDS = 0.2


class Row(rf.Table, table="rows"):
    """A row of a data set, its metadata as fields."""

    number: int
    cat: int
    r: float
    topic: int

    meaning = rf.VectorIndex(dims=DIMS, filters=("cat", "r", "topic"))


def application(data: Path) -> rf.App:
    """An application without functions over the rows."""
    return rf.App(modules=[], tables=[Row], data=data, environment={})


def batches(rows: int) -> Iterator[range]:
    """Row numbers, a batch at a time."""
    return (range(start, min(start + BATCH, rows)) for start in range(0, rows, BATCH))


async def insert(engine: Engine, data: Dataset, rows: range) -> list[rf.Id[Row]]:
    """Stores rows with their vectors in one commit."""

    async def work(tx: EngineTransaction) -> list[rf.Id[Row]]:
        documents = [
            Row(number=row, cat=int(data.cat[row]), r=float(data.r[row]), topic=int(data.topic[row])) for row in rows
        ]
        vectors = [{Row.meaning: data.vectors[row]} for row in rows]
        return await DatabaseWriter(tx).insert_many(documents, vectors=vectors)

    return await engine.transact(work)


async def fill(directory: Path, data: Dataset) -> None:
    """Stores all rows, in order."""
    seqs: list[int] = []
    async with application(directory).open() as backend:
        for rows in batches(len(data.vectors)):
            seqs += [parse_id(id).seq for id in await insert(backend.engine, data, rows)]
    np.save(directory / SEQUENCES, np.array(seqs))


class Searcher:
    """The ways to search an open backend."""

    def __init__(self, backend: Backend, data: Dataset) -> None:
        self._engine = backend.engine
        self._data = data
        _, index = self._engine.catalog.index(Row.meaning)
        self._place = (index.number, FIRST_GENERATION)
        self._seqs: NDArray[np.int64] = np.load(directory_of(BUILT, data) / SEQUENCES)

    async def as_function(self, query: int, k: int, case: Case) -> Sequence[int]:
        """In a transaction, documents included."""
        wanted = None if case.condition is None else case.condition.as_mapping()
        async with self._engine.reading() as tx:
            hits = await DatabaseReader(tx).nearest(Row.meaning, self._data.queries[query], limit=k, filter=wanted)
        return [hit.doc.number for hit in hits]

    async def in_store(self, query: int, k: int, case: Case) -> Sequence[int]:
        """The vector store alone, exactly."""
        return await self._ask_store(query, k, case, approximate=False)

    async def approximately(self, query: int, k: int, case: Case) -> Sequence[int]:
        """The vector store alone, which may answer approximately."""
        return await self._ask_store(query, k, case, approximate=True)

    async def learnt(self) -> float:
        """Waits for what approximate searches need, if there are enough rows; returns the seconds it took.

        It is saved when the directory is closed, so it is made only once.
        """
        began = time.perf_counter()
        if AVAILABLE and len(self._data.vectors) >= self._engine.limits.approximate_rows:
            table = self._engine.vectors.tables[self._place]
            while table.approximation(0) is None:
                await asyncio.sleep(_POLL_SECONDS)
        return time.perf_counter() - began

    async def _ask_store(self, query: int, k: int, case: Case, *, approximate: bool) -> Sequence[int]:
        wanted = None if case.condition is None else parse(case.condition.as_mapping())
        asked = VectorQuery(k, np.array(self._data.queries[query]), filter=wanted)
        ts = self._engine.committer.published
        hits = await self._engine.vectors.search(self._place, asked, ts, approximate=approximate)
        return [seq for _, seq in hits]

    def rows(self, seqs: Sequence[int]) -> list[int]:
        """The row numbers behind what the store has found. Looked up when the clock has stopped: peers know theirs."""
        return np.searchsorted(self._seqs, seqs).tolist()


async def answer(data: Dataset) -> None:
    """Opens the rows and answers commands."""
    replies = replies_only()
    loop = asyncio.get_running_loop()
    memory, began = anonymous_mb(), time.perf_counter()
    async with application(directory_of(BUILT, data)).open() as backend:
        searcher = Searcher(backend, data)
        ways = {
            "reflow": searcher.as_function,
            "reflow-store": searcher.in_store,
            "reflow-approximate": searcher.approximately,
        }
        await searcher.in_store(0, 10, cases(data)[0])
        state = {"open_s": time.perf_counter() - began, "memory_mb": anonymous_mb() - memory, **built(BUILT, data)}
        state |= {"learnt_s": await searcher.learnt(), "with_cells_mb": anonymous_mb() - memory}

        def search(way: str, case: Case, k: int, queries: Sequence[int], seconds: float) -> Measured:
            one = ways[way]
            measuring = measure_async(lambda number: one(number, k, case), queries, seconds)
            measured = asyncio.run_coroutine_threadsafe(measuring, loop).result()
            if way != BUILT:
                measured["hits"] = [searcher.rows(seqs) for seqs in measured["hits"]]
            return measured

        await asyncio.to_thread(serve, replies, state, data, search)


def main() -> None:
    data = corpus() if sys.argv[1] == "corpus" else dataset(sys.argv[1])
    if sys.argv[2:] == ["build"]:
        # What an earlier version of the code built says little; only a million rows take too long each time.
        anew = len(data.vectors) <= BLOCK
        build(BUILT, data, lambda directory: uvloop.run(fill(directory, data)), anew=anew)
    else:
        uvloop.run(answer(data))


if __name__ == "__main__":
    main()
