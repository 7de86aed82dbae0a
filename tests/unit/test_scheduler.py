from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

import reflow as rf
from reflow.errors import CallFailed
from reflow.storage.memory import MemoryStorage
from reflow.testing import FaultPlan, Simulation, VirtualClock, simulate
from tests.support import arun
from tests.support.simulated import simulated


class Event(rf.Table, table="events"):
    name: str
    at: float


jobs = rf.Module("jobs")

RUNS: list[str] = []
"""What actions did: nothing takes that back."""


@jobs.mutation
async def record(ctx: rf.MutationCtx, name: str, then: float | None = None) -> None:
    await ctx.db.insert(Event(name=name, at=ctx.now()))
    if then is not None:
        await ctx.scheduler.run_after(then, record, name=name + "'")


@jobs.mutation
async def schedule_of_size(ctx: rf.MutationCtx, size: int) -> None:
    await ctx.scheduler.run_after(1e6, record, name="x" * size)


@jobs.mutation
async def fail(ctx: rf.MutationCtx) -> None:
    await ctx.db.insert(Event(name="half", at=0))
    await ctx.scheduler.run_after(0, record, name="never")
    raise ValueError("no luck")


@jobs.mutation
async def read_too_much(ctx: rf.MutationCtx) -> None:
    for _ in range(100):
        await ctx.db.query(Event).collect()


@jobs.action
async def act(ctx: rf.ActionCtx, name: str) -> None:
    RUNS.append(name)
    await ctx.run_mutation(record, name)


@jobs.action
async def wait(ctx: rf.ActionCtx, name: str) -> None:
    RUNS.append(name)
    await asyncio.Event().wait()


@jobs.action(retry=rf.Retry(attempts=4, first=10, factor=2, longest=30))
async def flaky(ctx: rf.ActionCtx, fails: int) -> None:
    RUNS.append(f"{ctx._run.now(None):.0f}")  # pyright: ignore[reportPrivateUsage]
    if len(RUNS) <= fails:
        raise ConnectionError(f"failure {len(RUNS)}")


@jobs.action(retry=rf.Retry(attempts=3))
async def told_when(ctx: rf.ActionCtx, seconds: float) -> None:
    RUNS.append(f"{ctx._run.now(None):.0f}")  # pyright: ignore[reportPrivateUsage]
    if len(RUNS) == 1:
        raise rf.RetryAfter(seconds)


@jobs.action
async def once(ctx: rf.ActionCtx) -> None:
    RUNS.append("once")
    raise ValueError("no retry")


@jobs.mutation
async def schedule(ctx: rf.MutationCtx, after: float, path: str, args: dict[str, Any]) -> str:
    function: Any = {f.path: f for f in jobs}[path]
    return await ctx.scheduler.run_after(after, function, **args)


@jobs.mutation
async def schedule_at(ctx: rf.MutationCtx, at: float) -> str:
    return await ctx.scheduler.run_at(at, record, name="at")


@jobs.mutation
async def schedule_and_fail(ctx: rf.MutationCtx) -> None:
    await ctx.scheduler.run_after(0, record, name="never")
    raise ValueError("taken back")


@jobs.mutation
async def schedule_many(ctx: rf.MutationCtx, count: int, after: float = 0) -> list[str]:
    return [await ctx.scheduler.run_after(after, record, name=f"{n}") for n in range(count)]


@jobs.mutation
async def schedule_large(ctx: rf.MutationCtx, count: int) -> None:
    for _ in range(count):
        await ctx.scheduler.run_after(100, record, name="x" * 2900)


@jobs.mutation
async def measure(ctx: rf.MutationCtx, text: str) -> None:
    await ctx.db.insert(Event(name=f"{len(text)}", at=0))


@jobs.mutation
async def cancel(ctx: rf.MutationCtx, id: str) -> None:
    await ctx.scheduler.cancel(rf.Id(id))


@jobs.action
async def schedule_from_action(ctx: rf.ActionCtx) -> list[str]:
    first = await ctx.scheduler.run_after(5, record, name="first")
    second = await ctx.scheduler.run_at(0, record, name="second")
    await ctx.scheduler.cancel(first)
    return [first, second]


