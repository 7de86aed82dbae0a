from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reflow as rf
from reflow.errors import OutOfRetention
from reflow.search.vector import VectorChange, VectorStore, VectorTable, similarity, unit
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import Simulation, VirtualClock, simulate
from tests.support import arun
from tests.support.client import Client
from tests.support.simulated import simulated


class Page(rf.Table, table="pages"):
    title: str
    tag: str | None = rf.missing()
    level: int = 0

    words = rf.TextIndex("title", filters=("tag", "level"))
    meaning = rf.VectorIndex(dims=2, filters=("tag", "level"))


pages = rf.Module("pages")


@pages.mutation
async def add(
    ctx: rf.MutationCtx, title: str, vector: list[float], tag: str | None = None, level: int = 0
) -> rf.Id[Page]:
    return await ctx.db.insert(Page(title=title, tag=tag, level=level), vectors={Page.meaning: vector})


@pages.mutation
async def retag(ctx: rf.MutationCtx, id: rf.Id[Page], tag: str) -> None:
    await ctx.db.patch(id, tag=tag)


@pages.mutation
async def remove(ctx: rf.MutationCtx, id: rf.Id[Page]) -> None:
    await ctx.db.delete(id)


@pages.query
async def near(
    ctx: rf.QueryCtx, vector: list[float], limit: int = 10, filters: dict[str, Any] | None = None
) -> list[str]:
    hits = await ctx.db.nearest(Page.meaning, vector, limit=limit, **(filters or {}))
    assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
    return [hit.doc.title for hit in hits]


@pages.query
async def find(ctx: rf.QueryCtx, text: str, limit: int = 10, filters: dict[str, Any] | None = None) -> list[str]:
    return [hit.doc.title for hit in await ctx.db.search(Page.words, text, limit=limit, **(filters or {}))]


@pages.action
async def from_action(ctx: rf.ActionCtx) -> list[list[str]]:
    hits = await ctx.nearest(Page.meaning, [1, 0], limit=1)
    words = await ctx.search(Page.words, "red", tag="a")
    return [[hit.doc.title for hit in hits], [hit.doc.title for hit in words]]


app = rf.App(modules=[pages])


@simulated(app)
async def test_nearest_is_sorted_by_cosine_and_bounded(sim: Simulation) -> None:
    for n in range(5):
        await sim.mutation(add, f"{n}", [10.0, float(n)])
    assert await sim.query(near, [1, 0]) == ["0", "1", "2", "3", "4"]
    assert await sim.query(near, [0, 1], 2) == ["4", "3"]


@simulated(app)
async def test_filters_are_equalities_or_lists(sim: Simulation) -> None:
    for n in range(12):
        await sim.mutation(add, f"{n}", [1.0, float(n)], tag="abc"[n % 3] if n else None, level=n % 2)
    assert await sim.query(near, [1, 0], 3, {"tag": "a"}) == ["3", "6", "9"]
    assert await sim.query(near, [1, 0], 9, {"tag": "a", "level": 0}) == ["6"]
    assert await sim.query(near, [1, 0], 3, {"tag": ["a", "b"]}) == ["1", "3", "4"]
    assert await sim.query(near, [1, 0], 3, {"tag": "none"}) == []
    assert await sim.query(near, [1, 0], 3, {"tag": []}) == []
    assert await sim.query(near, [1, 0], 3, {"level": 1.0}) == ["1", "3", "5"]


@simulated(app)
async def test_rule_7_a_filter_still_finds_k_hits_among_many(sim: Simulation) -> None:
    for n in range(150):
        await sim.mutation(add, f"{n}", [1.0, n / 100], tag="rare" if n % 50 == 49 else "common")
    assert await sim.query(near, [1, 0], 3, {"tag": "rare"}) == ["49", "99", "149"]
    assert await sim.query(find, "49 99 149 1", 3, {"tag": "rare"}) != []


