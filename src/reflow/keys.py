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
from struct import Struct
from typing import Any, Final

from msgspec import UNSET

from reflow import values
from reflow.encoding import check_names
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
_STRING_TAG = "\x30"
_BYTES = b"\x38"
_ARRAY = b"\x40"
_OBJECT = b"\x48"
_END = b"\x00"

# Doubles sort as their bits when the sign bit of positive ones is set and all bits of negative ones are flipped.
_pack_double = Struct(">d").pack
_FLIPPED = bytes(range(255, -1, -1))
_ZERO = _NUMBER + _pack_double(-0.0)
_NAN = _NUMBER + b"\xff" * 8
_EXACT = 1 << 53


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
    if value > 0:
        return _NUMBER + _pack_double(-value)
    if value < 0:
        return _NUMBER + _pack_double(value).translate(_FLIPPED)
    return _NAN if value else _ZERO


def _int(value: int) -> bytes:
    if -_EXACT <= value <= _EXACT:
        return _float(value)
    raise InvalidValue(f"{value} is outside ±2**53, where numbers are exact: use rf.Int64({value})")


def _int64(value: int) -> bytes:
    return _INT64 + (value + (1 << 63)).to_bytes(8, "big")


def _str(value: str) -> bytes:
    # Free of zero bytes, keeping the order: 00 -> 01 01, 01 -> 01 02
    if "\x00" in value or "\x01" in value:
        value = value.replace("\x01", "\x01\x02").replace("\x00", "\x01\x01")
    try:
        return (_STRING_TAG + value + "\x00").encode()  # not format(), which names the members of an enumeration
    except UnicodeEncodeError:
        raise InvalidValue(f"{value!r:.60} holds a lone surrogate, so it is not valid Unicode") from None


def _bytes(value: bytes) -> bytes:
    if 0 in value or 1 in value:
        value = value.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01")
    return _BYTES + value + _END


def _array(value: list[Any] | tuple[Any, ...]) -> bytes:
    return _ARRAY + b"".join([encode_part(item) for item in value]) + _END


def _object(value: dict[str, Any]) -> bytes:
    check_names(value)
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
    values.Int64: _int64,
    bytes: _bytes,
    list: _array,
    tuple: _array,
    dict: _object,
}
