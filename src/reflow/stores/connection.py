"""The way to one index of a remote store: found by its name, asked again and again, found anew when it has moved."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from reflow.errors import VectorStoreError, VectorStoreUnavailable
from reflow.limits import Limits
from reflow.stores import sdk
from reflow.stores.attempts import Attempts, Passing, in_time
from reflow.stores.control import ControlPlane, Found, Wanted
from reflow.stores.positions import POSITIONS, Positions
from reflow.stores.sdk import Account, Exists, Missing

if TYPE_CHECKING:
    from pinecone import AsyncIndex

T = TypeVar("T")

Request = Callable[["AsyncIndex"], Awaitable[T]]
"""One call of the SDK's client of an index."""

Answer = tuple[T, Positions]
"""What a request gave, and what its answer said of the namespace's log."""


class Connection:
    """Makes requests to one index. `wanted` may be told in full later, when an application declares the index."""

    def __init__(
        self, wanted: Wanted, account: Account, control: ControlPlane, attempts: Attempts, limits: Limits
    ) -> None:
        self.wanted = wanted
        self.account = account
        self._control = control
        self._attempts = attempts
        self._limits = limits
        self._opening = asyncio.Lock()
        self._found: Found | None = None
        self._client: AsyncIndex | None = None
        self._doubtful = False
        """The store may have moved the index, or removed it."""
        self._unreachable = False
        """Nobody answered the last request."""

    async def found(self) -> Found:
        """The index as the store described it. Raises NoVectorIndex, VectorStoreError."""
        await self._connected()
        assert self._found is not None
        return self._found

    async def ask(
        self, what: str, request: Request[T], *, expected: tuple[type[Missing] | type[Exists], ...] = ()
    ) -> Answer[T]:
        """The answer to a request, made until it succeeds. `expected` is what the caller can live with."""
        told = f"{what} (index {self.wanted.name!r})"
        return await self._watched(told, expected, self._attempts(partial(self._once, told, request)))

    async def ask_each(
        self, what: str, requests: Iterable[Request[T]], *, expected: tuple[type[Missing] | type[Exists], ...] = ()
    ) -> list[Answer[T]]:
        """The answers to requests that are made side by side."""
        told = f"{what} (index {self.wanted.name!r})"
        tries = (partial(self._once, told, request) for request in requests)
        return await self._watched(told, expected, self._attempts.each(tries))

    async def close(self) -> None:
        """Closes the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _watched(self, what: str, expected: tuple[type[Exception], ...], outcome: Awaitable[T]) -> T:
        try:
            return await outcome
        except VectorStoreUnavailable:
            self._doubtful = self._unreachable
            raise
        except (Missing, Exists) as error:
            if isinstance(error, expected):
                raise
            raise VectorStoreError(f"{self.account.origin} refuses {what}: {error}") from None

    async def _once(self, what: str, request: Request[T]) -> Answer[T]:
        """One try of one request."""
        client = await self._connected()
        positions = Positions()
        token = POSITIONS.set(positions)
        try:
            return await in_time(self._limits.remote_request_seconds, request(client)), positions
        except Exception as error:
            failure = sdk.translated(error, self.account, what)
        finally:
            POSITIONS.reset(token)
        self._unreachable = isinstance(failure, Passing) and failure.unreachable
        if isinstance(failure, Missing):
            # What is missing: a namespace, or the index? One that was made anew is somewhere else.
            self._doubtful = True
            if await self._connected() is not client:
                raise Passing(f"index {self.wanted.name!r} of {self.account.origin} has moved")
        raise failure

    async def _connected(self) -> AsyncIndex:
        """The client of this index. Raises NoVectorIndex when the index is not there (any more)."""
        if self._client is not None and not self._doubtful:
            return self._client
        async with self._opening:
            if self._client is None or self._doubtful:
                await self._connect()
            assert self._client is not None
            return self._client

    async def _connect(self) -> None:
        """Finds the index; where that can't be done now, what was found before may still do."""
        try:
            found = await self._control.find(self.wanted)
        except VectorStoreUnavailable:
            if self._client is None:
                raise
        else:
            if self._client is None or self._found is None or found.host != self._found.host:
                await self.close()
                self._client = await sdk.data_plane(self.account, found.host, self._limits)
            self._found = found
        self._doubtful = False
