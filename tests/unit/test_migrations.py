"""Migrations: in a running application, and before its schema is enforced."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import reflow as rf
from reflow.backend import Backend
from reflow.errors import CallFailed, DefinitionError, OutOfRetention, SchemaError
from reflow.migrations import Trial
from reflow.storage.base import Storage
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import SeededEntropy, Simulation, VirtualClock, simulate
from tests.support import arun

CLOCK = VirtualClock()
COUNT = 11


@pytest.fixture(params=["memory", "sqlite"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else SqliteStorage(tmp_path)


def tables() -> Any:
    """Versions of a table, where applications don't find them by themselves: each is given one."""

    class Old(rf.Table, table="notes"):
        text: str
        rank: int = 0

        by_rank = rf.Index("rank")
        words = rf.TextIndex("text", filters=("rank",))
        meaning = rf.VectorIndex(dims=2, filters=("rank",))

    class Renamed(rf.Table, table="notes", rename="camel"):
        """Ranks are texts under another name, and there is an owner."""

        text: str
        rank_name: str
        written_by: str

        by_rank = rf.Index("rank_name")
        words = rf.TextIndex("text", filters=("rank_name",))
        meaning = rf.VectorIndex(dims=2, filters=("rank_name",))

    return SimpleNamespace(Old=Old, Renamed=Renamed)


T = tables()


def version(table: Any, *steps: Callable[..., Any], **limits: Any) -> rf.App:
    """An application with a table and migrations of it."""
    module = rf.Module("notes")
    for step in steps:
        module.migration(table)(step)
    return rf.App(
        modules=[module],
        tables=[] if steps else [table],
        limits=rf.Limits(**({"migration_batch": 4, "scan_page": 3} | limits)),
    )


def path(step: Callable[..., Any]) -> str:
    return f"notes:{step.__name__}"


@asynccontextmanager
async def started(storage: Storage, app: rf.App) -> AsyncIterator[Simulation]:
    async with simulate(app, storage=storage, clock=CLOCK) as sim:
        yield sim
    CLOCK.advance(1)


@asynccontextmanager
async def raw(storage: Storage, app: rf.App) -> AsyncIterator[Backend]:
    """An application whose schema is not enforced."""
    CLOCK.advance(1)
    engine = app.engine(storage, clock=CLOCK, entropy=SeededEntropy(int(CLOCK.now())))
    await engine.start_raw()
    try:
        yield Backend(engine)
    finally:
        await engine.close()


async def fill(storage: Storage, count: int = COUNT) -> list[str]:
    """The former version, with documents; their ids."""
    async with started(storage, version(T.Old)) as sim:

        async def job(tx: Any) -> list[Any]:
            documents = [T.Old(text=f"word{n} every", rank=n) for n in range(count)]
            vectors = [{T.Old.meaning: [1.0, n]} for n in range(count)]
            return await rf.DatabaseWriter(tx).insert_many(documents, vectors=vectors)

        return await sim.engine.transact(job)


async def refused(storage: Storage, app: rf.App) -> str:
    with pytest.raises(SchemaError) as caught:
        async with started(storage, app):
            pass
    return str(caught.value)


async def inside(backend: Backend, work: Callable[[rf.DatabaseWriter], Any]) -> Any:
    return await backend.engine.transact(lambda tx: work(rf.DatabaseWriter(tx)))


async def dump(storage: Storage) -> list[Any]:
    await storage.open()
    try:
        snapshot = await storage.snapshot()
        rows = await snapshot.scan(10_001, 10_001, b"", b"\xff", limit=1000)
        await snapshot.close()
        return list(rows)
    finally:
        await storage.close()


async def statuses(backend: Backend) -> dict[str, rf.MigrationStatus]:
    return {row.name.removeprefix("notes:"): row for row in await backend.action("_migrations:list")}


async def trials(backend: Backend, name: str | None = None) -> list[Trial]:
    return await backend.action("_migrations:trials", name=name)


# Steps


async def rename_rank(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any] | None:
    if "rankName" in document:
        return None
    return {"rankName": f"r{document['rank']:02}", "rank": rf.UNSET}


