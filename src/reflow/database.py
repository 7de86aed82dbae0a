"""`ctx.db`: typed reading and writing of documents, inside one transaction."""

from __future__ import annotations

import operator
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Generic, Literal, Protocol, Self, overload

import msgspec
import numpy as np
from numpy.typing import NDArray
from typing_extensions import TypeVar

from reflow.errors import DefinitionError, InvalidValue, NotUnique
from reflow.generations import Embedded
from reflow.pages import Page, PaginationOptions
from reflow.schema import (
    Collection,
    Id,
    Index,
    Table,
    TableSpec,
    Tabular,
    VectorIndex,
    spec_of,
)
from reflow.searching import Searching, SearchRun

T = TypeVar("T", bound=Table, default=Any)
D = TypeVar("D", default=Any)

Vectors = Mapping[VectorIndex, Embedded]
"""New vectors of a document, by index."""

Filter = Callable[[Any], bool]

_UNBOUNDED: Any = object()


class Bound(msgspec.Struct, frozen=True, kw_only=True):
    """One end of a range on an index field."""

    value: Any
    inclusive: bool


class RangeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What a query reads: an index (None: creation order), equal leading fields, a range on the next, a direction."""

    table: TableSpec
    index: Index | None = None
    equal: Mapping[str, Any]
    lower: Bound | None = None
    upper: Bound | None = None
    descending: bool = False
    filter: Filter | None = None
    own: Filter | None = None
    """What the caller may see at all; nothing tells other documents from those that do not exist."""


class Scan(Protocol):
    """A range being read. What was read so far, and no more, belongs to the transaction's read set."""

    async def take(self, count: int | None) -> list[Any]:
        """The next documents, at most `count` of them (None: all)."""
        ...


class Transaction(SearchRun, Protocol):
    """What the facade needs of the engine."""

    async def get(self, ids: Sequence[str]) -> list[Any]: ...
    def scan(self, request: RangeRequest) -> Scan: ...
    async def count(self, request: RangeRequest) -> int: ...
    async def paginate(self, request: RangeRequest, options: PaginationOptions) -> Page[Any]: ...
    async def vector(self, index: VectorIndex, id: str) -> NDArray[np.float32] | None: ...
    async def insert(
        self, spec: TableSpec, documents: Sequence[Any], vectors: Sequence[Vectors | None]
    ) -> list[str]: ...
    async def patch(self, id: str, changes: Mapping[str, Any]) -> None: ...
    async def replace(self, id: str, document: Any) -> None: ...
    async def delete(self, ids: Sequence[str]) -> None: ...
    async def set_vector(self, index: VectorIndex, id: str, vector: Embedded | None) -> None: ...
    def normalize_id(self, spec: TableSpec, text: str) -> str | None: ...