@simulated(app)
async def test_deletes_and_changed_filters_are_seen(sim: Simulation) -> None:
    ids = [await sim.mutation(add, f"red {n}", [1.0, float(n)], tag="a") for n in range(3)]
    await sim.mutation(remove, ids[0])
    await sim.mutation(retag, ids[1], "b")
    assert await sim.query(near, [1, 0]) == ["red 1", "red 2"]
    assert await sim.query(near, [1, 0], filters={"tag": "a"}) == ["red 2"]
    assert await sim.query(near, [1, 0], filters={"tag": "b"}) == ["red 1"]
    assert await sim.query(find, "red", filters={"tag": "a"}) == ["red 2"]
    assert sorted(await sim.query(find, "red")) == ["red 1", "red 2"]
    assert await sim.action(from_action) == [["red 1"], ["red 2"]]


@simulated(app)
async def test_words_are_found_by_stem_and_prefix_and_ranked(sim: Simulation) -> None:
    for title in ("copying a tree", "a copy", "copies of copies", "nothing", "treetop"):
        await sim.mutation(add, title, [1.0, 0.0])
    assert (await sim.query(find, "copy"))[0] == "copies of copies"
    assert sorted(await sim.query(find, "copy")) == ["a copy", "copies of copies", "copying a tree"]
    assert sorted(await sim.query(find, "tre")) == ["copying a tree", "treetop"]
    assert await sim.query(find, "") == []
    assert await sim.query(find, "?!") == []
    assert set(await sim.query(find, 'copying" OR "tree')) == set(await sim.query(find, "copying or tree"))


@simulated(app)
async def test_searches_are_live(sim: Simulation) -> None:
    client = Client(sim)
    by_vector = client.add(near, vector=[1.0, 0.0], limit=2)
    by_words = client.add(find, text="red")
    await client.up_to_date()
    assert client.value(by_vector) == client.value(by_words) == []
    first = await sim.mutation(add, "red one", [0.0, 1.0])
    await client.up_to_date()
    assert client.value(by_vector) == client.value(by_words) == ["red one"]
    await sim.mutation(add, "blue", [1.0, 0.0])
    await sim.mutation(add, "red three", [1.0, 1.0])
    await client.up_to_date()
    assert client.value(by_vector) == ["blue", "red three"]
    await sim.mutation(remove, first)
    await client.up_to_date()
    assert client.value(by_words) == ["red three"]


def test_more_searches_at_a_time_than_snapshots_wait_for_one(tmp_path: Path) -> None:
    limits = rf.Limits(snapshots_open=3, scan_inline_rows=0)

    async def main() -> None:
        storage = SqliteStorage(tmp_path, limits=limits)
        async with simulate(rf.App(modules=[pages], limits=limits), storage=storage) as sim:
            await sim.mutation(add, "a", [1.0, 1.0])
            found = await asyncio.gather(*(sim.query(near, [1.0, float(n)]) for n in range(30)))
            assert found == [["a"]] * 30
            await sim.mutation(add, "b", [1.0, 1.0])
            assert await sim.query(near, [1.0, 1.0]) == ["a", "b"]

    arun(main())


def test_vectors_survive_a_restart_with_their_filters() -> None:
    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        small = rf.App(modules=[pages], limits=rf.Limits(scan_page=4))
        async with simulate(small, storage=storage, clock=clock) as sim:
            for n in range(10):
                await sim.mutation(add, f"{n}", [1.0, float(n)], tag="ab"[n % 2])
            ts = sim.engine.committer.published
        async with simulate(small, storage=storage, clock=clock) as sim:
            assert await sim.query(near, [1, 0], 3, {"tag": "b"}) == ["1", "3", "5"]
            await sim.mutation(add, "new", [1.0, 0.0])
            function, args = near, near.arguments.encode(([1.0, 0.0], 2), {})
            assert (await sim.engine.query_at(function, args, ts)).value == b'["0","1"]'
            earlier = await sim.engine.query_at(function, args, ts - 1)
            assert earlier.failure is not None, "what was before the start is not known, so it is not guessed"
            assert earlier.failure.code == "OutOfRetention"

    arun(main())