async def add_writer(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any] | None:
    document["writtenBy"] = f"writer of {document['text']}"
    return document


async def double(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any] | None:
    """Not to be done twice. Leaves odd ones."""
    rank = document["rank"]
    return None if rank % 2 else {"rank": 2 * rank + 100, "text": document["text"].replace("every", "doubled")}


# In a running application


def test_a_running_application_migrates_with_its_indexes(storage: Storage) -> None:
    async def look(db: rf.DatabaseWriter) -> None:
        ranks = [2 * n + 100 if n % 2 == 0 else n for n in range(COUNT)]
        assert [note.rank for note in await db.query(T.Old).collect()] == ranks
        assert [note.rank for note in await db.query(T.Old).using(T.Old.by_rank).collect()] == sorted(ranks)
        assert sorted(hit.doc.rank for hit in await db.search(T.Old.words, "doubled", limit=99)) == sorted(ranks)[5:]
        assert [hit.doc.rank for hit in await db.search(T.Old.words, "doubled", rank=104)] == [104]
        assert len(await db.search(T.Old.words, "every", limit=99)) == 5
        assert [hit.doc.rank for hit in await db.nearest(T.Old.meaning, [1, 2], rank=104)] == [104]
        assert await db.nearest(T.Old.meaning, [1, 2], rank=2) == []
        assert len(await db.nearest(T.Old.meaning, [1, 2], limit=99)) == COUNT

    async def main() -> None:
        await fill(storage)
        app = version(T.Old, double)
        async with started(storage, app) as sim:
            (row,) = (await statuses(sim)).values()
            assert (row.state, row.looked, row.started) == ("pending", 0, None)
            done = await sim.action(path(double))
            assert (done.state, done.looked, done.changed, done.total) == ("done", 11, 6, 11)
            await inside(sim, look)
            assert (await sim.action(path(double))).state == "done"
            await inside(sim, look)  # it is done once
        async with started(storage, app) as sim:
            await inside(sim, look)

    arun(main())


def test_live_queries_follow_and_progress_is_live() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        await fill(storage)
        app = version(T.Old, double, add_nothing)
        live = rf.Module("live")

        @live.query
        async def progress(ctx: rf.QueryCtx) -> tuple[int, int]:
            rows = await ctx.db.query(rf.MigrationStatus).collect()
            doubled = await ctx.db.query(T.Old).using(T.Old.by_rank).gte(100).count()
            return sum(row.looked for row in rows), doubled

        both = rf.App(modules=[*app.modules, live], tables=[T.Old], limits=app.limits)
        async with started(storage, both) as sim:
            seen: list[tuple[int, int]] = []

            async def watch() -> None:
                async for found in sim.watch(progress):
                    seen.append(found)

            watching = asyncio.create_task(watch())
            await sim.quiet()
            await sim.action(path(double))
            await sim.quiet()
            watching.cancel()
            assert seen[0] == (0, 0)
            assert seen[-1] == (11, 6)
            assert set(seen) <= {(0, 0), (4, 2), (8, 4), (11, 6)}, "a batch and its note are one"

    arun(main())


async def add_nothing(ctx: rf.MigrationCtx, document: dict[str, Any]) -> None:
    return None


def test_documents_of_the_new_version_are_left_alone() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        await fill(storage)
        app = version(T.Old, double)
        async with started(storage, app):
            pass
        async with started(storage, app) as sim:
            await inside(sim, lambda db: db.insert(T.Old(text="new", rank=50)))
            done = await sim.action(path(double))
            assert (done.looked, done.changed) == (11, 6)
            ranks = [note.rank for note in await inside(sim, lambda db: db.query(T.Old).collect())]
            assert ranks[-1] == 50
            again = await sim.action(path(double), again=True)
            assert (again.looked, again.total) == (12, 12), "unless it is asked to begin again"

    arun(main())


def test_in_a_new_table_there_is_nothing_to_migrate() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        async with started(storage, version(T.Old, double)) as sim:
            assert {row.state for row in (await statuses(sim)).values()} == {"done"}
            await inside(sim, lambda db: db.insert(T.Old(text="new", rank=50)))
            assert (await sim.action(path(double))).changed == 0

    arun(main())