@jobs.internal_action
async def begin(ctx: rf.ActionCtx, name: str) -> None:
    await ctx.scheduler.run_after(0, record, name=f"{name} 1")
    await ctx.run_mutation(record, f"{name} 2", 0)
    await ctx.run_action(begin_inside, name)


@jobs.internal_action
async def begin_inside(ctx: rf.ActionCtx, name: str) -> None:
    await ctx.scheduler.run_after(0, record, name=f"{name} 3")


@jobs.action
async def begin_twice(ctx: rf.ActionCtx) -> None:
    await ctx.run_action(begin, "before")
    GATE[0].set()
    await GATE[1].wait()
    await ctx.run_action(begin, "after")


GATE: list[asyncio.Event] = []


@jobs.mutation
async def sign(ctx: rf.MutationCtx, then: bool) -> None:
    identity = ctx.auth.identity()
    await ctx.db.insert(Event(name="nobody" if identity is None else identity.subject, at=0))
    if then:
        await ctx.scheduler.run_after(0, sign, then=False)
        await ctx.scheduler.run_after(0, sign_outside)


@jobs.action
async def sign_outside(ctx: rf.ActionCtx) -> None:
    await ctx.run_mutation(sign, then=False)


@jobs.query
async def status(ctx: rf.QueryCtx) -> list[Any]:
    rows = await ctx.db.query(rf.Scheduled).collect()
    return [[row.name.removeprefix("jobs:"), row.state.kind, row.state.error, row.attempt] for row in rows]


@jobs.query
async def events(ctx: rf.QueryCtx) -> list[str]:
    return [event.name for event in await ctx.db.query(Event).collect()]


app = rf.App(modules=[jobs])
START = 1_700_000_000


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    RUNS.clear()


async def later(sim: Simulation, after: float, path: str, **args: Any) -> str:
    return await sim.mutation(schedule, after, f"jobs:{path}", args)


@simulated(app)
async def test_functions_run_when_they_are_due_and_in_that_order(sim: Simulation) -> None:
    for after in (30, 10, 20, 0):
        await later(sim, after, "record", name=f"{after}")
    await sim.quiet()
    assert await sim.query(events) == ["0"]
    await sim.advance(10)
    assert await sim.query(events) == ["0", "10"]
    await sim.advance(9.9)
    assert await sim.query(events) == ["0", "10"]
    await sim.advance(100)
    assert await sim.query(events) == ["0", "10", "20", "30"]
    assert [row[1] for row in await sim.query(status)] == ["success"] * 4


@simulated(app)
async def test_the_status_table_has_convexs_shape(sim: Simulation) -> None:
    id = await later(sim, 5, "record", name="a")
    (pending,) = await sim.engine.transact(_rows)
    assert pending == {
        **{"_id": id, "_creationTime": pending["_creationTime"], "name": "jobs:record", "attempt": 1},
        **{"args": [{"name": "a"}], "scheduledTime": (START + 5) * 1000.0, "state": {"kind": "pending"}},
    }
    await sim.advance(5)
    (done,) = await sim.engine.transact(_rows)
    assert done["state"] == {"kind": "success"}
    assert done["completedTime"] == (START + 5) * 1000.0


async def _rows(tx: Any) -> list[Any]:
    import msgspec

    rows = await rf.DatabaseReader(tx).query(rf.Scheduled).collect()
    return [msgspec.to_builtins(row) for row in rows]


@simulated(app)
async def test_a_time_in_the_past_means_at_once(sim: Simulation) -> None:
    await sim.mutation(schedule_at, 5.0)
    await sim.mutation(schedule_at, -5.0)
    await later(sim, -3, "record", name="b")
    await sim.quiet()
    assert sorted(await sim.query(events)) == ["at", "at", "b"]
    with pytest.raises(CallFailed, match=r"can't be scheduled for inf"):
        await sim.mutation(schedule_at, float("inf"))
    with pytest.raises(CallFailed, match=r"can't be scheduled for nan"):
        await sim.mutation(schedule_at, float("nan"))


