"""The write log: what recent commits touched, for conflict checks, the cache and live queries."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from reflow.engine.documents import Key, TextEntry
from reflow.engine.reads import ReadSet
from reflow.search.metric import VectorChange
from reflow.storage.base import sequence_key


class TextChange(NamedTuple):
    """What one document has in a text index before and after a commit, None for nothing."""

    before: TextEntry | None
    after: TextEntry | None


@dataclass(slots=True)
class Touched:
    """What one commit touched: documents, their keys before and after in each index, their vectors and texts."""

    points: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    keys: dict[int, list[Key]] = field(default_factory=lambda: defaultdict(list))
    """By index number. The number of a table stands for its order of creation."""
    vectors: list[VectorChange] = field(default_factory=list[VectorChange])
    texts: dict[int, list[TextChange]] = field(default_factory=lambda: defaultdict(list))
    """By index number."""
    searches: set[int] = field(default_factory=set[int])

    def add_document(self, table: int, seq: int) -> None:
        """A document was inserted, changed or deleted."""
        self.points.add((table, seq))
        self.keys[table].append(Key(sequence_key(seq), (0,)))

    def add_keys(self, index: int, before: Key | None, after: Key | None) -> None:
        """A document left, entered or changed within a place of an index."""
        if before is not None:
            self.keys[index].append(before)
        if after is not None and after != before:
            self.keys[index].append(after)

    def overlaps(self, reads: ReadSet) -> bool:
        """Whether a reader with this read set could have seen something else."""
        if not self.points.isdisjoint(reads.points):
            return True
        if reads.whole and not (self.searches.isdisjoint(reads.whole) and reads.whole.isdisjoint(self.keys)):
            return True
        for found in reads.ranges:
            keys = self.keys.get(found.index)
            if keys is not None and any(found.holds(key.full) for key in keys):
                return True
        return False


class Commit(NamedTuple):
    """A commit with its timestamp."""

    ts: int
    touched: Touched


class WriteLog:
    """The latest commits in order of time: at least `bound`, at most twice as many, so that trimming is rare."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._commits: list[Commit] = []
        self._times: list[int] = []
        self.start = 0
        """Commits up to this timestamp are forgotten: a check from before it can't be answered."""

    def append(self, commits: Iterable[Commit]) -> None:
        """Adds published commits."""
        for commit in commits:
            self._commits.append(commit)
            self._times.append(commit.ts)
        if len(self._commits) > 2 * self._bound:
            self.forget(self._times[-self._bound - 1])

    def forget(self, ts: int) -> None:
        """Drops commits up to a timestamp."""
        keep = bisect_right(self._times, ts)
        if keep:
            self.start = self._times[keep - 1]
            del self._commits[:keep], self._times[:keep]

    def changed_since(self, ts: int, reads: ReadSet) -> bool:
        """Whether a commit after `ts` overlaps a read set; true as well when that is no longer known."""
        if ts < self.start:
            return True
        first = bisect_right(self._times, ts)
        return any(commit.touched.overlaps(reads) for commit in self._commits[first:])
