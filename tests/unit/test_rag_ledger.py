"""The ledger of a corpus: what work took, and the budgets that stop it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

import reflow as rf
from reflow.context import Identity
from reflow.errors import ApplicationError, CallFailed, DefinitionError
from reflow.rag.corpus import Corpus
from reflow.rag.costs.spending import Budget, Entry, Price, Refusal, Spending, Work, apportion, period_end, period_name
from reflow.rag.costs.totals import Total
from reflow.storage.memory import MemoryStorage
from reflow.testing import HashingEmbedder, Simulation, simulate
from reflow.testing.clock import VirtualClock
from tests.support import arun

ANN = Identity(issuer="https://id.example", subject="ann")
EVE = Identity(issuer="https://id.example", subject="eve")

PRICES = {"small": Price(per_million_input=2, per_million_output=10), "ranker": Price(per_call=0.002)}


def seconds(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


class Desk:
    """An application with a corpus whose ledger is written to by mutations of its own."""

    def __init__(self, *budgets: Budget, owner: bool = False, public: bool = True) -> None:
        spending = Spending(prices=PRICES, budgets=budgets, currency="EUR")
        self.corpus = Corpus("docs", embedder=HashingEmbedder(), public=public, owner=owner, spending=spending)
        module = self.module = rf.Module("desk")
        self.add_source = module.mutation(name="add")(self._add_source)
        self.work = module.mutation(name="work")(self._work)
        self.done = module.mutation(name="done")(self._done)
        self.may = module.query(name="may")(self._may)
        self.background = module.internal_mutation(name="background", owners="all")(self._for_source)
        self.app = rf.App(modules=[module], components=[self.corpus])
        self.ledger = self.corpus.ledger

    async def _add_source(self, ctx: rf.MutationCtx, key: str) -> str:
        return await ctx.db.insert(self.corpus.tables.Source(key=key, name=f"The {key}", kind="text", state="ready"))

    async def _may(self, ctx: rf.QueryCtx, work: Work = "embed", tokens: int = 0, model: str = "") -> Refusal | None:
        return await self.ledger.refusal(ctx, work, tokens=tokens, model=model)

    async def _work(self, ctx: rf.MutationCtx, tokens: int, work: Work = "embed", model: str = "small") -> bool:
        """Work that asks before, in one transaction."""
        if not await self.ledger.allows(ctx, work, tokens=tokens, model=model):
            return False
        await self.ledger.record(ctx, Entry(work=work, model=model, tokens_in=tokens))
        return True

    async def _done(self, ctx: rf.MutationCtx, tokens: int, model: str = "small", work: Work = "embed") -> None:
        """Work that is over by now, whatever there is."""
        await self.ledger.record(ctx, Entry(work=work, model=model, tokens_in=tokens, tokens_out=1, ms=2.5, retries=1))

    async def _for_source(self, ctx: rf.MutationCtx, source: str, tokens: int) -> bool:
        row = await ctx.db.get(rf.Id[Any](source))
        assert row is not None
        allowed = await self.ledger.allows(ctx, "embed", row=row)
        await self.ledger.record(ctx, Entry(work="embed", model="small", row=row, tokens_in=tokens, cached=3))
        return allowed


def with_desk(*budgets: Budget, **options: Any) -> Any:
    def decorate(test: Any) -> Any:
        def run() -> None:
            async def main() -> None:
                desk = Desk(*budgets, **options)
                async with simulate(desk.app, clock=VirtualClock(seconds("2026-11-23T22:00:00"))) as sim:
                    await test(desk, sim)

            arun(main())

        run.__name__ = test.__name__
        return run

    return decorate


def page(count: int = 10, cursor: str | None = None) -> rf.PaginationOptions:
    return rf.PaginationOptions(num_items=count, cursor=cursor)


# --- Prices and periods -------------------------------------------------------------------------------------------


def test_prices_are_whole_billionths() -> None:
    assert PRICES["small"].nanos(1000, 100, 1) == 3_000_000
    assert PRICES["ranker"].nanos(5000, 0, 3) == 6_000_000
    assert Price(per_million_input=0.02).nanos(1, 0, 1) == 20


def test_local_models_are_free_and_unknown_ones_have_no_price() -> None:
    spending = Spending(prices=PRICES | {"local/paid": Price(per_call=1)})
    assert spending.price("local/minilm") == Price()
    assert spending.price("local/paid") == Price(per_call=1)
    assert spending.price("other") is None


@pytest.mark.parametrize(
    ("now", "day", "month"),
    [
        ("2026-11-23T22:00:00", "2026-11-24T00:00:00", "2026-12-01T00:00:00"),
        ("2026-12-31T23:59:59.999", "2027-01-01T00:00:00", "2027-01-01T00:00:00"),
        ("2028-02-01T00:00:00", "2028-02-02T00:00:00", "2028-03-01T00:00:00"),
    ],
)
def test_periods_are_those_of_utc(now: str, day: str, month: str) -> None:
    assert period_name(seconds(now), "day") == now[:10]
    assert period_name(seconds(now), "month") == now[:7]
    assert period_name(seconds(now), "total") == "total"
    assert period_end(seconds(now), "day") == seconds(day)
    assert period_end(seconds(now), "month") == seconds(month)
    assert period_end(seconds(now), "total") is None


@pytest.mark.parametrize(
    ("total", "weights", "parts"),
    [(10, [1, 1, 1], [3, 3, 4]), (7, [0, 0], [3, 4]), (5, [0, 9, 0], [0, 5, 0]), (3, [], []), (0, [2, 1], [0, 0])],
)
def test_tokens_of_one_request_are_divided_among_its_sources(total: int, weights: list[int], parts: list[int]) -> None:
    assert apportion(total, weights) == parts


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Budget(per="day"), "money= or tokens="),
        (lambda: Budget(money=-1), "at least 0"),
        (lambda: Budget(money=float("nan")), "at least 0"),
        (lambda: Budget(tokens=1, per="week"), "day, month, total"),  # pyright: ignore[reportArgumentType]
        (lambda: Budget(tokens=1, work="dream"), "embed, search"),  # pyright: ignore[reportArgumentType]
        (lambda: Price(per_call=float("inf")), "per_call"),
        (lambda: Spending(budgets=[Budget(tokens=1), Budget(money=1)]), "two budgets per total for all work"),
        (lambda: Desk(Budget(tokens=1, each=True)), "has no owner"),
    ],
)
def test_rule_9_budgets_and_prices_that_can_not_be(make: Any, says: str) -> None:
    with pytest.raises(DefinitionError, match=says):
        make()


# --- Entries and totals -------------------------------------------------------------------------------------------


@with_desk()
async def test_totals_are_per_kind_of_work_and_model(desk: Desk, sim: Simulation) -> None:
    await sim.mutation(desk.done, 100)
    await sim.mutation(desk.done, 50, "other")
    await sim.mutation(desk.done, 200)
    totals = {(one.work, one.model): one for one in await sim.query(desk.ledger.totals)}
    assert totals["embed", "small"] == Total(
        work="embed",
        model="small",
        entries=2,
        tokens_in=300,
        tokens_out=2,
        ms=5.0,
        retries=2,
        calls=2,
        cached=0,
        cost=0.00062,
        unpriced=0,
    )
    assert (totals["embed", "other"].cost, totals["embed", "other"].unpriced) == (0, 1)


def test_totals_of_periods() -> None:
    async def main() -> None:
        desk, storage = Desk(), MemoryStorage()
        for now, tokens in ("2026-11-23T22:00", 1), ("2026-11-24T01:00", 10), ("2026-12-04T00:00", 100):
            clock = VirtualClock(seconds(now))
            async with simulate(desk.app, storage=storage, clock=clock) as sim:
                await sim.mutation(desk.done, tokens)
                sums = {
                    period: sum(one.tokens_in for one in await sim.query(desk.ledger.totals, period=period))
                    for period in ("total", "month", "day", "2026-11-23", "2026-11-24", "2026-11", "2025-01")
                }
        assert sums == {  # pyright: ignore[reportPossiblyUnboundVariable] - the loop runs
            "total": 111,
            "month": 100,
            "day": 100,
            "2026-11-23": 1,
            "2026-11-24": 10,
            "2026-11": 11,
            "2025-01": 0,
        }

    arun(main())


@with_desk()
async def test_entries_are_listed_newest_first_with_what_they_were_for(desk: Desk, sim: Simulation) -> None:
    source = await sim.mutation(desk.add_source, "harbour")
    await sim.mutation(desk.background, source, 7)
    await sim.mutation(desk.done, 8, "other", "answer")
    first, second = (await sim.query(desk.ledger.entries, pagination_opts=page())).page
    assert (first.work, first.tokens_in, first.name, first.cost) == ("answer", 8, None, None)
    assert (second.subject, second.name, second.cached, second.cost) == (source, "The harbour", 3, 14e-6)
    for found in (
        await sim.query(desk.ledger.entries, pagination_opts=page(), subject=source),
        await sim.query(desk.ledger.entries, pagination_opts=page(), work="embed"),
    ):
        assert found.page == [second]
    both = await sim.query(desk.ledger.entries, pagination_opts=page(), subject=source, work="answer")
    assert both.page == []


@with_desk()
async def test_entries_stay_when_their_subject_goes(desk: Desk, sim: Simulation) -> None:
    source = await sim.mutation(desk.add_source, "harbour")
    await sim.mutation(desk.background, source, 7)
    await sim.mutation(desk.corpus.sources.remove, source)
    found = await sim.query(desk.ledger.entries, pagination_opts=page(), subject=source)
    assert [(one.subject, one.name, one.tokens_in) for one in found.page] == [(source, None, 7)]


@with_desk()
async def test_entries_of_one_request_are_one_record(desk: Desk, sim: Simulation) -> None:
    tokens = apportion(100, [1, 2])
    module = rf.Module("batch")

    @module.mutation
    async def save(ctx: rf.MutationCtx) -> float | None:
        entries = [
            Entry(work="embed", model="small", tokens_in=count, calls=int(n == 0)) for n, count in enumerate(tokens)
        ]
        await desk.ledger.record(ctx, *entries)
        await desk.ledger.record(ctx)
        return desk.ledger.cost(entries[0])

    async with simulate(rf.App(modules=[desk.module, module], components=[desk.corpus])) as other:
        assert await other.mutation(save) == 66e-6
        (total,) = await other.query(desk.ledger.totals)
        assert (total.entries, total.calls, total.tokens_in) == (2, 1, 100)


@with_desk()
async def test_a_record_is_part_of_its_transaction(desk: Desk, sim: Simulation) -> None:
    module = rf.Module("batch")

    @module.mutation
    async def fail(ctx: rf.MutationCtx) -> None:
        await desk.ledger.record(ctx, Entry(work="embed", model="small", tokens_in=5))
        raise ApplicationError("no")

    async with simulate(rf.App(modules=[desk.module, module], components=[desk.corpus])) as other:
        with pytest.raises(ApplicationError):
            await other.mutation(fail)
        assert await other.query(desk.ledger.totals) == []


@with_desk()
async def test_rule_9_unknown_periods(desk: Desk, sim: Simulation) -> None:
    for period in ("week", "2026", "2026-11-23T00", ""):
        with pytest.raises(ApplicationError, match="is no period"):
            await sim.query(desk.ledger.totals, period=period)


# --- Budgets ------------------------------------------------------------------------------------------------------


@with_desk(Budget(tokens=100, per="day"))
async def test_a_budget_stops_work_and_begins_anew(desk: Desk, sim: Simulation) -> None:
    assert await sim.mutation(desk.work, 60)
    refusal = await sim.query(desk.may, tokens=60)
    assert refusal is not None
    assert "has not enough left this day (60 of 100 tokens)" in refusal.reason
    assert [await sim.mutation(desk.work, tokens) for tokens in (60, 40, 0)] == [False, True, False]
    refusal = await sim.query(desk.may)
    assert refusal is not None
    assert refusal.reason == (
        "the budget is used up this day (100 of 100 tokens): raise it, or wait until it begins anew"
    )
    assert refusal.until == seconds("2026-11-24T00:00:00")
    await sim.advance(2 * 3600)
    assert await sim.query(desk.may) is None
    assert await sim.mutation(desk.work, 60)


@with_desk(Budget(money=0.001))
async def test_a_budget_of_money_counts_what_work_costs(desk: Desk, sim: Simulation) -> None:
    assert await sim.mutation(desk.work, 400)
    assert not await sim.mutation(desk.work, 101), "1,002 millionths"
    assert await sim.mutation(desk.work, 100)
    refusal = await sim.query(desk.may)
    assert refusal is not None
    assert refusal.until is None
    assert "0.001 of 0.001 EUR" in refusal.reason
    assert "wait" not in refusal.reason


@with_desk(Budget(tokens=10, work="answer"))
async def test_a_budget_for_one_kind_of_work_leaves_the_others(desk: Desk, sim: Simulation) -> None:
    assert await sim.mutation(desk.work, 100, "embed")
    assert await sim.mutation(desk.work, 10, "answer")
    assert not await sim.mutation(desk.work, 1, "answer")
    assert await sim.mutation(desk.work, 100, "embed")


@with_desk(Budget(tokens=10))
async def test_a_budget_is_changed_while_the_application_runs(desk: Desk, sim: Simulation) -> None:
    await sim.mutation(desk.done, 10)
    watch = sim.watch(desk.may)
    assert await anext(watch) is not None
    await sim.mutation(desk.ledger.set_budget, per="total", tokens=20)
    assert await anext(watch) is None
    (state,) = await sim.query(desk.ledger.budgets)
    assert (state.tokens, state.used_tokens, state.exhausted, state.from_code) == (20, 11, False, False)
    await sim.mutation(desk.ledger.set_budget, per="total", money=0.0)
    assert (await anext(watch)) is not None
    await sim.mutation(desk.ledger.set_budget, per="total")
    assert await anext(watch) is None
    assert await sim.query(desk.ledger.budgets) == []
    await watch.aclose()  # pyright: ignore[reportAttributeAccessIssue] - it is a generator


@with_desk(Budget(tokens=10), Budget(tokens=10, per="day"))
async def test_a_budget_that_is_set_replaces_that_of_its_period_only(desk: Desk, sim: Simulation) -> None:
    await sim.mutation(desk.ledger.set_budget, per="day", tokens=5)
    await sim.mutation(desk.ledger.set_budget, per="day", tokens=6, work="answer")
    states = await sim.query(desk.ledger.budgets)
    assert [(one.per, one.work, one.tokens, one.from_code) for one in states] == [
        ("total", None, 10, True),
        ("day", None, 5, False),
        ("day", "answer", 6, False),
    ]


@with_desk()
async def test_rule_9_budgets_that_can_not_be_set(desk: Desk, sim: Simulation) -> None:
    for money, tokens in (None, -1), (-0.5, None):
        with pytest.raises(ApplicationError, match="at least 0"):
            await sim.mutation(desk.ledger.set_budget, per="day", money=money, tokens=tokens)
    with pytest.raises(ApplicationError, match="has no owners"):
        await sim.mutation(desk.ledger.set_budget, per="day", tokens=1, each=True)
    with pytest.raises(ApplicationError, match="has no owners"):
        await sim.mutation(desk.ledger.set_budget, per="day", tokens=1, owner="somebody")
    with pytest.raises(CallFailed, match="per"):
        await sim.mutation("docs/ledger:setBudget", per="week", tokens=1)
    assert await sim.query(desk.ledger.budgets) == []


# --- Owners -------------------------------------------------------------------------------------------------------


@with_desk(Budget(tokens=100), Budget(tokens=60, each=True), owner=True)
async def test_rule_8_each_owner_has_a_ledger_of_their_own(desk: Desk, sim: Simulation) -> None:
    ann, eve = sim.as_(ANN), sim.as_(EVE)
    await ann.mutation(desk.done, 49)
    await eve.mutation(desk.done, 7)
    source = await eve.mutation(desk.add_source, "eve's own")
    assert await sim.mutation(desk.background, source, 2)

    for caller, tokens, names in ((ann, 49, [None]), (eve, 9, ["The eve's own", None])):
        assert sum(one.tokens_in for one in await caller.query(desk.ledger.totals)) == tokens
        entries = (await caller.query(desk.ledger.entries, pagination_opts=page())).page
        assert [one.name for one in entries] == names
        (budget,) = await caller.query(desk.ledger.budgets)
        assert (budget.each, budget.tokens) == (True, 60)
    assert (await ann.query(desk.ledger.entries, pagination_opts=page(), subject=source)).page == []
    assert await sim.query(desk.ledger.totals) == []
    assert await sim.query(desk.ledger.budgets) == []
    assert (await sim.query(desk.ledger.entries, pagination_opts=page())).page == []
    assert sum(one.tokens_in for one in await sim.query(desk.ledger.totals_of, "", "total")) == 58


@with_desk(Budget(tokens=100), Budget(tokens=60, each=True), owner=True)
async def test_rule_8_one_owners_budget_leaves_the_others(desk: Desk, sim: Simulation) -> None:
    ann, eve = sim.as_(ANN), sim.as_(EVE)
    await ann.mutation(desk.done, 60)
    refusal = await ann.query(desk.may)
    assert refusal is not None
    assert "61 of 60 tokens" in refusal.reason
    assert await eve.query(desk.may) is None
    await sim.mutation(desk.ledger.set_budget, per="total", tokens=90, owner=ANN.token_identifier)
    assert await ann.query(desk.may) is None
    assert await eve.mutation(desk.work, 39)
    refusal = await eve.query(desk.may)
    assert refusal is not None
    assert refusal.reason == "the budget of corpus 'docs' is used up in all: raise it", "what others use is not told"


@with_desk(owner=True)
async def test_rule_8_nobody_raises_their_own_budget(desk: Desk, sim: Simulation) -> None:
    assert "docs/ledger:setBudget" in sim.engine.functions
    assert desk.ledger.set_budget.internal
    assert not desk.ledger.totals.internal
    for function in (desk.ledger.add, desk.ledger.check, desk.ledger.states, desk.ledger.totals_of):
        assert function.internal
    with pytest.raises(ApplicationError, match="owner is empty"):
        await sim.mutation(desk.ledger.set_budget, per="day", tokens=1, owner="")


@with_desk(owner=True)
async def test_rule_9_work_of_nobody_is_refused(desk: Desk, sim: Simulation) -> None:
    with pytest.raises(CallFailed, match="nobody is signed in"):
        await sim.mutation(desk.done, 1)


@with_desk(Budget(tokens=1000, per="day"))
async def test_what_is_under_way_is_all_that_a_budget_can_be_overspent_by(desk: Desk, sim: Simulation) -> None:
    module = rf.Module("pump")
    gate = asyncio.Event()
    batch, workers = 90, 4

    @module.internal_action
    async def work(ctx: rf.ActionCtx) -> int:
        done = 0
        while await desk.ledger.allows(ctx, "embed", tokens=batch):
            await gate.wait()
            await ctx.run_mutation(desk.done, batch - 1)
            done += 1
        return done

    async with simulate(rf.App(modules=[desk.module, module], components=[desk.corpus])) as other:
        running = [asyncio.create_task(other.action(work)) for _ in range(workers)]
        await asyncio.sleep(0)
        gate.set()
        done = sum(await asyncio.gather(*running))
        (total,) = await other.query(desk.ledger.totals)
        assert total.tokens_in + total.tokens_out == done * batch
        assert 1000 - batch < done * batch <= 1000 + (workers - 1) * batch
