"""How far a remote store's log is: where writes landed, and up to where queries see them."""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass


@dataclass(slots=True)
class Positions:
    """What the answer to one request says of its namespace's log. None: nothing."""

    written: int | None = None
    indexed: int | None = None


POSITIONS: ContextVar[Positions | None] = ContextVar("positions", default=None)
"""Takes what the answer to the current request says."""


class Written:
    """The last position written to each of the namespaces that were written to last, at most `most` of them."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._positions: dict[str, int] = {}

    def note(self, namespace: str, position: int | None) -> None:
        """Remembers a write; answers may come in another order than the writes had."""
        if position is None:
            return
        latest = max(position, self._positions.pop(namespace, position))
        self._positions[namespace] = latest
        if len(self._positions) > self._most:
            del self._positions[next(iter(self._positions))]

    def last(self, namespace: str) -> int | None:
        """What queries have to reach; None when nothing was written since they did."""
        return self._positions.get(namespace)

    def reached(self, namespace: str, position: int) -> None:
        """Forgets writes up to a position that queries have reached."""
        if self._positions.get(namespace, position + 1) <= position:
            del self._positions[namespace]
