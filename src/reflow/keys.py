"""Index keys: field values as bytes that sort as the values do.

Order of the types, after Convex: missing < null < Int64 < number < bool < string < bytes < array < object. An int and a
float are one class, compared as doubles; -0.0 is 0, NaN is above infinity. Strings compare by their UTF-8, arrays item
by item, objects by their fields in the order of the names, name before value.

One part is a type tag and its payload, and no part is a prefix of another, so a compound key is the concatenation of
its parts: it sorts field by field, and the keys that share their first fields are one range, from `prefix` up to
`prefix_end(prefix)`. A part with a fixed size needs no end; the others end in a zero byte, which nothing inside them
starts with or contains.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum
from math import isnan
from struct import Struct
from typing import Any, Final

from msgspec import UNSET

from reflow import values
from reflow.errors import InvalidValue


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "MISSING"


MISSING: Final = Missing.MISSING
"""Stands for a field that a document does not have."""

# Type tags: within 0x01..0xFE, so that 0x00 ends a sequence and 0xFF is above every key. The gaps are for later types.
_MISSING = b"\x08"
_NULL = b"\x10"
_INT64 = b"\x18"
_NUMBER = b"\x20"
_FALSE = b"\x28"
_TRUE = b"\x29"
_STRING = b"\x30"
_BYTES = b"\x38"
_ARRAY = b"\x40"
_OBJECT = b"\x48"
_END = b"\x00"

_NAN = _NUMBER + b"\xff" * 8
_EXACT = 1 << 53
_pack_double = Struct(">d").pack
_pack_number = Struct(">BQ").pack
_unpack_bits = Struct(">Q").unpack
_SIGN = 1 << 63
_ALL = (1 << 64) - 1


def encode_part(value: object) -> bytes:
    """Encode one field of an index key; `MISSING` (or `msgspec.UNSET`) for a field that is absent.

    Raises `InvalidValue` for what `reflow.values.encode` refuses.
    """
    encoder = _ENCODERS.get(type(value))
    if encoder is not None:
        return encoder(value)
    return encode_part(values.decode(values.encode(value)))  # Structs, enumerations, NumPy's numbers: as stored


def prefix_end(prefix: bytes) -> bytes:
    """Give the exclusive upper end of all keys that start with the whole parts in `prefix`."""
    return prefix + b"\xff"


def _float(value: float) -> bytes:
    """IEEE 754 bits, with the sign flipped for positive numbers and all bits for negative ones, sort as the numbers."""
    (bits,) = _unpack_bits(_pack_double(value + 0.0))  # + 0.0 turns -0.0 into 0.0
    if bits < _SIGN:
        return _NAN if value != value else _pack_number(0x20, bits | _SIGN)
    return _NAN if isnan(value) else _pack_number(0x20, bits ^ _ALL)


def _int(value: int) -> bytes:
    if not -_EXACT <= value <= _EXACT:
        raise InvalidValue(f"{value} is outside ±2**53, where numbers are exact: use rf.Int64({value})")
    return _float(float(value))


def _escaped(data: bytes) -> bytes:
    """Free `data` of zero bytes, keeping the order: 00 -> 01 01, 01 -> 01 02."""
    if b"\x01" in data:
        data = data.replace(b"\x01", b"\x01\x02")
    if b"\x00" in data:
        data = data.replace(b"\x00", b"\x01\x01")
    return data


def _str(value: str) -> bytes:
    try:
        data = value.encode()
    except UnicodeEncodeError:
        raise InvalidValue(f"{value!r:.60} holds a lone surrogate: it is not valid Unicode") from None
    return _STRING + _escaped(data) + _END


def _array(value: list[Any] | tuple[Any, ...]) -> bytes:
    return _ARRAY + b"".join([encode_part(item) for item in value]) + _END


def _object(value: dict[str, Any]) -> bytes:
    # A name carries the string tag: an empty one would otherwise look like the end.
    return _OBJECT + b"".join([_str(name) + encode_part(value[name]) for name in sorted(value)]) + _END


_ENCODERS: dict[type, Callable[[Any], bytes]] = {
    str: _str,
    int: _int,
    float: _float,
    bool: lambda value: _TRUE if value else _FALSE,
    type(None): lambda _: _NULL,
    Missing: lambda _: _MISSING,
    type(UNSET): lambda _: _MISSING,
    values.Int64: lambda value: _INT64 + (value + _SIGN).to_bytes(8, "big"),
    bytes: lambda value: _BYTES + _escaped(value) + _END,
    list: _array,
    tuple: _array,
    dict: _object,
}
