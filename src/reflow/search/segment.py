"""Rows of a place side by side: vectors, their codes, metadata, and from when to when each was there.

A `Tail` takes new rows in the order of time. A `Base` has its rows in the order of (space, sequence number), so that a
namespace is a slice of it and a document is found by binary search. A row is known by its space and sequence number.
"""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from reflow.search.columns import Columns
from reflow.search.filters import Filter
from reflow.search.metric import Metric, Vector, VectorChange
from reflow.search.postings import Postings
from reflow.search.scan import Bounds, Codes, Part, Wanted, Widest, bounds_kept, coded
from reflow.search.sparse import Sparse

Kind = TypeVar("Kind", bound=np.generic)

FOREVER = int(np.iinfo(np.int64).max)
"""The end of what is still there."""

_FIRST_CAPACITY = 64
_MAPPED_BYTES = 1 << 20
_SLICES_KEPT = 10_000
"""Namespaces whose rows are remembered."""
_PICK_SHARE = 4
"""Where a namespace has less than one in so many rows, they are judged by number and not with all others."""


def _room(shape: tuple[int, int], kind: type[Kind]) -> NDArray[Kind]:
    """An array for rows to come. Large ones are memory that goes back to the system when nobody uses it any more, and
    is taken only as it is written."""
    size = shape[0] * shape[1] * np.dtype(kind).itemsize
    if size < _MAPPED_BYTES:
        return np.empty(shape, dtype=kind)
    return np.frombuffer(mmap.mmap(-1, size), dtype=kind).reshape(shape)


@dataclass(slots=True)
class Arrays:
    """What a segment keeps per row; arrays may be longer than the segment."""

    vectors: NDArray[np.float32]
    codes: Codes
    bounds: Bounds
    seqs: NDArray[np.int64]
    spaces: NDArray[np.int64]
    born: NDArray[np.int64]
    died: NDArray[np.int64]

    @classmethod
    def empty(cls, capacity: int, dims: int, metric: Metric) -> Arrays:
        """Room for so many rows."""
        return cls(
            _room((capacity, dims), np.float32),
            _room((capacity, dims), np.int8),
            np.empty((bounds_kept(metric), capacity)),
            *(np.empty(capacity, dtype=np.int64) for _ in range(4)),
        )

    def taken(self, rows: NDArray[np.intp]) -> Arrays:
        """Some rows."""
        return Arrays(
            self.vectors[rows],
            self.codes[rows],
            self.bounds[:, rows],
            self.seqs[rows],
            self.spaces[rows],
            self.born[rows],
            self.died[rows],
        )

    def grown(self, size: int, capacity: int, dims: int, metric: Metric) -> Arrays:
        """The first `size` rows in arrays of another capacity."""
        new = Arrays.empty(capacity, dims, metric)
        new.bounds[:, :size] = self.bounds[:, :size]
        for name in ("vectors", "codes", "seqs", "spaces", "born", "died"):
            getattr(new, name)[:size] = getattr(self, name)[:size]
        return new


class Segment:
    """Some rows of a place. Only the event loop changes it; a `View` of it may be read in a thread meanwhile."""

    def __init__(
        self, dims: int, metric: Metric, arrays: Arrays, size: int, columns: Columns, postings: Postings
    ) -> None:
        self.dims = dims
        self.metric: Metric = metric
        self.arrays = arrays
        self.size = size
        self.columns = columns
        self.postings = postings
        self.bare = False
        """Whether rows may lack a dense vector, though the place has dimensions."""
        self.ends: int = 0
        """Rows that have ended."""
        self.widest: Widest = (0.0, 0.0)
        """Of all rows; it may stay greater than what is left needs."""

    @property
    def bytes(self) -> int:
        """Memory of the rows, without their metadata."""
        return self.size * row_bytes(self.dims, self.metric)

    def end(self, rows: NDArray[np.intp], ts: int) -> None:
        """Says that present rows ended at `ts`."""
        self.arrays.died[rows] = ts
        self.ends += len(rows)

    def revive(self, ts: int) -> NDArray[np.intp]:
        """Takes back the ends after `ts`; returns the rows."""
        if not self.ends:
            return np.empty(0, dtype=np.intp)
        died = self.arrays.died[: self.size]
        revived = np.flatnonzero((died > ts) & (died != FOREVER))
        died[revived] = FOREVER
        self.ends -= len(revived)
        return revived

    def _widen(self, bounds: Bounds) -> None:
        """Learns of rows by their bounds."""
        missed, length = bounds[1:3].max(axis=1, initial=0.0).tolist()
        self.widest = max(self.widest[0], missed), max(self.widest[1], length)

    def rows_of(self, space: int, ts: int) -> slice:
        """Where the rows of a namespace are that appeared until `ts`, possibly among others."""
        raise NotImplementedError

    def versions(self, space: int, seq: int) -> Sequence[int]:
        """The rows of a document."""
        raise NotImplementedError

    def version(self, space: int, seq: int, ts: int) -> int | None:
        """The row of a document's version that `ts` sees."""
        born, died = self.arrays.born, self.arrays.died
        return next((row for row in self.versions(space, seq) if born[row] <= ts < died[row]), None)

    def has_vector(self, row: int) -> bool:
        """Whether a row has a dense vector."""
        return bool(self.dims) and not (self.bare and np.isnan(self.arrays.bounds[0, row]))

    def vector(self, row: int) -> Vector | None:
        """The dense vector of a row, as it was given."""
        return self.arrays.vectors[row].copy() if self.has_vector(row) else None


