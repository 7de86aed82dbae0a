from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import reflow as rf
from reflow.errors import (
    CallFailed,
    ContextFinished,
    DefinitionError,
    DocumentNotFound,
    InvalidId,
    InvalidValue,
    LimitExceeded,
)
from reflow.testing import Simulation
from tests.support.simulated import inside, simulated


class Card(rf.Table, table="cards"):
    color: str
    rank: int = 0
    text: str = ""
    note: str | None = rf.missing()

    by_color = rf.Index("color", "rank")
    words = rf.TextIndex("text", filters=("color",))
    meaning = rf.VectorIndex(dims=2, filters=("color",))


class Other(rf.Table, table="others"):
    x: int = 0


cards = rf.Module("cards")


@cards.mutation
async def add(ctx: rf.MutationCtx, color: str, rank: int = 0) -> rf.Id[Card]:
    return await ctx.db.insert(Card(color=color, rank=rank, text=color), vectors={Card.meaning: [1, rank]})


@cards.mutation
async def add_and_fail(ctx: rf.MutationCtx, color: str) -> None:
    await ctx.db.insert(Card(color=color))
    raise ValueError("after writing")


@cards.query
async def colors(ctx: rf.QueryCtx) -> list[str]:
    return [card.color for card in await ctx.db.query(Card).collect()]


@cards.query
async def keep(ctx: rf.QueryCtx) -> None:
    KEPT.append(ctx)


@cards.mutation
async def keep_writer(ctx: rf.MutationCtx) -> None:
    KEPT.append(ctx)
    KEPT.append(await ctx.db.insert(Card(color="kept")))


@cards.query
async def write_in_query(ctx: rf.QueryCtx) -> None:
    writer: Any = rf.DatabaseWriter(ctx.db._tx)  # pyright: ignore[reportPrivateUsage]
    await writer.insert(Card(color="never"))


@cards.action
async def an_action(ctx: rf.ActionCtx) -> None: ...


@cards.mutation
async def deep(ctx: rf.MutationCtx, n: int) -> int:
    return n if n == 0 else await ctx.run_mutation(deep, n - 1)


KEPT: list[Any] = []

app = rf.App(modules=[cards], tables=[Other], environment={"COLOR": "red"})


async def listed(ctx: rf.MutationCtx, color: str) -> list[int]:
    return [card.rank for card in await ctx.db.query(Card).using(Card.by_color, color=color).collect()]


@inside(app)
async def test_get_finds_what_was_inserted_changed_and_deleted(ctx: rf.MutationCtx) -> None:
    one, two = await ctx.db.insert_many([Card(color="red"), Card(color="blue", rank=2)])
    found = await ctx.db.get(one)
    assert found is not None
    assert (found.id, found.color, found.rank) == (one, "red", 0)
    await ctx.db.patch(one, rank=5, note="n")
    await ctx.db.replace(two, Card(color="green"))
    first, nothing, second = await ctx.db.get_many([one, rf.Id(_absent(one)), two])
    assert first is not None
    assert second is not None
    assert (first.rank, first.note, nothing, second.color, second.id) == (5, "n", None, "green", two)
    await ctx.db.delete(one)
    assert await ctx.db.get(one) is None
    with pytest.raises(DocumentNotFound, match=f"can't patch document '{one}' of table 'cards'"):
        await ctx.db.patch(one, rank=1)
    with pytest.raises(DocumentNotFound, match=r"can't replace"):
        await ctx.db.replace(one, Card(color="x"))
    with pytest.raises(DocumentNotFound, match=r"can't delete"):
        await ctx.db.delete_many([two, one])


def _absent(id: str) -> str:
    """An id of the same table and moment that was never given out."""
    from reflow.ids import encode_id, parse_id

    parsed = parse_id(id)
    return encode_id(parsed.table, parsed.seq, b"12345678")


@simulated(app)
async def test_an_id_is_more_than_its_place(sim: Simulation) -> None:
    id = await sim.mutation(add, "red")
    assert await sim.engine.query(sim.engine.functions["cards:colors"], b"{}")
    forged = _absent(id)

    async def read(tx: Any) -> list[Any]:
        return await tx.get([forged, id])

    missing, found = await sim.engine.transact(read)
    assert missing is None
    assert found.id == id


