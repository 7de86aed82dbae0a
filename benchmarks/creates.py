"""64 clients insert small documents; afterwards every acknowledged one must be there."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from .load import Figures, Load, close_all, connect_all, take_turns
from .peer import Caller, Pace, Peer


class Creates:
    """One peer's share of the workload."""

    def __init__(self, callers: Sequence[Caller], stored_before: int) -> None:
        self.callers = callers
        self._stored_before = stored_before
        self._numbers = itertools.count()

    async def create(self, caller: Caller, _number: int) -> object:
        """Insert the next person."""
        return await caller.create(next(self._numbers))

    async def lost(self) -> int:
        """Creates acknowledged and not stored; to be asked once, at the end, when none is in flight."""
        return next(self._numbers) - (await self.callers[0].count_people() - self._stored_before)


async def creates(peers: Sequence[Peer], pace: Pace) -> Figures:
    """Rate, CPU and latency of creates, and how many acknowledged ones are missing afterwards."""
    works: list[Creates] = []
    loads: list[Load] = []
    for peer in peers:
        callers = await connect_all(peer, pace.clients)
        work = Creates(callers, await callers[0].count_people())
        works.append(work)
        loads.append(Load(f"creates_{peer.name}", peer.process, callers, work.create))
    await take_turns(loads, pace)
    figures: Figures = {}
    for work, load in zip(works, loads, strict=True):
        figures |= load.figures() | {f"{load.prefix}_lost": await work.lost()}
        close_all(load.callers)
    return figures
