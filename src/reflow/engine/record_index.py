"""One free-standing vector index inside one transaction: what Pinecone's index can do, with its rules."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any, NamedTuple

from numpy.typing import ArrayLike

from reflow.engine import searches
from reflow.engine.pagination import decode_cursor, encode_cursor
from reflow.engine.record_names import (
    count_namespaces,
    drop_namespace,
    empty_namespace,
    existing_index,
    find_namespace,
    make_namespace,
    namespaces,
)
from reflow.engine.record_space import Found, Space, told_sparse
from reflow.engine.record_tables import NamespaceRow, RecordRow, VectorIndexRow
from reflow.engine.transaction import EngineTransaction
from reflow.errors import DefinitionError, InvalidCursor, InvalidFilter, InvalidValue, LimitExceeded
from reflow.search.filters import Filter, check_metadata, parse
from reflow.search.metric import VectorQuery
from reflow.search.records import (
    Entry,
    Shape,
    checked_id,
    checked_in_turns,
    checked_namespace,
    checked_values,
    query_vector,
    sparse_of,
)
from reflow.storage.base import sequence_key
from reflow.vectors import (
    IdPage,
    IndexStats,
    Match,
    NamespaceInfo,
    NamespacePage,
    QueryResult,
    Record,
    RecordLike,
    RecordPage,
    SparseValues,
)

_MARK_BYTES = 8


class Prepared(NamedTuple):
    """Records that were checked against the index of that number; None where they are to be."""

    number: int | None
    given: Sequence[RecordLike]
    entries: list[Entry]


class Selection(NamedTuple):
    """Records that pass a filter, and what is to become of them: other metadata, or nothing (None)."""

    filter: Filter
    namespace: str
    set_metadata: Mapping[str, Any] | None
    after: int = 0
    """Only those first stored after this sequence number."""

    @classmethod
    def of(
        cls, filter: Mapping[str, Any], namespace: str, otherwise: str, set_metadata: Mapping[str, Any] | None = None
    ) -> Selection:
        """Checked; `otherwise` is what is wrong with an empty filter. Raises InvalidValue."""
        changes = None if set_metadata is None else check_metadata(set_metadata)
        return cls(_required(filter, otherwise), checked_namespace(namespace), changes)


class Changed(NamedTuple):
    """How many records were changed, and after which one the next part begins; None when there is none."""

    passed: int
    after: int | None


class RecordIndex:
    """A `reflow.vectors.Index`, which see. What it reads joins the transaction's read set, own writes are seen."""

    def __init__(self, tx: EngineTransaction, name: str, *, approximate: bool = False) -> None:
        """`approximate`: queries need not be exact. For what nobody subscribes to."""
        self._tx = tx
        self._name = name
        self._approximate = approximate

    @property
    def name(self) -> str:
        """The index's name."""
        return self._name

    # Finding the place

    async def _open(self, *, writing: bool = False) -> tuple[VectorIndexRow, Shape]:
        if writing and not self._tx.writable:
            raise DefinitionError("a query can't write to a vector index: use a mutation")
        row = await existing_index(self._tx, self._name)
        return row, Shape(row.name, row.dims, row.metric)

    async def _space(self, index: VectorIndexRow, namespace: str) -> Space | None:
        """A namespace that is there. An unknown one is an empty one, until it appears."""
        row = await find_namespace(self._tx, index.number, checked_namespace(namespace))
        return None if row is None else Space(self._tx, index, row.number)

    # Writing

    async def upsert(self, vectors: Iterable[RecordLike], *, namespace: str = "") -> int:
        """Stores records, all of them or none. Raises InvalidValue, also for an id that is given twice."""
        return await self.store(Prepared(None, list(vectors), []), namespace=namespace)

    async def store(self, records: Prepared, *, namespace: str = "") -> int:
        """Stores records, all of them or none; those that were not checked against this index are checked now."""
        index, shape = await self._open(writing=True)
        tx, entries = self._tx, records.entries
        if records.number != index.number:
            entries = await checked_in_turns(records.given, shape, tx.host.limits, lambda: tx.wait(asyncio.sleep(0)))
        name = checked_namespace(namespace)
        if not entries:
            return 0
        space = Space(tx, index, await make_namespace(tx, index, name))
        found = await space.find([entry.id for entry in entries])
        with tx.as_system():
            for place, (entry, here) in enumerate(zip(entries, found, strict=True)):
                space.put(entry, here)
                await space.breathe(place)
        return len(entries)

    async def update(
        self,
        id: str,
        *,
        values: ArrayLike | None = None,
        sparse_values: SparseValues | None = None,
        set_metadata: Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> None:
        """Changes parts of a record; nothing happens when there is none."""
        index, shape = await self._open(writing=True)
        key = checked_id(id)
        vector = None if values is None else checked_values(values, shape)
        sparse = None if sparse_values is None else sparse_of(sparse_values)
        metadata = check_metadata(set_metadata or {})
        space = await self._space(index, namespace)
        if space is None:
            return
        found = (await space.find([key]))[0]
        if found is None or found.document is None:
            return
        row = found.document
        merged = check_metadata({**row.metadata, **metadata}) if metadata else row.metadata
        with self._tx.as_system():
            space.change(found, merged, row.sparse if sparse is None else told_sparse(sparse), vector)

    async def update_by_filter(
        self,
        filter: Mapping[str, Any],
        *,
        set_metadata: Mapping[str, Any],
        namespace: str = "",
        dry_run: bool = False,
    ) -> int:
        """Adds or replaces metadata of all records that pass a filter. Returns how many pass."""
        changes = Selection.of(filter, namespace, "Update with empty metadata filter is not allowed", set_metadata)
        return (await self.change(changes, dry_run=dry_run)).passed

    async def delete(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        delete_all: bool = False,
        namespace: str = "",
    ) -> None:
        """Removes records: exactly one of `ids`, `filter` and `delete_all` says which."""
        if (ids is not None) + (filter is not None) + bool(delete_all) != 1:
            raise InvalidValue("delete needs exactly one of ids, filter and delete_all")
        if filter is not None:
            await self.change(Selection.of(filter, namespace, "Delete with empty metadata filter is not allowed"))
            return
        index, _ = await self._open(writing=True)
        name = checked_namespace(namespace)
        keys = [] if ids is None else list(dict.fromkeys(map(checked_id, ids)))
        row = await find_namespace(self._tx, index.number, name)
        if row is None:
            return
        if delete_all:
            await empty_namespace(self._tx, row)
            return
        space = Space(self._tx, index, row.number)
        there = await space.find(keys)
        with self._tx.as_system():
            for found in there:
                if found is not None and found.document is not None:
                    space.remove(found)

    async def change(self, selection: Selection, *, dry_run: bool = False, most: int | None = None) -> Changed:
        """Changes or removes the records that pass a filter: all of them, or `most` of those behind `selection.after`.

        Raises LimitExceeded where they are more than one mutation may write.
        """
        index, _ = await self._open(writing=not dry_run)
        space = await self._space(index, selection.namespace)
        if space is None:
            return Changed(0, None)
        seqs = await space.matching(selection.filter)
        if dry_run:
            return Changed(len(seqs), None)
        seqs = seqs[bisect_right(seqs, selection.after) :]
        part = seqs[:most]
        bound = self._tx.host.limits.documents_written
        if len(part) > bound:
            raise LimitExceeded(
                f"the filter passes {len(part)} records, and one mutation may write limits.documents_written = {bound} "
                "documents: narrow it, or call this from an action, which works in batches"
            )
        records = await space.records(part)
        with self._tx.as_system():
            for place, found in enumerate(records):
                row = found.document
                assert row is not None
                if selection.set_metadata is None:
                    space.remove(found)
                else:
                    space.change(found, check_metadata({**row.metadata, **selection.set_metadata}), row.sparse, None)
                await space.breathe(place)
        return Changed(len(part), part[-1] if len(part) < len(seqs) else None)

    # Reading

    async def query(
        self,
        *,
        vector: ArrayLike | None = None,
        id: str | None = None,
        sparse_vector: SparseValues | None = None,
        top_k: int = 10,
        namespace: str = "",
        filter: Mapping[str, Any] | None = None,
        include_values: bool = False,
        include_metadata: bool = False,
    ) -> QueryResult:
        """The records most similar to a vector, a sparse vector, both together, or the vector of the record `id`."""
        index, shape = await self._open()
        _check_number("top_k", top_k, self._tx.host.limits.records_per_query, "limits.records_per_query")
        asked = _asked(shape, vector, id, sparse_vector, None if filter is None else parse(filter), top_k)
        key = None if id is None else checked_id(id)
        name = checked_namespace(namespace)
        space = await self._space(index, name)
        if space is not None and key is not None:
            asked = await self._of_record(space, key, asked)
        if space is None or asked is None:
            return QueryResult(matches=[], namespace=name)
        asked = VectorQuery(asked.limit, asked.vector, asked.sparse, asked.filter, space.number)
        tx = self._tx
        if self._approximate:
            best = await tx.wait(tx.host.vectors.search(space.place, asked, tx.snapshot.ts, approximate=True))
        else:
            best = await searches.best_vectors(tx, space.codec, space.vectors, space.place, asked)
        records = await space.records([seq for _, seq in best])
        matches: list[Match] = []
        for place, ((score, _), record) in enumerate(zip(best, records, strict=True)):
            matches.append(_match(space, record, score, include_values, include_metadata))
            await space.breathe(place)
        return QueryResult(matches=matches, namespace=name)

    async def _of_record(self, space: Space, id: str, asked: VectorQuery) -> VectorQuery | None:
        """A query by the vectors of a record; None where there is no such record."""
        found = (await space.find([id]))[0]
        if found is None or found.document is None:
            return None
        sparse = space.vectors.sparse(found.document) if space.index.metric == "dotproduct" else None
        vector = space.vector(found.seq) if space.index.dims else None
        return VectorQuery(asked.limit, vector, sparse, asked.filter)

    async def fetch(self, ids: Iterable[str], *, namespace: str = "") -> dict[str, Record]:
        """Records by id; those that do not exist are left out."""
        index, _ = await self._open()
        keys = [checked_id(id) for id in dict.fromkeys(ids)]
        space = await self._space(index, namespace)
        if space is None:
            return {}
        found = [here for here in await space.find(keys) if here is not None and here.document is not None]
        return {record.id: record for record in await _records(space, found)}

    async def fetch_by_metadata(
        self, filter: Mapping[str, Any], *, namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> RecordPage:
        """Records whose metadata pass a filter, in the order in which their ids were first stored."""
        wanted = _required(filter, "Empty filter provided for fetch by metadata request")
        index, _ = await self._open()
        limits = self._tx.host.limits
        _check_number("limit", limit, limits.records_per_page, "limits.records_per_page")
        mark = _mark("fetch", index.number, checked_namespace(namespace), wanted.key)
        after = 0 if pagination_token is None else int.from_bytes(_decoded(mark, pagination_token), "big")
        space = await self._space(index, namespace)
        if space is None:
            return RecordPage(records=[], next=None)
        seqs = await space.matching(wanted)
        seqs = seqs[bisect_right(seqs, after) :]
        records = await _records(space, await space.records(seqs[:limit]))
        more = len(seqs) > limit
        return RecordPage(records=records, next=encode_cursor(mark, sequence_key(seqs[limit - 1])) if more else None)

    async def list(
        self, *, prefix: str = "", namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> IdPage:
        """Ids that start with `prefix`, in order of their bytes."""
        index, _ = await self._open()
        _check_number("limit", limit, self._tx.host.limits.ids_per_page, "limits.ids_per_page")
        if prefix != "":
            checked_id(prefix)
        mark = _mark("list", index.number, checked_namespace(namespace), prefix.encode())
        after = None if pagination_token is None else _decoded(mark, pagination_token)
        space = await self._space(index, namespace)
        if space is None:
            return IdPage(ids=[], next=None)
        start = None if after is None else space.key_of(after.decode("ascii", "replace"))
        rows: list[RecordRow] = await space.scan(prefix, start).take(limit + 1)
        ids = [row.key for row in rows[:limit]]
        return IdPage(ids=ids, next=encode_cursor(mark, ids[-1].encode()) if len(rows) > limit else None)

    # Namespaces and numbers

    async def stats(self) -> IndexStats:
        """Numbers of the whole index."""
        index, _ = await self._open()
        counts: dict[str, int] = {}
        for place, row in enumerate(await namespaces(self._tx, index.number)):
            space = Space(self._tx, index, row.number)
            counts[row.name] = space.count()
            await space.breathe(place)
        return IndexStats(dims=index.dims or None, metric=index.metric, records=sum(counts.values()), namespaces=counts)

    async def list_namespaces(
        self, *, prefix: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> NamespacePage:
        """Namespaces whose names start with `prefix`, in order of their names."""
        index, _ = await self._open()
        _check_number("limit", limit, self._tx.host.limits.ids_per_page, "limits.ids_per_page")
        mark = _mark("namespaces", index.number, "", checked_namespace(prefix).encode())
        after = None if pagination_token is None else _decoded(mark, pagination_token)[1:].decode("ascii", "replace")
        rows = await namespaces(self._tx, index.number, checked_namespace(prefix), after, limit + 1)
        told = [self._info(index, row) for row in rows[:limit]]
        last = rows[limit - 1].name if len(rows) > limit else None
        return NamespacePage(namespaces=told, next=None if last is None else encode_cursor(mark, b"=" + last.encode()))

    async def count_namespaces(self) -> int:
        """How many namespaces there are."""
        index, _ = await self._open()
        return await count_namespaces(self._tx, index.number)

    async def describe_namespace(self, name: str) -> NamespaceInfo | None:
        """One namespace, None when there is none of that name."""
        index, _ = await self._open()
        row = await find_namespace(self._tx, index.number, checked_namespace(name))
        return None if row is None else self._info(index, row)

    async def create_namespace(self, name: str) -> None:
        """Makes an empty namespace; nothing happens when it is there."""
        index, _ = await self._open(writing=True)
        await make_namespace(self._tx, index, checked_namespace(name))

    async def delete_namespace(self, name: str) -> None:
        """Removes a namespace with its records. What does not exist is no error."""
        index, _ = await self._open(writing=True)
        row = await find_namespace(self._tx, index.number, checked_namespace(name))
        if row is not None:
            await drop_namespace(self._tx, row)

    async def settled(self, *, namespace: str = "") -> None:
        """Returns at once: what is written is seen."""

    def _info(self, index: VectorIndexRow, row: NamespaceRow) -> NamespaceInfo:
        return NamespaceInfo(name=row.name, records=Space(self._tx, index, row.number).count())


def _match(space: Space, found: Found, score: float, include_values: bool, include_metadata: bool) -> Match:
    """A hit as its caller sees it."""
    row = found.document
    assert row is not None
    match = Match(id=row.key, score=abs(score) if space.index.metric == "euclidean" else score)
    if include_values:
        match.values, match.sparse_values = _values(space, found.seq), row.sparse
    if include_metadata:
        match.metadata = row.metadata
    return match


def _asked(shape: Shape, vector: Any, id: Any, sparse: Any, filter: Filter | None, top_k: int) -> VectorQuery:
    """A query, checked but for its namespace. By an id, its vectors are still to come."""
    if (vector is not None or sparse is not None) == (id is not None):
        raise InvalidValue("query needs either an id, or a vector, a sparse vector or both")
    if sparse is not None and shape.metric != "dotproduct":
        raise InvalidValue(
            f'Index configuration does not support sparse values: only indexes with metric "dotproduct" do, and '
            f"{shape.name!r} has {shape.metric!r}"
        )
    dense = None if vector is None else query_vector(vector, shape)
    return VectorQuery(top_k, dense, None if sparse is None else sparse_of(sparse), filter)


def _required(filter: Mapping[str, Any], otherwise: str) -> Filter:
    wanted = parse(filter)
    if wanted is None:
        raise InvalidFilter(otherwise)
    return wanted


def _values(space: Space, seq: int) -> list[float] | None:
    vector = space.vector(seq) if space.index.dims else None
    return None if vector is None else vector.tolist()


async def _records(space: Space, found: list[Found]) -> list[Record]:
    """Records as their caller sees them."""
    records: list[Record] = []
    for place, here in enumerate(found):
        row = here.document
        assert row is not None
        values = _values(space, here.seq)
        records.append(Record(id=row.key, values=values, sparse_values=row.sparse, metadata=row.metadata))
        await space.breathe(place)
    return records


def _check_number(what: str, given: object, most: int, limit: str) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= most:
        raise InvalidValue(f"{what} must be a whole number between 1 and {most} ({limit}), got {given!r:.100}")


def _mark(what: str, index: int, namespace: str, about: bytes) -> bytes:
    """Tells lists apart, so that a token of one is refused by another."""
    text = f"{what}\0{index}\0{namespace}\0".encode() + about
    return blake2b(text, digest_size=_MARK_BYTES).digest()


def _decoded(mark: bytes, token: str) -> bytes:
    """Where the page before ended. Raises InvalidValue."""
    try:
        return decode_cursor(mark, token)
    except (InvalidCursor, AttributeError, TypeError):
        raise InvalidValue(
            f"the pagination token {token!r:.100} belongs to another list or is damaged: begin without one"
        ) from None
