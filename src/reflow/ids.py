"""Document ids: 31 to 37 characters of Crockford base32 in Convex's format.

The bytes under the text are the table's number (varint of 7-bit groups, low group first), 16 bytes of identity, and a
Fletcher-16 checksum, low byte first. In an id made here the 16 bytes are the document's sequence number (8 bytes, big
endian) and 8 random ones, so ids of one table sort by age and nobody can guess them.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate
from typing import NamedTuple, cast

from reflow.errors import InvalidId
from reflow.limits import DEFAULT

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_CHARACTERS = _ALPHABET.encode() + bytes(224)
# int(text, 32) reads 0-9a-v; every other character of an id must make it fail, hence "!".
_PYTHON_DIGITS = bytes(
    b"0123456789abcdefghijklmnopqrstuv"[_ALPHABET.index(chr(code))] if chr(code) in _ALPHABET else ord("!")
    for code in range(256)
)
_TABLE_MAX = 0xFFFF_FFFF
_SEQ_MAX = 0xFFFF_FFFF_FFFF_FFFF

# Masks that move the eight 5-bit groups of every 5 bytes into 8 bytes, halving: of 160 bits, the upper 80 are moved to
# the next multiple of 128, of these the upper 40 to the next multiple of 64, then 20 to 32, 10 to 16, 5 to 8.
_HALVES = [
    (sum(((1 << half) - 1) << low + half for low in range(0, 256, lane)), lane // 2 - half)
    for half, lane in ((80, 256), (40, 128), (20, 64), (10, 32), (5, 16))
]
(_UPPER_80, _BY_48), (_UPPER_40, _BY_24), (_UPPER_20, _BY_12), (_UPPER_10, _BY_6), (_UPPER_5, _BY_3) = _HALVES

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
        return _base32(data + _checksum(data))
    data = _varint(table) + sixteen
    data += _checksum(data)
    text = _base32(data[:20].ljust(20, b"\0")) + _base32(data[20:].ljust(20, b"\0"))
    return text[: (len(data) * 8 + 4) // 5]


def _base32(data: bytes) -> str:
    """Write 20 bytes as 32 characters."""
    bits = int.from_bytes(data, "big")
    # x + (upper << by) - upper moves the upper half: (x & upper) * (2**by - 1) is added
    moved = bits & _UPPER_80
    bits += (moved << _BY_48) - moved
    moved = bits & _UPPER_40
    bits += (moved << _BY_24) - moved
    moved = bits & _UPPER_20
    bits += (moved << _BY_12) - moved
    moved = bits & _UPPER_10
    bits += (moved << _BY_6) - moved
    moved = bits & _UPPER_5
    bits += (moved << _BY_3) - moved
    return bits.to_bytes(32, "big").translate(_CHARACTERS).decode()


@lru_cache(maxsize=DEFAULT.parsed_ids)
def parse_id(text: str) -> DocumentId:
    """Read an id strictly: alphabet, length, checksum and the one spelling that `encode_id` gives.

    Raises `InvalidId` for anything else.
    """
    size = _LENGTHS.get(len(text)) if isinstance(cast(object, text), str) else None
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
    if size == 20 and data[0] > 127 and 0 < data[1] < 128:
        return DocumentId(data[0] & 127 | data[1] << 7, int.from_bytes(data[2:10], "big"))
    groups = size - 18
    table = 0
    for position in range(groups):
        group = data[position]
        if (group < 128) != (position == groups - 1):
            raise _invalid(text)
        table |= (group & 127) << 7 * position
    if not 0 < table <= _TABLE_MAX or data[groups - 1] == 0:
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
    sums = list(accumulate(data))
    return bytes((sums[-1] & 255, sum(sums) & 255))


def _invalid(text: object) -> InvalidId:
    shown = repr(text)
    if len(shown) > 50:
        shown = shown[:47] + "..."
    return InvalidId(f"{shown} is not a document id: ids are the strings that insert returned, unchanged")
