"""A flip of generations under load: no search fails, and none mixes two models."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import numpy as np
import pytest

import reflow as rf
from reflow import Embedding
from reflow.rag.reembed import embed_for, model_of, reembed
from tests.support import arun

DIMS = 8


class Ranked:
    """A model that puts texts "0", "1", … in a line away from any question, forwards or backwards: the order tells
    whose a result is."""

    revision = "1"
    normalized = True
    max_tokens: int | None = None

    def __init__(self, id: str, dims: int, direction: int) -> None:
        self.id = id
        self.dims = dims
        self.direction = direction

    def count_tokens(self, text: str) -> int:
        return 1

    async def embed(self, texts: Any, kind: Any) -> Any:
        await asyncio.sleep(0)
        vectors = np.zeros((len(texts), self.dims), dtype=np.float32)
        for row, text in zip(vectors, texts, strict=True):
            place = int(text) if self.direction > 0 else 1000 - int(text)
            angle = 0.0 if kind == "query" else 0.001 * place
            row[:2] = np.cos(angle), np.sin(angle)
        return vectors


OLD, NEW = Ranked("forwards", DIMS, 1), Ranked("backwards", DIMS + 3, -1)


class Item(rf.Table, table="items"):
    text: str

    meaning = rf.VectorIndex(dims=DIMS)


items = rf.Module("items")


@items.mutation
async def put(ctx: rf.MutationCtx, text: str, embeddings: list[Embedding]) -> rf.Id[Item]:
    return await ctx.db.insert(Item(text=text), vectors={Item.meaning: embeddings})


@items.mutation
async def drop(ctx: rf.MutationCtx, id: rf.Id[Item]) -> None:
    await ctx.db.delete(id)


@items.query
async def near(ctx: rf.QueryCtx, embeddings: list[Embedding]) -> list[int]:
    return [int(hit.doc.text) for hit in await ctx.db.nearest(Item.meaning, embeddings, limit=12)]


@items.action
async def write(ctx: rf.ActionCtx, text: str) -> rf.Id[Item]:
    (found,) = await embed_for(ctx, Item.meaning, [OLD, NEW], [text], "document")
    return await ctx.run_mutation(put, text=text, embeddings=found)


@items.action
async def ask(ctx: rf.ActionCtx) -> list[int]:
    (found,) = await embed_for(ctx, Item.meaning, [OLD, NEW], ["0"], "query")
    await asyncio.sleep(0)
    return await ctx.run_query(near, embeddings=found)


@items.action
async def change(ctx: rf.ActionCtx) -> int:
    row = await reembed(ctx, Item.meaning, NEW, lambda item: item.text, batch=16)
    return row.number


@items.action
async def flip(ctx: rf.ActionCtx, number: int) -> None:
    await ctx.generations.flip(Item.meaning, number)


app = rf.App(modules=[items])


def direction_of(result: list[int]) -> str:
    if result == sorted(result):
        return "forwards"
    assert result == sorted(result, reverse=True), f"a result of two models: {result}"
    return "backwards"


@pytest.mark.parametrize("seed", range(3))
def test_a_flip_under_load_fails_no_search_and_mixes_nothing(seed: int, tmp_path: Any) -> None:
    chance = random.Random(seed)

    async def main() -> None:
        async with app.open(tmp_path) as backend:
            ids = [await backend.action(write, text=str(n)) for n in range(200)]
            seen: list[str] = []
            live: list[str] = []
            stop = asyncio.Event()

            async def search() -> None:
                while not stop.is_set():
                    seen.append(direction_of(await backend.action(ask)))
                    await asyncio.sleep(0)

            async def churn() -> None:
                number = 1000
                while not stop.is_set():
                    number += 1
                    ids.append(await backend.action(write, text=str(number % 700)))
                    await backend.mutation(drop, id=ids.pop(chance.randrange(len(ids))))

            async def follow() -> None:
                both = [Embedding.of((await one.embed(["0"], "query"))[0], model_of(one)) for one in (OLD, NEW)]
                async for value in backend.watch(near, embeddings=both):
                    live.append(direction_of(value))

            tasks = [asyncio.create_task(work()) for work in (search, search, churn, follow)]
            assert await backend.action(change) == 2
            for number in (1, 2, 1, 2):
                await asyncio.sleep(0.02)
                await backend.action(flip, number=number)
            await asyncio.sleep(0.05)
            stop.set()
            await asyncio.gather(*tasks[:3])
            tasks[3].cancel()
            assert not tasks[3].done() or tasks[3].cancelled(), tasks[3].exception()
            print(f"seed {seed}: {len(seen)} searches, {seen.count('backwards')} by the new model, {len(live)} live")
            assert set(seen) == {"forwards", "backwards"}
            assert live[0] == "forwards"
            assert live[-1] == "backwards"
            assert seen[-1] == "backwards"

    arun(main())
