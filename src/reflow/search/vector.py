"""The vectors of all places, for exact searches at any kept timestamp.

A row is one version of one document's vector, with the timestamps at which it appeared and vanished, so that a search
at any kept timestamp sees exactly its rows. The storage holds the durable copy.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextvars import Context
from functools import partial
from pathlib import Path
from typing import NamedTuple, ParamSpec, TypeVar

import numpy as np

from reflow.errors import OutOfRetention
from reflow.limits import Limits
from reflow.search import approximate
from reflow.search.filters import Filter
from reflow.search.metric import Metric, Place, Vector, VectorChange, VectorQuery
from reflow.search.rows_file import SUFFIX, UNFINISHED, stem
from reflow.search.searching import approximated, approximated_at_once, searched
from reflow.search.segment import FOREVER, Segment, View
from reflow.search.sparse import Sparse
from reflow.search.table import VectorTable

_ROWS = (SUFFIX, UNFINISHED)
_CELLS = (approximate.SUFFIX, approximate.UNFINISHED)

_USUAL_DIMS = 384
_HIT_ROWS = 16
"""To compare one candidate exactly costs as much as to scan so many codes."""

P = ParamSpec("P")
T = TypeVar("T")


class FileNote(NamedTuple):
    """What the storage should know of a place's file."""

    place: Place
    name: str | None
    """The file's name; None where there is none."""
    until: int
    """Up to this timestamp no log of changes is needed."""


