"""The ledger's totals are the sums of its entries, however work meets; budgets hold but for what is under way."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow.context import Identity
from reflow.limits import Limits
from reflow.rag.corpus import Corpus
from reflow.rag.costs.spending import NANOS, WORK, Budget, Entry, Price, Spending, Work, apportion
from reflow.testing import HashingEmbedder, simulate
from tests.support import arun

CALLERS = [Identity(issuer="https://id.example", subject=name) for name in ("ann", "eve")]
LIMITS = Limits(ledger_shards=2)
PRICES = {"small": Price(per_million_input=0.1, per_million_output=0.3), "ranker": Price(per_call=0.001)}


class Item(rf.Object):
    """What an entry says, as an argument."""

    work: Work
    model: str
    tokens_in: int
    tokens_out: int
    ms: float
    retries: int
    calls: int


ITEMS = st.builds(
    Item,
    work=st.sampled_from(WORK),
    model=st.sampled_from(["small", "ranker", "nobody knows"]),
    tokens_in=st.integers(0, 10**6),
    tokens_out=st.integers(0, 10**6),
    ms=st.floats(0, 1e6),
    retries=st.integers(0, 5),
    calls=st.integers(0, 3),
)
RECORDS = st.lists(st.tuples(st.integers(0, 1), st.lists(ITEMS, min_size=1, max_size=3)), min_size=1, max_size=12)


def application(owner: bool) -> tuple[Corpus, Any, rf.App]:
    spending = Spending(prices=PRICES)
    corpus = Corpus("docs", embedder=HashingEmbedder(), public=True, owner=owner, spending=spending, limits=LIMITS)
    module = rf.Module("desk")

    @module.mutation
    async def record(ctx: rf.MutationCtx, items: list[Item]) -> None:
        await corpus.ledger.record(ctx, *(Entry(**_fields(item)) for item in items))

    return corpus, record, rf.App(modules=[module], components=[corpus])


def _fields(item: Item) -> dict[str, Any]:
    return {name: getattr(item, name) for name in item.__struct_fields__}


def expected(items: Sequence[Item]) -> dict[tuple[str, str], Counter[str]]:
    """Plain sums, by kind of work and model."""
    sums: dict[tuple[str, str], Counter[str]] = {}
    for item in items:
        price = PRICES.get(item.model)
        nanos = 0
        if price is not None:
            tokens = item.tokens_in * price.per_million_input + item.tokens_out * price.per_million_output
            nanos = round(tokens * 1000 + item.calls * price.per_call * 1e9)
        sums.setdefault((item.work, item.model), Counter()).update(
            entries=1,
            tokens_in=item.tokens_in,
            tokens_out=item.tokens_out,
            us=round(item.ms * 1000),
            retries=item.retries,
            calls=item.calls,
            nanos=nanos,
            unpriced=int(price is None),
        )
    return sums


async def check_totals(sim: rf.Backend, corpus: Corpus, items: Sequence[Item]) -> None:
    wanted = expected(items)
    for period in ("total", "month", "day"):
        found = await sim.query(corpus.ledger.totals, period=period)
        assert {(one.work, one.model) for one in found} == wanted.keys()
        for one in found:
            sums = wanted[one.work, one.model]
            for name in ("entries", "tokens_in", "tokens_out", "retries", "calls", "unpriced"):
                assert getattr(one, name) == sums[name], name
            assert one.ms == sums["us"] / 1000
            assert one.cost == sums["nanos"] / NANOS


@settings(max_examples=25, deadline=None)
@given(RECORDS, st.integers(0, 1 << 16), st.booleans())
def test_totals_are_the_sums_of_the_entries_under_concurrency(
    records: list[tuple[int, list[Item]]], seed: int, interleave: bool
) -> None:
    async def main() -> None:
        corpus, record, app = application(owner=False)
        async with simulate(app, seed=seed, interleave=interleave) as sim:
            await asyncio.gather(*(sim.mutation(record, items) for _, items in records))
            await check_totals(sim, corpus, [item for _, items in records for item in items])

    arun(main())


@settings(max_examples=25, deadline=None)
@given(RECORDS, st.integers(0, 1 << 16))
def test_rule_8_each_owners_totals_are_those_of_a_ledger_of_their_own(
    records: list[tuple[int, list[Item]]], seed: int
) -> None:
    async def main() -> None:
        corpus, record, app = application(owner=True)
        async with simulate(app, seed=seed, interleave=True) as sim:
            await asyncio.gather(*(sim.as_(CALLERS[who]).mutation(record, items) for who, items in records))
            for who, caller in enumerate(CALLERS):
                own = [item for other, items in records if other == who for item in items]
                await check_totals(sim.as_(caller), corpus, own)
                page = rf.PaginationOptions(num_items=100)
                entries = await sim.as_(caller).query(corpus.ledger.entries, pagination_opts=page)
                assert Counter(one.tokens_in for one in entries.page) == Counter(one.tokens_in for one in own)
            everything = await sim.query(corpus.ledger.totals_of, "", "total")
            assert sum(one.entries for one in everything) == sum(len(items) for _, items in records)

    arun(main())


@settings(max_examples=25, deadline=None)
@given(
    bound=st.integers(1, 500),
    batches=st.lists(st.integers(1, 100), min_size=1, max_size=30),
    workers=st.integers(1, 6),
    guess=st.floats(0, 1),
    seed=st.integers(0, 1 << 16),
)
def test_a_budget_is_not_overspent_by_more_than_is_in_flight(
    bound: int, batches: list[int], workers: int, guess: float, seed: int
) -> None:
    """Workers ask, work, and write down what it took; estimates may be too small."""

    async def main() -> None:
        spending = Spending(budgets=[Budget(tokens=bound)])
        corpus = Corpus("docs", embedder=HashingEmbedder(), spending=spending, limits=LIMITS)
        module = rf.Module("desk")

        @module.mutation
        async def ask(ctx: rf.MutationCtx, tokens: int) -> bool:
            return await corpus.ledger.allows(ctx, "embed", tokens=tokens)

        @module.mutation
        async def save(ctx: rf.MutationCtx, tokens: int) -> None:
            await corpus.ledger.record(ctx, Entry(work="embed", model="small", tokens_in=tokens))

        async with simulate(rf.App(modules=[module], components=[corpus]), seed=seed, interleave=True) as sim:
            waiting = list(batches)
            done = 0

            async def worker() -> None:
                nonlocal done
                while waiting:
                    tokens = waiting.pop()
                    if not await sim.mutation(ask, int(tokens * guess)):
                        waiting.append(tokens)
                        return
                    await sim.mutation(save, tokens)
                    done += tokens

            await asyncio.gather(*(worker() for _ in range(workers)))
            states = await sim.query(corpus.ledger.states, "")
            assert states[0].used_tokens == done
            assert done < bound + workers * max(batches)
            if guess == 1:
                assert done <= bound + (workers - 1) * max(batches)
            if waiting:
                assert done + int(waiting[-1] * guess) > bound or done >= bound, "it stopped although there was room"

    arun(main())


@given(st.integers(0, 10**9), st.lists(st.integers(0, 10**6), min_size=1, max_size=50))
def test_apportioned_tokens_add_up_and_follow_the_weights(total: int, weights: list[int]) -> None:
    parts = apportion(total, weights)
    assert sum(parts) == total
    assert len(parts) == len(weights)
    whole = sum(weights)
    for part, weight in zip(parts, weights, strict=True):
        assert part == pytest.approx(total * weight / whole if whole else total / len(weights), abs=1)
