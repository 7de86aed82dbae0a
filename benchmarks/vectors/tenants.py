"""Many small namespaces in one index: `python -m benchmarks.vectors.tenants DIRECTORY` prints figures as JSON."""

from __future__ import annotations

import json
import statistics
import sys
from functools import partial
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.load import Figures
from reflow.engine.catalog import GENERATION
from reflow.search.metric import VectorChange, VectorQuery

from .bulk import commit_vectors
from .data import Dataset, Floats, dataset
from .measuring import anonymous_mb, measure_async
from .reflow_worker import Row, application, batches

TENANTS = 1000
VECTORS = 100
"""Of each tenant."""
ASKED = 500
"""Searches, each of another tenant."""
HITS = 10


async def measure(directory: Path) -> Figures:
    """Fills the namespaces, asks some, and compares what comes with brute force."""
    data = dataset(f"clustered-{TENANTS * VECTORS}")
    async with application(directory).open() as backend:
        engine = backend.engine
        place = (engine.catalog.index(Row.meaning)[1].number, GENERATION)
        memory = anonymous_mb()
        for rows in batches(len(data.vectors)):
            found = [VectorChange(place, (row + 1) << 12, data.vectors[row], space=1 + row % TENANTS) for row in rows]
            await commit_vectors(engine, found)
        asked = [(number % TENANTS, data.queries[number % len(data.queries)]) for number in range(ASKED)]

        async def search(number: int) -> list[int]:
            tenant, vector = asked[number]
            query = VectorQuery(HITS, vector, space=1 + tenant)
            hits = await engine.vectors.search(place, query, engine.committer.published)
            return [(seq >> 12) - 1 for _, seq in hits]

        measured = await measure_async(search, range(ASKED), float("inf"))
        return {
            "memory_mb": anonymous_mb() - memory,
            "cpu_ms": measured["cpu_ms"],
            "p50_ms": statistics.median(measured["wall_ms"]),
            "recall": statistics.fmean(map(partial(_recall, data), asked, measured["hits"])),
        }


def _recall(data: Dataset, asked: tuple[int, Floats], hits: list[int]) -> float:
    tenant, vector = asked
    scores = data.vectors[tenant::TENANTS].astype(np.float64) @ vector.astype(np.float64)
    best = {tenant + int(place) * TENANTS for place in np.argsort(-scores)[:HITS]}
    return len(best.intersection(hits)) / HITS


def main() -> None:
    print(json.dumps(uvloop.run(measure(Path(sys.argv[1])))))


if __name__ == "__main__":
    main()
