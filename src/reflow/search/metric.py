"""What a vector is to an index: where it belongs, how two are compared, how a search asks.

A score is always better when it is higher: cosine similarity, dot product, or minus the squared Euclidean distance.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from reflow.errors import InvalidValue
from reflow.limits import Limits
from reflow.search.filters import Filter

if TYPE_CHECKING:
    from reflow.search.sparse import Sparse

Vector = NDArray[np.float32]
"""Shape (dims,)."""

Metric = Literal["cosine", "dotproduct", "euclidean"]

Place = tuple[int, int]
"""(number of a vector index in the storage, generation): one set of vectors that can be compared."""

_USUAL_DIMS = 384


class VectorChange(msgspec.Struct, frozen=True, gc=False):
    """A document's vector, namespace and metadata from a commit on; without `vector` and `sparse` it has none."""

    place: Place
    seq: int
    vector: Vector | None
    sparse: Sparse | None = None
    space: int = 0
    """Number of the namespace; 0 for the index of a table."""
    metadata: Mapping[str, Any] = msgspec.field(default_factory=dict[str, Any])


def records_per_turn(limits: Limits, dims: int) -> int:
    """Records that are read or written before the event loop gets a turn: fewer where their vectors are long."""
    return max(1, limits.records_per_turn * _USUAL_DIMS // max(dims, _USUAL_DIMS))


def in_turns(changes: Sequence[VectorChange], limits: Limits) -> Iterator[Sequence[VectorChange]]:
    """Changes in groups, between which others should have the event loop."""
    most = limits.records_per_turn * _USUAL_DIMS
    start = numbers = 0
    for place, change in enumerate(changes):
        if numbers >= most:
            yield changes[start:place]
            start, numbers = place, 0
        numbers += max(_USUAL_DIMS, 0 if change.vector is None else len(change.vector))
    yield changes[start:] if start else changes


@dataclass(frozen=True, slots=True)
class VectorQuery:
    """A search: the `limit` best of a namespace that pass the filter."""

    limit: int
    vector: Vector | None
    sparse: Sparse | None = None
    filter: Filter | None = None
    space: int = 0


def checked(vector: object, dims: int, name: str, metric: Metric = "cosine") -> Vector:
    """`vector` as float32 of shape (dims,). Raises InvalidValue for another shape, NaN, infinities and all zeros."""
    try:
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused as such
            array = np.array(vector, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidValue(f"{name}: a vector is a sequence of {dims} numbers: {error}") from None
    if array.shape != (dims,):
        raise InvalidValue(f"{name} takes vectors of {dims} numbers, got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidValue(f"{name}: a vector must not hold NaN or infinity")
    if metric == "cosine" and not array.any():
        raise InvalidValue(f"{name}: a vector of zeros has no direction, so cosine similarity can't compare it")
    return array


def scores(metric: Metric, rows: NDArray[np.float32], query: Vector) -> NDArray[np.float64]:
    """The score of each row, shape (rows,), in double precision: the same for a pair wherever it is computed.

    The sum along a row is made in the same order whatever the number of rows, so live results that are put together
    from parts equal fresh ones to the last bit.
    """
    wide = rows.astype(np.float64)
    other = query.astype(np.float64)
    if metric == "euclidean":
        return -((wide - other) ** 2).sum(axis=1)
    products = (wide * other).sum(axis=1)
    if metric == "dotproduct":
        return products
    lengths = np.sqrt((wide * wide).sum(axis=1) * (other * other).sum())
    return np.clip(products / lengths, -1.0, 1.0)


def score(metric: Metric, row: Vector, query: Vector) -> float:
    """`scores` of a single row."""
    return float(scores(metric, row[np.newaxis], query)[0])


def sparse_product(one: Sparse, other: Sparse) -> float | None:
    """The dot product of two sparse vectors; None where they have no dimension in common."""
    _, here, there = np.intersect1d(one.indices, other.indices, assume_unique=True, return_indices=True)
    if not len(here):
        return None
    return float((one.values[here].astype(np.float64) * other.values[there].astype(np.float64)).sum())


def found_score(metric: Metric, vector: Vector | None, sparse: Sparse | None, query: VectorQuery) -> float | None:
    """The score of a row for a search, None where the search does not find it, whatever the filter says.

    A dense search looks at rows with a dense vector, and adds the product of the sparse ones where both sides have
    one; a search by a sparse vector alone finds what shares a dimension with it.
    """
    product = None if query.sparse is None or sparse is None else sparse_product(sparse, query.sparse)
    if query.vector is None:
        return product
    return None if vector is None else score(metric, vector, query.vector) + (product or 0.0)
