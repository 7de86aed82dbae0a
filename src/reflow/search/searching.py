"""One search over the views of a namespace: exact, or with a graph that finds most candidates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from reflow.search.graph import Graph
from reflow.search.metric import Metric, VectorQuery
from reflow.search.scan import Part, best, best_added
from reflow.search.segment import Base, View

Hits = list[tuple[float, int]]

_FETCHED = 3
_FETCHED_AT_LEAST = 32
"""Candidates asked of the graph, per hit: its distances are rounded, and some rows are gone."""
_FETCHED_AT_MOST = 4096
_SELECTIVE = 0.3
"""A filter that passes a smaller share of the rows is quicker to follow by the exact scan."""


def searched(metric: Metric, views: Sequence[View], query: VectorQuery) -> Hits:
    """The best rows. See `VectorStore.search`."""
    dense = query.vector is not None
    parts = [view.part(query.filter, query.sparse, dense=dense) for view in views]
    if query.vector is not None:
        return best(metric, query.vector, parts, query.limit)
    return best_added(parts, query.limit)


def approximated(metric: Metric, views: Sequence[View], query: VectorQuery, graph: Graph) -> Hits:
    """Like `searched` for a dense vector, save that the graph chooses which rows of the base are compared.

    All that it does not know yet are compared too. Where it gives too few, or the filter is selective, all are.
    """
    assert query.vector is not None
    parts: list[Part] = []
    for view in views:
        part = view.part(query.filter, None, dense=True)
        if isinstance(view.segment, Base):
            chosen = _chosen(part, view, query, graph)
            if chosen is None:
                return searched(metric, views, query)
            part = Part(part.vectors, part.codes, part.bounds, part.seqs, chosen)
        parts.append(part)
    return best(metric, query.vector, parts, query.limit)


def _chosen(part: Part, view: View, query: VectorQuery, graph: Graph) -> NDArray[np.intp] | None:
    """The rows of a base that are worth comparing; None where only comparing all of them will do."""
    count = part.count
    share = count / max(1, len(part.seqs))
    fetched = int(max(_FETCHED_AT_LEAST, _FETCHED * query.limit) / max(share, 1e-9))
    if query.vector is None or share < _SELECTIVE or fetched > min(_FETCHED_AT_MOST, len(part.seqs)):
        return None
    # Read first: rows that are learnt during the search count as unknown, and are compared once more.
    covered = graph.covered
    found = np.unique(graph.search(query.vector, fetched))
    # Of a document's versions the first and the last: another one is a candidate lost, not a wrong answer.
    sides = (np.searchsorted(part.seqs, found), np.searchsorted(part.seqs, found, side="right") - 1)
    rows = np.unique(np.concatenate([side[(side >= 0) & (side < len(part.seqs))] for side in sides]))
    rows = rows[np.isin(part.seqs[rows], found)]
    if part.wanted is not None:
        wanted = np.zeros(len(part.seqs), dtype=np.bool_)
        wanted[part.rows()] = True
        rows = rows[wanted[rows]]
    if len(rows) < min(query.limit, count):
        return None
    if view.some_later(covered):
        unknown = np.flatnonzero(view.arrays.born[view.rows] > covered)
        rows = np.union1d(rows, np.intersect1d(unknown, part.rows()))
    return rows
