"""What the right answer is: brute force in double precision, kept beside the data."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from .cases import Case
from .data import Dataset

DEEPEST = 100
"""Hits per query that are kept."""
_SCAN_ROWS = 20_000
_TIE = 1e-9
"""Scores that are nearer than this count as equal: the sums of two programs differ in their last bits."""


class Truth:
    """The scores that the best hits of each query have, in one case."""

    def __init__(self, data: Dataset, case: Case) -> None:
        self._data = data
        self._passing = case.passing(data)
        self.available = int(self._passing.sum())
        """Rows that pass the filter."""
        kept = data.folder / f"truth-{case.name}.npy"
        if not kept.exists():
            np.save(kept, _best_scores(data, self._passing))
        self._best: NDArray[np.float64] = np.load(kept)

    def recall(self, query: int, hits: Sequence[int], k: int) -> float:
        """The share of the true `k` best (fewer where fewer rows pass) that is among `hits`, row numbers."""
        wanted = min(k, self.available)
        if not wanted:
            return 1.0
        rows = np.unique(np.array(hits[:k], dtype=np.intp))
        rows = rows[self._passing[rows]]
        scores = self._data.vectors[rows].astype(np.float64) @ self._data.queries[query].astype(np.float64)
        return int((scores >= self._best[query, wanted - 1] - _TIE).sum()) / wanted


def _best_scores(data: Dataset, passing: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Shape (queries, DEEPEST), best first; minus infinity where there are no more rows."""
    queries = data.queries.astype(np.float64)
    best = np.full((len(queries), DEEPEST), -np.inf)
    rows = np.flatnonzero(passing)
    for start in range(0, len(rows), _SCAN_ROWS):
        part = data.vectors[rows[start : start + _SCAN_ROWS]].astype(np.float64)
        both = np.concatenate([best, queries @ part.T], axis=1)
        best = np.partition(both, both.shape[1] - DEEPEST, axis=1)[:, -DEEPEST:]
    return -np.sort(-best, axis=1)
