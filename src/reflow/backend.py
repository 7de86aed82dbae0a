"""A running application inside this process: what tests, scripts and the command line talk to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import Any, ParamSpec, TypeVar, cast, overload

from reflow.auth import Identity
from reflow.engine.engine import Engine
from reflow.engine.live import AddQuery, Change, Version
from reflow.engine.outcomes import error_of
from reflow.errors import CallFailed, DefinitionError
from reflow.functions import ActionFunction, Function, MutationFunction, QueryFunction

P = ParamSpec("P")
R = TypeVar("R")


class Backend:
    """Calls functions, internal ones included, by reference or by path, with Python values."""

    def __init__(self, engine: Engine, identity: Identity | None = None) -> None:
        self.engine = engine
        self._identity = identity

    def as_(self, identity: Identity | None) -> Backend:
        """The same application, called by somebody who is signed in; None: by nobody."""
        return Backend(self.engine, identity)

    @overload
    async def query(self, function: QueryFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def query(self, function: str, /, **kwargs: Any) -> Any: ...
    async def query(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The result of a query as of now. Raises CallFailed or ApplicationError."""
        found, raw = self._prepared(function, args, kwargs, "query")
        return self._value(found, await self.engine.query(found, raw, self._identity))

    @overload
    async def mutation(self, function: MutationFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def mutation(self, function: str, /, **kwargs: Any) -> Any: ...
    async def mutation(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The result of a mutation, once it is durable. Raises CallFailed, ApplicationError or StorageError."""
        found, raw = self._prepared(function, args, kwargs, "mutation")
        return self._value(found, (await self.engine.mutation(found, raw, self._identity)).result)

    @overload
    async def action(self, function: ActionFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    async def action(self, function: str, /, **kwargs: Any) -> Any: ...
    async def action(self, function: Any, /, *args: Any, **kwargs: Any) -> Any:
        """The result of an action. Raises CallFailed or ApplicationError."""
        found, raw = self._prepared(function, args, kwargs, "action")
        return self._value(found, await self.engine.action(found, raw, self._identity))

    async def watch(self, function: QueryFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncIterator[R]:
        """The results of a live query: the first at once, then each that differs from the one before.

        Results that come faster than they are taken are skipped: the latest counts. Raises CallFailed or
        ApplicationError when the query fails.
        """
        found, raw = self._prepared(function, args, kwargs, "query")
        watcher = _Watcher()
        connection = self.engine.hub.connect(watcher)
        try:
            connection.authenticate(0, self._identity)
            connection.modify(0, 1, [AddQuery(0, found.path, found, raw, None)], [])
            while True:
                await watcher.news.wait()
                watcher.news.clear()
                if watcher.failed is not None:
                    raise CallFailed(watcher.failed)
                change = watcher.latest
                if change is not None and change.result is not None:
                    yield self._value(found, change.result)
        finally:
            connection.close()

    def _prepared(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], kind: str
    ) -> tuple[Function[..., Any], bytes]:
        found = self.engine.resolve(function)
        if found.kind != kind:
            raise DefinitionError(f"{found.path} is a {found.kind}, not a {kind}")
        return found, found.arguments.encode(args, kwargs)

    def _value(self, function: Function[..., Any], result: Any) -> Any:
        if result.failure is not None:
            raise error_of(result.failure)
        return function.decode_result(cast(bytes, result.value))

    async def settled(self) -> None:
        """Returns once no scheduled function is due or running. For tests; work due later stays pending."""
        await self.engine.scheduler.settled()


class _Watcher:
    """The client's end of `watch`."""

    def __init__(self) -> None:
        self.news = asyncio.Event()
        self.latest: Change | None = None
        self.failed: str | None = None

    def ready(self) -> bool:
        return True

    def transition(self, start: Version, end: Version, changes: Sequence[Change]) -> None:
        if changes:
            self.latest = changes[-1]
            self.news.set()

    def fail(self, reason: str) -> None:
        self.failed = reason
        self.news.set()
