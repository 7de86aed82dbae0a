"""Pieces of different lengths, kept one after the other in one array, and rows that few have."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

_BLOCK = 1 << 20
"""Items that are gathered at once: the place of each takes eight bytes."""

Kind = TypeVar("Kind", bound=np.generic)


def ends(lengths: Sequence[int] | NDArray[np.int64]) -> NDArray[np.int64]:
    """The bounds of pieces of those lengths: 0 and their running sum. Piece i is `bounds[i]:bounds[i + 1]`."""
    result = np.zeros(len(lengths) + 1, dtype=np.int64)
    np.cumsum(lengths, out=result[1:])
    return result


def row_places(rows: NDArray[np.int32], wanted: object) -> NDArray[np.intp]:
    """Where the wanted row numbers are, or would be, among ascending ones.

    NumPy would copy all rows for a search by numbers of another type, such as Python's.
    """
    return np.searchsorted(rows, np.asarray(wanted, dtype=np.int32))


def pieces(bounds: NDArray[np.int64], wanted: NDArray[np.intp], data: NDArray[Kind]) -> NDArray[Kind]:
    """The wanted pieces of the data, one after the other; the data itself when these are all in their order."""
    if len(wanted) == len(bounds) - 1 and np.array_equal(wanted, np.arange(len(wanted))):
        return data
    lengths = bounds[wanted + 1] - bounds[wanted]
    result = np.empty(int(lengths.sum()), dtype=data.dtype)
    done = 0
    for part in np.array_split(np.arange(len(wanted)), len(result) // _BLOCK + 1):
        bounds_here = ends(lengths[part])
        shifts = np.repeat(bounds[wanted[part]] - bounds_here[:-1], cast("NDArray[np.int64]", lengths[part]))
        result[done : done + bounds_here[-1]] = data[shifts + np.arange(bounds_here[-1])]
        done += int(bounds_here[-1])
    return result
