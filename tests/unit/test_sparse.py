from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.errors import InvalidValue
from reflow.limits import DEFAULT
from reflow.search import postings
from reflow.search.postings import Postings
from reflow.search.sparse import Sparse, checked_sparse

# --- One vector -----------------------------------------------------------------------------------------------------


def test_indices_are_put_in_order() -> None:
    found = checked_sparse([7, 0, 2**32 - 1], [1, 0.5, -2.0])
    assert found.indices.tolist() == [0, 7, 2**32 - 1]
    assert found.values.tolist() == [0.5, 1.0, -2.0]
    assert (found.indices.dtype, found.values.dtype) == (np.uint32, np.float32)
    assert len(found) == 3


def test_equal_vectors_are_equal() -> None:
    one, other = checked_sparse([1, 2], [3, 4]), checked_sparse(np.array([2, 1]), np.array([4.0, 3.0]))
    assert one == other
    assert hash(one) == hash(other)
    assert one != checked_sparse([1, 2], [3, 5])
    assert one != checked_sparse([1, 3], [3, 4])
    assert one != "another class"
    assert checked_sparse([1.0, 2.0], (3, 4)) == one


TOO_MANY = DEFAULT.sparse_values + 1
BAD: list[tuple[Any, Any, str]] = [
    ([1, 2], [1.0], "indices and values must have the same length, got 2 and 1"),
    ([], [], "must contain at least one value"),
    ([1, 2, 1], [1, 2, 3], "indices must be unique, got 1 more than once"),
    ([-1], [1.0], "indices must be within 0 and 4294967295"),
    ([2**32], [1.0], "indices must be within 0 and 4294967295"),
    ([2**70], [1.0], "indices must be a list of numbers"),
    ([1.5], [1.0], "indices must be whole numbers"),
    ([float("nan")], [1.0], "indices must be whole numbers"),
    ([True], [1.0], "indices must be numbers, got a boolean"),
    (["1"], [1.0], "indices must be a list of numbers"),
    ([[1]], [1.0], "indices must be a list of numbers"),
    ([[1], [1, 2]], [1.0], "indices must be a list of numbers"),
    (None, [1.0], "indices must be a list of numbers"),
    (5, [1.0], "indices must be a list of numbers"),
    ([1], [None], "values must be a list of numbers"),
    ([1], ["x"], "values must be a list of numbers"),
    ([1], [False], "values must be numbers, got a boolean"),
    ([1], [float("nan")], "values must be finite"),
    ([1], [float("inf")], "values must be finite"),
    ([1], [1e300], "values must be finite"),
    (range(TOO_MANY), range(TOO_MANY), f"at most 2048 values (limits.sparse_values), got {TOO_MANY}"),
]


