"""Which readers a commit concerns, found without looking at all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from typing import Generic, TypeVar

from reflow.engine.reads import ReadRange, ReadSet
from reflow.engine.write_log import Commit, Touched
from reflow.search.standing import StandingSearches
from reflow.search.standing_text import StandingTexts, TextChange

O = TypeVar("O", bound=Hashable)  # noqa: E741 - the owner of a read set

_Bounds = tuple[bytes, bytes]


class _RangeIndex(Generic[O]):
    """Ranges over one index, in buckets by their equality prefix.

    A written key can only lie in a range whose prefix it has, and a key has few prefixes: one per field. So finding
    the ranges around a key takes one look-up per prefix length in use, plus the ranges of that very bucket.
    """

    def __init__(self) -> None:
        self.buckets: dict[bytes, dict[_Bounds, set[O]]] = {}
        self.lengths: Counter[int] = Counter()

    def add(self, found: ReadRange, owner: O) -> None:
        bucket = self.buckets.get(found.prefix)
        if bucket is None:
            bucket = self.buckets[found.prefix] = {}
            self.lengths[len(found.prefix)] += 1
        bucket.setdefault((found.lower, found.upper), set()).add(owner)

    def remove(self, found: ReadRange, owner: O) -> None:
        bucket = self.buckets.get(found.prefix, {})
        bounds = (found.lower, found.upper)
        owners = bucket.get(bounds)
        if owners is None:
            return
        owners.discard(owner)
        if not owners:
            del bucket[bounds]
        if not bucket:
            del self.buckets[found.prefix]
            self.lengths[len(found.prefix)] -= 1
            if not self.lengths[len(found.prefix)]:
                del self.lengths[len(found.prefix)]

    def around(self, key: bytes, ends: tuple[int, ...], into: set[O]) -> None:
        for end in ends:
            if end not in self.lengths:
                continue
            bucket = self.buckets.get(key[:end])
            if bucket is None:
                continue
            for (lower, upper), owners in bucket.items():
                if lower <= key < upper:
                    into |= owners


class Subscriptions(Generic[O]):
    """Read sets by owner, and the owners whose read sets overlap a commit."""

    def __init__(self, standing_hits: int) -> None:
        """`standing_hits`: see the limit of that name."""
        self.vectors: StandingSearches[O] = StandingSearches(standing_hits)
        self.texts: StandingTexts[O] = StandingTexts()
        self._points: dict[tuple[int, int], set[O]] = {}
        self._ranges: dict[int, _RangeIndex[O]] = {}
        self._whole: dict[int, set[O]] = {}
        self._reads: dict[O, ReadSet] = {}

    def __len__(self) -> int:
        return len(self._reads)

    def register(self, owner: O, reads: ReadSet, *, late: bool = False, outdated: bool = False) -> None:
        """Sets the read set of an owner, in place of its former one.

        `late`: commits were published since it was read; then it was found to hold still, or else `outdated`.
        """
        former = self._reads.get(owner)
        if former is None or former.vectors or reads.vectors:
            self.vectors.register(owner, reads.vectors, late=late, outdated=outdated)
        if former is None or former.texts or reads.texts:
            self.texts.register(owner, reads.texts)
        self._reads[owner] = reads
        if former is not None:
            if former.same_data(reads):
                return
            self._unlink(owner, former)
        self._link(owner, reads)

    def _link(self, owner: O, reads: ReadSet) -> None:
        for point in reads.points:
            self._points.setdefault(point, set()).add(owner)
        for index in reads.whole:
            self._whole.setdefault(index, set()).add(owner)
        for found in reads.ranges:
            if found.index not in self._ranges:
                self._ranges[found.index] = _RangeIndex()
            self._ranges[found.index].add(found, owner)

    def remove(self, owner: O) -> None:
        """Forgets an owner; nothing happens when it is not there."""
        reads = self._reads.pop(owner, None)
        if reads is None:
            return
        self.vectors.remove(owner)
        self.texts.remove(owner)
        self._unlink(owner, reads)

    def _unlink(self, owner: O, reads: ReadSet) -> None:
        for point in reads.points:
            _discard(self._points, point, owner)
        for index in reads.whole:
            _discard(self._whole, index, owner)
        for found in reads.ranges:
            ranges = self._ranges.get(found.index)
            if ranges is not None:
                ranges.remove(found, owner)
                if not ranges.buckets:
                    del self._ranges[found.index]

    def publish(self, commits: Sequence[Commit]) -> Iterator[tuple[O, int]]:
        """The owners that a group of commits concerns, each with the timestamp of one that does. Every group is to be
        told, once."""
        for ts, touched in commits:
            for owner in self._overlapping(touched):
                yield owner, ts
        changes = [change for commit in commits for change in commit.touched.vectors]
        if changes:
            for owner in self.vectors.publish(changes):
                yield owner, commits[0].ts
        texts: dict[int, list[TextChange]] = {}
        for commit in commits:
            for index, some in commit.touched.texts.items():
                texts.setdefault(index, []).extend(some)
        for index, some in texts.items():
            for owner in self.texts.concerned(index, some):
                yield owner, commits[0].ts

    def _overlapping(self, touched: Touched) -> set[O]:
        owners: set[O] = set()
        for point in touched.points:
            found = self._points.get(point)
            if found:
                owners |= found
        if self._whole:
            for index in (*touched.searches(), *touched.keys):
                owners |= self._whole.get(index, set())
        for index, keys in touched.keys.items():
            ranges = self._ranges.get(index)
            if ranges is not None:
                for key in keys:
                    ranges.around(key.full, key.ends, owners)
        return owners


K = TypeVar("K")


def _discard(table: dict[K, set[O]], key: K, owner: O) -> None:
    owners = table.get(key)
    if owners is not None:
        owners.discard(owner)
        if not owners:
            del table[key]
