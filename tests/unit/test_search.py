from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

import reflow as rf
from reflow.errors import InvalidFilter, StorageError
from reflow.keys import encode_part
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import Simulation, VirtualClock, simulate
from reflow.values import Int64
from tests.support import arun
from tests.support.client import Client
from tests.support.simulated import inside, simulated


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


class Odd(rf.Table, table="odd"):
    value: Any

    meaning = rf.VectorIndex(dims=2, filters=("value",))


ODD: list[Any] = [
    b"x",
    "\0" + encode_part(b"x").hex(),
    "\0",
    ["\0" + encode_part(b"x").hex()],
    {"a": 1},
    [2.0],
    Int64(1),
    1.0,
    True,
    None,
    "",
]


@inside(rf.App(modules=[], tables=[Odd]))
async def test_a_filter_tells_every_value_from_all_others(ctx: Any) -> None:
    for value in ODD:
        await ctx.db.insert(Odd(value=value), vectors={Odd.meaning: [1.0, 2.0]})
    for value in ODD:
        if isinstance(value, list):
            continue
        hits = await ctx.db.nearest(Odd.meaning, [1.0, 2.0], limit=20, value=value)
        listed = [one for one in ODD if isinstance(one, list) and value in one and isinstance(value, str)]
        assert [hit.doc.value for hit in hits] == [value, *listed]
        assert type(hits[0].doc.value) is type(value)


@inside(app)
async def test_a_filter_that_is_too_deep_is_refused_as_such(ctx: Any) -> None:
    deep: Any = "x"
    for _ in range(20_000):
        deep = [deep]
    circle: dict[str, Any] = {}
    circle["$not"] = circle
    for bad in ({"tag": deep}, {"$and": deep}, circle):
        with pytest.raises(InvalidFilter, match="nested 32 deep"):
            await ctx.db.nearest(Page.meaning, [1, 0], filter=bad)


def test_a_commit_that_the_vectors_can_not_follow_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        async with simulate(app, storage=SqliteStorage(tmp_path)) as sim:
            await sim.mutation(add, "before", [1.0, 1.0])
            vectors = sim.engine.vectors

            def broken(ts: int, changes: object) -> None:
                raise RuntimeError("out of order")

            with monkeypatch.context() as patch:
                patch.setattr(vectors, "apply", broken)
                with pytest.raises(StorageError, match="vectors could not follow"):
                    await sim.mutation(add, "lost", [1.0, 1.0])
            await sim.mutation(add, "after", [1.0, 1.0])
            assert await sim.query(near, [1.0, 1.0]) == ["before", "after"]
        async with simulate(app, storage=SqliteStorage(tmp_path)) as sim:
            assert await sim.query(near, [1.0, 1.0]) == ["before", "after"]

    arun(main())
