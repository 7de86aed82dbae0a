"""The vectors of all places, for exact searches at any kept timestamp.

A row is one version of one document's vector, with the timestamps at which it appeared and vanished, so that a search
at any kept timestamp sees exactly its rows. The storage holds the durable copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from pathlib import Path

from reflow.errors import OutOfRetention
from reflow.limits import Limits
from reflow.search.filters import Filter
from reflow.search.metric import Metric, Place, Vector, VectorChange, VectorQuery
from reflow.search.scan import best, best_added
from reflow.search.segment import Segment, View
from reflow.search.sparse import Sparse
from reflow.search.table import VectorTable


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
            self._tables[place] = VectorTable(dims, metric, self._limits.vector_tail_bytes)

    def drop(self, place: Place) -> None:
        """Forgets a place with all its rows."""
        self._tables.pop(place, None)

    def drop_space(self, place: Place, space: int, ts: int) -> None:
        """Ends all rows of a namespace."""
        self._tables[place].drop_space(space, ts)

    def metric(self, place: Place) -> Metric:
        """How vectors are compared there."""
        return self._tables[place].metric

    def settings(self, place: Place) -> tuple[int, Metric]:
        """The dimensions of a place and how vectors are compared there."""
        table = self._tables[place]
        return table.dims, table.metric

    def start(self, ts: int) -> None:
        """Says that the loaded rows are those of `ts`; what was before is not known."""
        self._since = ts
        self.commit()

    def vector(self, place: Place, seq: int, ts: int, space: int = 0) -> Vector | None:
        """The vector of a document as it was given. Raises OutOfRetention."""
        found = self._find(place, seq, ts, space)
        return None if found is None else found[0].vector(found[1])

    def sparse(self, place: Place, seq: int, ts: int, space: int = 0) -> Sparse | None:
        """The sparse vector of a document as it was given. Raises OutOfRetention."""
        found = self._find(place, seq, ts, space)
        return None if found is None else found[0].postings.sparse(found[1])

    def _find(self, place: Place, seq: int, ts: int, space: int) -> tuple[Segment, int] | None:
        self._check_kept(ts)
        return self._tables[place].find(space, seq, ts)

    def count(self, place: Place, ts: int, space: int = 0) -> int:
        """How many vectors a namespace has."""
        self._check_kept(ts)
        return self._tables[place].count(space, ts)

    def _check_kept(self, ts: int) -> None:
        if ts < self._since:
            raise OutOfRetention(
                f"OutOfRetention: vectors at timestamp {ts} are not kept any more, only those since {self._since} "
                "(limits.retention_seconds, and not from before the start of the server)"
            )

    def apply(self, ts: int, changes: Sequence[VectorChange]) -> None:
        """Takes over what a commit changes."""
        by_place: dict[Place, list[VectorChange]] = {}
        for change in changes:
            by_place.setdefault(change.place, []).append(change)
        for place, here in by_place.items():
            self._tables[place].apply(ts, here)

    def commit(self) -> None:
        """Says that all that was applied is durable: large tails may become part of their bases."""
        for table in self._tables.values():
            table.settle()

    def join(self) -> None:
        """Waits for what is made in threads."""
        for table in self._tables.values():
            table.join()

    def close(self) -> None:
        """Ends what is under way."""
        self.join()

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

        With a dense vector the rows that have one are compared, and the product of the sparse vectors is added where
        the query has one; a sparse vector alone finds the rows that share a dimension with it. A large scan runs in a
        thread, so that the event loop is never held for long. Exact, unless `approximate` allows for a graph.
        """
        self._check_kept(ts)
        table = self._tables[place]
        views = table.views(query.space, ts)
        if sum(map(len, views)) <= self._limits.scan_inline_rows:
            return _searched(table.metric, views, query)
        # In a context of its own: the thread is started by the store, not by the function that searches.
        loop = asyncio.get_running_loop()
        return await Context().run(loop.run_in_executor, None, _searched, table.metric, views, query)


def _searched(metric: Metric, views: Sequence[View], query: VectorQuery) -> list[tuple[float, int]]:
    dense = query.vector is not None
    parts = [view.part(query.filter, query.sparse, dense=dense) for view in views]
    if query.vector is not None:
        return best(metric, query.vector, parts, query.limit)
    return best_added(parts, query.limit)
