"""Live searches by sparse vectors, and what a search in a read set is concerned by."""

from __future__ import annotations

from typing import Any

import numpy as np

from reflow.search.filters import parse
from reflow.search.metric import VectorChange, VectorQuery
from reflow.search.sparse import Sparse, checked_sparse
from reflow.search.standing import StandingSearches, VectorRead
from reflow.search.standing_text import Growth, TextChange, TextEntry, TextRead
from reflow.storage.base import TextTerm

PLACE = (5, 1)


def sparse(**values: float) -> Sparse:
    return checked_sparse([ord(name) for name in values], list(values.values()))


def change(seq: int, dense: list[float] | None = None, **options: Any) -> VectorChange:
    vector = None if dense is None else np.array(dense, dtype=np.float32)
    return VectorChange(PLACE, seq, vector, **options)


def read(found: list[tuple[float, int]], *, dense: list[float] | None = None, **options: Any) -> VectorRead:
    vector = None if dense is None else np.array(dense, dtype=np.float32)
    return VectorRead(PLACE, "dotproduct", VectorQuery(2, vector, **options), 1, found, len(found) < 2)


def test_a_sparse_search_is_concerned_by_what_shares_a_dimension_and_scores_enough() -> None:
    full = read([(3.0, 1), (2.0, 2)], sparse=sparse(a=1.0, b=1.0))
    assert full.concerned([change(3, sparse=sparse(a=1.0, b=1.5))])
    assert full.concerned([change(3, sparse=sparse(a=2.0))]), "a tie is in doubt, and looked at"
    assert not full.concerned([change(3, sparse=sparse(a=1.9))])
    assert not full.concerned([change(3, sparse=sparse(c=9.0))])
    assert not full.concerned([change(3)]), "what is removed is read by its number"
    assert not full.concerned([change(3, sparse=sparse(a=9.0), space=1)])
    few = read([(3.0, 1)], sparse=sparse(a=1.0), filter=parse({"tag": "x"}))
    assert few.concerned([change(3, sparse=sparse(a=0.1), metadata={"tag": "x"})])
    assert not few.concerned([change(3, sparse=sparse(a=0.1), metadata={"tag": "y"})])
    assert not few.concerned([change(3, [1.0], metadata={"tag": "x"})]), "it has no sparse vector"


def test_a_search_by_both_vectors_adds_them_up() -> None:
    both = read([(3.0, 1), (2.0, 2)], dense=[1.0, 0.0], sparse=sparse(a=1.0))
    assert both.concerned([change(3, [1.5, 0.0], sparse=sparse(a=1.0))])
    assert not both.concerned([change(3, [0.5, 9.0], sparse=sparse(a=1.0))])
    assert both.concerned([change(3, [2.5, 0.0])])
    assert not both.concerned([change(3, sparse=sparse(a=9.0))]), "a search with a dense vector looks for such"


def test_owners_of_sparse_searches_are_woken_and_forgotten() -> None:
    standing: StandingSearches[str] = StandingSearches(100)
    standing.register("me", [read([(3.0, 1), (2.0, 2)], sparse=sparse(a=1.0))])
    assert standing.publish([change(3, sparse=sparse(a=2.5))]) == {"me"}
    assert standing.publish([change(3, sparse=sparse(a=0.5))]) == set()
    assert standing.found(PLACE, VectorQuery(2, None, sparse=sparse(a=1.0))) is None, "these are scanned"
    standing.register("me", [])
    assert standing.publish([change(3, sparse=sparse(a=2.5))]) == set()


def test_a_text_search_in_a_read_set_is_concerned_by_its_words_and_by_a_drift() -> None:
    def entry(text: str) -> TextEntry:
        return TextEntry(text, None, lambda _: {})

    search = TextRead(9, (TextTerm("red"), TextTerm("hou", prefix=True)), None, 20, 2.0, 0, 0.1)
    assert search.concerned([TextChange(None, entry("red"))])
    assert search.concerned([TextChange(entry("houses"), None)])
    assert search.concerned([TextChange(entry("blue"), entry("red"))])
    assert not search.concerned([TextChange(None, entry("redder ho"))])
    blue = [TextChange(None, entry("blue sky"))]
    assert not search.concerned(2 * blue)
    assert search.concerned(3 * blue), "more than a tenth of 20 documents"
    assert search.concerned([TextChange(entry("blue"), entry("sky " * 7))]), "longer by more than a tenth"
    assert Growth().plus([TextChange(entry("one two"), entry("one")), *blue]) == (1, 1)
