"""Reading SQLite: one connection, one read transaction, no suspension."""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, cast

import apsw
import msgspec

from reflow.errors import StorageError
from reflow.storage import sqlite_sql as sql
from reflow.storage.base import Request, Row, TextHit, TextStats, TextTerm, Undo, sequence_bounds, sequence_key
from reflow.storage.sqlite_file import translate

_decode_undo = msgspec.msgpack.Decoder(list[int | bytes | None]).decode


class Reader:
    """A connection and the cursor that all its statements share; every statement is read to its end at once."""

    __slots__ = ("_cursor", "connection", "execute", "executemany", "path")

    def __init__(self, connection: apsw.Connection, path: Path) -> None:
        self.connection = connection
        self.path = path
        self._cursor: Any = connection.cursor()
        self.execute: Callable[..., Any] = self._cursor.execute
        self.executemany: Callable[..., Any] = self._cursor.executemany

    def renew(self) -> None:
        """Takes another cursor after an error, which the old one would repeat at its next statement."""
        self._cursor.close(True)
        self._cursor = self.connection.cursor()
        self.execute = self._cursor.execute
        self.executemany = self._cursor.executemany


class SqliteSnapshot:
    """A read transaction of a pooled connection, or the writer's own view. See `reflow.storage.base.Snapshot`."""

    __slots__ = ("_execute", "_path", "_reader", "_recent", "_release", "ts")

    def __init__(
        self,
        reader: Reader,
        ts: int,
        release: Callable[[Reader], None] | None,
        recent: Callable[[str, int], bool] | None = None,
    ) -> None:
        """`release` takes the reader back at closing; without it the snapshot is the writer's.

        `recent` knows the answers that are not in their index; without it they are looked through.
        """
        self._recent = recent
        self.ts = ts
        self._reader: Reader | None = reader
        self._execute = reader.execute
        self._path = reader.path
        self._release = release

    async def get(self, table: int, seq: int) -> bytes | None:
        try:
            return self._execute(sql.GET[table], (seq,)).get
        except apsw.Error as error:
            raise self._failure(error) from error

    async def get_many(self, table: int, seqs: Sequence[int]) -> list[bytes | None]:
        statement = sql.GET[table]
        execute = self._execute
        try:
            return [execute(statement, (seq,)).get for seq in seqs]
        except apsw.Error as error:
            raise self._failure(error) from error

    async def scan(
        self, table: int, index: int, lower: bytes, upper: bytes, *, reverse: bool = False, limit: int
    ) -> list[Row]:
        try:
            if index == table:
                bounds = sequence_bounds(lower, upper)
                statement = (sql.SCAN_TABLE_DOWN if reverse else sql.SCAN_TABLE)[table]
                found = self._execute(statement, (*bounds, limit)).fetchall()
                return [Row(sequence_key(seq), seq, value) for seq, value in found]
            statement = (sql.SCAN_RANGE_DOWN if reverse else sql.SCAN_RANGE)[table, index]
            return [Row(*row) for row in self._execute(statement, (lower, upper, limit)).fetchall()]
        except apsw.Error as error:
            raise self._failure(error) from error

    async def count(self, table: int, index: int, lower: bytes, upper: bytes) -> int:
        if index == table:
            return self._one(sql.COUNT_TABLE[table], sequence_bounds(lower, upper))
        return self._one(sql.COUNT_RANGE[index], (lower, upper))

    async def search_text(self, index: int, terms: Sequence[TextTerm], *, limit: int, offset: int = 0) -> list[TextHit]:
        expression = " OR ".join(_quoted(term) for term in terms if term.term)
        if not expression:
            return []
        return [TextHit(*hit) for hit in self._rows(sql.MATCH[index], (expression, limit, offset))]

    async def text_stats(self, index: int, terms: Sequence[TextTerm]) -> TextStats:
        if self._release is None and self._reader is not None and not self._reader.connection.get_autocommit():
            # FTS5 holds what the open transaction changed in memory; a savepoint makes it write that down.
            self._rows("SAVEPOINT totals")
            self._rows("RELEASE totals")
        documents, tokens = _totals(self._one(sql.TEXT_TOTALS[index]) or b"")
        statement = sql.COUNT_MATCHES[index]
        matches = tuple(self._one(statement, (_quoted(term),)) if term.term else 0 for term in terms)
        return TextStats(documents, tokens / documents if documents else 0.0, matches)

    async def vectors(self, index: int, generation: int, *, after: int = 0, limit: int) -> list[tuple[int, bytes]]:
        if self._one(sql.HAS_GENERATION[index], (generation,)) is None:
            return []
        return self._rows(sql.SCAN_VECTORS[index, generation], (after, limit))

    async def vector(self, index: int, generation: int, seq: int) -> bytes | None:
        if self._one(sql.HAS_GENERATION[index], (generation,)) is None:
            return None
        return self._one(sql.GET_VECTOR[index, generation], (seq,))

    async def vector_log(self, index: int, generation: int, *, after: int) -> list[int]:
        packed = b"".join(seqs for (seqs,) in self._rows(sql.VECTOR_LOG, (index, generation, after)))
        return sorted(set(struct.unpack(f"<{len(packed) // 8}q", packed)))

    async def request(self, session: str, request: int) -> Request | None:
        key = (session, request)
        if self._recent is not None and not self._recent(*key) and self._one(sql.IS_INDEXED_REQUEST, key) is None:
            return None
        found = self._rows(sql.GET_REQUEST, key)
        return Request(session, request, *found[0]) if found else None

    async def undo(self, after: int) -> list[Undo]:
        replaced: list[Undo] = []
        for ts, packed in self._rows(sql.UNDO, (after,)):
            fields = cast("list[Any]", _decode_undo(packed))
            triples = zip(fields[0::3], fields[1::3], fields[2::3], strict=True)
            replaced += [Undo(ts, table, seq, before) for table, seq, before in triples]
        return replaced

    async def horizon(self) -> int:
        return self._one(sql.HORIZON)

    def meta(self) -> dict[str, bytes]:
        """The named values; see `Storage.read_meta`."""
        return dict(self._rows(sql.READ_META))

    async def close(self) -> None:
        reader, self._reader = self._reader, None
        if reader is None:
            return
        self._execute = _closed
        if self._release is not None:
            self._release(reader)

    def _rows(self, statement: str, values: tuple[Any, ...] = ()) -> list[Any]:
        try:
            return self._execute(statement, values).fetchall()
        except apsw.Error as error:
            raise self._failure(error) from error

    def _one(self, statement: str, values: tuple[Any, ...] = ()) -> Any:
        """The only value of the only row; None where there is no row."""
        try:
            return self._execute(statement, values).get
        except apsw.Error as error:
            raise self._failure(error) from error

    def _failure(self, error: apsw.Error) -> StorageError:
        closed = isinstance(error, (apsw.CursorClosedError, apsw.ConnectionClosedError))
        if self._reader is not None and not closed:
            self._reader.renew()
            self._execute = self._reader.execute
        return translate(error, self._path)


def _closed(*_arguments: object) -> Any:
    raise StorageError("This snapshot was closed: take another one.")


def _quoted(term: TextTerm) -> str:
    text = '"' + term.term.replace('"', '""') + '"'
    return text + " *" if term.prefix else text


def _totals(block: bytes) -> tuple[int, int]:
    """The first two of FTS5's varints: big-endian groups of 7 bits, the high bit says that more follow."""
    numbers = [0]
    for byte in block:
        numbers[-1] = numbers[-1] << 7 | byte & 0x7F
        if not byte & 0x80:
            numbers.append(0)
    return (numbers[0], numbers[1]) if len(numbers) > 2 else (0, 0)
