from __future__ import annotations

import datetime
import enum
import math
import struct
from collections import OrderedDict
from typing import Annotated, Any, Literal, NamedTuple, TypedDict

import msgspec
import numpy as np
import pytest

from reflow.errors import InvalidValue
from reflow.limits import DEFAULT
from reflow.values import Int64, canonical, decode, decoder_for, encode, encode_plain, size_of, to_plain, walker_for

NAN = float("nan")
INF = float("inf")


class Inner(msgspec.Struct, rename="camel"):
    some_name: str
    data: bytes = b""
    extra: int | msgspec.UnsetType = msgspec.UNSET


class Outer(msgspec.Struct):
    text: str
    count: int = 0
    score: float = 0.5
    vector: list[float] = []
    inner: Inner | None = None
    anything: Any = None


class Level(enum.Enum):
    LOW = "low"
    HIGH = "high"


class Grade(enum.IntEnum):
    ONE = 1
    TWO = 2


class Mixed(enum.Enum):
    NUMBER = 2.5
    BLOB = b"x"


class Pair(NamedTuple):
    left: int
    right: str


class Name(str):
    __slots__ = ()


# Encoding

ENCODED: list[tuple[object, bytes]] = [
    (None, b"null"),
    (True, b"true"),
    (0, b"0"),
    (2**53, b"9007199254740992"),
    (1.0, b"1.0"),
    (1e300, b"1e300"),
    (-0.0, b'{"$float":"AAAAAAAAAIA="}'),
    (NAN, b'{"$float":"AAAAAAAA+H8="}'),
    (INF, b'{"$float":"AAAAAAAA8H8="}'),
    (-INF, b'{"$float":"AAAAAAAA8P8="}'),
    (Int64(1), b'{"$integer":"AQAAAAAAAAA="}'),
    (Int64(-(2**63)), b'{"$integer":"AAAAAAAAAIA="}'),
    (b"hi", b'{"$bytes":"aGk="}'),
    (bytearray(b"hi"), b'{"$bytes":"aGk="}'),
    (memoryview(b"hi"), b'{"$bytes":"aGk="}'),
    ("h\u00e9", '"h\u00e9"'.encode()),
    ([1, "a", None], b'[1,"a",null]'),
    ((1, b""), b'[1,{"$bytes":""}]'),
    (Pair(1, "x"), b'[1,"x"]'),
    ({"a": {"b": [NAN]}}, b'{"a":{"b":[{"$float":"AAAAAAAA+H8="}]}}'),
    (OrderedDict(b=1, a=b"x"), b'{"b":1,"a":{"$bytes":"eA=="}}'),
    ([Level.LOW, Grade.TWO, {"level": Level.HIGH}], b'["low",2,{"level":"high"}]'),
    ([Mixed.NUMBER, Mixed.BLOB], b'[2.5,{"$bytes":"eA=="}]'),
    ({Name("x"): b""}, b'{"x":{"$bytes":""}}'),
    (Name("x"), b'"x"'),
    ([Name("x"), True], b'["x",true]'),
    (np.float64(1.5), b"1.5"),
    (np.float32(-0.0), b'{"$float":"AAAAAAAAAIA="}'),
    (np.int32(5), b"5"),
    (np.bool_(True), b"true"),
    (np.array([1.0, NAN]), b'[1.0,{"$float":"AAAAAAAA+H8="}]'),
    (np.arange(3, dtype=np.uint8), b"[0,1,2]"),
    ({"v": np.array([], dtype=np.float32)}, b'{"v":[]}'),
    (
        Outer("x", inner=Inner("n")),
        b'{"text":"x","count":0,"score":0.5,"vector":[],"inner":{"someName":"n","data":{"$bytes":""}},"anything":null}',
    ),
    (Inner("n", b"\x00", 3), b'{"someName":"n","data":{"$bytes":"AA=="},"extra":3}'),
]


@pytest.mark.parametrize(("value", "raw"), ENCODED, ids=lambda part: repr(part)[:40])
def test_values_are_written_as_convex_writes_them(value: object, raw: bytes) -> None:
    assert encode(value) == raw


