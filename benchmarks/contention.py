"""64 clients increment counters: all the same one, then each its own. An acknowledged increment must not be lost."""

from __future__ import annotations

from collections.abc import Sequence

from .load import Figures, Load, close_all, connect_all, take_turns
from .peer import Caller, Pace, Peer


class Increments:
    """Increments of the given counters, dealt out to the callers in turn, and how many were acknowledged."""

    def __init__(self, counters: list[str]) -> None:
        self.counters = counters
        self.acknowledged = 0

    async def increment(self, caller: Caller, number: int) -> object:
        """One acknowledged increment."""
        answer = await caller.increment(self.counters[number % len(self.counters)])
        self.acknowledged += 1
        return answer

    async def figures(self, prefix: str, caller: Caller) -> Figures:
        """What was acknowledged, warm-up included, and what of it the stored values lack."""
        stored = sum([await caller.counter_value(counter) for counter in self.counters])
        return {f"{prefix}_acknowledged": self.acknowledged, f"{prefix}_lost": self.acknowledged - stored}


async def contention(peers: Sequence[Peer], pace: Pace) -> Figures:
    """Contended and uncontended rates, their ratio, and acknowledged increments missing from the final values."""
    works: list[Increments] = []
    loads: list[Load] = []
    for peer in peers:
        callers = await connect_all(peer, pace.clients)
        one = Increments([await callers[0].create_counter("hot")])
        own = Increments([await callers[0].create_counter(f"own {number}") for number in range(len(callers))])
        works += [one, own]
        loads.append(Load(f"contended_{peer.name}", peer.process, callers, one.increment))
        loads.append(Load(f"uncontended_{peer.name}", peer.process, callers, own.increment))
    await take_turns(loads, pace)
    figures: Figures = {}
    for work, load in zip(works, loads, strict=True):
        figures |= load.figures() | await work.figures(load.prefix, load.callers[0])
    for peer, load in zip(peers, loads[::2], strict=True):
        rates = [figures[f"{kind}_{peer.name}_ops_per_s"] for kind in ("contended", "uncontended")]
        figures[f"contended_{peer.name}_share_of_uncontended"] = rates[0] / rates[1]
        close_all(load.callers)
    return figures
