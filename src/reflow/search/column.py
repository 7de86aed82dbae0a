"""One field of the metadata: the rows' values as codes and numbers, in arrays, whatever classes they are mixed from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from reflow.search.conditions import ORDERS, AnyOf, Compared, Exists, Value, number
from reflow.search.dictionary import Dictionary, key_of, merged
from reflow.search.ragged import row_places

ABSENT, NUMBER = -1, -2
"""Codes of rows without the field, and of rows that have a number there."""

Mask: TypeAlias = NDArray[np.bool_]

_FIRST_CAPACITY = 16
_RARE = 4
"""A field that fewer than one in so many rows have is kept as a list of rows."""
_COMPARISONS = 6
"""Up to so many values are compared with a whole array one by one; more are looked up."""
_NO_ROW = np.iinfo(np.int32).max

Leaf: TypeAlias = AnyOf | Compared | Exists
"""What one field decides on its own."""

_Codes: TypeAlias = NDArray[np.int32]
_Numbers: TypeAlias = NDArray[np.float64]
_Test: TypeAlias = Callable[[_Codes, "_Numbers | None"], Mask]


@dataclass(frozen=True, slots=True)
class Entries:
    """A field's values: entry i belongs to row i, or to `rows[i]` (ascending) where few rows have the field.

    `numbers` is there once a row has a number; it is NaN for all others. Entries not yet written are ABSENT, and their
    row is behind all others, so that whoever reads need not know how many there are.
    """

    rows: NDArray[np.int32] | None
    codes: _Codes
    numbers: _Numbers | None

    def present(self, size: int) -> Entries:
        """The entries that are values, with their rows below `size`."""
        if self.rows is None:
            rows = np.flatnonzero(self.codes[:size] != ABSENT).astype(np.int32)
            return Entries(rows, self.codes[rows], None if self.numbers is None else self.numbers[rows])
        return self.cut(int(row_places(self.rows, size)))

    def cut(self, count: int) -> Entries:
        """The first entries."""
        numbers = None if self.numbers is None else self.numbers[:count]
        return Entries(None if self.rows is None else self.rows[:count], self.codes[:count], numbers)

    def placed(self, place: Any, capacity: int, *, dense: bool) -> Entries:
        """The same entries at that place of arrays of that capacity."""
        return Entries(
            None if dense else _filled(capacity, _NO_ROW, place, cast("NDArray[np.int32]", self.rows)),
            _filled(capacity, ABSENT, place, self.codes),
            None if self.numbers is None else _filled(capacity, np.nan, place, self.numbers),
        )


def _filled(capacity: int, value: float, place: Any, content: NDArray[Any]) -> NDArray[Any]:
    """An array of that capacity with the content in its place and the value elsewhere."""
    result = np.full(capacity, value, dtype=content.dtype)
    result[place] = content
    return result


class Column:
    """One field. Rows are written in ascending order by one thread; others may read those that are there."""

    __slots__ = ("_capacity", "_count", "dictionary", "entries")

    def __init__(self, entries: Entries | None = None, dictionary: Dictionary | None = None) -> None:
        empty = np.empty(0, dtype=np.int32)
        self.entries = entries or Entries(empty, empty, None)
        self.dictionary = dictionary or Dictionary()
        self._count = len(self.entries.codes)
        """Entries written, where they have rows of their own."""
        self._capacity = 0
        """Entries that may be written. None of what was given at first: it may be a read-only file."""

    def coded(self, value: object) -> tuple[int, float]:
        """A value's code, and its number or NaN. Raises InvalidValue."""
        if type(value) is str:
            return self.dictionary.code(value), np.nan
        if isinstance(value, int | float) and not isinstance(value, bool):
            return NUMBER, number(value)
        return self.dictionary.code(key_of(value)), np.nan

    def coded_all(self, values: Sequence[Any]) -> tuple[Any, Any]:
        """The codes of the values, or the one code of all, and their numbers if there are any. Raises InvalidValue."""
        kinds = set(map(type, values))
        if kinds == {str}:
            return self.dictionary.code_all(values), None
        if kinds <= {int, float}:
            try:
                return NUMBER, np.array(values, dtype=np.float64)
            except OverflowError:
                return NUMBER, list(map(number, values))  # names the one that is too large
        if kinds == {list} and set(map(type, chain.from_iterable(values))) <= {str}:
            return self.dictionary.code_all([tuple(items) for items in values]), None
        codes, numbers = zip(*map(self.coded, values), strict=True)
        return codes, numbers if NUMBER in codes else None

    def put(self, row: int, code: int, value: float) -> None:
        """Writes one row."""
        entries = self.entries
        if (row if entries.rows is None else self._count) >= self._capacity or (
            code == NUMBER and entries.numbers is None
        ):
            entries = self._prepared(row, 1, numbers=code == NUMBER)
        place = row if entries.rows is None else self._count
        if entries.numbers is not None:
            entries.numbers[place] = value
        entries.codes[place] = code
        if entries.rows is not None:
            entries.rows[place] = row
            self._count += 1

    def put_all(self, rows: Sequence[int], codes: Any, numbers: Any) -> None:
        """Writes several rows."""
        entries = self._prepared(rows[-1], len(rows), numbers=numbers is not None)
        if entries.rows is not None:
            place = slice(self._count, self._count + len(rows))
        elif rows[-1] - rows[0] + 1 == len(rows):
            place = slice(rows[0], rows[-1] + 1)
        else:
            place = np.array(rows)
        if numbers is not None and entries.numbers is not None:
            entries.numbers[place] = numbers
        entries.codes[place] = codes
        if entries.rows is not None:
            entries.rows[place] = rows
            self._count += len(rows)

    def _prepared(self, row: int, more: int, *, numbers: bool) -> Entries:
        """The entries with room for `more` of rows up to `row`, in the form that is the smaller one then."""
        if (row + 1 if self.entries.rows is None else self._count + more) > self._capacity:
            present = self.entries.present(row)
            count = len(present.codes)
            dense = (count + more) * _RARE > row
            capacity = max(_FIRST_CAPACITY, (row + 1 if dense else count + more) * 3 // 2)
            self.entries = present.placed(present.rows if dense else slice(count), capacity, dense=dense)
            self._count, self._capacity = count, capacity
        old = self.entries
        if numbers and old.numbers is None:
            self.entries = Entries(old.rows, old.codes, np.full(len(old.codes), np.nan))
        return self.entries

    def truncate(self, size: int) -> None:
        """Forgets the rows from `size` on."""
        entries = self.entries
        keep = min(size, len(entries.codes)) if entries.rows is None else int(row_places(entries.rows, size))
        self._count = keep
        if not self._capacity:
            self.entries = entries.cut(keep)
            return
        entries.codes[keep:] = ABSENT
        if entries.numbers is not None:
            entries.numbers[keep:] = np.nan
        if entries.rows is not None:
            entries.rows[keep:] = _NO_ROW

    def written(self, size: int) -> Entries:
        """The entries of the rows below `size`, without the room for more."""
        rows = self.entries.rows
        return self.entries.cut(size if rows is None else int(row_places(rows, size)))

    def value(self, row: int) -> tuple[Value] | tuple[()]:
        """The value of a row, if it has one."""
        entries = self.entries
        place = row if entries.rows is None else int(row_places(entries.rows, row))
        if place >= len(entries.codes) or (entries.rows is not None and entries.rows[place] != row):
            return ()
        code = int(entries.codes[place])
        if code == NUMBER and entries.numbers is not None:
            return (float(entries.numbers[place]),)
        return () if code == ABSENT else (self.dictionary.value(code),)

    def mask(self, condition: Leaf, rows: range | NDArray[np.intp]) -> Mask:
        """Which of the rows have a value that satisfies the condition."""
        entries = self.entries
        test = self._test(condition)
        if isinstance(rows, range):
            return _in_range(entries, test, rows)
        if entries.rows is None:
            places, there = rows, rows < len(entries.codes)
        else:
            places = row_places(entries.rows, rows)
            there = places < len(entries.codes)
            there[there] = entries.rows[places[there]] == rows[there]
        if not there.all():
            places = places[there]
        found = test(entries.codes[places], None if entries.numbers is None else entries.numbers[places])
        if len(found) == len(rows):
            return found
        mask = np.zeros(len(rows), dtype=np.bool_)
        mask[there] = found
        return mask

    def _test(self, condition: Leaf) -> _Test:
        match condition:
            case Exists():
                return lambda codes, _: codes != ABSENT
            case Compared(_, order, bound):
                compare = ORDERS[order]
                return lambda codes, numbers: _none(codes) if numbers is None else compare(numbers, bound)
            case AnyOf(_, wanted):
                bounds = np.array([value for value in wanted if isinstance(value, float)])
                known, size = self.dictionary.codes(wanted), len(self.dictionary)

                def test(codes: _Codes, numbers: _Numbers | None) -> Mask:
                    found = _one_of_codes(codes, known, size)
                    return found if numbers is None or not len(bounds) else found | _one_of_numbers(numbers, bounds)

                return test


def _in_range(entries: Entries, test: _Test, rows: range) -> Mask:
    if entries.rows is None:
        part = slice(rows.start, rows.stop)
        found = test(entries.codes[part], None if entries.numbers is None else entries.numbers[part])
        if len(found) == len(rows):
            return found
        mask = np.zeros(len(rows), dtype=np.bool_)
        mask[: len(found)] = found
        return mask
    part = slice(*row_places(entries.rows, (rows.start, rows.stop)))
    found = test(entries.codes[part], None if entries.numbers is None else entries.numbers[part])
    mask = np.zeros(len(rows), dtype=np.bool_)
    mask[entries.rows[part][found] - rows.start] = True
    return mask


def _none(values: NDArray[Any]) -> Mask:
    return np.zeros(len(values), dtype=np.bool_)


def _one_of_codes(codes: _Codes, wanted: NDArray[np.int32], size: int) -> Mask:
    if len(wanted) <= _COMPARISONS:
        return _any_equal(codes, wanted)
    table = np.zeros(size - NUMBER, dtype=np.bool_)  # ABSENT and NUMBER are its last two places
    table[wanted] = True
    # Wrapped, because an entry that is being written at this moment may have a code that is newer than the table.
    return table.take(codes, mode="wrap")


def _one_of_numbers(numbers: _Numbers, wanted: _Numbers) -> Mask:
    return np.isin(numbers, wanted) if len(wanted) > _COMPARISONS else _any_equal(numbers, wanted)


def _any_equal(values: NDArray[Any], wanted: NDArray[Any]) -> Mask:
    if not len(wanted):
        return _none(values)
    mask = values == wanted[0]
    for value in wanted[1:]:
        mask |= values == value
    return mask


def merged_column(parts: Sequence[tuple[Column, NDArray[np.int64]]], size: int) -> Column | None:
    """One column of those rows of several that have a target: by row of the part its new row, or -1.

    `size` is the number of new rows. None when none of them has the field.
    """
    chosen: list[tuple[Dictionary, Entries, NDArray[np.int32]]] = []
    for column, target in parts:
        entries = column.entries.present(len(target))
        places = target[entries.rows]
        keep = np.flatnonzero(places >= 0)
        numbers = None if entries.numbers is None else entries.numbers[keep]
        chosen.append((column.dictionary, Entries(None, entries.codes[keep], numbers), places[keep].astype(np.int32)))
    rows = np.concatenate([places for _, _, places in chosen])
    if not len(rows):
        return None
    dictionary, remaps = merged([(known, _used(entries.codes, len(known))) for known, entries, _ in chosen])
    codes = np.concatenate([entries.codes for _, entries, _ in chosen])
    codes[codes >= 0] = np.concatenate(
        [remap[e.codes[e.codes >= 0]] for remap, (_, e, _) in zip(remaps, chosen, strict=True)]
    )
    numbers = None
    if (codes == NUMBER).any():
        numbers = np.concatenate(
            [np.full(len(e.codes), np.nan) if e.numbers is None else e.numbers for _, e, _ in chosen]
        )
    if len(rows) * _RARE > size:
        return Column(Entries(rows, codes, numbers).placed(rows, int(rows.max()) + 1, dense=True), dictionary)
    order = np.argsort(rows)
    return Column(Entries(rows[order], codes[order], None if numbers is None else numbers[order]), dictionary)


def _used(codes: _Codes, size: int) -> NDArray[np.int32]:
    """The distinct codes of values among the codes."""
    used = np.zeros(size, dtype=np.bool_)
    used[codes[codes >= 0]] = True
    return np.flatnonzero(used).astype(np.int32)
