from __future__ import annotations

import base64
import json
import math
import string
import struct
from typing import Any

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reflow.errors import InvalidValue
from reflow.limits import DEFAULT
from reflow.values import Int64, canonical, decode, decoder_for, encode, encode_plain, size_of

EXACT = 2**53
NAMES = st.text(alphabet=string.printable[:95], max_size=8).filter(lambda name: not name.startswith("$"))
TEXTS = st.text(max_size=8) | st.sampled_from(["$", '"$', '{"$float":', "\x00", "\u2028"])
INTS = st.integers(-EXACT, EXACT)
FLOATS = st.floats() | st.sampled_from([0.0, -0.0, 1.0, 1e20, 2.0**53, math.nan, math.inf])
INT64S = st.integers(-(2**63), 2**63 - 1).map(Int64)
SCALARS: st.SearchStrategy[Any] = st.one_of(
    st.none(), st.booleans(), INTS, FLOATS, INT64S, TEXTS, st.binary(max_size=8)
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=5)
        | st.lists(FLOATS | INTS, min_size=14, max_size=18)
        | st.lists(FLOATS | INT64S, min_size=14, max_size=18)
        | st.dictionaries(NAMES, inner, max_size=5)
    ),
    max_leaves=12,
)


def same(one: Any, other: Any) -> bool:
    """Equal in classes and bits too: NaN is NaN, 0.0 is not -0.0, 1 is neither 1.0 nor True nor Int64(1)."""
    if type(one) is not type(other):
        return False
    if type(one) is float:
        return struct.pack("<d", one) == struct.pack("<d", other)
    if type(one) is list:
        return len(one) == len(other) and all(map(same, one, other))
    if type(one) is dict:
        return list(one) == list(other) and all(same(one[name], other[name]) for name in one)
    return one == other


def refuse_constant(text: str) -> Any:
    raise AssertionError(f"{text} is not JSON")


def read_by_the_rules(node: Any) -> Any:
    """Decode parsed convex-encoded JSON as the official JavaScript client does, or fail."""
    if isinstance(node, list):
        assert len(node) <= DEFAULT.array_items
        return [read_by_the_rules(item) for item in node]
    if not isinstance(node, dict):
        assert not (isinstance(node, float) and math.copysign(1.0, node) < 0 and node == 0), "-0.0 outside $float"
        return node
    if len(node) == 1:
        ((name, content),) = node.items()
        if name == "$bytes":
            return base64.b64decode(content, validate=True)
        if name == "$integer":
            (number,) = struct.unpack("<q", base64.b64decode(content, validate=True))
            return Int64(number)
        if name == "$float":
            (number,) = struct.unpack("<d", base64.b64decode(content, validate=True))
            assert not math.isfinite(number) or (number == 0 and math.copysign(1.0, number) < 0), "ordinary"
            return number
    assert all(not name.startswith("$") and name.isascii() and name.isprintable() for name in node)
    return {name: read_by_the_rules(item) for name, item in node.items()}


@given(VALUES)
def test_decoding_undoes_encoding(value: Any) -> None:
    raw = encode(value)
    assert same(decode(raw), value)
    assert same(decode(raw, trusted=True), value)
    assert same(decoder_for(Any)(raw), value)


@given(VALUES)
def test_what_is_written_follows_the_rules_of_convex(value: Any) -> None:
    assert same(read_by_the_rules(json.loads(encode(value), parse_constant=refuse_constant)), value)


@given(VALUES)
def test_plain_json_is_json(value: Any) -> None:
    json.loads(encode_plain(value), parse_constant=refuse_constant)


class Inner(msgspec.Struct, rename="camel"):
    some_text: str
    some_bytes: bytes | None = None
    left_out: int | msgspec.UnsetType = msgspec.UNSET