def test_what_has_run_is_remembered_through_a_version_without_it() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        await fill(storage)
        async with started(storage, version(T.Old, double)) as sim:
            await sim.action(path(double))
        async with started(storage, version(T.Old)) as sim:
            assert await statuses(sim) == {}
        async with started(storage, version(T.Old, double)) as sim:
            assert (await statuses(sim))["double"].state == "done"

    arun(main())


def test_a_migration_may_look_at_other_documents() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        ids = await fill(storage)

        async def chain(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any]:
            before = await ctx.get(ids[document["rank"] - 1]) if document["rank"] else None
            assert ctx.now() == CLOCK.now()
            ctx.log("at", document["rank"])
            return {"text": f"{before['text'].split()[0] if before else ''}{document['rank']} x"}

        async with started(storage, version(T.Old, chain)) as sim:
            await sim.action(path(chain))
            texts = [note.text for note in await inside(sim, lambda db: db.query(T.Old).collect())]
            assert texts[:3] == ["0 x", "01 x", "012 x"], "those that this batch has changed as they are now"
            assert texts[10].startswith("012345678910")

    arun(main())


def test_it_ends_when_its_time_is_up_and_goes_on() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        await fill(storage)

        async def slow(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any]:
            CLOCK.set_ns(CLOCK.now_ns() + 10**9)
            return {"rank": document["rank"] + 1}

        async with started(storage, version(T.Old, slow)) as sim:
            looked = [(await sim.action(path(slow), seconds=3)).looked for _ in range(3)]
            assert looked == [4, 8, 11]
            assert (await sim.action(path(slow), seconds=3)).state == "done"
            ranks = [note.rank for note in await inside(sim, lambda db: db.query(T.Old).collect())]
            assert ranks == list(range(1, 12))

    arun(main())


def test_large_documents_make_small_batches() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        async with started(storage, version(T.Old)) as sim:
            await inside(sim, lambda db: db.insert_many([T.Old(text="x" * size) for size in (600, 10, 600, 2000, 1)]))

        async def slow(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any]:
            CLOCK.set_ns(CLOCK.now_ns() + 10**9)
            return {"rank": 1}

        async with started(storage, version(T.Old, slow, migration_batch_bytes=1000)) as sim:
            looked = [(await sim.action(path(slow), seconds=1)).looked for _ in range(4)]
            assert looked == [2, 3, 4, 5]

    arun(main())


# Where it fails


def test_others_get_their_turns_between_large_documents() -> None:
    turns, seen = 0, list[int]()

    async def grow(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any]:
        seen.append(turns)
        return {"rank": 1}

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> None:
        app = version(T.Old, grow)
        async with started(MemoryStorage(), app) as sim:

            async def job(tx: Any) -> None:
                large = [T.Old(text="x" * 100_000) for _ in range(3)]
                await rf.DatabaseWriter(tx).insert_many(large)

            await sim.engine.transact(job)
            counting = asyncio.create_task(count_turns())
            status = await sim.action(path(grow), again=True)
            counting.cancel()
            assert status.changed == 3
            assert len(set(seen)) == 3

    arun(main())


def failing_at(rank: int) -> Callable[..., Any]:
    async def halt(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any]:
        if document["rank"] == rank:
            raise LookupError("not this one")
        return {"rank": document["rank"] + 1000}

    return halt


@pytest.mark.parametrize("mode", ["running", "raw"])
def test_a_migration_that_raises_leaves_whole_batches_and_goes_on_behind_them(storage: Storage, mode: str) -> None:
    async def main() -> None:
        ids = await fill(storage)
        opened = started if mode == "running" else raw
        async with opened(storage, version(T.Old, failing_at(6))) as backend:
            for _ in range(2):
                with pytest.raises(CallFailed) as caught:
                    await backend.action("notes:halt")
                assert f"notes:halt stopped at document {ids[6]} of table 'notes': LookupError: not this" in str(
                    caught.value
                )
                assert "4 of 11 documents are done" in str(caught.value)
                row = (await statuses(backend))["halt"]
                assert (row.state, row.looked, row.changed, row.document) == ("failed", 4, 4, ids[6])
                assert row.error == "LookupError: not this one"
        async with opened(storage, version(T.Old, failing_at(-1))) as backend:
            row = await backend.action("notes:halt")
            assert (row.state, row.looked, row.changed, row.document, row.error) == ("done", 11, 11, None, None)
        async with started(storage, version(T.Old, failing_at(-1))) as sim:
            ranks = [note.rank for note in await inside(sim, lambda db: db.query(T.Old).using(T.Old.by_rank).collect())]
            assert ranks == [1000 + n for n in range(COUNT)], "each document once"

    arun(main())


