from __future__ import annotations

import asyncio

import pytest

import reflow as rf
from reflow.errors import StorageUnavailable
from reflow.testing import FaultPlan, SeededEntropy, VirtualClock, simulate
from tests.support import arun
from tests.support.histories import app, shop


def test_a_virtual_clock_wakes_sleepers_in_their_order() -> None:
    async def main() -> None:
        clock = VirtualClock(start=100)
        woken: list[tuple[str, float]] = []

        async def sleeper(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append((name, clock.now()))

        tasks = [asyncio.ensure_future(sleeper(name, seconds)) for name, seconds in (("b", 2), ("a", 1), ("c", 5))]
        await asyncio.sleep(0)
        assert clock.next_wake() == 101
        tasks[1].cancel()
        await asyncio.sleep(0)
        assert clock.next_wake() == 102
        assert clock.wake_next(latest=103)
        await asyncio.sleep(0)
        assert woken == [("b", 102)]
        assert not clock.wake_next(latest=103)
        assert clock.now() == 103
        clock.advance(10)
        await asyncio.sleep(0)
        assert woken == [("b", 102), ("c", 113)]
        assert clock.next_wake() is None
        await clock.sleep(0)
        assert clock.now_ns() == 113_000_000_000

    arun(main())


def test_entropy_follows_its_seed() -> None:
    one, same, other = SeededEntropy(1), SeededEntropy(1), SeededEntropy(2)
    assert one.random_bytes(8) == same.random_bytes(8) != other.random_bytes(8)
    assert one.uniform() == same.uniform() != other.uniform()


async def _trace(seed: int) -> list[object]:
    """What a run leaves: ids, results and timestamps."""
    async with simulate(app, seed=seed, interleave=True, faults=FaultPlan(seed=seed, commit=0.2)) as sim:
        calls = [sim.mutation("shop:append", group=n % 2) for n in range(20)]
        results = [repr(result) for result in await asyncio.gather(*calls, return_exceptions=True)]
        await sim.advance(5)
        sim.faults.active = False
        return [results, await sim.query("shop:everything"), sim.engine.committer.published]


def test_a_seed_decides_the_whole_run() -> None:
    first = arun(_trace(7))
    assert arun(_trace(7)) == first
    assert any(arun(_trace(seed)) != first for seed in range(3))


def test_faults_spare_the_start_and_the_stop() -> None:
    async def main() -> None:
        async with simulate(app, faults=FaultPlan(commit=1.0, write=1.0, read=1.0, snapshot=1.0)) as sim:
            with pytest.raises(StorageUnavailable):
                await sim.mutation("shop:append", group=1)

    arun(main())


def test_a_simulation_is_ready_for_its_docstring() -> None:
    """The words that the documentation shows to application authors."""

    async def main() -> None:
        async with simulate(rf.App(modules=[shop]), seed=7, interleave=True) as sim:
            await sim.mutation("shop:append", group=1)
            await sim.advance(3600)
            assert (await sim.query("shop:everything"))["items"] == [[1, 0]]

    arun(main())
