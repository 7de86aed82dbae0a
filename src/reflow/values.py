"""Convex values in Python: what a document, an argument or a result may hold.

A value is None, a bool, a number (int and float are one class; ints within ±2**53), an `Int64`, a str, bytes, a list,
or a dict with str keys. msgspec Structs are written as objects, tuples as arrays, enumerations as their values, NumPy's
scalars and 1-d arrays as numbers and arrays of them. This module is the face; the work is done in `encoding` and
`decoding`.
"""

from __future__ import annotations

import base64
from typing import Any, cast

import msgspec

from reflow.decoding import decode, decoder_for
from reflow.encoding import EXACT, Int64, encode, is_ordinary, walker_for
from reflow.errors import InvalidValue

__all__ = [
    "Int64",
    "canonical",
    "decode",
    "decoder_for",
    "encode",
    "encode_plain",
    "size_of",
    "to_plain",
    "walker_for",
]

_json_decode = msgspec.json.Decoder().decode
_json_encode = msgspec.json.Encoder().encode
_json_encode_sorted = msgspec.json.Encoder(order="sorted").encode


def canonical(raw: bytes) -> bytes:
    """Give one spelling to JSON that means the same: sorted names, no blanks, 1.0 and 1e0 as 1.

    For cache keys. `raw` is not validated beyond being JSON; raises `InvalidValue` otherwise.
    """
    try:
        value = _json_decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidValue(f"not JSON: {error}") from None
    if b"." in raw or b"e" in raw or b"E" in raw:
        value = _with_ints(value)
    return _json_encode_sorted(value)


def _with_ints(value: Any) -> Any:
    """Replace the integral floats within ±2**53 of a parsed value, in place."""
    tp = cast("type[Any]", type(value))
    if tp is float:
        return int(value) if value.is_integer() and -EXACT <= value <= EXACT and is_ordinary(value) else value
    if tp is list:
        value[:] = map(_with_ints, value)
    elif tp is dict:
        for name, item in value.items():
            if type(item) is not str:
                value[name] = _with_ints(item)
    return value


def encode_plain(value: object) -> bytes:
    """Encode a value as the lossy `json` format: `to_plain(encode(value))`."""
    return to_plain(encode(value))


def to_plain(raw: bytes) -> bytes:
    """Turn convex-encoded JSON into plain JSON.

    Int64 becomes a decimal string, bytes a base64 string, NaN and the infinities "NaN", "Infinity" and "-Infinity".
    """
    if b'"$' not in raw:
        return raw
    return _json_encode(_plain(decode(raw, trusted=True)))


_PLAIN_NAMES = {float("inf"): "Infinity", float("-inf"): "-Infinity"}


def _plain(value: Any) -> Any:
    match value:
        case Int64():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case float():
            return "NaN" if value != value else _PLAIN_NAMES.get(value, value)
        case list():
            return [_plain(item) for item in cast("list[Any]", value)]
        case dict():
            return {name: _plain(item) for name, item in cast("dict[str, Any]", value).items()}
        case _:
            return value


def size_of(value: object) -> int:
    """Count the bytes of a value as Convex does for its limits.

    null and bool 1, numbers 9, strings (UTF-8) and bytes their length + 2, arrays and objects 2 + their parts, a field
    its name + 1 + its value.
    """
    tp = type(value)
    if tp is str:
        text = cast(str, value)
        return len(text) + 2 if text.isascii() else len(text.encode()) + 2
    if value is None or tp is bool:
        return 1
    if tp is int or tp is float or tp is Int64:
        return 9
    if tp is list or tp is tuple:
        return 2 + sum(map(size_of, cast("list[Any]", value)))
    if tp is dict:
        fields = cast("dict[str, Any]", value)
        return 2 + len(fields) + sum(map(len, fields)) + sum(map(size_of, fields.values()))
    if tp is bytes:
        return len(cast(bytes, value)) + 2
    return size_of(decode(encode(value)))
