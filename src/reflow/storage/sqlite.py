"""Documents in one SQLite file: a single writer, group commits in a thread, readers beside them.

WAL mode. With `durability="full"` an acknowledged commit survives kill -9 and power loss (synchronous=FULL); with
"relaxed" it survives kill -9, and a power loss may take the last commits, never half of one (synchronous=NORMAL).
"""

from __future__ import annotations

import logging
import struct
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import apsw
import msgspec

from reflow.errors import LimitExceeded, StorageError
from reflow.limits import DEFAULT, Limits
from reflow.storage import sqlite_file
from reflow.storage import sqlite_sql as sql
from reflow.storage.base import Batch, IndexWrite, TextWrite, VectorWrite
from reflow.storage.sqlite_file import translate
from reflow.storage.sqlite_snapshot import Reader, SqliteSnapshot
from reflow.storage.sqlite_thread import CommitThread

_log = logging.getLogger("reflow.storage")
_encode = msgspec.msgpack.Encoder().encode

_READ_ONLY = apsw.SQLITE_OPEN_READONLY
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE
_STATEMENTS_KEPT = 512
FILES = "vectors"
"""The directory, beside the database, of what is derived from it."""
_RESTART_FACTOR = 4
"""A write-ahead log this many times over its limit is worth waiting for the readers that hold it."""


