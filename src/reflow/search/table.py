"""The vectors of one place: a base, a tail, and what is on its way from one to the other."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from reflow.search.fold import Fold
from reflow.search.metric import Metric, VectorChange
from reflow.search.segment import FOREVER, Base, Segment, Tail, View

_FEW_ENDED = 64
_ENDED_SHARE = 4
"""Rows that ended are cleared away when they are more than one in so many."""
_TAIL_SHARE = 2
"""A tail is folded into its base when it has more than one row for so many of the base."""
_INLINE_BYTES = 8 << 20
"""A tail up to this size is cleared of ended rows without a thread."""


class VectorTable:
    """All versions of the vectors of one place, as long as somebody may read them."""

    def __init__(self, dims: int, metric: Metric, tail_bytes: int) -> None:
        """A tail below `tail_bytes` is not folded into the base."""
        self.dims = dims
        self.metric: Metric = metric
        self._tail_bytes = tail_bytes
        self._base: Base | None = None
        self._older: list[Tail] = []
        """Tails that take no more rows and wait to become part of the base."""
        self._tail = Tail(dims, metric)
        self._fold: Fold | None = None
        self._counts: dict[int, int] = {}
        """By space, what is present."""
        self._changed = 0
        """When something changed last."""
        self._horizon = 0

    @property
    def segments(self) -> list[Segment]:
        """Where the rows are, the oldest first."""
        base: list[Segment] = [] if self._base is None else [self._base]
        return [*base, *self._older, self._tail]

    # Changing

    def apply(self, ts: int, changes: Sequence[VectorChange]) -> None:
        """Takes over changes of a commit."""
        row = self._tail.size
        ended: list[int] = []
        elsewhere: dict[int, list[int]] = {}
        puts: list[VectorChange] = []
        for change in changes:
            space, seq = change.space, change.seq
            rows = self._tail.latest.setdefault(space, {})
            before = rows.pop(seq, None)
            if before is not None:
                ended.append(before)
            else:
                elsewhere.setdefault(space, []).append(seq)
            if change.vector is not None or change.sparse is not None:
                rows[seq] = row
                row += 1
                puts.append(change)
        if puts:
            self._tail.extend(puts, ts)
        self._count(puts, 1)
        self._end_here(ended, ts)
        self._end_elsewhere(elsewhere, ts)
        self._changed = ts

    def _count(self, changes: Iterable[VectorChange], by: int) -> None:
        counts = self._counts
        for change in changes:
            counts[change.space] = counts.get(change.space, 0) + by

    def _end_here(self, rows: list[int], ts: int) -> None:
        if rows:
            for space in self._tail.arrays.spaces[rows].tolist():
                self._counts[space] -= 1
            self._tail.end(np.array(rows), ts)

    def _end_elsewhere(self, documents: dict[int, list[int]], ts: int) -> None:
        """Ends what is present of documents in older segments."""
        for space, seqs in documents.items():
            for tail in self._older:
                rows = [row for seq in seqs if (row := tail.take_out(space, seq)) is not None]
                if rows:
                    tail.end(np.array(rows), ts)
                    self._counts[space] -= len(rows)
            if self._base is not None:
                found = self._base.present(space, np.array(seqs, dtype=np.int64))
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
        self._changed = ts

    def rollback(self, ts: int) -> None:
        """Undoes what happened after `ts`."""
        if self._changed <= ts:
            return
        for space, _ in self._tail.truncate(ts):
            self._counts[space] -= 1
        for segment in self.segments:
            for row in segment.revive(ts).tolist():
                space, seq = int(segment.arrays.spaces[row]), int(segment.arrays.seqs[row])
                self._counts[space] += 1
                if isinstance(segment, Tail):
                    segment.latest.setdefault(space, {})[seq] = row
        self._changed = ts

    # Cleaning

    def compact(self, ts: int) -> None:
        """Forgets versions that ended at or before `ts`, when they are many. A large tail is left to `settle`."""
        self._horizon = ts
        tail = self._tail
        if tail.ends > max(_FEW_ENDED, tail.size // _ENDED_SHARE) and tail.bytes <= _INLINE_BYTES:
            self._tail = tail.kept(ts)

    def settle(self) -> None:
        """Takes over a base that was made, and starts making one where the tail is large.

        Only while everything that was applied is durable: what is in a base is not taken back.
        """
        if self._fold is not None:
            if not self._fold.done:
                return
            self._adopt(self._fold)
        if self._should_fold():
            self._begin()

    def _should_fold(self) -> bool:
        base, tail = self._base, self._tail
        if tail.bytes > max(self._tail_bytes, 0 if base is None else base.bytes // _TAIL_SHARE):
            return True
        return base is not None and base.ends > max(_FEW_ENDED, base.size // _ENDED_SHARE)

    def _begin(self) -> None:
        if self._tail.size:
            self._older.append(self._tail)
            self._tail = Tail(self.dims, self.metric)
        if self._base is not None or self._older:
            base = [] if self._base is None else [self._base]
            self._fold = Fold([*base, *self._older], self._horizon)

    def fold(self) -> None:
        """Makes a base of everything and waits for it. Only while everything that was applied is durable."""
        if self._fold is not None:
            self._adopt(self._fold)
        self._begin()
        if self._fold is not None:
            self._adopt(self._fold)

    def join(self) -> None:
        """Waits for a base that is being made."""
        if self._fold is not None:
            self._fold.join()

    def _adopt(self, fold: Fold) -> None:
        self._fold = None
        made = fold.result()
        if made is not None:
            self._base = made
            self._older = [tail for tail in self._older if tail not in fold.segments]

    # Reading

    def find(self, space: int, seq: int, ts: int) -> tuple[Segment, int] | None:
        """Where a document's version is that `ts` sees: the segment and the row."""
        for segment in reversed(self.segments):
            if isinstance(segment, Tail):
                row = segment.latest.get(space, {}).get(seq)
                if row is not None and segment.arrays.born[row] <= ts:
                    return segment, row
                if ts >= self._changed:
                    continue
            row = segment.version(space, seq, ts)
            if row is not None:
                return segment, row
        return None

    def count(self, space: int, ts: int) -> int:
        """How many rows of a namespace `ts` sees."""
        if ts >= self._changed:
            return self._counts.get(space, 0)
        return sum(view.count() for view in self.views(space, ts))

    def views(self, space: int, ts: int) -> list[View]:
        """The rows of a namespace at `ts`."""
        views = (View.of(segment, space, ts) for segment in self.segments)
        return [view for view in views if len(view)]
