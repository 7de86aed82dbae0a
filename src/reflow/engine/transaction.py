"""A transaction: reads from one snapshot, recorded; writes buffered, and seen by the transaction itself."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from reflow.database import RangeRequest, Vectors
from reflow.engine import hybrid_searches, pagination, searches, text_searches
from reflow.engine.catalog import Catalog
from reflow.engine.documents import IndexCodec, Key, TableCodec, VectorEntry, document_id, same_metadata
from reflow.engine.generations import Generations
from reflow.engine.reads import ReadSet
from reflow.engine.record_tables import NAMED, NameCache, RecordKeys
from reflow.engine.scan import KeyRange, Scan, resolve
from reflow.engine.write_log import Touched
from reflow.errors import ContextFinished, DefinitionError, DocumentNotFound, LimitExceeded, StorageError
from reflow.generations import Embedded, Generation
from reflow.hits import Conditions, Explanation, Hit, HybridHit, HybridRequest
from reflow.limits import Limits
from reflow.pages import Page, PaginationOptions
from reflow.schema import Index, TableSpec, TextIndex, VectorIndex
from reflow.search.metric import Place, Vector, VectorChange, VectorQuery
from reflow.search.standing_text import TextChange
from reflow.search.vector import VectorStore
from reflow.storage.base import Batch, IndexWrite, Request, Snapshot, TextWrite, VectorWrite, Write

T = TypeVar("T")

_NOTHING = VectorEntry(0, None, {})
_STORED = np.dtype("<f4")


class Host(Protocol):
    """What a transaction needs of the engine around it."""

    catalog: Catalog
    limits: Limits
    vectors: VectorStore
    names: NameCache

    def new_id(self, table: int) -> tuple[str, int]:
        """A fresh id and its sequence number."""
        ...

    def new_seq(self) -> int:
        """A fresh sequence number."""
        ...


class Pending(msgspec.Struct, frozen=True, gc=False):
    """The buffered state of one document; `raw` None is a delete, `before` None an insert."""

    codec: TableCodec
    seq: int
    raw: bytes | None
    document: Any
    keys: tuple[Key, ...]
    before: bytes | None
    former: Any
    former_keys: tuple[Key, ...]


class PendingVector(msgspec.Struct, frozen=True, gc=False):
    """The buffered vector of a document, None for a removal. `document` holds unless it is among the pending ones."""

    index: IndexCodec
    table: int
    vector: Vector | None
    document: Any


def missing_document(codec: TableCodec, id: str, verb: str) -> DocumentNotFound:
    """The error for a document that is not there."""
    return DocumentNotFound(f"can't {verb} document {id!r} of table {codec.name!r}: it does not exist")


Standing = Callable[[Place, VectorQuery, int], tuple[list[tuple[float, int]], bool] | None]
"""What is known of a vector search at a timestamp without looking: hits, best first, and whether they are all."""

Mark = tuple[dict[tuple[int, int], Pending], dict[tuple[Place, int], PendingVector]]
"""Buffered writes at some moment."""


class EngineTransaction:
    """One query, mutation or search; not to be used after `finish`."""

    def __init__(self, host: Host, snapshot: Snapshot, *, writable: bool, standing: Standing | None = None) -> None:
        """`standing`: for queries whose results stay and are kept up to date."""
        self.host = host
        self.standing = standing
        self.snapshot = snapshot
        self.writable = writable
        self.reads = ReadSet(host.limits.ranges_read)
        self.pending: dict[tuple[int, int], Pending] = {}
        self.tables_written: set[int] = set()
        """Numbers of the tables that may have pending documents."""
        self.pending_vectors: dict[tuple[Place, int], PendingVector] = {}
        """By (place, sequence number)."""
        self.record_keys = RecordKeys()
        self.generations: dict[int, list[Generation]] = {}
        """What is known of the generations of vector indexes, by index number."""
        self.touched: set[tuple[int, int]] = set()
        """What this transaction changes beside documents and vectors, as points of read sets."""
        self.version = 0
        """Grows with every write, so that scans notice."""
        self.waiting = 0
        """Above 0 while the storage, and nobody else, is awaited."""
        self.journal: str | None = None
        """The ends of the pages that the former run of this query gave."""
        self.pages: pagination.Pages | None = None
        """The pages that this run gave; None before there is one."""
        self.finished = False
        self.documents_read = 0
        self.bytes_read = 0
        self._bytes_written = 0
        self._system = 0
        self.fault: StorageError | None = None
        """What kept the storage from answering: whatever the function made of it, its result is worth nothing."""

    def finish(self) -> None:
        """Refuses every later call."""
        self.finished = True

    def check_open(self) -> None:
        """Raises ContextFinished once the function has returned."""
        if self.finished:
            raise ContextFinished("this ctx belongs to a function that has returned; await every ctx call inside it")

    async def wait(self, awaitable: Awaitable[T]) -> T:
        """Awaits the storage or a search: the one thing besides `ctx` that may suspend a function."""
        self.waiting += 1
        try:
            return await awaitable
        except StorageError as error:
            self.fault = self.fault or error
            raise
        finally:
            self.waiting -= 1

    def count_anew(self) -> None:
        """Starts the limits of reading and writing from zero: what follows is reflow's own work."""
        self.documents_read = self.bytes_read = self._bytes_written = 0

    def count_read(self, raw: bytes | None) -> None:
        """Counts a document against the limits of reading. Raises LimitExceeded."""
        self.documents_read += 1
        if raw is not None:
            self.bytes_read += len(raw)
        limits = self.host.limits
        if self.documents_read > limits.documents_read:
            raise LimitExceeded(
                f"one function read more than limits.documents_read = {limits.documents_read} documents; "
                "narrow the query with an index, take fewer, or paginate"
            )
        if self.bytes_read > limits.bytes_read:
            raise LimitExceeded(
                f"one function read more than limits.bytes_read = {limits.bytes_read} bytes; "
                "narrow the query with an index, take fewer, or paginate"
            )

    # Reading

    async def raw(self, codec: TableCodec, seq: int, id: str) -> bytes | None:
        """The bytes of a document with this very id."""
        self.reads.points.add((codec.number, seq))
        found = self.pending.get((codec.number, seq))
        value = found.raw if found is not None else await self.wait(self.snapshot.get(codec.number, seq))
        self.count_read(value)
        return value if value is not None and document_id(value) == id else None

    async def get(self, ids: Sequence[str]) -> list[Any]:
        """Documents by id, None for each that is not there."""
        self.check_open()
        if len(ids) == 1:
            codec, seq = self.host.catalog.locate(ids[0])
            raw = await self.raw(codec, seq, ids[0])
            return [None if raw is None else codec.decode(raw)]
        return await self._get_many(ids)

    async def _get_many(self, ids: Sequence[str]) -> list[Any]:
        located = [self.host.catalog.locate(id) for id in ids]
        wanted: dict[int, list[int]] = {}
        for codec, seq in located:
            self.reads.points.add((codec.number, seq))
            if (codec.number, seq) not in self.pending:
                wanted.setdefault(codec.number, []).append(seq)
        stored: dict[tuple[int, int], bytes | None] = {}
        for number, seqs in wanted.items():
            values = await self.wait(self.snapshot.get_many(number, seqs))
            stored.update(zip([(number, seq) for seq in seqs], values, strict=True))
        documents: list[Any] = []
        for id, (codec, seq) in zip(ids, located, strict=True):
            found = self.pending.get((codec.number, seq))
            value = found.raw if found is not None else stored[codec.number, seq]
            self.count_read(value)
            here = value is not None and document_id(value) == id
            documents.append(codec.decode(value) if here and value is not None else None)
        return documents

    def key_range(self, request: RangeRequest) -> KeyRange:
        """The keys that a request is about."""
        self.check_open()
        return resolve(self.host.catalog.codec(request.table), request)

    def scan(self, request: RangeRequest) -> Scan:
        """Starts reading a range; see `reflow.engine.scan`."""
        return Scan(self, self.key_range(request), request.filter, request.own)

    async def count(self, request: RangeRequest) -> int:
        """The number of documents in a range; they are read only when there is a filter or an own write."""
        keys = self.key_range(request)
        own = any(number == keys.codec.number for number, _ in self.pending)
        if request.filter is not None or request.own is not None or own:
            return len(await self.scan(request).take(None))
        self.reads.add_range(keys.index, keys.prefix, keys.lower, keys.upper)
        return await self.wait(self.snapshot.count(keys.codec.number, keys.index, keys.lower, keys.upper))

    async def paginate(self, request: RangeRequest, options: PaginationOptions) -> Page[Any]:
        """One page; see `reflow.engine.pagination`."""
        return await pagination.paginate(self, request, options)

    async def nearest(
        self,
        index: VectorIndex,
        vector: Embedded,
        limit: int,
        conditions: Conditions,
        *,
        approximate: bool = False,
    ) -> list[Hit[Any]]:
        """The most similar documents; see `reflow.engine.searches`. What is approximate has no read set."""
        self.check_open()
        return await searches.nearest(self, index, vector, limit, conditions, approximate=approximate)

    async def search_text(self, index: TextIndex, text: str, limit: int, conditions: Conditions) -> list[Hit[Any]]:
        """The best documents for words; see `reflow.engine.text_searches`."""
        self.check_open()
        return await text_searches.search(self, index, text, limit, conditions)

    async def search_page(
        self, index: TextIndex, text: str, options: PaginationOptions, conditions: Conditions
    ) -> Page[Hit[Any]]:
        """One page of a search for words; see `reflow.engine.text_searches`."""
        self.check_open()
        return await text_searches.search_page(self, index, text, options, conditions)

    async def hybrid(
        self, indexes: tuple[VectorIndex, TextIndex], vector: Embedded, text: str, request: HybridRequest
    ) -> list[HybridHit[Any]]:
        """The best documents by both; see `reflow.engine.hybrid_searches`."""
        self.check_open()
        return await hybrid_searches.hybrid(self, indexes, vector, text, request)

    async def explain(
        self, indexes: tuple[VectorIndex, TextIndex], vector: Embedded, text: str, request: HybridRequest
    ) -> Explanation[Any]:
        """The same with reasons; see `reflow.engine.hybrid_searches`."""
        self.check_open()
        return await hybrid_searches.explain(self, indexes, vector, text, request)

    async def vector(self, index: VectorIndex, id: str) -> NDArray[np.float32] | None:
        """A document's vector, own writes included."""
        self.check_open()
        _, _, seq = self.locate_vector(index, id)
        place, _ = await Generations(self).active(index)
        return self.vector_at(place, seq)

    def vector_at(self, place: Place, seq: int, space: int = 0) -> Vector | None:
        """The dense vector of a document, own writes included. It joins the read set."""
        self.reads.points.add((place[0], seq))
        own = self.pending_vectors.get((place, seq))
        return self.host.vectors.vector(place, seq, self.snapshot.ts, space) if own is None else own.vector

    def normalize_id(self, spec: TableSpec, text: str) -> str | None:
        """`text` when it is an id of the table."""
        return self.host.catalog.normalize(spec, text)

    # Writing

    def check_writable(self) -> None:
        """Raises DefinitionError in a query."""
        self.check_open()
        if not self.writable:
            raise DefinitionError("a query can't write: use a mutation")

    @contextmanager
    def as_system(self) -> Generator[None, None, None]:
        """Inside, reflow's own tables can be written, which applications must not."""
        self._system += 1
        try:
            yield
        finally:
            self._system -= 1

    def put(self, found: Pending) -> None:
        """Buffers the state of a document, whole. Raises LimitExceeded."""
        if found.codec.name[0] == "_" and not self._system:
            raise DefinitionError(f"table {found.codec.name!r} is reflow's own: it can be read, not written")
        key = (found.codec.number, found.seq)
        earlier = self.pending.get(key)
        if earlier is not None:
            found = Pending(
                *(found.codec, found.seq, found.raw, found.document, found.keys),
                *(earlier.before, earlier.former, earlier.former_keys),
            )
        self._bytes_written += len(found.raw or b"")
        limits = self.host.limits
        documents = len(self.pending) + (earlier is None)
        if documents > limits.documents_written or self._bytes_written > limits.bytes_written:
            raise LimitExceeded(
                f"one mutation wrote more than limits.documents_written = {limits.documents_written} documents or "
                f"limits.bytes_written = {limits.bytes_written} bytes; split the work into several mutations"
            )
        for index in found.codec.vectors:
            self.reads.points.add((index.number, found.seq))  # its vector goes along, as it is now
        self.pending[key] = found
        self.tables_written.add(found.codec.number)
        self.version += 1

    async def insert(self, spec: TableSpec, documents: Sequence[Any], vectors: Sequence[Vectors | None]) -> list[str]:
        """Buffers new documents with their vectors; returns their ids."""
        self.check_writable()
        codec = self.host.catalog.codec(spec)
        check = self.host.catalog.check_id
        ids: list[str] = []
        for document, given in zip(documents, vectors, strict=True):
            id, seq = self.host.new_id(codec.number)
            raw, copy = codec.new(document, id, (seq >> 12) / 1000, check)
            self.put(Pending(codec, seq, raw, copy, codec.keys_of(copy, seq), None, None, ()))
            for index, vector in (given or {}).items():
                await self._set_vector(index, codec, seq, vector, copy)
            ids.append(id)
            if len(ids) % self.host.limits.records_per_turn == 0:
                await self.wait(asyncio.sleep(0))
        return ids

    async def _existing(self, id: str, verb: str) -> tuple[TableCodec, int, bytes]:
        self.check_writable()
        codec, seq = self.host.catalog.locate(id)
        raw = await self.raw(codec, seq, id)
        if raw is None:
            raise missing_document(codec, id, verb)
        return codec, seq, raw

    def _change(self, codec: TableCodec, seq: int, before: bytes, after: tuple[bytes, Any] | None) -> None:
        raw, copy = after if after is not None else (None, None)
        keys = () if raw is None else codec.keys_of(copy, seq)
        if (codec.number, seq) in self.pending:
            self.put(Pending(codec, seq, raw, copy, keys, None, None, ()))
            return
        former = codec.decode(before)
        self.put(Pending(codec, seq, raw, copy, keys, before, former, codec.keys_of(former, seq)))

    async def patch(self, id: str, changes: Mapping[str, Any]) -> None:
        """Buffers changed fields. Raises DocumentNotFound."""
        codec, seq, raw = await self._existing(id, "patch")
        self._change(codec, seq, raw, codec.patched(raw, changes, self.host.catalog.check_id))

    async def replace(self, id: str, document: Any) -> None:
        """Buffers another document under the same id. Raises DocumentNotFound."""
        codec, seq, raw = await self._existing(id, "replace")
        self._change(codec, seq, raw, codec.replaced(raw, document, self.host.catalog.check_id))

    async def delete(self, ids: Sequence[str]) -> None:
        """Buffers the removal of documents and their vectors. Raises DocumentNotFound."""
        for id in ids:
            codec, seq, raw = await self._existing(id, "delete")
            self._change(codec, seq, raw, None)

    async def set_vector(self, index: VectorIndex, id: str, vector: Any) -> None:
        """Buffers a document's vector; None removes it. Raises DocumentNotFound."""
        self.check_writable()
        codec, found, seq = self.locate_vector(index, id)
        self.reads.points.add((codec.number, seq))
        places = await Generations(self).places(found)
        if vector is None and all(self.vector_at(place, seq) is None for place in places):
            return
        _, _, raw = await self._existing(id, "set the vector of")
        await self._set_vector(index, codec, seq, vector, codec.decode(raw))

    def locate_vector(self, index: VectorIndex, id: str) -> tuple[TableCodec, IndexCodec, int]:
        """The table, the index and the document's sequence number. Raises DefinitionError for another table's id."""
        codec, found = self.host.catalog.index(index)
        owner, seq = self.host.catalog.locate(id)
        if owner is not codec:
            raise DefinitionError(f"{index!r} holds vectors of table {codec.name!r}, {id!r} is of {owner.name!r}")
        return codec, found, seq

    async def _set_vector(self, index: Index, codec: TableCodec, seq: int, vector: Any, document: Any) -> None:
        owner, found = self.host.catalog.index(index)
        if owner is not codec or not isinstance(index, VectorIndex):
            raise DefinitionError(f"{index!r} is no vector index of table {codec.name!r}")
        generations = Generations(self)
        if vector is None:
            placed: Mapping[Place, Vector | None] = dict.fromkeys(await generations.places(found))
        else:
            placed = await generations.spread(index, vector)
        for place, value in placed.items():
            if value is not None or self.vector_at(place, seq) is not None:
                self.put_vector(found, codec, seq, place, value, document)

    def put_vector(
        self, index: IndexCodec, codec: TableCodec, seq: int, place: Place, vector: Vector | None, document: Any
    ) -> None:
        """Buffers a checked vector of a document, None for its removal, where `document` may be None as well."""
        self.pending_vectors[place, seq] = PendingVector(index, codec.number, vector, document)
        self.version += 1

    # Nesting

    def mark(self) -> Mark:
        """The buffered writes so far, for `undo_to`."""
        return dict(self.pending), dict(self.pending_vectors)

    def undo_to(self, mark: Mark) -> None:
        """Drops the writes since `mark`."""
        self.pending, self.pending_vectors = mark
        self.generations.clear()
        self.version += 1

    # The outcome

    @property
    def wrote(self) -> bool:
        """Whether there is anything to commit."""
        return bool(self.pending or self.pending_vectors)

    async def effects(self, ts: int, request: Request | None) -> Effects:
        """What the commit of this transaction stores, publishes and changes in memory. Only in the turn."""
        found = Effects(Batch(ts, request=request), Touched(points=set(self.touched)), [])
        if any(self.host.catalog.codec(spec).number in self.tables_written for spec in NAMED):
            self.host.names.changed(ts)
        turn = self.host.limits.records_per_turn
        for done, write in enumerate(self.pending.values(), 1):
            if write.raw is not None or write.before is not None:
                found.add_document(write)
                for index in write.codec.vectors:
                    for place in index.places(write.former if write.raw is None else write.document):
                        self._add_vector(found, index, place, write)
            if done % turn == 0:
                await asyncio.sleep(0)
        for (place, seq), own in self.pending_vectors.items():
            if (own.table, seq) not in self.pending:
                entry = _NOTHING if own.document is None else own.index.entry(own.document)
                found.add_vector(place, seq, entry, own.vector, dense=True)
        return found

    def _add_vector(self, found: Effects, index: IndexCodec, place: Place, write: Pending) -> None:
        """A document takes its vector along: it ends with it, and stands under its present metadata."""
        own = self.pending_vectors.get((place, write.seq))
        if own is None and write.before is None:
            entry = index.entry(write.document)
            if entry.sparse is not None:
                found.add_vector(place, write.seq, entry, None, dense=False)
            return
        before = None if write.before is None else index.entry(write.former)
        after = None if write.raw is None else index.entry(write.document)
        if own is None and before is not None and after is not None and before.same(after):
            return
        vectors, ts, vector = self.host.vectors, self.snapshot.ts, None
        if own is not None:
            vector = own.vector
        elif before is not None and after is not None:
            vector = vectors.vector(place, write.seq, ts, before.space)
        if after is not None and (vector is not None or after.sparse is not None):
            found.add_vector(place, write.seq, after, vector, dense=own is not None)
        elif before is not None:
            dense = vectors.has_vector(place, write.seq, ts, before.space)
            if dense or before.sparse is not None:
                found.add_vector(place, write.seq, before._replace(sparse=None), None, dense=dense)