class Tail(Segment):
    """Rows in the order of time; grows."""

    def __init__(self, dims: int, metric: Metric, room: int) -> None:
        """`room`: so many rows it takes without being copied, once it is large."""
        self._room = room
        arrays = Arrays.empty(_FIRST_CAPACITY, dims, metric)
        super().__init__(dims, metric, arrays, 0, Columns(), Postings())
        self.latest: dict[int, dict[int, int]] = {}
        """By space and sequence number, the row of what is present."""

    def extend(self, changes: Sequence[VectorChange], ts: int) -> None:
        """Adds a row per change, born at `ts`. Raises InvalidValue for metadata that can't be held; adds none then."""
        start, size = self.size, self.size + len(changes)
        self.columns.append_many([change.metadata for change in changes])
        self.postings.append_many([change.sparse for change in changes])
        arrays = self.arrays
        if size > len(arrays.seqs):
            self.arrays = arrays = arrays.grown(start, self._capacity(size), self.dims, self.metric)
        rows = slice(start, size)
        if self.dims:
            self._write_vectors(rows, [change.vector for change in changes])
        arrays.seqs[rows] = [change.seq for change in changes]
        arrays.spaces[rows] = [change.space for change in changes]
        arrays.born[rows] = ts
        arrays.died[rows] = FOREVER
        self.size = size

    def _capacity(self, size: int) -> int:
        """For how many rows there is to be room when `size` are needed. To copy a large tail would take long on the
        event loop, and memory that is not written to is not taken."""
        doubled = 2 * len(self.arrays.seqs)
        large = doubled * row_bytes(self.dims, self.metric) > _MAPPED_BYTES
        return max(size, doubled, self._room if large else 0)

    def _write_vectors(self, rows: slice, vectors: Sequence[Vector | None]) -> None:
        arrays = self.arrays
        target = arrays.vectors[rows]
        given = [vector for vector in vectors if vector is not None]
        if len(given) == len(vectors):
            np.concatenate(given, out=target.reshape(-1))
        else:
            for place, vector in enumerate(vectors):
                target[place] = 0.0 if vector is None else vector
        arrays.codes[rows], arrays.bounds[:, rows] = coded(self.metric, target)
        self._widen(arrays.bounds[:, rows])
        if len(given) < len(vectors):
            lacking = [place for place, vector in enumerate(vectors) if vector is None]
            arrays.bounds[0, rows][lacking] = np.nan
            self.bare = True

    def take_out(self, space: int, seq: int) -> int | None:
        """The row of what is present of a document, which is not so from now on."""
        rows = self.latest.get(space)
        return None if rows is None else rows.pop(seq, None)

    def truncate(self, ts: int) -> list[tuple[int, int]]:
        """Forgets the rows born after `ts`; returns space and sequence number of those that were present."""
        keep = int(np.searchsorted(self.arrays.born[: self.size], ts, side="right"))
        gone = slice(keep, self.size)
        pairs = zip(self.arrays.spaces[gone].tolist(), self.arrays.seqs[gone].tolist(), strict=True)
        present = [pair for pair in pairs if self.take_out(*pair) is not None]
        self.ends -= self.size - keep - len(present)
        self.columns.truncate(keep)
        self.postings.truncate(keep)
        self.size = keep
        return present

    def kept(self, ts: int) -> Tail:
        """A tail without the rows that ended at or before `ts`."""
        rows = np.flatnonzero(self.arrays.died[: self.size] > ts)
        tail = Tail(self.dims, self.metric, self._room)
        tail.arrays = self.arrays.taken(rows)
        tail.size = len(rows)
        tail.columns, tail.postings = self.columns.take(rows), self.postings.take(rows)
        tail.bare, tail.widest = self.bare, self.widest
        tail.latest = {space: {} for space in np.unique(tail.arrays.spaces).tolist()}
        present = np.flatnonzero(tail.arrays.died == FOREVER)
        tail.ends = tail.size - len(present)
        pairs = zip(tail.arrays.spaces[present].tolist(), tail.arrays.seqs[present].tolist(), strict=True)
        for row, (space, seq) in zip(present.tolist(), pairs, strict=True):
            tail.latest[space][seq] = row
        return tail

    def rows_of(self, space: int, ts: int) -> slice:
        # Later rows may be taken back and written anew while they are read.
        known = space in self.latest
        return slice(0, int(np.searchsorted(self.arrays.born[: self.size], ts, side="right")) if known else 0)

    def versions(self, space: int, seq: int) -> Sequence[int]:
        arrays, size = self.arrays, self.size
        if space not in self.latest:
            return ()
        return np.flatnonzero((arrays.seqs[:size] == seq) & (arrays.spaces[:size] == space)).tolist()