class SqliteStorage:
    """The SQLite storage; see `reflow.storage.base.Storage` for what each method promises.

    `directory` is created where it is missing; it must be locked by the caller (`reflow.storage.lock`). `on_commit`
    is called in the commit thread with "before" and "after" around every COMMIT, and `vfs` names a registered SQLite
    VFS: both are for tests that end the process or fail the disk in the middle of a commit.
    """

    concurrent = False

    def __init__(
        self,
        directory: Path | str,
        *,
        durability: Literal["full", "relaxed"] = "full",
        limits: Limits = DEFAULT,
        on_commit: Callable[[str], None] | None = None,
        vfs: str | None = None,
    ) -> None:
        self._directory = Path(directory)
        self.files: Path | None = self._directory / FILES
        self._path = self._directory / sqlite_file.FILE_NAME
        self._full = durability == "full"
        self._limits = limits
        self._on_commit = on_commit
        self._vfs = vfs
        self._thread: CommitThread | None = None
        self._writer: Reader | None = None
        self._idle: list[Reader] = []
        self._readers: set[Reader] = set()
        self._committed = 0
        self._applied = 0
        self._group: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []
        self._failed: StorageError | None = None
        self._generations: set[tuple[int, int]] = set()
        self._unindexed: set[tuple[str, int]] = set()
        """Keys of the answers that are not in their index yet."""
        self._group_requests: set[tuple[str, int]] = set()
        self._wal_pages = 0
        self._checkpoint_at = limits.wal_pages
        self._committing = False

    # Opening and closing

    async def open(self) -> int:
        if self._thread is not None:
            raise StorageError(f"{self._path} is open already.")
        self._thread = CommitThread("reflow-commit")
        try:
            await self._thread.run(self._open)
        except BaseException:
            self._thread.stop()
            self._thread = None
            raise
        return self._committed

    def _open(self) -> None:
        self._path = sqlite_file.prepare(self._directory)
        try:
            writer = Reader(self._connect(_READ_WRITE), self._path)
            try:
                writer.execute(f"PRAGMA synchronous = {'full' if self._full else 'normal'}")
                writer.execute(f"PRAGMA journal_size_limit = {2 * self._limits.wal_pages * sqlite_file.PAGE_BYTES}")
                if self._full:
                    # macOS tells a disk to empty its cache only when asked this way; elsewhere it changes nothing.
                    writer.execute("PRAGMA fullfsync = 1; PRAGMA checkpoint_fullfsync = 1")
                writer.connection.set_wal_hook(self._note_wal_pages)
                sqlite_file.check_tables(writer.execute, self._path)
                sqlite_file.check_writable(writer.connection, self._path)
                sqlite_file.upgrade(writer.connection)
                self._committed = self._applied = writer.execute(sql.NEWEST).get or 0
                self._unindexed = set(writer.execute(sql.UNINDEXED_REQUESTS).fetchall())
            except BaseException:
                # As the last connection it would fold the log into a file that is to stay as it is.
                writer.connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                writer.connection.close(True)
                raise
        except apsw.Error as error:
            raise translate(error, self._path) from error
        self._writer = writer

    def _connect(self, flags: int) -> apsw.Connection:
        connection: Any = apsw.Connection(
            str(self._path), flags=flags, vfs=self._vfs, statementcachesize=_STATEMENTS_KEPT
        )
        connection.set_busy_timeout(int(self._limits.sqlite_busy_seconds * 1000))
        connection.pragma("cache_size", -self._limits.sqlite_cache_kib)
        connection.pragma("temp_store", "memory")
        return connection

    async def close(self) -> None:
        thread, self._thread = self._thread, None
        if thread is None:
            return
        try:
            await thread.run(self._close)
        finally:
            thread.stop()

    def _close(self) -> None:
        """Readers first: the last connection folds the write-ahead log into the database and removes it."""
        self._idle.clear()
        while self._readers:
            self._readers.pop().connection.close(True)
        writer, self._writer = self._writer, None
        if writer is not None:
            try:
                self._forget_group(writer)
                writer.connection.close(True)
            except apsw.Error as error:
                raise translate(error, self._path) from error

    # Reading

    async def snapshot(self) -> SqliteSnapshot:
        reader = self._idle.pop() if self._idle else self._new_reader()
        execute = reader.execute
        try:
            execute("BEGIN")
            # Any read fixes the view. Only while a COMMIT is under way in the thread is it unknown what it sees.
            if self._committing:
                ts = execute(sql.NEWEST).get or 0
            else:
                execute(sql.FIX).fetchall()
                ts = self._committed
        except apsw.Error as error:
            self._discard(reader)
            raise translate(error, self._path) from error
        return SqliteSnapshot(reader, ts, self._take_back)

    async def head(self) -> SqliteSnapshot:
        return SqliteSnapshot(self._open_writer(), self._applied, None, self._is_recent)

    def _is_recent(self, session: str, request: int) -> bool:
        return (session, request) in self._unindexed or (session, request) in self._group_requests

    async def read_meta(self) -> dict[str, bytes]:
        snapshot = await self.snapshot()
        try:
            return snapshot.meta()
        finally:
            await snapshot.close()

    def _new_reader(self) -> Reader:
        self._open_writer()
        if len(self._readers) >= self._limits.snapshots_open:
            raise LimitExceeded(f"{len(self._readers)} snapshots are open (limits.snapshots_open): close some first.")
        try:
            reader = Reader(self._connect(_READ_ONLY), self._path)
        except apsw.Error as error:
            raise translate(error, self._path) from error
        self._readers.add(reader)
        return reader

    def _take_back(self, reader: Reader) -> None:
        if reader not in self._readers:
            return
        try:
            # Not END, which fails in a transaction that has met a damaged page.
            reader.execute("ROLLBACK")
        except apsw.Error as error:
            self._discard(reader)
            raise translate(error, self._path) from error
        if len(self._idle) < self._limits.readers:
            self._idle.append(reader)
        else:
            self._discard(reader)

    def _discard(self, reader: Reader) -> None:
        self._readers.discard(reader)
        reader.connection.close(True)

    def _open_writer(self) -> Reader:
        if self._writer is None:
            raise StorageError(f"{self._path} is not open: call open() first.")
        return self._writer

    # The open group

    async def apply(self, batch: Batch) -> None:
        self._open_writer()
        if batch.ts <= self._applied:
            raise StorageError(f"The timestamp {batch.ts} is not above {self._applied}, the last one applied.")
        if self._thread is not None and len(batch.writes) + len(batch.vectors) > self._limits.records_per_turn:
            await self._thread.run(partial(self._join, self._write, batch))
        else:
            self._join(self._write, batch)
        self._applied = batch.ts

    async def write_meta(self, key: str, value: bytes | None) -> None:
        self._join(self._write_meta, key, value)

    async def create_table(self, table: int) -> None:
        self._join(self._execute, sql.CREATE_TABLE[table])

    async def drop_table(self, table: int) -> None:
        self._join(self._execute, sql.DROP_TABLE[table])

    async def create_index(self, index: int, table: int, kind: str) -> None:
        self._join(self._change_index, sqlite_file.create_index, index, kind)

    async def drop_index(self, index: int, table: int, kind: str) -> None:
        self._join(self._change_index, sqlite_file.drop_index, index, kind)

    async def put_index_rows(
        self, table: int, rows: Sequence[tuple[int, Sequence[IndexWrite], Sequence[TextWrite]]]
    ) -> None:
        self._join(self._write_index_rows, rows)

    async def forget_vector_log(self, index: int, generation: int, until: int) -> None:
        self._join(self._forget_vector_log, index, generation, until)

    async def prune(self, *, undo_before: int, requests_before: int) -> bool:
        return self._join(self._prune, undo_before, requests_before)

    def _join(self, change: Callable[..., Any], *arguments: Any) -> Any:
        """Makes a change in the open group. If it fails, the group is made again without it.

        That spares each change its savepoint, which would also have FTS5 write a segment per mutation; and it holds
        when SQLite itself gives up the whole transaction (full disk, I/O error).
        """
        writer = self._open_writer()
        if self._failed is not None:
            raise StorageError(f"The open group was lost ({self._failed}): roll it back.") from self._failed
        try:
            if not self._group:
                writer.execute("BEGIN IMMEDIATE")
            result = change(writer, *arguments)
        except apsw.Error as error:
            self._redo(writer)
            raise translate(error, self._path) from error
        except BaseException:
            self._redo(writer)
            raise
        self._group.append((change, arguments))
        return result

    def _redo(self, writer: Reader) -> None:
        try:
            self._abort(writer)
            if self._group:
                writer.execute("BEGIN IMMEDIATE")
                for change, arguments in self._group:
                    change(writer, *arguments)
        except apsw.Error as error:
            self._failed = translate(error, self._path)
        except StorageError as error:
            self._failed = error

    def _abort(self, writer: Reader) -> None:
        self._generations.clear()
        self._group_requests.clear()
        writer.renew()
        if not writer.connection.get_autocommit():
            writer.execute("ROLLBACK")

    # Changes: each runs in the open transaction, and again if a later one fails

    def _write(self, writer: Reader, batch: Batch) -> None:
        execute = writer.execute
        changes = writer.connection.changes
        undo: list[int | bytes | None] = []
        many = _Many()
        for write in batch.writes:
            table, seq, value = write.table, write.seq, write.value
            if write.before is None:
                if value is None:
                    raise StorageError(f"Document {seq} of table {table} has neither a value nor one before it.")
                many.add(sql.INSERT[table], (seq, value))
            else:
                if value is None:
                    execute(sql.DELETE[table], (seq,))
                else:
                    execute(sql.UPDATE[table], (seq, value))
                if changes() != 1:
                    raise StorageError(f"Document {seq} of table {table} is not there, so it can't be changed.")
            undo += (table, seq, write.before)
            _write_index(execute, many.add, seq, write.index, write.text)
        for vector in batch.vectors:
            self._write_vector(execute, many.add, vector)
        many.run(writer.executemany)
        for place, seqs in _changed_vectors(batch).items():
            execute(sql.LOG_VECTORS, (*place, batch.ts, struct.pack(f"<{len(seqs)}q", *seqs)))
        execute(sql.LOG, (batch.ts, _encode(undo)))
        request = batch.request
        if request is not None:
            if request.ts != batch.ts:
                raise StorageError(f"The answer's timestamp {request.ts} is not its commit's, {batch.ts}.")
            key = (request.session, request.request)
            if self._is_recent(*key) and execute(sql.GET_REQUEST, key).fetchone():  # else it was pruned meanwhile
                raise StorageError(f"Request {request.request} of session {request.session!r} was answered already.")
            execute(sql.PUT_REQUEST, (request.ts, request.session, request.request, request.result))
            self._group_requests.add(key)

    def _write_vector(self, execute: Callable[..., Any], add: Callable[..., Any], write: VectorWrite) -> None:
        index, generation, seq, vector = write
        if vector is None:
            if execute(sql.HAS_GENERATION[index], (generation,)).get is not None:
                execute(sql.DELETE_VECTOR[index, generation], (seq,))
            return
        if (index, generation) not in self._generations:
            execute(sql.ADD_GENERATION[index], (generation,))
            execute(sql.CREATE_GENERATION[index, generation])
            self._generations.add((index, generation))
        add(sql.PUT_VECTOR[index, generation], (seq, vector))

    def _write_index_rows(
        self, writer: Reader, rows: Sequence[tuple[int, Sequence[IndexWrite], Sequence[TextWrite]]]
    ) -> None:
        for seq, index, text in rows:
            _write_index(writer.execute, writer.execute, seq, index, text)

    def _forget_vector_log(self, writer: Reader, index: int, generation: int, until: int) -> None:
        writer.execute(sql.FORGET_VECTOR_LOG, (index, generation, until))

    def _write_meta(self, writer: Reader, key: str, value: bytes | None) -> None:
        if value is None:
            writer.execute(sql.DELETE_META, (key,))
        else:
            writer.execute(sql.PUT_META, (key, value))

    def _execute(self, writer: Reader, statement: str) -> None:
        writer.execute(statement)

    def _change_index(
        self, writer: Reader, change: Callable[[Callable[..., Any], int, str], None], index: int, kind: str
    ) -> None:
        self._generations.clear()
        change(writer.execute, index, kind)

    def _prune(self, writer: Reader, undo_before: int, requests_before: int) -> bool:
        execute = writer.execute
        rows = self._limits.prune_rows
        undo_to, undo_rows = execute(sql.PRUNE_UNDO_TO, (undo_before, rows)).fetchone()
        if undo_rows:
            execute(sql.PRUNE_UNDO, (undo_to,))
            execute(sql.RAISE_HORIZON, (undo_to,))
        requests_to, request_rows = execute(sql.PRUNE_REQUESTS_TO, (requests_before, rows)).fetchone()
        if request_rows:
            execute(sql.PRUNE_REQUESTS_INDEX, (requests_to,))
            execute(sql.PRUNE_REQUESTS, (requests_to,))
        return undo_rows == rows or request_rows == rows

    # The end of a group

    async def commit(self) -> None:
        self._open_writer()
        if self._failed is not None:
            lost = self._failed
            await self.rollback()
            raise StorageError(f"The open group was lost: {lost}") from lost
        if not self._group or self._thread is None:
            return
        if self._full:
            self._committing = True
            try:
                await self._thread.run(self._commit)
            finally:
                self._committing = False
        else:
            self._commit()
            if self._wal_pages >= self._checkpoint_at:
                await self._thread.run(self._checkpoint)

    def _commit(self) -> None:
        writer = self._open_writer()
        try:
            indexed = self._index_requests(writer)
            if self._on_commit is not None:
                self._on_commit("before")
            writer.execute("COMMIT")
        except apsw.Error as error:
            failure = translate(error, self._path)
            self._undo_commit(writer, failure)
            raise failure from error
        except BaseException as error:
            self._undo_commit(writer, error)
            raise
        self._group.clear()
        self._committed = self._applied
        if indexed:
            self._unindexed.clear()
        else:
            self._unindexed |= self._group_requests
        self._group_requests.clear()
        if self._on_commit is not None:
            self._on_commit("after")
        if self._full and self._wal_pages >= self._checkpoint_at:
            self._checkpoint()

    def _index_requests(self, writer: Reader) -> bool:
        """Enters answers into their index many at a time, in its order.

        One by one they would touch a page per session in every group. Until then a look-up passes over the few that
        are not in the index yet.
        """
        if len(self._unindexed) + len(self._group_requests) < self._limits.unindexed_requests:
            return False
        writer.execute(sql.INDEX_REQUESTS)
        writer.execute(sql.REQUESTS_INDEXED)
        return True

    def _undo_commit(self, writer: Reader, error: BaseException) -> None:
        """Rolls back a failed COMMIT, also in the write-ahead log.

        Its frames may lie there complete, without having reached the disk for sure; a kill would bring them back.
        Another small commit takes their place; it has to change a page, or SQLite would write nothing.
        """
        try:
            self._forget_group(writer)
            writer.execute("BEGIN IMMEDIATE")
            writer.execute(sql.COUNT_FAILED_COMMIT)
            writer.execute("COMMIT")
        except apsw.Error as second:
            error.add_note(f"Writing over the failed commit failed too: {second}.")
            _log.error("%s: a failed commit could not be written over: %s", self._path, second)
            writer.renew()
            if not writer.connection.get_autocommit():
                writer.execute("ROLLBACK")

    async def rollback(self) -> None:
        try:
            self._forget_group(self._open_writer())
        except apsw.Error as error:
            raise translate(error, self._path) from error

    def _forget_group(self, writer: Reader) -> None:
        self._group.clear()
        self._failed = None
        self._applied = self._committed
        self._abort(writer)

    def _note_wal_pages(self, connection: apsw.Connection, database: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Folds the write-ahead log into the database; the next commit then starts it anew.

        Where readers hold it, or it fails, it is tried again when the log has grown by as much again: the commit is
        durable in the log, and a log that keeps growing is worth waiting for the readers in the end.
        """
        pages = self._wal_pages
        late = pages >= _RESTART_FACTOR * self._limits.wal_pages
        mode = apsw.SQLITE_CHECKPOINT_RESTART if late else apsw.SQLITE_CHECKPOINT_PASSIVE
        try:
            in_log, folded = self._open_writer().connection.wal_checkpoint(mode=mode)
            complete = in_log == folded
        except apsw.Error as error:
            complete = False
            _log.warning("%s: the write-ahead log (%d pages) was not folded back: %s", self._path, pages, error)
        self._checkpoint_at = self._limits.wal_pages if complete else pages + self._limits.wal_pages


def _changed_vectors(batch: Batch) -> dict[tuple[int, int], list[int]]:
    """By index and generation, the documents whose vector or what belongs to it a batch changes."""
    changed: dict[tuple[int, int], list[int]] = {}
    for index, generation, seq, _ in batch.vectors:
        changed.setdefault((index, generation), []).append(seq)
    for index, generation, seq in batch.described:
        changed.setdefault((index, generation), []).append(seq)
    return changed


class _Many:
    """Rows to be added at the end of a batch, those of one statement at once: that takes half of the time."""

    def __init__(self) -> None:
        self._rows: dict[str, list[tuple[Any, ...]]] = defaultdict(list)

    def add(self, statement: str, row: tuple[Any, ...]) -> None:
        """Has a statement run for a row."""
        self._rows[statement].append(row)

    def run(self, executemany: Callable[..., Any]) -> None:
        """Runs all of them, the statements in the order of their first rows."""
        for statement, rows in self._rows.items():
            executemany(statement, rows)


def _write_index(
    execute: Callable[..., Any],
    add: Callable[..., Any],
    seq: int,
    index: Sequence[IndexWrite],
    text: Sequence[TextWrite],
) -> None:
    """Removes at once; keys that come go through `add`, which may wait: no other document has the same ones."""
    for number, remove, key in index:
        if remove is not None:
            execute(sql.UNLINK[number], (remove,))
        if key is not None:
            add(sql.LINK[number], (key, seq))
    for number, tokens in text:
        if tokens is None:
            execute(sql.DELETE_TOKENS[number], (seq,))
        else:
            execute(sql.PUT_TOKENS[number], (seq, tokens))
