"""Upserts of many callers at the same time: stored together, and yet each whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import reflow as rf
from reflow.engine.engine import Engine
from reflow.engine.record_store import StoredIndex
from reflow.engine.record_upserts import Upserts
from reflow.engine.records import Records
from reflow.errors import InvalidValue, LimitExceeded, NoVectorIndex, Overloaded, StorageError
from reflow.testing import FaultPlan, simulate
from reflow.vectors import Record
from tests.support import arun

Outcome = int | BaseException


def record(id: str, *values: float) -> Record:
    return Record(id=id, values=list(values))


async def make(engine: Engine, name: str = "place", dims: int = 2) -> None:
    await engine.transact(lambda tx: Records(tx).create_index(name, dims=dims))


async def together(engine: Engine, upserts: Upserts, *batches: Sequence[Record], name: str = "place") -> list[Outcome]:
    """What becomes of upserts that all wait at once."""
    calls = [upserts.upsert(name, batch, f"n{number % 2}") for number, batch in enumerate(batches)]
    return await asyncio.gather(*calls, return_exceptions=True)


async def stored(engine: Engine, namespace: str = "n0", name: str = "place") -> dict[str, Any]:
    index = StoredIndex(engine, name)
    page = await index.list(namespace=namespace)
    found = await index.fetch(page.ids, namespace=namespace)
    return {id: found[id].values for id in page.ids}


def test_each_is_stored_and_counted() -> None:
    async def main() -> None:
        async with rf.App(modules=[]).in_memory() as backend:
            engine = backend.engine
            await make(engine)
            upserts = Upserts(engine)
            batches = [[record(f"{number}-{n}", 1, n) for n in range(number % 4)] for number in range(40)]
            assert await together(engine, upserts, *batches) == [len(batch) for batch in batches]
            both = {**await stored(engine, "n0"), **await stored(engine, "n1")}
            assert both == {one.id: one.values for batch in batches for one in batch}

    arun(main())


def test_a_bad_one_does_not_touch_its_neighbours() -> None:
    async def main() -> None:
        async with rf.App(modules=[]).in_memory() as backend:
            engine = backend.engine
            await make(engine)
            upserts = Upserts(engine)
            for _ in range(2):  # the index is unknown, then known
                outcomes = await together(
                    engine,
                    upserts,
                    [record("a", 1, 2)],
                    [record("x", 1, 2)],
                    [record("b", 1, 2), record("short", 1)],
                    [record("x", 1, 2), record("x", 3, 4)],
                    [record("c", 1, 2)],
                )
                assert [type(outcome) for outcome in outcomes] == [int, int, InvalidValue, InvalidValue, int]
                assert sorted(await stored(engine, "n0")) == ["a", "c"]
            missing = await together(engine, upserts, [record("a", 1, 2)], name="missing")
            assert isinstance(missing[0], NoVectorIndex)

    arun(main())


def test_the_later_of_two_with_one_id_counts() -> None:
    async def main() -> None:
        async with rf.App(modules=[]).in_memory() as backend:
            engine = backend.engine
            await make(engine)
            upserts = Upserts(engine)
            for first in (1.0, 10.0):  # a new record, then one that is there
                batches = [[record("same", first, n), record(f"own {n}", 1, n)] for n in range(6)]
                assert await together(engine, upserts, *batches) == [2] * 6
                assert (await stored(engine, "n0"))["same"] == [first, 4.0]
                assert (await stored(engine, "n1"))["same"] == [first, 5.0]
            assert (await StoredIndex(engine, "place").stats()).records == 8

    arun(main())


def test_an_index_may_become_another_one() -> None:
    async def main() -> None:
        async with rf.App(modules=[]).in_memory() as backend:
            engine = backend.engine
            await make(engine)
            upserts = Upserts(engine)
            await together(engine, upserts, [record("old", 1, 2)])
            await engine.transact(lambda tx: Records(tx).delete_index("place"))
            await make(engine, dims=3)
            # Checked for two numbers, as it was; then three, as it is.
            outcomes = await together(engine, upserts, [record("a", 1, 2)], [record("b", 1, 2, 3)])
            assert isinstance(outcomes[0], InvalidValue)
            assert outcomes[1] == 1
            assert await stored(engine, "n0") == {}
            assert await stored(engine, "n1") == {"b": [1.0, 2.0, 3.0]}

    arun(main())


def test_what_cant_be_stored_is_told_to_each_and_nothing_of_it_is_seen() -> None:
    async def main() -> None:
        plan = FaultPlan(seed=1)
        async with simulate(rf.App(modules=[]), faults=plan) as sim:
            engine = sim.engine
            await make(engine)
            upserts = Upserts(engine)
            plan.commit = 1.0
            outcomes = await together(engine, upserts, *([record(str(n), 1, n)] for n in range(6)))
            assert all(isinstance(outcome, StorageError) for outcome in outcomes)
            plan.commit = 0.0
            assert await stored(engine, "n0") == {}
            assert await together(engine, upserts, [record("a", 1, 2)]) == [1]
            assert await stored(engine, "n0") == {"a": [1.0, 2.0]}

    arun(main())


def test_those_who_wait_have_a_bound() -> None:
    async def main() -> None:
        limits = rf.Limits(queued_mutations=4)
        async with rf.App(modules=[], limits=limits).in_memory() as backend:
            engine = backend.engine
            await make(engine)
            outcomes = await together(engine, Upserts(engine), *([record(str(n), 1, n)] for n in range(20)))
            assert [type(outcome) for outcome in outcomes] == [int] * 4 + [Overloaded] * 16
            assert len(await stored(engine, "n0")) == 2

    arun(main())


def test_one_transaction_does_not_grow_without_bound() -> None:
    async def main() -> None:
        limits = rf.Limits(records_per_upsert=10, documents_written=12)
        async with rf.App(modules=[], limits=limits).in_memory() as backend:
            engine = backend.engine
            await make(engine)
            batches = [[record(f"{number}-{n}", 1, n) for n in range(7)] for number in range(6)]
            assert await together(engine, Upserts(engine), *batches) == [7] * 6

    arun(main())


def test_a_namespace_too_many_is_refused_to_those_who_want_it() -> None:
    async def main() -> None:
        limits = rf.Limits(namespaces_per_index=1)
        async with rf.App(modules=[], limits=limits).in_memory() as backend:
            engine = backend.engine
            await make(engine)
            outcomes = await together(engine, Upserts(engine), *([record(str(n), 1, n)] for n in range(4)))
            assert [type(outcome) for outcome in outcomes] == [int, LimitExceeded, int, LimitExceeded]
            assert sorted(await stored(engine, "n0")) == ["0", "2"]

    arun(main())
