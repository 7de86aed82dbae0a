from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.search.hybrid import DENSE_WEIGHT, RRF_RANK, fuse

DENSE = [("a", 0.9), ("b", 0.7), ("c", 0.5)]
TEXT = [("c", 12.0), ("d", 6.0), ("a", 2.0)]

ranked = st.dictionaries(st.integers(0, 20), st.floats(0, 50), max_size=12).map(
    lambda scores: sorted(scores.items(), key=lambda hit: -hit[1])
)


def test_scores_are_normalised_and_weighted() -> None:
    assert fuse(DENSE, TEXT, weight=0.75) == [
        ("a", pytest.approx(0.75)),
        ("b", pytest.approx(0.375)),
        ("c", pytest.approx(0.25)),
        ("d", pytest.approx(0.1)),
    ]


def test_the_weight_decides_between_the_lists() -> None:
    assert [key for key, _ in fuse(DENSE, TEXT, weight=0.0)][:2] == ["c", "d"]
    assert [key for key, _ in fuse(DENSE, TEXT, weight=1.0)][:2] == ["a", "b"]


def test_one_empty_list_leaves_the_order_of_the_other() -> None:
    assert [key for key, _ in fuse([], TEXT)] == ["c", "d", "a"]
    assert [key for key, _ in fuse(DENSE, [])] == ["a", "b", "c"]
    assert fuse([], []) == []


def test_a_single_hit_gets_its_whole_share() -> None:
    assert fuse([("a", 0.2)], []) == [("a", DENSE_WEIGHT)]


def test_equal_scores_keep_their_order() -> None:
    assert [key for key, _ in fuse([("x", 1.0), ("y", 1.0)], [("z", 3.0)], weight=0.5)] == ["x", "y", "z"]


def test_limit_cuts_after_fusing() -> None:
    assert [key for key, _ in fuse(DENSE, TEXT, weight=0.5, limit=2)] == ["a", "c"]


def test_reciprocal_ranks_look_at_ranks_alone() -> None:
    near, far = fuse([("a", 0.9), ("b", 0.1)], [], method="rrf"), fuse([("a", 0.9), ("b", 0.899)], [], method="rrf")
    assert near == far
    assert near[1][1] == pytest.approx(DENSE_WEIGHT * (RRF_RANK + 1) / (RRF_RANK + 2))


@pytest.mark.parametrize("weight", [-0.1, 1.1, float("nan")])
def test_a_weight_that_is_no_share_is_refused(weight: float) -> None:
    with pytest.raises(ValueError, match="0 to 1"):
        fuse(DENSE, TEXT, weight=weight)


@given(ranked, ranked, st.floats(0, 1), st.sampled_from(["minmax", "rrf"]))
def test_every_hit_is_there_once_best_first_within_0_and_1(dense, text, weight, method) -> None:
    fused = fuse(dense, text, weight=weight, method=method)
    scores = [score for _, score in fused]
    assert {key for key, _ in fused} == {key for key, _ in [*dense, *text]}
    assert len(fused) == len(dict(fused))
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 + 1e-9 for score in scores)
