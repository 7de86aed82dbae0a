"""Records on their way into an index: what a caller gave, checked and as arrays.

The rules and their wording are Pinecone's, so that a record which is taken here is taken there.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from reflow.errors import InvalidValue
from reflow.limits import DEFAULT, Limits
from reflow.search.conditions import shown
from reflow.search.filters import check_metadata
from reflow.search.metric import Metric, Vector, records_per_turn
from reflow.search.sparse import Sparse, checked_sparse
from reflow.vectors import Record, RecordLike, SparseValues

DEFAULT_NAMESPACE = "__default__"
"""The other spelling of the namespace ""."""

SMALLEST = 1e-8
"""A vector whose numbers are all closer to zero counts as zeros."""

_FIELDS = frozenset({"id", "values", "sparse_values", "metadata"})


@dataclass(frozen=True, slots=True)
class Shape:
    """What records of an index look like: `dims` numbers (0: sparse values only), compared by `metric`."""

    name: str
    dims: int
    metric: Metric


@dataclass(slots=True)
class Entry:
    """A checked record."""

    id: str
    vector: Vector | None
    sparse: Sparse | None
    metadata: dict[str, Any]


def checked_id(id: object) -> str:
    """The id of a record. Raises InvalidValue for anything but 1 to 512 ASCII characters without NUL."""
    if type(id) is str and 0 < len(id) <= DEFAULT.record_id_length and id.isascii() and "\0" not in id:
        return id
    if isinstance(id, str):
        plain = str.__str__(id)
        if plain != "" and type(id) is not str:
            return checked_id(plain)
        if not plain:
            raise InvalidValue("Vector ID must not be empty")
        if not plain.isascii():
            raise InvalidValue(f"Vector ID must be ASCII, but got {shown(plain)}")
        if "\0" in plain:
            raise InvalidValue(f"Vector ID must not contain NUL, got {shown(plain)}")
        raise InvalidValue(
            f"Vector ID must have at most {DEFAULT.record_id_length} characters (limits.record_id_length), got "
            f"{len(plain)}"
        )
    raise InvalidValue(f"Vector ID must be a text, got {shown(id)}")


def checked_namespace(name: object) -> str:
    """The name of a namespace; "" is the default one, also where it is spelled out. Raises InvalidValue."""
    if name == "" or name == DEFAULT_NAMESPACE:
        return ""
    if not isinstance(name, str):
        raise InvalidValue(f"a namespace's name is a text, got {shown(name)}")
    if len(name) > DEFAULT.record_id_length or not name.isascii() or "\0" in name:
        raise InvalidValue(
            f"a namespace's name has up to {DEFAULT.record_id_length} ASCII characters (limits.record_id_length) "
            f"without NUL, got {shown(name)}"
        )
    return str.__str__(name)


def checked_entries(vectors: Sequence[RecordLike], shape: Shape, seen: set[str]) -> list[Entry]:
    """Records ready to be stored. Raises InvalidValue, naming the first that is wrong.

    `seen` are the ids that the same upsert has given already, and gets these: an id can't be given twice.
    """
    entries: list[Entry] = []
    values: list[Any] = []
    for place, record in enumerate(vectors):
        id, dense, sparse, metadata = parts_of(record, place)
        try:
            key = checked_id(id)
            if key in seen:
                raise InvalidValue("it is given twice in one upsert: which record is meant?")
            seen.add(key)
            if (dense is None) != (not shape.dims) or (sparse is None and not shape.dims):
                raise _wrong_kind(dense, shape)
            kept = None if sparse is None else sparse_of(sparse)
            entries.append(Entry(key, None, kept, check_metadata(metadata) if metadata else {}))
        except InvalidValue as error:
            raise _at(error, id) from None
        values.append(dense)
    if shape.dims:
        rows = _matrix(values, [entry.id for entry in entries], shape)
        for entry, row in zip(entries, rows, strict=True):
            entry.vector = row
    return entries


async def checked_in_turns(
    given: Sequence[RecordLike], shape: Shape, limits: Limits, pause: Callable[[], Awaitable[None]]
) -> list[Entry]:
    """`checked_entries` of any number of records; `pause` lets others have the event loop."""
    entries: list[Entry] = []
    seen: set[str] = set()
    turn = records_per_turn(limits, shape.dims)
    for start in range(0, len(given), turn):
        entries += checked_entries(given[start : start + turn], shape, seen)
        if len(given) > turn:
            await pause()
    return entries


def checked_values(values: object, shape: Shape) -> Vector:
    """A dense vector as it may be stored. Raises InvalidValue for other lengths, NaN, infinities and zeros."""
    vector = query_vector(values, shape, zeros=True)
    if not (np.abs(vector) >= SMALLEST).any():
        raise InvalidValue("Dense vectors must contain at least one non-zero value")
    return vector


def query_vector(values: object, shape: Shape, *, zeros: bool | None = None) -> Vector:
    """A dense vector that asks. Zeros have no direction, so cosine can't compare them. Raises InvalidValue."""
    if not shape.dims:
        raise InvalidValue(f"index {shape.name!r} is sparse: it takes sparse values, no dense ones")
    array = _floats(values)
    if array.ndim != 1:
        raise InvalidValue(f"Vector values must be a list of numbers, got the shape {array.shape}")
    if len(array) != shape.dims:
        raise InvalidValue(f"Vector dimension {len(array)} does not match the dimension of the index {shape.dims}")
    if not np.isfinite(array).all():
        raise InvalidValue("Vector values must be finite 32-bit floats: no NaN, no infinity")
    if not zeros and shape.metric == "cosine" and not array.any():
        raise InvalidValue("a vector of zeros has no direction, so cosine similarity can't compare it")
    return array


