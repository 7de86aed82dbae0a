from __future__ import annotations

from typing import Any

import pytest

import reflow as rf
from reflow.errors import CallFailed
from reflow.testing import Simulation
from tests.support.client import Client
from tests.support.simulated import simulated


class Row(rf.Table, table="rows"):
    n: int
    kind: str = "a"

    by_n = rf.Index("n")
    by_kind = rf.Index("kind", "n")


rows = rf.Module("rows", rename="camel")


@rows.mutation
async def add(ctx: rf.MutationCtx, *, n: int, kind: str = "a") -> rf.Id[Row]:
    return await ctx.db.insert(Row(n=n, kind=kind))


@rows.mutation
async def add_many(ctx: rf.MutationCtx, ns: list[int]) -> None:
    await ctx.db.insert_many(Row(n=n) for n in ns)


@rows.mutation
async def remove(ctx: rf.MutationCtx, n: int) -> None:
    for row in await ctx.db.query(Row).using(Row.by_n, n=n).collect():
        await ctx.db.delete(row.id)


@rows.query
async def page(ctx: rf.QueryCtx, opts: rf.PaginationOptions, down: bool = False) -> rf.Page[int]:
    found = await ctx.db.query(Row).using(Row.by_n).order("desc" if down else "asc").paginate(opts)
    return found.with_items([row.n for row in found.page])


@rows.query
async def odd(ctx: rf.QueryCtx, opts: rf.PaginationOptions) -> rf.Page[int]:
    found = await ctx.db.query(Row).using(Row.by_n).filter(lambda row: row.n % 2 == 1).paginate(opts)
    return found.with_items([row.n for row in found.page])


@rows.query
async def by_kind(ctx: rf.QueryCtx, opts: rf.PaginationOptions, kind: str) -> rf.Page[int]:
    found = await ctx.db.query(Row).using(Row.by_kind, kind=kind).paginate(opts)
    return found.with_items([row.n for row in found.page])


@rows.query
async def two_pages(ctx: rf.QueryCtx) -> list[list[int]]:
    """Reads two pages in one function."""
    query = ctx.db.query(Row).using(Row.by_n)
    first = await query.paginate(rf.PaginationOptions(num_items=2))
    second = await query.paginate(rf.PaginationOptions(num_items=2, cursor=first.continue_cursor))
    return [[row.n for row in first.page], [row.n for row in second.page]]


app = rf.App(modules=[rows])


def opts(count: int, cursor: str | None = None, end: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"numItems": count, "cursor": cursor}
    return found if end is None else found | {"endCursor": end}


async def read_all(sim: Simulation, path: str, size: int, **args: Any) -> list[int]:
    seen: list[int] = []
    cursor = None
    while True:
        found = await sim.query(path, opts=opts(size, cursor), **args)
        seen += found.page
        cursor = found.continue_cursor
        if found.is_done:
            return seen


@simulated(app)
async def test_pages_cover_everything_once(sim: Simulation) -> None:
    await sim.mutation(add_many, [3, 1, 2, 2, 5, 4])
    for size in (1, 2, 3, 6, 7):
        assert await read_all(sim, "rows:page", size) == [1, 2, 2, 3, 4, 5]
        assert await read_all(sim, "rows:page", size, down=True) == [5, 4, 3, 2, 2, 1]
        assert await read_all(sim, "rows:odd", size) == [1, 3, 5]
        assert await read_all(sim, "rows:byKind", size, kind="none") == []


@simulated(app)
async def test_an_empty_first_page_is_done(sim: Simulation) -> None:
    found = await sim.query(page, rf.PaginationOptions(num_items=3))
    assert (found.page, found.is_done) == ([], True)
    again = await sim.query(page, rf.PaginationOptions(num_items=3, cursor=found.continue_cursor))
    assert (again.page, again.is_done) == ([], True)


@simulated(app)
async def test_an_end_cursor_goes_before_the_number_of_items(sim: Simulation) -> None:
    await sim.mutation(add_many, [10, 20, 30, 40])
    first = await sim.query(page, rf.PaginationOptions(num_items=2))
    assert first.page == [10, 20]
    await sim.mutation(add_many, [5, 15, 25])
    again = await sim.query(page, rf.PaginationOptions(num_items=2, end_cursor=first.continue_cursor))
    assert again.page == [5, 10, 15, 20]
    assert again.continue_cursor == first.continue_cursor
    rest = await sim.query(page, rf.PaginationOptions(num_items=9, cursor=first.continue_cursor))
    assert rest.page == [25, 30, 40]
    assert rest.is_done


