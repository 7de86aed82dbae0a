"""The vectors of one place: a base, a tail, and what is on its way from one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from reflow.limits import Limits
from reflow.search import cells
from reflow.search.approximate import Approximation
from reflow.search.fold import Fold, Target
from reflow.search.metric import Metric, Place, VectorChange
from reflow.search.rows_file import FORMAT, Header, read
from reflow.search.segment import FOREVER, Base, Segment, Tail, View, row_bytes

_CLOSING_SHARE = 8
"""A large place gets a new file at closing when more than one byte in so many is not in the former one."""
_FEW_ENDED = 64
_ENDED_SHARE = 4
"""Rows that ended are cleared away when they are more than one in so many."""
_TAIL_SHARE = 8
"""A tail takes no more rows when it has more than one for so many of the base."""
_TAIL_ROOM = 4
"""A tail has room for so many times its limit without being copied."""
_FOLD_SHARE = 2
"""Tails become part of the base when they have more than one row for so many of the base."""
_INLINE_BYTES = 8 << 20
"""A tail up to this size is cleared of ended rows without a thread."""


class BaseFile(NamedTuple):
    """A file that holds all changes of a place up to a timestamp."""

    name: str
    ts: int


class VectorTable:
    """All versions of the vectors of one place, as long as somebody may read them."""

    def __init__(
        self, place: Place, dims: int, metric: Metric, limits: Limits, directory: Path | None, shape: str
    ) -> None:
        self.place = place
        self.dims = dims
        self.metric: Metric = metric
        self.file: BaseFile | None = None
        """Where the base is, when that is known to be complete."""
        self.changed = 0
        """When something changed last."""
        self._limits = limits
        self._directory = directory
        self._shape = shape
        self._loading = True
        self._base: Base | None = None
        self._older: list[Tail] = []
        """Tails that take no more rows and wait to become part of the base."""
        self._tail = Tail(dims, metric, self._rows_in_tail(0))
        self._fold: Fold | None = None
        self._owes_file = False
        """Whether a file is to be written that the next start can use, as soon as nothing else is."""
        self._approximations: dict[int, Approximation] = {}
        """By space."""
        self._counts: dict[int, int] = {}
        """By space, what is present."""
        self._horizon = 0
        self._failed = False
        """Whether the last base could not be made: the next is tried after a pause."""

    # Opening

    def open_file(self, name: str) -> int | None:
        """Takes the rows of a file, and returns its timestamp; None where it can't be used."""
        if self._directory is None or self.segments != [self._tail] or self._tail.size:
            return None
        found = read(self._directory / name, self._header(0))
        if found is None:
            return None
        self._base, header = found
        self._counts = self._base.counts()
        self.changed = header.ts
        self.file = BaseFile(name, header.ts)
        return header.ts

    def _header(self, ts: int) -> Header:
        return Header(FORMAT, self.place, self.dims, self.metric, self._shape, ts)

    def forget(self, seqs: Sequence[int], ts: int) -> None:
        """Ends what a file has of documents, in whatever namespace they are there."""
        if self._base is not None and seqs:
            self._base.end_all(np.array(seqs, dtype=np.int64), ts)
            self._counts = self._base.counts()
            self.changed = ts

    def start(self) -> None:
        """Says that all rows are loaded."""
        self._loading = False
        unfiled = self._directory is not None and self.file is None
        self._owes_file = unfiled and self.bytes > self._limits.vector_file_bytes
        self._open_cells()
        # Two at once would write one file: what was begun while loading comes first, `settle` then begins this one.
        if self._owes_file and self._fold is None:
            self._begin()

    @property
    def segments(self) -> list[Segment]:
        """Where the rows are, the oldest first."""
        base: list[Segment] = [] if self._base is None else [self._base]
        return [*base, *self._older, self._tail]

    def __len__(self) -> int:
        """How many rows are kept, ended ones included."""
        return sum(segment.size for segment in self.segments)

    @property
    def bytes(self) -> int:
        """Memory of the rows, without their metadata."""
        return sum(segment.bytes for segment in self.segments)

    # Changing

    def apply(self, ts: int, changes: Sequence[VectorChange]) -> None:
        """Takes over changes of a commit."""
        row = self._tail.size
        ended: list[int] = []
        elsewhere: dict[int, set[int]] = {}
        puts: list[VectorChange] = []
        for change in changes:
            space, seq = change.space, change.seq
            rows = self._tail.latest.setdefault(space, {})
            before = rows.pop(seq, None)
            if before is not None:
                ended.append(before)
            else:
                elsewhere.setdefault(space, set()).add(seq)
            if change.vector is not None or change.sparse is not None:
                rows[seq] = row
                row += 1
                puts.append(change)
        if puts:
            self._tail.extend(puts, ts)
        self._count(puts, 1)
        self._end_here(ended, ts)
        self._end_elsewhere(elsewhere, ts)
        self.changed = ts

    def _count(self, changes: Iterable[VectorChange], by: int) -> None:
        counts = self._counts
        for change in changes:
            counts[change.space] = counts.get(change.space, 0) + by

    def _end_here(self, rows: list[int], ts: int) -> None:
        if rows:
            for space in self._tail.arrays.spaces[rows].tolist():
                self._counts[space] -= 1
            self._tail.end(np.array(rows), ts)

    def _end_elsewhere(self, documents: dict[int, set[int]], ts: int) -> None:
        """Ends what is present of documents in older segments."""
        for space, seqs in documents.items():
            for tail in self._older:
                rows = [row for seq in seqs if (row := tail.take_out(space, seq)) is not None]
                if rows:
                    tail.end(np.array(rows), ts)
                    self._counts[space] -= len(rows)
            if self._base is not None:
                found = self._base.present(space, np.fromiter(seqs, np.int64, len(seqs)))
                if len(found):
                    self._base.end(found, ts)
                    self._counts[space] -= len(found)

    def drop_space(self, space: int, ts: int) -> None:
        """Ends all that is present of a namespace."""
        if not self._counts.get(space):
            return
        for segment in self.segments:
            if isinstance(segment, Tail):
                rows = np.array(list(segment.latest.get(space, {}).values()), dtype=np.int64)
                segment.latest[space] = {}
            else:
                here = segment.rows_of(space, FOREVER)
                rows = np.flatnonzero(segment.arrays.died[here] == FOREVER) + here.start
            if len(rows):
                segment.end(rows, ts)
        self._counts[space] = 0
        self.changed = ts

    def rollback(self, ts: int) -> None:
        """Undoes what happened after `ts`."""
        if self.changed <= ts:
            return
        for space, _ in self._tail.truncate(ts):
            self._counts[space] -= 1
        for segment in self.segments:
            for row in segment.revive(ts).tolist():
                space, seq = int(segment.arrays.spaces[row]), int(segment.arrays.seqs[row])
                self._counts[space] += 1
                if isinstance(segment, Tail):
                    segment.latest.setdefault(space, {})[seq] = row
        self.changed = ts

    # Cleaning

    def compact(self, ts: int) -> None:
        """Forgets versions that ended at or before `ts`, when they are many. A large tail is left to `settle`."""
        self.adopt()
        self._failed = False
        self._horizon = ts
        tail = self._tail
        if tail.ends > max(_FEW_ENDED, tail.size // _ENDED_SHARE) and tail.bytes <= _INLINE_BYTES:
            self._tail = tail.kept(ts)

    @property
    def folding(self) -> bool:
        """Whether a base is being made, or waits to be taken over."""
        return self._fold is not None

    @property
    def logged_until(self) -> int:
        """Up to when the storage need not know what changed: that is in the file, or in none that will be used."""
        if self.file is not None:
            return self.file.ts
        if self._fold is not None and self._fold.target is not None:
            return self._fold.target.header.ts
        return self.changed

    @property
    def busy(self) -> bool:
        """Whether a base is being made in this moment."""
        return self._fold is not None and not self._fold.done

    def settle(self) -> None:
        """Starts making a base where there is much to put in order.

        Only while everything that was applied is durable: what is no longer in the tail is not taken back.
        """
        self.adopt()
        base = 0 if self._base is None else self._base.bytes
        if self._tail.bytes > self._tail_limit(base):
            self._close_tail()
        if self._fold is None and (self._owes_file or self._should_fold(base)) and not self._failed:
            self._begin()

    def _tail_limit(self, base: int) -> int:
        return max(self._limits.vector_tail_bytes, base // _TAIL_SHARE)

    def _rows_in_tail(self, base: int) -> int:
        """Room for what may come before a tail is closed: that waits for the end of a group of commits."""
        return _TAIL_ROOM * self._tail_limit(base) // row_bytes(self.dims, self.metric)

    def _close_tail(self) -> None:
        base = 0 if self._base is None else self._base.bytes
        self._older.append(self._tail)
        self._tail = Tail(self.dims, self.metric, self._rows_in_tail(base))

    def _should_fold(self, base: int) -> bool:
        late = sum(tail.bytes for tail in self._older)
        if late and late + self._tail.bytes > max(self._limits.vector_tail_bytes, base // _FOLD_SHARE):
            return True
        return self._base is not None and self._base.ends > max(_FEW_ENDED, self._base.size // _ENDED_SHARE)

    def _begin(self) -> None:
        self._owes_file = False
        if self._tail.size:
            self._close_tail()
        if self._base is not None or self._older:
            base = [] if self._base is None else [self._base]
            self._fold = Fold([*base, *self._older], self._horizon, self._target())

    def _target(self) -> Target | None:
        if self._directory is None:
            return None
        return Target(self._directory, self._header(-1 if self._loading else self.changed))

    def finish(self) -> bool:
        """Begins a last base where the next start would otherwise read much from the storage, and this one little.

        Only while everything that was applied is durable. A base that is being made already has all of it.
        """
        late = sum(segment.bytes for segment in (*self._older, self._tail))
        limits = self._limits
        if self._directory is None or self.bytes <= limits.vector_file_bytes or self._fold is not None:
            return False
        known = self.file is not None and late <= limits.vector_file_bytes
        if known or (self.bytes > limits.vector_close_bytes and late * _CLOSING_SHARE < self.bytes):
            return False
        self._begin()
        return True

    def join(self) -> None:
        """Waits for a base that is being made."""
        if self._fold is not None:
            self._fold.join()

    def adopt(self) -> None:
        """Takes over a base that was made meanwhile."""
        fold = self._fold
        if fold is None or not fold.done:
            return
        self._fold = None
        made = fold.result()
        if made is None:
            self._failed = True
        else:
            self._base = made
            self.file = None
            if fold.target is not None and fold.target.header.ts >= 0 and fold.name is not None:
                self.file = BaseFile(fold.name, fold.target.header.ts)
            self._older = [tail for tail in self._older if tail not in fold.segments]
        fold.release()

    # Approximate search

    def approximation(self, space: int) -> Approximation | None:
        """What finds candidates in a namespace, where that is large and it is ready; otherwise that is begun."""
        base = self._base
        if base is None or not self._is_large(base, space):
            return None
        found = self._approximations.get(space)
        if found is None:
            found = self._approximations[space] = Approximation(self.metric, space, self._directory)
        found.follow(base, self._base_name)
        return found if found.ready else None

    @property
    def _base_name(self) -> str | None:
        return None if self.file is None else self.file.name

    def _is_large(self, base: Base, space: int) -> bool:
        if not cells.AVAILABLE or self.dims < cells.FEWEST_DIMS:
            return False
        rows = base.rows_of(space, self.changed)
        return rows.stop - rows.start >= self._limits.approximate_rows

    def _open_cells(self) -> None:
        """Begins to read the cells that were saved, before anybody asks for them.

        The package that reads them is imported here, where nobody is served yet.
        """
        base = self._base
        if base is None:
            return
        large = [space for space in self._counts if self._is_large(base, space)]
        if large:
            cells.engine()
        for space in large:
            found = Approximation(self.metric, space, self._directory)
            if self._base_name is not None and found.saved(self._base_name):
                self._approximations[space] = found
                found.follow(base, self._base_name)

    def stop(self) -> None:
        """Learns no more: the table was dropped."""
        for found in self._approximations.values():
            found.stop()

    def join_cells(self) -> None:
        """Waits for what is being learnt for approximate searches."""
        for found in self._approximations.values():
            found.join()

    def leave_cells(self) -> None:
        """Ends the learning, and saves what is known for the next start."""
        for found in self._approximations.values():
            found.leave(self._base, self._base_name)

    # Reading

    def find(self, space: int, seq: int, ts: int) -> tuple[Segment, int] | None:
        """Where a document's version is that `ts` sees: the segment and the row."""
        for segment in reversed(self.segments):
            if isinstance(segment, Tail):
                row = segment.latest.get(space, {}).get(seq)
                if row is not None and segment.arrays.born[row] <= ts:
                    return segment, row
                if ts >= self.changed:
                    continue
            row = segment.version(space, seq, ts)
            if row is not None:
                return segment, row
        return None

    def count(self, space: int, ts: int) -> int:
        """How many rows of a namespace `ts` sees."""
        if ts >= self.changed:
            return self._counts.get(space, 0)
        return sum(view.count() for view in self.views(space, ts))

    def views(self, space: int, ts: int) -> list[View]:
        """The rows of a namespace at `ts`."""
        views = (View.of(segment, space, ts) for segment in self.segments)
        return [view for view in views if len(view)]
