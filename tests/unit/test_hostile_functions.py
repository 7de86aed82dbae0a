"""What functions raise and return at their worst: every caller gets an answer, and the server goes on."""

from __future__ import annotations

import gc
from typing import Any

import pytest

import reflow as rf
from reflow.engine.transaction import EngineTransaction
from reflow.errors import CallFailed
from reflow.testing import Simulation
from tests.support.simulated import simulated


class Note(rf.Table, table="notes"):
    text: str


class Mute(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")


hostile = rf.Module("hostile")

ERRORS: dict[str, BaseException] = {
    "mute": Mute(),
    "surrogate": ValueError("half of a pair: \ud83d"),
    "endless": ValueError("x" * (2 << 20)),
    "generator exit": GeneratorExit(),
}


@hostile.query
async def ask(ctx: rf.QueryCtx, how: str) -> None:
    raise ERRORS[how]


@hostile.mutation
async def change(ctx: rf.MutationCtx, how: str) -> None:
    await ctx.db.insert(Note(text=how))
    raise ERRORS[how]


@hostile.action
async def act(ctx: rf.ActionCtx, how: str) -> None:
    raise ERRORS[how]


@hostile.action
async def return_much(ctx: rf.ActionCtx) -> str:
    return "x" * 2000


@hostile.query
async def raise_much(ctx: rf.QueryCtx) -> None:
    raise rf.ApplicationError("x" * 2000)


@hostile.query
async def log_surrogate(ctx: rf.QueryCtx) -> None:
    ctx.log("half of a pair: \ud83d")


@hostile.mutation
async def add_at(ctx: rf.MutationCtx, at: float) -> rf.Id[Any]:
    return await ctx.scheduler.run_at(at, add, text=f"at {at}")


@hostile.mutation
async def add(ctx: rf.MutationCtx, text: str) -> None:
    await ctx.db.insert(Note(text=text))


@hostile.mutation
async def schedule_both(ctx: rf.MutationCtx, how: str) -> list[rf.Id[Any]]:
    return [await ctx.scheduler.run_after(0, change, how=how), await ctx.scheduler.run_after(0, act, how=how)]


@hostile.query
async def texts(ctx: rf.QueryCtx) -> list[str]:
    return [note.text for note in await ctx.db.query(Note).collect()]


@hostile.query
async def state_of(ctx: rf.QueryCtx, id: rf.Id[Any]) -> tuple[str, str | None]:
    row = await ctx.db.get(id)
    assert row is not None
    return row.state.kind, row.state.error


@hostile.query
async def some(ctx: rf.QueryCtx, count: Any) -> list[str]:
    return [note.text for note in await ctx.db.query(Note).take(count)]


@hostile.query
async def ticking(ctx: rf.QueryCtx, every: float) -> float:
    return ctx.now(every=every)


app = rf.App(modules=[hostile])
small = rf.App(modules=[hostile], limits=rf.Limits(result_bytes=1000))


@pytest.mark.parametrize("how", ERRORS)
def test_rule_9_whatever_a_function_raises_its_caller_gets_text_that_can_be_sent(how: str) -> None:
    @simulated(app)
    async def run(sim: Simulation) -> None:
        for call in (sim.query("hostile:ask", how=how), sim.mutation("hostile:change", how=how)):
            with pytest.raises(CallFailed, match="Uncaught"):
                await call
        with pytest.raises(CallFailed, match="Uncaught") as caught:
            await sim.action("hostile:act", how=how)
        assert len(str(caught.value).encode()) <= app.limits.error_length
        await sim.mutation(add, "still here")
        assert await sim.query(texts) == ["still here"]

    run()


@pytest.mark.parametrize("how", ERRORS)
def test_whatever_a_scheduled_function_raises_it_ends_as_failed(how: str) -> None:
    @simulated(app)
    async def run(sim: Simulation) -> None:
        ids = await sim.mutation(schedule_both, how)
        await sim.advance(60)
        for id in ids:
            kind, error = await sim.query(state_of, id)
            assert kind == "failed"
            assert error is not None
            assert error.startswith("Uncaught")
        assert await sim.query(texts) == []

    run()


@simulated(small)
async def test_actions_and_error_data_are_bounded_like_other_results(sim: Simulation) -> None:
    with pytest.raises(CallFailed, match=r"limits\.result_bytes is 1000"):
        await sim.action(return_much)
    with pytest.raises(CallFailed, match=r"2002 bytes of data; limits\.result_bytes is 1000"):
        await sim.query(raise_much)


@simulated(app)
async def test_log_lines_are_valid_unicode(sim: Simulation) -> None:
    result = await sim.engine.query(sim.engine.resolve(log_surrogate), b"{}")
    assert result.log_lines == [r"[LOG] half of a pair: \ud83d"]


@simulated(app)
async def test_a_schedule_for_minus_zero_runs(sim: Simulation) -> None:
    await sim.mutation(add_at, -0.0)
    await sim.mutation(add_at, -5.0)
    await sim.quiet()
    assert await sim.query(texts) == ["at -0.0", "at -5.0"]


@pytest.mark.parametrize("at", [float("nan"), float("inf"), 1e306])
def test_a_schedule_for_no_time_is_refused(at: float) -> None:
    @simulated(app)
    async def run(sim: Simulation) -> None:
        with pytest.raises(CallFailed, match="can't be scheduled for"):
            await sim.mutation(add_at, at)

    run()


@pytest.mark.parametrize("count", [1.5, -1, "2", None, float("nan")])
def test_take_of_no_whole_number_is_the_callers_mistake(count: Any) -> None:
    @simulated(app)
    async def run(sim: Simulation) -> None:
        await sim.mutation(add, "a")
        with pytest.raises(CallFailed, match=r"InvalidValue: take\(\) needs a whole number"):
            await sim.query(some, count)
        assert await sim.query(some, 5) == ["a"]

    run()


@simulated(app)
async def test_an_interval_of_nan_is_refused(sim: Simulation) -> None:
    with pytest.raises(CallFailed, match="the interval must be above 0 seconds"):
        await sim.query(ticking, float("nan"))


@simulated(app)
async def test_what_a_run_held_is_freed_without_looking_for_cycles(sim: Simulation) -> None:
    def transactions() -> int:
        return sum(isinstance(found, EngineTransaction) for found in gc.get_objects())

    gc.collect()
    before = transactions()
    gc.disable()
    try:
        for number in range(5):
            await sim.mutation(add, f"note {number}")
            await sim.query(texts)
        assert transactions() == before
    finally:
        gc.enable()
