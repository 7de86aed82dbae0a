from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from reflow.ids import encode_id, encode_id_bytes, is_id, parse_id

CROCKFORD = "0123456789abcdefghjkmnpqrstvwxyz"
TO_CROCKFORD = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", CROCKFORD)
TABLES = st.integers(1, 2**32 - 1) | st.integers(1, 7).map(lambda n: 128**n // 2).filter(lambda n: n < 2**32)


def written_slowly(table: int, sixteen: bytes) -> str:
    """Spell an id step by step, as the format is described."""
    data = bytearray()
    while table > 127:
        data.append(table % 128 + 128)
        table //= 128
    data.append(table)
    data += sixteen
    low = high = 0
    for byte in data:
        low = (low + byte) % 256
        high = (high + low) % 256
    data += bytes((low, high))
    return base64.b32encode(data).decode().rstrip("=").translate(TO_CROCKFORD)


@given(TABLES, st.binary(min_size=16, max_size=16))
def test_encoding_agrees_with_the_description(table: int, sixteen: bytes) -> None:
    text = encode_id_bytes(table, sixteen)
    assert text == written_slowly(table, sixteen)
    assert parse_id(text) == (table, int.from_bytes(sixteen[:8], "big"))


@given(TABLES, st.integers(0, 2**64 - 1), st.binary(min_size=8, max_size=8))
def test_parsing_undoes_encoding(table: int, seq: int, tail: bytes) -> None:
    assert parse_id(encode_id(table, seq, tail)) == (table, seq)


@given(TABLES, st.binary(min_size=16, max_size=16), st.integers(0, 36), st.sampled_from(CROCKFORD + "ilouAZ_- \x00"))
def test_one_wrong_character_is_noticed(table: int, sixteen: bytes, place: int, character: str) -> None:
    text = encode_id_bytes(table, sixteen)
    place %= len(text)
    changed = text[:place] + character + text[place + 1 :]
    # The checksum counts modulo 256 and lets a change through now and then, but never one that isn't the right spelling
    if changed != text and is_id(changed):
        padded = changed.upper().translate(str.maketrans(CROCKFORD.upper(), "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"))
        data = base64.b32decode(padded + "=" * (-len(padded) % 8))
        assert written_slowly(parse_id(changed).table, data[-18:-2]) == changed


@given(st.text(max_size=40))
def test_any_text_is_an_id_or_not(text: str) -> None:
    assert is_id(text) in (True, False)
