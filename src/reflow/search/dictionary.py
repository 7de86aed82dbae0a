"""The distinct values of a metadata field, numbered: texts, bools, null and lists, found by value or by list element.

Most fields have few values, and those are Python objects in a dict. A field with many (a URL, a document's id) would
cost more that way than its vectors: from `RECENT` entries on they are packed into arrays, which may also lie in a
memory-mapped file. Codes stay what they are when that happens, so that rows need no rewriting.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias, cast
from zlib import crc32

import msgspec
import numpy as np
from numpy.typing import NDArray

from reflow.errors import InvalidValue
from reflow.search.conditions import FALSE, NULL, TRUE, Token, Value, as_list, pack, token
from reflow.search.ragged import ends, pieces

RECENT = 4096
"""Entries of a field that are kept as Python objects; when it is exceeded they are packed together."""

Key: TypeAlias = Token | tuple[Token, ...]
"""A value as it is numbered: a list is the tuple of its elements."""

_PLAIN: dict[Any, Any] = {TRUE: True, FALSE: False, NULL: None}
_unpack = msgspec.msgpack.Decoder().decode


def key_of(value: object) -> Key:
    """A value of the metadata as it is numbered. Raises InvalidValue for what metadata can't hold."""
    if type(value) is str:
        return value
    items = as_list(value)
    # Adding zero makes the two zeros one, as they are when numbers are compared.
    return token(value) if items is None else tuple(t + 0.0 if isinstance(t, float) else t for t in map(token, items))


def _plain(key: Key) -> Value:
    if isinstance(key, tuple):
        return cast(Value, [_PLAIN.get(item, item) for item in key])
    return _PLAIN.get(key, key)


@dataclass(frozen=True, slots=True)
class Packed:
    """Entries 0..n as arrays.

    Entry i is the msgpack `blob[offsets[i]:offsets[i + 1]]` with the CRC-32 `hashes[i]`; a list's elements are the
    entries `elements[starts[i]:starts[i + 1]]`. `order` has the entries by ascending hash.
    """

    hashes: NDArray[np.uint32]
    order: NDArray[np.int32]
    offsets: NDArray[np.int64]
    blob: NDArray[np.uint8]
    starts: NDArray[np.int64]
    elements: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.order)

    def arrays(self) -> list[NDArray[Any]]:
        """The arrays in the order in which they make the same entries again."""
        return [self.hashes, self.order, self.offsets, self.blob, self.starts, self.elements]

    def content(self, entry: int) -> bytes:
        """The msgpack of an entry."""
        return self.blob[self.offsets[entry] : self.offsets[entry + 1]].tobytes()

    def find(self, contents: Sequence[bytes], hashes: NDArray[np.uint32]) -> NDArray[np.int32]:
        """The entries with one of the contents, and the lists that have such an element, in no particular order."""
        asked = set(contents)
        hashes = np.unique(hashes)  # so that values made to have one hash are looked at once for all of the contents
        first = np.searchsorted(self.hashes, hashes, "left", sorter=self.order)
        last = np.searchsorted(self.hashes, hashes, "right", sorter=self.order)
        found: list[int] = []
        for place in np.flatnonzero(last > first).tolist():
            candidates = cast("list[int]", self.order[first[place] : last[place]].tolist())
            found += [entry for entry in candidates if self.content(entry) in asked]
        entries = np.array(found, dtype=np.int32)
        if not found or not len(self.elements):
            return entries
        if len(found) == 1:
            places = np.flatnonzero(self.elements == found[0])
        else:
            wanted = np.zeros(len(self), dtype=np.bool_)
            wanted[entries] = True
            places = np.flatnonzero(wanted[self.elements])
        lists = np.searchsorted(self.starts, places, "right") - 1
        return np.concatenate([entries, lists.astype(np.int32)])


def _packed(
    hashes: NDArray[np.uint32],
    lengths: NDArray[np.int64] | Sequence[int],
    blob: NDArray[np.uint8],
    sizes: NDArray[np.int64] | Sequence[int],
    elements: NDArray[np.int32],
) -> Packed:
    """Entries from their hashes, their lengths in the blob and their numbers of elements."""
    order = np.argsort(hashes, kind="stable").astype(np.int32)
    return Packed(hashes, order, ends(lengths), blob, ends(sizes), elements)


