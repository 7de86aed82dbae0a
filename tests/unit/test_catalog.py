from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import reflow as rf
from reflow.errors import SchemaError
from reflow.storage.base import Storage
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import VirtualClock, simulate
from tests.support import arun

Tabular = Any


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path)


def first_version() -> Tabular:
    class Note(rf.Table, table="notes"):
        text: str
        rank: int = 0

        by_rank = rf.Index("rank")
        words = rf.TextIndex("text")
        meaning = rf.VectorIndex(dims=2)

    return Note


CLOCK = VirtualClock()


async def deploy(storage: Storage, table: Tabular, work: Callable[[Any], Any] | None = None) -> Any:
    """Starts an application with one table, does something in a transaction, and stops."""
    app = rf.App(modules=[], tables=[table], limits=rf.Limits(scan_page=4))
    async with simulate(app, storage=storage, clock=CLOCK) as sim:

        async def job(tx: Any) -> Any:
            return None if work is None else await work(rf.DatabaseWriter(tx))

        return await sim.engine.transact(job)


def filling(table: Tabular, count: int = 11) -> Callable[[Any], Any]:
    async def fill(db: Any) -> None:
        documents = [table(text=f"word{n} every", rank=-n) for n in range(count)]
        await db.insert_many(documents, vectors=[{table.meaning: [1, n]} for n in range(count)])

    return fill


async def dump(storage: Storage) -> Any:
    """All that a storage holds, as far as its protocol tells."""
    await storage.open()
    try:
        meta = await storage.read_meta()
        snapshot = await storage.snapshot()
        found = [meta, snapshot.ts, await snapshot.undo(0)]
        for number in (10_001, 10_002):
            found.append(await snapshot.scan(number, number, b"", b"\xff", limit=1000))
        await snapshot.close()
        return found
    finally:
        await storage.close()


def test_new_indexes_are_filled(storage: Storage) -> None:
    class Note(rf.Table, table="notes"):
        text: str
        rank: int = 0

        by_rank = rf.Index("rank")
        by_text = rf.Index("text")
        words = rf.TextIndex("text")
        also = rf.TextIndex("text", filters=("rank",))
        meaning = rf.VectorIndex(dims=2, filters=("rank",))

    async def look(db: Any) -> None:
        assert [note.rank for note in await db.query(Note).using(Note.by_rank).collect()] == list(range(-10, 1))
        assert [note.rank for note in await db.query(Note).using(Note.by_text).gt("word5").take(3)] == [-5, -6, -7]
        assert len(await db.search(Note.also, "every", limit=20)) == 11
        assert [hit.doc.rank for hit in await db.search(Note.also, "every", rank=-3)] == [-3]
        assert [hit.doc.rank for hit in await db.nearest(Note.meaning, [1, 3], rank=-4)] == [-4], "filters are new"
        assert len(await db.nearest(Note.meaning, [1, 3], limit=20)) == 11, "the vectors stayed"

    async def main() -> None:
        old = first_version()
        await deploy(storage, old, filling(old))
        await deploy(storage, Note, look)
        await deploy(storage, Note, look)

    arun(main())


def test_the_same_schema_writes_nothing(storage: Storage) -> None:
    async def main() -> None:
        old = first_version()
        await deploy(storage, old, filling(old))
        before = await dump(storage)
        await deploy(storage, first_version())
        assert await dump(storage) == before

    arun(main())


def test_a_docstring_is_no_change_of_schema(storage: Storage) -> None:
    class Note(rf.Table, table="notes"):
        """Now explained."""

        text: str
        rank: int = 0

        by_rank = rf.Index("rank")
        words = rf.TextIndex("text")
        meaning = rf.VectorIndex(dims=2)

    async def main() -> None:
        old = first_version()
        await deploy(storage, old, filling(old))
        before = await dump(storage)
        await deploy(storage, Note)
        assert await dump(storage) == before

    arun(main())