async def returns_a_list(ctx: Any, document: dict[str, Any]) -> Any:
    return [document]


async def takes_the_id(ctx: Any, document: dict[str, Any]) -> Any:
    del document["_id"]
    return document


async def changes_the_id(ctx: Any, document: dict[str, Any]) -> Any:
    return {"_id": "x"}


async def changes_the_time(ctx: Any, document: dict[str, Any]) -> Any:
    return {"_creationTime": 1.0}


async def names_what_is_ours(ctx: Any, document: dict[str, Any]) -> Any:
    return {"_mine": 1}


async def forgets_to_return(ctx: Any, document: dict[str, Any]) -> Any:
    document["rank"] = -5


async def waits_for_something(ctx: Any, document: dict[str, Any]) -> Any:
    await asyncio.sleep(0.01)


async def never_ends(ctx: Any, document: dict[str, Any]) -> Any:
    while True:
        pass


async def does_not_fit(ctx: Any, document: dict[str, Any]) -> Any:
    return {"rank": "three"}


async def adds_a_field(ctx: Any, document: dict[str, Any]) -> Any:
    return {"colour": "red"}


async def is_no_value(ctx: Any, document: dict[str, Any]) -> Any:
    return {"text": object()}


async def grows_too_large(ctx: Any, document: dict[str, Any]) -> Any:
    return {"text": "x" * (2 << 20)}


async def opens_a_file(ctx: Any, document: dict[str, Any]) -> Any:
    open("never.txt", "w").close()


BAD_STEPS = {
    returns_a_list: "it returned list: return a dict of changes",
    takes_the_id: "it removed _id, which is reflow's",
    changes_the_id: "it changed _id, which is reflow's",
    changes_the_time: "it changed _creationTime, which is reflow's",
    names_what_is_ours: "notes._mine is set by reflow",
    forgets_to_return: "it changed the document and returned None",
    waits_for_something: "it may await only ctx",
    never_ends: "longer than limits.function_cpu_seconds = 0.2",
    does_not_fit: "does not fit: Expected `int`, got `str` - at `$.rank`",
    adds_a_field: "does not fit: Object contains unknown field `colour`",
    is_no_value: "object",
    grows_too_large: "limits.document_bytes allows",
    opens_a_file: "opened 'never.txt' for writing",
}


@pytest.mark.parametrize("mode", ["running", "raw"])
@pytest.mark.parametrize("step", BAD_STEPS, ids=lambda step: step.__name__)
def test_wrong_steps_are_told_with_the_document_and_change_nothing(step: Callable[..., Any], mode: str) -> None:
    async def main() -> None:
        storage = MemoryStorage()
        ids = await fill(storage)
        before = await dump(storage)
        app = version(T.Old, step, function_cpu_seconds=0.2)
        async with (started if mode == "running" else raw)(storage, app) as backend:
            (trial,) = await trials(backend)
            if step is not never_ends:
                assert (trial.failing, trial.document) == (COUNT, ids[0])
            with pytest.raises(CallFailed) as caught:
                await backend.action(path(step))
            assert f"document {ids[0]} of table 'notes'" in str(caught.value)
            assert BAD_STEPS[step] in str(caught.value)
        assert await dump(storage) == before

    arun(main())


