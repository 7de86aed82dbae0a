"""Sparse vectors: a few numbered dimensions with a value each, compared by their dot product."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from reflow.errors import InvalidValue
from reflow.limits import DEFAULT

_LARGEST_INDEX = 2**32 - 1


@dataclass(frozen=True, slots=True, eq=False)
class Sparse:
    """A checked sparse vector: `indices` ascending and unique, as many `values`. Equal by content, hashable."""

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.indices)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sparse):
            return NotImplemented
        return np.array_equal(self.indices, other.indices) and np.array_equal(self.values, other.values)

    def __hash__(self) -> int:
        return hash(self.indices.tobytes())


def checked_sparse(indices: object, values: object) -> Sparse:
    """A sparse vector from as many indices (32-bit unsigned, in any order, each once) as finite values.

    Both are sequences or one-dimensional arrays of numbers. Raises InvalidValue, also for an empty vector and for more
    than `limits.sparse_values` values.
    """
    places = _numbers(indices, "indices")
    weights = _numbers(values, "values")
    if len(places) != len(weights):
        raise InvalidValue(
            f"Sparse vector indices and values must have the same length, got {len(places)} and {len(weights)}"
        )
    if not len(places):
        raise InvalidValue("Sparse vector must contain at least one value")
    if len(places) > DEFAULT.sparse_values:
        raise InvalidValue(
            f"Sparse vector must contain at most {DEFAULT.sparse_values} values (limits.sparse_values), "
            f"got {len(places)}"
        )
    if places.dtype.kind == "f" and not np.array_equal(places, np.trunc(places)):
        raise InvalidValue("Sparse vector indices must be whole numbers")
    if places.min() < 0 or places.max() > _LARGEST_INDEX:
        raise InvalidValue(f"Sparse vector indices must be within 0 and {_LARGEST_INDEX}")
    with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused as such
        singles = weights.astype(np.float32)
    if not np.isfinite(singles).all():
        raise InvalidValue("Sparse vector values must be finite 32-bit floats: no NaN, no infinity")
    order = np.argsort(places, kind="stable")
    sorted_places = places[order].astype(np.uint32)
    repeated = sorted_places[1:][sorted_places[1:] == sorted_places[:-1]]
    if len(repeated):
        raise InvalidValue(f"Sparse vector indices must be unique, got {repeated[0]} more than once")
    return Sparse(sorted_places, singles[order])


def _numbers(given: object, name: str) -> NDArray[Any]:
    """`given` as a one-dimensional array of integers or floats."""
    if isinstance(given, list | tuple) and bool in set(map(type, cast("list[object]", given))):
        raise InvalidValue(f"Sparse vector {name} must be numbers, got a boolean")
    try:
        array: NDArray[Any] = np.asarray(given)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"Sparse vector {name} must be a list of numbers: {error}") from None
    if array.ndim != 1 or (array.dtype.kind not in "iuf" and array.size):
        raise InvalidValue(f"Sparse vector {name} must be a list of numbers")
    return array
