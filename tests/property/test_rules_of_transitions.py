"""Rules 3, 4 and 5 of the design, over random schedules and failing commits."""

from __future__ import annotations

import asyncio
from collections import Counter
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow.engine.mutations import Outcome
from reflow.errors import ReflowError
from reflow.storage.memory import MemoryStorage
from reflow.testing import FaultPlan, Simulation, VirtualClock, simulate
from tests.support import arun
from tests.support.client import Client


class Purse(rf.Table, table="purses"):
    name: str
    coins: int

    by_name = rf.Index("name")


class Done(rf.Table, table="done"):
    n: int


rules = rf.Module("rules")
TOTAL = 100
ACTED: list[int] = []


@rules.mutation
async def found(ctx: rf.MutationCtx) -> None:
    await ctx.db.insert_many([Purse(name="x", coins=TOTAL), Purse(name="y", coins=0)])


@rules.mutation
async def give(ctx: rf.MutationCtx, coins: int) -> int:
    """Moves coins; the sum stays."""
    x = await ctx.db.query(Purse).using(Purse.by_name, name="x").unique()
    y = await ctx.db.query(Purse).using(Purse.by_name, name="y").unique()
    assert x is not None
    assert y is not None
    await ctx.db.patch(x.id, coins=x.coins - coins)
    await ctx.db.patch(y.id, coins=y.coins + coins)
    return y.coins + coins


@rules.query
async def coins(ctx: rf.QueryCtx, name: str) -> int:
    purse = await ctx.db.query(Purse).using(Purse.by_name, name=name).unique()
    return 0 if purse is None else purse.coins


@rules.mutation
async def order(ctx: rf.MutationCtx, n: int, fails: bool) -> int:
    await ctx.scheduler.run_after(n % 3, deliver, n)
    await ctx.scheduler.run_after(n % 2, act, n)
    await ctx.db.insert(Done(n=-n))
    if fails:
        raise rf.ApplicationError("taken back")
    return n


@rules.internal_mutation
async def deliver(ctx: rf.MutationCtx, n: int) -> None:
    await ctx.db.insert(Done(n=n))


@rules.internal_action
async def act(ctx: rf.ActionCtx, n: int) -> None:
    ACTED.append(n)


@rules.query
async def done(ctx: rf.QueryCtx) -> list[int]:
    return sorted([row.n async for row in ctx.db.query(Done)])


app = rf.App(modules=[rules])


class Adder(Client):
    """Follows both purses: whatever it is shown together has to add up."""

    def __init__(self, sim: Simulation) -> None:
        super().__init__(sim)
        self.x, self.y = self.add(coins, name="x"), self.add(coins, name="y")
        self.seen = self.check

    def check(self) -> None:
        if self.x in self.results and self.y in self.results:
            assert self.value(self.x) + self.value(self.y) == TOTAL, "results of two snapshots"


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(-5, 5), min_size=1, max_size=20), st.integers(0, 1 << 16), st.booleans(), st.booleans())
def test_rule_3_all_results_of_one_transition_are_of_one_snapshot(
    gifts: list[int], seed: int, suspend: bool, failing: bool
) -> None:
    """That ts never goes back and each transition starts where the former ended is checked by Client itself."""

    async def main() -> None:
        faults = FaultPlan(seed=seed, commit=0.2 if failing else 0.0)
        async with simulate(app, interleave=suspend, seed=seed, faults=faults) as sim:
            faults.active = False
            await sim.mutation(found)
            faults.active = True
            clients = [Adder(sim) for _ in range(3)]
            random = Random(seed)

            async def giver(gift: int) -> None:
                for _ in range(random.randint(0, 20)):
                    await asyncio.sleep(0)
                await sim.mutation(give, gift)

            outcomes = await asyncio.gather(*map(giver, gifts), return_exceptions=True)
            assert all(isinstance(outcome, int | ReflowError | None) for outcome in outcomes)
            kept = sum(gift for gift, outcome in zip(gifts, outcomes, strict=True) if outcome is None)
            for client in clients:
                await client.up_to_date()
                assert client.value(client.y) == kept
                assert client.version.ts <= sim.engine.committer.published

    arun(main())


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 12), st.integers(0, 1 << 16), st.booleans())
def test_rule_4_effects_come_after_the_response_and_with_a_later_transition(
    count: int, seed: int, suspend: bool
) -> None:
    async def main() -> None:
        async with simulate(app, interleave=suspend, seed=seed) as sim:
            await sim.mutation(found)
            client = Adder(sim)
            await client.up_to_date()
            answers: list[tuple[int, int]] = []
            shown: list[tuple[int, int]] = []
            client.seen = lambda: shown.append((client.version.ts, client.value(client.y)))

            def answered(outcome: Outcome) -> None:
                assert outcome.result.value is not None
                mine = int(outcome.result.value)
                assert all(value < mine for _, value in shown), "the effect was shown before the answer"
                answers.append((outcome.ts, mine))
                client.connection.owe()

            from reflow.engine.mutations import Call

            for _ in range(count):
                args = give.arguments.encode((1,), {})
                sim.engine.submit(Call(sim.engine.functions[give.path], args, None, None, answered))
            while len(answers) < count:
                await asyncio.sleep(0)
            await client.up_to_date()
            for ts, mine in answers:
                later = [value for at, value in shown if at >= ts]
                assert later, "no transition followed"
                assert later[0] >= mine, "a transition of the answer's ts lacks the effect"

    arun(main())


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.booleans(), min_size=1, max_size=12),
    st.integers(0, 1 << 16),
    st.booleans(),
    st.sampled_from([0.0, 0.3]),
    st.integers(0, 3),
)
def test_rule_5_scheduled_functions_run_only_if_committed_and_mutations_once(
    fails: list[bool], seed: int, suspend: bool, faulty: float, restarts: int
) -> None:
    ACTED.clear()

    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        faults = FaultPlan(seed=seed, commit=faulty, write=faulty / 4)
        random = Random(seed)
        kept: set[int] = set()
        numbers = iter(range(1, 1000))

        async def one(sim: Simulation, bad: bool) -> None:
            n = next(numbers)
            try:
                kept.add(await sim.mutation(order, n, bad))
            except ReflowError:
                pass  # refused by itself or dropped with its group: either way nothing of it may be seen

        for _ in range(restarts + 1):
            async with simulate(app, storage=storage, clock=clock, interleave=suspend, seed=seed, faults=faults) as sim:
                await asyncio.gather(*(one(sim, bad) for bad in fails))
                for _ in range(random.randint(0, 60)):
                    await asyncio.sleep(0)
        async with simulate(app, storage=storage, clock=clock) as sim:
            await sim.advance(60)
            rows = await sim.query(done)
            scheduled: list[Any] = await sim.engine.transact(_scheduled)
        assert Counter(rows) == Counter([*kept] + [-n for n in kept])
        assert Counter(ACTED) <= Counter(kept), "an action twice, or of a mutation that was not committed"
        assert len(scheduled) == 2 * len(kept)
        for row in scheduled:
            assert row.state.kind == "success" or (row.name == "rules:act" and row.state.kind == "failed")
            if row.name == "rules:act" and row.state.kind == "success":
                assert row.args[0]["n"] in ACTED

    arun(main())


async def _scheduled(tx: Any) -> list[Any]:
    return await rf.DatabaseReader(tx).query(rf.Scheduled).collect()
