"""The storages that tests wrap around others follow their seeds."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from reflow.errors import StorageUnavailable
from reflow.storage.base import TOP
from reflow.storage.memory import MemoryStorage
from reflow.testing.faults import FaultPlan, FaultyStorage
from reflow.testing.interleave import InterleavingStorage
from tests.support import arun
from tests.support.storages import TABLE, commit, insert, opened, reading


def order_of(seed: int | Random) -> list[tuple[str, int]]:
    """The order in which three tasks, each of five reads, get on."""
    order: list[tuple[str, int]] = []

    async def main() -> None:
        async with opened(InterleavingStorage(MemoryStorage(), seed)) as storage:
            assert storage.concurrent

            async def task(name: str) -> None:
                async with reading(storage) as snapshot:
                    for step in range(5):
                        await snapshot.get(TABLE, 1)
                        order.append((name, step))

            await asyncio.gather(*(task(name) for name in "abc"))

    arun(main())
    return order


def test_the_schedule_follows_the_seed() -> None:
    assert order_of(1) == order_of(1) == order_of(Random(1))
    assert len({tuple(order_of(seed)) for seed in range(8)}) > 4
    assert sorted(order_of(1)) == sorted(order_of(2))


def faults_of(plan: FaultPlan) -> list[str]:
    """What fails in twenty rounds of insert, commit and read; what does not fail must be right."""
    failed: list[str] = []

    async def main() -> None:
        inner = MemoryStorage()
        async with opened(inner):
            storage = FaultyStorage(inner, plan)
            ts = 0
            for seq in range(20):
                try:
                    await commit(storage, ts + 1, insert(seq))
                    ts += 1
                except StorageUnavailable as error:
                    failed.append(str(error))
                    await storage.rollback()
                try:
                    async with reading(storage) as snapshot:
                        assert snapshot.ts == ts
                        assert await snapshot.count(TABLE, TABLE, b"", TOP) == ts
                except StorageUnavailable as error:
                    failed.append(str(error))

    arun(main())
    assert len(failed) == plan.raised.total()
    return failed


@pytest.mark.parametrize("kind", ["commit", "write", "snapshot", "read"])
def test_faults_follow_the_seed_and_the_plan(kind: str) -> None:

    def plan(seed: int, most: int | None = None) -> FaultPlan:
        made = FaultPlan(seed=seed, most=most)
        setattr(made, kind, 0.5)
        return made

    failed = faults_of(plan(1))
    assert failed == faults_of(plan(1))
    assert 4 < len(failed) < 16
    assert failed != faults_of(plan(2))
    assert len(faults_of(plan(1, most=2))) == 2
    assert faults_of(FaultPlan(seed=1)) == []


def test_a_commit_that_fails_loses_its_group() -> None:
    async def main() -> None:
        plan = FaultPlan(commit=1.0, most=1)
        inner = MemoryStorage()
        async with opened(inner):
            storage = FaultyStorage(inner, plan)
            with pytest.raises(StorageUnavailable, match="Fault 1 of seed 0: commit failed"):
                await commit(storage, 1, insert(1))
            await commit(storage, 2, insert(2))
            async with reading(storage) as snapshot:
                assert await snapshot.get_many(TABLE, [1, 2]) == [None, b"v"]
            assert plan.raised == {"commit": 1}

    arun(main())


def test_faults_and_schedules_combine() -> None:
    storage = InterleavingStorage(FaultyStorage(MemoryStorage(concurrent=True), FaultPlan()), seed=3)
    assert storage.concurrent
    assert FaultyStorage(storage, FaultPlan()).concurrent
