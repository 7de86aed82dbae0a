"""A sorted map that remembers older values: what the in-memory storage is made of."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Generic, Protocol, TypeVar

from sortedcontainers import SortedDict  # pyright: ignore[reportMissingTypeStubs]


class Ordered(Protocol):
    """A key: bytes, a number, or a tuple of them."""

    def __lt__(self, other: Any, /) -> bool: ...


K = TypeVar("K", bound=Ordered)
V = TypeVar("V")


class Versions(Generic[K, V]):
    """Per key the values of each generation that some snapshot may still read, None where it was removed.

    A generation is a number that grows by one with each group of commits.
    """

    def __init__(self) -> None:
        self._rows: Any = SortedDict()  # of key to the versions, oldest first
        self._stale: set[K] = set()

    def get(self, key: K, at: int) -> V | None:
        """The value in generation `at`."""
        return _value(self._rows.get(key, ()), at)

    def put(self, key: K, value: V | None, at: int) -> tuple[tuple[int, V | None], ...]:
        """Sets or (None) removes the value from generation `at` on; returns what `restore` needs to take it back."""
        before: tuple[tuple[int, V | None], ...] = self._rows.get(key, ())
        older = before[:-1] if before and before[-1][0] == at else before
        self._rows[key] = (*older, (at, value))
        if older or value is None:
            self._stale.add(key)
        return before

    def restore(self, key: K, before: tuple[tuple[int, V | None], ...]) -> None:
        """Takes a `put` back."""
        if before:
            self._rows[key] = before
        else:
            del self._rows[key]
            self._stale.discard(key)

    def between(self, lower: K | None, upper: K | None, at: int, *, reverse: bool = False) -> Iterator[tuple[K, V]]:
        """The live entries of generation `at` with lower <= key < upper, in order; None is unbounded."""
        for key in self._rows.irange(lower, upper, inclusive=(True, False), reverse=reverse):
            value = _value(self._rows[key], at)
            if value is not None:
                yield key, value

    def forget(self, oldest: int) -> None:
        """Drops what nobody reads once all snapshots are of generation `oldest` or later."""
        for key in list(self._stale):
            rows: tuple[tuple[int, V | None], ...] = self._rows[key]
            kept = rows
            while len(kept) > 1 and kept[1][0] <= oldest:
                kept = kept[1:]
            if len(kept) == 1 and kept[0][1] is None and kept[0][0] <= oldest:
                del self._rows[key]
                self._stale.discard(key)
                continue
            if kept is not rows:
                self._rows[key] = kept
            if len(kept) == 1 and kept[0][1] is not None:
                self._stale.discard(key)


def _value(versions: tuple[tuple[int, V | None], ...], at: int) -> V | None:
    for generation, value in reversed(versions):
        if generation <= at:
            return value
    return None
