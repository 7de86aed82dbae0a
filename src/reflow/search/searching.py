"""One search over the views of a namespace: exact, or among candidates that are found otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reflow.search.approximate import Approximation
from reflow.search.metric import Metric, Vector, VectorQuery
from reflow.search.scan import Part, best, best_added
from reflow.search.segment import Base, View

Hits = list[tuple[float, int]]

_FETCHED = 4
_FETCHED_MORE = 120
"""Candidates that are asked for per hit, and in any case: the order in which they are found is a rough one."""
_FETCHED_AT_MOST = 8192
_SELECTIVE = 0.3
"""A filter that passes a smaller share of the rows is quicker to follow by the exact scan."""


def searched(metric: Metric, views: Sequence[View], query: VectorQuery) -> Hits:
    """The best rows. See `VectorStore.search`."""
    dense = query.vector is not None
    parts = [view.part(query.filter, query.sparse, dense=dense) for view in views]
    if query.vector is not None:
        return best(metric, query.vector, parts, query.limit)
    return best_added(parts, query.limit)


def approximated(metric: Metric, views: Sequence[View], query: VectorQuery, known: Approximation) -> Hits:
    """Like `searched` for a dense vector, save that rows of the base are compared only where they are candidates.

    All that is not known yet is compared too. Where there are too few, or the filter is selective, all rows are.
    """
    assert query.vector is not None
    parts: list[Part] = []
    for view in views:
        if isinstance(view.segment, Base):
            chosen = _chosen(view, query, query.vector, known)
            if chosen is None:
                return searched(metric, views, query)
            parts.append(view.some(chosen))
        else:
            parts.append(view.part(query.filter, None, dense=True))
    return best(metric, query.vector, parts, query.limit)


def _chosen(view: View, query: VectorQuery, vector: Vector, known: Approximation) -> NDArray[np.intp] | None:
    """The rows of a base that are worth comparing; None where only comparing all of them will do."""
    wanted: NDArray[np.bool_] | None = None
    count = len(view)
    if query.filter is not None:
        wanted = view.mask(query.filter)
        count = int(np.count_nonzero(wanted))
    share = count / max(1, len(view))
    if share < _SELECTIVE:
        return None
    fetched = int((_FETCHED * query.limit + _FETCHED_MORE) / share)
    if fetched > min(_FETCHED_AT_MOST, len(view)):
        return None
    # Read first: rows that are learnt during the search count as unknown, and are compared once more.
    covered = known.covered
    found = np.unique(known.search(vector, fetched, share))
    # Of a document's versions the first and the last: another one is a candidate lost, not a wrong answer.
    seqs = view.arrays.seqs[view.rows]
    sides = (np.searchsorted(seqs, found), np.searchsorted(seqs, found, side="right") - 1)
    rows = np.unique(np.concatenate([side[(side >= 0) & (side < len(seqs))] for side in sides]))
    rows = rows[np.isin(seqs[rows], found)]
    if view.some_later(covered):
        unknown = np.flatnonzero(view.arrays.born[view.rows] > covered)
        rows = np.union1d(rows, unknown)
    rows = rows[view.there(rows, dense=True)] if wanted is None else rows[wanted[rows]]
    return None if len(rows) < min(query.limit, count) else rows
