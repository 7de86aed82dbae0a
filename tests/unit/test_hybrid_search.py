"""Searches with conditions, by both at once with reasons, and page by page."""

from __future__ import annotations

import enum
from typing import Any

import msgspec
import pytest

import reflow as rf
from reflow.errors import DefinitionError, InvalidCursor, InvalidFilter, InvalidValue, LimitExceeded
from reflow.testing import Simulation
from tests.support.client import Client
from tests.support.simulated import inside, simulated


class Kind(enum.Enum):
    NOTE = "note"
    TASK = "task"


class Memo(rf.Table, table="memos"):
    text: str
    kind: Kind = Kind.NOTE
    year: int = 2020
    tags: list[str] = msgspec.field(default_factory=list[str])
    score: float | None = rf.missing()

    words = rf.TextIndex("text", filters=("kind", "year", "tags"))
    plain = rf.TextIndex("text")
    meaning = rf.VectorIndex(dims=2, filters=("kind", "year", "tags", "score", "len(text)"))
    far = rf.VectorIndex(dims=2, metric="euclidean", filters=("year",))
    pull = rf.VectorIndex(dims=2, metric="dotproduct")


class Other(rf.Table, table="others"):
    text: str
    words = rf.TextIndex("text")


memos = rf.Module("memos")


@memos.mutation
async def fill(ctx: rf.MutationCtx, texts: list[str]) -> None:
    for n, text in enumerate(texts):
        vector = [10.0, float(n)]
        await ctx.db.insert(Memo(text=text), vectors={Memo.meaning: vector, Memo.far: vector, Memo.pull: vector})


@memos.query
async def pages(ctx: rf.QueryCtx, opts: rf.PaginationOptions, text: str, year: int | None = None) -> rf.Page[str]:
    filter = None if year is None else {"year": {"$gte": year}}
    page = await ctx.db.search_page(Memo.words, text, opts, filter=filter)
    return page.with_items([hit.doc.text for hit in page.page])


@memos.action
async def from_action(ctx: rf.ActionCtx) -> list[Any]:
    vector = [10.0, 0.0]
    first = rf.PaginationOptions(num_items=1)
    by_both = await ctx.hybrid(Memo.meaning, Memo.words, vector, "red", limit=1)
    reasons = await ctx.hybrid(Memo.meaning, Memo.words, vector, "red", limit=1, explain=True)
    page = await ctx.search_page(Memo.words, "red", first)
    quick = await ctx.nearest(Memo.meaning, vector, limit=1, approximate=True, filter={"year": {"$gt": 2000}})
    return [
        [hit.doc.text for hit in by_both],
        [left.doc.text for left in reasons.left_out],
        [hit.doc.text for hit in page.page],
        [hit.doc.text for hit in quick],
    ]


app = rf.App(modules=[memos], tables=[Other])


async def near(ctx: rf.MutationCtx, index: rf.VectorIndex = Memo.meaning, **options: Any) -> list[str]:
    return [hit.doc.text for hit in await ctx.db.nearest(index, [10, 0], **options)]


async def find(ctx: rf.MutationCtx, text: str, **options: Any) -> list[str]:
    return [hit.doc.text for hit in await ctx.db.search(Memo.words, text, **options)]


async def add(ctx: rf.MutationCtx, text: str, vector: list[float] | None = None, **fields: Any) -> None:
    await ctx.db.insert(Memo(text=text, **fields), vectors=None if vector is None else {Memo.meaning: vector})


# Conditions


@inside(app)
async def test_the_whole_filter_language_on_documents(ctx: rf.MutationCtx) -> None:
    await add(ctx, "one", [10, 1], kind=Kind.TASK, year=2001, tags=["x", "y"])
    await add(ctx, "two", [10, 2], year=2002, tags=["y"], score=0.5)
    await add(ctx, "three", [10, 3], year=2003)
    expected: list[tuple[dict[str, Any], list[str]]] = [
        ({}, ["one", "two", "three"]),
        ({"year": 2002}, ["two"]),
        ({"year": {"$gte": 2002, "$lt": 2003}}, ["two"]),
        ({"kind": Kind.TASK}, ["one"]),
        ({"kind": {"$in": [Kind.TASK, "note"]}}, ["one", "two", "three"]),
        ({"kind": {"$ne": Kind.TASK}}, ["two", "three"]),
        ({"tags": "y"}, ["one", "two"]),
        ({"tags": {"$nin": ["x"]}}, ["two", "three"]),
        ({"score": {"$exists": True}}, ["two"]),
        ({"$or": [{"year": 2001}, {"score": {"$gt": 0.4}}]}, ["one", "two"]),
        ({"$and": [{"year": {"$gt": 2001}}, {"tags": "x"}]}, []),
        ({"len(text)": {"$gt": 3}}, ["three"]),
    ]
    for filter, found in expected:
        assert await near(ctx, filter=filter) == found, filter
        if not {"score", "$or"} & filter.keys():
            assert sorted(await find(ctx, "one two three", filter=filter)) == sorted(found), filter


