"""Document ids: 31 to 37 characters of Crockford base32 in Convex's format.

The bytes under the text are the table's number (varint of 7-bit groups, low group first), 16 bytes of identity, and a
Fletcher-16 checksum, low byte first. In an id made here the 16 bytes are the document's sequence number (8 bytes, big
endian) and 8 random ones, so ids of one table sort by age and nobody can guess them.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple

from reflow.errors import InvalidId
from reflow.limits import DEFAULT

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_PAIRS = [high + low for high in _ALPHABET for low in _ALPHABET]
# int(text, 32) reads 0-9a-v; every other character of an id must make it fail, hence "!".
_PYTHON_DIGITS = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[_ALPHABET.index(chr(code))] if chr(code) in _ALPHABET else ord("!")
    for code in range(256)
)
_TABLE_MAX = 0xFFFF_FFFF
_SEQ_MAX = 0xFFFF_FFFF_FFFF_FFFF
_LENGTHS = {31: 19, 32: 20, 34: 21, 36: 22, 37: 23}  # characters -> bytes, for table numbers of 1..5 groups


class DocumentId(NamedTuple):
    """What an id says: the number of its table and the sequence number of its document."""

    table: int
    seq: int


def encode_id(table: int, seq: int, tail: bytes) -> str:
    """Give the id of document `seq` (0..2^64-1) of table number `table`, with `tail` of 8 random bytes."""
    if len(tail) != 8:
        raise InvalidId(f"an id ends in 8 random bytes, not {len(tail)}")
    if not 0 <= seq <= _SEQ_MAX:
        raise InvalidId(f"sequence number {seq} is outside 0..2^64-1")
    return encode_id_bytes(table, seq.to_bytes(8, "big") + tail)


def encode_id_bytes(table: int, sixteen: bytes) -> str:
    """Give the id of table number `table` (1..2^32-1) whose 16 bytes of identity are `sixteen`."""
    if len(sixteen) != 16:
        raise InvalidId(f"an id holds 16 bytes, not {len(sixteen)}")
    if 128 <= table < 16384:  # two groups: all user tables that a deployment ever has; exactly 20 bytes, 32 characters
        data = bytes((table & 127 | 128, table >> 7)) + sixteen
    else:
        data = _varint(table) + sixteen
    data += _checksum(data)
    bits = len(data) * 8
    padded = -bits % 10  # whole pairs of characters; an excess character is cut off below
    number = int.from_bytes(data, "big") << padded
    pairs = _PAIRS
    text = "".join([pairs[number >> shift & 1023] for shift in range(bits + padded - 10, -1, -10)])
    return text if padded < 5 else text[:-1]


@lru_cache(maxsize=DEFAULT.parsed_ids)
def parse_id(text: str) -> DocumentId:
    """Read an id strictly: alphabet, length, checksum and the one spelling that `encode_id` gives.

    Raises `InvalidId` for anything else.
    """
    size = _LENGTHS.get(len(text)) if type(text) is str else None
    if size is None:
        raise _invalid(text)
    try:
        number = int(text.encode("ascii").translate(_PYTHON_DIGITS), 32)
    except ValueError:
        raise _invalid(text) from None
    excess = len(text) * 5 - size * 8
    data = (number >> excess).to_bytes(size, "big")
    if number & (1 << excess) - 1 or data[-2:] != _checksum(data[:-2]):
        raise _invalid(text)
    groups = size - 18
    table = 0
    for position in range(groups):
        group = data[position]
        if (group < 128) != (position == groups - 1):
            raise _invalid(text)
        table |= (group & 127) << 7 * position
    if not 0 < table <= _TABLE_MAX or (groups > 1 and data[groups - 1] == 0):
        raise _invalid(text)
    return DocumentId(table, int.from_bytes(data[groups : groups + 8], "big"))


def is_id(text: str) -> bool:
    """Tell whether `parse_id` accepts `text`."""
    try:
        parse_id(text)
    except InvalidId:
        return False
    return True


def _varint(table: int) -> bytes:
    if not 0 < table <= _TABLE_MAX:
        raise InvalidId(f"table number {table} is outside 1..2^32-1")
    groups = bytearray()
    while table > 127:
        groups.append(table & 127 | 128)
        table >>= 7
    groups.append(table)
    return bytes(groups)


def _checksum(data: bytes) -> bytes:
    """Fletcher-16 modulo 256: the sum of the bytes, and the sum of its running values."""
    return bytes((sum(data) & 255, sum(accumulate(data)) & 255))


def _invalid(text: object) -> InvalidId:
    shown = repr(text)
    if len(shown) > 50:
        shown = shown[:47] + "..."
    return InvalidId(f"{shown} is not a document id: ids are the strings that insert returned, unchanged")