@simulated(app)
async def test_a_mutation_that_fails_schedules_nothing(sim: Simulation) -> None:
    with pytest.raises(CallFailed):
        await sim.mutation(schedule_and_fail)
    await sim.advance(10)
    assert await sim.query(status) == []
    assert await sim.query(events) == []


@simulated(app)
async def test_a_scheduled_mutation_that_fails_leaves_its_error_and_nothing_else(sim: Simulation) -> None:
    await later(sim, 0, "fail")
    await sim.advance(10)
    assert await sim.query(events) == []
    assert await sim.query(status) == [["fail", "failed", "Uncaught ValueError: no luck", 1]]


@simulated(rf.App(modules=[jobs], limits=rf.Limits(documents_read=50)))
async def test_a_mutation_over_its_limits_is_failed_and_not_tried_for_ever(sim: Simulation) -> None:
    await sim.mutation(record, "a")
    await later(sim, 0, "read_too_much")
    await sim.advance(10)
    ((_, state, error, _),) = await sim.query(status)
    assert state == "failed"
    assert "limits.documents_read = 50" in error


@simulated(app)
async def test_wrong_schedules_are_refused(sim: Simulation) -> None:
    with pytest.raises(CallFailed, match=r"ArgumentValidationError: .*at `\$.name`"):
        await later(sim, 0, "record", name=3)
    with pytest.raises(CallFailed, match=r"is a query: schedule a mutation or an action"):
        await later(sim, 0, "events")
    assert await sim.query(status) == []


@simulated(rf.App(modules=[jobs], limits=rf.Limits(schedules_per_mutation=5)))
async def test_schedules_of_one_mutation_are_bounded(sim: Simulation) -> None:
    await sim.mutation(schedule_many, 5)
    with pytest.raises(CallFailed, match=r"limits.schedules_per_mutation = 5"):
        await sim.mutation(schedule_many, 6)


@simulated(app)
async def test_what_is_pending_can_be_cancelled(sim: Simulation) -> None:
    id = await later(sim, 5, "record", name="a")
    done = await later(sim, 0, "record", name="b")
    await sim.quiet()
    await sim.mutation(cancel, id)
    await sim.mutation(cancel, done)
    await sim.mutation(cancel, id)
    await sim.advance(10)
    assert await sim.query(events) == ["b"]
    assert [row[1] for row in await sim.query(status)] == ["canceled", "success"]
    with pytest.raises(CallFailed, match=r"is no scheduled function"):
        await sim.mutation(cancel, (await sim.engine.transact(_an_event)))


async def _an_event(tx: Any) -> str:
    return (await tx.insert(Event.table_spec, (Event(name="c", at=0),), (None,)))[0]


@simulated(app)
async def test_an_action_that_is_cancelled_while_it_runs_goes_on_and_schedules_nothing_more(sim: Simulation) -> None:
    GATE[:] = [asyncio.Event(), asyncio.Event()]
    id = await later(sim, 0, "begin_twice")
    await GATE[0].wait()
    await sim.mutation(cancel, id)
    GATE[1].set()
    await sim.quiet()
    assert sorted(await sim.query(events)) == ["after 2", "before 1", "before 2", "before 2'", "before 3"]
    rows = await sim.query(status)
    assert rows[0] == ["begin_twice", "canceled", None, 1]
    assert [row[1] for row in rows[1:]] == ["success"] * 3 + ["canceled"] * 3


@simulated(app)
async def test_a_try_that_is_cancelled_is_the_last(sim: Simulation) -> None:
    id = await later(sim, 0, "flaky", fails=9)
    await sim.quiet()
    await sim.mutation(cancel, id)
    await sim.advance(1000)
    assert len(RUNS) == 1
    assert [row[1] for row in await sim.query(status)] == ["canceled"]


@simulated(rf.App(modules=[jobs], limits=rf.Limits(scheduled_outstanding=5)))
async def test_what_is_pending_is_bounded(sim: Simulation) -> None:
    ids = await sim.mutation(schedule_many, 5, 10.0)
    with pytest.raises(CallFailed, match=r"limits.scheduled_outstanding = 5"):
        await sim.mutation(schedule_many, 1)
    with pytest.raises(CallFailed, match=r"limits.scheduled_outstanding = 5"):
        await sim.action(schedule_from_action)
    await sim.mutation(cancel, ids[0])
    await sim.mutation(schedule_many, 1, 10.0)
    await sim.advance(10)
    await sim.mutation(schedule_many, 5, 10.0)


