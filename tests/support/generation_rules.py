"""An application whose vector index changes its model all the time, and what must be true of it at any moment."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

import reflow as rf
from reflow import Embedding, Generation, Model
from reflow.backend import Backend
from reflow.rag.reembed import model_of, reembed
from reflow.testing.embedder import HashingEmbedder

SEARCHED = 100


class Marked(HashingEmbedder):
    """A model whose vectors show that they are of it."""

    def __init__(self, id: str, dims: int, mark: float) -> None:
        super().__init__(dims)
        self.id = id
        self._mark = mark

    async def embed(self, texts: Any, kind: Any = "document") -> NDArray[np.float32]:
        vectors = await super().embed(texts, kind)
        vectors[:, 0] = self._mark
        return vectors


MODELS = {one.id: one for one in (Marked("old", 8, 0.25), Marked("new", 8, 0.5), Marked("wide", 12, 0.75))}


class Note(rf.Table, table="notes"):
    text: str
    room: str = "a"

    meaning = rf.VectorIndex(dims=8, filters=("room",))


notes = rf.Module("notes")


async def embedded(text: str) -> list[Embedding]:
    """By every model there is: an index takes those that it has generations for."""
    return [Embedding.of((await one.embed([text]))[0], model_of(one)) for one in MODELS.values()]


@notes.mutation
async def write(ctx: rf.MutationCtx, text: str) -> rf.Id[Note]:
    return await ctx.db.insert(Note(text=text), vectors={Note.meaning: await embedded(text)})


@notes.mutation
async def rewrite(ctx: rf.MutationCtx, id: rf.Id[Note], text: str) -> None:
    if await ctx.db.get(id) is not None:
        await ctx.db.patch(id, text=text)
        await ctx.db.set_vector(Note.meaning, id, await embedded(text))


@notes.mutation
async def move(ctx: rf.MutationCtx, id: rf.Id[Note], room: str) -> None:
    if await ctx.db.get(id) is not None:
        await ctx.db.patch(id, room=room)


@notes.mutation
async def remove(ctx: rf.MutationCtx, id: rf.Id[Note]) -> None:
    if await ctx.db.get(id) is not None:
        await ctx.db.delete(id)


@notes.mutation
async def start_in_vain(ctx: rf.MutationCtx, dims: int) -> None:
    await ctx.generations.start(Note.meaning, Model(embedder="in vain", dims=dims))
    raise ValueError("in vain")


@notes.action
async def change_model(ctx: rf.ActionCtx, name: str) -> int:
    return (await reembed(ctx, Note.meaning, MODELS[name], lambda note: note.text, batch=3)).number


@notes.action
async def clear_away(ctx: rf.ActionCtx) -> None:
    for row in await ctx.generations.list(Note.meaning):
        if row.state != "active":
            while await ctx.generations.vacuum(Note.meaning, row.number):
                pass


@notes.query
async def near(ctx: rf.QueryCtx, text: str) -> list[str]:
    return [hit.doc.text for hit in await ctx.db.nearest(Note.meaning, await embedded(text), limit=SEARCHED)]


def app(**limits: Any) -> rf.App:
    """The application."""
    return rf.App(modules=[notes], limits=rf.Limits(vacuum_rows=4, **limits))


async def check(backend: Backend) -> list[Generation]:
    """Checks what is stored, in memory and on disk; returns the generations.

    One generation is in use; every vector is of its generation's model and its document's present text; every document
    has one in each generation that is complete; nothing else is stored.
    """
    async with backend.engine.reading() as tx:
        codec, index = tx.host.catalog.index(Note.meaning)
        snapshot, vectors = tx.snapshot, tx.host.vectors
        found = await snapshot.scan(codec.number, codec.number, b"", b"\xff" * 9, limit=10_000)
        documents = {row.seq: codec.decode(row.value) for row in found}
        table = tx.host.catalog.tables["_generations"]
        pages = await snapshot.scan(table.number, table.number, b"", b"\xff" * 9, limit=100)
        rows: list[Generation] = [table.decode(row.value) for row in pages]
        assert [row.state for row in rows].count("active") == (1 if rows else 0)
        for row in rows:
            place = (index.number, row.number)
            stored = dict(await snapshot.vectors(*place, limit=10_000))
            assert len(stored) == vectors.count(place, snapshot.ts)
            for seq, raw in stored.items():
                held = vectors.vector(place, seq, snapshot.ts)
                assert held is not None
                assert held.tobytes() == raw
            if row.state == "vacuuming":
                continue
            for seq, raw in stored.items():
                (expected,) = await MODELS[row.model.embedder].embed([documents[seq].text])
                assert raw == expected.astype("<f4").tobytes(), f"{documents[seq]} in {row}"
            if row.state != "filling":
                assert stored.keys() == documents.keys()
        used = {row.number for row in rows}
        for number in set(range(1, 200)) - used:
            assert not rows or not await snapshot.vectors(index.number, number, limit=1), f"{number} is no generation"
    texts = [document.text for document in documents.values()]
    near_ones = await backend.query(near, text="anything")
    assert len(near_ones) == min(SEARCHED, len(texts))
    assert set(near_ones) <= set(texts)
    return rows
