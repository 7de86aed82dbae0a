"""Vectors in memory: an exact scan of all rows that a timestamp sees.

A row is one version of one document's vector, with the timestamps at which it appeared and vanished, so that a search
at any kept timestamp sees exactly its rows. The storage holds the durable copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextvars import Context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from reflow.errors import OutOfRetention
from reflow.limits import Limits
from reflow.search.metric import Metric, Place, Vector, VectorChange, VectorQuery, scores

if TYPE_CHECKING:
    from reflow.search.sparse import Sparse

FOREVER = np.iinfo(np.int64).max
_FIRST_CAPACITY = 64
_CHUNK_ROWS = 1024


class VectorTable:
    """All versions of the vectors of one place."""

    def __init__(self, dims: int, metric: Metric) -> None:
        self.dims = dims
        self.metric: Metric = metric
        self._changes: list[VectorChange] = []
        self._rows = np.empty((_FIRST_CAPACITY, dims), dtype=np.float32)
        self._born = np.empty(_FIRST_CAPACITY, dtype=np.int64)
        self._died = np.empty(_FIRST_CAPACITY, dtype=np.int64)
        self._latest: dict[int, int] = {}

    @property
    def size(self) -> int:
        """Rows, ended ones included."""
        return len(self._changes)

    def put(self, change: VectorChange, ts: int) -> None:
        """Adds a version born at `ts` and ends the former one."""
        self.remove(change.seq, ts)
        row = self.size
        if row == len(self._born):
            self._grow()
        self._rows[row] = 0.0 if change.vector is None else change.vector
        self._born[row], self._died[row] = ts, FOREVER
        self._latest[change.seq] = row
        self._changes.append(change)

    def remove(self, seq: int, ts: int) -> None:
        """Ends the present version at `ts`; nothing happens when there is none."""
        row = self._latest.pop(seq, None)
        if row is not None:
            self._died[row] = ts

    def drop_space(self, space: int, ts: int) -> None:
        """Ends all present versions of a namespace."""
        for seq, row in list(self._latest.items()):
            if self._changes[row].space == space:
                self.remove(seq, ts)

    def rollback(self, ts: int) -> None:
        """Undoes what happened after `ts`."""
        keep = int(np.searchsorted(self._born[: self.size], ts, side="right"))
        revived = np.flatnonzero((self._died[:keep] > ts) & (self._died[:keep] != FOREVER))
        self._died[revived] = FOREVER
        for change in self._changes[keep:]:
            self._latest.pop(change.seq, None)
        for row in revived:
            self._latest[self._changes[row].seq] = int(row)
        del self._changes[keep:]

    def compact(self, ts: int) -> None:
        """Forgets versions that ended at or before `ts`, when they are many."""
        dead = self._died[: self.size] <= ts
        if int(dead.sum()) <= max(_FIRST_CAPACITY, self.size // 4):
            return
        alive = np.flatnonzero(~dead)
        self._rows, self._born, self._died = self._rows[alive], self._born[alive], self._died[alive]
        self._changes = [self._changes[row] for row in alive]
        self._latest = {change.seq: row for row, change in enumerate(self._changes) if int(self._died[row]) == FOREVER}
        if not self._changes:
            self._rows = np.empty((_FIRST_CAPACITY, self.dims), dtype=np.float32)
            self._born = np.empty(_FIRST_CAPACITY, dtype=np.int64)
            self._died = np.empty(_FIRST_CAPACITY, dtype=np.int64)

    def change(self, seq: int, ts: int) -> VectorChange | None:
        """A document's version that `ts` sees."""
        row = self._latest.get(seq)
        if row is not None and self._born[row] <= ts:
            return self._changes[row]
        for place in range(self.size - 1, -1, -1):
            if self._changes[place].seq == seq and self._born[place] <= ts < self._died[place]:
                return self._changes[place]
        return None

    def count(self, ts: int, space: int) -> int:
        """The rows of a namespace that `ts` sees."""
        size = self.size
        visible = np.flatnonzero((self._born[:size] <= ts) & (self._died[:size] > ts))
        return sum(self._changes[row].space == space for row in visible)

    def scan(self, query: VectorQuery, ts: int) -> Callable[[], list[tuple[float, int]]]:
        """A search of the rows as they are now; it may run in a thread while the table goes on changing."""
        size = self.size
        changes, rows = self._changes[:size], self._rows[:size]
        visible = np.flatnonzero((self._born[:size] <= ts) & (self._died[:size] > ts))

        def passes(change: VectorChange) -> bool:
            return change.space == query.space and (query.filter is None or query.filter.matches(change.metadata))

        def run() -> list[tuple[float, int]]:
            wanted = np.array([row for row in visible if passes(changes[row])], dtype=np.intp)
            return _best(self.metric, rows, changes, wanted, query)

        return run

    def _grow(self) -> None:
        capacity = 2 * len(self._born)
        for name in ("_rows", "_born", "_died"):
            old = getattr(self, name)
            new = np.empty((capacity, *old.shape[1:]), dtype=old.dtype)
            new[: len(old)] = old
            setattr(self, name, new)