def test_wrong_definitions_are_refused() -> None:
    module = rf.Module("m")

    async def three(ctx: Any, document: Any, more: Any) -> None: ...

    def plain(ctx: Any, document: Any) -> None: ...

    with pytest.raises(DefinitionError, match=r"must take 2 parameters: ctx and the document"):
        module.migration(T.Old)(three)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DefinitionError, match=r"must be an `async def`"):
        module.migration(T.Old)(plain)  # pyright: ignore[reportArgumentType]
    with pytest.raises(DefinitionError, match=r"neither a table class nor a collection"):
        module.migration(int)  # pyright: ignore[reportArgumentType]
    module.migration(T.Old)(double)
    with pytest.raises(DefinitionError, match=r"m:double is defined twice"):
        module.migration(T.Old)(double)


def test_clients_can_not_run_migrations() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        await fill(storage)
        async with started(storage, version(T.Old, double)) as sim:
            assert sim.engine.public(path(double), "action") is None
            assert sim.engine.public("_migrations:list", "action") is None

    arun(main())


# Before the schema is enforced


def test_a_refused_deploy_names_the_migration_which_then_makes_it_fit(storage: Storage) -> None:
    app = version(T.Renamed, rename_rank, add_writer)

    async def look(db: rf.DatabaseWriter) -> None:
        names = [f"r{n:02}" for n in range(COUNT)]
        assert [note.rank_name for note in await db.query(T.Renamed).using(T.Renamed.by_rank).collect()] == names
        assert {note.written_by for note in await db.query(T.Renamed).take(1)} == {"writer of word0 every"}
        assert len(await db.search(T.Renamed.words, "every", limit=99)) == COUNT
        assert [hit.doc.rank_name for hit in await db.search(T.Renamed.words, "every", rank_name="r03")] == ["r03"]
        near = await db.nearest(T.Renamed.meaning, [1, 3], rank_name="r04")
        assert [hit.doc.rank_name for hit in near] == ["r04"]
        assert [hit.doc.rank_name for hit in await db.nearest(T.Renamed.meaning, [1, 3], limit=1)] == ["r03"]

    async def main() -> None:
        ids = await fill(storage)
        text = await refused(storage, app)
        assert f"document {ids[0]} of table 'notes'" in text
        assert "Nothing was changed. `reflow migrate notes:rename_rank` changes the documents" in text
        assert "notes:add_writer then follows" in text
        async with raw(storage, app) as backend:
            with pytest.raises(CallFailed, match=r"comes after notes:rename_rank, which is not done"):
                await backend.action(path(add_writer))
            row = await backend.action(path(rename_rank))
            assert (row.state, row.changed) == ("done", COUNT)
        assert "`reflow migrate notes:add_writer` changes" in await refused(storage, app)
        async with raw(storage, app) as backend:
            row = await backend.action(path(add_writer))
            assert (row.state, row.changed) == ("done", COUNT)
        for _ in range(2):
            async with started(storage, app) as sim:
                await inside(sim, look)
                assert {row.state for row in (await statuses(sim)).values()} == {"done"}

    arun(main())


def test_the_last_migration_of_a_table_must_leave_what_fits(storage: Storage) -> None:
    async def add_writer_often(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any] | None:
        return None if document["rankName"] == "r06" else {"writtenBy": "x"}

    async def main() -> None:
        ids = await fill(storage)
        app = version(T.Renamed, rename_rank, add_writer_often)
        async with raw(storage, app) as backend:
            await backend.action(path(rename_rank))
            with pytest.raises(CallFailed) as caught:
                await backend.action(path(add_writer_often))
            assert f"document {ids[6]}" in str(caught.value)
            assert "missing required field `writtenBy`" in str(caught.value)
        assert f"document {ids[4]}" in await refused(storage, app), "its batch was dropped as a whole"

    arun(main())


def test_a_migration_that_did_not_help_is_named(storage: Storage) -> None:
    class Stricter(rf.Table, table="notes"):
        text: str
        rank: str

    async def wrong(ctx: rf.MigrationCtx, document: dict[str, Any]) -> None:
        return None

    async def right(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any]:
        return {"rank": str(document["rank"])}

    right.__name__ = "wrong"

    async def main() -> None:
        await fill(storage)
        async with started(storage, version(T.Old, wrong)) as sim:
            await sim.action("notes:wrong")
        text = await refused(storage, version(Stricter, wrong))
        assert "notes:wrong is done and did not help: mend it and run `reflow migrate notes:wrong --again`" in text
        async with raw(storage, version(Stricter, right)) as backend:
            await backend.action("notes:wrong", again=True)
        async with started(storage, version(Stricter, right)) as sim:
            assert (await inside(sim, lambda db: db.query(Stricter).first())).rank == "0"

    arun(main())