# The table of vectors


def table_of(count: int, dims: int = 8) -> tuple[VectorTable, list[np.ndarray[Any, Any]]]:
    chance = np.random.default_rng(3)
    vectors = [chance.normal(size=dims).astype(np.float32) for _ in range(count)]
    table = VectorTable(dims, 1)
    for seq, vector in enumerate(vectors):
        table.put(seq, vector, [b"even" if seq % 2 == 0 else b"odd"], seq + 1)
    return table, vectors


def by_hand(vectors: list[Any], query: Any, limit: int, keep: Any) -> list[int]:
    scores = [(-similarity(unit(vector), query), seq) for seq, vector in enumerate(vectors) if keep(seq)]
    return [seq for _, seq in sorted(scores)[:limit]]


def test_a_search_at_a_timestamp_sees_its_rows_only() -> None:
    table, vectors = table_of(200)
    query = unit(vectors[7])
    assert [seq for _, seq in table.search(query, 5, 200, {})] == by_hand(vectors, query, 5, lambda seq: True)
    assert [seq for _, seq in table.search(query, 5, 50, {})] == by_hand(vectors, query, 5, lambda seq: seq < 50)
    odd = table.search(query, 5, 100, {0: [b"odd"]})
    assert [seq for _, seq in odd] == by_hand(vectors, query, 5, lambda seq: seq < 100 and seq % 2)
    table.remove(7, 300)
    assert table.search(query, 1, 299, {})[0][1] == 7
    assert table.search(query, 1, 300, {})[0][1] != 7
    assert table.vector(7, 299) is not None
    assert table.vector(7, 300) is None


def test_equal_vectors_are_sorted_by_age_however_many() -> None:
    table = VectorTable(3, 0)
    for seq in np.random.default_rng(1).permutation(500):
        table.put(int(seq), np.array([1, 2, 3], dtype=np.float32), [], 1)
    query = unit(np.array([3, 2, 1], dtype=np.float32))
    assert [seq for _, seq in table.search(query, 10, 1, {})] == list(range(10))


def test_a_failed_group_is_taken_back() -> None:
    store = VectorStore(100)
    store.create(1, 2, 0)
    one, two = np.array([1, 0], dtype=np.float32), np.array([0, 1], dtype=np.float32)
    store.apply(10, [VectorChange(1, 5, one), VectorChange(1, 6, one)])
    store.apply(11, [VectorChange(1, 5, two), VectorChange(1, 7, one), VectorChange(1, 6, None)])
    store.apply(12, [VectorChange(1, 5, None), VectorChange(1, 7, None)])
    store.rollback(10)
    table = store.table(1)
    assert len(table) == 2
    for ts in (10, 11, 12, 13):
        assert [seq for _, seq in table.search(unit(one), 9, ts, {})] == [5, 6]
    store.apply(11, [VectorChange(1, 5, two)])
    found = store.vector(1, 5, 11)
    assert found is not None
    assert found.tolist() == [0, 1]


def test_compaction_keeps_what_can_still_be_read() -> None:
    table, vectors = table_of(300)
    store = VectorStore(100)
    store._tables[1] = table  # pyright: ignore[reportPrivateUsage]
    for seq in range(250):
        table.remove(seq, 400 + seq)
    query = unit(vectors[270])
    before = {ts: table.search(query, 20, ts, {}) for ts in (600, 640, 700)}
    running = table.scan(query, 20, 640, {0: [b"odd"]})
    expected = table.search(query, 20, 640, {0: [b"odd"]})
    store.compact(600)
    assert table.size < 300
    assert {ts: table.search(query, 20, ts, {}) for ts in before} == before
    assert running() == expected, "a scan in a thread goes on with the rows it has begun with"
    with pytest.raises(OutOfRetention, match=r"vectors at timestamp 599 are not kept"):
        store.vector(1, 270, 599)