class Outer(msgspec.Struct):
    text: str
    flag: bool
    count: int
    score: float
    vector: list[float]
    big: Int64 | None
    inner: Inner | None
    many: list[Inner]
    free: Any
    table: dict[str, int]
    either: int | list[int] | str


INNERS = st.builds(
    Inner,
    some_text=TEXTS,
    some_bytes=st.none() | st.binary(max_size=4),
    left_out=INTS | st.just(msgspec.UNSET),
)
OUTERS = st.builds(
    Outer,
    text=TEXTS,
    flag=st.booleans(),
    count=INTS,
    score=FLOATS,
    vector=st.lists(FLOATS, max_size=20),
    big=st.none() | INT64S,
    inner=st.none() | INNERS,
    many=st.lists(INNERS, max_size=3),
    free=VALUES,
    table=st.dictionaries(NAMES, INTS, max_size=3),
    either=INTS | st.lists(INTS, max_size=3) | TEXTS,
)


class Simple(msgspec.Struct):
    """Without special classes, so that msgspec alone decodes it when it can."""

    text: str
    count: int
    score: float
    vector: list[float]
    free: Any


SIMPLES = st.builds(Simple, text=TEXTS, count=INTS, score=FLOATS, vector=st.lists(FLOATS, max_size=20), free=VALUES)

decode_outer = decoder_for(Outer)
decode_simple = decoder_for(Simple)
decode_simple_trusted = decoder_for(Simple, trusted=True)


@given(OUTERS, SIMPLES)
def test_typed_decoding_undoes_encoding(outer: Outer, simple: Simple) -> None:
    raw = encode(outer)
    assert encode(decode_outer(raw)) == raw
    assert type(decode_outer(raw).inner) is type(outer.inner)
    raw = encode(simple)
    assert same(msgspec.structs.asdict(decode_simple(raw)), msgspec.structs.asdict(simple))
    assert same(msgspec.structs.asdict(decode_simple_trusted(raw)), msgspec.structs.asdict(simple))


def floats_only(node: Any) -> Any:
    """Turn every number into a float: that is how Convex's Python client sends arguments."""
    if isinstance(node, list):
        return [floats_only(item) for item in node]
    if isinstance(node, dict):
        return {name: floats_only(item) for name, item in node.items()}
    return float(node) if type(node) is int else node


@given(OUTERS)
def test_a_client_that_sends_floats_only_is_understood(outer: Outer) -> None:
    outer.free = None
    outer.count = max(1 - EXACT, min(outer.count, EXACT - 1))
    expected = encode(outer)
    sent = json.dumps(floats_only(json.loads(expected)), ensure_ascii=False).encode("utf-8", "surrogatepass")
    if all(abs(number) < EXACT for number in numbers_of(json.loads(expected))):
        assert encode(decode_outer(sent)) == expected


def numbers_of(node: Any) -> list[int]:
    if isinstance(node, list):
        return [number for item in node for number in numbers_of(item)]
    if isinstance(node, dict):
        return [number for item in node.values() for number in numbers_of(item)]
    return [node] if type(node) is int else []


ODD_NAMES = st.sampled_from(["$integer", "$float", "$bytes", "$undefined", "$x", "text", "count", "free", "é", ""])
JSON_NODES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(2**70), 2**70),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(max_size=5),
        st.binary(min_size=8, max_size=8).map(lambda data: base64.b64encode(data).decode()),
    ),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ODD_NAMES, inner, max_size=3),
    max_leaves=10,
)


@given(JSON_NODES)
@example({"$integer": "AAAAAAAAAAA="})
@example({"$bytes": "AAAAAAAAAAA="})
def test_any_json_is_a_value_or_refused(node: Any) -> None:
    raw = json.dumps(node).encode()
    try:
        value = decode(raw)
    except InvalidValue:
        return
    assert same(decode(encode(value)), value)
    typed = decoder_for(dict[str, Any] | list[Any] | float | str | bool | None)
    if isinstance(value, Int64 | bytes):  # which the union does not declare
        with pytest.raises(InvalidValue):
            typed(raw)
    else:
        assert same(typed(raw), integers_as_floats(value))


