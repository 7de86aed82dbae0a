"""LlamaIndex's filters, in the language of vector indexes and with what is judged beside it, mean what they say."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from reflow.adapters.llamaindex import node_record
from reflow.adapters.llamaindex_filters import wanted
from reflow.search.filters import parse

KEYS = ("a", "b")
TEXTS = st.sampled_from(["", "x", "xy", "Xy", "z"])
NUMBERS = st.sampled_from([0, 1, 1.5, -2, 10])
VALUES = st.one_of(
    TEXTS,
    NUMBERS,
    st.booleans(),
    st.none(),
    st.lists(TEXTS, max_size=3),
    st.lists(NUMBERS, max_size=3),
    st.just({"nested": "x"}),
)
METADATA = st.dictionaries(st.sampled_from(KEYS), VALUES)

SIGNS: dict[FilterOperator, Callable[[Any, Any], bool]] = {
    FilterOperator.GT: operator.gt,
    FilterOperator.GTE: operator.ge,
    FilterOperator.LT: operator.lt,
    FilterOperator.LTE: operator.le,
}
SETS = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)
ONE = (FilterOperator.EQ, FilterOperator.NE, FilterOperator.CONTAINS, *SIGNS)


def operands(name: FilterOperator) -> st.SearchStrategy[Any]:
    if name in SETS:
        floats = NUMBERS.map(float)
        return st.lists(TEXTS, max_size=3) | st.lists(floats, max_size=3)
    if name in (FilterOperator.EQ, FilterOperator.NE):
        return TEXTS | NUMBERS | st.lists(TEXTS, max_size=3)
    return TEXTS | NUMBERS if name in ONE else TEXTS


CONDITIONS = st.sampled_from(list(FilterOperator)).flatmap(
    lambda name: st.builds(MetadataFilter, key=st.sampled_from(KEYS), operator=st.just(name), value=operands(name))
)


def groups(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(MetadataFilters, filters=st.lists(parts, max_size=3), condition=st.sampled_from(FilterCondition))


FILTERS = groups(st.recursive(CONDITIONS, groups, max_leaves=6))


def same(one: Any, other: Any) -> bool:
    return isinstance(one, bool) == isinstance(other, bool) and one == other


def is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def expected(given: MetadataFilter | MetadataFilters, metadata: dict[str, Any]) -> bool:
    """What the filters mean, in the plainest words."""
    if isinstance(given, MetadataFilters):
        parts = [expected(part, metadata) for part in given.filters]
        if not parts:
            return True
        match given.condition:
            case FilterCondition.NOT:
                return not any(parts)
            case FilterCondition.OR:
                return any(parts)
            case _:
                return all(parts)
    found, value = metadata.get(given.key), given.value
    match given.operator:
        case FilterOperator.NE:
            return not expected(MetadataFilter(key=given.key, value=value), metadata)
        case FilterOperator.NIN:
            return not expected(MetadataFilter(key=given.key, value=value, operator=FilterOperator.IN), metadata)
        case FilterOperator.IS_EMPTY:
            return found is None or found == "" or found == []
        case _:
            return found is not None and holds(given.operator, found, value)


def holds(name: FilterOperator, found: Any, value: Any) -> bool:
    items: list[Any] = found if isinstance(found, list) else [found]
    # Equality and IN see lists of texts, not those of numbers; CONTAINS, ANY and ALL see both.
    seen = items if not isinstance(found, list) or all(isinstance(item, str) for item in items) else []
    match name:
        case FilterOperator.EQ:
            return found == value if isinstance(value, list) else any(same(item, value) for item in seen)
        case FilterOperator.IN:
            return any(same(item, one) for item in seen for one in value)
        case FilterOperator.CONTAINS:
            return any(same(item, value) for item in items)
        case FilterOperator.ANY:
            return any(same(item, one) for item in items for one in value)
        case FilterOperator.ALL:
            return all(any(same(item, one) for item in items) for one in value)
        case FilterOperator.TEXT_MATCH:
            return isinstance(found, str) and value in found
        case FilterOperator.TEXT_MATCH_INSENSITIVE:
            return isinstance(found, str) and value.lower() in found.lower()
        case _:
            comparable = (is_number(found) and is_number(value)) or (isinstance(found, str) and isinstance(value, str))
            return comparable and SIGNS[name](found, value)


@given(FILTERS, METADATA)
@example(MetadataFilters(filters=[MetadataFilter(key="a", value=[], operator=FilterOperator.ALL)]), {"a": []})
@example(MetadataFilters(filters=[MetadataFilter(key="a", value=1, operator=FilterOperator.NE)]), {"a": [1]})
def test_filters_mean_what_they_say(filters: MetadataFilters, metadata: dict[str, Any]):
    stored = node_record(TextNode(text="t", metadata=metadata, embedding=[1.0]))["metadata"]
    asked = wanted(filters)
    narrowed = None if asked.filter is None else parse(asked.filter)
    passes = (narrowed is None or narrowed.matches(stored)) and (
        asked.check is None or asked.check(stored, {**stored, **metadata})
    )
    assert passes == expected(filters, metadata)
