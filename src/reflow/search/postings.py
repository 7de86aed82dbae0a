"""The sparse vectors of a segment's rows."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reflow.search.sparse import Sparse


class Postings:
    """The sparse vectors of rows 0, 1, 2..., where rows have one."""

    def __init__(self) -> None:
        self._rows: list[Sparse | None] = []

    def append_many(self, rows: Sequence[Sparse | None]) -> None:
        """Adds rows."""
        self._rows.extend(rows)

    def truncate(self, size: int) -> None:
        """Forgets the rows from `size` on."""
        del self._rows[size:]

    def take(self, rows: NDArray[np.intp]) -> Postings:
        """Postings of these rows, in this order."""
        return Postings.merged([self], rows)

    @classmethod
    def merged(cls, parts: Sequence[Postings], rows: NDArray[np.intp]) -> Postings:
        """Postings of rows of several, numbered through all parts one after the other."""
        every = [row for part in parts for row in part._rows]
        result = cls()
        result._rows = [every[row] for row in rows]
        return result

    def scores(self, sparse: Sparse, rows: slice) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The product of each of the rows with a sparse vector, and whether they share a dimension with it."""
        products, sharing = np.zeros(rows.stop - rows.start), np.zeros(rows.stop - rows.start, dtype=np.bool_)
        for place, row in enumerate(self._rows[rows]):
            if row is not None:
                _, here, there = np.intersect1d(row.indices, sparse.indices, return_indices=True)
                sharing[place] = len(here) > 0
                products[place] = (row.values[here].astype(np.float64) * sparse.values[there]).sum()
        return products, sharing

    def sparse(self, row: int) -> Sparse | None:
        """The sparse vector of a row."""
        return self._rows[row]
