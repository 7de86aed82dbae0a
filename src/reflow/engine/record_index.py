"""One free-standing vector index inside one transaction: what Pinecone's index can do, with its rules."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from hashlib import blake2b
from typing import Any

from numpy.typing import ArrayLike

from reflow.engine import searches
from reflow.engine.pagination import decode_cursor, encode_cursor
from reflow.engine.record_names import (
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
from reflow.errors import InvalidCursor, InvalidFilter, InvalidValue
from reflow.search.filters import Filter, check_metadata, parse
from reflow.search.metric import VectorQuery
from reflow.search.records import (
    Shape,
    checked_entries,
    checked_id,
    checked_namespace,
    checked_values,
    query_vector,
    sparse_of,
)
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

    async def _open(self) -> tuple[VectorIndexRow, Shape]:
        row = await existing_index(self._tx, self._name)
        return row, Shape(row.name, row.dims, row.metric)

    async def _space(self, index: VectorIndexRow, namespace: str) -> Space | None:
        """A namespace that is there. An unknown one is an empty one, until it appears."""
        row = await find_namespace(self._tx, index.number, checked_namespace(namespace))
        return None if row is None else Space(self._tx, index, row.number)

    # Writing

    async def upsert(self, vectors: Iterable[RecordLike], *, namespace: str = "") -> int:
        """Stores records, all of them or none. Raises InvalidValue, also for an id that is given twice."""
        index, shape = await self._open()
        name = checked_namespace(namespace)
        entries = checked_entries(vectors, shape)
        if not entries:
            return 0
        space = Space(self._tx, index, await make_namespace(self._tx, index, name))
        found = await space.find([entry.id for entry in entries])
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
        index, shape = await self._open()
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
        wanted = _required(filter, "Update with empty metadata filter is not allowed")
        metadata = check_metadata(set_metadata)

        def change(space: Space, found: Found, row: RecordRow) -> None:
            space.change(found, check_metadata({**row.metadata, **metadata}), row.sparse, None)

        return await self._for_each(wanted, namespace, None if dry_run else change)

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
            wanted = _required(filter, "Delete with empty metadata filter is not allowed")
            await self._for_each(wanted, namespace, lambda space, found, _: space.remove(found))
            return
        index, _ = await self._open()
        name = checked_namespace(namespace)
        keys = [] if ids is None else list(dict.fromkeys(map(checked_id, ids)))
        row = await find_namespace(self._tx, index.number, name)
        if row is None:
            return
        if delete_all:
            await empty_namespace(self._tx, row)
            return
        space = Space(self._tx, index, row.number)
        for found in await space.find(keys):
            if found is not None and found.document is not None:
                space.remove(found)

    async def _for_each(
        self, wanted: Filter, namespace: str, work: Callable[[Space, Found, RecordRow], None] | None
    ) -> int:
        """Does something to all records that pass a filter; returns how many there are."""
        index, _ = await self._open()
        space = await self._space(index, namespace)
        if space is None:
            return 0
        scan, page = space.scan(), self._tx.host.limits.records_per_turn
        passed: list[str] = []
        while rows := await scan.take(page):
            passed += [row.key for row in rows if wanted.matches(row.metadata)]
            await space.breathe(page - 1)
        if work is not None:
            for place, found in enumerate(await space.find(passed)):
                if found is not None and found.document is not None:
                    work(space, found, found.document)
                await space.breathe(place)
        return len(passed)

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
        name = checked_namespace(namespace)
        space = await self._space(index, name)
        if space is not None and id is not None:
            asked = await self._of_record(space, checked_id(id), asked)
        if space is None or asked is None:
            return QueryResult(matches=[], namespace=name)
        asked = VectorQuery(asked.limit, asked.vector, asked.sparse, asked.filter, space.number)
        best = await searches.best_vectors(self._tx, space.codec, space.vectors, space.place, asked)
        rows = await space.rows([seq for _, seq in best])
        matches = [
            self._match(space, seq, row, score, include_values, include_metadata)
            for (score, seq), row in zip(best, rows, strict=True)
        ]
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
        found = await space.find(keys)
        return {
            here.document.key: _record(space, here.seq, here.document)
            for here in found
            if here is not None and here.document is not None
        }

    async def fetch_by_metadata(
        self, filter: Mapping[str, Any], *, namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> RecordPage:
        """Records whose metadata pass a filter, in order of their ids."""
        wanted = _required(filter, "Empty filter provided for fetch by metadata request")
        index, _ = await self._open()
        limits = self._tx.host.limits
        _check_number("limit", limit, limits.records_per_page, "limits.records_per_page")
        mark = _mark("fetch", index.number, checked_namespace(namespace), wanted.key)
        after = None if pagination_token is None else _decoded(mark, pagination_token)
        space = await self._space(index, namespace)
        records: list[Record] = []
        if space is None:
            return RecordPage(records=records, next=None)
        scan, page = space.scan(after=None if after is None else space.key_of(after)), limits.records_per_turn
        while rows := await scan.take(page):
            for row in rows:
                if wanted.matches(row.metadata):
                    if len(records) == limit:
                        return RecordPage(records=records, next=encode_cursor(mark, records[-1].id.encode()))
                    records.append(_record(space, self._tx.host.catalog.locate(row.id)[1], row))
            await space.breathe(page - 1)
        return RecordPage(records=records, next=None)

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
        rows: list[RecordRow] = await space.scan(prefix, None if after is None else space.key_of(after)).take(limit + 1)
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
        after = None if pagination_token is None else _decoded(mark, pagination_token, empty=True)
        rows = await namespaces(self._tx, index.number, checked_namespace(prefix), after, limit + 1)
        told = [self._info(index, row) for row in rows[:limit]]
        last = rows[limit - 1].name if len(rows) > limit else None
        return NamespacePage(namespaces=told, next=None if last is None else encode_cursor(mark, b"=" + last.encode()))

    async def describe_namespace(self, name: str) -> NamespaceInfo | None:
        """One namespace, None when there is none of that name."""
        index, _ = await self._open()
        row = await find_namespace(self._tx, index.number, checked_namespace(name))
        return None if row is None else self._info(index, row)

    async def create_namespace(self, name: str) -> None:
        """Makes an empty namespace; nothing happens when it is there."""
        index, _ = await self._open()
        await make_namespace(self._tx, index, checked_namespace(name))

    async def delete_namespace(self, name: str) -> None:
        """Removes a namespace with its records. What does not exist is no error."""
        index, _ = await self._open()
        row = await find_namespace(self._tx, index.number, checked_namespace(name))
        if row is not None:
            await drop_namespace(self._tx, row)

    async def settled(self, *, namespace: str = "") -> None:
        """Returns at once: what is written is seen."""

    def _info(self, index: VectorIndexRow, row: NamespaceRow) -> NamespaceInfo:
        return NamespaceInfo(name=row.name, records=Space(self._tx, index, row.number).count())

    def _match(
        self, space: Space, seq: int, row: RecordRow, score: float, include_values: bool, include_metadata: bool
    ) -> Match:
        """A hit as its caller sees it."""
        match = Match(id=row.key, score=abs(score) if space.index.metric == "euclidean" else score)
        if include_values:
            match.values, match.sparse_values = _values(space, seq), row.sparse
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


def _record(space: Space, seq: int, row: RecordRow) -> Record:
    return Record(id=row.key, values=_values(space, seq), sparse_values=row.sparse, metadata=row.metadata)


def _check_number(what: str, given: object, most: int, limit: str) -> None:
    if not isinstance(given, int) or isinstance(given, bool) or not 1 <= given <= most:
        raise InvalidValue(f"{what} must be a whole number between 1 and {most} ({limit}), got {given!r:.100}")


def _mark(what: str, index: int, namespace: str, about: bytes) -> bytes:
    """Tells lists apart, so that a token of one is refused by another."""
    text = f"{what}\0{index}\0{namespace}\0".encode() + about
    return blake2b(text, digest_size=_MARK_BYTES).digest()


def _decoded(mark: bytes, token: str, *, empty: bool = False) -> str:
    """The last id or name of the page before. Raises InvalidValue."""
    try:
        last = decode_cursor(mark, token).decode("ascii")
    except (InvalidCursor, UnicodeDecodeError, AttributeError, TypeError):
        raise InvalidValue(
            f"the pagination token {token!r:.100} belongs to another list or is damaged: begin without one"
        ) from None
    return last[1:] if empty else last
