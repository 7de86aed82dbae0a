"""An app that Pinecone's clients use, too. `python -m tests.support.pinecone_app DATA` serves it."""

from __future__ import annotations

import sys

import reflow as rf
from reflow.server.serve import serve

KEY, OTHER_KEY = "key-1", "key-2"
ENVIRONMENT = {"REFLOW_PINECONE_API_KEY": f"{KEY}, {OTHER_KEY}"}


class Note(rf.Table, table="notes"):
    text: str
    year: int
    tags: list[str]
    nested: dict[str, int]

    meaning = rf.VectorIndex(dims=2, filters=("year",))


notes = rf.Module("notes")
live = rf.Module("live")


@notes.mutation
async def add(ctx: rf.MutationCtx, text: str, year: int, vector: list[float] | None = None) -> rf.Id[Note]:
    note = Note(text=text, year=year, tags=["a", "b"], nested={"x": 1})
    return await ctx.db.insert(note, vectors=None if vector is None else {Note.meaning: vector})


@notes.mutation
async def remove(ctx: rf.MutationCtx, id: rf.Id[Note]) -> None:
    await ctx.db.delete(id)


@live.query
async def nearest(ctx: rf.QueryCtx, index: str, vector: list[float]) -> list[str]:
    """The ids of the three nearest records: what a page would show, and see change."""
    found = await ctx.vectors.index(index).query(vector=vector, top_k=3)
    return [match.id for match in found.matches]


app = rf.App(modules=[notes, live], environment=ENVIRONMENT)


def main() -> None:
    """Serve on a free port and print the address."""
    serve(app, port=0, data=sys.argv[1], on_ready=lambda server: print(server.url, flush=True))


if __name__ == "__main__":
    main()
