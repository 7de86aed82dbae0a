"""Masks over columns against each filter's own judgement of each row, whatever happened to the columns before."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.search import dictionary
from reflow.search.columns import Columns
from reflow.search.filters import parse
from tests.property.test_filters_property import FIELDS, FILTERS, METADATA, VALUES

ROWS = METADATA | st.dictionaries(
    FIELDS, VALUES | st.none() | st.lists(st.sampled_from([0, 1.5, True, "a"])), max_size=3
)
SEVERAL = st.lists(ROWS, max_size=12)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("append"), ROWS),
        st.tuples(st.just("append_many"), SEVERAL),
        st.tuples(st.just("skip"), st.integers(1, 40)),
        st.tuples(st.just("truncate"), st.floats(0, 1)),
        st.tuples(st.just("take"), st.randoms(use_true_random=False)),
        st.tuples(st.just("merge"), SEVERAL),
        st.tuples(st.just("reload"), st.none()),
    ),
    min_size=1,
    max_size=8,
)


def exact(value: Any) -> Any:
    """A value with the class that it has in columns, so that 1.0 and True differ."""
    match value:
        case bool() | None | str():
            return type(value), value
        case int() | float():
            return float, float(value)
        case list():
            return list(map(exact, value))
        case _:
            return {name: exact(item) for name, item in value.items()}


def after(found: Columns, model: list[dict[str, Any]], step: tuple[str, Any]) -> tuple[Columns, list[dict[str, Any]]]:
    """The columns and the plain rows after one step."""
    match step:
        case "append", metadata:
            found.append(metadata)
            return found, [*model, metadata]
        case "append_many", rows:
            found.append_many(rows)
            return found, model + rows
        case "skip", count:
            found.append_many([{}] * count)
            return found, model + [{}] * count
        case "truncate", part:
            size = round(part * len(model))
            found.truncate(size)
            return found, model[:size]
        case "take", random:
            rows = random.sample(range(len(model)), random.randrange(len(model) + 1))
            return found.take(np.array(rows, dtype=np.int64)), [model[row] for row in rows]
        case "merge", rows:
            other = Columns()
            other.append_many(rows)
            order = np.arange(len(model) + len(rows))[::-1]
            return Columns.merged([found, other], order), (model + rows)[::-1]
        case _:
            header, arrays = found.dump()
            for array in arrays:
                array.flags.writeable = False
            return Columns.load(header, arrays), model


@pytest.mark.parametrize("recent", [2, 4096])
@given(STEPS, st.lists(FILTERS, min_size=1, max_size=4), st.randoms(use_true_random=False))
@settings(deadline=None)
def test_a_mask_is_what_the_filter_says_of_each_row(
    recent: int, steps: list[tuple[str, Any]], conditions: list[dict[str, Any]], random: Any
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dictionary, "RECENT", recent)
        found, model = Columns(), list[dict[str, Any]]()
        for step in steps:
            found, model = after(found, model, step)
        assert len(found) == len(model)
        assert [exact(found.metadata(row)) for row in range(len(model))] == list(map(exact, model))
        rows = np.array(random.sample(range(len(model)), len(model) // 2), dtype=np.int64)
        start = random.randrange(len(model) + 1)
        for condition in conditions:
            each = parse(condition)
            assert each is not None
            expected = [each.matches(metadata) for metadata in model]
            assert found.mask(each).tolist() == expected
            assert found.mask(each, rows).tolist() == [expected[row] for row in rows]
            assert found.mask(each, slice(start, start + 5)).tolist() == expected[start : start + 5]
