"""How well a ranking finds what was expected: recall@k, reciprocal rank, nDCG@k. Nothing here reads or writes.

An expectation is met by the first row that has what it asks for. As each counts once, a ranking can't be made better by
more rows of the same source. Relevance is 0 or 1, gains are discounted by log2(rank + 1) (Järvelin and Kekäläinen,
"Cumulated gain-based evaluation of IR techniques", 2002).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import log2
from typing import Protocol

import reflow as rf
from reflow.errors import ApplicationError

CUTOFFS = (1, 3, 5, 10)
"""Lengths of the ranking that are looked at."""


class Expected(rf.Object, frozen=True):
    """What a question should find: a source by its `key`, a chunk with a `text`, or both in one chunk.

    Texts are compared without regard to case and to white space.
    """

    key: str | None = rf.missing()
    text: str | None = rf.missing()


class Retrieved(Protocol):
    """A row of a ranking."""

    @property
    def source_key(self) -> str: ...
    @property
    def text(self) -> str: ...


class Cut(rf.Object, rename="camel"):
    """The first `k` rows: the part of the expectations that they meet, whether they meet any (of several questions:
    the part of them), and the normalised discounted gain. All are 0 to 1."""

    k: int
    recall: float
    hit: float
    ndcg: float


class Score(rf.Object, rename="camel"):
    """One ranking. `ranks` has for each expectation the row that meets it first, from 1; None: no row does."""

    ranks: list[int | None]
    rank: int | None
    """Of the first row that meets any."""
    reciprocal_rank: float
    at: list[Cut]


class Average(rf.Object, rename="camel"):
    """The means over `questions`; `mrr` is the mean reciprocal rank."""

    questions: int
    mrr: float
    at: list[Cut]


def checked_cutoffs(given: Sequence[int] | None, most: int) -> tuple[int, ...]:
    """The cutoffs in order. Raises ApplicationError for what can't be one."""
    cutoffs = tuple(sorted(set(CUTOFFS if given is None else given)))
    if not cutoffs or cutoffs[0] < 1 or cutoffs[-1] > most:
        raise ApplicationError(f"cutoffs are numbers of results, 1 to {most}, not {list(given or ())}")
    return cutoffs


def score(rows: Sequence[Retrieved], expected: Sequence[Expected], cutoffs: Sequence[int] = CUTOFFS) -> Score:
    """What a ranking is worth. `expected` may not be empty."""
    texts = [_plain(row.text) for row in rows]
    ranks = [_rank(rows, texts, one) for one in expected]
    met = [rank for rank in ranks if rank is not None]
    first = min(met, default=None)
    at: list[Cut] = []
    for k in cutoffs:
        within = [rank for rank in met if rank <= k]
        gain = sum(1 / log2(rank + 1) for rank in within)
        ideal = sum(1 / log2(rank + 1) for rank in range(1, min(k, len(expected)) + 1))
        # One row may meet several expectations, which is more than an ideal ranking of one row each.
        at.append(Cut(k=k, recall=len(within) / len(expected), hit=float(bool(within)), ndcg=min(1.0, gain / ideal)))
    return Score(ranks=ranks, rank=first, reciprocal_rank=0.0 if first is None else 1 / first, at=at)


def average(scores: Iterable[Score], cutoffs: Sequence[int] = CUTOFFS) -> Average:
    """The means of several scores that were made with the same cutoffs; 0 of none."""
    every = list(scores)
    count = len(every) or 1
    at = [
        Cut(
            k=k,
            recall=sum(one.at[place].recall for one in every) / count,
            hit=sum(one.at[place].hit for one in every) / count,
            ndcg=sum(one.at[place].ndcg for one in every) / count,
        )
        for place, k in enumerate(cutoffs)
    ]
    return Average(questions=len(every), mrr=sum(one.reciprocal_rank for one in every) / count, at=at)


def _rank(rows: Sequence[Retrieved], texts: Sequence[str], expected: Expected) -> int | None:
    wanted = None if expected.text is None else _plain(expected.text)
    for rank, (row, text) in enumerate(zip(rows, texts, strict=True), 1):
        if expected.key in (None, row.source_key) and (wanted is None or wanted in text):
            return rank
    return None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
