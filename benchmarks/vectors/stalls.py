"""How long searches hold the event loop: `python -m benchmarks.vectors.stalls DATASET SECONDS` prints figures as JSON.

A ticker wants to run every millisecond while several tasks search without pause, and while whatever the store does in
the background after opening goes on. The directory is the one that `reflow_worker` builds. An idle process beside has a
ticker too: how late that one is, is the machine's doing.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
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


def idle_ticker() -> None:
    """Ticks in a process of its own until standard input ends, then prints the greatest lateness in ms."""

    async def tick() -> None:
        ticker = Ticker([], [])
        ticking = asyncio.create_task(ticker.run())
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        ticking.cancel()
        print(max(ticker.late_ms))

    asyncio.run(tick())


async def measure(name: str, seconds: float) -> Figures:
    """Searches in all cases, exactly and approximately, some at a time."""
    data = dataset(name)
    async with application(directory_of(BUILT, data)).open() as backend:
        searcher = Searcher(backend, data)
        idle = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.vectors.stalls"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert idle.stdout is not None
        await asyncio.to_thread(idle.stdout.readline)
        ticker = Ticker([], [])
        ticking = asyncio.create_task(ticker.run())
        deadline = time.monotonic() + seconds
        searches = 0

        async def search(first: int) -> None:
            nonlocal searches
            number = first
            while time.monotonic() < deadline:
                for case in cases(data):
                    for way in (searcher.in_store, searcher.approximately):
                        await way(number % len(data.queries), 10, case)
                        searches += 1
                        await asyncio.sleep(0)  # as between two requests: a small search may never suspend
                number += SEARCHERS

        await asyncio.gather(*map(search, range(SEARCHERS)))
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
        machine, _ = await asyncio.to_thread(idle.communicate)
        return {
            "searches": searches,
            "late_max_ms": max(ticker.late_ms),
            "late_p999_ms": quantile(ticker.late_ms, 0.999),
            "busy_max_ms": max(ticker.busy_ms),
            "idle_process_late_max_ms": float(machine),
        }


def main() -> None:
    if len(sys.argv) == 1:
        idle_ticker()
    else:
        print(json.dumps(uvloop.run(measure(sys.argv[1], float(sys.argv[2])))))


if __name__ == "__main__":
    main()
