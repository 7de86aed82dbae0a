"""Stored variables: what functions see, when it changes, and what is refused."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

import reflow as rf
from reflow.engine.environment import VariableRow, assign
from reflow.errors import CallFailed, InvalidValue, LimitExceeded, OutOfRetention
from reflow.storage.memory import MemoryStorage
from reflow.testing import FaultPlan, Simulation, simulate
from tests.support import arun
from tests.support.client import Client
from tests.support.simulated import simulated

SECRET = "hunter2-hunter2"

runs = dict[str, int]()
module = rf.Module("env")


class Seen(rf.Table, table="seen"):
    color: str


@module.query
async def color(ctx: rf.QueryCtx) -> str:
    runs["color"] = runs.get("color", 0) + 1
    return ctx.env.get("COLOR", "none")


@module.query
async def names(ctx: rf.QueryCtx) -> list[str]:
    return sorted(ctx.env)


@module.mutation
async def note_color(ctx: rf.MutationCtx) -> str:
    seen = ctx.env["COLOR"]
    await ctx.db.insert(Seen(color=seen))
    return seen


@module.action
async def color_now(ctx: rf.ActionCtx) -> tuple[str, str]:
    return ctx.env.get("COLOR", "none"), await ctx.run_query(color)


@module.mutation
async def write_behind_the_back(ctx: rf.MutationCtx) -> None:
    await ctx.db.insert(VariableRow(name="X", value="y"))


app = rf.App(modules=[module], environment={"COLOR": "red"})


def value(text: str | None) -> dict[str, str | None]:
    return {"COLOR": text}


@simulated(app)
async def test_a_stored_variable_goes_before_the_process_s(sim: Simulation) -> None:
    assert await sim.query(color) == "red"
    await assign(sim.engine, value("blue"))
    assert (await sim.query(color), await sim.mutation(note_color)) == ("blue", "blue")
    assert await sim.action(color_now) == ("blue", "blue")
    await assign(sim.engine, value(None))
    assert await sim.query(color) == "red"
    assert await sim.action(color_now) == ("red", "red")


@simulated(app)
async def test_a_change_runs_again_what_has_read_it_and_nothing_else(sim: Simulation) -> None:
    client = Client(sim)
    one, all_names = client.add(color), client.add(names)
    await client.up_to_date()
    assert (client.value(one), client.value(all_names)) == ("red", ["COLOR"])
    before = runs["color"]
    await assign(sim.engine, {"OTHER": "x"})
    await client.up_to_date()
    assert client.value(all_names) == ["COLOR", "OTHER"]
    assert runs["color"] == before
    await assign(sim.engine, value("blue"))
    await client.up_to_date()
    assert client.value(one) == "blue"
    assert runs["color"] == before + 1
    await assign(sim.engine, {"COLOR": None, "OTHER": None})
    await client.up_to_date()
    assert (client.value(one), client.value(all_names)) == ("red", ["COLOR"])
    client.close()


@simulated(rf.App(modules=[module], environment={}))
async def test_a_query_that_missed_a_variable_learns_of_it(sim: Simulation) -> None:
    client = Client(sim)
    one = client.add(color)
    await client.up_to_date()
    assert client.value(one) == "none"
    await assign(sim.engine, value("blue"))
    await client.up_to_date()
    assert client.value(one) == "blue"
    client.close()


def test_the_process_s_own_environment_stands_still() -> None:
    process = {"COLOR": "red"}

    async def main() -> None:
        async with rf.App(modules=[module], environment=process).in_memory() as backend:
            process["COLOR"] = "green"
            assert await backend.query(color) == "red"
            assert await backend.action(color_now) == ("red", "red")

    arun(main())


def test_what_is_no_text_in_the_process_s_environment_is_not_there() -> None:
    async def main() -> None:
        process = {"COLOR": os.fsdecode(b"r\xe9d"), "SIZE": "größe"}
        async with rf.App(modules=[module], environment=process).in_memory() as backend:
            assert await backend.query(color) == "none"
            assert backend.engine.variables.at(backend.engine.committer.published) == {"SIZE": "größe"}

    arun(main())


@simulated(app)
async def test_a_query_at_a_timestamp_has_the_variables_of_that_time(sim: Simulation) -> None:
    engine = sim.engine
    found = engine.resolve(color)
    stamps = {"red": engine.committer.published}
    for shade in ("blue", "green"):
        await assign(engine, value(shade))
        stamps[shade] = engine.committer.published
    for shade, ts in stamps.items():
        assert (await engine.query_at(found, b"{}", ts)).value == f'"{shade}"'.encode()


def test_of_the_time_before_the_start_variables_are_not_told() -> None:
    storage = MemoryStorage()

    async def main() -> None:
        async with simulate(app, storage=storage) as sim:
            early = sim.engine.committer.published
            await assign(sim.engine, value("blue"))
            clock = sim.clock
        await storage.open()
        await storage.close()
        async with simulate(app, storage=storage, clock=clock) as sim:
            assert await sim.query(color) == "blue"
            with pytest.raises(OutOfRetention):
                sim.engine.variables.get("COLOR", early)
            result = await sim.engine.query_at(sim.engine.resolve(color), b"{}", early)
            assert result.failure is not None
            assert "variables of that timestamp" in result.failure.message

    arun(main())


@simulated(rf.App(modules=[module], environment={}, limits=rf.Limits(retention_seconds=5)))
async def test_replaced_values_are_forgotten(sim: Simulation) -> None:
    engine = sim.engine
    begin = engine.committer.published
    for shade in ("red", "blue"):
        await assign(engine, value(shade))
    await assign(engine, {"GONE": "x"})
    await assign(engine, {"GONE": None})
    last = engine.committer.published
    await sim.advance(30)
    assert await sim.query(color) == "blue"
    assert engine.variables.stored(last) == {"COLOR": "blue"}
    with pytest.raises(OutOfRetention):
        engine.variables.get("COLOR", begin)


def test_a_group_that_fails_has_set_nothing() -> None:
    faults = FaultPlan()

    async def main() -> None:
        async with simulate(app, faults=faults) as sim:
            client = Client(sim)
            one = client.add(color)
            await client.up_to_date()
            faults.commit = 1.0
            with pytest.raises(rf.ReflowError):
                await assign(sim.engine, value("blue"))
            faults.commit = 0.0
            assert await sim.query(color) == "red"
            assert await sim.mutation(note_color) == "red"
            await assign(sim.engine, value("green"))
            await client.up_to_date()
            assert client.value(one) == "green"
            client.close()

    arun(main())


def test_a_mutation_beside_a_change_sees_the_one_or_the_other() -> None:
    """Reads suspend here, so mutations run beside each other: one that read the former value runs again."""

    async def main() -> None:
        async with simulate(app, seed=3, interleave=True) as sim:
            for number in range(10):
                shade = f"shade {number}"
                told, _ = await asyncio.gather(sim.mutation(note_color), assign(sim.engine, value(shade)))
                assert told in (shade, f"shade {number - 1}", "red")
                assert await sim.mutation(note_color) == shade

    arun(main())


@pytest.mark.parametrize("name", ["", "1A", "A B", "Ä", "A=B", "A\n", "x" * 41, "REFLOW_VECTORS_URL", "reflow_x"])
def test_what_can_not_name_a_variable_is_refused(name: str) -> None:
    async def main() -> None:
        async with app.in_memory() as backend:
            for given in (SECRET, None):
                with pytest.raises(InvalidValue) as caught:
                    await assign(backend.engine, {"FINE": "x", name: given})
                assert SECRET not in str(caught.value)
            assert await backend.query(names) == ["COLOR"]

    arun(main())


@pytest.mark.parametrize(
    ("given", "message"), [("é" * 5000, "10000 bytes"), (SECRET + "\ud800", "half of a character")]
)
def test_a_value_that_is_too_large_or_no_text_is_refused_without_being_shown(given: str, message: str) -> None:
    async def main() -> None:
        async with app.in_memory() as backend:
            with pytest.raises(rf.ReflowError, match=message) as caught:
                await assign(backend.engine, value(given))
            assert given[:10] not in str(caught.value)
            assert await backend.query(color) == "red"

    arun(main())


def test_there_are_only_so_many() -> None:
    small = rf.App(modules=[module], environment={}, limits=rf.Limits(variables=3))

    async def main() -> None:
        async with small.in_memory() as backend:
            await assign(backend.engine, {"A": "1", "B": "2", "C": "3"})
            with pytest.raises(LimitExceeded, match=r"limits\.variables = 3"):
                await assign(backend.engine, {"D": "4"})
            await assign(backend.engine, {"A": None, "D": "4"})
            assert await backend.query(names) == ["B", "C", "D"]

    arun(main())


@simulated(app)
async def test_functions_can_not_write_them(sim: Simulation) -> None:
    with pytest.raises(CallFailed, match="reflow's own"):
        await sim.mutation(write_behind_the_back)


@simulated(app)
async def test_removing_what_is_not_there_says_so(sim: Simulation) -> None:
    assert await assign(sim.engine, {"NOWHERE": None, "A": "1"}) == ["NOWHERE"]
    assert await sim.query(names) == ["A", "COLOR"]


def test_variables_of_a_closed_directory_survive_with_all_else(tmp_path: Path) -> None:
    bare = rf.App(modules=[], environment={})

    async def main() -> None:
        async with app.open(tmp_path) as backend:
            await backend.mutation(note_color)
        for number in range(3):
            async with bare.open_raw(tmp_path) as raw:
                await assign(raw.engine, {"COLOR": f"shade {number}", "OTHER": "x" if number < 2 else None})
                assert raw.engine.variables.stored(raw.engine.committer.published)["COLOR"] == f"shade {number}"
            async with app.open(tmp_path) as backend:
                assert await backend.mutation(note_color) == f"shade {number}"
        async with app.open(tmp_path) as backend:
            assert await backend.query(names) == ["COLOR"]

    arun(main())