@inside(app)
async def test_filter_equalities_and_length_must_all_hold(ctx: rf.MutationCtx) -> None:
    await add(ctx, "short", [10, 1], year=2001)
    await add(ctx, "long enough", [10, 2], year=2001)
    await add(ctx, "long enough too", [10, 3], year=2002)
    assert await near(ctx, min_length=6) == ["long enough", "long enough too"]
    assert await near(ctx, min_length=6, year=2001) == ["long enough"]
    assert await near(ctx, min_length=6, filter={"year": {"$gt": 2001}}) == ["long enough too"]
    assert await near(ctx, min_length=6, filter={"year": {"$gt": 2001}}, kind=[Kind.TASK]) == []
    assert await find(ctx, "short enough", min_length=6, year=[2001, 2002]) != []
    assert await find(ctx, "short", min_length=6) == []
    hits = await ctx.db.search(Memo.plain, "short", min_length=5)
    assert [hit.doc.text for hit in hits] == ["short"], "the text of a text index needs no filter for its length"


@inside(app)
async def test_conditions_that_do_not_fit_are_told(ctx: rf.MutationCtx) -> None:
    with pytest.raises(InvalidFilter, match=r"memos\.meaning: can't be filtered by 'colour'; .*'kind'"):
        await near(ctx, filter={"colour": "red"})
    with pytest.raises(InvalidFilter, match="valid operator"):
        await near(ctx, filter={"year": {"$near": 1}})
    with pytest.raises(InvalidFilter, match="must be followed by a number"):
        await find(ctx, "x", filter={"year": {"$gt": "2000"}})
    with pytest.raises(InvalidFilter, match="a filter is a mapping"):
        await near(ctx, filter=["year"])
    with pytest.raises(DefinitionError, match="can't be filtered by 'colour'; its filters are"):
        await near(ctx, colour="red")
    for wrong in (-1, True, "5", 2.5):
        with pytest.raises(InvalidValue, match="min_length is a whole number"):
            await near(ctx, min_length=wrong)
    with pytest.raises(DefinitionError, match=r'can\'t tell which text.*filters=\("len\(text\)",\)'):
        await near(ctx, Memo.far, min_length=3)
    for limit, error in ((0, LimitExceeded), (1001, LimitExceeded), ("3", InvalidValue), (2.5, InvalidValue)):
        with pytest.raises(error, match="limit must be"):
            await near(ctx, limit=limit)
    with pytest.raises(InvalidValue, match="words in a text, got int"):
        await find(ctx, 5)  # pyright: ignore[reportArgumentType]


def test_filters_are_checked_when_they_are_defined() -> None:
    with pytest.raises(DefinitionError, match="indexes 'body', which is no field"):

        class Wrong(rf.Table, table="wrong"):  # pyright: ignore[reportUnusedClass]
            text: str
            words = rf.VectorIndex(dims=2, filters=("len(body)",))

    with pytest.raises(DefinitionError, match="different filter fields"):
        rf.TextIndex("text", filters=("a", "a"))
    with pytest.raises(DefinitionError, match="metric must be one of cosine, dotproduct, euclidean"):
        rf.VectorIndex(dims=2, metric="manhattan")  # pyright: ignore[reportArgumentType]


@simulated(app)
async def test_each_metric_ranks_its_own_way(sim: Simulation) -> None:
    await sim.mutation(fill, ["zero", "one", "two"])

    asked = [(Memo.meaning, [10.0, 1.0]), (Memo.far, [10.0, 2.0]), (Memo.pull, [0.0, 1.0])]
    async with sim.engine.reading() as tx:
        hits = [await rf.DatabaseReader(tx).nearest(index, vector, limit=2) for index, vector in asked]
    cosine, euclidean, product = [[(hit.doc.text, round(hit.score, 3)) for hit in some] for some in hits]
    assert cosine == [("one", 1.0), ("two", 0.995)]
    assert euclidean == [("two", 0.0), ("one", -1.0)]
    assert product == [("two", 2.0), ("one", 1.0)]


