"""Standing queries under writes: `python -m benchmarks.vectors.standing DIRECTORY ROWS COMMITS` prints figures as JSON.

A thousand live searches, each with a vector of its own and one of ten filters, follow a table into which commits bring
a hundred new rows each. Counted are the processor time that finding out whom a commit concerns takes, how many searches
run again, and how many results are really different.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import uvloop

import reflow as rf
from benchmarks.load import Figures, quiet_collector
from reflow.backend import Backend
from reflow.engine.cache import Entry
from reflow.engine.engine import Engine
from reflow.engine.live import AddQuery, Change, Version
from reflow.engine.outcomes import Result
from reflow.engine.write_log import Commit
from reflow.storage.base import Snapshot

from .data import Dataset, Floats, dataset
from .reflow_worker import Row, insert

QUERIES = 1000
FILTERS = 10
HITS = 10
NEW_ROWS = 100
CHECKED = 50
"""Standing results that are compared with brute force at the end."""

_CATEGORIES = 1000 // FILTERS
_QUIET_SECONDS = 0.1
_WAIT_SECONDS = 60.0

live = rf.Module("live")


class Found(rf.Object):
    """A hit of a standing search."""

    number: int
    score: float


@live.query
async def nearest(ctx: rf.QueryCtx, vector: list[float], part: int) -> list[Found]:
    """The nearest rows within a tenth of the categories."""
    within = {"cat": {"$gte": part * _CATEGORIES, "$lt": (part + 1) * _CATEGORIES}}
    hits = await ctx.db.nearest(Row.meaning, vector, limit=HITS, filter=within)
    return [Found(number=hit.doc.number, score=hit.score) for hit in hits]


class Watch:
    """The client's end, and an eye on what the engine does for it."""

    def __init__(self, engine: Engine) -> None:
        self.runs = 0
        """Searches that were run."""
        self.changed = 0
        """Results that were sent because they differ."""
        self.testing_seconds = 0.0
        """Processor time in which the event loop found out whom commits concern."""
        self.results: dict[int, bytes] = {}
        self._at_work = 0
        self._last = time.monotonic()
        cache = engine.cache
        self._run, self._publish = cache.run, cache.publish
        cache.run = self._counted_run
        cache.publish = self._timed_publish

    async def _counted_run(self, entry: Entry, snapshot: Snapshot) -> Result | None:
        self.runs += 1
        self._at_work += 1
        try:
            return await self._run(entry, snapshot)
        finally:
            self._at_work -= 1
            self._last = time.monotonic()

    def _timed_publish(self, commits: Sequence[Commit]) -> None:
        began = time.thread_time()
        self._publish(commits)
        self.testing_seconds += time.thread_time() - began

    def ready(self) -> bool:
        """Takes news at any time."""
        return True

    def transition(self, start: Version, end: Version, changes: Sequence[Change]) -> None:
        """Notes news."""
        self._last = time.monotonic()
        for change in changes:
            if change.result is not None:
                assert change.result.value is not None, change.result
                self.changed += 1
                self.results[change.query_id] = change.result.value

    def fail(self, reason: str) -> None:
        """The engine gave up."""
        raise RuntimeError(reason)

    async def quiet(self, results: int) -> None:
        """Returns once that many results are there and nothing has happened for a while. Raises TimeoutError."""
        async with asyncio.timeout(_WAIT_SECONDS):
            while self._at_work or len(self.results) < results or time.monotonic() - self._last < _QUIET_SECONDS:
                await asyncio.sleep(_QUIET_SECONDS / 4)


async def measure(directory: Path, rows: int, commits: int) -> Figures:
    """Follows, writes, counts."""
    more = dataset(f"clustered-{rows + commits * NEW_ROWS + QUERIES}")
    new = range(rows, rows + commits * NEW_ROWS)
    vectors = more.vectors[new.stop :]
    app = rf.App(modules=[live], tables=[Row], data=directory, environment={})
    async with app.open() as backend:
        watch = Watch(backend.engine)
        await _follow(backend, watch, vectors)
        tested: list[float] = []
        spent: list[float] = []
        runs, changed = watch.runs, watch.changed
        with quiet_collector():
            for start in range(new.start, new.stop, NEW_ROWS):
                before, cpu = watch.testing_seconds, time.process_time()
                await insert(backend.engine, more, range(start, start + NEW_ROWS))
                await watch.quiet(QUERIES)
                tested.append((watch.testing_seconds - before) * 1e3)
                spent.append((time.process_time() - cpu) * 1e3)
        return {
            "testing_cpu_ms": statistics.median(tested),
            "commit_cpu_ms": statistics.median(spent),
            "runs_per_commit": (watch.runs - runs) / commits,
            "changed_per_commit": (watch.changed - changed) / commits,
            "wrong": _wrong(watch, more, new.stop, vectors),
        }


async def _follow(backend: Backend, watch: Watch, vectors: Floats) -> None:
    connection = backend.engine.hub.connect(watch)
    added = [
        AddQuery(number, nearest.path, nearest, nearest.arguments.encode((vector.tolist(), number % FILTERS), {}), None)
        for number, vector in enumerate(vectors)
    ]
    connection.modify(0, 1, added, [])
    await watch.quiet(QUERIES)


def _wrong(watch: Watch, data: Dataset, rows: int, vectors: Floats) -> int:
    """How many of some standing results are not what brute force finds."""
    known = data.vectors[:rows].astype(np.float64)
    wrong = 0
    for number in range(CHECKED):
        scores = known @ vectors[number].astype(np.float64)
        scores[data.cat[:rows] // _CATEGORIES != number % FILTERS] = -np.inf
        best = np.argsort(-scores, kind="stable")[:HITS].tolist()
        wrong += [hit["number"] for hit in msgspec.json.decode(watch.results[number])] != best
    return wrong


def main() -> None:
    directory, rows, commits = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    print(json.dumps(uvloop.run(measure(directory, rows, commits))))


if __name__ == "__main__":
    main()
