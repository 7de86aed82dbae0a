"""Generations against what goes wrong around them: failures, hostile models, foreign documents, changed schemas."""

from __future__ import annotations

import asyncio
import types
from typing import Any

import msgspec
import pytest

import reflow as rf
from reflow import Embedding, Generation, Model, values
from reflow.backend import Backend
from reflow.engine.generations import Generations
from reflow.errors import CallFailed, InvalidValue, SchemaError, StorageError
from reflow.rag.reembed import model_of, reembed
from reflow.search.metric import Place
from reflow.search.vector import VectorStore
from reflow.server.pinecone.tables import TableIndexes
from reflow.storage.memory import MemoryStorage
from reflow.testing import FaultPlan, Simulation, VirtualClock, simulate
from tests.support import arun
from tests.support.model_changes import (
    ALL,
    MODELS,
    NEW,
    OLD,
    WIDE,
    Note,
    add,
    add_bare,
    add_other,
    adopt,
    app,
    change_model,
    drop,
    embedded,
    filled,
    found,
    near,
    notes,
    put_foreign,
    rows,
    start,
    start_and_fail,
    vacuum,
)
from tests.support.simulated import inside, simulated


@simulated(app)
async def test_a_start_that_failed_leaves_nothing_in_the_way_of_the_next(sim: Simulation) -> None:
    await filled(sim, "old")
    for dims in (8, 64):
        with pytest.raises(CallFailed, match="as planned"):
            await sim.mutation(start_and_fail, dims=dims)
    await sim.action(change_model, "wide")
    assert await found(sim, "wide") == ALL


def test_a_start_whose_commit_failed_leaves_nothing_in_the_way_of_the_next() -> None:
    async def main() -> None:
        plan = FaultPlan()
        async with simulate(app, faults=plan) as sim:
            await filled(sim, "old")
            plan.commit = 1.0
            with pytest.raises((StorageError, CallFailed)):
                await sim.action(start, model=Model(embedder="lost", dims=8))
            plan.commit = 0.0
            assert [row[1] for row in await sim.query(rows)] == ["old"]
            await sim.action(change_model, "wide")
            assert await found(sim, "wide") == ALL

    arun(main())


@simulated(app)
async def test_after_a_vacuum_another_model_may_be_of_other_dims(sim: Simulation) -> None:
    await filled(sim, "old")
    await sim.action(change_model, "wide", flip=False)
    await sim.action(vacuum, 2)
    assert await found(sim, "old") == ALL
    await sim.action(change_model, "new")
    await sim.action(vacuum, 1)
    assert await found(sim, "new") == ALL
    await sim.action(change_model, "wide")
    assert await found(sim, "wide", "new") == ALL


def test_numbers_start_again_after_a_restart(tmp_path: Any) -> None:
    async def main() -> None:
        async with app.open(tmp_path) as backend:
            await filled(backend, "old")
            await backend.action(change_model, name="wide", flip=False)
            await backend.action(vacuum, number=2)
        async with app.open(tmp_path) as backend:
            assert await backend.action(change_model, name="new") == 2
            assert await found(backend, "new") == ALL
        async with app.open(tmp_path) as backend:
            assert await found(backend, "new") == ALL
            await backend.action(vacuum, number=1)

    arun(main())


@simulated(app)
async def test_only_documents_of_the_table_fill_a_generation(sim: Simulation) -> None:
    await filled(sim, "old")
    await sim.mutation(add_other, text="stranger", embeddings=await embedded("stranger", "old"))
    await sim.action(start, model=model_of(NEW))
    with pytest.raises(CallFailed, match="holds vectors of table 'notes'"):
        await sim.action(put_foreign)
    await sim.action(change_model, "new")
    assert await found(sim, "new") == ALL


@simulated(app)
async def test_a_document_that_does_not_equal_itself_is_embedded_too(sim: Simulation) -> None:
    (old,) = await embedded("nan", "old")
    await sim.mutation(add, text="nan", embeddings=[old], weight=float("nan"))
    async with asyncio.timeout(10):
        await sim.action(change_model, "new")
    assert await found(sim, "new") == ["nan"]


