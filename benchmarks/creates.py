"""64 clients insert small documents; afterwards every acknowledged one must be there."""

from __future__ import annotations

import itertools

from .load import Figures, closed_loop, connect_all
from .peer import Caller, Pace, Peer


async def creates(peer: Peer, pace: Pace) -> Figures:
    """Rate, CPU and latency of creates, and how many acknowledged ones are missing afterwards."""
    callers = await connect_all(peer, pace.clients)
    numbers = itertools.count()
    before = await callers[0].count_people()

    async def create(caller: Caller, _number: int) -> object:
        return await caller.create(next(numbers))

    load = await closed_loop(callers, create, peer.process, pace)
    stored = await callers[0].count_people() - before
    for caller in callers:
        caller.close()
    prefix = f"creates_{peer.name}"
    return load.figures(prefix) | {f"{prefix}_lost": next(numbers) - stored}
