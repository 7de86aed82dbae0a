"""Schedules that a seed decides: a storage that suspends at every call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from random import Random
from typing import TypeVar

from reflow.storage.base import Storage
from reflow.testing.wrapping import WrappedStorage

T = TypeVar("T")


class InterleavingStorage(WrappedStorage):
    """Suspends a random small number of times before and after every call, as a storage over a network would.

    What else runs on the event loop gets in between, in another order with every seed, and the same seed gives the
    same order again. `concurrent` is True, so that mutations run side by side. Example:

        async with simulate(app, seed=7, interleave=True) as sim:
            ...
    """

    def __init__(self, inner: Storage, seed: int | Random = 0, *, longest_pause: int = 3) -> None:
        """`longest_pause` is the largest number of turns of the event loop that one suspension takes."""
        super().__init__(inner)
        self.concurrent = True
        self._random = seed if isinstance(seed, Random) else Random(seed)
        self._longest_pause = longest_pause

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        """Suspends, makes the call, suspends."""
        await self._pause()
        result = await call()
        await self._pause()
        return result

    async def _pause(self) -> None:
        for _ in range(self._random.randint(0, self._longest_pause)):
            await asyncio.sleep(0)
