"""The measures of a ranking against a plain reference, and laws that they have to keep."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.errors import ApplicationError
from reflow.rag.measures.metrics import CUTOFFS, Expected, Score, average, checked_cutoffs, score


class Row(NamedTuple):
    source_key: str
    text: str


KEYS = st.sampled_from("abcd")
WORDS = st.sampled_from(["ship", "harbour wall", "Lamp", "rope", "a ship's rope"])
ROWS = st.lists(st.builds(Row, KEYS, WORDS), max_size=12)
EXPECTED = st.lists(
    st.one_of(
        st.builds(Expected, key=KEYS),
        st.builds(Expected, text=WORDS),
        st.builds(Expected, key=KEYS, text=WORDS),
    ),
    min_size=1,
    max_size=4,
)
CUTS = st.sets(st.integers(1, 15), min_size=1).map(lambda found: tuple(sorted(found)))


def meets(row: Row, expected: Expected) -> bool:
    """Whether a row has what is expected, spelled out."""
    if expected.key is not None and expected.key != row.source_key:
        return False
    return expected.text is None or expected.text.lower() in row.text.lower()


def reference(rows: Sequence[Row], expected: Sequence[Expected], k: int) -> tuple[float, float, float]:
    """Recall, hit and nDCG of the first k rows, by the book: walk down the ranking, cross off what is met."""
    open_, met, gain = list(expected), 0, 0.0
    for place, row in enumerate(rows[:k]):
        for one in [one for one in open_ if meets(row, one)]:
            open_.remove(one)
            met += 1
            gain += 1 / math.log(place + 2, 2)
    best = sum(1 / math.log(place + 2, 2) for place in range(min(k, len(expected))))
    return met / len(expected), float(met > 0), min(1.0, gain / best)


@given(ROWS, EXPECTED, CUTS)
def test_measures_are_those_of_a_plain_reference(
    rows: list[Row], expected: list[Expected], cutoffs: tuple[int, ...]
) -> None:
    found = score(rows, expected, cutoffs)
    first = next((n for n, row in enumerate(rows, 1) if any(meets(row, one) for one in expected)), None)
    assert found.rank == first
    assert found.reciprocal_rank == (1 / first if first else 0)
    assert [cut.k for cut in found.at] == list(cutoffs)
    for cut in found.at:
        assert (cut.recall, cut.hit, cut.ndcg) == pytest.approx(reference(rows, expected, cut.k))


@given(ROWS, EXPECTED)
def test_a_longer_look_never_finds_less(rows: list[Row], expected: list[Expected]) -> None:
    cuts = score(rows, expected, range(1, 16)).at
    assert [cut.recall for cut in cuts] == sorted(cut.recall for cut in cuts)
    assert [cut.hit for cut in cuts] == sorted(cut.hit for cut in cuts)
    assert all(0 <= value <= 1 for cut in cuts for value in (cut.recall, cut.hit, cut.ndcg))


@given(ROWS, EXPECTED, st.data())
def test_moving_a_row_that_is_expected_up_is_never_worse(
    rows: list[Row], expected: list[Expected], data: st.DataObject
) -> None:
    good = [place for place, row in enumerate(rows) if any(meets(row, one) for one in expected)]
    if not good:
        return
    place = data.draw(st.sampled_from(good))
    better = [rows[place], *rows[:place], *rows[place + 1 :]]
    before, after = score(rows, expected), score(better, expected)
    assert after.reciprocal_rank == 1 >= before.reciprocal_rank


@given(st.lists(st.tuples(ROWS, EXPECTED), min_size=1, max_size=6))
def test_averages_are_means(questions: list[tuple[list[Row], list[Expected]]]) -> None:
    scores = [score(rows, expected) for rows, expected in questions]
    mean = average(scores)
    assert mean.questions == len(scores)
    assert mean.mrr == pytest.approx(sum(one.reciprocal_rank for one in scores) / len(scores))
    for place, k in enumerate(CUTOFFS):
        columns = zip(*((one.at[place].recall, one.at[place].hit, one.at[place].ndcg) for one in scores), strict=True)
        found = mean.at[place]
        assert found.k == k
        assert (found.recall, found.hit, found.ndcg) == pytest.approx([sum(c) / len(scores) for c in columns])


# --- Known values -------------------------------------------------------------------------------------------------


def measures(found: Score, k: int) -> tuple[float, float, float]:
    cut = next(cut for cut in found.at if cut.k == k)
    return cut.recall, cut.hit, cut.ndcg


def test_known_values() -> None:
    rows = [Row("x", ""), Row("a", ""), Row("a", ""), Row("b", "")]
    found = score(rows, [Expected(key="a"), Expected(key="b"), Expected(key="c")])
    assert found.ranks == [2, 4, None]
    assert (found.rank, found.reciprocal_rank) == (2, 0.5)
    assert measures(found, 1) == (0, 0, 0)
    # Järvelin and Kekäläinen's gain: 1/log2(3) of the first, then 1/log2(5), of an ideal 1 + 1/log2(3) + 1/log2(4).
    ideal = 1 + 0.63093 + 0.5
    assert measures(found, 3) == pytest.approx((1 / 3, 1, 0.63093 / ideal), abs=1e-5)
    assert measures(found, 5) == pytest.approx((2 / 3, 1, (0.63093 + 0.43068) / ideal), abs=1e-5)


def test_a_perfect_ranking_and_an_empty_one() -> None:
    perfect = score([Row("a", ""), Row("b", "")], [Expected(key="b"), Expected(key="a")])
    assert perfect.at[1] == type(perfect.at[1])(k=3, recall=1, hit=1, ndcg=1)
    empty = score([], [Expected(key="a")])
    assert (empty.rank, empty.reciprocal_rank, measures(empty, 10)) == (None, 0, (0, 0, 0))
    assert average([]).questions == 0
    assert average([]).mrr == 0


def test_texts_are_found_across_lines_and_in_any_case() -> None:
    rows = [Row("a", "It Ties\n   a SHIP"), Row("b", "straße")]
    assert score(rows, [Expected(text="ties a ship")]).rank == 1
    assert score(rows, [Expected(text="STRASSE")]).rank == 2
    assert score(rows, [Expected(key="b", text="ship")]).rank is None


@pytest.mark.parametrize("cutoffs", [[], [0], [1, 101], [-3]])
def test_rule_9_cutoffs_that_can_not_be(cutoffs: list[int]) -> None:
    with pytest.raises(ApplicationError, match="1 to 100"):
        checked_cutoffs(cutoffs, 100)


def test_cutoffs_are_put_in_order() -> None:
    assert checked_cutoffs([10, 1, 10], 100) == (1, 10)
    assert checked_cutoffs(None, 100) == CUTOFFS