def sparse_of(given: object) -> Sparse:
    """A sparse vector from `SparseValues` or a mapping of `indices` and `values`. Raises InvalidValue."""
    if isinstance(given, SparseValues):
        return checked_sparse(given.indices, given.values)
    if isinstance(given, Sparse):
        return given
    parts: Mapping[str, Any] = cast("Mapping[str, Any]", given) if isinstance(given, Mapping) else {}
    if set(parts) != {"indices", "values"}:
        raise InvalidValue(f"Sparse values have `indices` and `values`, got {shown(cast(object, given))}")
    return checked_sparse(parts["indices"], parts["values"])


def _at(error: InvalidValue, id: object) -> InvalidValue:
    """The same error, naming the record."""
    return type(error)(f"record {shown(id)}: {error}")


def parts_of(given: RecordLike, place: int) -> tuple[Any, Any, Any, Any]:
    """id, values, sparse values and metadata of what a caller gave as a record."""
    if isinstance(given, Record):
        return given.id, given.values, given.sparse_values, given.metadata
    if isinstance(given, Mapping):
        unknown = given.keys() - _FIELDS
        if unknown or "id" not in given:
            raise InvalidValue(f"record {place} has the fields {sorted(given)}; a record has {sorted(_FIELDS)}")
        return given["id"], given.get("values"), given.get("sparse_values"), given.get("metadata")
    if isinstance(cast(object, given), tuple) and len(given) in (2, 3):
        return given[0], given[1], None, given[2] if len(given) == 3 else None
    raise InvalidValue(f"record {place} is a {type(given).__name__}: give (id, values), a mapping or a Record")


def _wrong_kind(values: object, shape: Shape) -> InvalidValue:
    if shape.dims:
        return InvalidValue(f"it has no values, and index {shape.name!r} takes dense vectors of {shape.dims} numbers")
    if values is not None:
        return InvalidValue(f"index {shape.name!r} is sparse: it takes sparse values, no dense ones")
    return InvalidValue(f"it has no sparse values, and index {shape.name!r} is sparse")


def _matrix(values: list[Any], ids: list[str], shape: Shape) -> NDArray[np.float32]:
    """The dense vectors of a batch, shape (records, dims), checked all at once. Raises InvalidValue."""
    if not values:
        return np.empty((0, shape.dims), np.float32)
    try:
        rows = _floats(values)
    except InvalidValue:
        rows = None
    if rows is None or rows.shape != (len(values), shape.dims):
        return np.stack([_named(row, id, shape) for row, id in zip(values, ids, strict=True)])
    largest = np.abs(rows).max(axis=1)
    fine = np.isfinite(largest) & (largest >= SMALLEST)
    if not fine.all():
        wrong = int(fine.argmin())
        _named(rows[wrong], ids[wrong], shape)
    return rows


def _named(values: object, id: str, shape: Shape) -> Vector:
    try:
        return checked_values(values, shape)
    except InvalidValue as error:
        raise _at(error, id) from None


def _floats(values: object) -> NDArray[np.float32]:
    """Numbers as a new array of float32, never a view of the caller's. Raises InvalidValue for other things."""
    try:
        array: NDArray[Any] = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"Vector values must be a list of numbers: {error}") from None
    if array.dtype.kind not in "iuf":
        raise InvalidValue("Vector values must be a list of numbers")
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused as such
        return array.astype(np.float32)