@pytest.mark.parametrize("dims", [0, -1, 10**9])
def test_a_model_has_a_name_and_dims_that_a_vector_can_have(dims: int) -> None:
    async def main() -> None:
        async with simulate(app) as sim:
            await filled(sim, "old")
            for model in (Model(embedder="m", dims=dims), Model(embedder="", dims=16)):
                for call in (start, adopt):
                    with pytest.raises(CallFailed, match=r"dims of a model must be|a model needs a name"):
                        await sim.action(call, model=model)
            assert [row[:3] for row in await sim.query(rows)] == [[1, "old", "active"]]

    arun(main())


@simulated(app)
async def test_an_embedding_without_a_name_is_no_first_model(sim: Simulation) -> None:
    nameless = Embedding.of([1.0] * 16, Model(embedder="", dims=16))
    with pytest.raises(CallFailed, match="needs a name"):
        await sim.mutation(add, text="x", embeddings=[nameless])
    assert await sim.query(rows) == []


@inside(app)
async def test_bad_vectors_are_refused(ctx: Any) -> None:
    model = model_of(OLD)
    (good,) = await embedded("x", "old")
    (other,) = await embedded("x", "new")
    await ctx.db.insert(Note(text="x"), vectors={Note.meaning: good})
    short, nan = Embedding(data=b"1234", model=model), Embedding.of([float("nan")] * 16, model)
    huge = Embedding.of([1e300] * 16, model)
    for bad in (
        [],
        huge,
        [1e300] * 16,
        [good, good],
        [good, [0.5] * 16],
        [[0.5] * 16, good],
        short,
        [short],
        nan,
        other,
        [other],
        [0.5],
        "x",
    ):
        with pytest.raises(rf.ReflowError):
            await ctx.db.insert(Note(text="y"), vectors={Note.meaning: bad})
    for bad in ([], [good, [0.5] * 16], [short], nan, other):
        with pytest.raises(rf.ReflowError):
            await ctx.db.nearest(Note.meaning, bad)


@inside(app)
async def test_only_vector_indexes_have_generations(ctx: Any) -> None:
    for call in (ctx.generations.list(Note.words), ctx.generations.start(Note.words, model_of(NEW))):
        with pytest.raises(rf.ReflowError, match="no vector index"):
            await call


def test_what_makes_no_embedding_is_refused_as_such() -> None:
    for bad in ("text", [[1.0], [1.0, 2.0]], [10**400, 0.0], [{}, 1.0], [1.0]):
        with pytest.raises(InvalidValue, match="makes vectors of 2 numbers"):
            Embedding.of(bad, Model(embedder="m", dims=2))  # pyright: ignore[reportArgumentType]


@simulated(app)
async def test_embeddings_of_a_model_that_has_gone_are_left_out(sim: Simulation) -> None:
    await sim.mutation(add, text="first", embeddings=await embedded("first", "old", "new"))
    assert [row[:3] for row in await sim.query(rows)] == [[1, "old", "active"]]
    await sim.action(change_model, "new")
    await sim.mutation(add, text="second", embeddings=await embedded("second", "old", "new", "wide"))
    await sim.action(vacuum, 1)
    await sim.mutation(add, text="third", embeddings=await embedded("third", "old", "new"))
    assert await found(sim, "old", "new") == ["first", "second", "third"]
    with pytest.raises(CallFailed, match="old"):
        await sim.mutation(add, text="fourth", embeddings=await embedded("fourth", "old"))


@simulated(app)
async def test_there_are_so_many_generations_and_no_more(sim: Simulation) -> None:
    await filled(sim, "old")
    for number in (2, 3, 4):
        assert await sim.action(start, model=Model(embedder=f"m{number}", dims=number)) == number
    with pytest.raises(CallFailed, match=r"limits\.generations = 4"):
        await sim.action(start, model=Model(embedder="m5", dims=5))
    await sim.action(vacuum, 4)
    assert await sim.action(start, model=Model(embedder="m5", dims=5)) == 5


