"""A growing list for the tests of pages. `python -m tests.support.lists_app DATA` serves it."""

from __future__ import annotations

import sys
from typing import Any

import reflow as rf
from reflow.server.serve import serve


class Entry(rf.Table, table="entries"):
    n: int
    text: str = ""

    by_n = rf.Index("n")
    words = rf.TextIndex("text")


class Version(rf.Table, table="versions"):
    number: int


lists = rf.Module("lists", rename="camel")


def text_of(n: int) -> str:
    """What a document says: its score follows its number."""
    return "word " * (n % 3 + 1)


@lists.mutation
async def insert(ctx: rf.MutationCtx, ns: list[int]) -> None:
    await ctx.db.insert_many(Entry(n=n, text=text_of(n)) for n in ns)


@lists.mutation
async def move(ctx: rf.MutationCtx, place: int, n: int) -> None:
    """Gives some document another place in the list."""
    found = await ctx.db.query(Entry).collect()
    if found:
        await ctx.db.patch(found[place % len(found)].id, n=n, text=text_of(n))


@lists.mutation
async def remove(ctx: rf.MutationCtx, place: int, count: int) -> None:
    found = await ctx.db.query(Entry).collect()
    for document in found[place % len(found) :][:count] if found else []:
        await ctx.db.delete(document.id)


@lists.mutation
async def change(ctx: rf.MutationCtx, ns: list[int], place: int, gone: int, moved: int | None) -> list[Any]:
    """Does all three, and gives the state of the list a number: [number, ids in order]."""
    await insert.handler(ctx, ns)
    await remove.handler(ctx, place, gone)
    if moved is not None:
        await move.handler(ctx, place, moved)
    version = await ctx.db.query(Version).first()
    number = 1 if version is None else version.number + 1
    if version is None:
        await ctx.db.insert(Version(number=number))
    else:
        await ctx.db.patch(version.id, number=number)
    return [number, [entry.id for entry in await ctx.db.query(Entry).using(Entry.by_n).collect()]]


@lists.query
async def version(ctx: rf.QueryCtx) -> int:
    found = await ctx.db.query(Version).first()
    return 0 if found is None else found.number


@lists.query
async def page(ctx: rf.QueryCtx, paginationOpts: rf.PaginationOptions, hook: int) -> rf.Page[str]:
    """`hook` keeps the two hooks of one window apart.

    Both number their lists from 1, so the npm client would share pages between them. A page that one gives up and the
    other takes up at once shows its former result until the server has answered, and may end elsewhere then.
    """
    found = await ctx.db.query(Entry).using(Entry.by_n).paginate(paginationOpts)
    return found.with_items([entry.id for entry in found.page])


@lists.query
async def up(ctx: rf.QueryCtx, opts: rf.PaginationOptions) -> rf.Page[Any]:
    return _told(await ctx.db.query(Entry).using(Entry.by_n).paginate(opts))


@lists.query
async def down(ctx: rf.QueryCtx, opts: rf.PaginationOptions) -> rf.Page[Any]:
    return _told(await ctx.db.query(Entry).order("desc").paginate(opts))


@lists.query
async def odd(ctx: rf.QueryCtx, opts: rf.PaginationOptions) -> rf.Page[Any]:
    return _told(await ctx.db.query(Entry).using(Entry.by_n).filter(lambda entry: entry.n % 2 == 1).paginate(opts))


@lists.query
async def searched(ctx: rf.QueryCtx, opts: rf.PaginationOptions) -> rf.Page[Any]:
    found = await ctx.db.search_page(Entry.words, "word", opts)
    return found.with_items([[hit.doc.id, hit.doc.n] for hit in found.page])


def _told(found: rf.Page[Entry]) -> rf.Page[Any]:
    return found.with_items([[entry.id, entry.n] for entry in found.page])


app = rf.App(modules=[lists])


def main() -> None:
    """Serve on a free port and print the address."""
    serve(app, port=0, data=sys.argv[1], on_ready=lambda server: print(server.url, flush=True))


if __name__ == "__main__":
    main()