def test_without_a_migration_the_ways_out_are_told(storage: Storage) -> None:
    async def main() -> None:
        await fill(storage)
        assert "write a migration (@module.migration)" in await refused(storage, version(T.Renamed))

    arun(main())


def test_the_former_version_goes_on_where_what_was_changed_fits_it(storage: Storage) -> None:
    """Its indexes were not kept up meanwhile, so they are built anew; so is what files of vectors hold of documents."""

    async def look(db: rf.DatabaseWriter) -> None:
        ranks = sorted(n if n % 2 else 2 * n + 100 for n in range(COUNT))
        assert [note.rank for note in await db.query(T.Old).using(T.Old.by_rank).collect()] == ranks
        assert len(await db.search(T.Old.words, "doubled", limit=99)) == 6
        assert [hit.doc.rank for hit in await db.nearest(T.Old.meaning, [1, 2], rank=104)] == [104]
        assert await db.nearest(T.Old.meaning, [1, 2], rank=2) == []

    async def main() -> None:
        await fill(storage)
        async with started(storage, version(T.Old, vector_file_bytes=1)):
            pass  # leaves files of vectors, where there are any
        async with raw(storage, version(T.Old, double)) as backend:
            assert (await backend.action(path(double))).changed == 6
        async with started(storage, version(T.Old, vector_file_bytes=1)) as sim:
            await inside(sim, look)

    arun(main())


def test_a_look_leaves_files_of_vectors_as_they_are(tmp_path: Path) -> None:
    async def main() -> None:
        storage = SqliteStorage(tmp_path)
        await fill(storage)
        app = version(T.Old, vector_file_bytes=1)
        async with started(storage, app):
            pass
        files = sorted((tmp_path / "vectors").iterdir())
        assert files
        async with raw(storage, app) as backend:
            assert await statuses(backend) == {}
        assert sorted((tmp_path / "vectors").iterdir()) == files
        async with started(storage, app) as sim:
            (table,) = [table for table in sim.engine.vectors.tables.values() if table.bytes]
            assert table.file is not None

    arun(main())


def test_the_former_version_is_refused_where_it_does_not_fit_any_more(storage: Storage) -> None:
    async def main() -> None:
        ids = await fill(storage)
        async with raw(storage, version(T.Renamed, rename_rank, add_writer)) as backend:
            await backend.action(path(rename_rank))
        text = await refused(storage, version(T.Old))
        assert f"document {ids[0]}" in text
        assert "rankName" in text

    arun(main())


def test_what_was_before_can_not_be_read_after_a_raw_migration(storage: Storage) -> None:
    async def main() -> None:
        await fill(storage)
        reads = rf.Module("reads")

        @reads.query
        async def count(ctx: rf.QueryCtx) -> int:
            return len(await ctx.db.query(T.Renamed).collect())

        migrating = version(T.Renamed, rename_rank, add_writer)
        app = rf.App(modules=[*migrating.modules, reads], tables=[T.Renamed], limits=migrating.limits)
        await storage.open()
        before = (await storage.snapshot()).ts
        await storage.close()
        async with raw(storage, app) as backend:
            await backend.action(path(rename_rank))
            await backend.action(path(add_writer))
            assert backend.engine.committer.published > before
        async with started(storage, app) as sim:
            assert await sim.query(count) == COUNT
            with pytest.raises(OutOfRetention):
                await sim.engine.query_at(count, b"{}", before)

    arun(main())


