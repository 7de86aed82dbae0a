"""The SQLite file: what is refused at opening, what a failing disk does, how the write-ahead log stays small."""

from __future__ import annotations

import asyncio
import os
import resource
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from reflow.errors import (
    Corrupted,
    DirectoryInUse,
    LimitExceeded,
    NotOurs,
    OtherVersion,
    StorageError,
    StorageUnavailable,
)
from reflow.limits import DEFAULT
from reflow.storage.base import TOP, Batch, Storage, TextTerm, VectorWrite
from reflow.storage.sqlite import SqliteStorage
from tests.support import arun
from tests.support.storages import RANGE, TABLE, TEXT, VECTOR, commit, insert, opened, reading


async def fill(directory: Path, documents: int = 200) -> None:
    async with opened(SqliteStorage(directory)) as storage:
        await commit(storage, 1, *(insert(seq, "v" * 300, field=f"f{seq}", tokens="red") for seq in range(documents)))


def state(directory: Path) -> dict[str, tuple[bytes, int]]:
    return {p.name: (p.read_bytes(), p.stat().st_mtime_ns) for p in directory.glob("*.db")}


def refused(directory: Path, error: type[StorageError], *parts: str) -> None:
    """Opening must fail with that error, name these parts, and leave the database as it was."""
    before = state(directory)

    async def main() -> None:
        storage = SqliteStorage(directory)
        for _ in range(2):
            with pytest.raises(error) as raised:
                await storage.open()
            for part in parts:
                assert part in str(raised.value)

    arun(main())
    assert state(directory) == before


def make_database(path: Path, *statements: str) -> None:
    connection = apsw.Connection(str(path))
    for statement in statements:
        connection.execute(statement)
    connection.close()


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reflow.db").write_bytes(b"hello, these are my notes" * 100)
    refused(tmp_path, NotOurs, "reflow.db", "not a SQLite database", "another data directory")


def test_a_short_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reflow.db").write_bytes(b"notes")
    refused(tmp_path, NotOurs, "not a SQLite database")


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    make_database(tmp_path / "reflow.db", "CREATE TABLE notes (text)", "PRAGMA application_id = 77")
    refused(tmp_path, NotOurs, "another program", "0x4d")


@pytest.mark.parametrize(("version", "way"), [(0, "Export it"), (3, "Upgrade reflow")])
def test_another_version_of_the_format_is_refused(tmp_path: Path, version: int, way: str) -> None:
    arun(fill(tmp_path))
    make_database(tmp_path / "reflow.db", f"PRAGMA user_version = {version}")
    refused(tmp_path, OtherVersion, f"format {version}", "reads 2", way)


def test_the_first_format_is_brought_up_to_date(tmp_path: Path) -> None:
    arun(fill(tmp_path))
    make_database(tmp_path / "reflow.db", "DROP TABLE vector_log", "PRAGMA user_version = 1")

    async def main() -> None:
        storage = SqliteStorage(tmp_path)
        ts = await storage.open()
        async with reading(storage) as snapshot:
            documents = await snapshot.scan(TABLE, TABLE, b"", TOP, limit=9)
            assert documents
            assert await snapshot.vector_log(VECTOR, 1, after=0) == []
        await commit(storage, ts + 1, vectors=[VectorWrite(VECTOR, 1, 4, b"abcd")])
        await storage.close()
        await storage.open()
        async with reading(storage) as snapshot:
            assert await snapshot.scan(TABLE, TABLE, b"", TOP, limit=9) == documents
            assert await snapshot.vector_log(VECTOR, 1, after=ts) == [4]
        await storage.close()

    arun(main())


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "reflow.db").touch()
    refused(tmp_path, Corrupted, "cut off after 0 bytes")


