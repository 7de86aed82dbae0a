from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import reflow as rf
from reflow import Embedding, Generation, Model
from reflow.errors import CallFailed
from reflow.rag.reembed import embed_for, model_of, reembed
from reflow.testing import Simulation
from reflow.testing.embedder import HashingEmbedder
from tests.support import arun
from tests.support.simulated import simulated


class Named(HashingEmbedder):
    """A model that says with every vector, in its first two numbers, which one it is."""

    def __init__(self, id: str, dims: int, mark: float) -> None:
        super().__init__(dims)
        self.id = id
        self.mark = mark

    async def embed(self, texts: Any, kind: Any = "document") -> Any:
        vectors = await super().embed(texts, kind)
        vectors[:, 0] = self.mark
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


OLD = Named("old", 16, 0.25)
NEW = Named("new", 16, 0.5)
WIDE = Named("wide", 32, 0.75)


class Note(rf.Table, table="notes"):
    text: str
    room: str = "a"

    meaning = rf.VectorIndex(dims=16, filters=("room",))


notes = rf.Module("notes")
embedders: list[Named] = [OLD, NEW, WIDE]


@notes.mutation
async def add(ctx: rf.MutationCtx, text: str, embeddings: list[Embedding], room: str = "a") -> rf.Id[Note]:
    return await ctx.db.insert(Note(text=text, room=room), vectors={Note.meaning: embeddings})


@notes.mutation
async def add_bare(ctx: rf.MutationCtx, text: str, vector: list[float]) -> rf.Id[Note]:
    return await ctx.db.insert(Note(text=text), vectors={Note.meaning: vector})


@notes.mutation
async def rewrite(ctx: rf.MutationCtx, id: rf.Id[Note], text: str, embeddings: list[Embedding]) -> None:
    await ctx.db.patch(id, text=text)
    await ctx.db.set_vector(Note.meaning, id, embeddings)


@notes.mutation
async def move(ctx: rf.MutationCtx, id: rf.Id[Note], room: str) -> None:
    await ctx.db.patch(id, room=room)


@notes.mutation
async def remove(ctx: rf.MutationCtx, id: rf.Id[Note]) -> None:
    await ctx.db.delete(id)


@notes.query
async def near(ctx: rf.QueryCtx, embeddings: list[Embedding], limit: int = 3, room: str = "a") -> list[str]:
    return [hit.doc.text for hit in await ctx.db.nearest(Note.meaning, embeddings, limit=limit, room=room)]


@notes.query
async def near_bare(ctx: rf.QueryCtx, vector: list[float]) -> list[str]:
    return [hit.doc.text for hit in await ctx.db.nearest(Note.meaning, vector)]


@notes.query
async def generations(ctx: rf.QueryCtx) -> list[list[Any]]:
    rows = await ctx.db.query(Generation).collect()
    return [[row.number, row.model.embedder, row.state, row.filled, row.total] for row in rows]


@notes.query
async def try_to_flip(ctx: rf.QueryCtx) -> None:
    await ctx.generations.flip(Note.meaning, 2)


@notes.action
async def write(ctx: rf.ActionCtx, text: str, room: str = "a") -> rf.Id[Note]:
    (found,) = await embed_for(ctx, Note.meaning, embedders, [text], "document")
    return await ctx.run_mutation(add, text=text, embeddings=found, room=room)


@notes.action
async def ask(ctx: rf.ActionCtx, text: str, limit: int = 3, room: str = "a") -> list[str]:
    (found,) = await embed_for(ctx, Note.meaning, embedders, [text], "query")
    return await ctx.run_query(near, embeddings=found, limit=limit, room=room)


@notes.action
async def change_model(ctx: rf.ActionCtx, name: str, flip: bool = True, batch: int = 4) -> int:
    embedder = next(one for one in embedders if one.id == name)
    row = await reembed(ctx, Note.meaning, embedder, lambda note: note.text, batch=batch, flip=flip)
    return row.number


