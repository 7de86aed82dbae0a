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


# Splits


@simulated(app)
async def test_a_page_can_be_split_in_two(sim: Simulation) -> None:
    await sim.mutation(add_many, [1, 2, 3, 4, 5])
    found = await sim.query(page, rf.PaginationOptions(num_items=5))
    assert found.page_status is None
    assert found.split_cursor is not None
    halves = [
        await sim.query(page, rf.PaginationOptions(num_items=1, end_cursor=found.split_cursor)),
        await sim.query(
            page,
            rf.PaginationOptions(num_items=1, cursor=found.split_cursor, end_cursor=found.continue_cursor),
        ),
    ]
    assert [half.page for half in halves] == [[1, 2, 3], [4, 5]]
    assert halves[1].continue_cursor == found.continue_cursor
    for count in (0, 1):  # nothing to split
        narrow = await sim.query(
            page, rf.PaginationOptions(num_items=1, cursor=found.continue_cursor if not count else None)
        )
        assert len(narrow.page) == count
        assert narrow.split_cursor is None


@pytest.mark.parametrize("bound", [{"maximumRowsRead": 8}, {"maximumBytesRead": 900}])
def test_a_page_says_how_far_it_went(bound: dict[str, int]) -> None:
    @simulated(app)
    async def run(sim: Simulation) -> None:
        await sim.mutation(add_many, list(range(30)))
        asked = opts(3) | bound
        small = await sim.query("rows:page", opts=asked)
        assert (small.page, small.page_status) == ([0, 1, 2], None)
        large = await sim.query("rows:page", opts=opts(30) | bound)
        assert 6 <= len(large.page) < 30  # it ends where it may read no more, and is whole
        assert large.page_status == "SplitRecommended"
        assert not large.is_done
        rest = await sim.query("rows:page", opts=opts(30, large.continue_cursor) | bound)
        assert rest.page[0] == large.page[-1] + 1
        # A page with a known end is not whole: its client must split it.
        everything = await sim.query("rows:page", opts=opts(30))
        cut = await sim.query("rows:page", opts=opts(3, None, everything.continue_cursor) | bound)
        assert cut.page_status == "SplitRequired"
        assert cut.continue_cursor == everything.continue_cursor
        assert cut.page == large.page
        # Filtered documents count as well, which may leave a page without any.
        odd_ones = await sim.query("rows:odd", opts=opts(30) | bound)
        assert odd_ones.page == [n for n in large.page if n % 2 == 1]
        assert odd_ones.continue_cursor

    run()


@simulated(app)
async def test_a_page_of_one_row_that_is_over_its_bound_goes_on(sim: Simulation) -> None:
    """However small the bound, each split brings its client one document further."""
    await sim.mutation(add_many, [1, 2, 3])
    end = (await sim.query("rows:page", opts=opts(3))).continue_cursor
    for bound in ({"maximumRowsRead": 1}, {"maximumBytesRead": 1}):
        cut = await sim.query("rows:page", opts=opts(3, None, end) | bound)
        assert (cut.page, cut.page_status) == ([1], "SplitRequired")
        first = await sim.query("rows:page", opts=opts(3, None, cut.split_cursor) | bound)
        assert (first.page, first.page_status, first.split_cursor) == ([1], None, None)
        second = await sim.query("rows:page", opts=opts(3, cut.split_cursor, end) | bound)
        assert (second.page, second.page_status) == ([2], "SplitRequired")


@simulated(app)
async def test_the_bounds_of_a_page_are_checked(sim: Simulation) -> None:
    for name in ("maximumRowsRead", "maximumBytesRead"):
        for bad in (0, -1):
            with pytest.raises(CallFailed, match=f"{name} must be at least 1"):
                await sim.query("rows:page", opts=opts(3) | {name: bad})


@simulated(rf.App(modules=[rows], limits=rf.Limits(page_split_items=10)))
async def test_a_page_of_many_items_is_better_split(sim: Simulation) -> None:
    await sim.mutation(add_many, list(range(11)))
    assert (await sim.query("rows:page", opts=opts(10))).page_status is None
    assert (await sim.query("rows:page", opts=opts(11))).page_status == "SplitRecommended"


@simulated(rf.App(modules=[rows], limits=rf.Limits(result_bytes=4000)))
async def test_a_page_that_would_be_too_large_a_result_ends_earlier(sim: Simulation) -> None:
    """Otherwise it would be an error for ever, and the list behind it out of reach."""
    await sim.mutation(add_many, list(range(200)))
    assert await read_all(sim, "rows:page", 200) == list(range(200))


@simulated(app)
async def test_a_cut_page_follows_what_makes_it_whole(sim: Simulation) -> None:
    await sim.mutation(add_many, list(range(8)))
    end = (await sim.query("rows:page", opts=opts(8))).continue_cursor
    client = Client(sim)
    query = client.add(page, opts=opts(8, None, end) | {"maximumRowsRead": 6})
    await client.up_to_date()
    assert client.value(query)["pageStatus"] == "SplitRequired"
    await sim.mutation(remove, 7)
    await client.up_to_date()
    assert client.value(query)["pageStatus"] == "SplitRequired"
    await sim.mutation(remove, 6)  # the first that it did not read
    await client.up_to_date()
    assert client.value(query)["pageStatus"] == "SplitRecommended"
    assert client.value(query)["page"] == [0, 1, 2, 3, 4, 5]


@simulated(rf.App(modules=[rows], limits=rf.Limits(documents_read=16)))
async def test_pages_of_one_function_leave_each_other_something(sim: Simulation) -> None:
    await sim.mutation(add_many, list(range(10)))
    client = Client(sim)
    query = client.add(two_pages)
    await client.up_to_date()
    assert client.value(query) == [[0, 1], [2, 3]]
    for _ in range(10):
        await sim.mutation(add_many, [0] * 10)  # into the first page, more than it may read
    await client.up_to_date()
    first, second = client.value(query)
    assert len(first) == 12  # three quarters of what the function may read
    assert len(second) > 0


@rows.query
async def failing(ctx: rf.QueryCtx) -> list[list[int]]:
    """Fails between its pages as long as there is a row of kind x."""
    query = ctx.db.query(Row).using(Row.by_n)
    first = await query.paginate(rf.PaginationOptions(num_items=2))
    if await ctx.db.query(Row).using(Row.by_kind, kind="x").first() is not None:
        raise rf.ApplicationError("between")
    second = await query.paginate(rf.PaginationOptions(num_items=2, cursor=first.continue_cursor))
    return [[row.n for row in found.page] for found in (first, second)]


@simulated(rf.App(modules=[rows]))
async def test_pages_keep_their_ends_through_a_failure(sim: Simulation) -> None:
    await sim.mutation(add_many, [10, 20, 30, 40])
    client = Client(sim)
    query = client.add(failing)
    await client.up_to_date()
    await sim.mutation(add, n=99, kind="x")
    await client.up_to_date()
    assert client.failure(query).code == "ApplicationError"
    await sim.mutation(add_many, [15, 35])
    await sim.mutation(remove, 99)
    await client.up_to_date()
    assert client.value(query) == [[10, 15, 20], [30, 35, 40]]