@simulated(rf.App(modules=[jobs], limits=rf.Limits(scheduled_arguments_bytes=3000, schedules_bytes=10_000)))
async def test_arguments_of_what_is_scheduled_are_bounded(sim: Simulation) -> None:
    await later(sim, 100, "record", name="x" * 2900)
    with pytest.raises(CallFailed, match=r"limits.scheduled_arguments_bytes is 3000"):
        await later(sim, 0, "record", name="x" * 3000)
    await sim.mutation(schedule_large, 3)
    with pytest.raises(CallFailed, match=r"limits.schedules_bytes = 10000"):
        await sim.mutation(schedule_large, 4)
    assert len(await sim.query(status)) == 4


@simulated(app)
async def test_arguments_may_be_larger_than_a_document(sim: Simulation) -> None:
    await later(sim, 0, "measure", text="x" * (3 << 20))
    await sim.quiet()
    assert await sim.query(events) == [str(3 << 20)]


@simulated(app)
async def test_actions_schedule_at_once(sim: Simulation) -> None:
    await sim.action(schedule_from_action)
    await sim.advance(10)
    assert await sim.query(events) == ["second"]
    assert [row[1] for row in await sim.query(status)] == ["canceled", "success"]


@simulated(app)
async def test_who_schedules_is_not_who_runs(sim: Simulation) -> None:
    somebody = rf.Identity(issuer="https://id.example.com", subject="somebody")
    await sim.engine.mutation(sign, b'{"then": true}', somebody)
    await sim.quiet()
    assert await sim.query(events) == ["somebody", "nobody", "nobody"]


@simulated(app)
async def test_a_function_may_schedule_itself(sim: Simulation) -> None:
    await sim.mutation(record, "a", 5)
    await sim.advance(4)
    assert await sim.query(events) == ["a"]
    await sim.advance(1)
    assert await sim.query(events) == ["a", "a'"]


@simulated(app)
async def test_a_retry_backs_off_with_jitter_and_ends_visibly(sim: Simulation) -> None:
    await later(sim, 0, "flaky", fails=9)
    await sim.advance(1000)
    times = [int(run) - START for run in RUNS]
    pauses = [after - before for before, after in pairwise(times)]
    assert len(times) == 4
    for pause, least in zip(pauses, (10, 20, 30), strict=True):
        assert least - 1 <= pause <= least * 1.25 + 1
    assert await sim.query(status) == [["flaky", "failed", "Uncaught ConnectionError: failure 4", 4]]


@simulated(app)
async def test_a_retry_that_works_ends_in_success(sim: Simulation) -> None:
    await later(sim, 0, "flaky", fails=2)
    await sim.quiet()
    assert await sim.query(status) == [["flaky", "pending", "Uncaught ConnectionError: failure 1", 2]]
    await sim.advance(1000)
    assert await sim.query(status) == [["flaky", "success", None, 3]]


@pytest.mark.parametrize("seconds", [0, 77])
def test_retry_after_says_when(seconds: float) -> None:
    @simulated(app)
    async def run(sim: Simulation) -> None:
        await later(sim, 0, "told_when", seconds=seconds)
        await sim.advance(seconds - 1 if seconds else 0)
        assert len(RUNS) == (1 if seconds else 2)
        await sim.advance(2)
        assert [int(run) - START for run in RUNS] == [0, seconds]
        assert await sim.query(status) == [["told_when", "success", None, 2]]

    run()


@simulated(app)
async def test_an_action_without_retry_runs_once(sim: Simulation) -> None:
    await later(sim, 0, "once")
    await sim.advance(1000)
    assert RUNS == ["once"]
    assert await sim.query(status) == [["once", "failed", "Uncaught ValueError: no retry", 1]]


