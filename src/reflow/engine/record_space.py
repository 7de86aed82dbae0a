"""The records of one namespace, as one transaction sees and changes them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, cast

from reflow.engine.documents import Key
from reflow.engine.record_tables import RECORDS, RecordRow, VectorIndexRow, encode_record
from reflow.engine.scan import KeyRange, Scan
from reflow.engine.transaction import EngineTransaction, Pending
from reflow.errors import InvalidValue
from reflow.keys import encode_part
from reflow.search.filters import Filter
from reflow.search.metric import Place, Vector, records_per_turn
from reflow.search.records import Entry
from reflow.search.sparse import Sparse
from reflow.storage.base import TOP, Row, sequence_key
from reflow.vectors import SparseValues

_BY_KEY = 0
"""The place of the index by key among the table's range indexes."""

_FEW_IDS = 8
"""So many ids are looked up one by one."""

_SEQUENCE_BYTES = len(sequence_key(0))


class Found(NamedTuple):
    """A record that was looked up; `document` is None where the transaction has removed it."""

    seq: int
    raw: bytes | None
    document: RecordRow | None


class Space:
    """One namespace of one index by its number."""

    def __init__(self, tx: EngineTransaction, index: VectorIndexRow, number: int) -> None:
        self.tx = tx
        self.index = index
        self.number = number
        self.codec = tx.host.catalog.codec(RECORDS)
        self.vectors = self.codec.vectors[0]
        self.place: Place = (self.vectors.number, index.number)
        first = encode_part(index.number)
        self._head = first + encode_part(number)
        self._turn = records_per_turn(tx.host.limits, index.dims)
        self._shared: dict[int, tuple[int, ...]] = {}
        """The ends of keys by length: the write log keeps those of many records."""
        self._ends = (0, len(first), len(self._head))

    # Reading

    async def find(self, ids: Sequence[str]) -> list[Found | None]:
        """Records by id, in order; each id joins the read set, also where there is no record."""
        found: list[Found | None] = []
        for start in range(0, len(ids), self._turn):
            found += await self._find_some(ids[start : start + self._turn])
            if len(ids) > self._turn:
                await self.tx.wait(asyncio.sleep(0))
        return found

    async def _find_some(self, ids: Sequence[str]) -> list[Found | None]:
        tx, number, by_key = self.tx, self.codec.number, self.codec.ranges[_BY_KEY].number
        prefixes = [self._head + encode_part(id) for id in ids]
        for prefix in prefixes:
            tx.reads.add_range(by_key, prefix, prefix, prefix + TOP)
        near = await self._all_between(prefixes)
        own = tx.record_keys.of(tx)
        found: list[Found | None] = []
        for id, prefix in zip(ids, prefixes, strict=True):
            seq = own.get((self.index.number, self.number, id)) if own else None
            if seq is not None:
                write = tx.pending[number, seq]
                here = Found(seq, write.raw, write.document if write.raw is not None else None)
            elif near is not None:
                here = near.get(prefix)
            else:
                rows = await tx.wait(tx.snapshot.scan(number, by_key, prefix, prefix + TOP, limit=1))
                here = self._of_row(rows[0]) if rows else None
            found.append(here)
            if here is not None:
                tx.count_read(here.raw)
        return found

    async def _all_between(self, prefixes: Sequence[bytes]) -> dict[bytes, Found] | None:
        """The stored records from the first to the last of many ids; None where there are more than these ids.

        A batch of new ids, or of ids that follow each other, is looked up at once that way.
        """
        if len(prefixes) < _FEW_IDS:
            return None
        tx, limit = self.tx, len(prefixes) + 1
        lower, upper = min(prefixes), max(prefixes) + TOP
        rows = await tx.wait(
            tx.snapshot.scan(self.codec.number, self.codec.ranges[_BY_KEY].number, lower, upper, limit=limit)
        )
        return None if len(rows) == limit else {row.key[:-_SEQUENCE_BYTES]: self._of_row(row) for row in rows}

    def _of_row(self, row: Row) -> Found:
        return Found(row.seq, row.value, self.codec.decode(row.value))

    async def breathe(self, done: int) -> None:
        """Lets others have the event loop, every so many records."""
        if (done + 1) % self._turn == 0:
            await self.tx.wait(asyncio.sleep(0))

    async def records(self, seqs: Sequence[int]) -> list[Found]:
        """Records by sequence number, which a search found in this very state."""
        tx, number = self.tx, self.codec.number
        found: list[Found] = []
        turn = self._turn
        for start in range(0, len(seqs), turn):
            part = seqs[start : start + turn]
            stored = [seq for seq in part if (number, seq) not in tx.pending]
            values = await tx.wait(tx.snapshot.get_many(number, stored)) if stored else []
            raws = dict(zip(stored, values, strict=True))
            for seq in part:
                tx.reads.points.add((number, seq))
                raw = raws[seq] if seq in raws else tx.pending[number, seq].raw
                assert raw is not None, "a search finds what is there"
                tx.count_read(raw)
                found.append(Found(seq, raw, self.codec.decode(raw)))
            await self.breathe(start + len(part) - 1)
        return found

    async def matching(self, wanted: Filter) -> list[int]:
        """Sequence numbers of the records that pass a filter, the first inserted first; all join the read set."""
        tx = self.tx
        keys = self.keys()
        tx.reads.add_range(keys.index, self._head, keys.lower, keys.upper)
        seqs = await tx.wait(tx.host.vectors.matching(self.place, wanted, tx.snapshot.ts, self.number))
        own = set(self._own())
        if not own:
            return seqs
        writes = [tx.pending[self.codec.number, seq] for seq in own]
        passing = [w.seq for w in writes if w.raw is not None and wanted.matches(w.document.metadata)]
        return sorted([*(seq for seq in seqs if seq not in own), *passing])

    def _own(self) -> Iterable[int]:
        """Sequence numbers of the records here that this transaction has written."""
        known = self.tx.record_keys.of(self.tx)
        return [seq for (index, space, _), seq in known.items() if (index, space) == (self.index.number, self.number)]

    def keys(self, prefix: str = "", after: bytes | None = None) -> KeyRange:
        """The keys of the records whose id starts with `prefix`, behind the key `after`."""
        start = self._head + encode_part(prefix)[:-1]
        lower = start if after is None else max(start, after + b"\x00")
        return KeyRange(self.codec, _BY_KEY, self._head, lower, max(lower, start + TOP), False)

    def scan(self, prefix: str = "", after: bytes | None = None) -> Scan:
        """Starts reading records in order of their ids."""
        return Scan(self.tx, self.keys(prefix, after))

    def key_of(self, id: str) -> bytes:
        """Above all keys of an id, below those of later ones."""
        return self._head + encode_part(id) + TOP

    def count(self) -> int:
        """How many records there are; all of them join the read set."""
        tx = self.tx
        keys = self.keys()
        tx.reads.add_range(keys.index, self._head, keys.lower, keys.upper)
        stored = tx.host.vectors.count(self.place, tx.snapshot.ts, self.number)
        for seq in self._own():
            write = tx.pending[self.codec.number, seq]
            stored += (write.raw is not None) - (write.before is not None)
        return stored

    def vector(self, seq: int) -> Vector | None:
        """The dense vector of a record."""
        return self.tx.vector_at(self.place, seq, self.number)

    # Writing: inside of `tx.as_system()`

    def put(self, entry: Entry, found: Found | None) -> None:
        """Stores a record, in place of one with the same id."""
        seq = self._store(entry.id, entry.metadata, told_sparse(entry.sparse), found)
        if entry.vector is not None:
            self._put_vector(seq, entry.vector)

    def change(
        self, found: Found, metadata: dict[str, Any], sparse: SparseValues | None, vector: Vector | None
    ) -> None:
        """Stores changed parts of a record; without `vector` its dense one stays."""
        assert found.document is not None
        self._store(found.document.key, metadata, sparse, found)
        if vector is not None:
            self._put_vector(found.seq, vector)

    def remove(self, found: Found) -> None:
        """Removes a record; its vectors go with it."""
        row = found.document
        assert row is not None
        former = self._former(found)
        self._write(Pending(self.codec, found.seq, None, row, (), *former))

    def _store(self, id: str, metadata: dict[str, Any], sparse: SparseValues | None, found: Found | None) -> int:
        tx = self.tx
        row = RecordRow(index=self.index.number, space=self.number, key=id, metadata=metadata, sparse=sparse)
        seq = tx.host.new_seq() if found is None else found.seq
        raw = encode_record(row)
        if len(raw) > tx.host.limits.document_bytes:
            raise InvalidValue(
                f"record {id!r} has {len(raw)} bytes; limits.document_bytes allows {tx.host.limits.document_bytes}"
            )
        former = (None, None, ()) if found is None else self._former(found)
        self._write(Pending(self.codec, seq, raw, row, (self._key(id, seq),), *former))
        return seq

    def _former(self, found: Found) -> tuple[bytes | None, RecordRow | None, tuple[Key, ...]]:
        """What the storage has of a record: nothing where this transaction has made it; what it has changed knows."""
        if found.document is None or (self.codec.number, found.seq) in self.tx.pending:
            return None, None, ()
        return found.raw, found.document, (self._key(found.document.key, found.seq),)

    def _write(self, write: Pending) -> None:
        tx = self.tx
        tx.put(write)
        row = cast(RecordRow, write.document)
        tx.record_keys.note(tx, (row.index, row.space, row.key), write.seq)

    def _put_vector(self, seq: int, vector: Vector) -> None:
        tx = self.tx
        row = tx.pending[self.codec.number, seq].document
        tx.put_vector(self.vectors, self.codec, seq, self.place, vector, row)
        tx.record_keys.follow(tx)

    def _key(self, id: str, seq: int) -> Key:
        part = self._head + encode_part(id)
        ends = self._shared.get(len(part))
        if ends is None:
            ends = self._shared[len(part)] = (*self._ends, len(part))
        return Key(part + sequence_key(seq), ends)


def told_sparse(sparse: Sparse | None) -> SparseValues | None:
    """A sparse vector as callers see it, and as records keep it."""
    if sparse is None:
        return None
    return SparseValues(indices=sparse.indices.tolist(), values=sparse.values.tolist())