def _best(
    metric: Metric,
    rows: NDArray[np.float32],
    changes: list[VectorChange],
    wanted: NDArray[np.intp],
    query: VectorQuery,
) -> list[tuple[float, int]]:
    if not len(wanted) or query.vector is None:
        return []
    vector = query.vector
    exact = np.concatenate(
        [scores(metric, rows[part], vector) for part in np.array_split(wanted, len(wanted) // _CHUNK_ROWS + 1)]
    )
    seqs = np.array([changes[row].seq for row in wanted], dtype=np.int64)
    order = np.lexsort((seqs, -exact))[: query.limit]
    return [(float(exact[place]), int(seqs[place])) for place in order]


class VectorStore:
    """The vector tables of all places. Changes arrive in order of time; a failed commit is rolled back."""

    def __init__(self, limits: Limits, directory: Path | None = None) -> None:
        """`directory` is where what can be derived from the storage may be kept, for a quicker start."""
        self._limits = limits
        self._directory = directory
        self._tables: dict[Place, VectorTable] = {}
        self._since = 0

    def create(self, place: Place, dims: int, metric: Metric) -> None:
        """Starts a place without rows; nothing happens where it is there. `dims` 0: sparse vectors only."""
        if place not in self._tables:
            self._tables[place] = VectorTable(dims, metric)

    def drop(self, place: Place) -> None:
        """Forgets a place with all its rows."""
        self._tables.pop(place, None)

    def drop_space(self, place: Place, space: int, ts: int) -> None:
        """Ends all rows of a namespace."""
        self._tables[place].drop_space(space, ts)

    def metric(self, place: Place) -> Metric:
        """How vectors are compared there."""
        return self._tables[place].metric

    def start(self, ts: int) -> None:
        """Says that the loaded rows are those of `ts`; what was before is not known."""
        self._since = ts

    def vector(self, place: Place, seq: int, ts: int, space: int = 0) -> Vector | None:
        """The vector of a document as it was given. Raises OutOfRetention."""
        self._check_kept(ts)
        found = self._tables[place].change(seq, ts)
        return None if found is None or found.space != space else found.vector

    def sparse(self, place: Place, seq: int, ts: int, space: int = 0) -> Sparse | None:
        """The sparse vector of a document as it was given. Raises OutOfRetention."""
        self._check_kept(ts)
        found = self._tables[place].change(seq, ts)
        return None if found is None or found.space != space else found.sparse

    def count(self, place: Place, ts: int, space: int = 0) -> int:
        """How many vectors a namespace has."""
        self._check_kept(ts)
        return self._tables[place].count(ts, space)

    def _check_kept(self, ts: int) -> None:
        if ts < self._since:
            raise OutOfRetention(
                f"OutOfRetention: vectors at timestamp {ts} are not kept any more, only those since {self._since} "
                "(limits.retention_seconds, and not from before the start of the server)"
            )

    def apply(self, ts: int, changes: Iterable[VectorChange]) -> None:
        """Takes over what a commit changes."""
        for change in changes:
            table = self._tables[change.place]
            if change.vector is None and change.sparse is None:
                table.remove(change.seq, ts)
            else:
                table.put(change, ts)

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
        self, place: Place, query: VectorQuery, ts: int, *, approximate: bool = False
    ) -> list[tuple[float, int]]:
        """(score, sequence number) of the best rows that `ts` sees, best first, ties by sequence number.

        A large scan runs in a thread, so that the event loop is never held for long. Exact, unless `approximate`
        allows for a graph.
        """
        self._check_kept(ts)
        table = self._tables[place]
        scan = table.scan(query, ts)
        if table.size <= self._limits.scan_inline_rows:
            return scan()
        # In a context of its own: the thread is started by the store, not by the function that searches.
        return await Context().run(asyncio.get_running_loop().run_in_executor, None, scan)
