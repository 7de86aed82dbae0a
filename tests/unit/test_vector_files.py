"""Files of vectors: derived from the storage, quick to open, and never trusted further than they go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reflow as rf
from reflow.search.rows_file import SUFFIX
from reflow.search.table import VectorTable
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import Simulation, VirtualClock, simulate
from tests.support import arun

LIMITS = rf.Limits(vector_tail_bytes=4000, vector_file_bytes=100)
DIMS = 8


class Note(rf.Table, table="notes"):
    title: str
    tag: str = ""

    meaning = rf.VectorIndex(dims=DIMS, filters=("tag",))


notes = rf.Module("notes")


def vector(number: int) -> list[float]:
    return np.random.default_rng(number).normal(size=DIMS).tolist()


@notes.mutation
async def add(ctx: rf.MutationCtx, first: int, count: int) -> list[rf.Id[Note]]:
    return [
        await ctx.db.insert(Note(title=f"{n}", tag="ab"[n % 2]), vectors={Note.meaning: vector(n)})
        for n in range(first, first + count)
    ]


@notes.mutation
async def retag(ctx: rf.MutationCtx, id: rf.Id[Note], tag: str) -> None:
    await ctx.db.patch(id, tag=tag)


@notes.mutation
async def move(ctx: rf.MutationCtx, id: rf.Id[Note], number: int) -> None:
    await ctx.db.set_vector(Note.meaning, id, vector(number))


@notes.mutation
async def remove(ctx: rf.MutationCtx, id: rf.Id[Note]) -> None:
    await ctx.db.delete(id)


@notes.query
async def near(ctx: rf.QueryCtx, number: int, tag: str | None = None) -> list[str]:
    wanted = None if tag is None else {"tag": tag}
    return [hit.doc.title for hit in await ctx.db.nearest(Note.meaning, vector(number), limit=30, filter=wanted)]


app = rf.App(modules=[notes], limits=LIMITS)

clock = VirtualClock()


@asynccontextmanager
async def running(folder: Path, app: rf.App = app) -> AsyncIterator[Simulation]:
    async with simulate(app, storage=SqliteStorage(folder, limits=LIMITS), clock=clock) as sim:
        yield sim


def table_of(sim: Simulation) -> VectorTable:
    return next(table for table in sim.engine.vectors.tables.values() if table.dims == DIMS)


def files(folder: Path) -> list[Path]:
    return sorted((folder / "vectors").glob("*"))


async def answers(sim: Simulation) -> list[list[str]]:
    return [await sim.query(near, number, tag) for number in (3, 17) for tag in (None, "a", "b", "c")]


def test_a_restart_opens_the_file_and_follows_the_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as sim:
            ids = await sim.mutation(add, 0, 100)
            await sim.engine.vectors.join()
            await sim.mutation(retag, ids[0], "c")
            await sim.engine.prune()
            written = table_of(sim).file
            assert written is not None
            assert [path.name for path in files(tmp_path)] == [written.name]
            # What follows is in the log alone: this file is not brought up to date for so little.
            await sim.mutation(retag, ids[1], "c")
            await sim.mutation(move, ids[2], 500)
            await sim.mutation(remove, ids[3])
            await sim.mutation(add, 100, 1)
            expected = await answers(sim)
            table_of(sim).finish = lambda: False  # as if the process had been killed
        async with running(tmp_path) as sim:
            assert table_of(sim).file == written
            assert table_of(sim).segments[0].size == 100
            assert await answers(sim) == expected
            await sim.mutation(add, 101, 40)
            expected = await answers(sim)
        async with running(tmp_path) as sim:
            reopened = table_of(sim).file
            assert reopened is not None
            assert reopened != written
            assert [path.name for path in files(tmp_path)] == [reopened.name]
            assert await answers(sim) == expected

    arun(main())


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-700])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(content)


def foreign(path: Path) -> None:
    path.write_bytes(b"something else entirely" * 1000)


@pytest.mark.parametrize("harm", [cut_off, empty, damage, foreign, Path.unlink])
def test_what_does_not_fit_is_read_from_the_storage(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    async def main() -> None:
        async with running(tmp_path) as sim:
            await sim.mutation(add, 0, 100)
            expected = await answers(sim)
        (path,) = files(tmp_path)
        harm(path)
        async with running(tmp_path) as sim:
            assert await answers(sim) == expected
        assert len(files(tmp_path)) == 1, "the next one took its place"
        async with running(tmp_path) as sim:
            assert table_of(sim).file is not None
            assert await answers(sim) == expected

    arun(main())


def test_a_file_of_another_history_is_not_used(tmp_path: Path) -> None:
    """The database is put back to an earlier day, and goes another way from there."""

    async def main() -> None:
        async with running(tmp_path) as sim:
            await sim.mutation(add, 0, 100)
        backup = (tmp_path / "reflow.db").read_bytes()
        async with running(tmp_path) as sim:
            await sim.mutation(add, 100, 60)
        (tmp_path / "reflow.db").write_bytes(backup)
        async with running(tmp_path) as sim:
            await sim.mutation(add, 300, 60)
            expected = await answers(sim)
            assert "301" in await sim.query(near, 301)
            assert "101" not in await sim.query(near, 101)
        async with running(tmp_path) as sim:
            assert await answers(sim) == expected

    arun(main())


OTHER_APP = """
import reflow as rf

