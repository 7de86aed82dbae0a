"""64 clients read documents by id, chosen at random; each answer is checked to be the document asked for."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from .load import Figures, Load, Operation, close_all, connect_all, take_turns
from .peer import Caller, Pace, Peer


async def reads(peers: Sequence[Peer], pace: Pace) -> Figures:
    """Rate, CPU and latency of reading one of `pace.documents` people by id."""
    loads: list[Load] = []
    for peer in peers:
        callers = await connect_all(peer, pace.clients)
        people = await _store_people(callers, pace.documents)
        loads.append(Load(f"reads_{peer.name}", peer.process, callers, _reader(people)))
    await take_turns(loads, pace)
    figures: Figures = {}
    for load in loads:
        figures |= load.figures()
        close_all(load.callers)
    return figures


def _reader(people: list[str]) -> Operation:
    """Reads of a random one of `people`."""
    choose = random.Random(len(people)).choice

    async def read(caller: Caller, _number: int) -> object:
        return await caller.read(choose(people))

    return read


async def _store_people(callers: Sequence[Caller], count: int) -> list[str]:
    """Insert the documents that reads choose from; returns their ids."""
    people: list[str] = []

    async def insert(caller: Caller, numbers: range) -> None:
        for number in numbers:
            people.append(await caller.create(number))

    await asyncio.gather(*(insert(caller, range(first, count, len(callers))) for first, caller in enumerate(callers)))
    return people
