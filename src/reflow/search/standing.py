"""Live vector searches: which of them a commit concerns, and what they find without being run again.

Each standing search keeps twice as many hits as it was asked for and takes over what commits change among them. So its
result is known at every published timestamp, and rows are only scanned again when too many hits have left. A commit is
compared with all searches of a namespace and filter by one matrix product in single precision; whatever that leaves in
doubt is scored exactly.
"""

from __future__ import annotations

import math
from bisect import bisect_left, insort
from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from reflow.search.conditions import AllHold, AnyOf, Condition, Token, tokens
from reflow.search.filters import Filter
from reflow.search.metric import Metric, Place, VectorChange, VectorQuery, found_score, scores

KEPT = 2
"""Hits that a standing search keeps, as a multiple of those it was asked for."""

O = TypeVar("O", bound=Hashable)  # noqa: E741 - the owner of a search

Ranked = tuple[float, int]
"""(minus the score, sequence number): the order of hits."""

Key = tuple[Place, int, bytes, Filter | None, int]

_BLOCK = 1 << 18
"""Multiplications of one matrix product: libraries that share larger ones among threads spend more on that than on
the product, which concerns the event loop."""

_FIRST_CAPACITY = 16
_INDEXED_TOKENS = 64


@dataclass(frozen=True, slots=True, eq=False)
class VectorRead:
    """A vector search as part of a read set, with what it found at `ts`."""

    place: Place
    metric: Metric
    query: VectorQuery
    ts: int
    found: Sequence[tuple[float, int]]
    """(score, sequence number), best first; at least the `query.limit` best, where there are so many."""
    complete: bool
    """Whether `found` is all that there was."""

    @property
    def key(self) -> Key | None:
        """Equal for searches with equal results; None for searches with a sparse vector, which are not shared."""
        query = self.query
        if query.sparse is not None or query.vector is None:
            return None
        return self.place, query.space, query.vector.tobytes(), query.filter, query.limit

    @property
    def worst(self) -> Ranked | None:
        """The last hit; None where there are fewer than the limit, so that whatever passes the filter is one."""
        limit = self.query.limit
        if len(self.found) < limit:
            return None
        score, seq = self.found[limit - 1]
        return -score, seq

    def concerned(self, changes: Iterable[VectorChange]) -> bool:
        """Whether one of these is a new hit. Hits that go are read as documents are, by their number."""
        query = self.query
        candidates = [
            change
            for change in changes
            if change.place == self.place
            and change.space == query.space
            and (change.vector is not None or change.sparse is not None)
            and (query.filter is None or query.filter.matches(change.metadata))
        ]
        if query.sparse is None:
            return self._beaten([change for change in candidates if change.vector is not None])
        worst = self.worst
        for change in candidates:
            score = found_score(self.metric, change.vector, change.sparse, query)
            if score is not None and (worst is None or -score - _doubt(change, query) <= worst[0]):
                return True
        return False

    def _beaten(self, candidates: Sequence[VectorChange]) -> bool:
        worst, vector = self.worst, self.query.vector
        if worst is None or vector is None or not candidates:
            return bool(candidates) and vector is not None
        found = scores(self.metric, np.stack([_dense(change) for change in candidates]), vector)
        return any((-score, change.seq) < worst for score, change in zip(found.tolist(), candidates, strict=True))


def _dense(change: VectorChange) -> NDArray[np.float32]:
    assert change.vector is not None
    return change.vector


def _doubt(change: VectorChange, query: VectorQuery) -> float:
    """How far the sum of a dense and a sparse product may depend on the order of adding up."""
    total = 0.0
    if change.vector is not None and query.vector is not None:
        total += _length(change.vector) * _length(query.vector)
    if change.sparse is not None and query.sparse is not None:
        total += _length(change.sparse.values) * _length(query.sparse.values)
    return 1e-9 * total


def _length(vector: NDArray[np.float32]) -> float:
    return float(np.linalg.norm(vector.astype(np.float64)))