@notes.action
async def use(ctx: rf.ActionCtx, number: int) -> None:
    await ctx.generations.flip(Note.meaning, number)


@notes.action
async def start(ctx: rf.ActionCtx, name: str) -> int:
    embedder = next(one for one in embedders if one.id == name)
    return (await ctx.generations.start(Note.meaning, model_of(embedder))).number


@notes.action
async def clear_away(ctx: rf.ActionCtx, number: int) -> int:
    rounds = 1
    while await ctx.generations.vacuum(Note.meaning, number):
        rounds += 1
    return rounds


app = rf.App(modules=[notes], limits=rf.Limits(vacuum_rows=10))


def embedding(embedder: Named, text: str) -> Embedding:
    return Embedding.of(arun(embedder.embed([text]))[0], model_of(embedder))


WORDS = ["red fox", "blue whale", "green tree", "red rose", "black cat", "white owl", "grey wolf", "old oak"]


async def filled(sim: Simulation) -> list[rf.Id[Note]]:
    return [await sim.action(write, text) for text in WORDS]


@simulated(app)
async def test_an_index_takes_on_the_model_of_its_first_embedding(sim: Simulation) -> None:
    await filled(sim)
    assert await sim.query(generations) == [[1, "old", "active", 0, 0]]
    assert (await sim.action(ask, "red fox"))[0] == "red fox"


@simulated(app)
async def test_vectors_of_another_model_are_refused(sim: Simulation) -> None:
    await filled(sim)
    other = Embedding.of((await NEW.embed(["x"]))[0], model_of(NEW))
    for call in (
        sim.mutation(add, text="x", embeddings=[other]),
        sim.query(near, embeddings=[other]),
        sim.query(near_bare, vector=[1.0] * 16),
        sim.mutation(add_bare, text="x", vector=[1.0] * 16),
    ):
        with pytest.raises(CallFailed, match=r"notes\.meaning.*new.*old|without a name"):
            await call
    assert len(await sim.action(ask, "red", limit=100)) == len(WORDS), "nothing was stored"


@simulated(app)
async def test_bare_arrays_have_a_model_without_a_name(sim: Simulation) -> None:
    vector = [float(n) for n in (await OLD.embed(["red fox"]))[0]]
    await sim.mutation(add_bare, text="red fox", vector=vector)
    named = Embedding.of(vector, model_of(OLD))
    with pytest.raises(CallFailed, match="without a name"):
        await sim.mutation(add, text="y", embeddings=[named])
    await sim.action(change_model, "new")
    assert await sim.query(near_bare, vector=vector) == ["red fox"], "the former generation is there still"
    (new,) = await NEW.embed(["red fox"])
    assert await sim.query(near, embeddings=[Embedding.of(new, model_of(NEW))]) == ["red fox"]


@simulated(app)
async def test_reembedding_fills_flips_and_can_be_taken_back(sim: Simulation) -> None:
    await filled(sim)
    assert await sim.action(change_model, "wide", flip=False) == 2
    assert await sim.query(generations) == [[1, "old", "active", 0, 0], [2, "wide", "filling", 8, 8]]
    assert (await sim.action(ask, "blue whale"))[0] == "blue whale"
    await sim.action(use, 2)
    states = [row[2] for row in await sim.query(generations)]
    assert states == ["retired", "active"]
    assert (await sim.action(ask, "blue whale"))[0] == "blue whale"
    await sim.action(use, 1)
    assert [row[2] for row in await sim.query(generations)] == ["active", "retired"]
    assert (await sim.action(ask, "blue whale"))[0] == "blue whale"