@simulated(app)
async def test_a_generation_without_a_name_gets_one_while_another_fills(sim: Simulation) -> None:
    id = await sim.mutation(add_bare, text="bare")
    await sim.action(start, model=model_of(WIDE))
    await sim.mutation(drop, id=id)
    assert [row[:3] for row in await sim.query(rows)] == [[1, "", "active"], [2, "wide", "filling"]]
    with pytest.raises(CallFailed, match="holds vectors of 16 numbers"):
        await sim.action(adopt, model=Model(embedder="x", dims=8))
    assert await sim.action(adopt, model=model_of(OLD)) == 1
    await filled(sim, "old")
    assert await found(sim, "old") == ALL
    with pytest.raises(CallFailed, match="can't be said to be of new"):
        await sim.action(adopt, model=model_of(NEW))


@inside(app)
async def test_a_mutation_counts_its_own_writes_before_it_flips(ctx: Any) -> None:
    for text in ALL:
        await ctx.db.insert(Note(text=text), vectors={Note.meaning: await embedded(text, "old")})
    row = await ctx.generations.start(Note.meaning, model_of(WIDE))
    with pytest.raises(rf.ReflowError, match="lacks the vectors of 8 documents"):
        await ctx.generations.flip(Note.meaning, row.number)
    lacking = await ctx.generations.lacking(Note.meaning, row.number)
    await ctx.db.delete(lacking[0].id)
    await ctx.db.patch(lacking[1].id, text="changed")
    pairs = [(one, (await embedded(one.text, "wide"))[0]) for one in lacking]
    assert await ctx.generations.put(Note.meaning, row.number, [*pairs, *pairs]) == 12, "each of six twice"
    (left,) = await ctx.generations.lacking(Note.meaning, row.number)
    assert left.text == "changed"
    (wide,) = await embedded("changed", "wide")
    assert await ctx.generations.put(Note.meaning, row.number, [(left, wide)]) == 1
    (_, now) = await ctx.generations.list(Note.meaning)
    assert now.filled == 7
    await ctx.generations.flip(Note.meaning, row.number)
    found = await ctx.db.nearest(Note.meaning, [wide], limit=20)
    assert sorted(hit.doc.text for hit in found) == ["changed", *ALL[2:]]
    while await ctx.generations.vacuum(Note.meaning, 1):
        pass
    assert [row.number for row in await ctx.generations.list(Note.meaning)] == [row.number]


@simulated(app)
async def test_what_is_being_removed_is_not_filled_any_more(sim: Simulation) -> None:
    await filled(sim, "old")
    await sim.action(change_model, "new", flip=False)

    async def begin(tx: Any) -> None:
        assert await Generations(tx).vacuum(Note.meaning, 2)
        with pytest.raises(rf.ReflowError, match="is being removed"):
            await Generations(tx).put(Note.meaning, 2, [])

    await sim.engine.transact(begin)
    await sim.action(vacuum, 2)
    assert await sim.action(change_model, "new") == 3
    assert await found(sim, "new") == ALL


def test_filling_wakes_no_live_search() -> None:
    async def main() -> None:
        runs = 0
        module = rf.Module("live")

        @module.query
        async def watched(ctx: rf.QueryCtx, embeddings: list[Embedding]) -> list[str]:
            nonlocal runs
            runs += 1
            return [hit.doc.text for hit in await ctx.db.nearest(Note.meaning, embeddings, limit=1)]

        async with rf.App(modules=[notes, module], limits=app.limits).in_memory() as backend:
            await filled(backend, "old")
            seen: list[list[str]] = []

            async def follow(given: list[Embedding]) -> None:
                async for value in backend.watch(watched, embeddings=given):
                    seen.append(value)

            given = await embedded("note 3", "old", "new")
            task = asyncio.create_task(follow(given))
            while not seen:
                await asyncio.sleep(0.001)
            await backend.action(start, model=model_of(NEW))
            before = runs
            await backend.action(change_model, name="new", flip=False)
            await backend.settled()
            assert runs - before <= 1, "but for the one document that it had found"
            await backend.action(change_model, name="new")
            await backend.settled()
            assert runs - before <= 3
            task.cancel()

    arun(main())