class _Standing(Generic[O]):
    """One search with its hits at the published timestamp. It is lost while it knows too few."""

    __slots__ = ("complete", "floor", "group", "owners", "ranking", "read", "row", "scores")

    def __init__(self, read: VectorRead, group: _Group[O]) -> None:
        self.read = read
        self.group = group
        self.row = 0
        self.owners: set[O] = set()
        self.ranking: list[Ranked] = []
        self.scores: dict[int, float] = {}
        self.complete = False
        self.floor: Ranked = (-math.inf, 0)
        """Whatever ranks up to here is known, nothing behind it; of no account where all is known."""

    @property
    def limit(self) -> int:
        return self.read.query.limit

    @property
    def lost(self) -> bool:
        return not self.complete and len(self.ranking) < self.limit

    def set(self, found: Sequence[tuple[float, int]], *, complete: bool) -> None:
        """Starts from the hits of a run."""
        self.ranking = [(-score, seq) for score, seq in found]
        self.scores = {seq: score for score, seq in found}
        self.complete = complete
        self.floor = self.ranking[-1] if self.ranking else (-math.inf, 0)

    def knows(self, score: float, seq: int) -> bool:
        """Whether a row ranks among what is known."""
        return self.complete or (-score, seq) <= self.floor

    def add(self, score: float, seq: int) -> None:
        """Takes up a row that ranks among what is known."""
        insort(self.ranking, (-score, seq))
        self.scores[seq] = score

    def drop(self, seq: int) -> None:
        """A hit is gone, or another row now."""
        found = (-self.scores.pop(seq), seq)
        del self.ranking[bisect_left(self.ranking, found)]

    def settle(self, most: int) -> list[int]:
        """Keeps at most that many hits, none when it is lost; returns which it has let go."""
        kept = 0 if self.lost else most
        dropped = [seq for _, seq in self.ranking[kept:]]
        if dropped:
            del self.ranking[kept:]
            self.complete = False
            for seq in dropped:
                del self.scores[seq]
        if self.lost:
            self.floor = (-math.inf, 0)
        elif dropped:
            self.floor = self.ranking[-1]
        return dropped

    @property
    def bar(self) -> float:
        """The least score that matters."""
        if self.complete:
            return -math.inf
        return math.inf if self.lost else -self.floor[0]