@simulated(app)
async def test_writes_go_to_every_generation_until_the_vacuum(sim: Simulation) -> None:
    ids = await filled(sim)
    await sim.action(change_model, "new")
    await sim.action(write, "a new note")
    await sim.mutation(remove, ids[0])
    await sim.mutation(move, ids[1], room="b")
    await sim.action(use, 1)
    found = await sim.action(ask, "note", limit=100)
    assert sorted(found) == sorted(["a new note", *WORDS[2:]])
    assert await sim.action(ask, "whale", room="b") == ["blue whale"]
    await sim.action(use, 2)
    assert await sim.action(clear_away, 1) >= 1
    assert [row[:3] for row in await sim.query(generations)] == [[2, "new", "active"]]
    old = Embedding.of((await OLD.embed(["fox"]))[0], model_of(OLD))
    with pytest.raises(CallFailed, match="old"):
        await sim.query(near, embeddings=[old])


@simulated(app)
async def test_a_write_of_one_model_only_leaves_a_gap_that_is_filled(sim: Simulation) -> None:
    ids = await filled(sim)
    await sim.action(change_model, "new", flip=False)
    old = Embedding.of((await OLD.embed(["pink flamingo"]))[0], model_of(OLD))
    await sim.mutation(rewrite, ids[0], text="pink flamingo", embeddings=[old])
    with pytest.raises(CallFailed, match="lacks the vectors of 1 documents"):
        await sim.action(use, 2)
    assert (await sim.action(ask, "pink flamingo"))[0] == "pink flamingo"
    await sim.action(change_model, "new")
    assert (await sim.action(ask, "pink flamingo"))[0] == "pink flamingo"


@simulated(app)
async def test_a_query_can_not_flip_and_the_active_one_is_not_vacuumed(sim: Simulation) -> None:
    await filled(sim)
    await sim.action(start, "new")
    with pytest.raises(CallFailed, match="a query can't write"):
        await sim.query(try_to_flip)
    with pytest.raises(CallFailed, match="the one that searches use"):
        await sim.action(clear_away, 1)
    with pytest.raises(CallFailed, match="no generation 7"):
        await sim.action(use, 7)


def test_an_embedding_checks_its_length() -> None:
    model = Model(embedder="m", dims=3)
    assert Embedding.of([1, 2, 3], model).array.tolist() == [1, 2, 3]
    with pytest.raises(rf.ReflowError, match="vectors of 3 numbers"):
        Embedding.of([1, 2], model)
    with pytest.raises(rf.ReflowError, match="12 bytes"):
        _ = Embedding(data=b"1234", model=model).array


def test_a_live_search_follows_a_flip() -> None:
    async def main() -> None:
        async with app.in_memory() as backend:
            for text in WORDS:
                await backend.action(write, text=text)
            both = [Embedding.of((await one.embed(["red fox"]))[0], model_of(one)) for one in (OLD, NEW)]
            seen: list[list[str]] = []

            async def follow() -> None:
                async for value in backend.watch(near, embeddings=both, limit=8):
                    seen.append(value)

            task = asyncio.create_task(follow())
            await backend.action(change_model, name="new")
            # What only the new model knows of is seen by who watches: it follows the new generation.
            new = Embedding.of((await NEW.embed(["red fox red fox"]))[0], model_of(NEW))
            await backend.mutation(add, text="only new", embeddings=[new])
            async with asyncio.timeout(10):
                while not seen or "only new" not in seen[-1]:
                    await asyncio.sleep(0.005)
            task.cancel()
            assert all(len(value) == 8 for value in seen[1:])

    arun(main())


def test_generations_survive_a_restart(tmp_path: Any) -> None:
    async def main() -> None:
        async with app.open(tmp_path) as backend:
            for text in WORDS:
                await backend.action(write, text=text)
            await backend.action(change_model, name="wide")
        async with app.open(tmp_path) as backend:
            assert [row[:3] for row in await backend.query(generations)] == [
                [1, "old", "retired"],
                [2, "wide", "active"],
            ]
            assert (await backend.action(ask, text="grey wolf"))[0] == "grey wolf"
            await backend.action(use, number=1)
            assert (await backend.action(ask, text="grey wolf"))[0] == "grey wolf"

    arun(main())
