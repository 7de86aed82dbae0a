from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from typing import Any

import numpy as np
import pytest

from reflow.errors import InvalidFilter, InvalidValue
from reflow.limits import DEFAULT
from reflow.search import filters
from reflow.search.filters import Filter, both, check_metadata, equals, parse


def passes(condition: dict[str, Any], metadata: dict[str, Any], **options: Any) -> bool:
    found = parse(condition, **options)
    assert found is not None
    return found.matches(metadata)


class Kind(StrEnum):
    NOTE = "note"


# --- What each operator means ---------------------------------------------------------------------------------------

NOTE = {"kind": "note", "year": 2020, "rank": 1.5, "pinned": True, "tags": ["a", "b"], "none": []}

YES = [
    {"kind": "note"},
    {"kind": {"$eq": "note"}},
    {"kind": Kind.NOTE},
    {"year": 2020},
    {"year": 2020.0},
    {"pinned": True},
    {"kind": {"$ne": "chat"}},
    {"kind": {"$ne": 5}},
    {"year": {"$ne": "2020"}},
    {"pinned": {"$ne": 1}},
    {"year": {"$gt": 2019}},
    {"year": {"$gte": 2020}},
    {"year": {"$lt": 2020.5}},
    {"year": {"$lte": 2020}},
    {"year": {"$gte": 2020, "$lt": 2021}},
    {"kind": {"$in": ["chat", "note"]}},
    {"year": {"$in": [1, 2020]}},
    {"kind": {"$nin": ["chat", "mail"]}},
    {"kind": {"$nin": []}},
    {"tags": "a"},
    {"tags": {"$eq": "b"}},
    {"tags": {"$ne": "c"}},
    {"tags": {"$in": ["c", "b"]}},
    {"tags": {"$nin": ["c", "d"]}},
    {"none": {"$ne": "a"}},
    {"none": {"$nin": ["a"]}},
    {"none": {"$exists": True}},
    {"kind": {"$exists": True}},
    {"missing": {"$exists": False}},
    {"kind": "note", "year": 2020},
    {"$and": [{"kind": "note"}, {"year": 2020}]},
    {"$or": [{"kind": "chat"}, {"year": 2020}]},
    {"$or": [{"missing": 1}, {"kind": "note"}]},
    {"$and": [{"$or": [{"kind": "chat"}, {"tags": "a"}]}, {"$and": [{"pinned": True}]}], "rank": {"$gt": 1}},
    {"$not": {"kind": "chat"}},
    {"$not": {"missing": 1}},
]

NO = [
    {"kind": "Note"},
    {"kind": "note "},
    {"year": "2020"},
    {"pinned": 1},
    {"pinned": "true"},
    {"year": True},
    {"kind": {"$ne": "note"}},
    {"year": {"$ne": 2020.0}},
    {"year": {"$gt": 2020}},
    {"year": {"$lt": 2020}},
    {"kind": {"$gt": 0}},
    {"kind": {"$lt": 0}},
    {"pinned": {"$gte": 0}},
    {"tags": {"$gt": 0}},
    {"year": {"$gte": 2020, "$lt": 2020}},
    {"kind": {"$in": ["chat"]}},
    {"kind": {"$in": []}},
    {"pinned": {"$in": [1]}},
    {"kind": {"$nin": ["note"]}},
    {"tags": "c"},
    {"tags": {"$ne": "a"}},
    {"tags": {"$in": ["c"]}},
    {"tags": {"$nin": ["c", "a"]}},
    {"none": "a"},
    {"none": {"$in": ["a"]}},
    {"missing": 1},
    {"missing": {"$gt": 0}},
    {"missing": {"$lt": 0}},
    {"missing": {"$in": ["a"]}},
    {"missing": {"$exists": True}},
    {"kind": {"$exists": False}},
    {"kind": "note", "year": 2021},
    {"$and": [{"kind": "note"}, {"year": 2021}]},
    {"$or": [{"kind": "chat"}, {"year": 2021}]},
    {"$not": {"kind": "note"}},
]


@pytest.mark.parametrize("condition", YES, ids=str)
def test_passes(condition: dict[str, Any]) -> None:
    assert passes(condition, NOTE)


@pytest.mark.parametrize("condition", NO, ids=str)
def test_does_not_pass(condition: dict[str, Any]) -> None:
    assert not passes(condition, NOTE)


