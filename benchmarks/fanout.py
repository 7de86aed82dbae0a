"""One counter, 1,000 subscribers on connections of their own: what does telling them all cost the server?"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence

from .audience import Audience
from .load import Figures, quantile, quiet_collector
from .peer import Pace, Peer, Subscriber
from .process import Process

_CONNECT_AT_ONCE = 50
_WARMUP_UPDATES = 3

Publish = Callable[[], Awaitable[object]]
"""Makes the counter one larger."""


class Broadcast:
    """A fan-out ready to be measured, subscribers connected; accumulates what its bursts showed."""

    def __init__(
        self,
        name: str,
        process: Process,
        audience: Audience,
        subscribers: Sequence[Subscriber],
        publish: Publish,
    ) -> None:
        self.prefix = f"fanout_{name}"
        self.process = process
        self.subscribers = subscribers
        self.extra: Figures = {}
        self._audience = audience
        self._publish = publish
        self._value = 0
        self._cpu_seconds = 0.0
        self._deliveries = 0
        self._bytes = 0
        self._latencies_ms: list[float] = []
        self._unpaced = (0, 0.0)

    async def update(self) -> float:
        """Publish once; milliseconds until the last subscriber had it."""
        self._value += 1
        done = self._audience.expect(self._value)
        start = time.perf_counter()
        _, arrived = await asyncio.gather(self._publish(), self._audience.arrival(done))
        return (arrived - start) * 1e3

    async def paced(self, updates: int, interval_seconds: float) -> None:
        """Updates at a fixed pace: CPU, bytes and time to the last subscriber."""
        cpu, deliveries, received = self.process.cpu_seconds(), self._audience.deliveries, self._received()
        for _ in range(updates):
            milliseconds = await self.update()
            self._latencies_ms.append(milliseconds)
            await asyncio.sleep(max(0.0, interval_seconds - milliseconds / 1e3))
        self._cpu_seconds += self.process.cpu_seconds() - cpu
        self._deliveries += self._audience.deliveries - deliveries
        self._bytes += self._received() - received

    async def unpaced(self, seconds: float) -> None:
        """Each update as soon as the last one has arrived everywhere."""
        start = time.perf_counter()
        before = self._audience.deliveries
        while time.perf_counter() - start < seconds:
            await self.update()
        self._unpaced = (self._audience.deliveries - before, time.perf_counter() - start)

    def _received(self) -> int:
        return sum(subscriber.received()[1] for subscriber in self.subscribers)

    def bytes_per_delivery(self) -> float:
        """Mean size of what one subscriber received per update."""
        return self._bytes / self._deliveries

    def figures(self) -> Figures:
        """Everything measured so far, by name."""
        expected = len(self._latencies_ms) * len(self.subscribers)
        deliveries, seconds = self._unpaced
        return {
            f"{self.prefix}_cpu_us_per_delivery": self._cpu_seconds / self._deliveries * 1e6,
            f"{self.prefix}_last_p50_ms": quantile(self._latencies_ms, 0.5),
            f"{self.prefix}_last_p99_ms": quantile(self._latencies_ms, 0.99),
            f"{self.prefix}_bytes_per_delivery": self.bytes_per_delivery(),
            f"{self.prefix}_missing_deliveries": expected - self._deliveries,
            f"{self.prefix}_deliveries_per_s": deliveries / seconds,
        } | {f"{self.prefix}_{name}": value for name, value in self.extra.items()}


async def take_turns(broadcasts: Sequence[Broadcast], pace: Pace) -> None:
    """Bursts of paced updates in turn, so that neighbours' noise hits all alike; then unpaced ones."""
    with quiet_collector():
        for _ in range(pace.turns):
            for broadcast in broadcasts:
                await broadcast.paced(pace.updates // pace.turns, pace.update_interval_seconds)
        for broadcast in broadcasts:
            await broadcast.unpaced(pace.seconds / 2)


async def connect_broadcast(peer: Peer, pace: Pace) -> Broadcast:
    """Connect the subscribers of a new counter, and note what they cost in memory."""
    writer = await peer.connect()
    counter = await writer.create_counter("shared")
    await _come_and_go(peer, counter)
    empty_mb = peer.process.resident_mb()
    audience = Audience(pace.subscribers)
    subscribers = await _subscribe_all(peer, counter, audience, pace.subscribers)
    connected_mb = peer.process.resident_mb()
    broadcast = Broadcast(peer.name, peer.process, audience, subscribers, lambda: writer.increment(counter))
    for _ in range(_WARMUP_UPDATES):
        await broadcast.update()
    updated_mb = peer.process.resident_mb()
    per_thousand = 1000 / pace.subscribers
    broadcast.extra = {
        "memory_mb_per_1000": (connected_mb - empty_mb) * per_thousand,
        "memory_mb_per_1000_after_updates": (updated_mb - empty_mb) * per_thousand,
    }
    return broadcast


async def _come_and_go(peer: Peer, counter: str) -> None:
    """A few subscriptions that come and go, so that memory figures leave out what the first one loads."""
    for subscriber in await _subscribe_all(peer, counter, Audience(20), 20):
        subscriber.close()
    await asyncio.sleep(0.3)


async def _subscribe_all(peer: Peer, counter: str, audience: Audience, count: int) -> list[Subscriber]:
    """Connect `count` subscribers, a few at a time."""
    subscribers: list[Subscriber] = []
    for first in range(0, count, _CONNECT_AT_ONCE):
        numbers = range(first, min(count, first + _CONNECT_AT_ONCE))
        subscribers += await asyncio.gather(*(peer.subscribe(counter, audience.member(n)) for n in numbers))
    return subscribers
