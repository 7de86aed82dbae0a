from __future__ import annotations

import math
import threading
from typing import Any
from zlib import crc32

import numpy as np
import pytest

from reflow.errors import InvalidValue
from reflow.search import dictionary
from reflow.search.columns import Columns
from reflow.search.conditions import pack
from reflow.search.dictionary import RECENT, Packed
from reflow.search.filters import Filter, parse

ROWS: list[dict[str, Any]] = [
    {"kind": "note", "n": 1, "tags": ["a", "b"], "pinned": True},
    {"kind": "chat", "n": 2.5, "tags": []},
    {"kind": 7, "n": "seven", "tags": "a"},
    {},
    {"kind": None, "n": float("nan"), "tags": ["b", "b"]},
    {"kind": True, "n": -0.0, "rare": "x"},
]

MASKS: list[tuple[dict[str, Any], list[int]]] = [
    ({"kind": "note"}, [0]),
    ({"kind": {"$in": ["note", "chat", "none"]}}, [0, 1]),
    ({"kind": 7}, [2]),
    ({"kind": True}, [5]),
    ({"kind": {"$ne": "note"}}, [1, 2, 4, 5]),
    ({"kind": {"$nin": [7]}}, [0, 1, 4, 5]),
    ({"kind": {"$exists": False}}, [3]),
    ({"n": {"$gte": 1}}, [0, 1]),
    ({"n": {"$lt": 1}}, [5]),
    ({"n": 0}, [5]),
    ({"n": {"$in": [0, 1, 2, 3, 4, 5, 6, 7, 8]}}, [0, 5]),
    ({"n": {"$exists": True}}, [0, 1, 2, 4, 5]),
    ({"tags": "a"}, [0, 2]),
    ({"tags": {"$in": ["b", "c"]}}, [0, 4]),
    ({"tags": {"$nin": ["a"]}}, [1, 4]),
    ({"rare": "x"}, [5]),
    ({"rare": {"$ne": "y"}}, [5]),
    ({"unknown": 1}, []),
    ({"unknown": {"$exists": False}}, [0, 1, 2, 3, 4, 5]),
    ({"$or": [{"kind": "note"}, {"n": "seven"}, {"rare": "x"}]}, [0, 2, 5]),
    ({"$and": [{"tags": "a"}, {"pinned": True}]}, [0]),
    ({"$not": {"tags": "a"}}, [1, 3, 4, 5]),
]


def columns(rows: list[dict[str, Any]]) -> Columns:
    found = Columns()
    found.append_many(rows)
    return found


def one_by_one(rows: list[dict[str, Any]]) -> Columns:
    found = Columns()
    for metadata in rows:
        found.append(metadata)
    return found


def loaded(rows: list[dict[str, Any]]) -> Columns:
    header, arrays = columns(rows).dump()
    for array in arrays:
        array.flags.writeable = False
    return Columns.load(header, arrays)


def wanted(condition: dict[str, Any]) -> Filter:
    found = parse(condition, nulls=True)
    assert found is not None
    return found


@pytest.mark.parametrize("made", [columns, one_by_one, loaded])
@pytest.mark.parametrize(("condition", "rows"), MASKS, ids=str)
def test_masks(condition: dict[str, Any], rows: list[int], made: Any) -> None:
    found = made(ROWS)
    assert np.flatnonzero(found.mask(wanted(condition))).tolist() == rows
    some = np.array([5, 0, 3, 2])
    assert found.mask(wanted(condition), some).tolist() == [row in rows for row in some]
    assert found.mask(wanted(condition), slice(2, 5)).tolist() == [row in rows for row in range(2, 5)]
    assert found.mask(wanted(condition), slice(4, 1)).tolist() == []


def test_without_a_filter_all_pass() -> None:
    assert columns(ROWS).mask(None).tolist() == [True] * len(ROWS)
    assert columns(ROWS).mask(None, np.array([1, 2])).tolist() == [True, True]
    assert Columns().mask(wanted({"a": 1})).tolist() == []


@pytest.mark.parametrize("made", [columns, one_by_one, loaded])
def test_metadata_comes_back(made: Any) -> None:
    found = made(ROWS)
    assert len(found) == len(ROWS)
    for row, metadata in enumerate(ROWS):
        back = found.metadata(row)
        if row == 4:
            assert math.isnan(back.pop("n"))
            metadata = {"kind": None, "tags": ["b", "b"]}
        assert back == metadata
        assert type(back.get("pinned", True)) is bool
    for row in (-1, len(ROWS)):
        with pytest.raises(IndexError, match=f"there is no row {row}, only 6 rows"):
            found.metadata(row)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"a": 1}, {"a": "x", "b": {}}], "got dict"),
        ([{"a": b"x"}], "got bytes"),
        ([{"a": [1, []]}], "got list"),
        ([{"a": 1, "b": 10**400}], "float64"),
        ([{"b": 10**400, "a": "x"}, {"b": 1}], "float64"),
        ([{"a": "fine", "b": "\ud800"}], "lone surrogates"),
        ([{"a": ["\ud800"]}], "lone surrogates"),
    ],
    ids=str,
)
@pytest.mark.parametrize("one", [False, True])
def test_what_metadata_can_not_hold_adds_nothing(rows: list[dict[str, Any]], message: str, one: bool) -> None:
    found = columns([{"a": "x", "b": 1.0}])
    with pytest.raises(InvalidValue, match=message):
        found.append(rows[-1] if len(rows) > 1 and "a" in rows[-1] else rows[0]) if one else found.append_many(rows)
    assert len(found) == 1
    found.append({"c": True})
    assert [found.metadata(row) for row in range(2)] == [{"a": "x", "b": 1.0}, {"c": True}]