def test_a_collection_can_be_migrated_and_a_table_made_of_it(storage: Storage) -> None:
    class Log(rf.Table, table="logs"):
        level: str
        size: float

    logs = rf.collection("logs", by_level=rf.Index("level"))

    async def tidy(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any]:
        extra = [name for name in document if name not in ("_id", "_creationTime", "level")]
        return {"level": str(document.get("level")), "size": len(extra)} | dict.fromkeys(extra, rf.UNSET)

    async def main() -> None:
        async with started(storage, version(logs)) as sim:
            for document in ({"level": 3, "a": 1, "b": b"x"}, {"level": "x", "n": rf.Int64(5)}, {}):
                await inside(sim, lambda db, document=document: db.insert(logs, document))
        app = version(Log, tidy)
        await refused(storage, app)
        async with raw(storage, app) as backend:
            await backend.action(path(tidy))
        async with started(storage, app) as sim:
            rows = await inside(sim, lambda db: db.query(Log).collect())
            assert [(row.level, row.size) for row in rows] == [("3", 2.0), ("x", 1.0), ("None", 0.0)]

    arun(main())


def test_a_migration_gives_documents_their_owners(storage: Storage) -> None:
    class Owned(rf.Table, table="notes", owner="user"):
        user: str = rf.owner()
        text: str
        rank: int = 0

    async def give(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any]:
        return {"user": f"https://id.example.com|{'even' if document['rank'] % 2 == 0 else 'odd'}"}

    reads = rf.Module("reads")

    @reads.query
    async def ranks(ctx: rf.QueryCtx) -> list[int]:
        return [note.rank for note in await ctx.db.query(Owned).collect()]

    async def main() -> None:
        await fill(storage)
        app = version(Owned, give)
        async with raw(storage, app) as backend:
            await backend.action(path(give))
        async with started(storage, rf.App(modules=[*app.modules, reads])) as sim:
            for subject, expected in (("even", [0, 2, 4, 6, 8, 10]), ("odd", [1, 3, 5, 7, 9]), ("other", [])):
                identity = rf.Identity(issuer="https://id.example.com", subject=subject)
                result = await sim.engine.query(ranks, b"{}", identity)
                assert ranks.decode_result(result.value or b"") == expected

    arun(main())


# Trying


@pytest.mark.parametrize("mode", ["running", "raw"])
def test_a_trial_counts_and_changes_nothing(storage: Storage, mode: str) -> None:
    async def main() -> None:
        await fill(storage)
        before = await dump(storage)
        async with (started if mode == "running" else raw)(storage, version(T.Old, double)) as backend:
            (trial,) = await trials(backend)
            assert (trial.documents, trial.changed, trial.failing, trial.error) == (11, 6, 0, None)
            assert (trial.table_name, trial.migrations) == ("notes", ["notes:double"])
            assert (await statuses(backend))["double"].state == "pending"
        assert await dump(storage) == before

    arun(main())


def test_a_trial_runs_all_that_are_open_one_after_another(storage: Storage) -> None:
    async def main() -> None:
        ids = await fill(storage)
        app = version(T.Renamed, rename_rank, add_writer)
        async with raw(storage, app) as backend:
            (trial,) = await trials(backend)
            assert (trial.migrations, trial.changed, trial.failing) == ([path(rename_rank), path(add_writer)], 11, 0)
            (trial,) = await trials(backend, path(rename_rank))
            assert (trial.migrations, trial.changed, trial.failing) == ([path(rename_rank)], 11, 0)
            await backend.action(path(rename_rank))
            (trial,) = await trials(backend)
            assert (trial.migrations, trial.changed, trial.failing) == ([path(add_writer)], 11, 0)
            with pytest.raises(CallFailed, match=r"no migration 'notes:other' in this app; it has notes:rename_rank"):
                await trials(backend, "notes:other")
        lacking = version(T.Renamed, rename_rank)
        async with raw(storage, lacking) as backend:
            (trial,) = await trials(backend, path(rename_rank))
            assert (trial.changed, trial.failing, trial.document) == (0, 11, ids[0])
            assert "missing required field `writtenBy`" in str(trial.error)

    arun(main())


def test_a_trial_knows_what_is_done_already() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        await fill(storage)
        async with started(storage, version(T.Old, failing_at(6))) as sim:
            with pytest.raises(CallFailed):
                await sim.action("notes:halt")
            (trial,) = await trials(sim)
            assert (trial.documents, trial.changed, trial.failing) == (7, 6, 1)

    arun(main())
