"""The sparse vectors of a segment's rows, by row and by dimension: exact dot products with a sparse query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from reflow.search.ragged import ends, pieces, row_places
from reflow.search.sparse import Sparse

_FIRST_CAPACITY = 16
_NO_ROW = np.iinfo(np.int32).max
_RUN = 1 << 16
"""Values after which what was added is put in the order of dimensions too."""
_DIRECT = 1 << 13
"""Up to so many values are looked at one by one, without that order;"""
_SHARE = 16
"""and so is one value in so many, since that order has all rows."""
_RUN_ARRAYS = 4

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(tuple[int, int]).decode


@dataclass(frozen=True, slots=True)
class _Vectors:
    """The vectors in the order of rows: that of `rows[i]` is `bounds[i]:bounds[i + 1]` of indices and values.

    Rows not yet written are behind all others, so that whoever reads need not know how many there are.
    """

    rows: NDArray[np.int32]
    bounds: NDArray[np.int64]
    indices: NDArray[np.uint32]
    values: NDArray[np.float32]

    @classmethod
    def empty(cls, rows: int, values: int) -> _Vectors:
        """Room for so many rows and values."""
        return cls(
            np.full(rows, _NO_ROW, dtype=np.int32),
            np.zeros(rows + 1, dtype=np.int64),
            np.empty(values, dtype=np.uint32),
            np.empty(values, dtype=np.float32),
        )

    def cut(self, count: int) -> _Vectors:
        """The first vectors."""
        stop = self.bounds[count]
        return _Vectors(self.rows[:count], self.bounds[: count + 1], self.indices[:stop], self.values[:stop])

    def grown(self, count: int, rows: int, values: int) -> _Vectors:
        """The first vectors in arrays with room for so many rows and values."""
        old, new = self.cut(count), _Vectors.empty(rows, values)
        for source, target in zip(old.arrays(), new.arrays(), strict=True):
            target[: len(source)] = source
        return new

    def arrays(self) -> list[NDArray[Any]]:
        """The arrays, in the order of the constructor."""
        return [self.rows, self.bounds, self.indices, self.values]

    def products(self, query: Sparse, first: int, last: int) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Of the values of the vectors first:last that share a dimension: the row and the product of each, by row."""
        start, stop = int(self.bounds[first]), int(self.bounds[last])
        here = self.indices[start:stop]
        places = np.searchsorted(query.indices, here)
        places[places == len(query)] = 0
        shared = np.flatnonzero(query.indices[places] == here)
        owners = np.searchsorted(self.bounds[first + 1 : last + 1], shared + start, side="right")
        return self.rows[first:last][owners], self.values[shared + start].astype(np.float64) * query.values[
            places[shared]
        ]


@dataclass(frozen=True, slots=True)
class _Run:
    """The values of some rows in the order of dimensions, then rows: `bounds[i]:bounds[i + 1]` are of `dims[i]`."""

    dims: NDArray[np.uint32]
    bounds: NDArray[np.int64]
    rows: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def of(cls, vectors: _Vectors, first: int, last: int) -> _Run:
        """The run of the vectors first:last."""
        start, stop = vectors.bounds[first], vectors.bounds[last]
        # Sorting one number made of dimension and place is much faster than a stable sort by dimension.
        keys = vectors.indices[start:stop].astype(np.uint64) << np.uint64(32)
        keys |= np.arange(stop - start, dtype=np.uint64)
        keys.sort()
        places = (keys & np.uint64(0xFFFF_FFFF)).astype(np.int64)
        dims = (keys >> np.uint64(32)).astype(np.uint32)
        firsts = np.flatnonzero(np.concatenate([[True], dims[1:] != dims[:-1]]))
        rows = np.repeat(vectors.rows[first:last], np.diff(vectors.bounds[first : last + 1]))
        bounds = np.append(firsts, len(dims)).astype(np.int64)
        return cls(dims[firsts], bounds, rows[places], vectors.values[start:stop][places])

    def arrays(self) -> list[NDArray[Any]]:
        """The arrays, in the order of the constructor."""
        return [self.dims, self.bounds, self.rows, self.values]

    def products(self, query: Sparse) -> tuple[NDArray[np.int32], NDArray[np.float64]]:
        """Of the values that share a dimension with the query: the row and the product of each, by dimension."""
        places = np.searchsorted(self.dims, query.indices)
        places[places == len(self.dims)] = 0
        shared = np.flatnonzero(self.dims[places] == query.indices)
        wanted = places[shared]
        weights = np.repeat(query.values[shared].astype(np.float64), np.diff(self.bounds)[wanted])
        return pieces(self.bounds, wanted, self.rows), pieces(self.bounds, wanted, self.values) * weights