@simulated(rf.App(modules=[jobs], limits=rf.Limits(actions_running=2)))
async def test_actions_running_are_bounded_and_the_rest_waits_for_a_place(sim: Simulation) -> None:
    waiting = [await later(sim, 0, "wait", name=f"{n}") for n in range(2)]
    later_ones = [await later(sim, 0, "act", name=f"late {n}") for n in range(6)]
    for _ in range(50):
        await asyncio.sleep(0)
    assert RUNS == ["0", "1"]
    for id in later_ones[:5]:
        await sim.mutation(cancel, id)  # places that free up must not be lost on them
    running = sim.engine.scheduler._running["action"]  # pyright: ignore[reportPrivateUsage]
    running[waiting[0]].cancel()
    for _ in range(200):
        await asyncio.sleep(0)
    assert RUNS == ["0", "1", "late 5"]


# Restarts


@asynccontextmanager
async def restarted(storage: MemoryStorage, clock: VirtualClock, **options: Any) -> AsyncIterator[Simulation]:
    async with simulate(app, storage=storage, clock=clock, **options) as sim:
        yield sim


def test_pending_functions_survive_a_restart_and_run_once() -> None:
    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        async with restarted(storage, clock) as sim:
            await later(sim, 10, "record", name="a")
            await later(sim, 0, "record", name="b")
            await sim.quiet()
        clock.advance(60)
        for _ in range(3):
            async with restarted(storage, clock) as sim:
                await sim.quiet()
                assert await sim.query(events) == ["b", "a"]
                assert [row[1] for row in await sim.query(status)] == ["success", "success"]

    arun(main())


def test_an_action_that_was_running_is_interrupted_and_not_run_again() -> None:
    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        async with restarted(storage, clock) as sim:
            await later(sim, 0, "wait", name="w")
            for _ in range(50):
                await asyncio.sleep(0)
            assert RUNS == ["w"]
        for _ in range(2):
            async with restarted(storage, clock) as sim:
                await sim.quiet()
                ((name, state, error, _),) = await sim.query(status)
                assert (name, state) == ("wait", "failed")
                assert error.startswith("Interrupted: ")
        assert RUNS == ["w"]

    arun(main())


def test_an_interrupted_action_with_retry_counts_as_a_failed_try() -> None:
    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        async with restarted(storage, clock) as sim:
            id = await later(sim, 0, "flaky", fails=0)
            # as if the server had died while it ran: begun, never finished
            assert await sim.engine.transact(lambda tx: sim.engine.scheduler._begin(tx, id))  # pyright: ignore[reportPrivateUsage]
            await sim.quiet()
        assert RUNS == []
        async with restarted(storage, clock) as sim:
            ((_, state, error, attempt),) = await sim.query(status)
            assert (state, attempt) == ("pending", 2)
            assert error.startswith("Interrupted: ")
            await sim.advance(20)
            assert await sim.query(status) == [["flaky", "success", None, 2]]
        assert len(RUNS) == 1

    arun(main())


def test_more_pending_functions_than_one_query_may_read_are_loaded() -> None:
    small = rf.App(modules=[jobs], limits=rf.Limits(documents_read=50, scan_page=20))

    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        async with simulate(small, storage=storage, clock=clock) as sim:
            for _ in range(3):
                await sim.mutation(schedule_many, 40, 10.0)
        async with simulate(small, storage=storage, clock=clock) as sim:
            await sim.advance(20)
            done = await sim.engine.transact(lambda tx: tx.count(_all_events()))
            assert done == 120

    arun(main())


def _all_events() -> Any:
    from reflow.database import RangeRequest

    return RangeRequest(table=Event.table_spec, equal={})


# Faults and races


def test_outcomes_are_stored_once_the_storage_recovers() -> None:
    async def main() -> None:
        faults = FaultPlan()
        async with simulate(app, faults=faults) as sim:
            await later(sim, 1, "flaky", fails=0)
            await later(sim, 2, "record", name="b")
            begun = asyncio.ensure_future(sim.advance(1))
            while not RUNS:
                await asyncio.sleep(0)
            faults.commit = 1.0
            await begun
            await sim.advance(5)
            assert await sim.query(events) == []
            faults.commit = 0.0
            await sim.advance(5)
            assert await sim.query(events) == ["b"]
            assert len(RUNS) == 1
            assert [row[1] for row in await sim.query(status)] == ["success", "success"]

    arun(main())