@pytest.mark.parametrize("kept", [60, 4096, -4096, -1])
def test_a_truncated_file_is_refused(tmp_path: Path, kept: int) -> None:
    arun(fill(tmp_path))
    path = tmp_path / "reflow.db"
    path.write_bytes(path.read_bytes()[:kept])
    refused(tmp_path, Corrupted, "reflow.db", "cut off", "backup")


def test_damage_of_the_schema_is_met_at_opening(tmp_path: Path) -> None:
    arun(fill(tmp_path))
    path = tmp_path / "reflow.db"
    whole = path.read_bytes()
    path.write_bytes(whole[:100] + b"\xa5" * 3000 + whole[3100:])
    refused(tmp_path, Corrupted, "reflow.db", "backup")


def test_a_database_without_its_tables_is_refused(tmp_path: Path) -> None:
    arun(fill(tmp_path))
    make_database(tmp_path / "reflow.db", "DROP TABLE requests")
    refused(tmp_path, Corrupted, "lacks the table 'requests'")


def test_damage_met_by_a_read_is_a_storage_error(tmp_path: Path) -> None:
    arun(fill(tmp_path))
    path = tmp_path / "reflow.db"
    whole = bytearray(path.read_bytes())
    connection: Any = apsw.Connection(str(path))
    leaves = connection.execute("SELECT pageno FROM dbstat WHERE name = 'd_10001' AND pagetype = 'leaf'").fetchall()
    connection.close()
    for (page,) in leaves[2:-2]:
        whole[(page - 1) * 4096 : page * 4096] = b"\xa5" * 4096
    path.write_bytes(whole)

    async def main() -> None:
        storage = SqliteStorage(tmp_path)
        await storage.open()
        async with reading(storage) as snapshot:
            for _ in range(2):
                with pytest.raises(Corrupted, match=r"reflow\.db is damaged"):
                    await snapshot.scan(TABLE, TABLE, b"", TOP, limit=1000)
                with pytest.raises(Corrupted):
                    await snapshot.count(TABLE, TABLE, b"", TOP)
            assert await snapshot.get(TABLE, 0) == b"v" * 300
        async with reading(storage) as snapshot:
            assert await snapshot.get(TABLE, 0) == b"v" * 300, "what is whole can still be read"
        await storage.apply(Batch(2, [insert(900)]))
        with pytest.raises(Corrupted):
            await (await storage.head()).scan(TABLE, TABLE, b"", TOP, limit=1000)
        await storage.rollback()
        await commit(storage, 2, insert(901))
        await storage.close()

    arun(main())


def test_a_file_in_place_of_the_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    refused(tmp_path / "data", StorageUnavailable, "data", "a file is in its place")
    refused(tmp_path / "data" / "below", StorageUnavailable, "a file is in its place")
    assert (tmp_path / "data").read_text() == "a file"


