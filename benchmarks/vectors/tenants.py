"""Many small namespaces in one index: `python -m benchmarks.vectors.tenants DIRECTORY` prints figures as JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.load import Figures
from reflow.engine.engine import Engine
from reflow.engine.records import Records
from reflow.engine.transaction import EngineTransaction

from .data import DIMS, Dataset, Floats, dataset
from .measuring import anonymous_mb, measure_async
from .reflow_worker import INDEX, application

TENANTS = 1000
VECTORS = 100
"""Of each tenant."""
TOGETHER = 10
"""Tenants whose vectors go into one commit."""
ASKED = 500
"""Searches, each of another tenant."""
HITS = 10


async def measure(directory: Path) -> Figures:
    """Fills the namespaces, asks some, and compares what comes with brute force."""
    data = dataset(f"clustered-{TENANTS * VECTORS}")
    async with application(directory).open() as backend:
        engine = backend.engine
        await engine.transact(lambda tx: Records(tx).create_index(INDEX, dims=DIMS))
        memory, began = anonymous_mb(), time.perf_counter()
        for first in range(0, TENANTS, TOGETHER):
            await _fill(engine, data, range(first, first + TOGETHER))
        filled = time.perf_counter() - began
        asked = [(number % TENANTS, data.queries[number % len(data.queries)]) for number in range(ASKED)]

        async def search(number: int) -> list[int]:
            tenant, vector = asked[number]
            async with engine.reading() as tx:
                found = await Records(tx).index(INDEX).query(vector=vector, top_k=HITS, namespace=f"tenant-{tenant}")
            return [int(match.id) for match in found.matches]

        measured = await measure_async(search, range(ASKED), float("inf"))
        return {
            "fill_s": filled,
            "memory_mb": anonymous_mb() - memory,
            "cpu_ms": measured["cpu_ms"],
            "p50_ms": statistics.median(measured["wall_ms"]),
            "recall": statistics.fmean(map(partial(_recall, data), asked, measured["hits"])),
        }


async def _fill(engine: Engine, data: Dataset, tenants: range) -> None:
    """Stores some tenants' vectors: tenant t has the rows t, t + TENANTS, and so on."""

    async def work(tx: EngineTransaction) -> None:
        for tenant in tenants:
            rows = range(tenant, TENANTS * VECTORS, TENANTS)
            found = [(str(row), data.vectors[row]) for row in rows]
            await Records(tx).index(INDEX).upsert(found, namespace=f"tenant-{tenant}")

    await engine.transact(work)


def _recall(data: Dataset, asked: tuple[int, Floats], hits: list[int]) -> float:
    tenant, vector = asked
    scores = data.vectors[tenant::TENANTS].astype(np.float64) @ vector.astype(np.float64)
    best = {tenant + int(place) * TENANTS for place in np.argsort(-scores)[:HITS]}
    return len(best.intersection(hits)) / HITS


def main() -> None:
    print(json.dumps(uvloop.run(measure(Path(sys.argv[1])))))


if __name__ == "__main__":
    main()
