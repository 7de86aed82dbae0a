"""Models that are changed, filled, flipped and removed beside each other and beside writes, with failing commits."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable
from typing import TypeVar

import pytest

import reflow as rf
from reflow.errors import CallFailed, StorageError
from reflow.storage.memory import MemoryStorage
from reflow.testing import FaultPlan, Simulation, VirtualClock, simulate
from tests.support import arun
from tests.support.generation_rules import (
    MODELS,
    Note,
    app,
    change_model,
    check,
    clear_away,
    move,
    near,
    remove,
    rewrite,
    start_in_vain,
    write,
)

T = TypeVar("T")

OF_STORAGE = re.compile("storage|as planned", re.IGNORECASE)
OUTRUN = "in vain|is being removed|has no generation|is the one that searches use|lacks the vectors"
EXPECTED = re.compile(f"{OF_STORAGE.pattern}|{OUTRUN}", re.IGNORECASE)


async def tolerant(call: Awaitable[T], expected: re.Pattern[str] = EXPECTED) -> T | None:
    """The result; None for a failure that is to be expected."""
    try:
        return await call
    except (CallFailed, StorageError) as error:
        if expected.search(str(error)) is None:
            raise
        return None


async def writer(sim: Simulation, draw: random.Random, ids: list[rf.Id[Note]]) -> None:
    for _ in range(12):
        await asyncio.sleep(0)
        match draw.randrange(5) if ids else 0:
            case 0 | 1:
                id = await tolerant(sim.mutation(write, text=f"note {draw.random()}"))
                ids += [] if id is None else [id]
            case 2:
                await tolerant(sim.mutation(rewrite, id=draw.choice(ids), text=f"again {draw.random()}"))
            case 3:
                await tolerant(sim.mutation(move, id=draw.choice(ids), room=draw.choice("ab")))
            case _:
                await tolerant(sim.mutation(remove, id=ids.pop(draw.randrange(len(ids)))))


async def manager(sim: Simulation, draw: random.Random) -> None:
    for _ in range(3):
        match draw.randrange(5):
            case 0 | 1 | 2:
                await tolerant(sim.action(change_model, name=draw.choice(list(MODELS))))
            case 3:
                await tolerant(sim.action(clear_away))
            case _:
                await tolerant(sim.mutation(start_in_vain, dims=draw.randrange(1, 9)))


async def reader(sim: Simulation, done: asyncio.Event) -> None:
    """No search fails, whatever goes on."""
    while not done.is_set():
        await tolerant(sim.query(near, text="anything"), OF_STORAGE)
        await asyncio.sleep(0)


@pytest.mark.parametrize("faults", [0.0, 0.1])
@pytest.mark.parametrize("interleave", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_generations_race(seed: int, interleave: bool, faults: float) -> None:
    draw = random.Random(seed)

    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        for round in range(2):
            plan = FaultPlan(seed=seed, commit=faults)
            async with simulate(
                app(), storage=storage, clock=clock, seed=seed + round, interleave=interleave, faults=plan
            ) as sim:
                await check(sim)
                done = asyncio.Event()
                reading = asyncio.create_task(reader(sim, done))
                ids: list[rf.Id[Note]] = []
                work = [writer(sim, draw, ids) for _ in range(3)] + [manager(sim, draw) for _ in range(3)]
                await asyncio.gather(*work)
                done.set()
                await reading
                plan.commit = 0.0
                await check(sim)
                name = draw.choice(list(MODELS))
                if await check(sim):
                    number = await sim.action(change_model, name=name)
                    await sim.action(clear_away)
                    (row,) = await check(sim)
                    assert (row.number, row.model.embedder) == (number, name)

    arun(main())