def test_rows_after_a_truncation_do_not_show_what_was_there() -> None:
    for found in (columns(ROWS), loaded(ROWS)):
        found.truncate(2)
        assert len(found) == 2
        assert found.mask(wanted({"tags": "a"})).tolist() == [True, False]
        found.append_many([{}] * 4)
        assert [found.metadata(row) for row in range(2, 6)] == [{}] * 4
        assert np.flatnonzero(found.mask(wanted({"n": {"$exists": True}}))).tolist() == [0, 1]
        assert np.flatnonzero(found.mask(wanted({"n": {"$lt": 9}}))).tolist() == [0, 1]
        found.truncate(9)
        assert len(found) == 6


def test_loaded_arrays_are_not_written_to() -> None:
    header, arrays = columns(ROWS).dump()
    before = [array.copy() for array in arrays]
    found = Columns.load(header, arrays)
    found.append_many(ROWS)
    found.truncate(1)
    found.append({"kind": "other", "n": 5, "rare": "y"})
    for array, copy in zip(arrays, before, strict=True):
        np.testing.assert_array_equal(array, copy)
    assert found.metadata(1) == {"kind": "other", "n": 5.0, "rare": "y"}


def test_a_field_of_few_rows_takes_little_room_and_may_become_one_of_many() -> None:
    found = Columns()
    found.append_many([{"rare": "x", "n": row} if row % 1000 == 7 else {} for row in range(10_000)])
    _, arrays = found.dump()
    assert sum(array.nbytes for array in arrays) < 1000
    assert np.flatnonzero(found.mask(wanted({"rare": "x"}))).tolist() == list(range(7, 10_000, 1000))
    assert found.mask(wanted({"rare": "x"}), slice(1000, 2010)).sum() == 2
    found.append_many([{"rare": f"{row % 3}"} for row in range(20_000)])
    assert found.mask(wanted({"rare": {"$in": ["x", "1"]}})).sum() == 10 + 6667
    assert found.mask(wanted({"n": {"$gt": 5000}})).sum() == 5


def test_fields_that_ended_long_ago_are_missing_now() -> None:
    found = columns([{"old": 1}] * 5)
    found.append_many([{"new": 1}] * 100)
    assert found.mask(wanted({"old": 1})).sum() == 5
    assert found.mask(wanted({"old": 1}), np.array([104, 0, 50])).tolist() == [False, True, False]
    assert found.mask(wanted({"old": {"$exists": False}}), slice(3, 105)).sum() == 100
    assert found.metadata(104) == {"new": 1.0}


def test_many_distinct_values_are_packed_and_found() -> None:
    count = 3 * RECENT + 5
    rows = [{"id": f"document-{row}", "tags": [f"t{row}", f"t{row + 1}", "all"]} for row in range(count)]
    for found in (columns(rows), columns(rows).take(np.arange(count)), loaded(rows)):
        for row in (0, RECENT, count - 1):
            assert np.flatnonzero(found.mask(wanted({"id": f"document-{row}"}))).tolist() == [row]
            assert found.metadata(row) == rows[row]
        assert np.flatnonzero(found.mask(wanted({"tags": "t9000"}))).tolist() == [8999, 9000]
        assert found.mask(wanted({"tags": "all"})).all()
        assert not found.mask(wanted({"id": "document"})).any()
        some = [f"document-{row}" for row in range(0, count, 10)]
        assert np.flatnonzero(found.mask(wanted({"id": {"$in": some}}))).tolist() == list(range(0, count, 10))


def test_values_of_one_hash_stay_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dictionary, "RECENT", 2)
    monkeypatch.setattr(dictionary, "crc32", len)
    rows = [{"id": text} for text in ("aa", "ab", "ba", "bb", "aa", "ab", "a", "ab")]
    found = columns(rows)
    for each in (found, found.take(np.arange(8)), Columns.merged([found, found], np.array([1, 9, 0, 8, 7, 15, 2, 10]))):
        assert each.mask(wanted({"id": "ab"})).tolist() == [each.metadata(row)["id"] == "ab" for row in range(8)]
        assert each.mask(wanted({"id": "ab"})).any()
    assert [found.take(np.arange(8)).metadata(row) for row in range(8)] == rows