@pytest.mark.parametrize("length", [1, 15, 16, 17, 400])
@pytest.mark.parametrize(
    ("odd", "written"),
    [
        (NAN, b'{"$float":"AAAAAAAA+H8="}'),
        (-0.0, b'{"$float":"AAAAAAAAAIA="}'),
        (0.0, b"0.0"),
        (Int64(1), b'{"$integer":"AQAAAAAAAAA="}'),
        (b"hi", b'{"$bytes":"aGk="}'),
        (7, b"7"),
        (True, b"true"),
        (1e300, b"1e300"),
        (np.float64(2.5), b"2.5"),
        (None, b"null"),
        ([b""], b'[{"$bytes":""}]'),
    ],
    ids=repr,
)
@pytest.mark.parametrize("usual", [1.5, 1, "a", None, [2.0]], ids=repr)
def test_one_odd_item_in_a_long_list_is_noticed(usual: object, odd: object, written: bytes, length: int) -> None:
    plain = msgspec.json.encode(usual)
    expected = b"[" + b",".join([plain] * length + [written] + [plain] * length) + b"]"
    assert encode([usual] * length + [odd] + [usual] * length) == expected
    assert encode({"in": [[odd, *[usual] * length]]}) == b'{"in":[[' + b",".join([written] + [plain] * length) + b"]]}"


class Tagged(msgspec.Struct, tag_field="kind", tag="t", omit_defaults=True, frozen=True, rename={"data": "bin"}):
    data: bytes
    left_out: int = 3


class Row(msgspec.Struct, array_like=True):
    a: int
    b: bytes


def test_a_struct_with_special_parts_keeps_its_options() -> None:
    value = Tagged(b"x")
    assert encode([value, Row(1, b"y")]) == b'[{"kind":"t","bin":{"$bytes":"eA=="}},[1,{"$bytes":"eQ=="}]]'
    assert value == Tagged(b"x")


def test_a_struct_is_taken_by_what_it_holds_not_by_what_it_declares() -> None:
    wrong = Outer(b"bytes", NAN, Int64(4), (b"x",))  # pyright: ignore[reportArgumentType]
    assert decode(encode(wrong)) == {
        "text": b"bytes",
        "count": pytest.approx(NAN, nan_ok=True),
        "score": Int64(4),
        "vector": [b"x"],
        "inner": None,
        "anything": None,
    }
    assert type(decode(encode(wrong))["score"]) is Int64


def test_encoding_leaves_the_value_as_it_was() -> None:
    value = {"a": [1.0, NAN, {"b": b"x"}], "s": Inner("n", b"y")}
    encode(value)
    assert value["a"][2] == {"b": b"x"}
    assert value["s"] == Inner("n", b"y")


class Node(msgspec.Struct):
    child: Node | None = None
    value: float = 1.0


def test_recursive_structs_are_walked() -> None:
    assert encode(Node(Node(Node(None, NAN)))).count(b"$float") == 1


def nested(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth - 1):
        value = [value]
    return value


def nested_structs(depth: int) -> Node:
    value = Node()
    for _ in range(depth - 1):
        value = Node(value)
    return value


def test_the_limits_themselves_are_allowed() -> None:
    for value in (
        nested(DEFAULT.nesting),
        nested_structs(DEFAULT.nesting),
        [0] * DEFAULT.array_items,
        {f"f{number}": 1 for number in range(DEFAULT.object_fields)},
        {"n" * DEFAULT.field_name_length: 1},
    ):
        raw = encode(value)
        assert encode(decode(raw)) == raw
        assert encode(decoder_for(dict[str, Any] | list[Any])(raw)) == raw


CYCLE: list[Any] = []
CYCLE.append(CYCLE)

