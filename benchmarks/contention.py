"""64 clients increment counters: all the same one, then each its own. An acknowledged increment must not be lost."""

from __future__ import annotations

from .load import Figures, closed_loop, connect_all
from .peer import Caller, Pace, Peer


async def contention(peer: Peer, pace: Pace) -> Figures:
    """Contended and uncontended rates, their ratio, and acknowledged increments missing from the final values."""
    callers = await connect_all(peer, pace.clients)
    hot = await _increments(peer, callers, [await callers[0].create_counter("hot")], pace, "contended")
    own_counters = [await callers[0].create_counter(f"own {number}") for number in range(len(callers))]
    own = await _increments(peer, callers, own_counters, pace, "uncontended")
    for caller in callers:
        caller.close()
    share = hot[f"contended_{peer.name}_ops_per_s"] / own[f"uncontended_{peer.name}_ops_per_s"]
    return hot | own | {f"contended_{peer.name}_share_of_uncontended": share}


async def _increments(peer: Peer, callers: list[Caller], counters: list[str], pace: Pace, kind: str) -> Figures:
    """One window over the given counters, dealt out to the callers in turn."""
    acknowledged = 0

    async def increment(caller: Caller, number: int) -> object:
        nonlocal acknowledged
        answer = await caller.increment(counters[number % len(counters)])
        acknowledged += 1
        return answer

    load = await closed_loop(callers, increment, peer.process, pace)
    stored = sum([await callers[0].counter_value(counter) for counter in counters])
    prefix = f"{kind}_{peer.name}"
    lost = {f"{prefix}_acknowledged": acknowledged, f"{prefix}_lost": acknowledged - stored}
    return load.figures(prefix) | lost
