from __future__ import annotations

import pytest

from reflow.errors import InvalidId
from reflow.ids import DocumentId, encode_id, encode_id_bytes, is_id, parse_id

# (table number, 16 bytes, text): what Convex's own encoder gives
VECTORS = [
    (1, bytes(16), "0400000000000000000000000000248"),
    (10001, bytes(range(16)), "j57000820c20a1g7104gm2rc1m70ynr8"),
    (10002, b"\xff" * 16, "j97fzzzzzzzzzzzzzzzzzzzzzzzzzm7a"),
    (4294967295, b"\xab" * 16, "zzzzzzrfnentqaxbnentqaxbnentqaxbnexrj"),
]
ID = encode_id(10001, 1_764_000_000_000_000 << 12, b"\x01\x02\x03\x04\x05\x06\x07\x08")


@pytest.mark.parametrize(("table", "sixteen", "text"), VECTORS)
def test_ids_are_spelled_as_convex_spells_them(table: int, sixteen: bytes, text: str) -> None:
    assert encode_id_bytes(table, sixteen) == text
    assert parse_id(text) == DocumentId(table, int.from_bytes(sixteen[:8], "big"))


def test_an_id_says_its_table_and_sequence_number() -> None:
    parsed = parse_id(ID)
    assert parsed.table == 10001
    assert parsed.seq == 1_764_000_000_000_000 << 12


def test_ids_of_one_table_sort_by_their_sequence_numbers() -> None:
    numbers = [0, 1, 255, 256, 1 << 40, (1 << 40) + 1, (1 << 63) - 1]
    ids = [encode_id(10001, number, b"\xff" * 8) for number in numbers]
    assert ids == sorted(ids)


WRONG = [
    "",
    "x",
    "not an id",
    ID[:-1],
    ID + "0",
    ID.upper(),
    " " + ID[1:],
    "-" + ID[1:],
    ID[:5] + "_" + ID[6:],
    ID[:-1] + "u",  # i, l, o and u are not in the alphabet
    ID[:-1] + "l",
    ID[:5] + "é" + ID[6:],
    ID[:5] + "\x00" + ID[6:],
    ID[:5] + "\ud800" + ID[6:],
    ID[:20] + ("0" if ID[20] != "0" else "1") + ID[21:],  # checksum
    "0400000000000000000000000000249",  # an excess bit
    "j57" * 1000,
]


@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_id_is_refused(text: str) -> None:
    assert not is_id(text)
    with pytest.raises(InvalidId, match="is not a document id"):
        parse_id(text)


def test_an_overlong_table_number_is_refused() -> None:
    """Table 5 written in two groups has a right checksum, but is not the spelling that the encoder gives."""
    body = bytes((5 | 128, 0)) + bytes(range(16))
    low = high = 0
    for byte in body:
        low = (low + byte) % 256
        high = (high + low) % 256
    number = int.from_bytes(body + bytes((low, high)), "big")
    text = "".join("0123456789abcdefghjkmnpqrstvwxyz"[number >> shift & 31] for shift in range(155, -1, -5))
    assert not is_id(text)


def test_the_error_shows_the_text_but_not_all_of_it() -> None:
    with pytest.raises(InvalidId) as caught:
        parse_id("secret" * 1000)
    assert "'secretsecret" in str(caught.value)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("table", [0, -1, 1 << 32])
def test_a_table_number_has_bounds(table: int) -> None:
    with pytest.raises(InvalidId, match="table number"):
        encode_id_bytes(table, bytes(16))


def test_the_parts_of_an_id_have_their_sizes() -> None:
    with pytest.raises(InvalidId, match="8 random bytes"):
        encode_id(10001, 1, b"1234567")
    with pytest.raises(InvalidId, match="sequence number"):
        encode_id(10001, 1 << 64, b"12345678")
    with pytest.raises(InvalidId, match="sequence number"):
        encode_id(10001, -1, b"12345678")
    with pytest.raises(InvalidId, match="16 bytes"):
        encode_id_bytes(10001, b"short")