def test_an_outcome_is_not_lost_when_the_queue_is_full() -> None:
    tight = rf.App(modules=[jobs], limits=rf.Limits(queued_mutations=1))

    async def main() -> None:
        async with simulate(tight) as sim:
            await later(sim, 0, "once")
            await sim.quiet()
            for _ in range(5):
                flood = [asyncio.ensure_future(sim.mutation(record, "x")) for _ in range(20)]
                await asyncio.gather(*flood, return_exceptions=True)
                await sim.advance(3)
            assert [row[1] for row in await sim.query(status)] == ["failed"]

    arun(main())


def test_a_storage_that_keeps_failing_is_asked_less_and_less_often() -> None:
    async def main() -> None:
        faults = FaultPlan()
        app = rf.App(modules=[jobs], limits=rf.Limits(prune_interval_seconds=1e9, schedule_longest_pause_seconds=20))
        async with simulate(app, faults=faults) as sim:
            await later(sim, 1, "record", name="a")
            faults.commit = 1.0
            tries: list[float] = []
            while sim.clock.now() < START + 100:
                await sim.advance(0.25)
                tries += [sim.clock.now() - START] * (faults.raised["commit"] - len(tries))
            pauses = [after - before for before, after in pairwise(tries)]
            for pause, least in zip(pauses, (0.5, 1, 2, 4, 8, 16, 20, 20), strict=False):
                assert least - 0.25 <= pause <= least * 1.25 + 0.25
            assert len(pauses) in (7, 8)
            faults.commit = 0.0
            await sim.advance(26)
            assert await sim.query(events) == ["a"]

    arun(main())


@pytest.mark.parametrize("seed", range(25))
def test_nothing_due_is_lost_whatever_else_becomes_due(seed: int) -> None:
    """Functions become due while others are being started, over a storage that suspends."""

    async def main() -> None:
        async with simulate(app, interleave=True, seed=seed) as sim:
            for turn in range(4):
                await asyncio.gather(
                    *(later(sim, (7 * n + seed + turn) % 3, "record", name=f"{turn}.{n}", then=n % 2) for n in range(5))
                )
                await sim.advance(1)
            await sim.advance(10)
            names = await sim.query(events)
            assert sorted(names) == sorted(f"{t}.{n}{end}" for t in range(4) for n in range(5) for end in ("", "'"))
            assert {row[1] for row in await sim.query(status)} == {"success"}

    arun(main())


@simulated(rf.App(modules=[jobs], limits=rf.Limits(scheduled_retention_seconds=100, scan_page=8)))
async def test_finished_rows_go_after_a_while(sim: Simulation) -> None:
    await sim.mutation(schedule_many, 30)
    await later(sim, 1000, "record", name="pending")
    await sim.advance(90)
    assert len(await sim.query(status)) == 31
    await sim.advance(40)
    assert [row[:2] for row in await sim.query(status)] == [["record", "pending"]]


@simulated(app)
async def test_a_row_of_a_function_that_is_gone_fails_visibly(sim: Simulation) -> None:
    await later(sim, 5, "record", name="a")
    del sim.engine.functions["jobs:record"]
    await sim.advance(10)
    ((_, state, error, _),) = await sim.query(status)
    assert state == "failed"
    assert "no function 'jobs:record' in this app" in error


def test_a_start_does_not_hold_all_that_is_pending() -> None:
    count, size = 100, 100_000

    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        app = rf.App(modules=[jobs], limits=rf.Limits(scan_page=5))
        async with simulate(app, storage=storage, clock=clock) as sim:
            for _ in range(count):
                await sim.mutation(schedule_of_size, size=size)
        tracemalloc.start()
        try:
            async with simulate(app, storage=storage, clock=clock) as sim:
                _, peak = tracemalloc.get_traced_memory()
                assert peak < count * size / 2
        finally:
            tracemalloc.stop()

    arun(main())
