"""Does a write cost more when 1,000 other documents are being watched? Each write touches one watched document."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence

from .audience import PATIENCE_SECONDS
from .load import Figures, quantile, quiet_collector
from .peer import Caller, Pace, Peer, Seen, Subscriber


class Watchers:
    """One subscriber per counter; remembers who was told, and since when the current write has been waiting."""

    def __init__(self) -> None:
        self.told = asyncio.Event()
        self.expected = -1
        self.strays = 0

    def watcher(self, number: int) -> Seen:
        """The callback of the subscriber of counter `number`."""

        def seen(_value: int) -> None:
            if number == self.expected:
                self.told.set()
            else:
                self.strays += 1

        return seen


async def distinct(peers: Sequence[Peer], pace: Pace) -> Figures:
    """Server CPU and notification time per write with one subscription and with 1,000 distinct ones."""
    figures: Figures = {}
    for peer in peers:
        figures |= await _one_peer(peer, pace)
    return figures


async def _one_peer(peer: Peer, pace: Pace) -> Figures:
    """One subscription, many, one again: a drift over time then cannot pass for growth."""
    writer = await peer.connect()
    counters = [await writer.create_counter(f"watched {number}") for number in range(pace.subscribers)]
    before = await _writes(peer, writer, counters[:1], pace)
    many = await _writes(peer, writer, counters, pace)
    after = await _writes(peer, writer, counters[:1], pace)
    writer.close()
    one = {name: (before[name] + after[name]) / 2 for name in before}
    figures = {f"1_{name}": value for name, value in one.items()}
    figures |= {f"1000_{name}": value for name, value in many.items()}
    figures["cpu_growth"] = many["cpu_us"] / one["cpu_us"]
    return {f"distinct_{peer.name}_{name}": value for name, value in figures.items()}


async def _writes(peer: Peer, writer: Caller, counters: list[str], pace: Pace) -> Figures:
    """Watch every counter on its own connection; write to random ones, each time waiting for its watcher."""
    watchers = Watchers()
    subscribers: list[Subscriber] = []
    for number, counter in enumerate(counters):
        subscribers.append(await peer.subscribe(counter, watchers.watcher(number)))
    choose = random.Random(len(counters)).randrange

    async def write() -> float:
        watchers.expected = choose(len(counters))
        watchers.told.clear()
        start = time.perf_counter()
        await writer.increment(counters[watchers.expected])
        await asyncio.wait_for(watchers.told.wait(), PATIENCE_SECONDS)
        return (time.perf_counter() - start) * 1e3

    deadline = time.perf_counter() + pace.warmup_seconds
    while time.perf_counter() < deadline:
        await write()
    latencies: list[float] = []
    with quiet_collector():
        cpu = peer.process.cpu_seconds()
        deadline = time.perf_counter() + pace.seconds / 2
        while time.perf_counter() < deadline:
            latencies.append(await write())
        cpu = peer.process.cpu_seconds() - cpu
    for subscriber in subscribers:
        subscriber.close()
    await asyncio.sleep(0.3)
    return {
        "cpu_us": cpu / len(latencies) * 1e6,
        "notify_p50_ms": quantile(latencies, 0.5),
        "strays": watchers.strays,
    }
