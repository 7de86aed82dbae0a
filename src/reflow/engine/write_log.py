"""The write log: what recent commits touched, for conflict checks, the cache and live queries."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from reflow.engine.documents import Key
from reflow.engine.reads import ReadSet
from reflow.search.metric import VectorChange
from reflow.search.standing_text import TextChange
from reflow.storage.base import sequence_key

_CHANGE_BYTES = 500
"""What one change takes beside its vector or text."""


@dataclass(slots=True)
class Touched:
    """What one commit touched: documents, their keys before and after in each index, their vectors and texts."""

    points: set[tuple[int, int]] = field(default_factory=set[tuple[int, int]])
    keys: dict[int, list[Key]] = field(default_factory=lambda: defaultdict(list))
    """By index number. The number of a table stands for its order of creation."""
    vectors: list[VectorChange] = field(default_factory=list[VectorChange])
    texts: dict[int, list[TextChange]] = field(default_factory=dict[int, list[TextChange]])
    """By index number."""
    vague: frozenset[int] | None = None
    """Numbers of the search indexes that changed, once no more than that is known."""

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
        if reads.whole and not (reads.whole.isdisjoint(self.searches()) and reads.whole.isdisjoint(self.keys)):
            return True
        for found in reads.ranges:
            keys = self.keys.get(found.index)
            if keys is not None and any(found.holds(key.full) for key in keys):
                return True
        return bool(reads.vectors or reads.texts) and self._concerns_a_search(reads)

    def searches(self) -> frozenset[int]:
        """Numbers of the vector and text indexes that changed."""
        if self.vague is not None:
            return self.vague
        return frozenset(change.place[0] for change in self.vectors).union(self.texts)

    def _concerns_a_search(self, reads: ReadSet) -> bool:
        if self.vague is not None:
            indexes = {read.place[0] for read in reads.vectors}.union(read.index for read in reads.texts)
            return not indexes.isdisjoint(self.vague)
        return any(read.concerned(self.vectors) for read in reads.vectors) or any(
            read.concerned(self.texts[read.index]) for read in reads.texts if read.index in self.texts
        )

    @property
    def search_bytes(self) -> int:
        """About what the vectors and texts take."""
        vectors = sum(_CHANGE_BYTES + (0 if c.vector is None else c.vector.nbytes) for c in self.vectors)
        entries = [entry for changes in self.texts.values() for change in changes for entry in change.entries]
        return vectors + sum(_CHANGE_BYTES + 2 * len(entry.source) for entry in entries)

    def blur(self) -> None:
        """Forgets vectors and texts: every search of their indexes then counts as concerned."""
        self.vague = self.searches()
        self.vectors, self.texts = [], {}


class Commit(NamedTuple):
    """A commit with its timestamp."""

    ts: int
    touched: Touched


class WriteLog:
    """The latest commits in order of time: at least `bound`, at most twice as many, so that trimming is rare.

    Of vectors and texts only the latest are kept, up to `search_bytes`.
    """

    def __init__(self, bound: int, search_bytes: int) -> None:
        self._bound = bound
        self._commits: list[Commit] = []
        self._times: list[int] = []
        self._searched: deque[tuple[Commit, int]] = deque()
        """Commits with vectors or texts, and how many bytes these take."""
        self._search_bytes = search_bytes
        self._searched_bytes = 0
        self.start = 0
        """Commits up to this timestamp are forgotten: a check from before it can't be answered."""

    def append(self, commits: Iterable[Commit]) -> None:
        """Adds published commits. Their vectors and texts stay at least until the next call."""
        self._blur(self._search_bytes)
        for commit in commits:
            self._commits.append(commit)
            self._times.append(commit.ts)
            if commit.touched.vectors or commit.touched.texts:
                size = commit.touched.search_bytes
                self._searched.append((commit, size))
                self._searched_bytes += size
        if len(self._commits) > 2 * self._bound:
            self.forget(self._times[-self._bound - 1])

    def _blur(self, most: int) -> None:
        while self._searched_bytes > most:
            oldest, size = self._searched.popleft()
            self._searched_bytes -= size
            oldest.touched.blur()

    def forget(self, ts: int) -> None:
        """Drops commits up to a timestamp."""
        keep = bisect_right(self._times, ts)
        if keep:
            self.start = self._times[keep - 1]
            del self._commits[:keep], self._times[:keep]
        while self._searched and self._searched[0][0].ts <= ts:
            self._searched_bytes -= self._searched.popleft()[1]

    def changed_since(self, ts: int, reads: ReadSet) -> bool:
        """Whether a commit after `ts` overlaps a read set; true as well when that is no longer known."""
        if ts < self.start:
            return True
        first = bisect_right(self._times, ts)
        return any(commit.touched.overlaps(reads) for commit in self._commits[first:])
