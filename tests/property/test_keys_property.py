from __future__ import annotations

import math
from functools import cmp_to_key
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reflow.keys import MISSING, encode_part, prefix_end
from reflow.values import Int64

TRICKY = st.text(alphabet="\x00\x01\x02ab\xff\uffff\U00010000", max_size=4)
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.integers(-(2**53), 2**53),
    st.floats(),
    st.sampled_from([0.0, -0.0, 0.5, math.inf, -math.inf, math.nan, 2.0**53]),
    st.integers(-(2**63), 2**63 - 1).map(Int64),
    st.integers(-2, 2).map(Int64),
    st.text(max_size=6),
    TRICKY,
    st.binary(max_size=6),
    TRICKY.map(str.encode),
)
NAMES = st.sampled_from(["", "a", "b", "aa", "ab", "Z"])
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=10,
)
PARTS = VALUES | st.just(MISSING)


def rank(value: Any) -> int:
    kinds = [type(MISSING), type(None), Int64, (int, float), bool, str, bytes, list, dict]
    if type(value) is bool:
        return 4
    return next(number for number, kind in enumerate(kinds) if isinstance(value, kind))


def compare(one: Any, other: Any) -> int:
    """Order two values by the rules, without any bytes of keys: negative, zero or positive."""
    kind = rank(one)
    if kind != rank(other):
        return kind - rank(other)
    if kind in (0, 1):
        return 0
    if kind == 3:
        return compare_plain(
            (math.isnan(one), 0 if math.isnan(one) else one), (math.isnan(other), 0 if math.isnan(other) else other)
        )
    if kind == 5:
        return compare_plain(one.encode(), other.encode())
    if kind == 7:
        return compare_all(one, other)
    if kind == 8:
        return compare_all(
            [part for name in sorted(one) for part in (name, one[name])],
            [part for name in sorted(other) for part in (name, other[name])],
        )
    return compare_plain(one, other)


def compare_plain(one: Any, other: Any) -> int:
    return (one > other) - (one < other)


def compare_all(one: list[Any], other: list[Any]) -> int:
    for left, right in zip(one, other, strict=False):
        order = compare(left, right)
        if order:
            return order
    return len(one) - len(other)


@given(PARTS, PARTS)
def test_keys_order_as_the_values_do(one: Any, other: Any) -> None:
    left, right = encode_part(one), encode_part(other)
    assert compare_plain(left, right) == compare_plain(compare(one, other), 0)


@given(st.lists(PARTS, max_size=12))
def test_sorting_by_keys_is_sorting_by_values(values: list[Any]) -> None:
    by_key = sorted(values, key=encode_part)
    by_value = sorted(values, key=cmp_to_key(compare))
    assert [encode_part(value) for value in by_key] == [encode_part(value) for value in by_value]


@given(st.lists(PARTS, min_size=1, max_size=3), st.lists(PARTS, min_size=1, max_size=3))
def test_compound_keys_order_field_by_field(one: list[Any], other: list[Any]) -> None:
    left = b"".join(map(encode_part, one))
    right = b"".join(map(encode_part, other))
    assert compare_plain(left, right) == compare_plain(compare_all(one, other), 0)


@given(PARTS, PARTS)
def test_no_part_is_a_prefix_of_a_different_one(one: Any, other: Any) -> None:
    left, right = encode_part(one), encode_part(other)
    assert left == right or not right.startswith(left)


@given(st.lists(PARTS, max_size=2), st.lists(PARTS, min_size=1, max_size=3))
def test_a_prefix_and_its_end_hold_exactly_the_keys_that_start_with_it(first: list[Any], key: list[Any]) -> None:
    prefix = b"".join(map(encode_part, first))
    whole = b"".join(map(encode_part, key))
    starts = len(first) <= len(key) and all(compare(a, b) == 0 for a, b in zip(first, key, strict=False))
    assert (prefix <= whole < prefix_end(prefix)) == starts
