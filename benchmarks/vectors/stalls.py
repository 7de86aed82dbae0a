"""How long searches hold the event loop: `python -m benchmarks.vectors.stalls DATASET SECONDS` prints figures as JSON.

A ticker wants to run every millisecond while several tasks search without pause, and while whatever the store does in
the background after opening goes on. The directory is the one that `reflow_worker` builds.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass

import uvloop

from benchmarks.load import Figures, quantile

from .cases import cases
from .data import dataset
from .reflow_worker import BUILT, Searcher, application
from .worker import directory_of

SEARCHERS = 4
_TICK_SECONDS = 0.001


@dataclass
class Ticker:
    """Notes how late it runs, and how much of that the event loop's own thread was busy."""

    late_ms: list[float]
    busy_ms: list[float]

    async def run(self) -> None:
        """Ticks until it is cancelled."""
        while True:
            wall, cpu = time.perf_counter(), time.thread_time()
            await asyncio.sleep(_TICK_SECONDS)
            self.late_ms.append((time.perf_counter() - wall - _TICK_SECONDS) * 1e3)
            self.busy_ms.append((time.thread_time() - cpu) * 1e3)


async def measure(name: str, seconds: float) -> Figures:
    """Searches in all cases, exactly and through the graph, some at a time."""
    data = dataset(name)
    async with application(directory_of(BUILT, data)).open() as backend:
        searcher = Searcher(backend, data)
        ticker = Ticker([], [])
        ticking = asyncio.create_task(ticker.run())
        deadline = time.monotonic() + seconds
        searches = 0

        async def search(first: int) -> None:
            nonlocal searches
            number = first
            while time.monotonic() < deadline:
                for case in cases(data):
                    for way in (searcher.in_store, searcher.in_graph):
                        await way(number % len(data.queries), 10, case)
                        searches += 1
                        await asyncio.sleep(0)  # as between two requests: a small search may never suspend
                number += SEARCHERS

        await asyncio.gather(*map(search, range(SEARCHERS)))
        ticking.cancel()
        return {
            "searches": searches,
            "late_max_ms": max(ticker.late_ms),
            "late_p999_ms": quantile(ticker.late_ms, 0.999),
            "busy_max_ms": max(ticker.busy_ms),
        }


def main() -> None:
    print(json.dumps(uvloop.run(measure(sys.argv[1], float(sys.argv[2])))))


if __name__ == "__main__":
    main()
