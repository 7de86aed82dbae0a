"""A process for test_vector_files_kill: an application that writes vectors and folds them all the time."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import reflow as rf

DIMS = 8


class Dot(rf.Table, table="dots"):
    number: int
    tag: int

    meaning = rf.VectorIndex(dims=DIMS, filters=("tag",))


dots = rf.Module("dots")


def vector(number: int, times: int) -> list[float]:
    """Of the given times' state of a number."""
    return [float((number * (axis + 3) + times * 7) % 101 + 1) for axis in range(DIMS)]


@dots.mutation
async def add(ctx: rf.MutationCtx, first: int) -> list[rf.Id[Dot]]:
    return [
        await ctx.db.insert(Dot(number=n, tag=0), vectors={Dot.meaning: vector(n, 0)}) for n in range(first, first + 10)
    ]


@dots.mutation
async def change(ctx: rf.MutationCtx, ids: list[rf.Id[Dot]]) -> None:
    """Of ten: one goes, one gets another vector, one other metadata."""
    first = await ctx.db.get(ids[0])
    assert first is not None
    await ctx.db.delete(ids[0])
    await ctx.db.set_vector(Dot.meaning, ids[1], vector(first.number + 1, 1))
    await ctx.db.patch(ids[2], tag=1)


@dots.query
async def every(ctx: rf.QueryCtx, tag: int) -> list[tuple[int, float]]:
    hits = await ctx.db.nearest(Dot.meaning, vector(5, 0), limit=100_000, filter={"tag": tag})
    return sorted((hit.doc.number, hit.score) for hit in hits)


app = rf.App(
    modules=[dots],
    limits=rf.Limits(nearest=100_000, vector_tail_bytes=2000, vector_file_bytes=100, prune_interval_seconds=0.01),
)


async def main(folder: Path) -> None:
    async with app.open(folder) as backend:
        held = await backend.query(every, tag=0) + await backend.query(every, tag=1)
        first = max((number for number, _ in held), default=-10) // 10 * 10 + 10
        print("open", flush=True)
        for start in range(first, first + 1000, 10):
            ids = await backend.mutation(add, start)
            await backend.mutation(change, ids)
            print(start, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