class Base(Segment):
    """Rows in the order of space, sequence number and time; none are added."""

    def __init__(self, dims: int, metric: Metric, arrays: Arrays, columns: Columns, postings: Postings) -> None:
        super().__init__(dims, metric, arrays, len(arrays.seqs), columns, postings)
        self.newest = 0
        """When the last row appeared."""
        self._slices: dict[int, slice] = {}
        """The rows of the namespaces that were looked for last."""
        self.bare = bool(dims and np.isnan(arrays.bounds[0]).any())
        self._widen(arrays.bounds)
        self.set_births(arrays.born)
        self.set_ends(arrays.died)

    def set_births(self, born: NDArray[np.int64]) -> None:
        """Says when each row appeared."""
        self.arrays.born = born
        self.newest = int(born.max(initial=0))

    def set_ends(self, died: NDArray[np.int64]) -> None:
        """Says when each row ended."""
        self.arrays.died = died
        self.ends = int(np.count_nonzero(died != FOREVER))

    def counts(self) -> dict[int, int]:
        """By space, how many rows are present."""
        spaces, counts = np.unique(self.arrays.spaces[self.arrays.died == FOREVER], return_counts=True)
        return dict(zip(spaces.tolist(), counts.tolist(), strict=True))

    def end_all(self, seqs: NDArray[np.int64], ts: int) -> None:
        """Says that what is present of some documents ended at `ts`, in whatever namespace it is."""
        present = self.arrays.died == FOREVER
        self.end(np.flatnonzero(present & np.isin(self.arrays.seqs, seqs)), ts)

    def rows_of(self, space: int, ts: int) -> slice:
        found = self._slices.get(space)
        if found is None:
            if len(self._slices) >= _SLICES_KEPT:
                self._slices.clear()
            spaces = self.arrays.spaces
            found = slice(int(spaces.searchsorted(space)), int(spaces.searchsorted(space, side="right")))
            self._slices[space] = found
        return found

    def versions(self, space: int, seq: int) -> Sequence[int]:
        rows = self.rows_of(space, FOREVER)
        first, last = self.arrays.seqs[rows].searchsorted((seq, seq + 1)).tolist()
        return range(rows.start + first, rows.start + last)

    def present(self, space: int, seqs: NDArray[np.int64]) -> NDArray[np.intp]:
        """The rows of what is present of some different documents; fewer than asked for where some have none."""
        rows = self.rows_of(space, FOREVER)
        here = self.arrays.seqs[rows]
        if not len(here):
            return np.empty(0, dtype=np.intp)
        # Of several versions the last one is the newest. Below the first, the place -1 is that of the largest number.
        places = here.searchsorted(seqs, side="right") - 1
        found = places[here[places] == seqs] + rows.start
        return found[self.arrays.died[found] == FOREVER]


