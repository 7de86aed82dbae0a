"""The metadata of a segment's rows by field, in typed arrays, so that a filter is judged for all rows at once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from reflow.search.column import Column, Entries, Mask, merged_column
from reflow.search.conditions import (
    AllHold,
    AnyOf,
    Condition,
    Exists,
    Fails,
    Metadata,
    NoneOf,
    OneHolds,
    Value,
)
from reflow.search.dictionary import Dictionary, Packed
from reflow.search.filters import Filter

_PACKED = 6
"""Arrays of a dictionary that is packed."""


class _Saved(msgspec.Struct, array_like=True):
    """A field as the header of a dump has it; its arrays follow in the order rows, codes, numbers, dictionary."""

    name: str
    has_rows: bool
    has_numbers: bool
    values: list[Any] | None
    """The dictionary's values, None where it is packed."""


class _Header(msgspec.Struct, array_like=True):
    size: int
    fields: list[_Saved]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Header).decode


class Columns:
    """The metadata of rows 0, 1, 2...

    Any field may hold any class of value. One thread appends and truncates; others may at the same time ask for masks
    and values of rows that are there. Numbers come back as floats.
    """

    def __init__(self) -> None:
        self._size = 0
        self._fields: dict[str, Column] = {}

    def __len__(self) -> int:
        return self._size

    def append(self, metadata: Metadata) -> None:
        """Adds a row. Raises InvalidValue for values that metadata can't hold, and has added nothing then."""
        values = [
            (column := self._fields.get(name) or self._add(name), *column.coded(value))
            for name, value in metadata.items()
        ]
        for column, code, value in values:
            column.put(self._size, code, value)
        self._size += 1

    def append_many(self, rows: Iterable[Metadata]) -> None:
        """Adds rows, as `append` does one by one: all of them or, on InvalidValue, none."""
        found: dict[str, tuple[list[int], list[Any]]] = {}
        row = self._size
        for metadata in rows:
            for name, value in metadata.items():
                places, values = found.get(name) or found.setdefault(name, ([], []))
                places.append(row)
                values.append(value)
            row += 1
        writes = [
            (column := self._fields.get(name) or self._add(name), places, *column.coded_all(values))
            for name, (places, values) in found.items()
        ]
        for column, places, codes, numbers in writes:
            column.put_all(places, codes, numbers)
        self._size = row

    def _add(self, name: str) -> Column:
        self._fields[name] = column = Column()
        return column

    def truncate(self, size: int) -> None:
        """Forgets the rows from `size` on."""
        for column in self._fields.values():
            column.truncate(size)
        self._size = min(size, self._size)

    def metadata(self, row: int) -> dict[str, Value]:
        """The metadata of a row. Raises IndexError."""
        if not 0 <= row < self._size:
            raise IndexError(f"there is no row {row}, only {self._size} rows")
        return {name: value for name, column in list(self._fields.items()) for value in column.value(row)}

    def mask(self, filter: Filter | None, rows: slice | NDArray[Any] = slice(None)) -> Mask:
        """Which of the rows pass, in their order: a slice of step 1, or row numbers below the size."""
        if isinstance(rows, slice):
            start, stop, _ = rows.indices(self._size)
            chosen = range(start, max(start, stop))
        else:
            chosen = rows
        if filter is None:
            return np.ones(len(chosen), dtype=np.bool_)
        return self._mask(filter.condition, chosen)

    def _mask(self, condition: Condition, rows: range | NDArray[np.intp]) -> Mask:
        match condition:
            case AllHold(parts):
                mask = np.ones(len(rows), dtype=np.bool_)
                for part in parts:
                    mask &= self._mask(part, rows)
                return mask
            case OneHolds(parts):
                mask = np.zeros(len(rows), dtype=np.bool_)
                for part in parts:
                    mask |= self._mask(part, rows)
                return mask
            case Fails(part):
                return ~self._mask(part, rows)
            case NoneOf(field, unwanted, missing):
                mask = ~self._mask(AnyOf(field, unwanted), rows)
                return mask if missing else mask & self._mask(Exists(field, True), rows)
            case Exists(field, False):
                return ~self._mask(Exists(field, True), rows)
            case _:
                column = self._fields.get(condition.field)
                return np.zeros(len(rows), dtype=np.bool_) if column is None else column.mask(condition, rows)

    def take(self, rows: NDArray[Any]) -> Columns:
        """Columns of these rows, each at most once, in this order."""
        return Columns.merged([self], rows)

    @classmethod
    def merged(cls, parts: Sequence[Columns], rows: NDArray[Any]) -> Columns:
        """Columns of rows of several, numbered through all parts one after the other; each at most once, any order."""
        starts = np.cumsum([0, *map(len, parts)])
        target = np.full(starts[-1], -1, dtype=np.int64)
        target[rows] = np.arange(len(rows))
        result = cls()
        result._size = len(rows)
        for name in dict.fromkeys(name for part in parts for name in part._fields):
            found = [
                (part._fields[name], target[starts[i] : starts[i + 1]])
                for i, part in enumerate(parts)
                if name in part._fields
            ]
            column = merged_column(found, len(rows))
            if column is not None:
                result._fields[name] = column
        return result

    def dump(self) -> tuple[bytes, list[NDArray[Any]]]:
        """A header and arrays from which `load` makes these columns again."""
        if not all(column.dictionary.is_uniform for column in self._fields.values()):
            return self.take(np.arange(self._size)).dump()
        fields: list[_Saved] = []
        arrays: list[NDArray[Any]] = []
        for name, column in self._fields.items():
            entries, dictionary = column.written(self._size), column.dictionary
            values = None if dictionary.packed else dictionary.recent
            fields.append(_Saved(name, entries.rows is not None, entries.numbers is not None, values))
            arrays += [array for array in (entries.rows, entries.codes, entries.numbers) if array is not None]
            arrays += [array for packed in dictionary.packed for array in packed.arrays()]
        return _encode(_Header(self._size, fields)), arrays

    @classmethod
    def load(cls, header: bytes, arrays: Sequence[NDArray[Any]]) -> Columns:
        """The columns of a dump. The arrays may be read-only and lie in a file; they are used, not copied."""
        saved = _decode(header)
        result = cls()
        result._size = saved.size
        rest = iter(arrays)
        for field in saved.fields:
            rows = next(rest) if field.has_rows else None
            codes = next(rest)
            entries = Entries(rows, codes, next(rest) if field.has_numbers else None)
            if field.values is None:
                dictionary = Dictionary((Packed(*(next(rest) for _ in range(_PACKED))),))
            else:
                dictionary = Dictionary.of(field.values)
            result._fields[field.name] = Column(entries, dictionary)
        return result