@dataclass(slots=True)
class Effects:
    """The batch for the storage, what it touches, and the vectors' change in memory."""

    batch: Batch
    touched: Touched
    changes: list[VectorChange]

    def add_document(self, write: Pending) -> None:
        """Adds one document's change with its index rows."""
        codec = write.codec
        rows: list[IndexWrite] = []
        self.touched.add_document(codec.number, write.seq)
        was_there, is_there = write.before is not None, write.raw is not None
        for place, index in enumerate(codec.ranges):
            before = write.former_keys[place] if was_there else None
            after = write.keys[place] if is_there else None
            self.touched.add_keys(index.number, before, after)
            if before != after:
                rows.append(IndexWrite(index.number, before and before.full, after and after.full))
        texts: list[TextWrite] = []
        for index in codec.texts:
            was = None if write.before is None else index.text(write.former)
            now = None if write.raw is None else index.text(write.document)
            same = (was and was.source) == (now and now.source)
            if same and (was is None or now is None or same_metadata(was.metadata, now.metadata)):
                continue
            self.touched.texts.setdefault(index.number, []).append(TextChange(was, now))
            if not same:
                texts.append(TextWrite(index.number, now and now.tokens))
        self.batch.writes.append(Write(codec.number, write.seq, write.raw, write.before, rows, texts))

    def add_vector(self, place: Place, seq: int, entry: VectorEntry, vector: Vector | None, *, dense: bool) -> None:
        """Adds the vectors of one document; without any they end. `dense`: the dense one is written or removed."""
        change = VectorChange(place, seq, vector, entry.sparse, entry.space, entry.metadata)
        if dense:
            raw = None if vector is None else vector.astype(_STORED, copy=False).tobytes()
            self.batch.vectors.append(VectorWrite(*place, seq, raw))
        else:
            self.batch.described.append((*place, seq))
        self.changes.append(change)
        self.touched.vectors.append(change)
        self.touched.points.add((place[0], seq))
