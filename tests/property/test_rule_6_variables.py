"""What functions see of stored variables is what the rows of their table say in the same snapshot."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow import values
from reflow.engine.environment import VariableRow, assign
from reflow.errors import StorageError
from reflow.storage.base import Storage
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import FaultPlan, Simulation, simulate
from tests.support import arun
from tests.support.client import Client

NAMES = ("A", "B", "C")
PROCESS = {"A": "of the process", "Z": "z"}

Changes = dict[str, str | None]


class Seen(rf.Table, table="seen"):
    env: dict[str, str]
    rows: dict[str, str]


module = rf.Module("variables")


async def _rows(ctx: rf.QueryCtx | rf.MutationCtx) -> dict[str, str]:
    return {**PROCESS, **{row.name: row.value for row in await ctx.db.query(VariableRow).collect()}}


@module.query
async def one(ctx: rf.QueryCtx, name: str) -> str | None:
    return ctx.env.get(name)


@module.query
async def every(ctx: rf.QueryCtx) -> dict[str, str]:
    return dict(ctx.env)


@module.query
async def rows(ctx: rf.QueryCtx) -> dict[str, str]:
    return await _rows(ctx)


@module.query
async def compared(ctx: rf.QueryCtx) -> bool:
    return dict(ctx.env) == await _rows(ctx)


@module.query
async def differing(ctx: rf.QueryCtx) -> list[Seen]:
    return [seen async for seen in ctx.db.query(Seen) if seen.env != seen.rows]


@module.mutation
async def see(ctx: rf.MutationCtx) -> None:
    before = dict(ctx.env)
    await ctx.db.insert(Seen(env=before, rows=await _rows(ctx)))


app = rf.App(modules=[module], environment=PROCESS)


class Watcher(Client):
    """Follows variables one by one, all of them, and the rows; compares them at every transition."""

    def __init__(self, sim: Simulation) -> None:
        super().__init__(sim)
        self.ones = {name: self.add(one, name=name) for name in NAMES}
        self.every, self.rows = self.add(every), self.add(rows)
        self.compared = 0
        self.seen = self.compare

    def compare(self) -> None:
        stored = self.value(self.rows)
        if stored is None or len(self.results) < len(self.ones) + 2:
            return
        self.compared += 1
        assert self.value(self.every) == stored
        for name, query in self.ones.items():
            assert self.value(query) == stored.get(name), name


async def changer(sim: Simulation, changes: Sequence[Changes]) -> None:
    for some in changes:
        try:
            await assign(sim.engine, some)
        except StorageError:
            assert sim.faults.raised


async def seer(sim: Simulation, count: int) -> None:
    for _ in range(count):
        try:
            await sim.mutation(see)
        except StorageError:
            assert sim.faults.raised


async def reader(sim: Simulation, count: int) -> None:
    """Looks at what is published, without a cache, also while a group is on its way."""
    for _ in range(count):
        await asyncio.sleep(0)
        result = await sim.engine.query_at(sim.engine.resolve(compared), b"{}", sim.engine.committer.published)
        assert result.value == b"true", result


async def check(work: Sequence[Sequence[Changes]], storage: Storage, seed: int, suspend: bool, failing: float) -> None:
    faults = FaultPlan(seed=seed, commit=failing, write=failing / 2)
    clock = None
    for _ in range(2):  # the second time after a restart
        async with simulate(app, storage=storage, interleave=suspend, seed=seed, faults=faults, clock=clock) as sim:
            clock = sim.clock
            watcher = Watcher(sim)
            changers = [changer(sim, changes) for changes in work]
            await asyncio.gather(*changers, seer(sim, 3), seer(sim, 3), reader(sim, 40))
            await watcher.up_to_date()
            watcher.compare()
            assert watcher.compared > 0
            assert await sim.query(differing) == []
            assert await sim.query(every) == values.decode(watcher.results[watcher.rows].value or b"")
            watcher.close()


VALUES = st.none() | st.sampled_from(["", "x", "y", "long" * 100])
CHANGES = st.dictionaries(st.sampled_from(NAMES), VALUES, min_size=1, max_size=3)
WORK = st.lists(st.lists(CHANGES, min_size=1, max_size=5), min_size=1, max_size=3)


@settings(max_examples=40, deadline=None)
@given(WORK, st.integers(0, 1 << 16), st.booleans(), st.sampled_from([0.0, 0.3]))
def test_rule_6_variables_are_those_of_the_snapshot_over_memory(
    work: Sequence[Sequence[Changes]], seed: int, suspend: bool, failing: float
) -> None:
    arun(check(work, MemoryStorage(), seed, suspend, failing))


@settings(max_examples=15, deadline=None)
@given(WORK, st.integers(0, 1 << 16), st.booleans(), st.sampled_from([0.0, 0.3]))
def test_rule_6_variables_are_those_of_the_snapshot_over_sqlite(
    work: Sequence[Sequence[Changes]], seed: int, suspend: bool, failing: float
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        arun(check(work, SqliteStorage(directory), seed, suspend, failing))