class _Group(Generic[O]):
    """The standing searches of one namespace with the same filter, as rows of a matrix of unit vectors."""

    def __init__(self, place: Place, metric: Metric, filter: Filter | None, dims: int) -> None:
        self.place = place
        self.metric: Metric = metric
        self.filter = filter
        self.members: list[_Standing[O]] = []
        self._margin = (dims + 16) * 2.0**-23
        """Twice the largest error of a product of unit vectors in single precision."""
        self._units = np.empty((_FIRST_CAPACITY, dims), dtype=np.float32)
        self._lengths = np.empty(_FIRST_CAPACITY)
        self._bars = np.empty(_FIRST_CAPACITY)

    def add(self, standing: _Standing[O]) -> None:
        row = standing.row = len(self.members)
        if row == len(self._bars):
            self._units = np.concatenate([self._units, np.empty_like(self._units)])
            self._lengths = np.concatenate([self._lengths, np.empty_like(self._lengths)])
            self._bars = np.concatenate([self._bars, np.empty_like(self._bars)])
        vector = standing.read.query.vector
        assert vector is not None
        self._units[row : row + 1], self._lengths[row : row + 1] = units(vector[np.newaxis])
        self._bars[row] = math.inf
        self.members.append(standing)

    def remove(self, standing: _Standing[O]) -> None:
        row, last = standing.row, self.members.pop()
        if last is not standing:
            end = last.row
            self._units[row], self._lengths[row], self._bars[row] = (
                *(self._units[end], self._lengths[end]),
                self._bars[end],
            )
            self.members[row], last.row = last, row

    def raise_bar(self, standing: _Standing[O]) -> None:
        """Notes the least score that matters to a search."""
        self._bars[standing.row] = standing.bar

    def candidates(self, columns: Units) -> Iterator[tuple[_Standing[O], NDArray[np.intp]]]:
        """The searches that rows may matter to, with the numbers of those rows. None is missed."""
        step = max(1, _BLOCK // columns[0].size)
        for start in range(0, len(self.members), step):
            rows = slice(start, min(start + step, len(self.members)))
            products = self._units[rows] @ columns[0].T
            found, place = np.nonzero(~(products < self._needed(rows, columns[1])))
            if len(found):
                ends = np.flatnonzero(np.diff(found)) + 1
                for row, some in zip(found[np.concatenate([[0], ends])], np.split(place, ends), strict=True):
                    yield self.members[start + int(row)], some

    def _needed(self, rows: slice, lengths: NDArray[np.float64]) -> NDArray[np.float32] | NDArray[np.float64]:
        """The cosine from which on a pair matters, less the margin; NaN where lengths are 0 and all may."""
        bars = self._bars[rows, np.newaxis]
        if self.metric == "cosine":
            return (bars - self._margin).astype(np.float32)
        mine = self._lengths[rows, np.newaxis]
        with np.errstate(divide="ignore", invalid="ignore"):
            if self.metric == "dotproduct":
                return bars / (mine * lengths) - self._margin
            squares = mine * mine + lengths * lengths
            rounding = 2.0**-40 * (squares + np.where(np.isfinite(bars), np.abs(bars), 0.0))
            room = squares + bars - rounding
            return room / (2.0 * mine * lengths) - self._margin


Units = tuple[NDArray[np.float32], NDArray[np.float64]]


def units(rows: NDArray[np.float32]) -> Units:
    """Rows scaled to length 1 (those of zeros stay), and their lengths."""
    wide = rows.astype(np.float64)
    lengths = np.sqrt((wide * wide).sum(axis=1))
    return (wide / np.where(lengths > 0, lengths, 1.0)[:, np.newaxis]).astype(np.float32), lengths


class _Space(Generic[O]):
    """The groups of one namespace. A filter that asks for certain values is only judged where they occur."""

    def __init__(self) -> None:
        self.groups: dict[Filter | None, _Group[O]] = {}
        self._fields: dict[str, dict[Token, set[Filter]]] = {}
        self._others: set[Filter] = set()

    def add(self, group: _Group[O]) -> None:
        self.groups[group.filter] = group
        if group.filter is not None:
            for field, token in _hooks(group.filter.condition):
                self._fields.setdefault(field, {}).setdefault(token, set()).add(group.filter)
            if not _hooks(group.filter.condition):
                self._others.add(group.filter)

    def remove(self, group: _Group[O]) -> None:
        del self.groups[group.filter]
        if group.filter is None:
            return
        self._others.discard(group.filter)
        for field, token in _hooks(group.filter.condition):
            filters = self._fields[field][token]
            filters.discard(group.filter)
            if not filters:
                del self._fields[field][token]

    def passing(self, changes: Sequence[VectorChange]) -> dict[_Group[O], list[int]]:
        """By group, which of the changes its filter lets pass."""
        found: dict[_Group[O], list[int]] = defaultdict(list)
        if None in self.groups:
            found[self.groups[None]] = list(range(len(changes)))
        for number, change in enumerate(changes):
            filters = set(self._others)
            for field, wanted in self._fields.items():
                for token in tokens(change.metadata[field]) if field in change.metadata else ():
                    filters |= wanted.get(token, set())
            for filter in filters:
                if filter.matches(change.metadata):
                    found[self.groups[filter]].append(number)
        return found


def _hooks(condition: Condition) -> list[tuple[str, Token]]:
    """Values of one field of which metadata must have one to pass; none where there is no such short list."""
    parts = condition.parts if isinstance(condition, AllHold) else (condition,)
    lists = [part for part in parts if isinstance(part, AnyOf) and len(part.wanted) <= _INDEXED_TOKENS]
    shortest = min(lists, key=lambda part: len(part.wanted), default=None)
    return [] if shortest is None else [(shortest.field, token) for token in shortest.wanted]


class StandingSearches(Generic[O]):
    """The live vector searches of all owners. Equal searches are one."""

    def __init__(self, most_hits: int) -> None:
        """`most_hits` are kept in all; searches beyond that know only what their result is."""
        self._most_hits = most_hits
        self._hits = 0
        self._searches: dict[Key, _Standing[O]] = {}
        self._spaces: dict[tuple[Place, int], _Space[O]] = {}
        self._holders: dict[tuple[Place, int], set[_Standing[O]]] = {}
        """The searches that keep a row."""
        self._owned: dict[O, list[_Standing[O]]] = {}
        self._sparse: dict[O, list[VectorRead]] = {}

    def __len__(self) -> int:
        return len(self._searches)

    @property
    def hits_kept(self) -> int:
        """How many hits the searches keep together."""
        return self._hits

    # Who searches

    def register(self, owner: O, reads: Iterable[VectorRead], *, late: bool = False, outdated: bool = False) -> None:
        """Sets the searches of an owner, in place of its former ones.

        `late`: commits were published since they ran; then their results still hold, or else are `outdated`.
        """
        former = self._owned.pop(owner, None)
        shared: dict[_Standing[O], None] = {}
        sparse: list[VectorRead] = []
        for read in reads:
            key = read.key
            if key is None:
                sparse.append(read)
                continue
            standing = self._searches.get(key) or self._new(key, read)
            standing.owners.add(owner)
            if standing.lost and not outdated:
                self._start(standing, read, late=late)
            shared[standing] = None
        if former is not None:
            self._leave(owner, [standing for standing in former if standing not in shared])
        if shared:
            self._owned[owner] = list(shared)
        if sparse:
            self._sparse[owner] = sparse
        else:
            self._sparse.pop(owner, None)

    def remove(self, owner: O) -> None:
        """Forgets an owner's searches."""
        self._leave(owner, self._owned.pop(owner, ()))
        self._sparse.pop(owner, None)

    def _leave(self, owner: O, left: Iterable[_Standing[O]]) -> None:
        for standing in left:
            standing.owners.discard(owner)
            if not standing.owners and (key := standing.read.key) in self._searches:
                del self._searches[key]
                self._release(standing, list(standing.scores))
                standing.group.remove(standing)
                if not standing.group.members:
                    space = (standing.read.place, standing.read.query.space)
                    self._spaces[space].remove(standing.group)
                    if not self._spaces[space].groups:
                        del self._spaces[space]

    def _new(self, key: Key, read: VectorRead) -> _Standing[O]:
        query = read.query
        space: _Space[O] = self._spaces.setdefault((read.place, query.space), _Space())
        group = space.groups.get(query.filter) or self._new_group(space, read)
        standing = self._searches[key] = _Standing(read, group)
        group.add(standing)
        return standing

    def _new_group(self, space: _Space[O], read: VectorRead) -> _Group[O]:
        assert read.query.vector is not None
        group: _Group[O] = _Group(read.place, read.metric, read.query.filter, len(read.query.vector))
        space.add(group)
        return group

    def _start(self, standing: _Standing[O], read: VectorRead, *, late: bool) -> None:
        """Starts from what a run found. Of a late one only the result itself is known to hold still."""
        found, complete = read.found, read.complete
        limit = read.query.limit
        if late or self._hits + len(found) > self._most_hits:
            found, complete = found[:limit], complete and len(found) < limit
        standing.set(found, complete=complete)
        for _, seq in found:
            self._holders.setdefault((read.place, seq), set()).add(standing)
        self._hits += len(found)
        standing.group.raise_bar(standing)

    def _release(self, standing: _Standing[O], seqs: Iterable[int]) -> None:
        for seq in seqs:
            place = (standing.read.place, seq)
            holders = self._holders[place]
            holders.discard(standing)
            if not holders:
                del self._holders[place]
            self._hits -= 1

    # What is found

    def found(self, place: Place, query: VectorQuery) -> tuple[list[tuple[float, int]], bool] | None:
        """The hits that a search keeps at the published timestamp, and whether they are all; None where it is not
        known well enough."""
        if query.sparse is not None or query.vector is None:
            return None
        standing = self._searches.get((place, query.space, query.vector.tobytes(), query.filter, query.limit))
        if standing is None or standing.lost:
            return None
        return [(-negative, seq) for negative, seq in standing.ranking], standing.complete

    def publish(self, changes: Sequence[VectorChange]) -> set[O]:
        """Takes over what a group of commits changes, in their order; the owners whose results are others now."""
        owners = self._sparse_concerned(changes) if self._sparse else set[O]()
        if not self._searches:
            return owners
        before: dict[_Standing[O], list[Ranked]] = {}
        latest = {(change.place, change.seq): change for change in changes}
        arriving: dict[tuple[Place, int], list[VectorChange]] = defaultdict(list)
        for known, change in latest.items():
            for standing in self._holders.pop(known, ()):
                before.setdefault(standing, standing.ranking[: standing.limit])
                standing.drop(change.seq)
                self._hits -= 1
            if change.vector is not None:
                arriving[change.place, change.space].append(change)
        for key, some in arriving.items():
            if key in self._spaces:
                self._arrive(self._spaces[key], some, before)
        for standing, top in before.items():
            most = standing.limit * (KEPT if self._hits <= self._most_hits else 1)
            self._release(standing, standing.settle(most))
            standing.group.raise_bar(standing)
            if standing.lost or standing.ranking[: standing.limit] != top:
                owners |= standing.owners
        return owners

    def _sparse_concerned(self, changes: Iterable[VectorChange]) -> set[O]:
        by_space: dict[tuple[Place, int], list[VectorChange]] = defaultdict(list)
        for change in changes:
            by_space[change.place, change.space].append(change)
        return {
            owner
            for owner, reads in self._sparse.items()
            if any(read.concerned(by_space.get((read.place, read.query.space), ())) for read in reads)
        }

    def _arrive(
        self, space: _Space[O], changes: Sequence[VectorChange], before: dict[_Standing[O], list[Ranked]]
    ) -> None:
        passing = space.passing(changes)
        if not passing:
            return
        rows = np.stack([_dense(change) for change in changes])
        scaled, lengths = units(rows)
        for group, numbers in passing.items():
            columns = np.array(numbers, dtype=np.intp)
            for standing, some in group.candidates((scaled[columns], lengths[columns])):
                vector = standing.read.query.vector
                assert vector is not None
                chosen = columns[some]
                exact = scores(group.metric, rows[chosen], vector)
                for number, score in zip(map(int, chosen), map(float, exact), strict=True):
                    seq = changes[number].seq
                    if standing.knows(score, seq):
                        if standing not in before:
                            before[standing] = standing.ranking[: standing.limit]
                        standing.add(score, seq)
                        self._holders.setdefault((group.place, seq), set()).add(standing)
                        self._hits += 1
