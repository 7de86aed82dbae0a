"""One ranking out of two: vector hits and text hits fused into a hybrid search.

The default is a convex combination of min-max normalised scores (Bruch, Gai and Ingber, "An Analysis of Fusion
Functions for Hybrid Retrieval", 2023), which keeps how far hits are apart. Reciprocal rank fusion (Cormack, Clarke and
Buettcher, 2009) looks at ranks alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence
from typing import TypeVar

from reflow.hits import DENSE_WEIGHT, Method

Key = TypeVar("Key", bound=Hashable)

RRF_RANK = 60
"""The constant of reciprocal rank fusion: how little the first ranks stand out."""


def fuse(
    dense: Sequence[tuple[Key, float]],
    text: Sequence[tuple[Key, float]],
    *,
    weight: float = DENSE_WEIGHT,
    limit: int | None = None,
    method: Method = "minmax",
) -> list[tuple[Key, float]]:
    """Fuses two lists of (id, score), each best first, into one; a higher score is better, the best possible is 1.

    `weight` (0 to 1) is the share of `dense`; the rest is `text`'s. A hit that one list lacks gets nothing from it, so
    both lists should be longer than `limit`. With "minmax" the best hit of a list gives its whole share and the worst
    one nothing; a list of equal scores gives its whole share to each. Ties keep the order of `dense`, then `text`.

    Raises ValueError for a weight outside of 0 to 1.
    """
    if not 0 <= weight <= 1:
        raise ValueError(f"weight is the share of the vector hits, 0 to 1; got {weight}")
    scored = _normalised if method == "minmax" else _reciprocal_ranks
    shares = ((weight, scored(dense)), (1 - weight, scored(text)))
    fused: dict[Key, float] = {}
    for share, scores in shares:
        for key, score in scores.items():
            fused[key] = fused.get(key, 0.0) + share * score
    ranked = sorted(fused.items(), key=lambda hit: -hit[1])
    return ranked if limit is None else ranked[:limit]


def _normalised(hits: Iterable[tuple[Key, float]]) -> Mapping[Key, float]:
    """Scores moved to 0..1."""
    scores = dict(hits)
    if not scores:
        return scores
    low, high = min(scores.values()), max(scores.values())
    if low == high:
        return dict.fromkeys(scores, 1.0)
    return {key: (score - low) / (high - low) for key, score in scores.items()}


def _reciprocal_ranks(hits: Iterable[tuple[Key, float]]) -> Mapping[Key, float]:
    """1 for the first rank, slowly falling."""
    return {key: (RRF_RANK + 1) / (RRF_RANK + rank) for rank, (key, _) in enumerate(hits, 1)}