@pytest.mark.parametrize("down", [False, True])
def test_live_pages_have_no_gap_and_no_duplicate(down: bool) -> None:
    @simulated(app)
    async def run(sim: Simulation) -> None:
        await sim.mutation(add_many, [10, 20, 30, 40, 50])
        client = Client(sim)
        first = client.add(page, opts=opts(2), down=down)
        await client.up_to_date()
        second = client.add(page, opts=opts(2, client.value(first)["continueCursor"]), down=down)
        await client.up_to_date()
        third = client.add(page, opts=opts(2, client.value(second)["continueCursor"]), down=down)
        await client.up_to_date()
        cursors = [client.value(query)["continueCursor"] for query in (first, second, third)]
        for change in ([5, 15], [25, 35, 45, 55], [20, 21]):
            await sim.mutation(add_many, change)
            await client.up_to_date()
        for n in (10, 30, 50, 20):
            await sim.mutation(remove, n)
            await client.up_to_date()
        pages = [client.value(query) for query in (first, second, third)]
        shown = [n for found in pages for n in found["page"]]
        assert shown == sorted([5, 15, 25, 35, 40, 45, 55, 21], reverse=down)
        assert [found["continueCursor"] for found in pages] == cursors, "ends stay where they were"

    run()


@simulated(app)
async def test_a_newcomer_gets_a_page_of_its_own(sim: Simulation) -> None:
    await sim.mutation(add_many, [10, 20, 30])
    first, late = Client(sim), Client(sim)
    query = first.add(page, opts=opts(2), down=False)
    await first.up_to_date()
    await sim.mutation(add_many, [1, 2, 3])
    await first.up_to_date()
    assert first.value(query)["page"] == [1, 2, 3, 10, 20]
    other = late.add(page, opts=opts(2), down=False)
    await late.up_to_date()
    assert late.value(other)["page"] == [1, 2]
    assert (await sim.query(page, rf.PaginationOptions(num_items=2))).page == [1, 2]


@simulated(app)
async def test_a_page_that_a_call_has_read_is_pinned_for_its_followers_only(sim: Simulation) -> None:
    await sim.mutation(add_many, [10, 20, 30])
    assert (await sim.query(page, rf.PaginationOptions(num_items=2))).page == [10, 20]
    first, late = Client(sim), Client(sim)
    query = first.add(page, opts=opts(2))  # from the cache
    await first.up_to_date()
    await sim.mutation(add, n=1)
    await first.up_to_date()
    assert first.value(query)["page"] == [1, 10, 20]
    other = late.add(page, opts=opts(2))
    await late.up_to_date()
    assert late.value(other)["page"] == [1, 10]


@simulated(app)
async def test_a_journal_gives_the_same_page_after_a_reconnect(sim: Simulation) -> None:
    await sim.mutation(add_many, [10, 20, 30])
    before = Client(sim)
    query = before.add(page, opts=opts(2))
    await before.up_to_date()
    journal = before.results[query].journal
    assert journal is not None
    before.close()
    await sim.mutation(add_many, [1, 2, 3])
    after = Client(sim)
    again = after.add(page, journal, opts=opts(2))
    odd_one = after.add(odd, journal, opts=opts(1))  # another query's journal counts for nothing
    nonsense = after.add(page, "nonsense", opts=opts(1))
    await after.up_to_date()
    assert after.value(again)["page"] == [1, 2, 3, 10, 20]
    assert after.value(odd_one)["page"] == [1]
    assert after.value(nonsense)["page"] == [1]


@simulated(app)
async def test_several_pages_of_one_function_keep_their_ends(sim: Simulation) -> None:
    await sim.mutation(add_many, [10, 20, 30, 40, 50])
    client = Client(sim)
    query = client.add(two_pages)
    await client.up_to_date()
    assert client.value(query) == [[10, 20], [30, 40]]
    await sim.mutation(add_many, [15, 35, 45])
    await client.up_to_date()
    assert client.value(query) == [[10, 15, 20], [30, 35, 40]]


@simulated(app)
async def test_cursors_of_other_queries_and_damaged_ones_are_refused(sim: Simulation) -> None:
    await sim.mutation(add_many, [1, 2, 3])
    cursor = (await sim.query(page, rf.PaginationOptions(num_items=1))).continue_cursor
    damaged = ("x" + cursor[1:], cursor[:5], "!", "", "é", cursor[:-1] + "=")
    for path, args in [
        ("rows:odd", {"opts": opts(1, cursor)}),
        ("rows:page", {"opts": opts(1, cursor), "down": True}),
        ("rows:byKind", {"opts": opts(1, cursor), "kind": "a"}),
        *(("rows:page", {"opts": opts(1, bad)}) for bad in damaged[:5]),
        ("rows:page", {"opts": opts(1, None, "nonsense")}),
    ]:
        function = sim.engine.functions[path]
        failure = (await sim.engine.query(function, function.arguments.encode((), args))).failure
        assert failure is not None, (path, args)
        assert failure.code == "InvalidCursor"
        assert failure.data == b'{"isConvexSystemError":true,"paginationError":"InvalidCursor"}'
        assert "InvalidCursor" in failure.message


@simulated(app)
async def test_the_number_of_items_has_bounds(sim: Simulation) -> None:
    for count in (0, -1, 32_001):
        with pytest.raises(CallFailed, match=r"numItems must be 1 to 32000 \(limits.page_items\)"):
            await sim.query(page, rf.PaginationOptions(num_items=count))