class Query(Generic[D]):
    """A read of one table, built step by step; nothing is read before first, unique, take, collect, count, paginate
    or `async for`. Every step gives a new query."""

    __slots__ = ("_request", "_tx")

    def __init__(self, tx: Transaction, request: RangeRequest) -> None:
        self._tx = tx
        self._request = request

    def using(self, index: Index, /, **equal: Any) -> Self:
        """Reads in the order of `index`, restricted to documents whose leading fields equal the given values.

        Raises DefinitionError for an index of another table or for fields that are no prefix of the index.
        """
        if index.kind != "range" or index.table is None or spec_of(index.table) is not self._request.table:
            raise DefinitionError(f"{index!r} is no range index of table {self._request.table.name!r}")
        if tuple(index.fields[: len(equal)]) != tuple(field for field in index.fields if field in equal) or len(
            equal.keys() - set(index.fields)
        ):
            raise DefinitionError(f"{index!r} can be narrowed by a prefix of {index.fields}, not by {tuple(equal)}")
        return self._with(index=index, equal=dict(equal))

    def gt(self, value: Any) -> Self:
        """Keeps documents whose next index field is greater than `value`."""
        return self._bounded("lower", Bound(value=value, inclusive=False))

    def gte(self, value: Any) -> Self:
        """Keeps documents whose next index field is greater than or equal to `value`."""
        return self._bounded("lower", Bound(value=value, inclusive=True))

    def lt(self, value: Any) -> Self:
        """Keeps documents whose next index field is less than `value`."""
        return self._bounded("upper", Bound(value=value, inclusive=False))

    def lte(self, value: Any) -> Self:
        """Keeps documents whose next index field is less than or equal to `value`."""
        return self._bounded("upper", Bound(value=value, inclusive=True))

    def order(self, direction: Literal["asc", "desc"]) -> Self:
        """Ascending (the default) or descending in the index's order; without an index: of creation."""
        if direction not in ("asc", "desc"):
            raise DefinitionError(f'order takes "asc" or "desc", got {direction!r}')
        return self._with(descending=direction == "desc")

    def filter(self, predicate: Callable[[D], bool]) -> Self:
        """Keeps documents for which `predicate` is true. They are read all the same: an index narrows what is read."""
        previous = self._request.filter
        if previous is None:
            return self._with(filter=predicate)
        return self._with(filter=partial(_both, previous, predicate))

    async def first(self) -> D | None:
        """The first document, or None."""
        found = await self._tx.scan(self._request).take(1)
        return found[0] if found else None

    async def unique(self) -> D | None:
        """The only document, or None. Raises NotUnique when there are more."""
        found = await self._tx.scan(self._request).take(2)
        if len(found) > 1:
            raise NotUnique(f"unique() met more than one document in {self._request.table.name!r}; use first()")
        return found[0] if found else None

    async def take(self, count: int) -> list[D]:
        """At most `count` documents. Raises InvalidValue for what is no whole number of at least 0."""
        try:
            wanted = operator.index(count)
        except TypeError:
            wanted = -1
        if wanted < 0:
            raise InvalidValue(f"take() needs a whole number of documents, got {count!r}")
        return await self._tx.scan(self._request).take(wanted)

    async def collect(self) -> list[D]:
        """All documents. Bounded by `limits.documents_read`."""
        return await self._tx.scan(self._request).take(None)

    async def count(self) -> int:
        """How many documents there are, without reading them unless there is a filter."""
        return await self._tx.count(self._request)

    async def paginate(self, options: PaginationOptions) -> Page[D]:
        """One page. In a live query a page keeps its ends: it grows and shrinks, without gaps and overlaps."""
        return await self._tx.paginate(self._request, options)

    async def __aiter__(self) -> AsyncIterator[D]:
        scan = self._tx.scan(self._request)
        while found := await scan.take(1):
            yield found[0]

    def _bounded(self, end: Literal["lower", "upper"], bound: Bound) -> Self:
        request = self._request
        if request.index is None or len(request.equal) == len(request.index.fields):
            raise DefinitionError("a range needs an index field behind the equal ones: using(index, ...) comes first")
        if getattr(request, end) is not None:
            raise DefinitionError(f"the {end} end of this range is set already")
        return self._with(**{end: bound})

    def _with(self, **changes: Any) -> Self:
        return type(self)(self._tx, msgspec.structs.replace(self._request, **changes))


class DatabaseReader(Searching):
    """Reads of one transaction: everything is seen at one timestamp and belongs to the read set."""

    def __init__(self, tx: Transaction) -> None:
        super().__init__(tx)
        self._tx = tx

    async def get(self, id: Id[T]) -> T | None:
        """The document, or None when there is none (any more). Raises InvalidId for what is no id."""
        return (await self._tx.get((id,)))[0]

    async def get_many(self, ids: Iterable[Id[T]]) -> list[T | None]:
        """The documents in the order of `ids`, None for each that does not exist."""
        return await self._tx.get(tuple(ids))

    @overload
    def query(self, table: type[T], /) -> Query[T]: ...
    @overload
    def query(self, table: Collection, /) -> Query[dict[str, Any]]: ...
    def query(self, table: Tabular, /) -> Query[Any]:
        """Starts a read of a table, in order of creation unless `using` names an index."""
        return Query(self._tx, RangeRequest(table=spec_of(table), equal={}))

    async def vector(self, index: VectorIndex, id: Id[Any]) -> NDArray[np.float32] | None:
        """The vector of a document, shape (dims,), or None."""
        return await self._tx.vector(index, id)

    def normalize_id(self, table: Tabular, text: str) -> Id[Any] | None:
        """`text` as an id of `table`, or None when it is none."""
        found = self._tx.normalize_id(spec_of(table), text)
        return None if found is None else Id(found)


