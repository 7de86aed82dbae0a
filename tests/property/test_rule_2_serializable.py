from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow import values
from reflow.errors import StorageError
from reflow.limits import DEFAULT
from reflow.storage.base import Storage
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import FaultPlan, Simulation, simulate
from tests.support import arun
from tests.support.histories import CLIENTS, Model, Operation, app

Done = tuple[int, bool, Operation, Any]
"""Timestamp, whether it only read, the operation, what it returned."""

_READS_ONLY = {"check": lambda _: True, "drop": lambda r: r is None, "shift": lambda r: r == []}


async def client(sim: Simulation, operations: Sequence[Operation], done: list[Done]) -> None:
    for operation in operations:
        name, args = operation
        function = sim.engine.functions[f"shop:{name}"]
        try:
            outcome = await sim.engine.mutation(function, function.arguments.encode((), args))
        except StorageError:
            assert sim.faults.raised, "nothing failed, so no client may see that something did"
            continue
        assert outcome.result.failure is None, outcome.result.failure
        result = values.decode(outcome.result.value or b"")
        only_reads = _READS_ONLY.get(name, lambda _: False)(result)
        done.append((outcome.ts, only_reads, operation, result))


async def check(clients: Sequence[Sequence[Operation]], seed: int, storage: Storage, **options: Any) -> None:
    done: list[Done] = []
    async with simulate(app, storage=storage, seed=seed, **options) as sim:
        await asyncio.gather(*(client(sim, operations, done) for operations in clients))
        sim.faults.active = False
        final = await sim.query("shop:everything")
    writes = [ts for ts, only_reads, _, _ in done if not only_reads]
    assert len(set(writes)) == len(writes), "each commit has a timestamp of its own"
    model = Model()
    for _, _, (name, args), result in sorted(done, key=lambda item: item[:2]):
        assert model.run(name, args) == result, f"{name}({args}) saw what no serial order has"
    assert final == model.everything()


@settings(max_examples=60, deadline=None)
@given(CLIENTS, st.integers(0, 1 << 16))
def test_rule_2_every_history_is_serializable_over_memory(clients: Sequence[Sequence[Operation]], seed: int) -> None:
    arun(check(clients, seed, MemoryStorage(), interleave=True))


@settings(max_examples=30, deadline=None)
@given(CLIENTS, st.integers(0, 1 << 16))
def test_rule_2_every_history_is_serializable_over_sqlite(clients: Sequence[Sequence[Operation]], seed: int) -> None:
    with tempfile.TemporaryDirectory() as directory:
        storage = SqliteStorage(directory, durability="full" if seed % 2 else "relaxed")
        arun(check(clients, seed, storage, interleave=bool(seed % 3)))


@settings(max_examples=40, deadline=None)
@given(CLIENTS, st.integers(0, 1 << 16), st.booleans())
def test_rules_1_and_2_every_history_is_serializable_when_commits_fail(
    clients: Sequence[Sequence[Operation]], seed: int, interleave: bool
) -> None:
    faults = FaultPlan(seed=seed, commit=0.2, write=0.05, snapshot=0.02, read=0.01)
    arun(check(clients, seed, MemoryStorage(), interleave=interleave, faults=faults))


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("interleave", [False, True])
def test_rule_2_no_update_is_lost_under_contention(kind: str, interleave: bool, tmp_path: Path) -> None:
    async def main() -> None:
        storage = MemoryStorage() if kind == "memory" else SqliteStorage(tmp_path)
        async with simulate(app, storage=storage, interleave=interleave, seed=5) as sim:
            befores = await asyncio.gather(*(sim.mutation("shop:add", name="hot", by=1) for _ in range(200)))
            state = await sim.query("shop:everything")
        assert state["counters"] == [["hot", 200]]
        assert sorted(before or 0 for before in befores) == list(range(200))
        assert DEFAULT.optimistic_attempts < 200, "so that the last resort, running alone, was needed"

    arun(main())
