"""Ranks of right answers and what they say: R@1, R@10, MRR@10, with bootstrap intervals over the questions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

DEPTH = 10
RESAMPLES = 10_000
LEVEL = 95
"""Per cent of the resamples that an interval holds."""

Gains = NDArray[np.float64]
"""What each question contributes to a figure, 0 to 1."""

FIGURES: dict[str, Callable[[Sequence[int | None]], Gains]] = {
    "R@1": lambda ranks: np.array([rank == 1 for rank in ranks], float),
    "R@10": lambda ranks: np.array([rank is not None for rank in ranks], float),
    "MRR": lambda ranks: np.array([0 if rank is None else 1 / rank for rank in ranks], float),
}


def rank_of(answers: Collection[str], hits: Iterable[str]) -> int | None:
    """The rank, from 1, of the first right thing among the first `DEPTH` different ones."""
    things = list(dict.fromkeys(hits))[:DEPTH]
    return next((rank for rank, thing in enumerate(things, 1) if thing in answers), None)


@dataclass(frozen=True)
class Figure:
    """A mean with the bounds of its interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean:.3f} [{self.low:.3f}, {self.high:.3f}]"


class Bootstrap:
    """Intervals by drawing the questions anew; one drawing serves all figures, so that differences are paired."""

    def __init__(self, questions: int, seed: int = 0) -> None:
        drawn = np.random.default_rng(seed).multinomial(questions, np.full(questions, 1 / questions), RESAMPLES)
        self._weights = drawn / questions

    def figure(self, gains: Gains) -> Figure:
        """The mean of the gains, or of differences of gains."""
        means = self._weights @ gains
        low, high = np.percentile(means, [50 - LEVEL / 2, 50 + LEVEL / 2])
        return Figure(float(gains.mean()), float(low), float(high))
