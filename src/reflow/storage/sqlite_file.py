"""The SQLite file: made in one step, checked before and at opening, its errors put into words."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from reflow.errors import Corrupted, DirectoryInUse, NotOurs, OtherVersion, StorageError, StorageUnavailable
from reflow.storage import sqlite_sql as sql

FILE_NAME = "reflow.db"
FORMAT = 2
"""The on-disk format, kept in SQLite's `user_version`. Format 1 had no `vector_log`; it is brought up to this one."""
UPGRADES = (1,)
"""Older formats that `upgrade` knows."""
APPLICATION_ID = int.from_bytes(b"rflw", "big")

PAGE_BYTES = 4096

_ADDED = {"vector_log"}
"""Tables that an older format lacks."""

_MAGIC = b"SQLite format 3\x00"
_HEADER_BYTES = 100
_ENDS = {"d": "seq", "i": "key", "log": "ts", "requests": "ts", "meta": "key"}
"""Per kind of table, the column whose first and last value are looked up at opening."""


def prepare(directory: Path) -> Path:
    """Creates the directory and an empty database where there is none; returns the path of the checked file.

    Errors: `StorageUnavailable`, `NotOurs`, `OtherVersion`, `Corrupted`; nothing is changed then.
    """
    path = directory / FILE_NAME
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            _create(path)
        _check_header(path)
    except apsw.Error as error:
        raise translate(error, path) from error
    except (FileExistsError, NotADirectoryError) as error:
        raise StorageUnavailable(
            f"The data directory {directory} can't be made, a file is in its place: choose another directory."
        ) from error
    except OSError as error:
        raise StorageUnavailable(
            f"{error.filename or directory} can't be used ({error.strerror or error}): check its owner and "
            "permissions, or choose another data directory."
        ) from error
    return path


