"""Vectors in memory: an exact scan of all rows that a timestamp sees.

A row is one version of one document's vector, with the timestamps at which it appeared and vanished, so that a search
at any kept timestamp sees exactly its rows. The storage holds the durable copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import Context
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reflow.errors import InvalidValue, OutOfRetention

FOREVER = np.iinfo(np.int64).max
_FIRST_CAPACITY = 64
_CHUNK_ROWS = 1024


@dataclass(frozen=True, slots=True)
class VectorChange:
    """A document's vector and filter values from a commit on; `vector` None removes the row."""

    index: int
    seq: int
    vector: NDArray[np.float32] | None
    filters: tuple[bytes, ...] = ()


def checked(vector: object, dims: int, name: str) -> NDArray[np.float32]:
    """`vector` as float32 of shape (dims,). Raises InvalidValue for another shape, NaN, infinities and all zeros."""
    try:
        array = np.array(vector, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"{name}: a vector is a sequence of {dims} numbers: {error}") from None
    if array.shape != (dims,):
        raise InvalidValue(f"{name} takes vectors of {dims} numbers, got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidValue(f"{name}: a vector must not hold NaN or infinity")
    if not array.any():
        raise InvalidValue(f"{name}: a vector of zeros has no direction, so cosine similarity can't compare it")
    return array


def unit(vector: NDArray[np.float32]) -> NDArray[np.float32]:
    """The vector with length 1, so that a dot product is the cosine similarity."""
    wide = vector.astype(np.float64)
    return (wide / np.linalg.norm(wide)).astype(np.float32)


def similarity(left: NDArray[np.float32], right: NDArray[np.float32]) -> float:
    """Cosine similarity of two unit vectors, in double precision: the same for a pair wherever it is computed."""
    return float((left.astype(np.float64) * right.astype(np.float64)).sum())


def _similarities(rows: NDArray[np.float32], query: NDArray[np.float32]) -> NDArray[np.float64]:
    """`similarity` of each row, to the last bit: the sum along a row is made in the same order."""
    return (rows.astype(np.float64) * query.astype(np.float64)).sum(axis=1)


def _best(
    rows: NDArray[np.float32],
    seqs: NDArray[np.int64],
    candidates: NDArray[np.intp],
    query: NDArray[np.float32],
    limit: int,
) -> list[tuple[float, int]]:
    """The best of the candidate rows: a scan in single precision, then all that may belong to them in double."""
    if not len(candidates) or limit < 1:
        return []
    if limit < len(candidates):
        if 4 * len(candidates) < len(rows):
            scores = rows[candidates] @ query
        else:
            scores = (rows @ query)[candidates]
        worst = np.partition(scores, len(scores) - limit)[len(scores) - limit]
        candidates = candidates[scores >= worst - 2 * len(query) * np.finfo(np.float32).eps]
    exact = np.concatenate(
        [_similarities(rows[part], query) for part in np.array_split(candidates, len(candidates) // _CHUNK_ROWS + 1)]
    )
    order = np.lexsort((seqs[candidates], -exact))[:limit]
    return [(float(exact[place]), int(seqs[candidates[place]])) for place in order]


class VectorTable:
    """All versions of the vectors of one index."""

    def __init__(self, dims: int, filters: int) -> None:
        self.dims = dims
        self.size = 0
        self._rows = np.empty((_FIRST_CAPACITY, dims), dtype=np.float32)
        self._raw: list[NDArray[np.float32]] = []
        self._seqs = np.empty(_FIRST_CAPACITY, dtype=np.int64)
        self._born = np.empty(_FIRST_CAPACITY, dtype=np.int64)
        self._died = np.empty(_FIRST_CAPACITY, dtype=np.int64)
        self._codes = np.empty((filters, _FIRST_CAPACITY), dtype=np.int64)
        self._interned: list[dict[bytes, int]] = [{} for _ in range(filters)]
        self._latest: dict[int, int] = {}
        self._ended: set[int] = set()
        """Documents of which an ended version is kept."""

    def __len__(self) -> int:
        return len(self._latest)

    def put(self, seq: int, vector: NDArray[np.float32], filters: Sequence[bytes], ts: int) -> None:
        """Adds a version born at `ts` and ends the former one."""
        self.remove(seq, ts)
        if self.size == len(self._seqs):
            self._grow()
        row = self.size
        self._rows[row] = unit(vector)
        self._raw.append(vector)
        self._seqs[row], self._born[row], self._died[row] = seq, ts, FOREVER
        for column, (codes, value) in enumerate(zip(self._interned, filters, strict=True)):
            self._codes[column, row] = codes.setdefault(value, len(codes))
        self._latest[seq] = row
        self.size += 1

    def remove(self, seq: int, ts: int) -> None:
        """Ends the present version at `ts`; nothing happens when there is none."""
        row = self._latest.pop(seq, None)
        if row is not None:
            self._died[row] = ts
            self._ended.add(seq)

    def rollback(self, ts: int) -> None:
        """Undoes what happened after `ts`."""
        born = self._born[: self.size]
        keep = int(np.searchsorted(born, ts, side="right"))
        revived = np.flatnonzero((self._died[:keep] > ts) & (self._died[:keep] != FOREVER))
        self._died[revived] = FOREVER
        for row in range(keep, self.size):
            self._latest.pop(int(self._seqs[row]), None)
        for row in revived:
            self._latest[int(self._seqs[row])] = int(row)
        self.size = keep
        del self._raw[keep:]

    def compact(self, ts: int) -> None:
        """Forgets versions that ended at or before `ts`, when they are many."""
        dead = self._died[: self.size] <= ts
        if int(dead.sum()) <= max(_FIRST_CAPACITY, self.size // 4):
            return
        alive = np.flatnonzero(~dead)
        self._rows = np.ascontiguousarray(self._rows[alive])
        self._raw = [self._raw[row] for row in alive]
        self._seqs, self._born, self._died = self._seqs[alive], self._born[alive], self._died[alive]
        self._codes = np.ascontiguousarray(self._codes[:, alive])
        self.size = len(alive)
        self._latest = {int(self._seqs[row]): row for row in range(self.size) if self._died[row] == FOREVER}
        self._ended = {int(seq) for seq in self._seqs[self._died != FOREVER]}

    def row(self, seq: int, ts: int) -> int | None:
        """The row of a document's version that `ts` sees."""
        row = self._latest.get(seq)
        if row is not None and self._born[row] <= ts:
            return row
        if seq not in self._ended:
            return None
        found = np.flatnonzero(
            (self._seqs[: self.size] == seq) & (self._born[: self.size] <= ts) & (self._died[: self.size] > ts)
        )
        return int(found[-1]) if len(found) else None

    def vector(self, seq: int, ts: int) -> NDArray[np.float32] | None:
        """The vector as it was given."""
        row = self.row(seq, ts)
        return None if row is None else self._raw[row]

    def search(
        self, query: NDArray[np.float32], limit: int, ts: int, filters: Mapping[int, Iterable[bytes]]
    ) -> list[tuple[float, int]]:
        """(score, sequence number) of the most similar rows that `ts` sees, best first, ties by sequence number.

        `query` is a unit vector. `filters` maps a filter's column to the values it may have.
        """
        return self.scan(query, limit, ts, filters)()

    def scan(
        self, query: NDArray[np.float32], limit: int, ts: int, filters: Mapping[int, Iterable[bytes]]
    ) -> Callable[[], list[tuple[float, int]]]:
        """A search of the rows as they are now; it may run in a thread while the table goes on changing."""
        known = {
            column: [code for value in wanted if (code := self._interned[column].get(value)) is not None]
            for column, wanted in filters.items()
        }
        rows, seqs, codes = self._rows[: self.size], self._seqs[: self.size], self._codes[:, : self.size]
        born, died = self._born[: self.size], self._died[: self.size]

        def run() -> list[tuple[float, int]]:
            visible = (born <= ts) & (died > ts)
            for column, wanted in known.items():
                visible &= np.isin(codes[column], wanted)
            return _best(rows, seqs, np.flatnonzero(visible), query, limit)

        return run

    def _grow(self) -> None:
        capacity = 2 * len(self._seqs)
        for name in ("_rows", "_seqs", "_born", "_died"):
            old = getattr(self, name)
            new = np.empty((capacity, *old.shape[1:]), dtype=old.dtype)
            new[: self.size] = old[: self.size]
            setattr(self, name, new)
        codes = np.empty((len(self._interned), capacity), dtype=np.int64)
        codes[:, : self.size] = self._codes[:, : self.size]
        self._codes = codes


class VectorStore:
    """The vector tables of all indexes. Changes arrive in order of time; a failed commit is rolled back."""

    def __init__(self, inline_rows: int) -> None:
        self._inline_rows = inline_rows
        self._tables: dict[int, VectorTable] = {}
        self._since = 0

    def create(self, index: int, dims: int, filters: int) -> None:
        """Starts an index without rows."""
        self._tables[index] = VectorTable(dims, filters)

    def table(self, index: int) -> VectorTable:
        """The rows of an index."""
        return self._tables[index]

    def start(self, ts: int) -> None:
        """Says that the loaded rows are those of `ts`; what was before is not known."""
        self._since = ts

    def vector(self, index: int, seq: int, ts: int) -> NDArray[np.float32] | None:
        """The vector of a document as it was given. Raises OutOfRetention."""
        self._check_kept(ts)
        return self._tables[index].vector(seq, ts)

    def _check_kept(self, ts: int) -> None:
        if ts < self._since:
            raise OutOfRetention(
                f"OutOfRetention: vectors at timestamp {ts} are not kept any more, only those since {self._since} "
                "(limits.retention_seconds, and not from before the start of the server)"
            )

    def apply(self, ts: int, changes: Iterable[VectorChange]) -> None:
        """Takes over what a commit changes."""
        for change in changes:
            table = self._tables[change.index]
            if change.vector is None:
                table.remove(change.seq, ts)
            else:
                table.put(change.seq, change.vector, change.filters, ts)

    def rollback(self, ts: int) -> None:
        """Undoes everything after `ts`."""
        for table in self._tables.values():
            table.rollback(ts)

    def compact(self, ts: int) -> None:
        """Forgets what no read at or after `ts` can see."""
        self._since = max(self._since, ts)
        for table in self._tables.values():
            table.compact(ts)

    async def search(
        self, index: int, query: NDArray[np.float32], limit: int, ts: int, filters: Mapping[int, Iterable[bytes]]
    ) -> list[tuple[float, int]]:
        """See `VectorTable.search`. A large scan runs in a thread, so that the event loop is never held for long."""
        self._check_kept(ts)
        table = self._tables[index]
        scan = table.scan(query, limit, ts, filters)
        if table.size <= self._inline_rows:
            return scan()
        # In a context of its own: the thread is started by the store, not by the function that searches.
        return await Context().run(asyncio.get_running_loop().run_in_executor, None, scan)