@contextmanager
def ordinary_user() -> Iterator[None]:
    """Permissions bind only those who are not root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_a_directory_without_permission_is_refused(tmp_path: Path) -> None:
    async def main(directory: Path) -> None:
        with ordinary_user(), pytest.raises(StorageUnavailable, match=r"Permission denied.*permissions"):
            await SqliteStorage(directory).open()

    (tmp_path / "data").mkdir(mode=0)
    arun(main(tmp_path / "data"))
    arun(main(tmp_path / "data" / "below"))


def test_a_file_without_permission_to_write_is_refused() -> None:
    async def main(directory: Path) -> None:
        with ordinary_user(), pytest.raises(StorageUnavailable, match=r"reflow\.db can't be written"):
            await SqliteStorage(directory).open()

    with tempfile.TemporaryDirectory() as directory:
        arun(fill(Path(directory)))
        Path(directory).chmod(0o777)
        (Path(directory) / "reflow.db").chmod(0o444)
        arun(main(Path(directory)))


def test_a_database_locked_by_another_program_is_named(tmp_path: Path) -> None:
    arun(fill(tmp_path))
    other = apsw.Connection(str(tmp_path / "reflow.db"))

    async def main() -> None:
        storage = SqliteStorage(tmp_path, limits=replace(DEFAULT, sqlite_busy_seconds=0.01))
        await storage.open()
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(DirectoryInUse, match="another program"):
            await storage.apply(Batch(2, [insert(900)]))
        other.execute("ROLLBACK")
        await commit(storage, 2, insert(900))
        await storage.close()

    arun(main())
    other.close()


def test_files_are_for_their_owner_alone(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(SqliteStorage(tmp_path / "new" / "data")) as storage:
            await commit(storage, 1, insert(1))
            modes = {p.name: p.stat().st_mode & 0o777 for p in (tmp_path / "new" / "data").iterdir()}
            assert set(modes) == {"reflow.db", "reflow.db-wal", "reflow.db-shm"}
            assert set(modes.values()) == {0o600}
        assert [p.name for p in (tmp_path / "new" / "data").iterdir()] == ["reflow.db"]

    arun(main())


def test_what_is_left_of_an_interrupted_creation_is_built_anew(tmp_path: Path) -> None:
    (tmp_path / "reflow.db.new").write_bytes(b"half")
    (tmp_path / "reflow.db.new-journal").write_bytes(b"half")
    arun(fill(tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["reflow.db"]


class BadDisk(apsw.VFS):
    """A file system whose write-ahead logs fail on demand."""

    def __init__(self) -> None:
        super().__init__("bad-disk", "")
        self.fail: Callable[[str], None] = lambda operation: None

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        disk = self
        is_log = bool(flags[0] & apsw.SQLITE_OPEN_WAL)

        class File(apsw.VFSFile):
            def __init__(self) -> None:
                super().__init__("", name, flags)

            def xWrite(self, data: bytes, offset: int) -> None:
                if is_log:
                    disk.fail("write")
                super().xWrite(data, offset)

            def xSync(self, flags: int) -> None:
                if is_log:
                    disk.fail("sync")
                super().xSync(flags)

        return File()

    def breaks(self, operation: str, error: type[apsw.Error], *, after: int = 0) -> None:
        calls = 0

        def fail(called: str) -> None:
            nonlocal calls
            calls += called == operation
            if called == operation and calls > after:
                raise error("as the test wants it")

        self.fail = fail

    def heals(self) -> None:
        self.fail = lambda operation: None


@pytest.fixture
def disk() -> Iterator[BadDisk]:
    disk = BadDisk()
    yield disk
    disk.unregister()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    ("durability", "operation", "error", "after"),
    [
        ("full", "write", apsw.FullError, 0),
        ("full", "write", apsw.IOError, 3),
        ("full", "sync", apsw.IOError, 0),
        ("relaxed", "write", apsw.FullError, 0),
        ("relaxed", "write", apsw.IOError, 3),
    ],
)
def test_a_failed_commit_leaves_nothing_and_the_next_one_works(
    tmp_path: Path, disk: BadDisk, durability: Any, operation: str, error: type[apsw.Error], after: int
) -> None:
    async def main() -> None:
        async with opened(SqliteStorage(tmp_path, durability=durability, vfs="bad-disk")) as storage:
            await commit(storage, 1, insert(1, "one", field="a", tokens="red"))
            await storage.apply(Batch(2, [insert(2, "two" * 5000, field="b", tokens="red")]))
            disk.breaks(operation, error, after=after)
            with pytest.raises(StorageUnavailable, match=r"reflow\.db"):
                await storage.commit()
            with pytest.raises(StorageUnavailable):
                await commit(storage, 2, insert(3, "three" * 5000))
            disk.heals()
            async with reading(storage) as snapshot:
                assert snapshot.ts == 1
                assert await snapshot.get_many(TABLE, [1, 2, 3]) == [b"one", None, None]
            await commit(storage, 2, insert(4, "four", field="d", tokens="red"))
        storage = SqliteStorage(tmp_path)
        assert await storage.open() == 2
        async with reading(storage) as snapshot:
            assert await snapshot.get_many(TABLE, [1, 2, 3, 4]) == [b"one", None, None, b"four"]
            assert await snapshot.count(TABLE, RANGE, b"", TOP) == 2
            assert (await snapshot.text_stats(TEXT, [TextTerm("red")])).matches == (2,)
        await storage.close()

    arun(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_commit_that_failed_at_the_sync_does_not_come_back_after_a_kill(tmp_path: Path, disk: BadDisk) -> None:
    """Its frames are complete in the log; recovery would take them for committed."""

    async def main() -> None:
        async with opened(SqliteStorage(tmp_path / "a", vfs="bad-disk")) as storage:
            await commit(storage, 1, insert(1, "one"))
            await storage.apply(Batch(2, [insert(2, "two")]))
            failed = iter([True])

            def once(operation: str) -> None:
                if operation == "sync" and next(failed, False):
                    raise apsw.IOError("as the test wants it")

            disk.fail = once
            with pytest.raises(StorageUnavailable):
                await storage.commit()
            (tmp_path / "b").mkdir()
            for name in ("reflow.db", "reflow.db-wal"):
                (tmp_path / "b" / name).write_bytes((tmp_path / "a" / name).read_bytes())
        storage = SqliteStorage(tmp_path / "b")
        assert await storage.open() == 1
        async with reading(storage) as snapshot:
            assert await snapshot.get_many(TABLE, [1, 2]) == [b"one", None]
        await storage.close()

    arun(main())


def test_a_real_full_file_fails_the_group_and_no_more(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(SqliteStorage(tmp_path)) as storage:
            await commit(storage, 1, insert(1, "one"))
            soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
            resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
            try:
                with pytest.raises(StorageUnavailable):
                    await commit(storage, 2, insert(2, "x" * 400_000))
            finally:
                resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
            await commit(storage, 2, insert(3, "three"))
            async with reading(storage) as snapshot:
                assert await snapshot.get_many(TABLE, [1, 2, 3]) == [b"one", None, b"three"]

    arun(main())


def test_a_hook_that_raises_before_the_commit_undoes_the_group(tmp_path: Path) -> None:
    def on_commit(moment: str) -> None:
        if armed and moment == "before":
            raise RuntimeError("stop")

    armed: list[bool] = []

    async def main() -> None:
        async with opened(SqliteStorage(tmp_path, on_commit=on_commit)) as storage:
            armed.append(True)
            with pytest.raises(RuntimeError, match="stop"):
                await commit(storage, 1, insert(1))
            armed.clear()
            await commit(storage, 1, insert(2))
            async with reading(storage) as snapshot:
                assert await snapshot.get_many(TABLE, [1, 2]) == [None, b"v"]

    arun(main())


def test_the_event_loop_runs_while_a_commit_waits_for_the_disk(tmp_path: Path) -> None:
    turns: list[int] = []

    async def main() -> None:
        loop = asyncio.get_running_loop()
        async with opened(SqliteStorage(tmp_path, on_commit=lambda moment: wait_for_turns(loop))) as storage:
            await commit(storage, 1, insert(1))

    def wait_for_turns(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.run_coroutine_threadsafe(count_turns(), loop).result(timeout=60)

    async def count_turns() -> None:
        for _ in range(10):
            turns.append(1)
            await asyncio.sleep(0)

    arun(main())
    assert len(turns) >= 20


def test_a_cancelled_commit_has_ended_when_the_cancellation_arrives(tmp_path: Path) -> None:
    async def main() -> None:
        started, ended = asyncio.Event(), []
        loop = asyncio.get_running_loop()

        def on_commit(moment: str) -> None:
            if moment == "before":
                loop.call_soon_threadsafe(started.set)
                asyncio.run_coroutine_threadsafe(asyncio.sleep(0.02), loop).result(timeout=60)
            else:
                ended.append(moment)

        storage = SqliteStorage(tmp_path, on_commit=on_commit)
        async with opened(storage):
            ended.clear()
            started.clear()
            await storage.apply(Batch(1, [insert(1)]))
            task = asyncio.ensure_future(storage.commit())
            await started.wait()
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert ended == ["after"]
            await commit(storage, 2, insert(2))
            async with reading(storage) as snapshot:
                assert await snapshot.get_many(TABLE, [1, 2]) == [b"v", b"v"]

    arun(main())


@pytest.mark.parametrize("durability", ["full", "relaxed"])
@pytest.mark.parametrize("readers", [0, 3], ids=["alone", "beside readers"])
def test_the_write_ahead_log_stays_small(tmp_path: Path, durability: Any, readers: int) -> None:
    limits = replace(DEFAULT, wal_pages=50)

    async def main() -> None:
        writing = True

        async def read(storage: Storage, turns: int) -> None:
            """Holds one snapshot after the other, each open before the last one is closed."""
            snapshot = await storage.snapshot()
            while writing:
                for _ in range(turns):
                    await asyncio.sleep(0)
                old, snapshot = snapshot, await storage.snapshot()
                await old.close()
            await snapshot.close()

        async with opened(SqliteStorage(tmp_path, durability=durability, limits=limits)) as storage:
            tasks = [asyncio.ensure_future(read(storage, 20 + turns)) for turns in range(readers)]
            largest = 0
            for ts in range(1, 300):
                await commit(storage, ts, insert(ts, "v" * 3000))
                await asyncio.sleep(0)
                largest = max(largest, (tmp_path / "reflow.db-wal").stat().st_size)
            writing = False
            await asyncio.gather(*tasks)
            assert largest < (6 if readers else 2) * 50 * 4120
            async with reading(storage) as after:
                assert await after.count(TABLE, TABLE, b"", TOP) == 299

    arun(main())


def test_a_reader_that_never_ends_does_not_stop_commits(tmp_path: Path) -> None:
    limits = replace(DEFAULT, wal_pages=10, sqlite_busy_seconds=0.01)

    async def main() -> None:
        async with opened(SqliteStorage(tmp_path, limits=limits)) as storage:
            await commit(storage, 1, insert(1))
            async with reading(storage) as old:
                for ts in range(2, 60):
                    await commit(storage, ts, insert(ts, "v" * 3000))
                assert await old.count(TABLE, TABLE, b"", TOP) == 1
            wal = tmp_path / "reflow.db-wal"
            assert wal.stat().st_size > 58 * 4120
            for ts in range(60, 80):
                await commit(storage, ts, insert(ts))
            assert wal.stat().st_size <= 2 * 10 * 4120

    arun(main())


def test_open_snapshots_are_bounded_and_idle_connections_kept(tmp_path: Path) -> None:
    limits = replace(DEFAULT, snapshots_open=4, readers=2)

    async def main() -> None:
        storage = SqliteStorage(tmp_path, limits=limits)
        async with opened(storage):
            snapshots = [await storage.snapshot() for _ in range(4)]
            with pytest.raises(LimitExceeded, match="snapshots_open"):
                await storage.snapshot()
            for snapshot in snapshots:
                await snapshot.close()
            snapshots = [await storage.snapshot() for _ in range(4)]
            await storage.close()
            with pytest.raises(StorageError):
                await snapshots[0].get(TABLE, 1)
            for snapshot in snapshots:
                await snapshot.close()
            await storage.open()

    arun(main())


def test_two_event_loops_may_use_one_storage_in_turn(tmp_path: Path) -> None:
    storage = SqliteStorage(tmp_path)

    async def first() -> None:
        await storage.open()
        await storage.create_table(TABLE)
        await commit(storage, 1, insert(1))

    async def second() -> None:
        await commit(storage, 2, insert(2))
        await storage.close()

    arun(first())
    arun(second())
