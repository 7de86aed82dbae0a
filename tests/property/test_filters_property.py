"""Filters against the plainest reading of the language that one can write down."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reflow.search.filters import parse

FIELDS = st.sampled_from(["a", "b", "c"])
NUMBERS = st.sampled_from([0, 1, 1.0, 2, -0.0, 0.5, -1.5, 2**53, 2**53 + 1]) | st.integers(-3, 3)
TEXTS = st.sampled_from(["", "a", "b", "1", "true", "null", "\x00", "é"])
SINGLES = st.one_of(NUMBERS, TEXTS, st.booleans())
VALUES = st.one_of(SINGLES, st.lists(TEXTS, max_size=3))
METADATA = st.dictionaries(FIELDS, VALUES, max_size=3)

OPERATIONS = st.one_of(
    st.tuples(st.sampled_from(["$eq", "$ne"]), SINGLES),
    st.tuples(st.sampled_from(["$gt", "$gte", "$lt", "$lte"]), NUMBERS),
    st.tuples(st.sampled_from(["$in", "$nin"]), st.lists(NUMBERS, max_size=3) | st.lists(TEXTS, max_size=3)),
    st.tuples(st.just("$exists"), st.booleans()),
)
ENTRIES = SINGLES | st.lists(OPERATIONS, min_size=1, max_size=2).map(dict)
LEAVES = st.dictionaries(FIELDS, ENTRIES, min_size=1, max_size=2)
FILTERS: st.SearchStrategy[dict[str, Any]] = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.dictionaries(st.sampled_from(["$and", "$or"]), st.lists(inner, min_size=1, max_size=3), min_size=1),
        st.dictionaries(st.just("$not"), inner, min_size=1),
        st.tuples(inner, inner).map(lambda both: {**both[0], **both[1]}),
    ),
    max_leaves=6,
)


def same(one: Any, other: Any) -> bool:
    """Whether two values are of one class and equal."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, str) or isinstance(other, str):
        return isinstance(one, str) and isinstance(other, str) and one == other
    return float(one) == float(other)


def operation(name: str, operand: Any, field: str, metadata: dict[str, Any]) -> bool:
    if name == "$exists":
        return (field in metadata) == operand
    if field not in metadata:
        return False
    value = metadata[field]
    if name in ("$gt", "$gte", "$lt", "$lte"):
        if isinstance(value, bool | str | list):
            return False
        stored, bound = float(value), float(operand)
        return {"$gt": stored > bound, "$gte": stored >= bound, "$lt": stored < bound, "$lte": stored <= bound}[name]
    elements = value if isinstance(value, list) else [value]
    operands = operand if isinstance(operand, list) else [operand]
    hit = any(same(element, wanted) for element in elements for wanted in operands)
    return hit if name in ("$eq", "$in") else not hit


def oracle(condition: dict[str, Any], metadata: dict[str, Any]) -> bool:
    """Whether the metadata passes, by the words of the language."""
    results: list[bool] = []
    for name, entry in condition.items():
        if name == "$and":
            results.append(all(oracle(part, metadata) for part in entry))
        elif name == "$or":
            results.append(any(oracle(part, metadata) for part in entry))
        elif name == "$not":
            results.append(not oracle(entry, metadata))
        elif isinstance(entry, dict):
            results += [operation(operator, operand, name, metadata) for operator, operand in entry.items()]
        else:
            results.append(operation("$eq", entry, name, metadata))
    return all(results)


@given(FILTERS, st.lists(METADATA, max_size=8))
def test_a_filter_passes_what_its_words_say(condition: dict[str, Any], records: list[dict[str, Any]]) -> None:
    found = parse(condition)
    assert found is not None
    for metadata in records:
        assert found.matches(metadata) == oracle(condition, metadata), metadata


@given(FILTERS, st.randoms(use_true_random=False))
def test_the_order_of_the_words_does_not_change_the_key(condition: dict[str, Any], random: Any) -> None:
    def shuffled(value: Any) -> Any:
        if isinstance(value, dict):
            entries = [(name, shuffled(entry)) for name, entry in value.items()]
            random.shuffle(entries)
            return dict(entries)
        if isinstance(value, list):
            items = [shuffled(item) for item in value]
            random.shuffle(items)
            return items
        return value

    assert parse(shuffled(condition)) == parse(condition)


@given(FILTERS)
def test_a_filter_survives_json_and_names_its_fields(condition: dict[str, Any]) -> None:
    found = parse(condition)
    assert found == parse(json.loads(json.dumps(condition)))
    assert found is not None

    def named(part: Any) -> set[str]:
        names: set[str] = set()
        for name, entry in part.items():
            if name in ("$and", "$or"):
                names = names.union(*map(named, entry))
            else:
                names |= named(entry) if name == "$not" else {name}
        return names

    assert found.fields == named(condition)
