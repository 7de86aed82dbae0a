"""A client of live queries, inside the process: what it was told, and that every transition kept the rules."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

from reflow import values
from reflow.backend import Backend
from reflow.context import Identity
from reflow.engine.live import AddQuery, Change, Version
from reflow.engine.outcomes import Failure, Result
from reflow.functions import Function


class Client:
    """Follows queries over one connection. Each transition has to go on where the former one ended."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.connection = backend.engine.hub.connect(self)
        self.version = Version(0, 0, 0)
        self.results: dict[int, Result] = {}
        self.sent: list[tuple[Version, dict[int, Result | None]]] = []
        self.failed: str | None = None
        self.takes = True
        self.seen: Callable[[], None] = lambda: None
        self.added: dict[int, AddQuery] = {}
        self._wanted = (0, 0)
        self._next = 0

    # What the hub calls

    def ready(self) -> bool:
        return self.takes

    def transition(self, start: Version, end: Version, changes: Sequence[Change]) -> None:
        assert start == self.version, f"{start} does not go on from {self.version}"
        assert end.ts >= start.ts, f"time goes back from {start.ts} to {end.ts}"
        assert end.query_set >= start.query_set
        assert end.identity >= start.identity
        self.version = end
        for change in changes:
            if change.result is None:
                self.results.pop(change.query_id, None)
            else:
                self.results[change.query_id] = change.result
        self.sent.append((end, {change.query_id: change.result for change in changes}))
        self.seen()

    def fail(self, reason: str) -> None:
        self.failed = reason

    # What a test calls

    def add(self, function: Function[..., Any], journal: str | None = None, /, **args: Any) -> int:
        """Starts to follow a query; returns its id on this connection."""
        self._next += 1
        raw = function.arguments.encode((), args)
        self.added[self._next] = AddQuery(self._next, function.path, function, raw, journal)
        self._modify([self.added[self._next]], [])
        return self._next

    def remove(self, query_id: int) -> None:
        del self.added[query_id]
        self._modify([], [query_id])

    def resume(self, former: Client) -> None:
        """Takes over from a client whose connection is gone, as one does that reconnects: its queries with their
        journals, and what it shows until it learns more."""
        former.close()
        self._next, self.results = former._next, dict(former.results)
        for query_id, add in former.added.items():
            last = former.results.get(query_id)
            journal = add.journal if last is None or last.journal is None else last.journal
            self.added[query_id] = AddQuery(query_id, add.path, add.function, add.args, journal)
        self._modify(list(self.added.values()), [])

    def _modify(self, added: list[AddQuery], removed: list[int]) -> None:
        base, identity = self._wanted
        self._wanted = base + 1, identity
        self.connection.modify(base, base + 1, added, removed)

    def sign_in(self, identity: Identity | None) -> None:
        base, version = self._wanted
        self._wanted = base, version + 1
        self.connection.authenticate(version, identity)

    def value(self, query_id: int) -> Any:
        """The present result, decoded; None before there is one. Raises AssertionError for a failed query."""
        result = self.results.get(query_id)
        if result is None:
            return None
        assert result.failure is None, result.failure
        return values.decode(result.value or b"")

    def failure(self, query_id: int) -> Failure:
        """Why a query fails at present."""
        failure = self.results[query_id].failure
        assert failure is not None
        return failure

    async def up_to_date(self) -> None:
        """Returns once nothing is left to be told."""
        for _ in range(20):
            await asyncio.sleep(0)
        await self.backend.engine.hub.settled()
        assert self.failed is None, self.failed
        assert self.version[:2] == self._wanted

    def close(self) -> None:
        self.connection.close()
