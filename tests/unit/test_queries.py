from __future__ import annotations

import random
from typing import Any

import pytest

import reflow as rf
from reflow.errors import DefinitionError, NotUnique
from tests.support.simulated import inside


class Song(rf.Table, table="songs"):
    artist: str
    year: int
    title: str = ""
    rating: float | None = rf.missing()
    label: str | None = None

    by_artist = rf.Index("artist", "year", "title")
    by_rating = rf.Index("rating")
    by_label = rf.Index("label")


class Other(rf.Table, table="others"):
    x: int

    by_x = rf.Index("x")


things = rf.collection("things", by_value=rf.Index("value"), by_deep=rf.Index("a.b", "value"))

app = rf.App(modules=[], tables=[Song, Other, things])

Query = Any


async def fill(ctx: rf.MutationCtx) -> None:
    rows = [("b", 2, "x"), ("a", 3, "x"), ("a", 1, "y"), ("a", 1, "x"), ("b", 1, "x"), ("a", 2, "x")]
    await ctx.db.insert_many(Song(artist=artist, year=year, title=title) for artist, year, title in rows)


def brief(songs: list[Song]) -> list[str]:
    return [f"{song.artist}{song.year}{song.title}" for song in songs]


@inside(app)
async def test_without_an_index_documents_come_in_order_of_creation(ctx: rf.MutationCtx) -> None:
    await fill(ctx)
    assert brief(await ctx.db.query(Song).collect()) == ["b2x", "a3x", "a1y", "a1x", "b1x", "a2x"]
    assert brief(await ctx.db.query(Song).order("desc").take(2)) == ["a2x", "b1x"]
    assert brief(await ctx.db.query(Song).order("desc").order("asc").take(1)) == ["b2x"]


@inside(app)
async def test_an_index_sorts_by_its_fields_then_by_creation(ctx: rf.MutationCtx) -> None:
    await fill(ctx)
    query = ctx.db.query(Song).using(Song.by_artist)
    ordered = ["a1x", "a1y", "a2x", "a3x", "b1x", "b2x"]
    assert brief(await query.collect()) == ordered
    assert brief(await query.order("desc").collect()) == ordered[::-1]
    same = [await ctx.db.insert(Song(artist="c", year=1)) for _ in range(3)]
    assert [song.id for song in await ctx.db.query(Song).using(Song.by_artist, artist="c").collect()] == same
    assert [s.id for s in await ctx.db.query(Song).using(Song.by_artist, artist="c").order("desc").collect()] == same[
        ::-1
    ]


@inside(app)
async def test_ranges_lie_behind_the_equal_fields(ctx: rf.MutationCtx) -> None:
    await fill(ctx)

    def query(**equal: Any) -> Query:
        return ctx.db.query(Song).using(Song.by_artist, **equal)

    assert brief(await query(artist="a").collect()) == ["a1x", "a1y", "a2x", "a3x"]
    assert brief(await query(artist="a", year=1).collect()) == ["a1x", "a1y"]
    assert brief(await query(artist="a", year=1, title="y").collect()) == ["a1y"]
    assert brief(await query(artist="a").gt(1).collect()) == ["a2x", "a3x"]
    assert brief(await query(artist="a").gte(2).lt(3).collect()) == ["a2x"]
    assert brief(await query(artist="a").gt(1).lte(3).order("desc").collect()) == ["a3x", "a2x"]
    assert brief(await query(artist="a").lte(1.5).collect()) == ["a1x", "a1y"]
    assert brief(await query(artist="a", year=1).gt("x").collect()) == ["a1y"]
    assert brief(await query().gt("a").collect()) == ["b1x", "b2x"]
    assert brief(await query(artist="a").gt(3).lt(1).collect()) == []
    assert brief(await query(artist="none").collect()) == []


@inside(app)
async def test_ends_of_reading(ctx: rf.MutationCtx) -> None:
    await fill(ctx)
    a = ctx.db.query(Song).using(Song.by_artist, artist="a")
    first = await a.first()
    assert first is not None
    assert brief([first]) == ["a1x"]
    assert await ctx.db.query(Song).using(Song.by_artist, artist="none").first() is None
    assert brief(await a.take(2)) == ["a1x", "a1y"]
    assert await a.take(0) == []
    assert await a.count() == 4
    assert await a.filter(lambda song: song.title == "x").count() == 3
    only = await ctx.db.query(Song).using(Song.by_artist, artist="a", year=3).unique()
    assert only is not None
    assert only.year == 3
    assert await ctx.db.query(Song).using(Song.by_artist, artist="a", year=9).unique() is None
    with pytest.raises(NotUnique):
        await a.unique()
    assert brief([song async for song in a]) == ["a1x", "a1y", "a2x", "a3x"]
    assert [song.year async for song in a.filter(lambda song: song.year > 1)] == [2, 3]


