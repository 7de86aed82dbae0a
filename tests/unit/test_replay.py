from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import reflow as rf
from reflow.context import Identity
from reflow.engine.mutations import Call, Outcome
from reflow.errors import ReflowError
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import FaultPlan, Simulation, VirtualClock, simulate
from tests.support import arun
from tests.support.simulated import simulated


class Order(rf.Table, table="orders"):
    item: str


shop = rf.Module("shop")


@shop.mutation
async def buy(ctx: rf.MutationCtx, item: str) -> int:
    await ctx.db.insert(Order(item=item))
    return await ctx.db.query(Order).count()


@shop.mutation(idempotency="key")
async def buy_once(ctx: rf.MutationCtx, item: str, key: str | None = None) -> int:
    await ctx.db.insert(Order(item=item))
    return await ctx.db.query(Order).count()


@shop.mutation
async def fail_once(ctx: rf.MutationCtx) -> int:
    count = await ctx.db.query(Order).count()
    if count == 0:
        raise ValueError("nothing there")
    return count


@shop.query
async def count(ctx: rf.QueryCtx) -> int:
    return await ctx.db.query(Order).count()


app = rf.App(modules=[shop])


async def call(
    sim: Simulation, function: Any, request: tuple[str, int] | None, who: Identity | None = None, **args: Any
) -> bytes | None:
    outcome = await sim.engine.mutation(function, function.arguments.encode((), args), who, request)
    return outcome.result.value


@pytest.mark.parametrize("interleave", [False, True])
def test_a_request_runs_once(interleave: bool) -> None:
    @simulated(app, interleave=interleave)
    async def run(sim: Simulation) -> None:
        assert await call(sim, buy, ("s", 1), item="a") == b"1"
        assert await call(sim, buy, ("s", 1), item="a") == b"1"
        assert await call(sim, buy, ("s", 2), item="a") == b"2"
        assert await call(sim, buy, ("t", 1), item="a") == b"3"
        same = await asyncio.gather(*(call(sim, buy, ("u", 1), item="a") for _ in range(5)))
        assert same == [b"4"] * 5
        assert await sim.query(count) == 4

    run()


@simulated(app)
async def test_a_replay_has_the_timestamp_of_the_first_run(sim: Simulation) -> None:
    args = buy.arguments.encode((), {"item": "a"})
    first = await sim.engine.mutation(buy, args, request=("s", 1))
    await sim.mutation(buy, "b")
    again = await sim.engine.mutation(buy, args, request=("s", 1))
    assert (again.ts, again.result.value) == (first.ts, first.result.value)


@simulated(app)
async def test_a_failed_request_may_be_tried_again(sim: Simulation) -> None:
    assert await call(sim, fail_once, ("s", 1)) is None
    await sim.mutation(buy, "a")
    assert await call(sim, fail_once, ("s", 1)) == b"1"


@pytest.mark.parametrize("interleave", [False, True])
def test_an_answer_is_told_to_nobody_but_who_asked(interleave: bool) -> None:
    ann, bob = (Identity(issuer="i", subject=name, claims={"roles": [name]}) for name in ("ann", "bob"))

    @simulated(app, interleave=interleave)
    async def run(sim: Simulation) -> None:
        args = buy.arguments.encode((), {"item": "a"})
        first = await sim.engine.mutation(buy, args, ann, ("s", 1))
        for who in (bob, None):
            other = (await sim.engine.mutation(buy, args, who, ("s", 1))).result
            assert other.value is None
            assert other.failure is not None
            assert other.failure.code == "AnswerOfAnother"
        refreshed = Identity(issuer="i", subject="ann", claims={"roles": ["other"]})
        assert await sim.engine.mutation(buy, args, refreshed, ("s", 1)) == first
        assert first.result.value == b"1"
        # Who was not signed in yet has told nobody anything.
        assert await call(sim, buy, ("s", 2), item="a") == b"2"
        assert await call(sim, buy, ("s", 2), ann, item="a") == b"2"
        assert await sim.query(count) == 2

    run()


def test_answers_survive_a_restart_and_go_after_a_while() -> None:
    forgetful = rf.App(modules=[shop], limits=rf.Limits(request_retention_seconds=600))

    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        async with simulate(forgetful, storage=storage, clock=clock) as sim:
            assert await call(sim, buy, ("s", 1), item="a") == b"1"
        async with simulate(forgetful, storage=storage, clock=clock) as sim:
            assert await call(sim, buy, ("s", 1), item="a") == b"1"
            await sim.advance(590)
            assert await call(sim, buy, ("s", 1), item="a") == b"1"
            await sim.mutation(buy, "b")
            await sim.advance(30)
            assert await call(sim, buy, ("s", 1), item="a") == b"3"

    arun(main())