# Both at once


TEXTS = ["red brick", "red", "blue sky over a red house", "grey", "violet"]


@simulated(app)
async def test_hybrid_hits_say_how_either_search_ranks_them(sim: Simulation) -> None:
    await sim.mutation(fill, TEXTS)

    async with sim.engine.reading() as tx:
        db = rf.DatabaseReader(tx)
        hits = await db.hybrid(Memo.meaning, Memo.words, [10, 0], "red", limit=4)
        assert [hit.doc.text for hit in hits] == ["red", "red brick", "blue sky over a red house", "grey"]
        assert [(hit.dense.rank, hit.text.rank) for hit in hits] == [(2, 1), (1, 2), (3, 3), (4, None)]
        assert hits[1].score == pytest.approx(0.75 + 0.25 * _share(hits))
        assert hits[3].text == rf.Leg()
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        words = await db.hybrid(Memo.meaning, Memo.words, [10, 0], "red", limit=1, weight=0.0)
        assert [hit.doc.text for hit in words] == ["red"]
        ranks = await db.hybrid(Memo.meaning, Memo.words, [10, 0], "red", limit=2, method="rrf", weight=0.5)
        assert ranks[0].score == pytest.approx(0.5 + 0.5 * 61 / 62)
        nothing = await db.hybrid(Memo.meaning, Memo.words, [10, 0], "", limit=1)
        assert [hit.doc.text for hit in nothing] == ["red brick"]


def _share(hits: list[rf.HybridHit[Any]]) -> float:
    scores = [hit.text.score for hit in hits if hit.text.score is not None]
    mine = hits[1].text.score
    assert mine is not None
    return (mine - min(scores)) / (max(scores) - min(scores))


@inside(app)
async def test_hybrid_conditions_count_in_both_searches_and_own_writes_are_seen(ctx: rf.MutationCtx) -> None:
    await add(ctx, "red", [10, 0], year=2001)
    await add(ctx, "red again", [10, 1], year=2002)
    await add(ctx, "red but no vector", year=2002)
    await add(ctx, "blue", [10, 2], year=2002)
    hits = await ctx.db.hybrid(Memo.meaning, Memo.words, [10, 0], "red", min_length=5, year=2002)
    assert [hit.doc.text for hit in hits] == ["red again", "red but no vector"]


@inside(app)
async def test_an_explanation_says_why_documents_are_left_out(ctx: rf.MutationCtx) -> None:
    await add(ctx, "red one", [10, 0], year=2001)
    await add(ctx, "red and two", [10, 1], year=2002)
    await add(ctx, "three", [10, 2], year=2002)
    await add(ctx, "red four, without", year=2002)
    await add(ctx, "red", [10, 3], year=2003)
    found = await ctx.db.hybrid(
        Memo.meaning,
        Memo.words,
        [10, 0],
        "red",
        limit=1,
        min_length=5,
        filter={"year": {"$gt": 2001}},
        kind=Kind.NOTE,
        explain=True,
    )
    (hit,) = found.hits
    assert (hit.doc.text, hit.dense.rank, hit.text.rank) == ("red and two", 1, 2)
    left = {out.doc.text: out for out in found.left_out}
    assert set(left) == {"three", "red four, without", "red one", "red"}
    assert left["three"].why.startswith("rank ")
    assert "the limit is 1" in left["three"].why
    assert left["three"].text == rf.Leg(why="none of the words")
    assert left["red four, without"].dense == rf.Leg(why="no vector in memos.meaning")
    assert left["red one"].why == "filtered out by filter['year']"
    assert left["red"].why == "filtered out by min_length=5"
    assert left["red"].dense == left["red"].text == rf.Leg(why="filtered out")


@inside(app)
async def test_hybrid_refuses_what_does_not_fit(ctx: rf.MutationCtx) -> None:
    with pytest.raises(DefinitionError, match="are of two"):
        await ctx.db.hybrid(Memo.meaning, Other.words, [1, 0], "red")
    for weight in (-0.1, 1.1, float("nan")):
        with pytest.raises(InvalidValue, match="weight is the share"):
            await ctx.db.hybrid(Memo.meaning, Memo.words, [1, 0], "red", weight=weight)
    with pytest.raises(InvalidValue, match="method is one of minmax, rrf"):
        await ctx.db.hybrid(Memo.meaning, Memo.words, [1, 0], "red", method="best")  # pyright: ignore
    with pytest.raises(LimitExceeded, match="limit must be"):
        await ctx.db.hybrid(Memo.meaning, Memo.words, [1, 0], "red", limit=0)
    with pytest.raises(InvalidValue, match="2 numbers"):
        await ctx.db.hybrid(Memo.meaning, Memo.words, [1, 0, 0], "red")
    with pytest.raises(InvalidFilter, match=r"memos\.words: can't be filtered by 'score'"):
        await ctx.db.hybrid(Memo.meaning, Memo.words, [1, 0], "red", filter={"score": 1})


