"""An application before its tables had owners, and what becomes of its rows when they get them."""

from __future__ import annotations

import pytest

import reflow as rf
from reflow.errors import CallFailed
from reflow.storage.memory import MemoryStorage
from reflow.testing import Simulation, simulate
from tests.support import arun
from tests.support.simulated import simulated
from tests.unit import test_owners as owned

ANN, EVE = owned.ANN, owned.EVE


class Note(rf.Table, table="notes"):
    text: str

    by_text = rf.Index("text")
    meaning = rf.VectorIndex(dims=2)
    words = rf.TextIndex("text")


former = rf.Module("former")


@former.mutation
async def add(ctx: rf.MutationCtx, text: str) -> str:
    return await ctx.db.insert(Note(text=text), vectors={Note.meaning: [1, 0]})


@former.query
async def whole(ctx: rf.QueryCtx) -> list[str]:
    return [note.text for note in await ctx.db.query(Note).collect()]


@former.mutation
async def begin(ctx: rf.MutationCtx) -> None:
    await ctx.scheduler.run_after(9, end)


@former.internal_mutation
async def end(ctx: rf.MutationCtx) -> None:
    """Nothing to do."""


@former.query
async def seen(ctx: rf.QueryCtx) -> list[rf.Scheduled]:
    return await ctx.db.query(rf.Scheduled).collect()


app = rf.App(modules=[former], environment={})


@simulated(app)
async def test_without_owners_everything_is_everybodys(sim: Simulation) -> None:
    await sim.as_(ANN).mutation(add, text="a")
    await sim.as_(ANN).mutation(begin)
    for caller in (EVE, None):
        assert await sim.as_(caller).query(whole) == ["a"]
        [row] = await sim.as_(caller).query(seen)
        assert row.owner is None
    assert len(sim.engine.cache) == 2  # one result for all


def test_rows_from_before_there_were_owners_wait_for_one() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        async with simulate(app, storage=storage) as sim:
            id = await sim.mutation(add, text="red")
        async with simulate(owned.app, storage=storage) as sim:
            for caller in (ANN, EVE, None):
                assert await sim.as_(caller).query(owned.listed) == []
                assert await sim.as_(caller).action(owned.found_outside) == [[], [], [], []]
            assert await sim.query(owned.everything) == ["red"]
            assert [note.user for note in await sim.query(owned.notes_of_all)] == [""]
            assert await sim.mutation(owned.tidy_all, text="red wine") == 1
            with pytest.raises(CallFailed, match="would be nobody's"):
                await sim.mutation(owned.give, id=rf.Id(id), user="")
            await sim.mutation(owned.give, id=rf.Id(id), user=ANN.token_identifier)
            assert await sim.as_(ANN).query(owned.listed) == ["red wine"]
            assert await sim.as_(ANN).action(owned.found_outside) == [["red wine"], ["red wine"], ["red wine"], []]
            assert await sim.as_(EVE).action(owned.found_outside) == [[], [], [], []]

    arun(main())