class Note(rf.Table, table="notes"):
    title: str
    tag: str = ""
    meaning = rf.VectorIndex(dims=8, filters=("title",))

notes = rf.Module("notes")

@notes.query
async def named(ctx: rf.QueryCtx, title: str) -> list[str]:
    return [hit.doc.title for hit in await ctx.db.nearest(Note.meaning, [1.0] * 8, filter={"title": title})]
"""


def test_other_filters_make_another_file(tmp_path: Path) -> None:
    other: dict[str, Any] = {"__name__": "other"}
    exec(OTHER_APP, other)

    async def main() -> None:
        async with running(tmp_path) as sim:
            await sim.mutation(add, 0, 100)
        before = files(tmp_path)
        async with running(tmp_path, rf.App(modules=[other["notes"]], limits=LIMITS)) as sim:
            assert await sim.query(other["named"], "77") == ["77"]
        assert files(tmp_path) != before

    arun(main())


def test_small_places_have_no_file_and_no_log(tmp_path: Path) -> None:
    async def main() -> None:
        async with simulate(rf.App(modules=[notes]), storage=SqliteStorage(tmp_path), clock=clock) as sim:
            await sim.mutation(add, 0, 20)
            await sim.engine.prune()
            place = table_of(sim).place
            snapshot = await sim.engine.storage.snapshot()
            assert await snapshot.vector_log(*place, after=0) == []
            await snapshot.close()
        assert files(tmp_path) == []

    arun(main())


def test_a_disk_without_room_costs_only_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        (tmp_path / "vectors").touch()  # no directory can be made in its place
        async with running(tmp_path) as sim:
            await sim.mutation(add, 0, 100)
            await sim.engine.vectors.join()
            await sim.mutation(add, 100, 100)
            assert len(await sim.query(near, 150)) == 30
            expected = await answers(sim)
        async with running(tmp_path) as sim:
            assert await answers(sim) == expected

    arun(main())
    assert "could not be put in order" in caplog.text


def test_files_are_written_while_changes_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with running(tmp_path) as sim:
            for start in range(0, 400, 20):
                ids = await sim.mutation(add, start, 20)
                await sim.mutation(remove, ids[0])
                await sim.mutation(retag, ids[1], "c")
                if start % 100 == 0:
                    await sim.engine.prune()
                await asyncio.sleep(0.002)
            expected = await answers(sim)
        async with running(tmp_path) as sim:
            assert await answers(sim) == expected
        assert all(path.name.endswith(SUFFIX) for path in files(tmp_path))

    arun(main())