def test_taken_rows_keep_no_values_of_others() -> None:
    count = 2 * RECENT
    found = columns(
        [{"id": f"document-{row}" * 10, "rare": row} if row < 5 else {"id": str(row)} for row in range(count)]
    )
    last = found.take(np.arange(5, count)[::-1])
    assert last.metadata(0) == {"id": str(count - 1)}
    header, arrays = last.dump()
    assert b"rare" not in header
    assert sum(array.nbytes for array in arrays) < 40 * count
    few = found.take(np.array([0, 7]))
    header, arrays = few.dump()
    assert sum(array.nbytes for array in arrays) < 200
    assert b"document-1" not in header


def test_columns_are_merged_in_any_order() -> None:
    one = columns([{"a": "x", "n": 1}, {"a": "y"}, {"b": ["p"]}])
    other = columns([{"a": "y", "n": "text"}, {"c": True}])
    both = Columns.merged([one, Columns(), other], np.array([3, 0, 4, 2]))
    assert [both.metadata(row) for row in range(4)] == [
        {"a": "y", "n": "text"},
        {"a": "x", "n": 1.0},
        {"c": True},
        {"b": ["p"]},
    ]
    assert both.mask(wanted({"a": "y"})).tolist() == [True, False, False, False]
    both.append({"a": "x"})
    assert both.mask(wanted({"a": "x"})).tolist() == [False, True, False, False, True]
    assert len(Columns.merged([], np.array([], dtype=np.int64))) == 0


def test_a_mask_of_rows_that_are_there_may_be_taken_while_rows_are_added() -> None:
    found = Columns()
    frozen = 500
    rows = [
        {"kind": f"k{row % 3}", "id": f"document-{row}", "tags": [f"t{row % 50}", f"u{row}"]}
        | ({"rare": row} if row % 90 == 0 else {})
        for row in range(60_000)
    ]
    found.append_many(rows[:frozen])
    conditions = [
        {"kind": "k1"},
        {"id": "document-77"},
        {"id": {"$in": [f"document-{row}" for row in range(9)]}},
        {"tags": {"$in": ["t7", "u8"]}},
        {"rare": {"$gte": 100}},
        {"rare": {"$in": list(range(0, 900, 90))}},
    ]
    filters = [wanted(condition) for condition in conditions]
    masks = [[each.matches(metadata) for metadata in rows[:frozen]] for each in filters]
    some = np.arange(0, frozen, 7)
    wrong: list[str] = []
    stop = threading.Event()

    def look() -> None:
        try:
            while not stop.is_set():
                for each, mask in zip(filters, masks, strict=True):
                    if found.mask(each, slice(0, frozen)).tolist() != mask:
                        wrong.append(f"{each}: a slice")
                    if found.mask(each, some).tolist() != [mask[row] for row in some]:
                        wrong.append(f"{each}: rows")
                if found.metadata(90) != rows[90]:
                    wrong.append("metadata")
        except Exception as error:
            wrong.append(repr(error))

    threads = [threading.Thread(target=look) for _ in range(2)]
    for thread in threads:
        thread.start()
    for start in range(frozen, len(rows), 500):
        found.append_many(rows[start : start + 250])
        for metadata in rows[start + 250 : start + 500]:
            found.append(metadata)
        found.append_many([{"kind": "taken back", "rare": start, "tags": ["t7"]}] * 20)
        found.truncate(len(found) - 20)
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong, wrong[:3]


def of_one_hash(count: int) -> list[str]:
    """Different texts with the same CRC-32: it is linear in the bits, so enough of them cancel out."""
    length = 48
    plain = pack("a" * length)
    basis: dict[int, tuple[int, int]] = {}
    nothing: list[int] = []
    for bit in range(length):
        text = bytearray(plain)
        text[len(plain) - length + bit] ^= 2
        effect, flips = crc32(text) ^ crc32(plain), 1 << bit
        while effect and effect.bit_length() in basis:
            other, its = basis[effect.bit_length()]
            effect, flips = effect ^ other, flips ^ its
        if effect:
            basis[effect.bit_length()] = effect, flips
        else:
            nothing.append(flips)
    found: list[str] = []
    for number in range(count):
        flips = 0
        for bit, some in enumerate(nothing):
            flips ^= some if number >> bit & 1 else 0
        found.append("".join("c" if flips >> bit & 1 else "a" for bit in range(length)))
    return found


def test_values_made_to_have_one_hash_are_found_and_looked_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = of_one_hash(2 * RECENT)
    assert len({crc32(pack(text)) for text in texts}) == 1
    columns = Columns()
    columns.append_many({"text": text} for text in texts)
    columns = columns.take(np.arange(len(texts)))
    reads = 0
    content = Packed.content

    def counted(packed: Packed, entry: int) -> bytes:
        nonlocal reads
        reads += 1
        return content(packed, entry)

    monkeypatch.setattr(Packed, "content", counted)
    mask = columns.mask(wanted({"text": {"$in": texts[::10]}}))
    assert np.flatnonzero(mask).tolist() == list(range(0, len(texts), 10))
    assert reads <= len(texts)