def _create(path: Path) -> None:
    """Builds the database beside its place and renames it, so that a half-built one is never met."""
    building = path.with_name(path.name + ".new")
    for leftover in path.parent.glob(building.name + "*"):
        leftover.unlink()
    building.touch(mode=0o600)
    connection: Any = apsw.Connection(str(building))
    try:
        connection.pragma("page_size", PAGE_BYTES)
        connection.pragma("application_id", APPLICATION_ID)
        connection.pragma("user_version", FORMAT)
        with connection:
            for statement in sql.FIXED_TABLES.values():
                connection.execute(statement)
            connection.execute("INSERT INTO horizon VALUES (0, 0, 0)")
        connection.pragma("journal_mode", "wal")
    finally:
        connection.close()
    os.replace(building, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _check_header(path: Path) -> None:
    """Reads the first bytes as a plain file, before SQLite may touch anything."""
    with path.open("rb") as file:
        header = file.read(_HEADER_BYTES)
        size = os.fstat(file.fileno()).st_size
    if len(header) < _HEADER_BYTES and header[: len(_MAGIC)] == _MAGIC[: len(header)]:
        raise Corrupted(f"{path} is cut off after {size} bytes: restore it from a backup. It was left as it is.")
    if not header.startswith(_MAGIC):
        raise NotOurs(f"{path} is not a SQLite database: move it away or choose another data directory.")
    application = int.from_bytes(header[68:72], "big")
    if application != APPLICATION_ID:
        raise NotOurs(
            f"{path} is a SQLite database of another program (application_id {application:#x}, not "
            f"{APPLICATION_ID:#x}): move it away or choose another data directory."
        )
    version = int.from_bytes(header[60:64], "big")
    if version != FORMAT and version not in UPGRADES:
        way = "Upgrade reflow" if version > FORMAT else "Export it with the version of reflow that wrote it"
        raise OtherVersion(
            f"{path} has the on-disk format {version}, this version of reflow reads {FORMAT}. {way}, "
            "or choose another data directory. It was left as it is."
        )
    _check_length(path, header, size)


def _check_length(path: Path, header: bytes, size: int) -> None:
    """Without a write-ahead log beside it the file must hold every page that its header counts."""
    log = path.with_name(path.name + "-wal")
    if log.exists() and log.stat().st_size > 0:
        return
    page = int.from_bytes(header[16:18], "big")
    expected = (65536 if page == 1 else page) * int.from_bytes(header[28:32], "big")
    if size < expected:
        raise Corrupted(
            f"{path} has {size} bytes of {expected}, it was cut off: restore it from a backup. It was left as it is."
        )


def upgrade(connection: Any) -> None:
    """Brings a file of an older format up to this one, whole or not at all. For good: older versions refuse it then."""
    if connection.pragma("user_version") == FORMAT:
        return
    with connection:
        for name in _ADDED:
            connection.execute(sql.FIXED_TABLES[name])
        connection.pragma("user_version", FORMAT)


def check_tables(execute: Callable[..., Any], path: Path) -> None:
    """Walks to the first and the last row of every table: cheap, and meets damage near the roots at opening."""
    names = {name for (name,) in execute(sql.TABLES).fetchall()}
    expected = set(sql.FIXED_TABLES) - (set() if execute("PRAGMA user_version").get == FORMAT else _ADDED)
    missing = sorted(expected - names)
    if missing:
        raise Corrupted(f"{path} lacks the table {missing[0]!r}: restore it from a backup. It was left as it is.")
    for name in sorted(names):
        column = _ENDS.get(name.partition("_")[0])
        if column is not None:
            execute(f"SELECT min({column}) FROM {name}").fetchall()
            execute(f"SELECT max({column}) FROM {name}").fetchall()
    if len(execute(sql.HORIZON).fetchall()) != 1:
        raise Corrupted(f"{path} has no horizon row: restore it from a backup. It was left as it is.")


def check_writable(connection: apsw.Connection, path: Path) -> None:
    """SQLite opens a file that it may not write for reading; here that is an error, at opening rather than later."""
    if connection.readonly("main"):
        raise StorageUnavailable(f"{path} can't be written: check its owner and permissions.")


def create_index(execute: Callable[..., Any], index: int, kind: str) -> None:
    """Creates the table of an index unless it is there."""
    creators = {"range": sql.CREATE_RANGE, "text": sql.CREATE_TEXT, "vector": sql.CREATE_VECTOR}
    execute(_of_kind(creators, kind)[index])


def drop_index(execute: Callable[..., Any], index: int, kind: str) -> None:
    """Drops the table of an index, and for a vector index those of its generations."""
    statement = _of_kind({"range": sql.DROP_RANGE, "text": sql.DROP_TEXT, "vector": sql.DROP_VECTOR}, kind)[index]
    if kind == "vector":
        execute(sql.DROP_VECTOR_LOG, (index,))
    if kind == "vector" and execute(sql.EXISTS, (f"v_{index}",)).get:
        for (generation,) in execute(sql.GENERATIONS[index]).fetchall():
            execute(sql.DROP_GENERATION[index, generation])
    execute(statement)


def _of_kind(statements: dict[str, sql.Statement], kind: str) -> sql.Statement:
    if kind not in statements:
        raise StorageError(f"There is no index kind {kind!r}: it is one of {', '.join(statements)}.")
    return statements[kind]


def translate(error: apsw.Error, path: Path) -> StorageError:
    """SQLite's error in the words of reflow."""
    text = str(error)
    if isinstance(error, (apsw.CorruptError, apsw.NotADBError)):
        return Corrupted(f"{path} is damaged ({text}): stop the server and restore the file from a backup.")
    if isinstance(error, apsw.FullError):
        return StorageUnavailable(f"There is no room to write {path} ({text}): free space on its disk and try again.")
    if isinstance(error, (apsw.IOError, apsw.CantOpenError, apsw.PermissionsError, apsw.ReadOnlyError)):
        return StorageUnavailable(f"{path} can't be read or written ({text}): check its disk and its permissions.")
    if isinstance(error, (apsw.BusyError, apsw.LockedError)):
        return DirectoryInUse(f"{path} is locked by another program ({text}): close that program and try again.")
    if isinstance(error, (apsw.CursorClosedError, apsw.ConnectionClosedError)):
        return StorageError(f"{path} was closed while it was read: open the storage again.")
    return StorageError(f"{path}: {text}.")
