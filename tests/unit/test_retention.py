from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import pytest

import reflow as rf
from reflow.errors import OutOfRetention
from reflow.storage.base import Storage
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import Simulation, simulate
from tests.support import arun


class Row(rf.Table, table="rows"):
    n: int
    text: str = "word"

    by_n = rf.Index("n")
    words = rf.TextIndex("text")
    meaning = rf.VectorIndex(dims=2)


past = rf.Module("past")


@past.mutation
async def put(ctx: rf.MutationCtx, n: int) -> str:
    return await ctx.db.insert(Row(n=n), vectors={Row.meaning: [1, n]})


@past.mutation
async def move(ctx: rf.MutationCtx, id: rf.Id[Row], n: int) -> None:
    await ctx.db.patch(id, n=n)
    await ctx.db.set_vector(Row.meaning, id, [1, n])


@past.mutation
async def drop(ctx: rf.MutationCtx, id: rf.Id[Row]) -> None:
    await ctx.db.delete(id)


@past.query
async def everything(ctx: rf.QueryCtx, ids: list[str]) -> dict[str, Any]:
    query = ctx.db.query(Row).using(Row.by_n)
    nearest = await ctx.db.nearest(Row.meaning, [1, 3], limit=5)
    return {
        "up": [row.n async for row in query],
        "down": [row.n for row in await query.order("desc").collect()],
        "some": [row.n for row in await query.gt(2).lte(7).take(3)],
        "last": [row.n for row in await query.gt(2).order("desc").take(2)],
        "created": [row.n for row in await ctx.db.query(Row).collect()],
        "count": await query.gte(5).count(),
        "got": [row and row.n for row in await ctx.db.get_many([rf.Id(id) for id in ids])],
        "near": [[hit.doc.n, hit.score] for hit in nearest],
    }


@past.query
async def find(ctx: rf.QueryCtx) -> int:
    return len(await ctx.db.search(Row.words, "word"))


app = rf.App(modules=[past], limits=rf.Limits(scan_page=3, prune_rows=7))


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage(limits=app.limits) if request.param == "memory" else SqliteStorage(tmp_path, limits=app.limits)


async def at(sim: Simulation, ts: int, ids: list[str]) -> bytes | None:
    result = await sim.engine.query_at(everything, everything.arguments.encode((ids,), {}), ts)
    assert result.failure is None, result.failure
    return result.value


def test_reads_of_the_past_see_what_was_there(storage: Storage) -> None:
    async def main() -> None:
        chance = Random(8)
        async with simulate(app, storage=storage) as sim:
            ids: list[str] = [await sim.mutation(put, n) for n in range(6)]
            seen: dict[int, bytes | None] = {}
            first = list(ids)
            alive = list(ids)
            for _ in range(60):
                match chance.randint(0, 3):
                    case 0:
                        alive.append(await sim.mutation(put, chance.randint(0, 9)))
                    case 1 if len(alive) > 3:
                        await sim.mutation(drop, rf.Id(alive.pop(chance.randrange(len(alive)))))
                    case _:
                        await sim.mutation(move, rf.Id(chance.choice(alive)), chance.randint(0, 9))
                ts = sim.engine.committer.published
                seen[ts] = await at(sim, ts, first)
            for ts, value in seen.items():
                assert await at(sim, ts, first) == value, f"the past changed at {ts}"
                if ts + 1 < sim.engine.committer.published and ts + 1 not in seen:
                    assert await at(sim, ts + 1, first) == value

    arun(main())


def test_what_is_too_old_or_still_to_come_is_refused(storage: Storage) -> None:
    async def main() -> None:
        async with simulate(app, storage=storage) as sim:
            old: list[int] = []
            for n in range(40):
                await sim.mutation(put, n)
                old.append(sim.engine.committer.published)
            with pytest.raises(OutOfRetention, match=r"is not reached yet"):
                await at(sim, sim.engine.committer.published + 1, [])
            await sim.advance(200)
            assert await at(sim, old[0], [])
            await sim.mutation(put, 100)
            recent = sim.engine.committer.published
            await sim.advance(150)
            await sim.mutation(put, 101)
            for ts in old[:-1]:
                with pytest.raises(OutOfRetention, match=r"older than the kept history.*limits.retention_seconds"):
                    await at(sim, ts, [])
            assert await at(sim, recent, [])
            snapshot = await sim.engine.committer.snapshot()
            assert len({undo.ts for undo in await snapshot.undo(0)}) <= 3, "all of the old history went, not one batch"
            await snapshot.close()

    arun(main())


def test_text_of_the_past_is_refused(storage: Storage) -> None:
    async def main() -> None:
        async with simulate(app, storage=storage) as sim:
            await sim.mutation(put, 1)
            ts = sim.engine.committer.published
            await sim.mutation(put, 2)
            assert (await sim.engine.query_at(find, b"{}", sim.engine.committer.published)).value == b"2"
            failure = (await sim.engine.query_at(find, b"{}", ts)).failure
            assert failure is not None
            assert failure.code == "OutOfRetention"

    arun(main())


def test_pruning_goes_on_beside_open_snapshots_and_after_faults(storage: Storage) -> None:
    async def main() -> None:
        async with simulate(app, storage=storage) as sim:
            for n in range(20):
                await sim.mutation(put, n)
            held = await sim.engine.committer.snapshot()
            before = await held.scan(10_001, 10_001, b"", b"\xff", limit=100)
            sim.faults.write = 1.0
            await sim.advance(400)
            sim.faults.write = 0.0
            await sim.advance(400)
            await sim.mutation(put, 99)
            assert await held.scan(10_001, 10_001, b"", b"\xff", limit=100) == before
            await held.close()
            snapshot = await sim.engine.committer.snapshot()
            assert len({undo.ts for undo in await snapshot.undo(0)}) <= 2
            await snapshot.close()

    arun(main())
