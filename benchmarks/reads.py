"""64 clients read documents by id, chosen at random; each answer is checked to be the document asked for."""

from __future__ import annotations

import asyncio
import random

from .load import Figures, closed_loop, connect_all
from .peer import Caller, Pace, Peer


async def reads(peer: Peer, pace: Pace, people: list[str]) -> Figures:
    """Rate, CPU and latency of reading one of `people` by id."""
    callers = await connect_all(peer, pace.clients)
    choose = random.Random(len(people)).choice

    async def read(caller: Caller, _number: int) -> object:
        return await caller.read(choose(people))

    load = await closed_loop(callers, read, peer.process, pace)
    for caller in callers:
        caller.close()
    return load.figures(f"reads_{peer.name}")


async def store_people(peer: Peer, pace: Pace) -> list[str]:
    """Insert the documents that reads choose from; returns their ids."""
    callers = await connect_all(peer, pace.clients)
    people: list[str] = []

    async def insert(caller: Caller, numbers: range) -> None:
        for number in numbers:
            people.append(await caller.create(number))

    await asyncio.gather(
        *(insert(caller, range(first, pace.documents, len(callers))) for first, caller in enumerate(callers))
    )
    for caller in callers:
        caller.close()
    return people
