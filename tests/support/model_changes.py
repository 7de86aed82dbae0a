"""An application with an index whose model can be changed, and short ways to fill and ask it."""

from __future__ import annotations

from typing import Any

import reflow as rf
from reflow import Embedding, Generation, Model
from reflow.rag.reembed import model_of, reembed
from reflow.testing.embedder import HashingEmbedder


class Named(HashingEmbedder):
    """A model with a name."""

    def __init__(self, id: str, dims: int) -> None:
        super().__init__(dims)
        self.id = id


OLD, NEW, WIDE = Named("old", 16), Named("new", 16), Named("wide", 32)
MODELS = {one.id: one for one in (OLD, NEW, WIDE)}


class Note(rf.Table, table="notes"):
    text: str
    weight: float = 0.0
    room: str = "a"

    meaning = rf.VectorIndex(dims=16, filters=("room",))
    words = rf.TextIndex("text")


class Other(rf.Table, table="others"):
    text: str

    meaning = rf.VectorIndex(dims=16)


notes = rf.Module("notes")


async def embedded(text: str, *names: str) -> list[Embedding]:
    return [Embedding.of((await MODELS[name].embed([text]))[0], model_of(MODELS[name])) for name in names]


@notes.mutation
async def add(ctx: rf.MutationCtx, text: str, embeddings: list[Embedding], weight: float = 0.0) -> rf.Id[Note]:
    return await ctx.db.insert(Note(text=text, weight=weight), vectors={Note.meaning: embeddings})


@notes.mutation
async def add_bare(ctx: rf.MutationCtx, text: str) -> rf.Id[Note]:
    return await ctx.db.insert(Note(text=text), vectors={Note.meaning: [1.0] * 16})


@notes.mutation
async def drop(ctx: rf.MutationCtx, id: rf.Id[Note]) -> None:
    await ctx.db.delete(id)


@notes.mutation
async def add_other(ctx: rf.MutationCtx, text: str, embeddings: list[Embedding]) -> rf.Id[Other]:
    return await ctx.db.insert(Other(text=text), vectors={Other.meaning: embeddings})


@notes.query
async def near(ctx: rf.QueryCtx, embeddings: list[Embedding]) -> list[str]:
    return [hit.doc.text for hit in await ctx.db.nearest(Note.meaning, embeddings, limit=100)]


@notes.query
async def rows(ctx: rf.QueryCtx) -> list[list[Any]]:
    found = await ctx.db.query(Generation).collect()
    return [[row.number, row.model.embedder, row.state, row.filled, row.total] for row in found]


@notes.mutation
async def start_and_fail(ctx: rf.MutationCtx, dims: int) -> None:
    await ctx.generations.start(Note.meaning, Model(embedder="failed", dims=dims))
    raise ValueError("as planned")


@notes.action
async def start(ctx: rf.ActionCtx, model: Model) -> int:
    return (await ctx.generations.start(Note.meaning, model)).number


@notes.action
async def adopt(ctx: rf.ActionCtx, model: Model) -> int:
    return (await ctx.generations.adopt(Note.meaning, model)).number


@notes.action
async def change_model(ctx: rf.ActionCtx, name: str, flip: bool = True) -> int:
    return (await reembed(ctx, Note.meaning, MODELS[name], lambda note: note.text, batch=4, flip=flip)).number


@notes.action
async def vacuum(ctx: rf.ActionCtx, number: int) -> None:
    while await ctx.generations.vacuum(Note.meaning, number):
        pass


@notes.query
async def all_others(ctx: rf.QueryCtx) -> list[Other]:
    return await ctx.db.query(Other).collect()


@notes.action
async def put_foreign(ctx: rf.ActionCtx) -> None:
    (new,) = await embedded("x", "new")
    others = await ctx.run_query(all_others)
    await ctx.generations.put(Note.meaning, 2, [(other, new) for other in others])


app = rf.App(modules=[notes], limits=rf.Limits(vacuum_rows=3, generations=4))


async def filled(sim: Any, *names: str) -> list[rf.Id[Note]]:
    texts = [f"note {n}" for n in range(8)]
    return [await sim.mutation(add, text=text, embeddings=await embedded(text, *names)) for text in texts]


async def found(sim: Any, *names: str) -> list[str]:
    return sorted(await sim.query(near, embeddings=await embedded("note 3", *names)))


ALL = [f"note {n}" for n in range(8)]