def _hashes(contents: Sequence[bytes]) -> NDArray[np.uint32]:
    return np.fromiter(map(crc32, contents), dtype=np.uint32, count=len(contents))


@dataclass(slots=True)
class _Recent:
    """The entries from `start` on, as Python objects."""

    start: int
    codes: dict[Key, int] = field(default_factory=dict[Key, int])
    keys: list[Key] = field(default_factory=list[Key])
    lists: dict[Token, array[int]] = field(default_factory=dict[Token, "array[int]"])
    """By element, the codes of the lists that have it."""

    def packed(self) -> Packed:
        """The same entries as arrays."""
        contents = [pack(_plain(key)) for key in self.keys]
        lists = [key if isinstance(key, tuple) else () for key in self.keys]
        return _packed(
            _hashes(contents),
            list(map(len, contents)),
            np.frombuffer(b"".join(contents), dtype=np.uint8),
            list(map(len, lists)),
            np.array([self.codes[item] - self.start for items in lists for item in items], dtype=np.int32),
        )


class Dictionary:
    """Codes 0, 1, 2... of the distinct values of one field.

    A value may have several codes when there are many values: `codes` knows them all. One thread adds; others may ask
    at the same time.
    """

    __slots__ = ("_state",)

    def __init__(self, packed: tuple[Packed, ...] = ()) -> None:
        # One object, so that whoever asks meanwhile sees entries either packed or not yet.
        self._state = (packed, _Recent(sum(map(len, packed))))

    @classmethod
    def of(cls, values: Iterable[object]) -> Dictionary:
        """The dictionary that numbers these distinct values in this order; a list comes after its elements."""
        result = cls()
        for value in values:  # all recent, also if they are a few too many: packing would number them differently
            cls._add_to(result._state[1], key_of(value))
        return result

    def __len__(self) -> int:
        recent = self._state[1]
        return recent.start + len(recent.keys)

    @property
    def packed(self) -> tuple[Packed, ...]:
        """The packed entries, in the order of their codes; recent ones follow."""
        return self._state[0]

    @property
    def recent(self) -> list[Value]:
        """The values that are not packed."""
        return [_plain(key) for key in self._state[1].keys]

    def code(self, key: Key) -> int:
        """The code of a value, a new one where it has none. Raises InvalidValue for lone surrogates."""
        code = self._state[1].codes.get(key)
        return self._add(key) if code is None else code

    def code_all(self, keys: Sequence[Key]) -> list[int]:
        """The code of each value."""
        known = self._state[1].codes.get
        codes = [known(key) for key in keys]
        return [self.code(keys[place]) if code is None else code for place, code in enumerate(codes)]

    def _add(self, key: Key) -> int:
        packed, recent = self._state
        if len(recent.keys) >= RECENT:
            recent = _Recent(recent.start + len(recent.keys))
            self._state = ((*packed, self._state[1].packed()), recent)
        if isinstance(key, tuple):
            for item in key:
                self._add_to(recent, item)
        return self._add_to(recent, key)

    @staticmethod
    def _add_to(recent: _Recent, key: Key) -> int:
        code = recent.codes.get(key)
        if code is None:
            if isinstance(key, str):
                try:
                    key.encode()
                except UnicodeEncodeError:
                    raise InvalidValue("metadata must be valid Unicode, without lone surrogates") from None
            code = recent.start + len(recent.keys)
            recent.keys.append(key)
            if isinstance(key, tuple):
                for item in set(key):
                    recent.lists.setdefault(item, array("i")).append(code)
            recent.codes[key] = code
        return code

    def value(self, code: int) -> Value:
        """The value of a code."""
        packed, recent = self._state
        if code >= recent.start:
            return _plain(recent.keys[code - recent.start])
        for part in packed:
            if code < len(part):
                return _unpack(part.content(code))
            code -= len(part)
        raise IndexError(code)

    def codes(self, wanted: Iterable[Token]) -> NDArray[np.int32]:
        """The codes of the wanted values and of the lists that have one of them as an element."""
        packed, recent = self._state
        keys = list(wanted)
        found = [code for key in keys if (code := recent.codes.get(key)) is not None]
        parts = [np.array(found, dtype=np.int32)]
        # A slice of an `array` is copied in one step, whatever another thread appends.
        parts += [np.frombuffer(lists[:], dtype=np.int32) for key in keys if (lists := recent.lists.get(key))]
        if packed:
            contents = [pack(_plain(key)) for key in keys]
            hashes = _hashes(contents)
            start = 0
            for part in packed:
                parts.append(part.find(contents, hashes) + np.int32(start))
                start += len(part)
        return np.concatenate(parts)

    @property
    def is_uniform(self) -> bool:
        """Whether the entries are all packed, in one, or all recent."""
        packed, recent = self._state
        return not packed or (len(packed) == 1 and not recent.keys)

    def runs(self) -> list[Packed]:
        """All entries, packed."""
        packed, recent = self._state
        return [*packed, recent.packed()] if recent.keys else list(packed)


