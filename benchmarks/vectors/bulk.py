"""Bulk loads and what they leave behind: `python -m benchmarks.vectors.bulk WAY ROWS DIRECTORY` prints figures as JSON.

Ways: `store` fills the vector store alone; `durable` commits vectors without document rows, as a whole application
does; `documents` commits documents with their vectors; `records` upserts into a free-standing index. Batches of 1,000.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.load import Figures
from reflow.database import DatabaseReader
from reflow.engine.commit import Step
from reflow.engine.documents import FIRST_GENERATION
from reflow.engine.engine import Engine
from reflow.engine.records import Records
from reflow.engine.transaction import Effects
from reflow.engine.write_log import Touched
from reflow.errors import ReflowError
from reflow.limits import DEFAULT
from reflow.search.metric import Place, VectorChange, VectorQuery
from reflow.search.vector import VectorStore
from reflow.storage.base import Batch, VectorWrite

from .data import DIMS, Dataset, dataset
from .measuring import anonymous_mb
from .reflow_worker import BATCH, INDEX, Row, application, batches, insert

REST_SECONDS = 3.0
"""Time for work in the background, such as moving rows into a file."""

Load = Callable[[range], Awaitable[None]]
"""Stores one batch of rows."""

Probe = Callable[[], Awaitable[object]]
"""Makes one search."""


def changes(data: Dataset, place: Place, rows: range) -> list[VectorChange]:
    """A batch of rows as changes of the vector store."""
    return [VectorChange(place, (row + 1) << 12, data.vectors[row], metadata=data.metadata(row)) for row in rows]


@asynccontextmanager
async def store_alone(data: Dataset, directory: Path) -> AsyncGenerator[tuple[Load, Probe], None]:
    """The vector store without a storage."""
    store = VectorStore(DEFAULT, directory)
    place = (1, 1)
    store.create(place, DIMS, "cosine")
    store.start(0)
    ts = 0

    async def load(rows: range) -> None:
        nonlocal ts
        ts += 1
        store.apply(ts, changes(data, place, rows))
        store.commit()

    async def probe() -> object:
        return await store.search(place, VectorQuery(10, data.queries[0]), ts)

    yield load, probe
    await store.close()


@asynccontextmanager
async def durable(data: Dataset, directory: Path) -> AsyncGenerator[tuple[Load, Probe], None]:
    """Commits of vectors through storage, write log and vector store."""
    async with application(directory).open() as backend:
        engine = backend.engine
        place = (engine.catalog.index(Row.meaning)[1].number, FIRST_GENERATION)

        async def load(rows: range) -> None:
            await commit_vectors(engine, changes(data, place, rows))

        async def probe() -> object:
            query = VectorQuery(10, data.queries[0])
            return await engine.vectors.search(place, query, engine.committer.published)

        yield load, probe


async def commit_vectors(engine: Engine, found: list[VectorChange]) -> None:
    """Stores vectors without documents in one commit; returns once it is durable."""
    future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def job() -> Step:
        writes = [VectorWrite(*c.place, c.seq, None if c.vector is None else c.vector.tobytes()) for c in found]
        batch = Batch(engine.next_ts(), vectors=writes)
        await engine.committer.apply(Effects(batch, Touched(), found))

        def done(_ts: int, error: ReflowError | None) -> None:
            future.set_result(None) if error is None else future.set_exception(error)

        return Step(done)

    engine.committer.submit(job)
    await future


@asynccontextmanager
async def documents(data: Dataset, directory: Path) -> AsyncGenerator[tuple[Load, Probe], None]:
    """Commits of documents with their vectors."""
    async with application(directory).open() as backend:

        async def load(rows: range) -> None:
            await insert(backend.engine, data, rows)

        async def probe() -> object:
            async with backend.engine.reading() as tx:
                return await DatabaseReader(tx).nearest(Row.meaning, data.queries[0])

        yield load, probe


@asynccontextmanager
async def records(data: Dataset, directory: Path) -> AsyncGenerator[tuple[Load, Probe], None]:
    """Commits of records into a free-standing index."""
    async with application(directory).open() as backend:
        await backend.engine.transact(lambda tx: Records(tx).create_index(INDEX, dims=DIMS))

        async def load(rows: range) -> None:
            found = [(str(row), data.vectors[row], data.metadata(row)) for row in rows]
            await backend.engine.transact(lambda tx: Records(tx).index(INDEX).upsert(found))

        async def probe() -> object:
            async with backend.engine.reading() as tx:
                return await Records(tx).index(INDEX).query(vector=data.queries[0])

        yield load, probe


WAYS = {"store": store_alone, "durable": durable, "documents": documents, "records": records}


async def measure(way: str, rows: int, directory: Path) -> Figures:
    """Loads the rows, then looks at memory: at once, and after a rest and a search."""
    data = dataset(f"clustered-{rows}")
    async with WAYS[way](data, directory) as (load, probe):
        np.asarray(data.vectors[:BATCH]).sum()
        memory, cpu, began = anonymous_mb(), time.process_time(), time.perf_counter()
        for batch in batches(rows):
            await load(batch)
        seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
        after = anonymous_mb() - memory
        await asyncio.sleep(REST_SECONDS)
        await probe()
        return {
            "rows_per_s": rows / seconds,
            "rows_per_cpu_s": rows / cpu,
            "memory_mb": after,
            "memory_rested_mb": anonymous_mb() - memory,
        }


def main() -> None:
    way, rows, directory = sys.argv[1], int(sys.argv[2]), Path(sys.argv[3])
    print(json.dumps(uvloop.run(measure(way, rows, directory))))


if __name__ == "__main__":
    main()
