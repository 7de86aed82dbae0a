from __future__ import annotations

import enum
from itertools import pairwise

import msgspec
import pytest

from reflow.errors import InvalidValue
from reflow.keys import MISSING, encode_part, prefix_end
from reflow.values import Int64

NAN = float("nan")
INF = float("inf")

ASCENDING = [
    MISSING,
    None,
    Int64(-(2**63)),
    Int64(-1),
    Int64(0),
    Int64(2**63 - 1),
    -INF,
    -1e308,
    -(2**53),
    -1.5,
    -1,
    -5e-324,
    0,
    5e-324,
    0.5,
    1,
    1.5,
    2**53,
    1e308,
    INF,
    NAN,
    False,
    True,
    "",
    "\x00",
    "\x00\x00",
    "\x00\x01",
    "\x01",
    "\x01\x00",
    "\x02",
    "A",
    "a",
    "a\x00",
    "a\x00b",
    "aa",
    "b",
    "é",
    "\uffff",
    "\U0001f600",  # above U+FFFF by its UTF-8, below by UTF-16
    b"",
    b"\x00",
    b"\x00\xff",
    b"\x01",
    b"\xff",
    b"\xff\x00",
    [],
    [None],
    [1],
    [1, None],
    [1, 2],
    [1, [2]],
    [[]],
    [{}],
    {},
    {"": None},
    {"a": None},
    {"a": 1},
    {"a": 1, "b": None},
    {"a": 2},
    {"aa": 1},
    {"b": None},
]


def test_the_order_of_all_types() -> None:
    for lower, upper in pairwise(ASCENDING):
        assert encode_part(lower) < encode_part(upper), (lower, upper)


@pytest.mark.parametrize(
    ("one", "other"),
    [(1, 1.0), (0, -0.0), (0.0, -0.0), (NAN, -NAN), ([1], (1.0,)), ({"a": 1, "b": 2}, {"b": 2, "a": 1})],
)
def test_equal_values_have_one_key(one: object, other: object) -> None:
    assert encode_part(one) == encode_part(other)


def test_numbers_that_python_calls_equal_but_convex_does_not_have_different_keys() -> None:
    assert len({encode_part(value) for value in (1, True, Int64(1), "1")}) == 4


def test_no_part_is_a_prefix_of_another() -> None:
    parts = [encode_part(value) for value in ASCENDING]
    for part in parts:
        assert [other for other in parts if other.startswith(part)] == [part]


@pytest.mark.parametrize("value", ASCENDING, ids=repr)
def test_a_part_begins_with_a_tag_between_the_bounds(value: object) -> None:
    assert 0x01 <= encode_part(value)[0] <= 0xFE


def test_prefix_end_is_above_all_keys_with_the_prefix_and_below_the_next() -> None:
    prefix = encode_part("a")
    for value in ASCENDING:
        assert prefix <= prefix + encode_part(value) < prefix_end(prefix)
    assert prefix_end(prefix) < encode_part("a\x00")
    assert prefix_end(encode_part(1)) < encode_part(1.0000000000000002)
    assert encode_part({"z": "z"}) < prefix_end(b"")


def test_an_unset_field_is_missing() -> None:
    assert encode_part(msgspec.UNSET) == encode_part(MISSING)


class Colour(enum.Enum):
    RED = "red"


class Field(str, enum.Enum):  # noqa: UP042 - a StrEnum formats as its value, this one does not
    X = "x"


class Point(msgspec.Struct):
    x: int
    y: int | msgspec.UnsetType = msgspec.UNSET


def test_other_classes_have_the_keys_of_what_is_stored() -> None:
    assert encode_part(Colour.RED) == encode_part("red")
    assert encode_part(Field.X) == encode_part("x")
    assert encode_part({Field.X: 1}) == encode_part({"x": 1})
    assert encode_part(Point(1)) == encode_part({"x": 1})
    assert encode_part([Point(1, 2)]) == encode_part([{"x": 1, "y": 2}])


@pytest.mark.parametrize("value", [2**53 + 1, -(2**53) - 1, "\ud800", {1, 2}, object(), [object()], {1: 2}])
def test_what_is_no_value_has_no_key(value: object) -> None:
    with pytest.raises(InvalidValue):
        encode_part(value)