@dataclass(frozen=True, slots=True)
class View:
    """The rows of a namespace at a timestamp, to be read in a thread while the segment goes on changing."""

    segment: Segment
    arrays: Arrays
    rows: slice
    ts: int
    space: int | None
    """The namespace, where the rows hold others too."""
    some_ended: bool
    some_unborn: bool

    @classmethod
    def of(cls, segment: Segment, space: int, ts: int) -> View:
        """What `ts` sees of a namespace."""
        mixed = isinstance(segment, Tail) and len(segment.latest) > 1
        unborn = isinstance(segment, Base) and segment.newest > ts
        rows = segment.rows_of(space, ts)
        return cls(segment, segment.arrays, rows, ts, space if mixed else None, segment.ends > 0, unborn)

    def some_later(self, ts: int) -> bool:
        """Whether rows of a base may have appeared after `ts`."""
        return isinstance(self.segment, Base) and self.segment.newest > ts

    def __len__(self) -> int:
        return self.rows.stop - self.rows.start

    def wanted(self, filter: Filter | None, *, dense: bool) -> Wanted:
        """The rows that are there and pass the filter, counted from the first of the view."""
        arrays, rows = self.arrays, self.rows
        mask: NDArray[np.bool_] | None = None
        if self.space is not None:
            mask = arrays.spaces[rows] == self.space
        if self.some_ended:
            mask = _and(mask, arrays.died[rows] > self.ts)
        if self.some_unborn:
            mask = _and(mask, arrays.born[rows] <= self.ts)
        if dense and self.segment.bare:
            mask = _and(mask, ~np.isnan(arrays.bounds[0, rows]))
        if filter is None:
            return mask
        columns = self.segment.columns
        if mask is not None and np.count_nonzero(mask) * _PICK_SHARE < len(mask):
            picked = np.flatnonzero(mask)
            return picked[columns.mask(filter, picked + rows.start)]
        return _and(mask, columns.mask(filter, rows))

    def rows_with(self, seqs: NDArray[np.int64]) -> NDArray[np.intp]:
        """The rows of a base, counted from the first of the view, that documents have: of several versions of one the
        first and the last. `seqs` in order; not all need be there."""
        here = self.arrays.seqs[self.rows]
        if not len(here):
            return np.empty(0, dtype=np.intp)
        sides = [np.searchsorted(here, seqs)]
        if self.some_ended:  # otherwise there is one version of each
            sides.append(np.searchsorted(here, seqs, side="right") - 1)
        sides = [side[here.take(side, mode="clip") == seqs] for side in sides]
        return sides[0] if len(sides) == 1 else np.unique(np.concatenate(sides))

    def there(self, rows: NDArray[np.intp], *, dense: bool) -> NDArray[np.bool_]:
        """Which of some rows, counted from the first of the view, are there."""
        arrays, rows = self.arrays, rows + self.rows.start
        if not (self.some_ended or self.some_unborn or self.space is not None or (dense and self.segment.bare)):
            return np.ones(len(rows), dtype=np.bool_)
        mask = (arrays.died[rows] > self.ts) & (arrays.born[rows] <= self.ts)
        if self.space is not None:
            mask &= arrays.spaces[rows] == self.space
        if dense and self.segment.bare:
            mask &= ~np.isnan(arrays.bounds[0, rows])
        return mask

    def mask(self, filter: Filter) -> NDArray[np.bool_]:
        """The rows with a dense vector that are there and pass the filter."""
        wanted = self.wanted(filter, dense=True)
        if wanted is not None and wanted.dtype == np.bool_:
            return cast("NDArray[np.bool_]", wanted)
        mask = np.zeros(len(self), dtype=np.bool_)
        mask[slice(None) if wanted is None else wanted] = True
        return mask

    def some(self, rows: NDArray[np.intp]) -> Part:
        """Some rows, counted from the first of the view, as the scan takes them."""
        arrays, here = self.arrays, self.rows
        return Part(arrays.vectors[here], arrays.codes[here], arrays.bounds[:, here], arrays.seqs[here], rows)

    def part(self, filter: Filter | None, sparse: Sparse | None, *, dense: bool) -> Part:
        """The rows as the scan takes them. Without `dense` those that share a dimension with the sparse query."""
        arrays, rows = self.arrays, self.rows
        wanted = self.wanted(filter, dense=dense)
        added = None
        if sparse is not None:
            added, sharing = self.segment.postings.scores(sparse, rows)
            if not dense:
                wanted = _both(wanted, sharing)
        return Part(
            arrays.vectors[rows],
            arrays.codes[rows],
            arrays.bounds[:, rows],
            arrays.seqs[rows],
            wanted,
            added,
            self.segment.widest,
        )

    def documents(self, filter: Filter | None = None) -> NDArray[np.int64]:
        """The sequence numbers of the rows that are there and pass the filter."""
        seqs, wanted = self.arrays.seqs[self.rows], self.wanted(filter, dense=False)
        return seqs if wanted is None else seqs[wanted]

    def count(self) -> int:
        """How many rows are there."""
        return self.part(None, None, dense=False).count


def row_bytes(dims: int, metric: Metric) -> int:
    """Memory of a row, without its metadata."""
    return 5 * dims + 8 * (4 + bounds_kept(metric))


def _and(mask: NDArray[np.bool_] | None, other: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if mask is not None:
        other &= mask
    return other


def _both(wanted: Wanted, mask: NDArray[np.bool_]) -> Wanted:
    if wanted is not None and wanted.dtype != np.bool_:
        return wanted[mask[wanted]]
    return mask if wanted is None else mask & wanted
