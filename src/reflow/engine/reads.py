"""Read sets: exactly what a transaction or a live query has read, so that a commit can tell whether it matters."""

from __future__ import annotations

from dataclasses import dataclass

from reflow.search.standing import VectorRead
from reflow.search.standing_text import TextRead


@dataclass(slots=True, eq=True)
class ReadRange:
    """Keys `lower <= key < upper` of one index, all of which start with `prefix`.

    A scan in progress moves the far end on, so the range never covers more than what was read.
    """

    index: int
    prefix: bytes
    lower: bytes
    upper: bytes

    def holds(self, key: bytes) -> bool:
        """Whether a key lies in the range."""
        return self.lower <= key < self.upper


class ReadSet:
    """Documents by id, index ranges, searches, and what is not data: the clock."""

    __slots__ = ("clock", "max_ranges", "points", "ranges", "texts", "tick", "vectors", "whole")

    def __init__(self, max_ranges: int) -> None:
        self.points: set[tuple[int, int]] = set()
        """(table number, sequence number) of documents read by id, also of those that were not there; and under the
        number of a vector index, documents whose vectors were read or found, and 0 for which generations it has."""
        self.ranges: list[ReadRange] = []
        self.whole: set[int] = set()
        """Numbers of indexes of which everything matters."""
        self.vectors: list[VectorRead] = []
        self.texts: list[TextRead] = []
        self.clock = False
        self.tick: float | None = None
        """Seconds after which a live query runs again because it asked for `ctx.now(every=...)`."""
        self.max_ranges = max_ranges

    def add_range(self, index: int, prefix: bytes, lower: bytes, upper: bytes) -> ReadRange:
        """Records a range; the caller may move its ends as a scan proceeds."""
        found = ReadRange(index, prefix, lower, upper)
        if len(self.ranges) >= self.max_ranges:
            self._merge()
        self.ranges.append(found)
        return found

    def add_tick(self, every: float) -> None:
        """Asks to run again after `every` seconds; the shortest wish counts."""
        self.tick = every if self.tick is None else min(self.tick, every)

    def _merge(self) -> None:
        """Coarser is always safe: many ranges become all of their indexes."""
        self.whole.update(found.index for found in self.ranges)
        self.ranges.clear()

    def same_data(self, other: ReadSet) -> bool:
        """Whether both depend on the same documents and ranges, so that a registration of these can stay."""
        return self.points == other.points and self.ranges == other.ranges and self.whole == other.whole
