"""An application with every kind of live query, over documents that change at random."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

import reflow as rf


class Note(rf.Table, table="notes"):
    tag: int
    rank: int
    text: str = ""

    by_tag = rf.Index("tag", "rank")
    words = rf.TextIndex("text", filters=("tag",))
    meaning = rf.VectorIndex(dims=2, filters=("tag",))
    place = rf.VectorIndex(dims=2, metric="euclidean", filters=("tag", "rank", "len(text)"))
    pull = rf.VectorIndex(dims=2, metric="dotproduct", filters=("rank",))


notes = rf.Module("notes")


async def nth(ctx: rf.MutationCtx, n: int) -> Note | None:
    found = await ctx.db.query(Note).collect()
    return found[n % len(found)] if found else None


@notes.mutation
async def write(ctx: rf.MutationCtx, tag: int, rank: int, text: str, vector: list[float] | None) -> None:
    vectors = None if vector is None else {Note.meaning: vector, Note.place: vector, Note.pull: vector}
    await ctx.db.insert(Note(tag=tag, rank=rank, text=text), vectors=vectors)


@notes.mutation
async def edit(ctx: rf.MutationCtx, n: int, tag: int, rank: int) -> None:
    note = await nth(ctx, n)
    if note is not None:
        await ctx.db.patch(note.id, tag=tag, rank=rank)


@notes.mutation
async def retell(ctx: rf.MutationCtx, n: int, text: str, vector: list[float] | None) -> None:
    note = await nth(ctx, n)
    if note is not None:
        await ctx.db.patch(note.id, text=text)
        for index in (Note.meaning, Note.place, Note.pull):
            if vector is None:
                await ctx.db.delete_vector(index, note.id)
            else:
                await ctx.db.set_vector(index, note.id, vector)


@notes.mutation
async def erase(ctx: rf.MutationCtx, n: int) -> None:
    note = await nth(ctx, n)
    if note is not None:
        await ctx.db.delete(note.id)


@notes.query
async def by_id(ctx: rf.QueryCtx, id: str) -> Note | None:
    return await ctx.db.get(rf.Id[Note](id))


@notes.query
async def above(ctx: rf.QueryCtx, tag: int, rank: int) -> list[Note]:
    return await ctx.db.query(Note).using(Note.by_tag, tag=tag).gt(rank).order("desc").collect()


@notes.query
async def top(ctx: rf.QueryCtx, tag: int) -> list[Note]:
    return await ctx.db.query(Note).using(Note.by_tag, tag=tag).take(2)


@notes.query
async def even(ctx: rf.QueryCtx) -> list[Note]:
    return await ctx.db.query(Note).filter(lambda note: note.rank % 2 == 0).take(2)


@notes.query
async def count(ctx: rf.QueryCtx, tag: int) -> int:
    return await ctx.db.query(Note).using(Note.by_tag).gte(tag).count()


@notes.query
async def nearest(ctx: rf.QueryCtx, tags: list[int]) -> list[Any]:
    filters: dict[str, Any] = {"tag": tags} if tags else {}
    hits = await ctx.db.nearest(Note.meaning, [1.0, 0.5], limit=2, **filters)
    return [[hit.doc, hit.score] for hit in hits]


FILTERS: list[dict[str, Any] | None] = [
    None,
    {"rank": {"$gte": 2}},
    {"len(text)": {"$gt": 3}, "tag": {"$ne": 1}},
    {"$or": [{"rank": 0}, {"tag": 1}]},
]


@notes.query
async def around(ctx: rf.QueryCtx, filter: int, limit: int) -> list[Any]:
    hits = await ctx.db.nearest(Note.place, [0.5, 0.5], limit=limit, filter=FILTERS[filter])
    return [[hit.doc.id, hit.score] for hit in hits]


@notes.query
async def pulled(ctx: rf.QueryCtx, x: float, rank: int, limit: int) -> list[Any]:
    hits = await ctx.db.nearest(Note.pull, [x, -0.5], limit=limit, filter={"rank": {"$lte": rank}})
    return [[hit.doc.id, hit.score] for hit in hits]


@notes.query
async def both(ctx: rf.QueryCtx, text: str, filter: int, long: int) -> list[Any]:
    """Two searches of vectors and one of words in one result."""
    hits = await ctx.db.hybrid(
        Note.place, Note.words, [1.0, 0.0], text, limit=2, min_length=long, method="rrf" if filter else "minmax"
    )
    first = await ctx.db.nearest(Note.meaning, [1.0, 0.0], limit=1)
    return [[[hit.doc, round(hit.score, 9), hit.dense.rank, hit.text.rank] for hit in hits], [hit.doc for hit in first]]


@notes.query
async def found(ctx: rf.QueryCtx, opts: rf.PaginationOptions, tag: int | None) -> rf.Page[str]:
    """One page of hits."""
    filter = None if tag is None else {"tag": tag}
    page = await ctx.db.search_page(Note.words, "red gre", opts, filter=filter)
    return page.with_items([hit.doc.id for hit in page.page])


@notes.query
async def search(ctx: rf.QueryCtx, tag: int | None) -> list[Any]:
    filters: dict[str, Any] = {} if tag is None else {"tag": tag}
    hits = await ctx.db.search(Note.words, "red gre", limit=2, **filters)
    return [[hit.doc, round(hit.score, 9)] for hit in hits]


@notes.query
async def page(ctx: rf.QueryCtx, opts: rf.PaginationOptions, down: bool) -> rf.Page[Note]:
    return await ctx.db.query(Note).using(Note.by_tag).order("desc" if down else "asc").paginate(opts)


@notes.query
async def mine(ctx: rf.QueryCtx) -> list[Any]:
    """A result of its own for each caller."""
    me = ctx.auth.identity()
    return [me and me.subject, await ctx.db.query(Note).count()]


# Exactly as a fresh run: also where only the corpus around the hits has changed.
app = rf.App(modules=[notes], limits=rf.Limits(text_drift=0.0))

PRESENT_ONLY = (search, both, found)
"""Texts are searched at the present only."""

PAGED = (page, found)

_VECTORS = st.none() | st.sampled_from([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0], [-1.0, 0.5], [2.0, 1.0]])
_TAGS = st.integers(0, 1)
_RANKS = st.integers(0, 3)
_TEXTS = st.lists(st.sampled_from(["red", "green", "grey", "blue"]), max_size=3).map(" ".join)
_ANY = st.integers(0, 9)

WRITES = st.one_of(
    st.tuples(
        st.just("write"), st.fixed_dictionaries({"tag": _TAGS, "rank": _RANKS, "text": _TEXTS, "vector": _VECTORS})
    ),
    st.tuples(st.just("edit"), st.fixed_dictionaries({"n": _ANY, "tag": _TAGS, "rank": _RANKS})),
    st.tuples(st.just("retell"), st.fixed_dictionaries({"n": _ANY, "text": _TEXTS, "vector": _VECTORS})),
    st.tuples(st.just("erase"), st.fixed_dictionaries({"n": _ANY})),
)

VECTOR_SEARCHES = st.one_of(
    st.tuples(st.just(nearest), st.fixed_dictionaries({"tags": st.sampled_from([[], [0], [0, 1]])})),
    st.tuples(st.just(around), st.fixed_dictionaries({"filter": st.integers(0, 3), "limit": st.integers(1, 4)})),
    st.tuples(
        st.just(pulled),
        st.fixed_dictionaries(
            {"x": st.sampled_from([1.0, -0.5]), "rank": st.integers(0, 3), "limit": st.integers(1, 3)}
        ),
    ),
)

SEARCHES = st.one_of(
    VECTOR_SEARCHES,
    st.tuples(
        st.just(both),
        st.fixed_dictionaries(
            {"text": st.sampled_from(["red", "green bl"]), "filter": st.integers(0, 1), "long": st.sampled_from([0, 4])}
        ),
    ),
    st.tuples(
        st.just(found),
        st.fixed_dictionaries({"opts": st.just({"numItems": 2, "cursor": None}), "tag": st.none() | _TAGS}),
    ),
    st.tuples(st.just(search), st.fixed_dictionaries({"tag": st.none() | _TAGS})),
)

QUERIES = st.one_of(
    st.tuples(st.just(above), st.fixed_dictionaries({"tag": _TAGS, "rank": _RANKS})),
    st.tuples(st.just(top), st.fixed_dictionaries({"tag": _TAGS})),
    st.tuples(st.just(even), st.just({})),
    st.tuples(st.just(count), st.fixed_dictionaries({"tag": _TAGS})),
    SEARCHES,
    st.tuples(
        st.just(page),
        st.fixed_dictionaries({"opts": st.just({"numItems": 2, "cursor": None}), "down": st.booleans()}),
    ),
    st.tuples(st.just(mine), st.just({})),
)
