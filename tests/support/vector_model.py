"""The vectors of a place as a plain list of versions: what the vector store has to agree with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from reflow.search.metric import Metric, Place, Vector, VectorChange, VectorQuery, scores
from reflow.search.sparse import Sparse

NEVER = 2**63 - 1


@dataclass(slots=True)
class Version:
    """One version of a row."""

    change: VectorChange
    born: int
    died: int = NEVER


class Model:
    """Compares every row with every query."""

    def __init__(self, place: Place, metric: Metric) -> None:
        self.place = place
        self.metric: Metric = metric
        self.versions: list[Version] = []

    def apply(self, ts: int, changes: Sequence[VectorChange]) -> None:
        for change in changes:
            for version in self.versions:
                same = (version.change.space, version.change.seq) == (change.space, change.seq)
                if same and version.died == NEVER:
                    version.died = ts
            if change.vector is not None or change.sparse is not None:
                self.versions.append(Version(change, ts))

    def drop_space(self, space: int, ts: int) -> None:
        for version in self.versions:
            if version.change.space == space and version.died == NEVER:
                version.died = ts

    def rollback(self, ts: int) -> None:
        self.versions = [version for version in self.versions if version.born <= ts]
        for version in self.versions:
            if version.died != NEVER and version.died > ts:
                version.died = NEVER

    def seen(self, space: int, ts: int) -> list[VectorChange]:
        """The rows of a namespace at `ts`."""
        return [v.change for v in self.versions if v.change.space == space and v.born <= ts < v.died]

    def search(self, query: VectorQuery, ts: int) -> list[tuple[float, int]]:
        """What `VectorStore.search` has to return."""
        found: list[tuple[float, int]] = []
        for row in self.seen(query.space, ts):
            if query.filter is not None and not query.filter.matches(row.metadata):
                continue
            shared, product = product_of(row.sparse, query.sparse)
            if query.vector is not None:
                if row.vector is not None:
                    found.append((score(self.metric, row.vector, query.vector) + product, row.seq))
            elif shared:
                found.append((product, row.seq))
        return sorted(found, key=lambda hit: (-hit[0], hit[1]))[: query.limit]


def score(metric: Metric, row: Vector, query: Vector) -> float:
    return float(scores(metric, row[np.newaxis], query)[0])


def product_of(one: Sparse | None, other: Sparse | None) -> tuple[bool, float]:
    """Whether two sparse vectors share a dimension, and their product."""
    if one is None or other is None:
        return False, 0.0
    ours: Mapping[Any, Any] = dict(zip(one.indices.tolist(), one.values.tolist(), strict=True))
    theirs: Mapping[Any, Any] = dict(zip(other.indices.tolist(), other.values.tolist(), strict=True))
    shared = sorted(ours.keys() & theirs.keys())
    return bool(shared), sum(ours[index] * theirs[index] for index in shared)