@pytest.mark.parametrize(
    ("indices", "values", "message"), BAD, ids=[f"{message}-{n}" for n, (*_, message) in enumerate(BAD)]
)
def test_bad_sparse_vectors_are_told_what_is_wrong(indices: Any, values: Any, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        checked_sparse(indices, values)
    assert "Sparse vector " in str(caught.value)
    assert message in str(caught.value)


def test_the_bound_itself_is_allowed() -> None:
    assert len(checked_sparse(range(DEFAULT.sparse_values), range(DEFAULT.sparse_values))) == DEFAULT.sparse_values


# --- Many of them ---------------------------------------------------------------------------------------------------

Row = Sparse | None


def vector(random: np.random.Generator, dims: int, most: int) -> Sparse:
    count = int(random.integers(1, most + 1))
    return checked_sparse(random.choice(dims, count, replace=False), random.normal(size=count))


def some_rows(random: np.random.Generator, count: int, dims: int = 40, most: int = 6) -> list[Row]:
    return [None if random.random() < 0.2 else vector(random, dims, most) for _ in range(count)]


def by_hand(row: Row, query: Sparse) -> tuple[float, bool]:
    """The product of two vectors in the order of dimensions, and whether they share one."""
    if row is None:
        return 0.0, False
    weights = dict(zip(query.indices.tolist(), query.values.tolist(), strict=True))
    total, shared = 0.0, False
    for index, value in zip(row.indices.tolist(), row.values.tolist(), strict=True):
        if index in weights:
            total, shared = total + value * weights[index], True
    return total, shared


def check(found: Postings, rows: list[Row], query: Sparse) -> None:
    assert len(found) == len(rows)
    expected = [by_hand(row, query) for row in rows]
    third = len(rows) // 3
    for part in (slice(None), slice(third, 2 * third + 1), slice(third, third), slice(5, 2)):
        products, sharing = found.scores(query, part)
        assert (products.dtype, sharing.dtype) == (np.float64, np.bool_)
        assert products.tolist() == [product for product, _ in expected[part]]
        assert sharing.tolist() == [shared for _, shared in expected[part]]
    assert [found.sparse(row) for row in range(len(rows))] == rows


def loaded(found: Postings) -> Postings:
    header, arrays = found.dump()
    for array in arrays:
        array.flags.writeable = False
    return Postings.load(header, arrays)


STEPS = st.lists(st.sampled_from(["append", "append", "none", "truncate", "take", "merge", "reload"]), max_size=8)


@pytest.mark.parametrize(("run", "direct"), [(1 << 16, 1 << 13), (1, 0), (9, 4)])
@given(STEPS, st.integers(0, 2**32 - 1))
@settings(deadline=None)
def test_scores_are_those_made_by_hand(run: int, direct: int, steps: list[str], seed: int) -> None:
    random = np.random.default_rng(seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(postings, "_RUN", run)
        patch.setattr(postings, "_DIRECT", direct)
        found, rows = Postings(), list[Row]()
        for step in ["append", *steps]:
            match step:
                case "append":
                    more = some_rows(random, int(random.integers(8)))
                    found.append_many(more)
                    rows = rows + more
                case "none":
                    found.append_many([None] * 3)
                    rows = [*rows, None, None, None]
                case "truncate":
                    size = int(random.integers(len(rows) + 1))
                    found.truncate(size)
                    rows = rows[:size]
                case "take":
                    chosen = random.permutation(len(rows))[: int(random.integers(len(rows) + 1))]
                    found, rows = found.take(chosen), [rows[row] for row in chosen]
                case "merge":
                    more = some_rows(random, 5)
                    other = Postings()
                    other.append_many(more)
                    order = random.permutation(len(rows) + 5)
                    found = Postings.merged([found, Postings(), other], order)
                    rows = [(rows + more)[row] for row in order]
                case _:
                    found = loaded(found)
        check(found, rows, vector(random, 40, 40))
        check(found, rows, checked_sparse([10**9], [1.0]))


def test_large_numbers_of_rows_are_scored_exactly() -> None:
    random = np.random.default_rng(1)
    rows = some_rows(random, 6000, dims=500, most=40)
    found = Postings()
    for start in range(0, len(rows), 100):
        found.append_many(rows[start : start + 100])
    assert len(found.dump()[1]) > 0
    query = vector(random, 500, 60)
    check(found, rows, query)
    check(loaded(found), rows, query)
    order = random.permutation(len(rows))
    check(found.take(order), [rows[row] for row in order], query)


def test_rows_without_vectors_take_no_room() -> None:
    found = Postings()
    found.append_many([None] * 1000)
    assert found.dump()[1] == []
    assert len(loaded(found)) == 1000
    assert found.scores(checked_sparse([1], [1.0]))[1].sum() == 0
    assert found.sparse(7) is None


def test_loaded_arrays_are_not_written_to() -> None:
    random = np.random.default_rng(2)
    rows = some_rows(random, 30)
    found = Postings()
    found.append_many(rows)
    header, arrays = found.dump()
    before = [array.copy() for array in arrays]
    again = Postings.load(header, arrays)
    again.append_many(rows)
    again.truncate(20)
    again.append_many(rows)
    again.truncate(45)
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    check(again, (rows[:20] + rows)[:45], vector(random, 40, 20))


def test_rows_that_are_there_may_be_scored_while_rows_are_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postings, "_RUN", 300)
    monkeypatch.setattr(postings, "_DIRECT", 50)
    random = np.random.default_rng(3)
    rows = some_rows(random, 400)
    found = Postings()
    found.append_many(rows[:200])
    query = vector(random, 40, 20)
    expected = [by_hand(row, query)[0] for row in rows[:200]]
    wrong: list[str] = []
    stop = threading.Event()

    def look() -> None:
        try:
            while not stop.is_set():
                if found.scores(query, slice(0, 200))[0].tolist() != expected:
                    wrong.append("scores")
                if found.sparse(150) != rows[150]:
                    wrong.append("a row")
        except Exception as error:
            wrong.append(repr(error))

    thread = threading.Thread(target=look)
    thread.start()
    for _ in range(300):
        found.append_many(rows)
    found.truncate(300)
    found.append_many(rows)
    stop.set()
    thread.join()
    assert not wrong, wrong[:3]
