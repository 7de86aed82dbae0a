"""The closed loop: a number of clients, each sending its next call when the last one is acknowledged."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager

from .peer import Caller, Pace, Peer
from .process import Process

Figures = dict[str, float]
"""Named figures of one round; the last part of a name is its unit."""

Operation = Callable[[Caller, int], Awaitable[object]]
"""One call by client number n."""


class Load:
    """One server's clients and what they repeat; accumulates what its windows showed."""

    def __init__(self, prefix: str, process: Process, callers: Sequence[Caller], operation: Operation) -> None:
        self.prefix = prefix
        self.callers = callers
        self._process = process
        self._operation = operation
        self._seconds = 0.0
        self._server_cpu_seconds = 0.0
        self._client_cpu_seconds = 0.0
        self._latencies_ms: list[float] = []

    async def window(self, seconds: float) -> None:
        """Let every caller repeat the operation for `seconds`; all calls begun are awaited and counted."""
        server_cpu, client_cpu, start = self._process.cpu_seconds(), time.process_time(), time.perf_counter()
        self._latencies_ms += await self.repeat(seconds)
        self._seconds += time.perf_counter() - start
        self._server_cpu_seconds += self._process.cpu_seconds() - server_cpu
        self._client_cpu_seconds += time.process_time() - client_cpu

    async def repeat(self, seconds: float) -> list[float]:
        """Latencies in ms of everything the callers did in `seconds`."""
        latencies: list[float] = []
        clock, operation = time.perf_counter, self._operation
        deadline = clock() + seconds

        async def client(caller: Caller, number: int) -> None:
            before = clock()
            while before < deadline:
                await operation(caller, number)
                after = clock()
                latencies.append((after - before) * 1e3)
                before = after

        await asyncio.gather(*(client(caller, number) for number, caller in enumerate(self.callers)))
        return latencies

    def figures(self) -> Figures:
        """The windows as named figures; `client_busy_share` near 1 means that the load client was the limit."""
        acknowledged = len(self._latencies_ms)
        return {
            f"{self.prefix}_ops_per_s": acknowledged / self._seconds,
            f"{self.prefix}_cpu_us": self._server_cpu_seconds / acknowledged * 1e6,
            f"{self.prefix}_p50_ms": quantile(self._latencies_ms, 0.5),
            f"{self.prefix}_p99_ms": quantile(self._latencies_ms, 0.99),
            f"{self.prefix}_client_busy_share": self._client_cpu_seconds / self._seconds,
        }


async def take_turns(loads: Sequence[Load], pace: Pace) -> None:
    """Warm each load up, then give all of them short windows in turn: neighbours' noise then hits all alike."""
    for load in loads:
        await load.repeat(pace.warmup_seconds)
    with quiet_collector():
        for _ in range(pace.turns):
            for load in loads:
                await load.window(pace.seconds / pace.turns)


@contextmanager
def quiet_collector() -> Iterator[None]:
    """Keep this process's garbage collector out of the measurement."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def quantile(values: Sequence[float], share: float) -> float:
    """The value below which `share` of the values lie; raises ValueError without values."""
    if not values:
        raise ValueError("no values to take a quantile of")
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


async def connect_all(peer: Peer, count: int) -> list[Caller]:
    """`count` connections to a peer."""
    return list(await asyncio.gather(*(peer.connect() for _ in range(count))))


def close_all(callers: Sequence[Caller]) -> None:
    """Drop the connections."""
    for caller in callers:
        caller.close()
