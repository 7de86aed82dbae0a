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


notes = rf.Module("notes")


async def nth(ctx: rf.MutationCtx, n: int) -> Note | None:
    found = await ctx.db.query(Note).collect()
    return found[n % len(found)] if found else None


@notes.mutation
async def write(ctx: rf.MutationCtx, tag: int, rank: int, text: str, vector: list[float] | None) -> None:
    vectors = None if vector is None else {Note.meaning: vector}
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
        if vector is None:
            await ctx.db.delete_vector(Note.meaning, note.id)
        else:
            await ctx.db.set_vector(Note.meaning, note.id, vector)


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


app = rf.App(modules=[notes])

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

QUERIES = st.one_of(
    st.tuples(st.just(above), st.fixed_dictionaries({"tag": _TAGS, "rank": _RANKS})),
    st.tuples(st.just(top), st.fixed_dictionaries({"tag": _TAGS})),
    st.tuples(st.just(even), st.just({})),
    st.tuples(st.just(count), st.fixed_dictionaries({"tag": _TAGS})),
    st.tuples(st.just(nearest), st.fixed_dictionaries({"tags": st.sampled_from([[], [0], [0, 1]])})),
    st.tuples(st.just(search), st.fixed_dictionaries({"tag": st.none() | _TAGS})),
    st.tuples(
        st.just(page),
        st.fixed_dictionaries({"opts": st.just({"numItems": 2, "cursor": None}), "down": st.booleans()}),
    ),
    st.tuples(st.just(mine), st.just({})),
)