class VectorStore:
    """The vector tables of all places. Changes arrive in order of time; a failed commit is rolled back."""

    def __init__(self, limits: Limits, directory: Path | None = None) -> None:
        """`directory` is where what can be derived from the storage may be kept, for a quicker start."""
        self._limits = limits
        self._directory = directory
        self.tables: dict[Place, VectorTable] = {}
        """By place."""
        self._since = 0
        self._started = False
        self._leaving: list[VectorTable] = []
        """Tables that were dropped while a file of theirs was written."""
        self._named: dict[Place, str] = {}
        """The files that the storage names."""
        self._noted: dict[Place, FileNote] = {}

    def create(self, place: Place, dims: int, metric: Metric, shape: str = "") -> None:
        """Starts a place without rows; nothing happens where it is there. `dims` 0: sparse vectors only.

        `shape` stands for how metadata are made of documents: a file that was made otherwise is not used.
        """
        if place not in self.tables:
            self.tables[place] = VectorTable(place, dims, metric, self._limits, self._directory, shape)
            if self._started:
                self.tables[place].start()

    def drop(self, place: Place) -> None:
        """Forgets a place with all its rows."""
        table = self.tables.pop(place, None)
        if table is not None:
            table.stop()
            if table.busy:
                self._leaving.append(table)

    def drop_space(self, place: Place, space: int, ts: int) -> None:
        """Ends all rows of a namespace."""
        self.tables[place].drop_space(space, ts)

    def metric(self, place: Place) -> Metric:
        """How vectors are compared there."""
        return self.tables[place].metric

    def settings(self, place: Place) -> tuple[int, Metric]:
        """The dimensions of a place and how vectors are compared there."""
        table = self.tables[place]
        return table.dims, table.metric

    # Files

    def know(self, names: Mapping[Place, str]) -> None:
        """Says which files the storage names."""
        self._named.update(names)

    def open_file(self, place: Place) -> int | None:
        """Takes over the rows of a place's file; None where there is none, or it is not as it should be.

        Returns the timestamp up to which all changes are in it.
        """
        name = self._named.get(place)
        return None if name is None else self.tables[place].open_file(name)

    def forget(self, place: Place, ts: int, seqs: Sequence[int]) -> None:
        """Ends what a file has of documents that changed after it was written. Their present rows are then loaded."""
        self.tables[place].forget(seqs, ts)

    def load(self, place: Place, ts: int, rows: Sequence[VectorChange]) -> None:
        """Takes over rows of the storage's last commit."""
        self.tables[place].apply(ts, rows)
        self.tables[place].settle()

    def start(self, ts: int) -> None:
        """Says that the loaded rows are those of `ts`; what was before is not known."""
        self._since = ts
        self._started = True
        for table in self.tables.values():
            table.start()
        self._sweep()

    def news(self) -> list[FileNote]:
        """What the storage should know of files, and of changes that it need not log any more."""
        notes = [FileNote(place, None, FOREVER) for place in self._named if place not in self.tables]
        for place, table in self.tables.items():
            table.adopt()
            name = table.file.name if table.file is not None else None
            note = FileNote(place, name, table.logged_until)
            if self._noted.get(place) != note:
                notes.append(note)
        return notes

    def noted(self, notes: Sequence[FileNote]) -> None:
        """Says that the storage knows: files that it does not name are removed."""
        for note in notes:
            self._noted[note.place] = note
            if note.name is None:
                self._named.pop(note.place, None)
            else:
                self._named[note.place] = note.name
        self._sweep()

    def _sweep(self) -> None:
        """Removes files that neither the storage names nor anybody reads or writes."""
        if self._directory is None or not self._directory.is_dir():
            return
        self._leaving = [table for table in self._leaving if table.busy]
        tables = (*self.tables.values(), *self._leaving)
        used = {*self._named.values(), *(table.file.name for table in tables if table.file is not None)}
        written = tuple(stem(table.place) + end for table in tables if table.folding for end in ("-", UNFINISHED))
        for path in self._directory.iterdir():
            ours = path.name.endswith((*_ROWS, *_CELLS))
            base = path.name.partition(SUFFIX)[0] + SUFFIX
            known = path.name in used or (base in used and path.name.endswith(_CELLS))
            if ours and not known and not path.name.startswith(written):
                path.unlink(missing_ok=True)

    # Reading

    def vector(self, place: Place, seq: int, ts: int, space: int = 0) -> Vector | None:
        """The vector of a document as it was given. Raises OutOfRetention."""
        found = self._find(place, seq, ts, space)
        return None if found is None else found[0].vector(found[1])

    def has_vector(self, place: Place, seq: int, ts: int, space: int = 0) -> bool:
        """Whether a document has a dense vector. Raises OutOfRetention."""
        found = self._find(place, seq, ts, space)
        return found is not None and found[0].has_vector(found[1])

    def sparse(self, place: Place, seq: int, ts: int, space: int = 0) -> Sparse | None:
        """The sparse vector of a document as it was given. Raises OutOfRetention."""
        found = self._find(place, seq, ts, space)
        return None if found is None else found[0].postings.sparse(found[1])

    def _find(self, place: Place, seq: int, ts: int, space: int) -> tuple[Segment, int] | None:
        self._check_kept(ts)
        return self.tables[place].find(space, seq, ts)

    def count(self, place: Place, ts: int, space: int = 0) -> int:
        """How many vectors a namespace has."""
        self._check_kept(ts)
        return self.tables[place].count(space, ts)

    async def matching(self, place: Place, filter: Filter, ts: int, space: int = 0) -> list[int]:
        """The documents of a namespace that pass a filter, oldest first."""
        self._check_kept(ts)
        views = self.tables[place].views(space, ts)
        if sum(map(len, views)) <= self._limits.scan_inline_rows:
            return _matching(views, filter)
        return await _in_thread(_matching, views, filter)

    async def lacking(self, place: Place, other: Place, ts: int) -> list[int]:
        """The documents that have a vector in the first place and none in the other, oldest first."""
        self._check_kept(ts)
        here, there = self.tables[place].views(0, ts), self.tables[other].views(0, ts)
        return await _in_thread(_difference, here, there)

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
            self.tables[place].apply(ts, here)

    def commit(self) -> None:
        """Says that all that was applied is durable: large tails may become part of their bases."""
        for table in self.tables.values():
            table.settle()

    async def close(self) -> None:
        """Ends what is under way, and writes the files that make the next start quick. Only when nothing is applied
        any more; `news` then has what the storage should know."""
        await self.join()
        for table in self.tables.values():
            table.settle()
            table.finish()
        await self.join()
        for table in self.tables.values():
            table.adopt()
            await asyncio.get_running_loop().run_in_executor(None, table.leave_cells)

    async def join(self) -> None:
        """Returns once nothing is made in threads."""
        for table in list(self.tables.values()):
            await asyncio.get_running_loop().run_in_executor(None, table.join)

    def rollback(self, ts: int) -> None:
        """Undoes everything after `ts`."""
        for table in self.tables.values():
            table.rollback(ts)

    def compact(self, ts: int) -> None:
        """Forgets what no read at or after `ts` can see."""
        self._since = max(self._since, ts)
        for table in self.tables.values():
            table.compact(ts)

    async def search(
        self, place: Place, query: VectorQuery, ts: int, *, approximate: bool = False
    ) -> list[tuple[float, int]]:
        """(score, sequence number) of the best rows that `ts` sees, best first, ties by sequence number.

        With a dense vector the rows that have one are compared, and the product of the sparse vectors is added where
        the query has one; a sparse vector alone finds the rows that share a dimension with it. A large scan runs in a
        thread, so that the event loop is never held for long. Exact, unless `approximate` is allowed and
        the namespace is large.
        """
        self._check_kept(ts)
        table = self.tables[place]
        views = table.views(query.space, ts)
        if approximate and query.vector is not None and query.sparse is None:
            found = table.approximation(query.space)
            if found is not None:
                at_once = approximated_at_once(table.metric, views, query, found, self._limits.scan_inline_rows)
                if at_once is not None:
                    return at_once
                return await _in_thread(approximated, table.metric, views, query, found)
        compared = sum(map(len, views)) + _HIT_ROWS * query.limit
        if compared * max(1.0, table.dims / _USUAL_DIMS) <= self._limits.scan_inline_rows:
            return searched(table.metric, views, query)
        return await _in_thread(searched, table.metric, views, query)


async def _in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Runs in a context of its own: the thread is started by the store, not by the function that searches."""
    return await Context().run(asyncio.get_running_loop().run_in_executor, None, partial(work, *args, **kwargs))


def _matching(views: Sequence[View], filter: Filter) -> list[int]:
    nothing = np.empty(0, dtype=np.int64)
    return np.sort(np.concatenate([nothing, *(view.documents(filter) for view in views)])).tolist()


def _difference(here: Sequence[View], there: Sequence[View]) -> list[int]:
    nothing = np.empty(0, dtype=np.int64)
    ours = np.concatenate([nothing, *(view.documents() for view in here)])
    theirs = np.concatenate([nothing, *(view.documents() for view in there)])
    return np.setdiff1d(ours, theirs, assume_unique=True).tolist()
