"""Many subscribers of one counter: when has the last of them seen a value?"""

from __future__ import annotations

import asyncio
import time

from .client import ClientError
from .peer import Seen

PATIENCE_SECONDS = 20.0
"""Nothing measured here takes this long: after it an update counts as lost and the run fails."""


class Audience:
    """Counts how many of its members have not yet seen the awaited value."""

    def __init__(self, size: int) -> None:
        self._latest = [-1] * size
        self._awaited = -1
        self._missing = 0
        self._done: asyncio.Future[float] | None = None
        self.deliveries = 0

    def member(self, number: int) -> Seen:
        """The callback of subscriber `number`."""
        latest = self._latest

        def seen(value: int) -> None:
            self.deliveries += 1
            if latest[number] < self._awaited <= value:
                self._missing -= 1
                if self._missing == 0 and self._done is not None:
                    self._done.set_result(time.perf_counter())
            latest[number] = value

        return seen

    def expect(self, value: int) -> asyncio.Future[float]:
        """A future of the moment (perf_counter) when all members have seen `value`, larger than any before.

        Ask before writing: a delivery may overtake the acknowledgement.
        """
        self._awaited = value
        self._missing = len(self._latest)
        self._done = asyncio.get_running_loop().create_future()
        return self._done

    async def arrival(self, done: asyncio.Future[float]) -> float:
        """The moment `done` tells; raises `ClientError` if deliveries are missing for too long."""
        try:
            return await asyncio.wait_for(done, PATIENCE_SECONDS)
        except TimeoutError:
            raise ClientError(f"{self._missing} subscribers never saw value {self._awaited}") from None
