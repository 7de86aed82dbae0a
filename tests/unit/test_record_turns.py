"""How much of an index's work is done before others have the event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np

import reflow as rf
from reflow.engine.records import Records
from reflow.engine.transaction import EngineTransaction
from reflow.limits import DEFAULT
from reflow.search.metric import VectorChange, in_turns, records_per_turn
from reflow.vectors import IndexStats
from tests.support import arun


def test_long_vectors_are_fewer_to_a_turn() -> None:
    turns = [records_per_turn(DEFAULT, dims) for dims in (0, 1, 384)]
    assert turns == [DEFAULT.records_per_turn] * 3
    for dims in (385, 3072, 20_000):
        turn = records_per_turn(DEFAULT, dims)
        assert 1 <= turn < DEFAULT.records_per_turn
        assert turn * dims <= DEFAULT.records_per_turn * 384
    assert records_per_turn(DEFAULT, 10**9) == 1


def test_changes_come_in_groups_of_a_turn() -> None:
    limits = rf.Limits(records_per_turn=10)

    def sizes(*dims: int) -> list[int]:
        changes = [VectorChange((1, 1), seq, np.ones(length, np.float32)) for seq, length in enumerate(dims)]
        groups = list(in_turns(changes, limits))
        assert [change.seq for group in groups for change in group] == list(range(len(dims)))
        return list(map(len, groups))

    assert sizes() == [0]
    assert sizes(*[2] * 10) == [10]
    assert sizes(*[2] * 25) == [10, 10, 5]
    assert sizes(*[3840] * 3) == [1, 1, 1]
    assert sizes(*[2] * 5, *[1920] * 3) == [6, 2]
    assert sizes(*[2] * 5, *[1920] * 4) == [6, 2, 1]


def test_others_have_the_event_loop_while_many_records_change(tmp_path: Path) -> None:
    """In each step of a large upsert, update, look-up and removal."""

    async def main() -> None:
        limits = rf.Limits(records_per_turn=10)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        async with rf.App(modules=[], limits=limits, data=tmp_path).open() as backend:
            await backend.engine.transact(lambda tx: Records(tx).create_index("place", dims=2))
            records = [(str(number), [1.0, number], {"even": number % 2 == 0}) for number in range(400)]
            other = asyncio.create_task(count_turns())
            taken: list[int] = []

            async def step(*, removes: bool) -> None:
                async def work(tx: EngineTransaction) -> None:
                    index = Records(tx).index("place")
                    await (index.delete(filter={"even": True}) if removes else index.upsert(records))
                    taken.append(turns)
                    await tx.effects(backend.engine.next_ts(), None)
                    taken.append(turns)

                before = turns
                await backend.engine.transact(work)
                found, built = taken[-2:]
                # Per ten records: checked, looked up and written; built; then followed by the vectors.
                assert found - before >= (20 if removes else 80)
                assert built - found >= (20 if removes else 40)
                assert turns - built >= (40 if removes else 80)

            await step(removes=False)
            await step(removes=False)
            await step(removes=True)
            assert await backend.engine.stores.index("place").stats() == IndexStats(
                dims=2, metric="cosine", records=200, namespaces={"": 200}
            )
            other.cancel()

    arun(main())
