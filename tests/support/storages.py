"""The storages that have to behave alike, and short ways to fill them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from reflow.limits import DEFAULT, Limits
from reflow.storage.base import (
    Batch,
    IndexWrite,
    Request,
    Snapshot,
    Storage,
    TextWrite,
    VectorWrite,
    Write,
    sequence_key,
)
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing.interleave import InterleavingStorage

KINDS = ("sqlite-full", "sqlite-relaxed", "memory", "memory-interleaved", "sqlite-interleaved")

TABLE, OTHER_TABLE = 10001, 10002
RANGE, TEXT, VECTOR = 20001, 20002, 20003


def make(kind: str, directory: Path, limits: Limits = DEFAULT) -> Storage:
    """A closed storage of one of the KINDS."""
    if kind == "memory":
        return MemoryStorage(limits=limits)
    if kind == "memory-interleaved":
        return InterleavingStorage(MemoryStorage(limits=limits), seed=1)
    if kind == "sqlite-interleaved":
        return InterleavingStorage(SqliteStorage(directory, durability="relaxed", limits=limits), seed=1)
    return SqliteStorage(directory, durability="full" if kind == "sqlite-full" else "relaxed", limits=limits)


@asynccontextmanager
async def opened(storage: Storage) -> AsyncIterator[Storage]:
    """The storage, open, with a table and an index of each kind."""
    await storage.open()
    try:
        await storage.create_table(TABLE)
        await storage.create_index(RANGE, TABLE, "range")
        await storage.create_index(TEXT, TABLE, "text")
        await storage.create_index(VECTOR, TABLE, "vector")
        await storage.commit()
        yield storage
    finally:
        await storage.close()


@asynccontextmanager
async def reading(storage: Storage) -> AsyncIterator[Snapshot]:
    """The last committed state."""
    snapshot = await storage.snapshot()
    try:
        yield snapshot
    finally:
        await snapshot.close()


def key(field: str, seq: int) -> bytes:
    """An index key: the field, then the document's place."""
    return field.encode() + b"\x00" + sequence_key(seq)


def insert(
    seq: int, value: str = "v", *, table: int = TABLE, field: str | None = None, tokens: str | None = None
) -> Write:
    """A new document, with its row in the range index and its text, where given."""
    index = [] if field is None else [IndexWrite(RANGE, None, key(field, seq))]
    text = [] if tokens is None else [TextWrite(TEXT, tokens)]
    return Write(table, seq, value.encode(), None, index, text)


def change(seq: int, before: str, value: str | None, *, fields: tuple[str, str | None] | None = None) -> Write:
    """An update, or with `value` None a delete; `fields` are the index field before and after."""
    index: Sequence[IndexWrite] = []
    if fields is not None:
        old, new = fields
        index = [IndexWrite(RANGE, key(old, seq), None if new is None else key(new, seq))]
    return Write(TABLE, seq, None if value is None else value.encode(), before.encode(), index)


async def commit(
    storage: Storage,
    ts: int,
    *writes: Write,
    vectors: Sequence[VectorWrite] = (),
    request: Request | None = None,
) -> None:
    """Applies one batch and commits it as a group."""
    await storage.apply(Batch(ts, list(writes), list(vectors), request))
    await storage.commit()