def merged(parts: Sequence[tuple[Dictionary, NDArray[np.int32]]]) -> tuple[Dictionary, list[NDArray[np.int32]]]:
    """One dictionary of the used codes of several, and for each of them the new code of every old one (-1: unused)."""
    chosen: list[tuple[Packed, NDArray[np.intp]]] = []
    kept: list[NDArray[np.bool_]] = []
    for dictionary, used in parts:
        runs = dictionary.runs()
        keep = np.zeros(sum(map(len, runs)), dtype=np.bool_)
        keep[used] = True
        start = 0
        for run in runs:
            here = keep[start : start + len(run)]
            here[run.elements[np.repeat(here, np.diff(run.starts))]] = True
            chosen.append((run, np.flatnonzero(here)))
            start += len(run)
        kept.append(keep)
    if not chosen:
        return Dictionary(), [np.empty(0, dtype=np.int32) for _ in parts]
    union = _joined(chosen)
    canonical = _canonical(union)
    survives = canonical == np.arange(len(union))
    if not survives.all():
        union = _joined([(replace(union, elements=canonical[union.elements]), np.flatnonzero(survives))])
    codes = (np.cumsum(survives, dtype=np.int32) - np.int32(1))[canonical]
    remaps: list[NDArray[np.int32]] = []
    done = 0
    for keep in kept:
        remap = np.full(len(keep), -1, dtype=np.int32)
        count = np.count_nonzero(keep)
        remap[keep] = codes[done : done + count]
        remaps.append(remap)
        done += count
    if len(union) > RECENT:
        return Dictionary((union,)), remaps
    return Dictionary.of(_unpack(union.content(entry)) for entry in range(len(union))), remaps


def _joined(chosen: Sequence[tuple[Packed, NDArray[np.intp]]]) -> Packed:
    """The chosen entries one after the other. The elements of chosen lists must be chosen too."""
    elements: list[NDArray[np.int32]] = []
    done = 0
    for run, entries in chosen:
        places = np.full(len(run), -1, dtype=np.int32)
        places[entries] = np.arange(done, done + len(entries))
        elements.append(places[pieces(run.starts, entries, run.elements)])
        done += len(entries)
    return _packed(
        np.concatenate([run.hashes[entries] for run, entries in chosen]),
        np.concatenate([np.diff(run.offsets)[entries] for run, entries in chosen]),
        np.concatenate([pieces(run.offsets, entries, run.blob) for run, entries in chosen]),
        np.concatenate([np.diff(run.starts)[entries] for run, entries in chosen]),
        np.concatenate(elements),
    )


def _canonical(union: Packed) -> NDArray[np.int32]:
    """For each entry the first one of the same content."""
    result = np.arange(len(union), dtype=np.int32)
    by_hash = union.hashes[union.order]
    first: dict[bytes, int] = {}
    for place in np.flatnonzero(by_hash[1:] == by_hash[:-1]).tolist():
        for entry in cast("list[int]", union.order[place : place + 2].tolist()):  # ascending: the sort is stable
            result[entry] = first.setdefault(union.content(entry), entry)
    return result
