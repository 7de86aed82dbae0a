"""Crons: their times, and their runs under a virtual clock."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import reflow as rf
from reflow.crons import Expression, Interval
from reflow.errors import DefinitionError
from reflow.storage.memory import MemoryStorage
from reflow.testing import FaultPlan, Simulation, VirtualClock, simulate
from tests.support import arun
from tests.support.simulated import simulated

START = 1_700_000_000
"""2023-11-14 22:13:20 UTC."""


class Event(rf.Table, table="events"):
    name: str
    at: float


jobs = rf.Module("jobs")
GATE: dict[str, asyncio.Event] = {}
RUNS: list[str] = []


@jobs.internal_mutation
async def record(ctx: rf.MutationCtx, name: str) -> None:
    await ctx.db.insert(Event(name=name, at=ctx.now() - START))


@jobs.internal_mutation
async def fail(ctx: rf.MutationCtx) -> None:
    await ctx.db.insert(Event(name="half", at=0))
    raise ValueError("always")


@jobs.internal_action
async def slow(ctx: rf.ActionCtx, name: str = "slow") -> None:
    RUNS.append(name)
    await GATE["open"].wait()
    await ctx.scheduler.run_after(0, record, name="after slow")


@jobs.internal_action(retry=rf.Retry(attempts=3, first=6, factor=1))
async def flaky(ctx: rf.ActionCtx) -> None:
    RUNS.append("flaky")
    raise ConnectionError("gone")


@jobs.query
async def nothing(ctx: rf.QueryCtx) -> None:
    pass


@jobs.mutation
async def cancel_runs(ctx: rf.MutationCtx) -> int:
    rows = await ctx.db.query(rf.Scheduled).collect()
    for row in rows:
        await ctx.scheduler.cancel(row.id)
    return len(rows)


@jobs.query
async def events(ctx: rf.QueryCtx) -> list[tuple[str, float]]:
    return [(event.name, event.at) for event in await ctx.db.query(Event).collect()]


@jobs.query
async def crons_now(ctx: rf.QueryCtx) -> list[rf.Cron]:
    return await ctx.db.query(rf.Cron).collect()


@jobs.query
async def scheduled(ctx: rf.QueryCtx) -> list[str]:
    return [row.state.kind for row in await ctx.db.query(rf.Scheduled).collect()]


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    RUNS.clear()
    GATE["open"] = asyncio.Event()


def with_crons(define: Callable[[rf.Crons], object], **limits: Any) -> rf.App:
    crons = rf.Crons()
    define(crons)
    return rf.App(modules=[jobs], crons=crons, limits=rf.Limits(**limits))


async def cron_of(sim: Simulation, name: str = "c") -> rf.Cron:
    (row,) = [row for row in await sim.query(crons_now) if row.name == name]
    return row


def told(row: rf.Cron) -> list[tuple[str, float, int | None]]:
    """How the last runs ended: state, seconds after the start, skipped."""
    return [(run.state, run.scheduled_time / 1000 - START, run.skipped) for run in row.runs]


async def turns(count: int = 300) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def tick(sim: Simulation, seconds: float) -> None:
    """Lets time pass while an action waits for the test, which `advance` could not."""
    latest = sim.clock.now() + seconds
    await turns()
    while sim.clock.wake_next(latest):
        await turns()
    await turns()


# Definitions


@pytest.mark.parametrize(
    ("define", "says"),
    [
        (lambda c: c.interval("x", seconds=0.5), "at least limits.cron_interval_seconds"),
        (lambda c: c.interval("x"), "at least limits.cron_interval_seconds"),
        (lambda c: c.cron("x", "* * * *"), "has 4 fields"),
        (lambda c: c.cron("x", "0 * * * * *"), "has 6 fields"),
        (lambda c: c.cron("x", "61 * * * *"), "no cron expression: Bad minute"),
        (lambda c: c.cron("x", "0 0 30 2 *"), "no cron expression: Bad day-of-month"),
        (lambda c: c.cron("x", "0 0 * * *", tz="Mars/Base"), "no time zone 'Mars/Base'"),
        (lambda c: c.cron("x", "0 0 * * *", tz="../etc"), "no time zone"),
        (lambda c: c.daily("x", hour=24), "hour must be 0 to 23"),
        (lambda c: c.hourly("x", minute=-1), "minute must be 0 to 59"),
        (lambda c: c.weekly("x", day="mon", hour=1), "day must be one of sunday"),
        (lambda c: c.monthly("x", day=32, hour=1), "day must be 1 to 31"),
        (lambda c: c.hourly(""), "can't name a cron"),
        (lambda c: [c.hourly("x"), c.hourly("x")], "defined twice"),
        (lambda c: c.hourly("x").run(nothing), "is a query"),
    ],
)
def test_what_can_not_be_a_cron_is_refused_where_it_is_defined(define: Callable[[Any], Any], says: str) -> None:
    with pytest.raises(DefinitionError) as caught:
        define(rf.Crons())
    assert says in str(caught.value)


def test_a_cron_runs_one_thing() -> None:
    when = rf.Crons().hourly("x")
    when.run(fail)
    with pytest.raises(DefinitionError, match=r"runs jobs:fail already"):
        when.run(fail)


foreign = rf.Module("foreign")


@foreign.internal_mutation
async def unknown(ctx: rf.MutationCtx) -> None:
    pass


@pytest.mark.parametrize(
    ("define", "says"),
    [
        (lambda c: c.hourly("x"), "runs nothing: end its definition with .run"),
        (lambda c: c.hourly("x").run(record), "missing a required argument: 'name'"),
        (lambda c: c.hourly("x").run(record, name=3), "Expected `str`, got `int`"),
        (lambda c: c.hourly("x").run(unknown), "no function 'foreign:unknown' in this app"),
    ],
)
def test_what_a_cron_can_not_run_is_told_at_start(define: Callable[[Any], Any], says: str) -> None:
    async def main() -> None:
        async with simulate(with_crons(define)):
            pass

    with pytest.raises(DefinitionError) as caught:
        arun(main())
    assert says in str(caught.value)


# Times


def times(crons: rf.Crons, count: int, after: str) -> list[str]:
    """The first times of the only cron after a moment."""
    (defined,) = crons

    def every() -> Iterator[int]:
        time = int(datetime.fromisoformat(after).timestamp() * 1000)
        while True:
            time, missed = defined.schedule.following(time, time)
            assert missed == 0
            yield time

    return [f"{datetime.fromtimestamp(time / 1000, UTC):%m-%d %H:%M}" for time in islice(every(), count)]


@pytest.mark.parametrize(
    ("define", "after", "expected"),
    [
        (lambda c: c.cron("x", "*/20 9 * * *"), "2026-01-01T00:00Z", ["01-01 09:00", "01-01 09:20", "01-01 09:40"]),
        (lambda c: c.cron("x", "0 12 * * mon-fri"), "2026-01-02T13:00Z", ["01-05 12:00", "01-06 12:00", "01-07 12:00"]),
        (lambda c: c.hourly("x", minute=7), "2026-01-01T22:30Z", ["01-01 23:07", "01-02 00:07", "01-02 01:07"]),
        (lambda c: c.daily("x", hour=7), "2026-01-01T07:00Z", ["01-02 07:00", "01-03 07:00", "01-04 07:00"]),
        (lambda c: c.weekly("x", day="sunday", hour=1), "2026-01-01T00:00Z", ["01-04 01:00", "01-11 01:00"]),
        (lambda c: c.monthly("x", day=31, hour=0), "2026-01-01T00:00Z", ["01-31 00:00", "03-31 00:00", "05-31 00:00"]),
        # Berlin's clocks go from 2 to 3 on March 29th, and from 3 to 2 on October 25th.
        (
            lambda c: c.daily("x", hour=2, minute=30, tz="Europe/Berlin"),
            "2026-03-28T00:00Z",
            ["03-28 01:30", "03-29 01:00", "03-30 00:30"],
        ),
        (
            lambda c: c.daily("x", hour=2, minute=30, tz="Europe/Berlin"),
            "2026-10-24T00:00Z",
            ["10-24 00:30", "10-25 00:30", "10-26 01:30"],
        ),
    ],
)
def test_times(define: Callable[[rf.Crons], Any], after: str, expected: list[str]) -> None:
    crons = rf.Crons()
    define(crons)
    assert times(crons, len(expected), after) == expected


@pytest.mark.parametrize("fields", ["30 2 * * *", "15,45 1-3 * * *", "*/15 * * * *"])
def test_a_cron_that_is_new_in_the_hour_that_comes_twice_starts_in_the_future(fields: str) -> None:
    schedule = Expression(fields, "Europe/Berlin")
    now = int(datetime(2026, 10, 25, 1, tzinfo=UTC).timestamp()) * 1000  # two o'clock for the second time
    for minute in range(60):
        moment = now + minute * 60_000
        assert schedule.first(moment) == schedule.following(moment - 3_600_000, moment + 1)[0] > moment


@given(st.integers(1000, 10**9), st.integers(0, 10**12), st.integers(0, 10**9))
def test_an_interval_keeps_its_grid_and_counts_what_it_missed(period: int, planned: int, later: int) -> None:
    following, missed = Interval(period).following(planned, planned + later)
    assert (following - planned) % period == 0
    assert following >= planned + later or missed == 0
    assert following > planned
    grid = range(planned + period, planned + later, period)
    assert missed == len(grid)


@given(st.sampled_from(["*/7 * * * *", "3 */5 * * *", "0 0 1 * *"]), st.integers(0, 10**10), st.integers(0, 10**8))
def test_an_expression_counts_what_it_missed(fields: str, planned: int, later: int) -> None:
    schedule = Expression(fields, "UTC")
    planned = schedule.first(planned)
    following, missed = schedule.following(planned, planned + later)
    seen, time = 0, planned
    while (time := schedule.first(time)) < planned + later:
        seen += 1
    assert following == time
    assert missed == min(seen, rf.Limits().cron_missed)


def test_a_long_pause_is_not_counted_out() -> None:
    """A cron of each minute in a directory that nobody opened for ten years."""
    now = 10 * 365 * 86_400_000 + 1
    following, missed = Expression("* * * * *", "UTC").following(0, now)
    assert missed == rf.Limits().cron_missed
    assert 0 <= following - now < 60_000


# Runs


@simulated(with_crons(lambda c: c.interval("c", seconds=10).run(record, "tick")))
async def test_an_interval_runs_at_the_first_deploy_and_then_on_time(sim: Simulation) -> None:
    await sim.quiet()
    assert await sim.query(events) == [("tick", 0)]
    await sim.advance(9.9)
    assert await sim.query(events) == [("tick", 0)]
    await sim.advance(25)
    assert await sim.query(events) == [("tick", 0), ("tick", 10), ("tick", 20), ("tick", 30)]
    row = await cron_of(sim)
    assert (row.function, row.args, row.schedule) == ("jobs:record", {"name": "tick"}, "every 10 s")
    assert (row.next_time, row.last_time, row.running) == ((START + 40) * 1000, (START + 30) * 1000, None)
    assert told(row) == [("success", 0, None), ("success", 10, None), ("success", 20, None), ("success", 30, None)]
    assert await sim.query(scheduled) == [], "runs of crons leave no rows behind"


@simulated(with_crons(lambda c: c.cron("c", "*/5 * * * *").run(record, "tick")))
async def test_an_expression_waits_for_its_time(sim: Simulation) -> None:
    await sim.advance(99)
    assert await sim.query(events) == []
    await sim.advance(302)
    assert await sim.query(events) == [("tick", 100), ("tick", 400)]


@simulated(with_crons(lambda c: c.interval("c", seconds=10).run(record, "tick"), cron_runs_kept=3))
async def test_of_each_cron_the_last_runs_are_kept(sim: Simulation) -> None:
    await sim.advance(95)
    assert [at for _, at, _ in told(await cron_of(sim))] == [70, 80, 90]


@simulated(with_crons(lambda c: c.interval("c", seconds=10).run(slow)))
async def test_a_run_that_goes_on_has_the_next_ones_skipped_and_logged(sim: Simulation) -> None:
    await tick(sim, 35)
    assert RUNS == ["slow"]
    row = await cron_of(sim)
    assert row.running is not None
    assert told(row) == [("canceled", 10, 3)]
    assert row.runs[0].error == "the run before it was still going"
    GATE["open"].set()
    await tick(sim, 1)
    assert told(await cron_of(sim)) == [("canceled", 10, 3), ("success", 0, None)]
    await tick(sim, 5)
    assert RUNS == ["slow", "slow"]
    assert told(await cron_of(sim))[-1] == ("success", 40, None)


@simulated(with_crons(lambda c: c.interval("c", seconds=10).run(fail)))
async def test_a_cron_that_always_fails_goes_on_and_says_so(sim: Simulation) -> None:
    await sim.advance(65)
    row = await cron_of(sim)
    assert told(row) == [("failed", at, None) for at in (20, 30, 40, 50, 60)]
    assert {run.error for run in row.runs} == {"Uncaught ValueError: always"}
    assert await sim.query(events) == []


@simulated(with_crons(lambda c: c.interval("c", seconds=10).run(flaky)))
async def test_an_action_with_retry_is_one_run(sim: Simulation) -> None:
    await sim.advance(29)
    assert len(RUNS) == 5
    assert told(await cron_of(sim)) == [("canceled", 10, 1), ("failed", 0, None)]


@simulated(with_crons(lambda c: c.interval("c", seconds=10).run(slow)))
async def test_a_running_cron_can_be_cancelled_and_schedules_nothing_more(sim: Simulation) -> None:
    await tick(sim, 5)
    assert await sim.mutation(cancel_runs) == 1
    await tick(sim, 10)
    assert RUNS == ["slow"], "it goes on, so the next one is skipped"
    GATE["open"].set()
    await tick(sim, 1)
    assert await sim.query(events) == []
    assert [state for state, _, _ in told(await cron_of(sim))] == ["canceled", "canceled"]
    await tick(sim, 10)
    assert RUNS == ["slow", "slow"]
    assert [name for name, _ in await sim.query(events)] == ["after slow"]


@simulated(with_crons(lambda c: [c.interval(n, seconds=10).run(record, n) for n in ("a", "b", "c")]))
async def test_crons_that_are_due_together_all_run(sim: Simulation) -> None:
    await sim.advance(20)
    assert sorted(await sim.query(events)) == [(name, at) for name in ("a", "b", "c") for at in (0, 10, 20)]
    assert {row.name for row in await sim.query("_crons:list")} == {"a", "b", "c"}


def test_a_failing_storage_makes_runs_late_not_many() -> None:
    async def main() -> None:
        faults = FaultPlan()
        app = with_crons(lambda c: c.interval("c", seconds=10).run(record, "t"), cron_runs_kept=100)
        async with simulate(app, faults=faults) as sim:
            await sim.quiet()
            faults.commit = 1.0
            await sim.advance(34)
            faults.commit = 0.0
            await sim.advance(60)
            ran = await sim.query(events)
            assert ran[0] == ("t", 0)
            assert [at for _, at in ran[2:]] == list(range(int(ran[2][1]), 91, 10)), "the grid goes on"
            assert len(ran) + sum(run.skipped or 0 for run in (await cron_of(sim)).runs) == 10

    arun(main())


# Restarts and deploys


async def during(app: rf.App, storage: MemoryStorage, clock: VirtualClock, seconds: float) -> tuple[Any, list[Any]]:
    """What an application has done when some time has passed; then it stops."""
    async with simulate(app, storage=storage, clock=clock) as sim:
        await sim.advance(seconds)
        return await sim.query(events), await sim.query(crons_now)


def every_ten(name: str = "c", seconds: float = 10, text: str = "t") -> rf.App:
    return with_crons(lambda c: c.interval(name, seconds=seconds).run(record, text))


def test_what_came_due_while_nobody_served_runs_once_and_is_told() -> None:
    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        await during(every_ten(), storage, clock, 15)
        clock.advance(40)  # 55
        ran, (row,) = await during(every_ten(), storage, clock, 10)
        assert ran == [("t", 0), ("t", 10), ("t", 55), ("t", 60)]
        late = [("success", 0, None), ("success", 10, None), ("canceled", 30, 3), ("success", 20, None)]
        assert told(row) == [*late, ("success", 60, None)]
        assert row.runs[2].error == "its time had passed before it could be started"

    arun(main())


def test_the_same_crons_write_nothing() -> None:
    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        await during(every_ten(), storage, clock, 5)
        await storage.open()
        before = (await storage.snapshot()).ts
        await storage.close()
        await during(every_ten(), storage, clock, 1)
        await storage.open()
        assert (await storage.snapshot()).ts == before

    arun(main())


def test_a_changed_cron_keeps_its_time_and_a_removed_one_goes() -> None:
    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        await during(every_ten(), storage, clock, 15)
        ran, (row,) = await during(every_ten(text="changed"), storage, clock, 6)  # 21
        assert ran == [("t", 0), ("t", 10), ("changed", 20)]
        ran, (row,) = await during(every_ten(seconds=30), storage, clock, 28)  # 49
        assert ran == [("t", 0), ("t", 10), ("changed", 20)], "30 s after the latest run, not at the deploy"
        ran, (row,) = await during(every_ten(seconds=30), storage, clock, 2)
        assert ran[3:] == [("t", 50)]
        assert len(row.runs) == 4, "how it went is still known"
        ran, (row,) = await during(every_ten(name="d", text="d"), storage, clock, 1)
        assert row.name == "d"
        assert ran[4:] == [("d", 51)]
        _, rows = await during(with_crons(lambda c: None), storage, clock, 100)
        assert rows == []

    arun(main())


def test_a_run_that_was_interrupted_has_failed_and_the_cron_goes_on() -> None:
    app = with_crons(lambda c: c.interval("c", seconds=10).run(slow))

    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        async with simulate(app, storage=storage, clock=clock) as sim:
            await tick(sim, 5)
        async with simulate(app, storage=storage, clock=clock) as sim:
            await tick(sim, 4)
            assert RUNS == ["slow"], "at most once"
            row = await cron_of(sim)
            assert told(row) == [("failed", 0, None)]
            assert (row.runs[0].error or "").startswith("Interrupted: ")
            await tick(sim, 1)
            assert RUNS == ["slow", "slow"]
            await sim.mutation(cancel_runs)  # it goes on, and nobody will say that it ended
        async with simulate(app, storage=storage, clock=clock) as sim:
            GATE["open"].set()
            await tick(sim, 10)
            assert [state for state, _, _ in told(await cron_of(sim))] == ["failed", "canceled", "success"]

    arun(main())


def test_a_removed_cron_takes_its_waiting_run_along() -> None:
    def busy(c: rf.Crons) -> None:
        c.interval("a", seconds=100).run(slow, "a")
        c.interval("b", seconds=100).run(slow, "b")

    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        async with simulate(with_crons(busy, actions_running=1), storage=storage, clock=clock) as sim:
            await tick(sim, 5)
            assert len(RUNS) == 1
            assert sorted(await sim.query(scheduled)) == ["inProgress", "pending"]
        async with simulate(with_crons(lambda c: None), storage=storage, clock=clock) as sim:
            await tick(sim, 5)
            assert await sim.query(scheduled) == []
            assert len(RUNS) == 1

    arun(main())


@pytest.mark.parametrize("seed", range(12))
def test_no_time_is_lost_or_doubled_over_restarts(seed: int) -> None:
    """Each due time either ran, once, or is among the skipped ones, wherever the server stops."""
    app = with_crons(lambda c: c.interval("c", seconds=10).run(record, "t"), cron_runs_kept=1000)

    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        for turn in range(6):
            async with simulate(app, storage=storage, clock=clock, seed=seed, interleave=True) as sim:
                await sim.advance((3 + seed * 7 + turn * 11) % 29)
            clock.advance((seed * 5 + turn * 17) % 43)
        async with simulate(app, storage=storage, clock=clock) as sim:
            await sim.quiet()
            row = await cron_of(sim)
            ran = [at for state, at, _ in told(row) if state == "success"]
            skipped = [at + 10 * n for state, at, count in told(row) if state == "canceled" for n in range(count or 0)]
            assert sorted(ran + skipped) == list(range(0, int(row.next_time / 1000 - START), 10))
            assert len(await sim.query(events)) == len(ran)

    arun(main())