class Postings:
    """The sparse vectors of rows 0, 1, 2..., where rows have one.

    One thread appends and truncates; others may at the same time ask for rows that are there.
    """

    def __init__(self) -> None:
        self._size = 0
        self._count = 0
        """Rows that have a vector."""
        self._vectors = _Vectors.empty(0, 0)
        self._room = (0, 0)
        """Rows and values that may be written. None of what was loaded: it may be a read-only file."""
        self._runs: tuple[tuple[int, _Run], ...] = ()
        """Runs of successive rows from the first vector on, each with the number of vectors up to its end."""

    def __len__(self) -> int:
        return self._size

    def append_many(self, rows: Sequence[Sparse | None]) -> None:
        """Adds rows."""
        given = [(row, sparse) for row, sparse in enumerate(rows, self._size) if sparse is not None]
        if given:
            self._write([row for row, _ in given], [sparse for _, sparse in given])
        self._size += len(rows)

    def _write(self, rows: list[int], given: list[Sparse]) -> None:
        bounds = ends([len(sparse) for sparse in given]) + self._vectors.bounds[self._count]
        count, stop = self._count + len(rows), int(bounds[-1])
        if count > self._room[0] or stop > self._room[1]:
            self._room = (max(_FIRST_CAPACITY, count * 3 // 2), stop * 3 // 2)
            self._vectors = self._vectors.grown(self._count, *self._room)
        vectors = self._vectors
        np.concatenate([sparse.indices for sparse in given], out=vectors.indices[bounds[0] : stop])
        np.concatenate([sparse.values for sparse in given], out=vectors.values[bounds[0] : stop])
        vectors.bounds[self._count + 1 : count + 1] = bounds[1:]
        vectors.rows[self._count : count] = rows
        self._count = count
        done = self._runs[-1][0] if self._runs else 0
        if stop - vectors.bounds[done] >= _RUN:
            self._runs = (*self._runs, (count, _Run.of(vectors, done, count)))

    def truncate(self, size: int) -> None:
        """Forgets the rows from `size` on."""
        keep = int(row_places(self._vectors.rows, size))
        self._runs = tuple(run for run in self._runs if run[0] <= keep)
        self._count = min(self._count, keep)
        self._size = min(self._size, size)
        if self._room == (0, 0):
            self._vectors = self._vectors.cut(keep)
        else:
            self._vectors.rows[keep:] = _NO_ROW

    def sparse(self, row: int) -> Sparse | None:
        """The vector of a row, None if it has none."""
        vectors = self._vectors
        place = int(row_places(vectors.rows, row))
        if place == len(vectors.rows) or vectors.rows[place] != row:
            return None
        part = slice(vectors.bounds[place], vectors.bounds[place + 1])
        return Sparse(vectors.indices[part].copy(), vectors.values[part].copy())

    def scores(self, query: Sparse, rows: slice = slice(None)) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The dot product of each row of a slice with the query, and whether they share a dimension.

        A product is a sum in double precision in the order of dimensions, whatever the other rows are; 0.0 where
        nothing is shared.
        """
        first, last, _ = rows.indices(self._size)
        length = max(0, last - first)
        runs, vectors = self._runs, self._vectors
        start, stop = row_places(vectors.rows, (first, max(first, last)))
        parts: list[tuple[NDArray[np.int32], NDArray[np.float64]]] = []
        values = vectors.bounds[stop] - vectors.bounds[start]
        if runs and values > _DIRECT and values * _SHARE > vectors.bounds[runs[-1][0]]:
            done = 0
            for end, run in runs:
                if start < end and done < stop:
                    parts.append(run.products(query))
                done = end
            start = max(start, done)
        if start < stop:
            parts.append(vectors.products(query, int(start), int(stop)))
        sharing = np.zeros(length, dtype=np.bool_)
        if not any(len(places) for places, _ in parts):
            return np.zeros(length), sharing
        places = np.concatenate([part[0] for part in parts])
        products = np.concatenate([part[1] for part in parts])
        if places.min() < first or places.max() >= last:
            inside = (places >= first) & (places < last)
            places, products = places[inside], products[inside]
        sharing[places - first] = True
        sums = np.bincount(places - first, weights=products, minlength=length)
        return sums.astype(np.float64), sharing  # of nothing at all NumPy makes integers

    def take(self, rows: NDArray[Any]) -> Postings:
        """Postings of these rows, each at most once, in this order."""
        return Postings.merged([self], rows)

    @classmethod
    def merged(cls, parts: Sequence[Postings], rows: NDArray[Any]) -> Postings:
        """Postings of rows of several, numbered through all parts one after the other; each at most once, any order."""
        starts = ends([len(part) for part in parts])
        target = np.full(starts[-1], -1, dtype=np.int64)
        target[rows] = np.arange(len(rows))
        result = cls()
        result._size = len(rows)
        every = [part._vectors.cut(part._count) for part in parts]
        places = np.concatenate([target[v.rows + start] for v, start in zip(every, starts, strict=False)] or [target])
        kept = np.flatnonzero(places >= 0)
        if not len(kept):
            return result
        order = kept[np.argsort(places[kept])]
        lengths = np.concatenate([np.diff(vectors.bounds) for vectors in every])
        bounds = ends(lengths)
        result._vectors = vectors = _Vectors(
            places[order].astype(np.int32),
            ends(lengths[order]),
            pieces(bounds, order, np.concatenate([vectors.indices for vectors in every])),
            pieces(bounds, order, np.concatenate([vectors.values for vectors in every])),
        )
        result._count = len(order)
        result._runs = ((len(order), _Run.of(vectors, 0, len(order))),)
        return result

    def dump(self) -> tuple[bytes, list[NDArray[Any]]]:
        """A header and arrays from which `load` makes these postings again."""
        if not self._count:
            return _encode((self._size, 0)), []
        if len(self._runs) != 1 or self._runs[0][0] < self._count:
            return self.take(np.arange(self._size)).dump()
        arrays = [*self._vectors.cut(self._count).arrays(), *self._runs[0][1].arrays()]
        return _encode((self._size, self._count)), arrays

    @classmethod
    def load(cls, header: bytes, arrays: Sequence[NDArray[Any]]) -> Postings:
        """The postings of a dump. The arrays may be read-only and lie in a file; they are used, not copied."""
        result = cls()
        result._size, result._count = _decode(header)
        if result._count:
            result._vectors = _Vectors(*arrays[:-_RUN_ARRAYS])
            result._runs = ((result._count, _Run(*arrays[-_RUN_ARRAYS:])),)
        return result
