"""An exact scan of vectors through codes of one byte per number.

A row x is kept as int8 codes c and a scale, so that c * scale is nearly x; the length of the difference is known for
each row, and for the query alike. By Cauchy and Schwarz the score that the codes give is then off by no more than a
bound. Rows whose upper bound stays below the k-th best lower bound can't be among the k best; the others, commonly a
hundred, are compared in double precision by `metric.scores`. So the result equals that of comparing every row.

Scalar quantization with re-ranking: Jegou et al., "Searching in one billion vectors: re-rank with source coding",
2011; here the bound makes it exact.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import simsimd
from numpy.typing import NDArray

from reflow.search.metric import Metric, Vector, scores

Codes = NDArray[np.int8]
"""Shape (rows, dims)."""

Bounds = NDArray[np.float64]
"""Shape (3, rows), with Euclidean distance (4, rows): scale, length of what the codes miss, a bound of the length of
vector and codes, and the squared length. With cosine similarity in units of the vector's length."""

Widest = tuple[float, float]
"""The greatest length of what the codes of a row miss, and the greatest bound of a row's length."""

Wanted = NDArray[np.bool_] | NDArray[np.intp] | None
"""Which rows are wanted: a mask, row numbers, or None for all."""

_TOP = 127
_ROUNDING = 2.0**-21
"""Share of a row's length that covers what float32 rounds off when a row is coded."""
_SLACK = 1e-6
"""Share of a row's length that covers the rounding of its scale and bounds, and of `metric.scores` itself."""
_SQUARE_SLACK = 1e-9
"""The same for the query's squared length."""
_SUM_SLACK = 1e-12

_BLOCK_BYTES = 16 << 20
_BLOCK_ROWS = 32_768
_GROWTH = 8
"""Each block has so many times the rows of the one before, until it has the most."""
_GATHER_BYTES = 1 << 20
_GATHER_SHARE = 8
"""Where less than one row in so many passes, the rows are gathered and not scanned in place."""
_EXACT_BYTES = 1 << 20
_CODED_BYTES = 256 << 10
"""Vectors that are coded at once: what is computed on the way stays near the processor."""
_ONE_THREAD = 8192
"""OpenBLAS wakes threads for a longer product, and that may take a hundred times as long as the product."""
_FIRST_ROWS = 512
_FIRST_SHARE = 4
"""The first block has so many rows, and so many more per row that is looked for."""
_FEW_ROWS = 32
"""So few rows are compared at once, without their codes."""


def bounds_kept(metric: Metric) -> int:
    """How many bounds are kept per row."""
    return 4 if metric == "euclidean" else 3


