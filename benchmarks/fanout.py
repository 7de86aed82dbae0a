"""One counter, 1,000 subscribers on connections of their own: what does telling them all cost the server?"""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from .audience import Audience
from .load import Figures, quantile
from .peer import Pace, Peer, Subscriber
from .process import Process

_CONNECT_AT_ONCE = 50

Publish = Callable[[], Awaitable[object]]
"""Makes the counter one larger."""


@dataclass(frozen=True)
class Broadcast:
    """A fan-out ready to be measured: subscribers connected, `publish` at hand."""

    name: str
    process: Process
    audience: Audience
    subscribers: Sequence[Subscriber]
    publish: Publish


async def fanout(peer: Peer, pace: Pace) -> Figures:
    """Memory, CPU per delivery, time to the last subscriber, and deliveries per second without a pause."""
    writer = await peer.connect()
    counter = await writer.create_counter("shared")
    await _warm_up(peer, counter)
    empty_mb = peer.process.resident_mb()
    audience = Audience(pace.subscribers)
    subscribers = await _subscribe_all(peer, counter, audience, pace.subscribers)
    memory_mb = peer.process.resident_mb() - empty_mb

    broadcast = Broadcast(peer.name, peer.process, audience, subscribers, lambda: writer.increment(counter))
    figures = await measure(broadcast, pace)
    busy_mb = peer.process.resident_mb() - empty_mb
    for connection in (*subscribers, writer):
        connection.close()
    await asyncio.sleep(0.3)
    per_thousand = 1000 / pace.subscribers
    return figures | {
        f"fanout_{peer.name}_memory_mb_per_1000": memory_mb * per_thousand,
        f"fanout_{peer.name}_memory_mb_per_1000_after_updates": busy_mb * per_thousand,
    }


async def measure(broadcast: Broadcast, pace: Pace) -> Figures:
    """The figures of one fan-out. Paced updates give CPU and latency; unpaced ones give deliveries per second."""
    audience, size = broadcast.audience, pace.subscribers
    value = 0
    for _ in range(3):
        value += 1
        await _update(broadcast, value)
    gc.collect()
    gc.disable()
    try:
        deliveries, cpu = audience.deliveries, broadcast.process.cpu_seconds()
        byte_count = sum(subscriber.received()[1] for subscriber in broadcast.subscribers)
        latencies: list[float] = []
        for _ in range(pace.updates):
            value += 1
            started = time.perf_counter()
            latencies.append(await _update(broadcast, value))
            await asyncio.sleep(max(0.0, pace.update_interval_seconds - (time.perf_counter() - started)))
        cpu = broadcast.process.cpu_seconds() - cpu
        byte_count = sum(subscriber.received()[1] for subscriber in broadcast.subscribers) - byte_count
        deliveries = audience.deliveries - deliveries
        updates, started = 0, time.perf_counter()
        while time.perf_counter() - started < pace.seconds / 2:
            value += 1
            updates += 1
            await _update(broadcast, value)
        seconds = time.perf_counter() - started
    finally:
        gc.enable()
    prefix = f"fanout_{broadcast.name}"
    return {
        f"{prefix}_cpu_us_per_delivery": cpu / deliveries * 1e6,
        f"{prefix}_last_p50_ms": quantile(latencies, 0.5),
        f"{prefix}_last_p99_ms": quantile(latencies, 0.99),
        f"{prefix}_bytes_per_delivery": byte_count / deliveries,
        f"{prefix}_missing_deliveries": pace.updates * size - deliveries,
        f"{prefix}_deliveries_per_s": updates * size / seconds,
    }


async def _update(broadcast: Broadcast, value: int) -> float:
    """Publish once; milliseconds until the last subscriber had it."""
    done = broadcast.audience.expect(value)
    start = time.perf_counter()
    _, arrived = await asyncio.gather(broadcast.publish(), broadcast.audience.arrival(done))
    return (arrived - start) * 1e3


async def _warm_up(peer: Peer, counter: str) -> None:
    """A few subscriptions that come and go, so that memory figures leave out what the first one loads."""
    subscribers = await _subscribe_all(peer, counter, Audience(20), 20)
    for subscriber in subscribers:
        subscriber.close()
    await asyncio.sleep(0.3)


async def _subscribe_all(peer: Peer, counter: str, audience: Audience, count: int) -> list[Subscriber]:
    """Connect `count` subscribers, a few at a time."""
    subscribers: list[Subscriber] = []
    for first in range(0, count, _CONNECT_AT_ONCE):
        numbers = range(first, min(count, first + _CONNECT_AT_ONCE))
        subscribers += await asyncio.gather(*(peer.subscribe(counter, audience.member(n)) for n in numbers))
    return subscribers