@simulated(app)
async def test_actions_have_all_searches(sim: Simulation) -> None:
    await sim.mutation(fill, TEXTS)
    assert await sim.action(from_action) == [
        ["red"],
        ["red brick", "blue sky over a red house", "grey", "violet"],
        ["red"],
        ["red brick"],
    ]


@simulated(app)
async def test_a_function_makes_a_bounded_number_of_searches(sim: Simulation) -> None:
    async with sim.engine.reading() as tx:
        db = rf.DatabaseReader(tx)
        for _ in range(500):
            await db.nearest(Memo.meaning, [1, 0])
            await db.search(Memo.words, "red")
        with pytest.raises(LimitExceeded, match=r"limits\.searches_read = 1000"):
            await db.nearest(Memo.meaning, [1, 0])


# Pages


@simulated(app)
async def test_pages_of_a_search_are_the_search_cut_in_pieces(sim: Simulation) -> None:
    texts = ["red " * (1 + n % 4) + "word " * (n % 5) for n in range(23)] + ["blue"] * 3
    await sim.mutation(fill, texts)

    async with sim.engine.reading() as tx:
        whole = [hit.doc.text for hit in await rf.DatabaseReader(tx).search(Memo.words, "red", limit=100)]
    found: list[str] = []
    cursor, done = None, False
    while not done:
        page = await sim.query(pages, rf.PaginationOptions(num_items=5, cursor=cursor), "red")
        assert len(page.page) <= 5
        found += page.page
        cursor, done = page.continue_cursor, page.is_done
    assert found == whole
    assert len(found) == 23
    after = await sim.query(pages, rf.PaginationOptions(num_items=5, cursor=cursor), "red")
    assert (after.page, after.is_done) == ([], True)


@simulated(app)
async def test_a_live_page_of_hits_keeps_its_ends(sim: Simulation) -> None:
    await sim.mutation(fill, ["red", "red red", "red red red x", "red x y z"])
    client = Client(sim)
    first = client.add(pages, opts=rf.PaginationOptions(num_items=2), text="red")
    await client.up_to_date()
    value = client.value(first)
    second = client.add(pages, opts=rf.PaginationOptions(num_items=2, cursor=value["continueCursor"]), text="red")
    await client.up_to_date()
    assert len(value["page"]) == len(client.value(second)["page"]) == 2
    together = {*value["page"], *client.value(second)["page"]}
    assert len(together) == 4, "no hit is on both"
    await sim.mutation(fill, ["red red"])
    await client.up_to_date()
    assert client.value(first)["continueCursor"] == value["continueCursor"]


@simulated(app)
async def test_a_page_refuses_what_does_not_fit(sim: Simulation) -> None:
    await sim.mutation(fill, ["red", "red too"])
    async with sim.engine.reading() as tx:
        db = rf.DatabaseReader(tx)
        first = await db.search_page(Memo.words, "red", rf.PaginationOptions(num_items=1))
        other = rf.PaginationOptions(num_items=1, cursor=first.continue_cursor)
        with pytest.raises(InvalidCursor):
            await db.search_page(Memo.words, "blue", other)
        with pytest.raises(InvalidCursor):
            await db.search_page(Memo.words, "red", other, year=2020)
        with pytest.raises(InvalidCursor):
            await db.search_page(Memo.words, "red", rf.PaginationOptions(num_items=1, cursor="?"))
        for count in (0, 1025):
            with pytest.raises(InvalidValue, match="numItems must be 1 to 1024"):
                await db.search_page(Memo.words, "red", rf.PaginationOptions(num_items=count))
        empty = await db.search_page(Memo.words, "", rf.PaginationOptions(num_items=1))
        assert (empty.page, empty.is_done) == ([], True)


@inside(app)
async def test_pages_see_own_writes(ctx: rf.MutationCtx) -> None:
    await add(ctx, "red")
    page = await ctx.db.search_page(Memo.words, "red", rf.PaginationOptions(num_items=5))
    assert [hit.doc.text for hit in page.page] == ["red"]