@inside(app)
async def test_own_writes_are_seen_by_scans_and_counts(ctx: rf.MutationCtx) -> None:
    ids = await ctx.db.insert_many(Card(color="red", rank=rank) for rank in (3, 1, 2))
    assert await listed(ctx, "red") == [1, 2, 3]
    await ctx.db.patch(ids[0], rank=0)
    await ctx.db.patch(ids[1], color="blue")
    assert await listed(ctx, "red") == [0, 2]
    assert await listed(ctx, "blue") == [1]
    assert await ctx.db.query(Card).count() == 3
    assert await ctx.db.query(Card).using(Card.by_color, color="red").gte(1).count() == 1
    await ctx.db.delete(ids[2])
    assert await listed(ctx, "red") == [0]
    last = await ctx.db.query(Card).order("desc").first()
    assert last is not None
    assert last.id == ids[1]


@simulated(app)
async def test_own_writes_are_merged_with_what_is_stored(sim: Simulation) -> None:
    for rank in range(600):
        if rank % 2:
            await sim.mutation(add, "red", rank)

    async def work(tx: Any) -> tuple[list[int], list[int], int]:
        db = rf.DatabaseWriter(tx)
        stored = await db.query(Card).using(Card.by_color, color="red").collect()
        for card in stored[10:290]:
            await db.delete(card.id)
        await db.insert_many([Card(color="red", rank=rank) for rank in (0, 4, 1000)])
        await db.patch(stored[0].id, rank=2)
        up = [card.rank async for card in db.query(Card).using(Card.by_color, color="red")]
        down = [card.rank for card in await db.query(Card).using(Card.by_color, color="red").order("desc").collect()]
        return up, down, await db.query(Card).using(Card.by_color, color="red").count()

    up, down, count = await sim.engine.transact(work)
    assert up == [0, 2, 3, 4, *range(5, 20, 2), *range(581, 600, 2), 1000]
    assert down == up[::-1]
    assert count == len(up)


@inside(app)
async def test_a_scan_sees_what_is_written_while_it_goes_on(ctx: rf.MutationCtx) -> None:
    await ctx.db.insert_many(Card(color="red", rank=rank) for rank in (1, 2, 3))
    seen: list[int] = []
    async for card in ctx.db.query(Card).using(Card.by_color, color="red"):
        seen.append(card.rank)
        if card.rank == 1:
            await ctx.db.insert(Card(color="red", rank=0))  # behind: not seen
            await ctx.db.insert(Card(color="red", rank=5))  # ahead: seen
    assert seen == [1, 2, 3, 5]


@inside(app)
async def test_own_writes_are_seen_by_pages(ctx: rf.MutationCtx) -> None:
    await ctx.db.insert_many(Card(color="red", rank=rank) for rank in range(5))
    query = ctx.db.query(Card).using(Card.by_color, color="red")
    page = await query.paginate(rf.PaginationOptions(num_items=2))
    assert [card.rank for card in page.page] == [0, 1]
    rest = await query.paginate(rf.PaginationOptions(num_items=9, cursor=page.continue_cursor))
    assert [card.rank for card in rest.page] == [2, 3, 4]
    assert rest.is_done


@inside(app)
async def test_own_writes_are_seen_by_searches(ctx: rf.MutationCtx) -> None:
    red = await ctx.db.insert(Card(color="red", text="a fox"), vectors={Card.meaning: [1, 0]})
    blue = await ctx.db.insert(Card(color="blue", text="a dog"), vectors={Card.meaning: np.array([0, 1])})
    assert [hit.doc.id for hit in await ctx.db.nearest(Card.meaning, [1, 0.1])] == [red, blue]
    assert [hit.doc.id for hit in await ctx.db.nearest(Card.meaning, [1, 0.1], color="blue")] == [blue]
    assert [hit.doc.id for hit in await ctx.db.search(Card.words, "dog")] == [blue]
    await ctx.db.patch(red, color="blue", text="another dog")
    await ctx.db.set_vector(Card.meaning, red, [0, -1])
    assert [hit.doc.id for hit in await ctx.db.nearest(Card.meaning, [1, 0.1], color="blue")] == [blue, red]
    assert {hit.doc.id for hit in await ctx.db.search(Card.words, "dog", color="blue")} == {red, blue}
    vector = await ctx.db.vector(Card.meaning, red)
    assert vector is not None
    assert vector.tolist() == [0, -1]
    await ctx.db.delete_vector(Card.meaning, red)
    await ctx.db.delete(blue)
    assert await ctx.db.nearest(Card.meaning, [1, 0.1]) == []
    assert [hit.doc.id for hit in await ctx.db.search(Card.words, "dog")] == [red]
    assert await ctx.db.vector(Card.meaning, red) is None