def docs(**indexes: rf.VectorIndex) -> Any:
    """The class of a table with these indexes."""
    body = {"__annotations__": {"text": str}, "__module__": __name__, **indexes}
    return types.new_class("Doc", (rf.Table,), {"table": "docs"}, lambda namespace: namespace.update(body))


def docs_app(table: Any) -> rf.App:
    """Functions on that table."""
    module = rf.Module("docs")

    @module.mutation
    async def fill(ctx: rf.MutationCtx) -> None:
        for text in ALL:
            await ctx.db.insert(table(text=text), vectors={table.meaning: await embedded(text, "old")})

    @module.action
    async def change(ctx: rf.ActionCtx, vacuums: bool) -> None:
        await reembed(ctx, table.meaning, WIDE, lambda doc: doc.text)
        while vacuums and await ctx.generations.vacuum(table.meaning, 1):
            pass

    @module.query
    async def search(ctx: rf.QueryCtx, embeddings: list[Embedding]) -> list[str]:
        return sorted(hit.doc.text for hit in await ctx.db.nearest(table.meaning, embeddings, limit=20))

    @module.query
    async def generations(ctx: rf.QueryCtx) -> list[int]:
        return [row.number for row in await ctx.db.query(Generation).collect()]

    return rf.App(modules=[module], tables=[table])


def test_the_dims_of_a_definition_follow_the_generation_in_use() -> None:
    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        narrow, wide = docs(meaning=rf.VectorIndex(dims=16)), docs(meaning=rf.VectorIndex(dims=32))
        for vacuums in (False, True):
            async with simulate(docs_app(narrow), storage=storage, clock=clock) as sim:
                if not vacuums:
                    await sim.mutation("docs:fill")
                await sim.action("docs:change", vacuums=vacuums)
            with pytest.raises(SchemaError, match="holds vectors of 16 numbers"):
                async with simulate(docs_app(docs(meaning=rf.VectorIndex(dims=8))), storage=storage, clock=clock):
                    pass
        for table in (wide, wide):
            async with simulate(docs_app(table), storage=storage, clock=clock) as sim:
                assert await sim.query("docs:search", embeddings=await embedded("note", "wide")) == ALL

    arun(main())


def test_generations_go_with_their_index() -> None:
    async def main() -> None:
        storage, clock = MemoryStorage(), VirtualClock()
        both = docs(meaning=rf.VectorIndex(dims=16), spare=rf.VectorIndex(dims=16))
        async with simulate(docs_app(both), storage=storage, clock=clock) as sim:
            await sim.mutation("docs:fill")
            await sim.action("docs:change", vacuums=False)
        async with simulate(rf.App(modules=[notes]), storage=storage, clock=clock) as sim:
            assert len(await sim.query(rows)) == 2, "the table is there, this app does without it"
        async with simulate(docs_app(docs(spare=rf.VectorIndex(dims=16))), storage=storage, clock=clock) as sim:
            assert await sim.query("docs:generations") == []
        async with simulate(docs_app(both), storage=storage, clock=clock) as sim:
            await sim.mutation("docs:fill")
            assert await sim.query("docs:search", embeddings=await embedded("note", "old")) == ALL

    arun(main())


