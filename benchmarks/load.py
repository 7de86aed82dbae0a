"""The closed loop: a number of clients, each sending its next call when the last one is acknowledged."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from .peer import Caller, Pace, Peer
from .process import Process

Figures = dict[str, float]
"""Named figures of one round; the last part of a name is its unit."""

Operation = Callable[[Caller, int], Awaitable[object]]
"""One call by client number n."""


@dataclass(frozen=True)
class Load:
    """What one measured window showed."""

    acknowledged: int
    seconds: float
    server_cpu_seconds: float
    client_cpu_seconds: float
    latencies_ms: list[float]

    @property
    def ops_per_s(self) -> float:
        """Acknowledged calls per second."""
        return self.acknowledged / self.seconds

    @property
    def server_cpu_us(self) -> float:
        """Server CPU per acknowledged call, in microseconds."""
        return self.server_cpu_seconds / self.acknowledged * 1e6

    def figures(self, prefix: str) -> Figures:
        """The window as named figures; `client_busy_share` near 1 means that the load client was the limit."""
        return {
            f"{prefix}_ops_per_s": self.ops_per_s,
            f"{prefix}_cpu_us": self.server_cpu_us,
            f"{prefix}_p50_ms": quantile(self.latencies_ms, 0.5),
            f"{prefix}_p99_ms": quantile(self.latencies_ms, 0.99),
            f"{prefix}_client_busy_share": self.client_cpu_seconds / self.seconds,
        }


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; raises ValueError without values."""
    if not values:
        raise ValueError("no values to take a quantile of")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def connect_all(peer: Peer, count: int) -> list[Caller]:
    """`count` connections to a peer."""
    return list(await asyncio.gather(*(peer.connect() for _ in range(count))))


async def closed_loop(callers: Sequence[Caller], operation: Operation, process: Process, pace: Pace) -> Load:
    """Warm up, then let every caller repeat `operation` for the window; all calls begun are awaited and counted."""
    await _window(callers, operation, pace.warmup_seconds)
    gc.collect()
    gc.disable()
    try:
        server_cpu, client_cpu, start = process.cpu_seconds(), time.process_time(), time.perf_counter()
        latencies = await _window(callers, operation, pace.seconds)
        seconds = time.perf_counter() - start
    finally:
        gc.enable()
    return Load(
        acknowledged=len(latencies),
        seconds=seconds,
        server_cpu_seconds=process.cpu_seconds() - server_cpu,
        client_cpu_seconds=time.process_time() - client_cpu,
        latencies_ms=latencies,
    )


async def _window(callers: Sequence[Caller], operation: Operation, seconds: float) -> list[float]:
    """Latencies in ms of everything the callers did."""
    latencies: list[float] = []
    clock = time.perf_counter
    deadline = clock() + seconds

    async def repeat(caller: Caller, number: int) -> None:
        before = clock()
        while before < deadline:
            await operation(caller, number)
            after = clock()
            latencies.append((after - before) * 1e3)
            before = after

    await asyncio.gather(*(repeat(caller, number) for number, caller in enumerate(callers)))
    return latencies
