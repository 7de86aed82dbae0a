"""Processor time, latency and memory of what runs in this process."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypedDict

WARM_UP = 3
"""Searches before the first one that counts."""
LEAST = 5
"""Searches that are made however long they take."""


class Measured(TypedDict):
    """Some searches of one case, as a process reports them."""

    queries: list[int]
    hits: list[list[int]]
    wall_ms: list[float]
    cpu_ms: float
    """Per search, all threads of the process together."""


@dataclass
class _Taken:
    """Counts while searches run."""

    deadline: float
    hits: list[list[int]] = field(default_factory=list[list[int]])
    wall_ms: list[float] = field(default_factory=list[float])

    def add(self, hits: Sequence[int], began: float) -> bool:
        """Notes a search; False once the time is up."""
        now = time.perf_counter()
        self.hits.append(list(hits))
        self.wall_ms.append((now - began) * 1e3)
        return now < self.deadline or len(self.hits) < LEAST

    def result(self, queries: Sequence[int], cpu_seconds: float) -> Measured:
        """The report on these searches."""
        done = len(self.hits)
        return Measured(
            queries=list(queries[:done]), hits=self.hits, wall_ms=self.wall_ms, cpu_ms=cpu_seconds / done * 1e3
        )


def measure(search: Callable[[int], Sequence[int]], queries: Sequence[int], seconds: float) -> Measured:
    """Makes the searches one after another until they are done or the time is up."""
    for query in queries[:WARM_UP]:
        search(query)
    taken, cpu = _Taken(time.perf_counter() + seconds), time.process_time()
    for query in queries:
        began = time.perf_counter()
        if not taken.add(search(query), began):
            break
    return taken.result(queries, time.process_time() - cpu)


async def measure_async(
    search: Callable[[int], Awaitable[Sequence[int]]], queries: Sequence[int], seconds: float
) -> Measured:
    """`measure` for searches that are awaited."""
    for query in queries[:WARM_UP]:
        await search(query)
    taken, cpu = _Taken(time.perf_counter() + seconds), time.process_time()
    for query in queries:
        began = time.perf_counter()
        if not taken.add(await search(query), began):
            break
    return taken.result(queries, time.process_time() - cpu)


def anonymous_mb(pid: int | str = "self") -> float:
    """Memory of a process that no file stands behind, in MB (10^6 bytes)."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = re.search(r"^Anonymous:\s+(\d+) kB", text, re.MULTILINE)
    if found is None:
        raise RuntimeError("the kernel tells no anonymous memory")
    return int(found.group(1)) * 1024 / 1e6