def test_the_file_of_a_generation_is_used_at_the_next_start(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: dict[int, int | None] = {}
    open_file = VectorStore.open_file

    def watched(store: VectorStore, place: Place) -> int | None:
        opened[place[1]] = open_file(store, place)
        return opened[place[1]]

    async def main() -> None:
        small = rf.App(modules=[notes], limits=rf.Limits(vector_file_bytes=100))
        async with small.open(tmp_path) as backend:
            await filled(backend, "old")
            await backend.action(change_model, name="wide")
        monkeypatch.setattr(VectorStore, "open_file", watched)
        async with small.open(tmp_path) as backend:
            assert await found(backend, "wide") == ALL

    arun(main())
    assert opened.keys() == {1, 2}
    assert opened[2] is not None


@simulated(app)
async def test_pinecones_clients_see_the_generation_in_use(sim: Simulation) -> None:
    await filled(sim, "old")
    await sim.action(change_model, "wide")
    tables = TableIndexes(sim.engine)
    (wide,) = await embedded("note 3", "wide")
    (late,) = await embedded("late", "wide")
    await sim.mutation(add, text="late", embeddings=[late])
    for vacuums in (False, True):
        if vacuums:
            await sim.action(vacuum, 1)
        async with sim.engine.reading() as tx:
            info = await tables.info(tx, "notes-meaning")
            index = await tables.index(tx, "notes-meaning")
            assert info is not None
            assert index is not None
            assert (info.dims, (await index.stats()).records) == (32, 9)
            found = await index.query(vector=wide.array, include_metadata=True)
            assert found.matches[0].metadata["text"] == "note 3"
            assert len(found.matches) == 9
            with pytest.raises(InvalidValue, match="takes vectors of 32 numbers"):
                await index.query(vector=[1.0] * 16)


@pytest.mark.parametrize("name", ["old", "wide"])
def test_an_index_without_vectors_answers_and_takes_on_a_model_at_once(name: str) -> None:
    async def main() -> None:
        async with simulate(app) as sim:
            assert await found(sim, "old", "wide") == []
            with pytest.raises(CallFailed, match="without a name"):
                await found(sim, "wide")
            number = await sim.action(start, model=model_of(MODELS[name]))
            assert [row[:3] for row in await sim.query(rows)] == [[number, name, "active"]]
            assert await found(sim, name) == []
            await filled(sim, name)
            assert await found(sim, name) == ALL

    arun(main())


def test_a_live_search_of_an_empty_index_follows_its_first_vector() -> None:
    async def main() -> None:
        async with app.in_memory() as backend:
            seen: list[list[str]] = []

            async def follow(given: list[Embedding]) -> None:
                async for value in backend.watch(near, embeddings=given):
                    seen.append(value)

            task = asyncio.create_task(follow(await embedded("note 3", "old")))
            while seen != [[]]:
                await asyncio.sleep(0.001)
            (other,) = await embedded("note 3", "new")
            await backend.mutation(add, text="note 3", embeddings=await embedded("note 3", "old"))
            async with asyncio.timeout(10):
                while seen[-1] != ["note 3"]:
                    await asyncio.sleep(0.001)
            with pytest.raises(CallFailed, match="was searched with a vector of new"):
                await backend.query(near, embeddings=[other])
            task.cancel()

    arun(main())


def test_a_past_before_a_flip_has_its_generation_as_long_as_vectors_are_kept(tmp_path: Any) -> None:
    async def main() -> None:
        async def at(backend: Backend, ts: int, *names: str) -> Any:
            args = values.encode({"embeddings": await embedded("note 3", *names)})
            result = await backend.engine.query_at(backend.engine.functions["notes:near"], args, ts)
            return sorted(values.decode(result.value)) if result.value is not None else str(result.failure)

        async with app.open(tmp_path) as backend:
            await filled(backend, "old")
            before = backend.engine.committer.published
            await backend.action(change_model, name="wide")
            assert await at(backend, before, "old") == ALL
            assert "its vectors in use are of old" in await at(backend, before, "wide")
            await backend.action(vacuum, number=1)
            assert await at(backend, before, "old") == ALL
            assert "its vectors in use are of wide" in await at(backend, backend.engine.committer.published, "old")
        async with app.open(tmp_path) as backend:
            assert "OutOfRetention" in await at(backend, before, "old")

    arun(main())


@simulated(app)
async def test_a_refusal_names_what_differs(sim: Simulation) -> None:
    await filled(sim, "old")
    for other, word in (
        ({"revision": "9"}, "old@9"),
        ({"normalized": False}, "old@1 .16., not normalized"),
        ({"chunker": "sections"}, "chunks sections"),
    ):
        model = msgspec.structs.replace(model_of(OLD), **other)
        with pytest.raises(CallFailed, match=rf"{word}.*in use are of old@1 \(16\)"):
            await sim.query(near, embeddings=[Embedding.of([1.0] * 16, model)])