REFUSED: list[tuple[object, str]] = [
    (2**53 + 1, r"outside ±2\*\*53.*rf\.Int64"),
    ([1, -(2**53) - 1], r"at `\$\[1\]`"),
    ([1.0] * 20 + [2**53 + 1], r"outside ±2\*\*53.*at `\$\[20\]`"),
    ([1.0] * 20 + [2**60], r"outside ±2\*\*53.*at `\$\[20\]`"),
    ([1] * 20 + [2**60], r"outside ±2\*\*53.*at `\$\[20\]`"),
    (Outer("x", 2**60), r"outside.*at `\$\.count`"),
    ("\ud800", "lone surrogate"),
    (Outer("x", inner=Inner("\udc00")), r"lone surrogate.*at `\$\.inner\.someName`"),
    ({"a": ["ok", "\ud800"]}, r"lone surrogate.*at `\$\.a\[1\]`"),
    ({1: 2}, "field names are strings, not 1"),
    ({"a": {None: 2}}, r"field names are strings, not None - at `\$\.a`"),
    ({"é": 1}, "not printable ASCII"),
    ({"\n": 1}, "not printable ASCII"),
    ({"\x7f": 1}, "not printable ASCII"),
    ({"\ud800": 1}, "not printable ASCII"),
    ({"$set": 1}, r'starts with "\$"'),
    ([{"a": {"$float": "x"}}], r'starts with "\$".*at `\$\[0\]\.a`'),
    ({"n" * 1025: 1}, "1025 characters; the limit is 1024"),
    (nested(65), "nested more than 64 deep"),
    (nested_structs(65), "nested more than 64 deep"),
    (CYCLE, "nested more than 64 deep"),
    ([0] * 8193, "8193 items; the limit is 8192"),
    ({"a": [0.5] * 8193}, r"8193 items; the limit is 8192 - at `\$\.a`"),
    ({f"f{number}": 1 for number in range(1025)}, "1025 fields; the limit is 1024"),
    ({1, 2}, "set.*sorted"),
    ({"a": datetime.datetime(2020, 1, 1)}, r"datetime.*timestamp.*at `\$\.a`"),
    (1j, "complex is not a value"),
    (object(), "object is not a value"),
    (NotImplemented, "is not a value"),
    ([1.0] * 20 + [object()], r"object is not a value.*at `\$\[20\]`"),
    ([msgspec.UNSET], r"UNSET leaves out a field.*at `\$\[0\]`"),
    (msgspec.UNSET, "UNSET leaves out a field"),
    (np.zeros((2, 2)), "2 dimensions"),
    (np.array(["a"]), "1-d arrays of numbers"),
    (np.array([2**60]), r"outside ±2\*\*53"),
    (np.complex64(1), "complex is not a value"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=lambda part: repr(part)[:40])
def test_what_is_no_value_is_refused_with_its_place(value: object, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        encode(value)


def test_walkers_are_only_for_what_needs_them() -> None:
    assert walker_for(str) is None
    assert walker_for(bool) is None
    assert walker_for(type(None)) is None
    assert walker_for(int) is not None
    assert walker_for(Inner) is walker_for(Inner)


def test_more_classes_than_are_remembered_are_still_walked() -> None:
    for number in range(DEFAULT.known_types + 10):
        walker_for(type(f"Int{number}", (int,), {}))
    assert encode([Inner("n", b"x"), NAN, Int64(1)]).count(b"$") == 3


def test_more_names_than_are_remembered_are_still_checked() -> None:
    for number in range(DEFAULT.known_names + 10):
        encode({f"name{number}": 1})
    with pytest.raises(InvalidValue, match="not printable"):
        encode({"name1": 1, "é": 2})


# Int64


def test_int64_is_an_int_with_bounds() -> None:
    assert Int64(5) == 5
    assert Int64("12") == 12
    assert repr(Int64(-3)) == "Int64(-3)"
    assert f"{Int64(4)}" == str(Int64(4)) == "4"
    assert type(Int64(1) + 1) is int
    for wrong in (2**63, -(2**63) - 1):
        with pytest.raises(InvalidValue, match="does not fit"):
            Int64(wrong)


# Decoding


def test_special_forms_become_python_values() -> None:
    raw = b'{"i":{"$integer":"/////////38="},"f":[{"$float":"AAAAAAAAAIA="}],"b":{"$bytes":"aGk="},"$":1}'
    with pytest.raises(InvalidValue, match="reserved"):
        decode(raw)
    value = decode(raw.replace(b',"$":1', b""))
    assert value == {"i": 2**63 - 1, "f": [-0.0], "b": b"hi"}
    assert type(value["i"]) is Int64
    assert math.copysign(1, value["f"][0]) == -1


def test_big_integers_of_javascript_are_floats() -> None:
    assert decode(b"100000000000000000000") == 1e20
    assert type(decode(b"[9007199254740993]")[0]) is float
    for usual in (b"0.5", b"1", b'"a"'):
        last = decode(b"[" + (usual + b",") * 20 + b"9007199254740993]")[-1]
        assert type(last) is float
    assert decode(b"[9007199254740992,-9007199254740992]") == [2**53, -(2**53)]
    assert decoder_for(float)(b"100000000000000000000") == 1e20
    assert decoder_for(dict[str, Any])(b'{"a":100000000000000000000}') == {"a": 1e20}


MALFORMED: list[tuple[bytes, str]] = [
    (b"", "not JSON"),
    (b"{", "not JSON"),
    (b"nul", "not JSON"),
    (b"NaN", "not JSON"),
    (b'{"a":1}x', "not JSON"),
    (b'"\xff"', "not JSON"),
    (b'"\\ud800"', "not JSON"),
    (b"1e999", "not JSON"),
    (b"9" * 400, "too large|not JSON"),
    (b"[" * 100_000, "nested more than 64 deep"),
    (b"[" * 65 + b"]" * 65, "nested more than 64 deep"),
    (b"[" + b"0," * 8192 + b"0]", "8193 items"),
    (b"{" + b",".join(b'"f%d":1' % number for number in range(1025)) + b"}", "1025 fields"),
    ('{"é":1}'.encode(), "not printable ASCII"),
    (b'{"a":{"\\n":1}}', r"not printable ASCII.*at `\$\.a`"),
    (b'{"$undefined":null}', "undefined"),
    (b'{"$set":[]}', "no special form"),
    (b'{"a":[{"$map":[]}]}', r"no special form.*at `\$\.a\[0\]`"),
    (b'{"$commitTs":null}', "no special form"),
    (b'{"\\u0024x":1}', "no special form"),
    (b'{"$integer":"AQ==","b":1}', "reserved"),
    (b'{"$integer":5}', "holds base64, not int"),
    (b'{"$integer":"AQ=="}', "holds 1 bytes instead of 8"),
    (b'{"$integer":"!"}', "not base64"),
    (b'{"$bytes":"aGk"}', "not base64"),
    (b'{"$bytes":"a Gk="}', "not base64"),
    ('{"$bytes":"é"}'.encode(), "not base64"),
    (b'{"$bytes":null}', "holds base64, not NoneType"),
    (b'{"$float":"AAAAAAAA8D8="}', "holds 1.0, an ordinary number"),
    (b'{"$float":"AAAAAAAAAAA="}', "holds 0.0, an ordinary number"),
    (b'{"$float":"AAA="}', "holds 2 bytes instead of 8"),
]


@pytest.mark.parametrize(("raw", "message"), MALFORMED, ids=lambda part: repr(part)[:40])
def test_malformed_json_is_refused(raw: bytes, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        decode(raw)
    for tp in (Any, dict[str, Any] | list[Any] | float | None, Outer):
        with pytest.raises(InvalidValue):
            decoder_for(tp)(raw)


def test_trusted_decoding_skips_checks_but_not_special_forms() -> None:
    assert decode(b"[" + b"0," * 8192 + b"0]", trusted=True) == [0] * 8193
    assert decode(b'[{"$bytes":"aGk="},"$5"]', trusted=True) == [b"hi", "$5"]
    assert decoder_for(list[int], trusted=True)(b"[" + b"0," * 8192 + b"0]") == [0] * 8193
    assert decoder_for(list[Any], trusted=True)(b'[{"$bytes":"aGk="},"\\"$"]') == [b"hi", '"$']


# Typed decoding

Positive = Annotated[int, msgspec.Meta(gt=0)]


class Config(TypedDict):
    size: int


class Circle(msgspec.Struct, tag="circle"):
    radius: int


class Square(msgspec.Struct, tag="square"):
    side: int
    data: bytes = b""


class RowA(msgspec.Struct, tag="a", array_like=True):
    n: int


class RowB(msgspec.Struct, tag="b", array_like=True):
    x: float
    n: int


ACCEPTED: list[tuple[Any, bytes, object]] = [
    (int, b"1", 1),
    (int, b"1.0", 1),
    (int, b"9007199254740992", 2**53),
    (int, b"-9007199254740991.0", -(2**53) + 1),
    (int | None, b"2.0", 2),
    (Positive, b"3.0", 3),
    (float, b"1", 1.0),
    (float, b'{"$float":"AAAAAAAA8H8="}', INF),
    (float | None, b'{"$float":"AAAAAAAA8H8="}', INF),
    (list[float], b'[1,{"$float":"AAAAAAAA8P8="}]', [1.0, -INF]),
    (int | float, b"1.0", 1.0),
    (int | float, b"1", 1),
    (bytes, b'{"$bytes":"aGk="}', b"hi"),
    (bytes | None, b"null", None),
    (Int64, b'{"$integer":"AQAAAAAAAAA="}', Int64(1)),
    (Int64 | None, b"null", None),
    (list[Int64], b'[{"$integer":"AQAAAAAAAAA="}]', [Int64(1)]),
    (Any, b'[1.0,{"$bytes":"aGk="}]', [1.0, b"hi"]),
    (object, b'{"$bytes":"aGk="}', b"hi"),
    (dict[str, Any], b'{"a":{"$integer":"AQAAAAAAAAA="},"b":1.0}', {"a": Int64(1), "b": 1.0}),
    (dict[str, int], b'{"a":1.0}', {"a": 1}),
    (dict[str, int] | str, b'{"a":1.0}', {"a": 1}),
    (list[int] | str | None, b"[1.0]", [1]),
    (tuple[int, float], b"[1.0,1]", (1, 1.0)),
    (tuple[int, ...], b"[1.0,2]", (1, 2)),
    (Literal[1, 2], b"2.0", 2),
    (Literal["a", 2], b"2.0", 2),
    (Grade, b"2.0", Grade.TWO),
    (Level, b'"low"', Level.LOW),
    (Pair, b'[1.0,"x"]', Pair(1, "x")),
    (Config, b'{"size":3.0}', {"size": 3}),
    (Circle | Square, b'{"type":"square","side":2.0,"data":{"$bytes":"aGk="}}', Square(2, b"hi")),
    (Circle | Square | None, b'{"type":"circle","radius":2.0}', Circle(2)),
    (RowA | RowB, b'["b",1.0,2.0]', RowB(1.0, 2)),
    (RowA | RowB, b'["a",2.0]', RowA(2)),
    (list[Row], b'[[1.0,{"$bytes":"aGk="}]]', [Row(1, b"hi")]),
    (Node, b'{"child":{"child":null,"value":{"$float":"AAAAAAAA8H8="}},"value":1}', Node(Node(None, INF), 1.0)),
    (Outer, b'{"text":"x","count":2.0}', Outer("x", 2)),
    (Outer, b'{"text":"$5 and \\"$"}', Outer('$5 and "$')),
    (Outer, b'{"text":"x","inner":{"someName":"n","extra":4.0}}', Outer("x", inner=Inner("n", extra=4))),
    (Outer, b'{"text":"x","anything":{"$float":"AAAAAAAA8H8="}}', Outer("x", anything=INF)),
]


@pytest.mark.parametrize(("tp", "raw", "value"), ACCEPTED, ids=lambda part: repr(part)[:50])
@pytest.mark.parametrize("trusted", [False, True])
def test_typed_decoding_takes(tp: Any, raw: bytes, value: object, trusted: bool) -> None:
    found = decoder_for(tp, trusted=trusted)(raw)
    assert found == value
    assert type(found) is type(value)
    assert encode(found) == encode(value)  # tells 1 from 1.0 and Int64(1) inside


TYPE_ERRORS: list[tuple[Any, bytes, str]] = [
    (int, b"1.5", "Expected `int`, got `float`.*whole number"),
    (int, b"9007199254740993", "Expected `int`, got `float`.*whole number within"),
    (int, b"9007199254740993.0", "Expected `int`"),
    (int, b'"1"', "Expected `int`, got `str`"),
    (int, b"true", "Expected `int`, got `bool`"),
    (int, b'{"$integer":"AQAAAAAAAAA="}', "Expected `int`, got `Int64`"),
    (int, b'{"$float":"AAAAAAAA8H8="}', "Expected `int`, got `float`"),
    (float, b'{"$integer":"AQAAAAAAAAA="}', "Expected `float`, got `Int64`"),
    (int | float, b'{"$integer":"AQAAAAAAAAA="}', "got `Int64`"),
    (Literal[1], b'{"$integer":"AQAAAAAAAAA="}', "got `Int64`"),
    (float, b"null", "Expected `float`, got `null`"),
    (bytes, b'"aGk="', "Expected `bytes`, got `str`"),
    (Int64, b"1", "Expected `Int64`, got `int`"),
    (Int64, b"1.0", "Expected `Int64`, got `float`"),
    (str, b'{"$bytes":"aGk="}', "Expected `str`, got `bytes`"),
    (list[int], b'[1,{"$bytes":"aGk="}]', r"got `bytes` - at `\$\[1\]`"),
    (dict[str, str], b'{"$bytes":"aGk="}', "Expected `object`, got `bytes`"),
    (dict[str, str], b'{"$x":"aGk="}', "no special form"),
    (dict[str, int], ('{"é":1}').encode(), "not printable ASCII"),
    (list[str], b"[" + b'"",' * 8192 + b'""]', "8193 items; the limit is 8192"),
    (list[float], b"[" + b"0.5," * 8192 + b"0]", "8193 items; the limit is 8192"),
    (Outer, b'{"text":"x","count":"3"}', r"Expected `int`, got `str` - at `\$\.count`"),
    (Outer, b'{"text":"x","inner":{"someName":1.0}}', r"Expected `str`, got `float` - at `\$\.inner\.someName`"),
    (
        Outer,
        b'{"text":"x","inner":{"someName":"n","data":"aGk="}}',
        r"Expected `bytes`, got `str` - at `\$\.inner\.data`",
    ),
    (Outer, b'{"text":"x","anything":{"$x":1}}', r"no special form.*at `\$\.anything`"),
    (Outer, b'{"count":1}', "missing required field `text`"),
    (Positive, b"0.0", "int` > 0|>= 1"),
    (Circle | Square, b'{"type":"square","side":2.5}', r"Expected `int`, got `float` - at `\$\.side`"),
]


@pytest.mark.parametrize(("tp", "raw", "message"), TYPE_ERRORS, ids=lambda part: repr(part)[:50])
def test_typed_decoding_refuses_with_the_place(tp: Any, raw: bytes, message: str) -> None:
    with pytest.raises(InvalidValue, match=message):
        decoder_for(tp)(raw)


def test_an_object_is_not_mistaken_for_a_struct_of_optional_fields() -> None:
    class Options(msgspec.Struct):
        limit: int = 10

    with pytest.raises(InvalidValue, match="got `bytes`"):
        decoder_for(Options)(b'{"$bytes":"aGk="}')


# The other forms


def test_plain_json_loses_what_json_lacks() -> None:
    value = {"i": Int64(-5), "b": b"hi", "n": [NAN, INF, -INF, 1.5], "s": "$", "k": None, "t": (True, 2)}
    assert msgspec.json.decode(encode_plain(value)) == {
        "i": "-5",
        "b": "aGk=",
        "n": ["NaN", "Infinity", "-Infinity", 1.5],
        "s": "$",
        "k": None,
        "t": [True, 2],
    }
    assert to_plain(b'{"a":1}') == b'{"a":1}'
    assert msgspec.json.decode(to_plain(b'{"a":{"$bytes":"aGk="}}')) == {"a": "aGk="}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (b'{"b":1,"a":2}', b'{ "a" : 2.0, "b" : 1e0 }'),
        (b'[{"y":[1.0,{"x":2.0}]}]', b'[{"y":[1,{"x":2}]}]'),
        (b'{"t":"\\u00e9"}', '{"t":"é"}'.encode()),
        (b"1E2", b"100"),
        (b"0.0", b"0"),
        (b'{"x":{"$integer":"AQAAAAAAAAA="}}', b'{"x": {"$integer": "AQAAAAAAAAA="}}'),
    ],
)
def test_canonical_is_one_spelling(one: bytes, other: bytes) -> None:
    assert canonical(one) == canonical(other)
    assert canonical(canonical(one)) == canonical(one)


def test_canonical_keeps_apart_what_differs() -> None:
    texts = [b"1", b"1.5", b'"1"', b"true", b"null", b"[1]", b'{"a":1}', b'{"a":2}', b"0", b"-0.0", b'"1.0"']
    assert len({canonical(text) for text in texts}) == len(texts)
    with pytest.raises(InvalidValue, match="not JSON"):
        canonical(b"{")


@pytest.mark.parametrize(
    ("value", "size"),
    [
        (None, 1),
        (True, 1),
        (7, 9),
        (7.5, 9),
        (Int64(7), 9),
        ("abc", 5),
        ("é", 4),
        (b"abc", 5),
        ([], 2),
        ([1, "a"], 2 + 9 + 3),
        ((1,), 11),
        ({}, 2),
        ({"ab": 1, "c": [None]}, 2 + 3 + 9 + 2 + 3),
        (Inner("n", b"x", 1), 2 + 9 + 3 + 5 + 3 + 6 + 9),
        (np.float32(1), 9),
    ],
)
def test_size_is_counted_as_convex_counts_it(value: object, size: int) -> None:
    assert size_of(value) == size


def test_nan_keeps_its_bits() -> None:
    (odd,) = struct.unpack("<d", b"\x01\x00\x00\x00\x00\x00\xf8\xff")
    assert struct.pack("<d", decode(encode(odd))) == b"\x01\x00\x00\x00\x00\x00\xf8\xff"
