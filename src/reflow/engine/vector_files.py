"""How vectors come into memory at start, and how the storage learns of the files that make the next start quick.

A file of vectors is derived from the storage. The storage knows its name, and logs which vectors changed after it was
written; a file that the storage does not name, or names and can't find, is as good as none.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, Mapping, Sequence

import msgspec
import numpy as np

from reflow.engine.documents import IndexCodec, TableCodec, VectorEntry
from reflow.keys import encode_part
from reflow.search.metric import Place, Vector, VectorChange
from reflow.search.vector import FileNote, VectorStore
from reflow.storage.base import TOP, Snapshot, Storage

_META_PREFIX = "vectors/"
_METADATA_FORMAT = 2
"""Grows when the metadata of equal documents are made in another way."""


def shape_of(index: IndexCodec, documents: str) -> str:
    """Stands for how the metadata of an index are made. `documents` stands for how stored documents are read."""
    parts = [_METADATA_FORMAT, type(index).__name__, *index.filters, *([documents] if index.filters else [])]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def named_files(meta: Mapping[str, bytes]) -> dict[Place, str]:
    """The files that the storage names."""
    names: dict[Place, str] = {}
    for key, name in meta.items():
        if key.startswith(_META_PREFIX):
            index, generation = key.removeprefix(_META_PREFIX).split("/")
            names[int(index), int(generation)] = name.decode()
    return names


async def forget_file(storage: Storage, place: Place) -> None:
    """Has the storage, in its open group, name no file of a place: its vectors are read one by one at next."""
    await storage.write_meta(f"{_META_PREFIX}{place[0]}/{place[1]}", None)


async def note_files(storage: Storage, store: VectorStore) -> list[FileNote]:
    """Lets the storage's open group know of files that were written, and forget changes that are in them.

    `store.noted` is to be told of the result when the group is durable.
    """
    notes = store.news()
    for (index, generation), name, until in notes:
        await storage.write_meta(f"{_META_PREFIX}{index}/{generation}", None if name is None else name.encode())
        await storage.forget_vector_log(index, generation, until)
    return notes


class Loader:
    """Brings the vectors of one place into memory."""

    def __init__(self, snapshot: Snapshot, store: VectorStore, codec: TableCodec, index: IndexCodec, page: int) -> None:
        self._snapshot = snapshot
        self._store = store
        self._codec = codec
        self._index = index
        self._page = page
        self._described = bool(index.filters) or type(index) is not IndexCodec

    async def load(self, place: Place, dims: int) -> None:
        """Takes the place's file and what changed since, otherwise all from the storage. The place must be there."""
        ts = self._store.open_file(place)
        if ts is not None:
            changed = await self._snapshot.vector_log(*place, after=ts)
            self._store.forget(place, self._snapshot.ts, changed)
            pages = self._changed(place, dims, changed)
        else:
            pages = self._every(place) if dims else self._every_sparse(place)
        async for changes in pages:
            self._store.load(place, self._snapshot.ts, changes)
            await asyncio.sleep(0)

    async def _every(self, place: Place) -> AsyncGenerator[list[VectorChange], None]:
        after = 0
        while rows := await self._snapshot.vectors(*place, after=after, limit=self._page):
            after = rows[-1][0]
            yield await self._changes(place, rows)

    async def _every_sparse(self, place: Place) -> AsyncGenerator[list[VectorChange], None]:
        """All there is of the records of a sparse index is in their documents."""
        by_key, lower = self._codec.ranges[0].number, encode_part(place[1])
        upper = lower + TOP
        while rows := await self._snapshot.scan(self._codec.number, by_key, lower, upper, limit=self._page):
            lower = rows[-1].key + b"\x00"
            yield [self._change(place, row.seq, None, row.value) for row in rows]

    async def _changed(self, place: Place, dims: int, seqs: Sequence[int]) -> AsyncGenerator[list[VectorChange], None]:
        for start in range(0, len(seqs), self._page):
            some = seqs[start : start + self._page]
            if dims:
                found = [(seq, await self._snapshot.vector(*place, seq)) for seq in some]
                yield await self._changes(place, [(seq, raw) for seq, raw in found if raw is not None])
            else:
                values = await self._snapshot.get_many(self._codec.number, some)
                documents = zip(some, values, strict=True)
                yield [self._change(place, seq, None, value) for seq, value in documents if value is not None]

    async def _changes(self, place: Place, rows: Sequence[tuple[int, bytes]]) -> list[VectorChange]:
        """Rows with what their documents say of them."""
        documents: Sequence[bytes | None] = [None] * len(rows)
        if self._described:
            documents = await self._snapshot.get_many(self._codec.number, [seq for seq, _ in rows])
        found = zip(rows, documents, strict=True)
        return [self._change(place, seq, np.frombuffer(raw, dtype="<f4"), value) for (seq, raw), value in found]

    def _change(self, place: Place, seq: int, vector: Vector | None, value: bytes | None) -> VectorChange:
        about = _PLAIN if value is None else self._index.entry(self._codec.decode(value))
        return VectorChange(place, seq, vector, about.sparse, about.space, about.metadata)


_PLAIN = VectorEntry(0, None, {})
