"""An application inside a test: time, chance, schedules and faults follow a seed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from reflow.app import App
from reflow.backend import Backend
from reflow.engine.engine import Engine
from reflow.storage.base import Storage
from reflow.storage.blobs import Blobs
from reflow.storage.memory import MemoryStorage
from reflow.testing.clock import SeededEntropy, VirtualClock
from reflow.testing.faults import FaultPlan, FaultyStorage
from reflow.testing.interleave import InterleavingStorage

_QUIET_TURNS = 20
"""Turns of the event loop that whoever was woken gets to go on."""


class Simulation(Backend):
    """A running application whose clock only the test moves. Made by `simulate`."""

    def __init__(self, engine: Engine, clock: VirtualClock, faults: FaultPlan) -> None:
        super().__init__(engine)
        self.clock = clock
        self.faults = faults

    async def advance(self, seconds: float) -> None:
        """Lets time pass: wakes sleepers one after another, each time until the work that became due is done.

        Do not use it while something that is due can't end, such as an action that waits for the test.
        """
        latest = self.clock.now() + seconds
        await self.quiet()
        while self.clock.wake_next(latest):
            await self.quiet()
        await self.quiet()

    async def quiet(self) -> None:
        """Returns once what is due has run and live queries had their turn; time stands still."""
        for _ in range(3):  # again for those whom the first one left on their way to sleep, or to the next commit
            for _ in range(_QUIET_TURNS):
                await asyncio.sleep(0)
            await self.engine.committer.settled()
            await self.settled()
            await self.engine.hub.settled()


@asynccontextmanager
async def simulate(
    app: App,
    *,
    storage: Storage | None = None,
    blobs: Blobs | None = None,
    clock: VirtualClock | None = None,
    seed: int = 0,
    faults: FaultPlan | None = None,
    interleave: bool = False,
) -> AsyncGenerator[Simulation, None]:
    """Runs an application with a virtual clock and seeded randomness.

    `storage` is kept open only meanwhile, so the same one (default: a new `MemoryStorage`), the same `blobs` (bytes of
    files; default: a new `MemoryBlobs`) and the same clock can be given again to see what survives a restart. `faults`
    makes calls of the storage fail, from the end of the start to the beginning of the stop; its chances may be changed
    on the way. `interleave` suspends at every call of the storage, so that mutations run side by side in an order that
    the seed decides. Example:

        async with simulate(app, seed=7, interleave=True) as sim:
            await sim.mutation(add_order, item="book")
            await sim.advance(3600)
            assert await sim.query(open_orders) == []
    """
    clock = clock or VirtualClock()
    plan = faults or FaultPlan(seed=seed)
    inner = FaultyStorage(storage or MemoryStorage(limits=app.limits), plan)
    used = InterleavingStorage(inner, seed) if interleave else inner
    engine = app.engine(used, clock=clock, entropy=SeededEntropy(seed), blobs=blobs)
    plan.active = False
    await engine.start()
    plan.active = True
    try:
        yield Simulation(engine, clock, plan)
    finally:
        plan.active = False
        await engine.close()