@inside(app)
async def test_wrong_vectors_are_refused(ctx: rf.MutationCtx) -> None:
    id = await ctx.db.insert(Card(color="red"))
    other = await ctx.db.insert(Other())
    wrong: list[tuple[Any, str]] = [
        ([1, 2, 3], r"takes vectors of 2 numbers, got the shape \(3,\)"),
        ([[1, 2]], "got the shape"),
        ([float("nan"), 1], "NaN or infinity"),
        ([float("inf"), 1], "NaN or infinity"),
        ([0, 0], "zeros has no direction"),
        ("ab", "sequence of 2 numbers"),
    ]
    for vector, says in wrong:
        with pytest.raises(InvalidValue, match=says):
            await ctx.db.set_vector(Card.meaning, id, vector)
        with pytest.raises(InvalidValue, match=says):
            await ctx.db.nearest(Card.meaning, vector)
    with pytest.raises(DefinitionError, match=r"holds vectors of table 'cards'"):
        await ctx.db.set_vector(Card.meaning, rf.Id(other), [1, 2])
    with pytest.raises(DefinitionError, match=r"can't be filtered by 'rank'; its filters are"):
        await ctx.db.nearest(Card.meaning, [1, 0], rank=1)
    with pytest.raises(LimitExceeded, match=r"limits.nearest"):
        await ctx.db.nearest(Card.meaning, [1, 0], limit=1001)
    with pytest.raises(LimitExceeded, match=r"limits.text_hits"):
        await ctx.db.search(Card.words, "a", limit=0)


@inside(app)
async def test_ids_are_normalized(ctx: rf.MutationCtx) -> None:
    card, other = await ctx.db.insert(Card(color="red")), await ctx.db.insert(Other())
    assert ctx.db.normalize_id(Card, card) == card
    assert ctx.db.normalize_id(Card, other) is None
    assert ctx.db.normalize_id(Card, "nonsense") is None
    with pytest.raises(InvalidId, match=r"is not a document id"):
        await ctx.db.get(rf.Id("nonsense"))


@inside(app)
async def test_a_caught_error_of_a_nested_mutation_undoes_only_its_writes(ctx: rf.MutationCtx) -> None:
    await ctx.run_mutation(add, "kept")
    with pytest.raises(ValueError, match=r"after writing"):
        await ctx.run_mutation(add_and_fail, "gone")
    assert await ctx.run_query(colors) == ["kept"]
    await ctx.run_mutation(add, "later")
    assert await ctx.run_query(colors) == ["kept", "later"]


@simulated(app)
async def test_a_failed_mutation_leaves_nothing(sim: Simulation) -> None:
    with pytest.raises(CallFailed, match=r"Uncaught ValueError: after writing"):
        await sim.mutation(add_and_fail, "gone")
    assert await sim.query(colors) == []


@simulated(app)
async def test_calls_have_a_depth(sim: Simulation) -> None:
    assert await sim.mutation(deep, 8) == 0
    with pytest.raises(CallFailed, match=r"limits.call_depth = 8"):
        await sim.mutation(deep, 9)


@inside(app)
async def test_transactions_do_not_run_actions(ctx: Any) -> None:
    with pytest.raises(DefinitionError, match=r"can't run the action cards:an_action: schedule it"):
        await ctx.run_mutation(an_action)


@simulated(app)
async def test_queries_do_not_write(sim: Simulation) -> None:
    with pytest.raises(CallFailed, match=r"a query can't write"):
        await sim.query(write_in_query)


@simulated(app)
async def test_a_finished_ctx_refuses_every_call(sim: Simulation) -> None:
    KEPT.clear()
    await sim.query(keep)
    await sim.mutation(keep_writer)
    reader, writer, id = KEPT
    calls = [
        lambda: reader.db.get(id),
        lambda: reader.db.get_many([id]),
        lambda: reader.db.query(Card).first(),
        lambda: reader.db.query(Card).count(),
        lambda: reader.db.query(Card).paginate(rf.PaginationOptions(num_items=1)),
        lambda: reader.db.nearest(Card.meaning, [1, 0]),
        lambda: reader.db.search(Card.words, "a"),
        lambda: reader.db.vector(Card.meaning, id),
        lambda: reader.run_query(colors),
        lambda: writer.db.insert(Card(color="late")),
        lambda: writer.db.patch(id, rank=1),
        lambda: writer.db.delete(id),
        lambda: writer.db.set_vector(Card.meaning, id, [1, 0]),
        lambda: writer.run_mutation(add, "late"),
        lambda: writer.scheduler.run_after(0, add, "late"),
        lambda: writer.scheduler.cancel(id),
    ]
    for late in calls:
        with pytest.raises(ContextFinished):
            await late()
    for late in (reader.now, lambda: reader.random, lambda: reader.env["COLOR"], reader.auth.identity):
        with pytest.raises(ContextFinished):
            late()
    assert await sim.query(colors) == ["kept"]