@simulated(app)
async def test_an_idempotent_mutation_runs_once_per_key_and_caller(sim: Simulation) -> None:
    ann, bob = (Identity(issuer="i", subject=name) for name in ("ann", "bob"))
    assert await call(sim, buy_once, None, item="a", key="k") == b"1"
    assert await call(sim, buy_once, None, item="b", key="k") == b"1"
    assert await call(sim, buy_once, ("s", 9), item="b", key="k") == b"1"
    assert await call(sim, buy_once, None, ann, item="a", key="k") == b"2"
    assert await call(sim, buy_once, None, bob, item="a", key="k") == b"3"
    assert await call(sim, buy_once, None, ann, item="a", key="k") == b"2"
    assert await sim.mutation(buy_once, item="c", key="l") == 4


@simulated(app)
async def test_no_session_can_be_named_so_that_it_answers_an_idempotent_mutation(sim: Simulation) -> None:
    assert await call(sim, buy, ('shop:buyOnce\n\n"k"', 0), item="a") == b"1"
    assert await call(sim, buy, ('shop:buy_once\n\n"k"', 0), item="a") == b"2"
    assert await call(sim, buy_once, None, item="a", key="k") == b"3"
    assert await call(sim, buy, ('shop:buy_once\n\n"k"', 1), item="a") == b"4"


@pytest.mark.parametrize("sqlite", [False, True])
def test_a_client_that_wrongly_says_it_never_asked_gets_the_first_answer(sqlite: bool, tmp_path: Path) -> None:
    async def ask(sim: Simulation, number: int) -> tuple[bytes | None, int]:
        told: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        args = buy.arguments.encode((), {"item": "a"})
        sim.engine.submit(Call(buy, args, None, ("s", number), told.set_result, may_replay=False))
        outcome = await told
        return outcome.result.value, outcome.ts

    async def main() -> None:
        storage = SqliteStorage(tmp_path) if sqlite else MemoryStorage()
        async with simulate(app, storage=storage) as sim:
            first = await ask(sim, 1)
            assert await ask(sim, 1) == first
            answers = await asyncio.gather(*(ask(sim, number) for number in (2, 1, 2, 3)))
            assert answers == [(b"2", answers[0][1]), first, answers[0], (b"3", answers[3][1])]
            assert await sim.query(count) == 3

    arun(main())


@simulated(app)
async def test_without_a_key_every_call_counts_except_replays(sim: Simulation) -> None:
    assert await sim.mutation(buy_once, item="a") == 1
    assert await sim.mutation(buy_once, item="a") == 2
    assert await call(sim, buy_once, ("s", 1), item="a") == b"3"
    assert await call(sim, buy_once, ("s", 1), item="a") == b"3"


def test_a_request_whose_group_failed_was_not_answered() -> None:
    async def main() -> None:
        faults = FaultPlan(commit=1.0, most=1)
        async with simulate(app, faults=faults) as sim:
            with pytest.raises(ReflowError, match=r"Fault 1"):
                await call(sim, buy, ("s", 1), item="a")
            assert await call(sim, buy, ("s", 1), item="a") == b"1"
            assert await call(sim, buy, ("s", 1), item="a") == b"1"
            assert await sim.query(count) == 1

    arun(main())


@simulated(rf.App(modules=[shop], limits=rf.Limits(queued_mutations=3)), interleave=True)
async def test_waiting_mutations_are_bounded_also_where_they_run_side_by_side(sim: Simulation) -> None:
    results = await asyncio.gather(*(sim.mutation(buy, "a") for _ in range(20)), return_exceptions=True)
    refused = [result for result in results if isinstance(result, ReflowError)]
    assert len(refused) == 17
    assert all("limits.queued_mutations = 3" in str(error) for error in refused)
    assert await sim.query(count) == 3


@pytest.mark.parametrize("interleave", [False, True])
def test_closing_finishes_what_was_accepted(interleave: bool) -> None:
    async def main() -> None:
        storage = MemoryStorage()
        async with simulate(app, storage=storage, interleave=interleave) as sim:
            begun = [asyncio.ensure_future(sim.mutation(buy, f"{n}")) for n in range(10)]
            await asyncio.sleep(0)
        assert sorted(await asyncio.gather(*begun)) == list(range(1, 11))
        with pytest.raises(ReflowError, match=r"shutting down"):
            await sim.mutation(buy, "late")

    arun(main())