def integers_as_floats(value: Any) -> Any:
    """Adapt to a union that declares float as its only number."""
    return float(value) if type(value) is int else value


@given(st.binary(max_size=60) | JSON_NODES.map(lambda node: json.dumps(node).encode()))
def test_any_bytes_are_decoded_or_refused(raw: bytes) -> None:
    for decoder in (decode, decode_outer, decode_simple, decoder_for(list[int]), canonical):
        try:
            decoder(raw)
        except InvalidValue:
            pass


@given(VALUES)
def test_canonical_does_not_see_spelling(value: Any) -> None:
    raw = encode(value)
    node = json.loads(raw)
    spelled = json.dumps(reversed_fields(node), indent=2).encode()
    assert canonical(spelled) == canonical(raw)
    assert canonical(json.dumps(floats_only(bounded(node))).encode()) == canonical(json.dumps(bounded(node)).encode())


def reversed_fields(node: Any) -> Any:
    if isinstance(node, list):
        return [reversed_fields(item) for item in node]
    if isinstance(node, dict):
        return {name: reversed_fields(node[name]) for name in reversed(node)}
    return node


def bounded(node: Any) -> Any:
    """Halve integers: the double of 2**53 itself stands for two of them."""
    if isinstance(node, list):
        return [bounded(item) for item in node]
    if isinstance(node, dict):
        return {name: bounded(item) for name, item in node.items()}
    return node // 2 if type(node) is int else node


@given(VALUES, VALUES)
def test_canonical_keeps_values_apart(one: Any, other: Any) -> None:
    if canonical(encode(one)) == canonical(encode(other)):
        assert same(loosely(one), loosely(other))


def loosely(value: Any) -> Any:
    """Numbers in one class, fields in one order."""
    if type(value) is list:
        return [loosely(item) for item in value]
    if type(value) is dict:
        return {name: loosely(value[name]) for name in sorted(value)}
    return float(value) if type(value) is int else value


def counted(value: Any) -> int:
    match value:
        case None | bool():
            return 1
        case int() | float():
            return 9
        case str():
            return 2 + len(value.encode())
        case bytes():
            return 2 + len(value)
        case list():
            return 2 + sum(counted(item) for item in value)
        case dict():
            return 2 + sum(len(name) + 1 + counted(item) for name, item in value.items())
        case _:
            raise AssertionError(value)


@given(VALUES)
def test_size_is_the_sum_of_the_parts(value: Any) -> None:
    assert size_of(value) == counted(value)


@given(st.lists(SCALARS, max_size=40), st.sampled_from([[], [1.5] * 16, [3] * 16, ["a"] * 16]))
def test_lists_of_any_mixture(items: list[Any], front: list[Any]) -> None:
    value = front + items
    assert same(decode(encode(value)), value)
    assert same(decode(encode({"a": value})), {"a": value})


AROUND = [0.5, 0.0, 1, -EXACT, EXACT, EXACT + 1, -EXACT - 1, 2**60, float(EXACT), 1e20, Int64(EXACT + 1)]


@given(st.lists(st.sampled_from(AROUND), min_size=12, max_size=20))
def test_integers_have_one_bound_wherever_they_stand(items: list[Any]) -> None:
    if any(type(item) is int and abs(item) > EXACT for item in items):
        with pytest.raises(InvalidValue, match="outside"):
            encode(items)
    else:
        assert same(decode(encode(items)), items)
    # Without the Int64s, as a client would send the same numbers: beyond the bound they are doubles
    sent = [item for item in items if type(item) is not Int64]
    read = [float(item) if abs(item) > EXACT else item for item in sent]
    assert same(decode(json.dumps(sent).encode()), read)
    assert same(decoder_for(list[Any])(json.dumps(sent).encode()), read)
