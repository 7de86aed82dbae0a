"""One search over the views of a namespace: exact, or among candidates that are found otherwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reflow.search.approximate import Approximation
from reflow.search.metric import Metric, Vector, VectorQuery
from reflow.search.scan import Part, Question, best, best_added, foremost
from reflow.search.segment import Base, View

Hits = list[tuple[float, int]]

_FETCHED = 4
_FETCHED_MORE = 80
"""Candidates that are asked for per hit, and in any case: the order in which they are found is a rough one."""
_FETCHED_AT_MOST = 8192
_COMPARED_MORE = 8
"""Candidates beyond the hits, and a fifth of them, that are compared exactly: those whose codes of one byte per number
come nearest."""
_QUICK_HITS = 100
_QUICK_NUMBERS = 1 << 20
"""A million rows of a thousand numbers: among so many cells, whose number grows like the root of that of the rows, a
search takes less than a millisecond."""
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
    found = _among_candidates(metric, views, query, known)
    return searched(metric, views, query) if found is None else found


def approximated_at_once(
    metric: Metric, views: Sequence[View], query: VectorQuery, known: Approximation, others: int
) -> Hits | None:
    """The same where it takes less than a millisecond; the way to a thread and back takes half as long. Else None.

    Not so quick are filters, which are computed for all rows, rows that are not known yet, more than `others` rows
    outside of the base, cells that are just being changed, and too few candidates.
    """
    if query.filter is not None or query.limit > _QUICK_HITS or not known.idle:
        return None
    for view in views:
        if not isinstance(view.segment, Base):
            others -= len(view)
        elif view.some_later(known.covered) or len(view) ** 0.5 * view.segment.dims > _QUICK_NUMBERS:
            return None
    return None if others < 0 else _among_candidates(metric, views, query, known)


def _among_candidates(metric: Metric, views: Sequence[View], query: VectorQuery, known: Approximation) -> Hits | None:
    """The best rows of those that are worth comparing; None where only comparing all of them will do."""
    assert query.vector is not None
    parts: list[Part] = []
    for view in views:
        if isinstance(view.segment, Base):
            chosen = _chosen(view, query, query.vector, known)
            if chosen is None:
                return None
            parts.append(view.some(chosen))
        else:
            parts.append(view.part(query.filter, None, dense=True))
    return best(metric, query.vector, parts, query.limit)


def _chosen(view: View, query: VectorQuery, vector: Vector, known: Approximation) -> NDArray[np.intp] | None:
    """The rows of a base that are worth comparing; None where only comparing all of them will do."""
    wanted = None if query.filter is None else view.mask(query.filter)
    count = len(view) if wanted is None else int(np.count_nonzero(wanted))
    share = count / max(1, len(view))
    fetched = int((_FETCHED * query.limit + _FETCHED_MORE) / max(share, _SELECTIVE))
    if share < _SELECTIVE or fetched > min(_FETCHED_AT_MOST, len(view)):
        return None
    # Read first: rows that are learnt during the search count as unknown, and are compared once more.
    covered = known.covered
    rows = view.rows_with(np.sort(known.search(vector, fetched, share)))
    later = np.flatnonzero(view.arrays.born[view.rows] > covered) if view.some_later(covered) else rows[:0]
    rows, later = (
        found[view.there(found, dense=True)] if wanted is None else found[wanted[found]] for found in (rows, later)
    )
    if len(rows) + len(later) < min(query.limit, count):
        return None
    rows = foremost(
        Question(view.segment.metric, vector), view.some(rows), query.limit + query.limit // 5 + _COMPARED_MORE
    )
    return np.union1d(rows, later) if len(later) else rows