class DatabaseWriter(DatabaseReader):
    """Reads and writes of one transaction; own writes are seen at once, by others after the commit."""

    @overload
    async def insert(self, document: T, /, *, vectors: Vectors | None = None) -> Id[T]: ...
    @overload
    async def insert(
        self, collection: Collection, document: Mapping[str, Any], /, *, vectors: Vectors | None = None
    ) -> Id[Any]: ...
    async def insert(self, *target: Any, vectors: Vectors | None = None) -> Any:
        """Stores a new document and returns its id; `insert(Source(...))` or `insert(collection, {...})`.

        `vectors` go into the table's vector indexes in the same commit: `{Chunk.meaning: array of shape (dims,)}`.
        Raises InvalidValue when the document does not fit its table.
        """
        spec, document = _target(target)
        return (await self._tx.insert(spec, (document,), (vectors,)))[0]

    async def insert_many(
        self, documents: Iterable[T], /, *, vectors: Iterable[Vectors | None] | None = None
    ) -> list[Id[T]]:
        """Stores documents of one table, in order; `vectors` has one entry per document."""
        batch = list(documents)
        if not batch:
            return []
        spec = spec_of(type(batch[0]))
        given = [None] * len(batch) if vectors is None else list(vectors)
        if len(given) != len(batch):
            raise DefinitionError(f"insert_many got {len(batch)} documents and {len(given)} vectors")
        ids: list[Any] = await self._tx.insert(spec, batch, given)
        return ids

    async def patch(self, id: Id[Any], /, **changes: Any) -> None:
        """Changes fields of a document, named as in Python; `rf.UNSET` removes one that may be absent.

        Raises DocumentNotFound, or InvalidValue naming the field that is wrong.
        """
        await self._tx.patch(id, changes)

    @overload
    async def replace(self, id: Id[T], document: T, /) -> None: ...
    @overload
    async def replace(self, id: Id[Any], document: Mapping[str, Any], /) -> None: ...
    async def replace(self, id: Any, document: Any, /) -> None:
        """Puts another document of the same table in a document's place; id, time and vectors stay."""
        await self._tx.replace(id, document)

    async def delete(self, id: Id[Any], /) -> None:
        """Removes a document with its vectors. Raises DocumentNotFound."""
        await self._tx.delete((id,))

    async def delete_many(self, ids: Iterable[Id[Any]], /) -> None:
        """Removes documents with their vectors. Raises DocumentNotFound."""
        await self._tx.delete(tuple(ids))

    async def set_vector(self, index: VectorIndex, id: Id[Any], vector: Embedded) -> None:
        """Sets the vector of a document, shape (dims,). Raises InvalidValue for other shapes, NaN and infinity."""
        await self._tx.set_vector(index, id, vector)

    async def delete_vector(self, index: VectorIndex, id: Id[Any]) -> None:
        """Removes the vector of a document; nothing happens when it has none."""
        await self._tx.set_vector(index, id, None)


def _both(first: Filter, second: Filter, document: Any) -> bool:
    return first(document) and second(document)


def _target(target: tuple[Any, ...]) -> tuple[TableSpec, Any]:
    if len(target) == 2 and isinstance(target[0], Collection):
        return spec_of(target[0]), target[1]
    if len(target) == 1 and isinstance(target[0], Table):
        return spec_of(type(target[0])), target[0]
    raise DefinitionError("insert takes a document of a table class, or a collection and a dict")