@inside(app)
async def test_the_environment_can_be_read(ctx: rf.MutationCtx) -> None:
    assert dict(ctx.env) == {"COLOR": "red"}
    assert len(ctx.env) == 1


@inside(app)
async def test_the_clock_stands_still_and_chance_repeats(ctx: rf.MutationCtx) -> None:
    assert ctx.now() == ctx.now() == 1_700_000_000.0
    assert ctx.random is ctx.random
    assert 0 <= ctx.random.random() < 1
    assert await ctx.gather(ctx.db.query(Card).count(), ctx.run_query(colors)) == [0, []]


SMALL = rf.App(
    modules=[cards], tables=[Other], limits=rf.Limits(documents_read=10, documents_written=10, bytes_written=2000)
)


@inside(SMALL)
async def test_writing_has_bounds_that_a_caught_error_does_not_lift(ctx: rf.MutationCtx) -> None:
    for _ in range(10):
        await ctx.db.insert(Other())
    for _ in range(3):
        with pytest.raises(LimitExceeded, match=r"limits.documents_written = 10"):
            await ctx.db.insert(Other())
    assert await ctx.db.query(Other).count() == 10


@inside(SMALL)
async def test_bytes_written_are_bounded(ctx: rf.MutationCtx) -> None:
    with pytest.raises(LimitExceeded, match=r"limits.bytes_written = 2000"):
        await ctx.db.insert(Card(color="x" * 2000))


@simulated(SMALL)
async def test_reading_has_bounds(sim: Simulation) -> None:
    for _ in range(11):
        await sim.mutation(add, "red")
    with pytest.raises(CallFailed, match=r"limits.documents_read = 10 documents"):
        await sim.query(colors)


@simulated(app)
async def test_documents_are_not_older_than_the_commit_and_ids_grow_over_restarts(sim: Simulation) -> None:
    from reflow.ids import parse_id
    from reflow.storage.memory import MemoryStorage
    from reflow.testing import simulate

    storage, clock = MemoryStorage(), sim.clock
    ids: list[str] = []
    for _ in range(2):  # the clock stands still, also over the restart
        async with simulate(app, storage=storage, clock=clock, seed=len(ids)) as again:
            ids += await asyncio.gather(*(again.mutation(add, "red") for _ in range(50)))
            assert again.engine.committer.published >= (parse_id(ids[-1]).seq >> 12) * 1000
    seqs = [parse_id(id).seq for id in ids]
    assert seqs == sorted(set(seqs))


def test_reflows_own_tables_can_be_read_and_not_written() -> None:
    module = rf.Module("sneaky")

    @module.internal_mutation
    async def later(ctx: rf.MutationCtx) -> None:
        pass

    @module.mutation
    async def schedule(ctx: rf.MutationCtx) -> rf.Id[rf.Scheduled]:
        return await ctx.scheduler.run_after(3600, later)

    @module.mutation
    async def rewrite(ctx: rf.MutationCtx, id: str) -> None:
        await ctx.db.patch(rf.Id(id), name="sneaky:other")

    @module.mutation
    async def remove(ctx: rf.MutationCtx, id: str) -> None:
        await ctx.db.delete(rf.Id(id))

    @module.query
    async def row(ctx: rf.QueryCtx, id: rf.Id[rf.Scheduled]) -> str | None:
        found = await ctx.db.get(id)
        return found.name if found is not None else None

    async def main() -> None:
        async with rf.App(modules=[module]).in_memory() as backend:
            id = await backend.mutation("sneaky:schedule")
            for path in ("sneaky:rewrite", "sneaky:remove"):
                with pytest.raises(rf.ReflowError, match="reflow's own"):
                    await backend.mutation(path, id=id)
            assert await backend.query("sneaky:row", id=id) == "sneaky:later"

    asyncio.run(main())


def test_a_key_that_is_too_long_for_an_index_is_refused() -> None:
    class Page(rf.Table, table="pages"):
        address: str
        by_address = rf.Index("address")

    module = rf.Module("pages")

    @module.mutation
    async def add(ctx: rf.MutationCtx, address: str) -> None:
        await ctx.db.insert(Page(address=address))

    async def main() -> None:
        async with rf.App(modules=[module], tables=[Page]).in_memory() as backend:
            await backend.mutation("pages:add", address="a" * 1000)
            with pytest.raises(rf.ReflowError, match="index_key_bytes"):
                await backend.mutation("pages:add", address="a" * 100_000)

    asyncio.run(main())