def coded(metric: Metric, rows: NDArray[np.float32]) -> tuple[Codes, Bounds]:
    """The codes and bounds of vectors, shape (rows, dims)."""
    codes = np.empty(rows.shape, dtype=np.int8)
    bounds = np.zeros((bounds_kept(metric), len(rows)))
    if rows.size:
        step = max(1, _CODED_BYTES // rows[0].nbytes)
        space = _Scratch(min(step, len(rows)), rows.shape[1])
        for start in range(0, len(rows), step):
            part = slice(start, start + step)
            _code(metric, rows[part], codes[part], bounds[:, part], space)
    return codes, bounds


class _Scratch:
    """Memory for what is computed on the way: to ask for it anew for each block would take longer than to compute."""

    def __init__(self, rows: int, dims: int) -> None:
        self.steps = np.empty((rows, dims), dtype=np.float32)
        self.missed = np.empty((rows, dims), dtype=np.float32)
        self._wide = np.empty((rows, dims))

    def lengths(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """The length of each row, in double precision."""
        wide = self._wide[: len(rows)]
        wide[:] = rows
        squares = np.zeros(len(rows))
        for start in range(0, wide.shape[1], _ONE_THREAD):
            part = wide[:, start : start + _ONE_THREAD]
            squares += np.vecdot(part, part)
        return np.sqrt(squares)


def _code(metric: Metric, rows: NDArray[np.float32], codes: Codes, bounds: Bounds, space: _Scratch) -> None:
    steps, missed = space.steps[: len(rows)], space.missed[: len(rows)]
    np.abs(rows, out=steps)
    largest = steps.max(axis=1)
    divisors: NDArray[np.float32] = np.where(largest > 0, largest, 1).astype(np.float32)
    np.divide(rows, divisors[:, np.newaxis], out=steps)
    steps *= np.float32(_TOP)
    np.rint(steps, out=missed)
    codes[:] = missed
    np.subtract(steps, missed, out=missed)
    lengths = space.lengths(steps)
    errors = space.lengths(missed) + _ROUNDING * lengths
    unit = largest.astype(np.float64) / _TOP
    if metric == "cosine":
        unit = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    bounds[0], bounds[1], bounds[2] = unit, unit * errors, unit * (lengths + errors)
    if metric == "euclidean":
        bounds[3] = (unit * lengths) ** 2


class Question:
    """A query as the scan compares it: its codes, and how a row's bounds become those of its score.

    Scores are compared on a scale of their own, `ranked`: in units of the query's length, or without its square.
    """

    def __init__(self, metric: Metric, query: Vector) -> None:
        self.metric: Metric = metric
        self.query = query
        wide = query.astype(np.float64)
        largest = float(np.abs(wide).max())
        steps = wide * (_TOP / largest) if largest > 0 else wide
        rounded = np.rint(steps)
        self.codes = rounded.astype(np.int8)
        length = float(np.sqrt((steps * steps).sum()))
        norm = float(np.sqrt((wide * wide).sum()))
        missed = float(np.sqrt(((steps - rounded) ** 2).sum()))
        self._spread = (missed / length if length > 0 else 0.0) + _SLACK
        self._weight = 2 * norm if metric == "euclidean" else 1.0
        self._scale = self._weight / length if length > 0 else 0.0
        self._square = norm * norm if metric == "euclidean" else 0.0
        self._unit = norm if metric == "dotproduct" and norm > 0 else 1.0

    def bounds(
        self, dots: NDArray[np.float64], bounds: Bounds, added: NDArray[np.float64] | None
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Upper and lower bounds of what rows rank as. `dots` is used up; `added` is part of the rows' scores."""
        dots *= bounds[0]
        dots *= self._scale
        reach = bounds[2] * self._spread
        reach += bounds[1]
        if self.metric == "euclidean":
            dots -= bounds[3]
            reach *= self._weight
            reach += _SLACK * bounds[3]
            reach += _SQUARE_SLACK * self._square
        if added is not None:
            dots += added / self._unit
            reach += np.abs(added) * (_SUM_SLACK / self._unit)
        upper = dots + reach
        dots -= reach
        return upper, dots

    def least(self, floor: float, widest: Widest) -> float:
        """The least product of codes, in units of the row's scale, with which a row can reach a floor. Not with
        Euclidean distance."""
        if self._scale == 0:
            return -np.inf
        return (floor - widest[0] - widest[1] * self._spread) / self._scale

    def near(self, dots: NDArray[np.float64], bounds: Bounds, rows: NDArray[np.intp]) -> NDArray[np.float64]:
        """The middle of the bounds of some rows, `dots` being theirs."""
        dots *= bounds[0].take(rows)
        dots *= self._scale
        return dots - bounds[3].take(rows) if self.metric == "euclidean" else dots

    def ranked(self, exact: NDArray[np.float64]) -> NDArray[np.float64]:
        """Scores on the scale of `bounds`."""
        return exact / self._unit + self._square


@dataclass(frozen=True, slots=True)
class Part:
    """Rows that lie side by side, and which of them are wanted."""

    vectors: NDArray[np.float32]
    codes: Codes
    bounds: Bounds
    seqs: NDArray[np.int64]
    wanted: Wanted
    added: NDArray[np.float64] | None = None
    """By row, what its score has beside the vectors: the product of the sparse ones."""
    widest: Widest | None = None
    """Of these rows, and perhaps of others."""

    @property
    def count(self) -> int:
        """How many rows are wanted."""
        if self.wanted is None:
            return len(self.seqs)
        return int(np.count_nonzero(self.wanted)) if self.wanted.dtype == np.bool_ else len(self.wanted)

    def rows(self) -> NDArray[np.intp]:
        """The wanted rows by number."""
        if self.wanted is None:
            return np.arange(len(self.seqs))
        return np.flatnonzero(self.wanted) if self.wanted.dtype == np.bool_ else cast("NDArray[np.intp]", self.wanted)


class _Near:
    """The rows that may still be among the `limit` best."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lower = np.empty(0)
        self._found: list[tuple[int, NDArray[np.intp], NDArray[np.float64]]] = []
        self.floor = -np.inf
        """The `limit`-th best lower bound so far."""

    def offer(self, part: int, rows: NDArray[np.intp], upper: NDArray[np.float64], lower: NDArray[np.float64]) -> None:
        """Takes rows that reach the floor, and raises it."""
        known = np.concatenate((self._lower, lower))
        if len(known) > self._limit:
            known = np.partition(known, len(known) - self._limit)[-self._limit :]
        self._lower = known
        if len(known) == self._limit:
            self.floor = float(known.min())
        keep = upper >= self.floor
        self._found.append((part, rows[keep], upper[keep]))

    def best(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64]]:
        """Parts, rows and upper bounds of what reaches the floor, the highest bound first."""
        parts = np.concatenate([np.full(len(rows), part) for part, rows, _ in self._found])
        rows = np.concatenate([rows for _, rows, _ in self._found])
        upper = np.concatenate([upper for _, _, upper in self._found])
        keep = np.flatnonzero(upper >= self.floor)
        order = keep[np.argsort(-upper[keep], kind="stable")]
        return parts[order], rows[order], upper[order]


def best(metric: Metric, query: Vector, parts: Sequence[Part], limit: int) -> list[tuple[float, int]]:
    """(score, sequence number) of the `limit` best wanted rows: best first, ties by sequence number.

    May run in a thread: numpy and simsimd let others run meanwhile.
    """
    parts = [part for part in parts if len(part.seqs)]
    total = sum(part.count for part in parts)
    if not total:
        return []
    if total <= max(limit, _FEW_ROWS):
        found = [(place, part.rows()) for place, part in enumerate(parts)]
        exact = np.concatenate([exact_scores(metric, parts[place], rows, query) for place, rows in found])
        seqs = np.concatenate([parts[place].seqs[rows] for place, rows in found])
        return _first(exact, seqs, limit)
    question = Question(metric, query)
    near = _Near(limit)
    for place, part in enumerate(parts):
        for block in _blocks(part, question.codes, _FIRST_ROWS + _FIRST_SHARE * limit):
            rows, upper, lower = _reaching(question, part, block, near.floor)
            if len(rows):
                near.offer(place, rows, upper, lower)
    return _compared(question, parts, near, limit)


def _reaching(
    question: Question, part: Part, block: _Block, floor: float
) -> tuple[NDArray[np.intp], NDArray[np.float64], NDArray[np.float64]]:
    """The wanted rows of a block that may reach the floor, and the bounds of their scores."""
    rows, dots, bounds, added = block
    here: NDArray[np.intp] | None = None
    if part.widest is not None and added is None and floor > -np.inf and question.metric != "euclidean":
        # As if each row were as uncertain as the most uncertain one: that rules out nearly all of them in fewer steps.
        here = _picked(part, rows, dots * bounds[0] >= question.least(floor, part.widest))
        dots, bounds = dots[here], bounds[:, here]
    upper, lower = question.bounds(dots, bounds, added)
    passing = upper >= floor
    close = _picked(part, rows, passing) if here is None else np.flatnonzero(passing)
    numbers = close if here is None else here[close]
    return numbers + rows.start if isinstance(rows, slice) else rows[numbers], upper[close], lower[close]


def _picked(part: Part, rows: slice | NDArray[np.intp], passing: NDArray[np.bool_]) -> NDArray[np.intp]:
    """The wanted rows among those that pass, counted from the first of the block. Gathered rows are all wanted."""
    if isinstance(rows, slice) and part.wanted is not None:
        passing &= cast("NDArray[np.bool_]", part.wanted[rows])
    return np.flatnonzero(passing)


def foremost(question: Question, part: Part, count: int) -> NDArray[np.intp]:
    """Those of the wanted rows, picked by number, whose codes come nearest to the query: about as good as comparing
    them exactly, and much less to read."""
    rows = part.rows()
    if len(rows) <= count:
        return rows
    near = question.near(_dots(question.codes, part.codes.take(rows, axis=0)), part.bounds, rows)
    return rows[np.argpartition(near, len(rows) - count)[-count:]]


_Block = tuple["slice | NDArray[np.intp]", NDArray[np.float64], Bounds, "NDArray[np.float64] | None"]


def _blocks(part: Part, query: Codes, first: int) -> Iterator[_Block]:
    """The products of the query's codes with those of the rows, a block at a time: in place, or gathered.

    The first blocks are small ones: what they find keeps most rows of the others out.
    """
    size, dims = part.codes.shape
    count = part.count
    if count == 0:
        return
    if count * _GATHER_SHARE < size or (part.wanted is not None and part.wanted.dtype != np.bool_):
        numbers = part.rows()
        step = max(_FEW_ROWS, _GATHER_BYTES // dims)
        space = np.empty((min(step, count), dims), dtype=np.int8)
        for start in range(0, count, step):
            rows = numbers[start : start + step]
            codes = part.codes.take(rows, axis=0, out=space[: len(rows)], mode="clip")
            added = None if part.added is None else part.added[rows]
            yield rows, _dots(query, codes), part.bounds[:, rows], added
        return
    step = min(_BLOCK_ROWS, max(_FEW_ROWS, _BLOCK_BYTES // dims))
    end = 0
    while end < size:
        rows = slice(end, min(size, end + min(first, step)))
        end, first = rows.stop, first * _GROWTH
        if part.wanted is not None and not part.wanted[rows].any():
            continue
        added = None if part.added is None else part.added[rows]
        yield rows, _dots(query, part.codes[rows]), part.bounds[:, rows], added


_simsimd_dot = cast("Callable[[Codes, Codes], object]", simsimd.dot)


def _dots(query: Codes, rows: Codes) -> NDArray[np.float64]:
    """The product of the query with each row, computed in int32: no more than 127 * 127 * 20,000."""
    return np.array(_simsimd_dot(query, rows), dtype=np.float64, copy=None).reshape(len(rows))


def _compared(question: Question, parts: Sequence[Part], near: _Near, limit: int) -> list[tuple[float, int]]:
    """The exact order of what is near: first of the most promising, then of those that still may reach them."""
    places, rows, upper = near.best()
    exact = _exact(question, parts, places[:limit], rows[:limit])
    if len(rows) > limit:
        floor = question.ranked(exact).min()
        more = limit + int(np.count_nonzero(upper[limit:] >= floor))
        exact = np.concatenate((exact, _exact(question, parts, places[limit:more], rows[limit:more])))
        places, rows = places[:more], rows[:more]
    seqs = np.empty(len(rows), dtype=np.int64)
    for place, part in enumerate(parts):
        here = places == place
        seqs[here] = part.seqs[rows[here]]
    return _first(exact, seqs, limit)


def _exact(
    question: Question, parts: Sequence[Part], places: NDArray[np.intp], rows: NDArray[np.intp]
) -> NDArray[np.float64]:
    exact = np.empty(len(rows))
    for place, part in enumerate(parts):
        here = np.flatnonzero(places == place)
        if len(here):
            exact[here] = exact_scores(question.metric, part, rows[here], question.query)
    return exact


def exact_scores(metric: Metric, part: Part, rows: NDArray[np.intp], query: Vector) -> NDArray[np.float64]:
    """The scores of some rows as `metric.scores` has them, with what is added."""
    step = max(_FEW_ROWS, _EXACT_BYTES // (8 * max(1, len(query))))
    exact = np.empty(len(rows))
    for start in range(0, len(rows), step):
        some = rows[start : start + step]
        exact[start : start + step] = scores(metric, part.vectors[some], query)
    if part.added is not None:
        exact += part.added[rows]
    return exact


def _first(exact: NDArray[np.float64], seqs: NDArray[np.int64], limit: int) -> list[tuple[float, int]]:
    order = np.lexsort((seqs, -exact))[:limit]
    return list(zip(exact[order].tolist(), seqs[order].tolist(), strict=True))


def best_added(parts: Sequence[Part], limit: int) -> list[tuple[float, int]]:
    """Like `best` where the score is only what is added."""
    exact: list[NDArray[np.float64]] = []
    seqs: list[NDArray[np.int64]] = []
    for part in parts:
        if part.added is not None:
            rows = part.rows()
            exact.append(part.added[rows])
            seqs.append(part.seqs[rows])
    return _first(np.concatenate(exact), np.concatenate(seqs), limit) if exact else []