@inside(app)
async def test_filters_add_up_and_do_not_limit_what_is_read(ctx: rf.MutationCtx) -> None:
    await fill(ctx)
    query = ctx.db.query(Song).filter(lambda song: song.artist == "a").filter(lambda song: song.title == "x")
    assert brief(await query.collect()) == ["a3x", "a1x", "a2x"]
    assert brief(await query.take(2)) == ["a3x", "a1x"]
    first = await query.order("desc").first()
    assert first is not None
    assert brief([first]) == ["a2x"]


@inside(app)
async def test_a_query_is_not_changed_by_its_steps(ctx: rf.MutationCtx) -> None:
    await fill(ctx)
    base = ctx.db.query(Song).using(Song.by_artist, artist="a")
    assert await base.gt(1).count() == 2
    assert await base.count() == 4


@inside(app)
async def test_absent_sorts_before_null_and_null_before_values(ctx: rf.MutationCtx) -> None:
    values: list[float | None] = [2.5, None, -1.0, 0.0]
    for rating in values:
        await ctx.db.insert(Song(artist="a", year=1, rating=rating, label=None if rating else "l"))
    ratings = [song.rating for song in await ctx.db.query(Song).using(Song.by_rating).collect()]
    assert ratings == [None, -1.0, 0.0, 2.5]
    assert await ctx.db.query(Song).using(Song.by_rating, rating=None).count() == 1
    assert await ctx.db.query(Song).using(Song.by_rating).gt(None).count() == 3
    assert await ctx.db.query(Song).using(Song.by_label, label=None).count() == 2


ORDERED: list[Any] = [
    *(None, rf.Int64(-(1 << 60)), rf.Int64(3), -float("inf"), -2, -1.5, 0, 0.5, 1, 2, 1e300, float("inf")),
    *(False, True, "", "a", "a\x00", "ab", "b", "é", "日", b"", b"\x00", b"a"),
    *([], [None], [1], [1, 2], [2], ["a"], {}, {"a": 1}, {"a": 1, "b": 0}, {"a": 2}, {"b": 0}),
]
SHUFFLED = random.Random(4).sample(ORDERED, len(ORDERED))


@inside(app)
async def test_values_of_all_types_sort_as_in_convex(ctx: rf.MutationCtx) -> None:
    ordered = ORDERED
    for value in SHUFFLED:
        await ctx.db.insert(things, {"value": value})
    absent = await ctx.db.insert(things, {})
    found = [row.get("value", "absent") for row in await ctx.db.query(things).using(things.by_value).collect()]
    assert found == ["absent", *ordered]
    down = [
        row.get("value", "absent") for row in await ctx.db.query(things).using(things.by_value).order("desc").collect()
    ]
    assert down == found[::-1]
    for place, value in enumerate(ordered):
        assert [row["value"] for row in await ctx.db.query(things).using(things.by_value, value=value).collect()] == [
            value
        ]
        above = ctx.db.query(things).using(things.by_value).gt(value)
        assert await above.count() == len(ordered) - place - 1
        assert (await ctx.db.query(things).using(things.by_value).lte(value).collect())[-1]["value"] == value
    assert await ctx.db.query(things).using(things.by_value, value=rf.UNSET).unique() == await ctx.db.get(absent)


@inside(app)
async def test_an_index_reaches_into_objects(ctx: rf.MutationCtx) -> None:
    for b in (2, 1, None):
        await ctx.db.insert(things, {"a": {"b": b}, "value": 1})
    await ctx.db.insert(things, {"a": 5})
    rows = await ctx.db.query(things).using(things.by_deep).collect()
    assert [row["a"] for row in rows] == [5, {"b": None}, {"b": 1}, {"b": 2}]
    assert await ctx.db.query(things).using(things.by_deep, **{"a.b": 2, "value": 1}).count() == 1


@inside(app)
async def test_wrong_queries_say_so(ctx: rf.MutationCtx) -> None:
    songs = ctx.db.query(Song)
    with pytest.raises(DefinitionError, match=r"others.by_x is no range index of table 'songs'"):
        songs.using(Other.by_x)
    with pytest.raises(DefinitionError, match=r"can be narrowed by a prefix of"):
        songs.using(Song.by_artist, year=1)
    with pytest.raises(DefinitionError, match=r"can be narrowed by a prefix of"):
        songs.using(Song.by_artist, artist="a", label="x")
    with pytest.raises(DefinitionError, match=r"using\(index, ...\) comes first"):
        songs.gt(1)
    with pytest.raises(DefinitionError, match=r"comes first"):
        songs.using(Song.by_label, label="x").gt(1)
    with pytest.raises(DefinitionError, match=r"lower end of this range is set already"):
        songs.using(Song.by_artist).gt("a").gte("b")
    with pytest.raises(DefinitionError, match=r"order takes"):
        songs.order("up")  # type: ignore[arg-type]
    with pytest.raises(DefinitionError, match=r"neither a table class nor a collection"):
        ctx.db.query(int)  # type: ignore[call-overload]
    with pytest.raises(DefinitionError, match=r"insert takes a document"):
        await ctx.db.insert({"x": 1})  # type: ignore[call-overload]