def test_a_changed_index_is_built_anew_and_a_dropped_one_goes(storage: Storage) -> None:
    class Note(rf.Table, table="notes"):
        text: str
        rank: int = 0

        by_rank = rf.Index("text", "rank")

    async def look(db: Any) -> None:
        assert [note.rank for note in await db.query(Note).using(Note.by_rank, text="word3 every").collect()] == [-3]
        assert await db.query(Note).using(Note.by_rank).count() == 11
        (note,) = await db.query(Note).using(Note.by_rank, text="word3 every").collect()
        await db.patch(note.id, rank=100, text="changed")

    async def look_again(db: Any) -> None:
        note = await db.query(again).using(again.by_rank).order("desc").first()
        assert (note.rank, note.text) == (100, "changed"), "what changed meanwhile is in the index that came back"
        assert await db.search(again.words, "word3") == []
        assert await db.nearest(again.meaning, [1, 1]) == [], "an index that was removed took its vectors along"

    async def main() -> None:
        old = first_version()
        await deploy(storage, old, filling(old))
        await deploy(storage, Note, look)
        await deploy(storage, again, look_again)

    again = first_version()
    arun(main())


def test_a_new_field_with_a_default_is_seen_and_indexed(storage: Storage) -> None:
    def version(default: str) -> Tabular:
        class Note(rf.Table, table="notes"):
            text: str
            rank: int = 0
            level: str = default

            by_level = rf.Index("level", "rank")

        return Note

    async def main() -> None:
        old = first_version()
        await deploy(storage, old, filling(old))
        for default in ("low", "high"):
            table = version(default)

            async def look(db: Any, table: Any = table, default: str = default) -> None:
                found = await db.query(table).using(table.by_level, level=default).collect()
                assert [note.level for note in found] == [default] * 11
                assert await db.query(table).using(table.by_level).count() == 11

            await deploy(storage, table, look)

    arun(main())


def test_a_deploy_that_does_not_fit_names_the_first_document_and_changes_nothing(storage: Storage) -> None:
    class Note(rf.Table, table="notes"):
        text: str
        rank: str

        by_text = rf.Index("text")

    class Needs(rf.Table, table="notes"):
        text: str
        rank: int = 0
        owner: str

    class Drops(rf.Table, table="notes"):
        text: str

    async def first(db: Any) -> str:
        return (await db.query(old).first()).id

    async def count(db: Any) -> int:
        return await db.query(old).using(old.by_rank).count()

    old = first_version()

    async def main() -> None:
        await deploy(storage, old, filling(old))
        id = await deploy(storage, old, first)
        before = await dump(storage)
        for table, says in ((Note, "rank"), (Needs, "owner"), (Drops, "rank")):
            with pytest.raises(SchemaError) as caught:
                await deploy(storage, table)
            assert f"document {id} of table 'notes'" in str(caught.value)
            assert says in str(caught.value)
            assert "Nothing was changed" in str(caught.value)
            assert await dump(storage) == before
        assert await deploy(storage, old, count) == 11

    arun(main())


def test_vectors_are_not_dropped_by_other_dims(storage: Storage) -> None:
    class Note(rf.Table, table="notes"):
        text: str
        rank: int = 0

        meaning = rf.VectorIndex(dims=3)

    async def main() -> None:
        old = first_version()
        await deploy(storage, old, filling(old))
        before = await dump(storage)
        with pytest.raises(SchemaError, match=r"notes.meaning holds vectors of 2 numbers"):
            await deploy(storage, Note)
        assert await dump(storage) == before

    arun(main())


def test_progress_is_told(storage: Storage) -> None:
    class Note(rf.Table, table="notes"):
        text: str
        rank: int = 0

        by_text = rf.Index("text")

    async def main() -> None:
        old = first_version()
        await deploy(storage, old, filling(old))
        told: list[tuple[str, int]] = []
        app = rf.App(modules=[], tables=[Note], limits=rf.Limits(scan_page=4))
        engine = app.engine(storage)
        await engine.start(lambda table, seen: told.append((table, seen)))
        await engine.close()
        assert told == [("notes", 4), ("notes", 8), ("notes", 11)]

    arun(main())