@pytest.mark.parametrize("condition", [{"x": {"$ne": 1}}, {"x": {"$nin": [1]}}], ids=str)
def test_negations_of_a_missing_field_are_one_switch(
    condition: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not passes(condition, {})
    strict = parse(condition)
    monkeypatch.setattr(filters, "NEGATIONS_MATCH_MISSING", True)
    assert passes(condition, {})
    assert parse(condition) != strict


def test_numbers_are_compared_as_float64() -> None:
    assert passes({"n": 2**53}, {"n": 2**53 + 1})
    assert passes({"n": -0.0}, {"n": 0.0})
    assert passes({"n": np.float64(0.5)}, {"n": 0.5})
    assert not passes({"n": {"$gt": 0}}, {"n": float("nan")})
    assert passes({"n": {"$ne": 0}}, {"n": float("nan")})


def test_null_is_a_value_of_documents_only() -> None:
    with pytest.raises(InvalidFilter, match=r"the \$eq operator must be followed by a string, boolean or a number"):
        parse({"x": None})
    assert passes({"x": None}, {"x": None}, nulls=True)
    assert not passes({"x": None}, {}, nulls=True)
    assert passes({"x": {"$ne": None}}, {"x": "a"}, nulls=True)
    assert passes({"x": {"$exists": True}}, {"x": None}, nulls=True)
    assert passes({"x": {"$in": [None, 1, "a", True]}}, {"x": None}, nulls=True)


def test_equalities_take_a_value_or_several() -> None:
    found = equals({"source": "a", "state": {"new", "read"}, "page": [1, None], "flag": (True,)})
    assert found is not None
    assert found.fields == {"source", "state", "page", "flag"}
    assert found.matches({"source": "a", "state": "read", "page": None, "flag": True})
    assert not found.matches({"source": "a", "state": "read", "page": None, "flag": 1})
    assert not found.matches({"source": "a", "state": "gone", "page": 1, "flag": True})
    assert equals({}) is None
    nothing = equals({"source": []})
    assert nothing is not None
    assert not nothing.matches({"source": "a"})
    with pytest.raises(InvalidFilter, match=r"got \{.*\} instead"):
        equals({"source": {"$eq": 1}})


def test_both() -> None:
    one, other = parse({"a": 1}), parse({"b": 2})
    assert both(one, other) == parse({"b": 2, "a": 1})
    assert both(one, None) is one
    assert both(None, other) is other
    assert both(None, None) is None
    assert both(one, one) == one


# --- Filters as keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": {"$eq": 1.0}}),
        ({"a": "x"}, {"a": {"$in": ["x"]}}),
        ({"a": {"$ne": "x"}}, {"a": {"$nin": ["x", "x"]}}),
        ({"a": 1, "b": 2}, {"$and": [{"b": 2}, {"a": 1}]}),
        ({"a": {"$gt": 1, "$lt": 2}}, {"a": {"$lt": 2, "$gt": 1}}),
        ({"$or": [{"a": 1}, {"b": 2}, {"a": 1}]}, {"$or": [{"b": 2}, {"$or": [{"a": 1}]}]}),
        ({"$and": [{"a": 1}]}, {"$or": [{"a": 1}]}),
    ],
    ids=str,
)
def test_filters_that_mean_the_same_have_one_key(one: dict[str, Any], other: dict[str, Any]) -> None:
    left, right = parse(one), parse(other)
    assert left == right
    assert hash(left) == hash(right)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ({"a": 1}, {"a": "1"}),
        ({"a": 1}, {"a": True}),
        ({"a": True}, {"a": "true"}),
        ({"a": 1}, {"b": 1}),
        ({"a": {"$gt": 1}}, {"a": {"$gte": 1}}),
        ({"a": {"$exists": True}}, {"a": {"$exists": False}}),
        ({"$and": [{"a": 1}, {"b": 1}]}, {"$or": [{"a": 1}, {"b": 1}]}),
        ({"$not": {"a": 1}}, {"a": {"$ne": 1}}),
    ],
    ids=str,
)
def test_filters_that_differ_have_keys_that_differ(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert parse(one) != parse(other)


def test_a_filter_tells_its_fields_and_does_not_change() -> None:
    found = parse({"a": 1, "$or": [{"b": {"$gt": 1}}, {"$not": {"c": {"$exists": True}}}]})
    assert isinstance(found, Filter)
    assert found.fields == {"a", "b", "c"}
    with pytest.raises(AttributeError, match="can't be changed"):
        found.key = b""
    assert "AnyOf(field='a'" in repr(found)
    assert found != "another class"


def test_an_empty_filter_is_none() -> None:
    assert parse({}) is None


# --- Filters that can't be read -------------------------------------------------------------------------------------

DEEP: dict[str, Any] = {"a": 1}
for _ in range(DEFAULT.filter_nesting):
    DEEP = {"$and": [DEEP]}

BAD: list[tuple[Any, str]] = [
    ([], "a filter must be an object, got [] instead"),
    ("a", 'a filter must be an object, got "a" instead'),
    ({1: 2}, "the names in a filter are texts, got 1"),
    ({"$gt": 1}, "only logical operators such as $or and $and are allowed at top level, got $gt instead"),
    ({"$nor": []}, "only logical operators such as $or and $and are allowed at top level, got $nor instead"),
    ({"$and": []}, "the $and operator must be followed by a non-empty list of filters, got [] instead"),
    ({"$or": {"a": 1}}, 'the $or operator must be followed by a non-empty list of filters, got {"a": 1} instead'),
    ({"$or": [{}]}, "a filter inside $and, $or or $not must not be empty"),
    ({"$not": {}}, "a filter inside $and, $or or $not must not be empty"),
    ({"$not": 5}, "a filter must be an object, got 5 instead"),
    ({"$and": [1]}, "a filter must be an object, got 1 instead"),
    ({"a": {}}, "the field 'a' must be followed by a value or by operators"),
    ({"a": {"b": 1}}, "\"b\" is not a valid operator for the field 'a'"),
    ({"a": {"$regex": "x"}}, "\"$regex\" is not a valid operator for the field 'a'"),
    ({"a": {1: "x"}}, "1 is not a valid operator for the field 'a'"),
    ({"a": {"$and": [{"$gt": 1}]}}, "\"$and\" is not a valid operator for the field 'a'"),
    ({"a": ["x"]}, 'the $eq operator must be followed by a string, boolean or a number, got ["x"] instead'),
    ({"a": {"$ne": None}}, "the $ne operator must be followed by a string, boolean or a number, got null instead"),
    ({"a": {"$gt": "1"}}, 'the $gt operator must be followed by a number, got "1" instead'),
    ({"a": {"$lte": True}}, "the $lte operator must be followed by a number, got true instead"),
    (
        {"a": {"$in": "x"}},
        'the $in operator must be followed by a list of strings or a list of numbers, got "x" instead',
    ),
    (
        {"a": {"$nin": ["x", 1]}},
        'the $nin operator must be followed by a list of strings or a list of numbers, got ["x", 1] instead',
    ),
    ({"a": {"$in": [True]}}, "the $in operator must be followed by a list of strings or a list of numbers, got [true]"),
    ({"a": {"$in": [["x"]]}}, "the $in operator must be followed by a list of strings or a list of numbers"),
    ({"a": {"$exists": 1}}, "the $exists operator must be followed by a boolean, got 1 instead"),
    ({"a": float("nan")}, "can't ask for NaN"),
    ({"a": 10**400}, "a number must fit a float64"),
    ({"a": "\ud800"}, "lone surrogates"),
    ({"\ud800": 1}, "lone surrogates"),
    ({"a": {"$in": ["x"] * (DEFAULT.filter_operands + 1)}}, "takes at most 10000 values (limits.filter_operands)"),
    ({"$or": [{"a": 1}] * (DEFAULT.filter_conditions + 1)}, "may have 1024 conditions (limits.filter_conditions)"),
    (DEEP, "may be nested 32 deep (limits.filter_nesting)"),
]


@pytest.mark.parametrize(("condition", "message"), BAD, ids=[message for _, message in BAD])
def test_bad_filters_are_told_what_is_wrong(condition: Any, message: str) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse(condition)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 400


def test_the_bounds_themselves_are_allowed() -> None:
    assert passes({"a": {"$in": list(range(DEFAULT.filter_operands))}}, {"a": 5})
    assert passes({"$or": [{"a": n} for n in range(DEFAULT.filter_conditions)]}, {"a": 5})
    assert passes(DEEP["$and"][0], {"a": 1})


def test_only_declared_fields_may_be_named() -> None:
    assert passes({"a": 1, "$or": [{"b": 2}]}, {"a": 1, "b": 2}, fields=("a", "b"))
    for condition in ({"c": 1}, {"$or": [{"a": 1}, {"c": {"$exists": True}}]}):
        with pytest.raises(InvalidFilter, match=r"can't be filtered by 'c'; the fields to filter by are \['a', 'b'\]"):
            parse(condition, fields=("a", "b"))


def test_metadata_of_other_classes_can_not_be_judged() -> None:
    with pytest.raises(InvalidValue, match="got bytes"):
        passes({"a": 1}, {"a": b"x"})
    with pytest.raises(InvalidValue, match="got dict"):
        passes({"a": {"$ne": 1}}, {"a": [{}]})


# --- Metadata -------------------------------------------------------------------------------------------------------


def test_metadata_is_kept_as_given_without_nulls() -> None:
    given = {"s": "x", "n": 1, "f": 1.5, "b": False, "l": ["a", "ä"], "e": [], "null": None, "": "empty name"}
    checked = check_metadata(given)
    assert checked == {"s": "x", "n": 1, "f": 1.5, "b": False, "l": ["a", "ä"], "e": [], "": "empty name"}
    assert checked is not given
    assert type(checked["n"]) is int
    assert type(checked["b"]) is bool
    assert check_metadata({"t": ("a",), "k": Kind.NOTE, "l": [Kind.NOTE]}) == {"t": ["a"], "k": "note", "l": ["note"]}
    assert type(check_metadata({"k": Kind.NOTE})["k"]) is str


def test_large_integers_become_what_they_are_compared_as() -> None:
    assert check_metadata({"n": 2**53 + 1}) == {"n": float(2**53)}
    assert type(check_metadata({"n": 2**60})["n"]) is float


BAD_METADATA: list[tuple[Any, str]] = [
    ([], "metadata must be an object, got []"),
    ({1: "x"}, "metadata names are texts, got 1"),
    ({"$a": "x"}, "metadata names must not start with '$', got '$a'"),
    (
        {"a": {"b": 1}},
        "Metadata value must be a string, number, boolean or list of strings, got '{\"b\": 1}' for field 'a'",
    ),
    ({"a": [1]}, "Metadata value must be a string, number, boolean or list of strings, got '[1]' for field 'a'"),
    ({"a": ["x", None]}, "got '[\"x\", null]' for field 'a'"),
    ({"a": float("inf")}, "got 'Infinity' for field 'a'"),
    ({"a": float("nan")}, "got 'NaN' for field 'a'"),
    ({"a": b"x"}, "for field 'a'"),
    ({"a": 10**400}, "a number must fit a float64"),
    ({"a": "\ud800"}, "lone surrogates"),
    ({"a": "x" * 40_960}, "Metadata size is 40968 bytes, which exceeds the limit of 40960 bytes"),
    ({"a": "ä" * 20_480}, "Metadata size is 40968 bytes"),
]


@pytest.mark.parametrize(("metadata", "message"), BAD_METADATA, ids=[message for _, message in BAD_METADATA])
def test_bad_metadata_is_told_what_is_wrong(metadata: Any, message: str) -> None:
    with pytest.raises(InvalidValue) as caught:
        check_metadata(metadata)
    assert message in str(caught.value)
    assert not isinstance(caught.value, InvalidFilter)


def test_metadata_may_have_the_size_of_the_bound() -> None:
    assert check_metadata({"a": "x" * (DEFAULT.metadata_bytes - 8)})


# --- What nobody should send ----------------------------------------------------------------------------------------


def nested(depth: int) -> Any:
    found: Any = "x"
    for _ in range(depth):
        found = [found]
    return found


def in_a_circle() -> Any:
    found: list[Any] = []
    found.append(found)
    return found


HOSTILE: dict[str, Any] = {
    "deep": nested(20_000),
    "circle": in_a_circle(),
    "long": [0] * 100_000,
    "huge": {"$gt": [10**5000]},
    "huge operator": {10**5000: 1},
    "surrogate": {"$gt": "\ud800"},
    "surrogate operator": {"$\ud800": 1},
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_refusal_is_short_and_can_be_sent_whatever_was_given(name: str) -> None:
    refusals: list[Callable[[], object]] = [lambda: parse({"field": HOSTILE[name]}), lambda: parse(HOSTILE[name])]
    if not isinstance(HOSTILE[name], dict):
        refusals.append(lambda: check_metadata({"field": HOSTILE[name]}))
    for refused in refusals:
        with pytest.raises((InvalidFilter, InvalidValue)) as caught:
            refused()
        assert len(str(caught.value).encode()) < 500


def test_a_refusal_is_short_for_any_name() -> None:
    names: list[Any] = ["$" + "x" * 100_000, "$\ud800", 10**5000, "x" * 100_000]
    for name in names:
        with pytest.raises(InvalidFilter) as caught:
            parse({name: {}})
        assert len(str(caught.value).encode()) < 500
        with pytest.raises(InvalidValue) as refused:
            check_metadata({name: [1]})
        assert len(str(refused.value).encode()) < 500
