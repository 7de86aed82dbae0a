"""Time and chance that a test decides."""

from __future__ import annotations

import asyncio
import heapq
from random import Random

START_SECONDS = 1_700_000_000.0
"""Where a virtual clock stands at first, in seconds since 1970."""


class VirtualClock:
    """A clock that stands still until the test moves it; sleepers wake when their time has come.

    Give the same clock to an application that is stopped and started again: time goes on where it was.
    """

    def __init__(self, start: float = START_SECONDS) -> None:
        """`start` is in seconds since 1970."""
        self._now_ns = int(start * 1e9)
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> float:
        """Seconds since 1970."""
        return self._now_ns / 1e9

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        return self._now_ns

    async def sleep(self, seconds: float) -> None:
        """Returns once the clock was moved on by that time; at once, after a turn of the event loop, for 0."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (self._now_ns + int(seconds * 1e9), self._count, future))
        await future

    def next_wake(self) -> float | None:
        """When the next sleeper wakes, in seconds since 1970; None when nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)
        return self._sleepers[0][0] / 1e9 if self._sleepers else None

    def advance(self, seconds: float) -> None:
        """Moves the clock on and wakes whose time has come; they run when the test next awaits something."""
        self.set_ns(self._now_ns + int(seconds * 1e9))

    def set_ns(self, now_ns: int) -> None:
        """Sets the clock, in nanoseconds since 1970; a clock set back wakes nobody."""
        self._now_ns = now_ns
        while self._sleepers and self._sleepers[0][0] <= now_ns:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def wake_next(self, latest: float) -> bool:
        """Moves on to the next sleeper that wakes by `latest` (seconds since 1970) and wakes it; else to `latest`.

        Returns False when nobody else wakes until then.
        """
        due = self.next_wake()
        if due is None or due > latest:
            self.set_ns(max(self._now_ns, int(latest * 1e9)))
            return False
        self.set_ns(max(self._now_ns, self._sleepers[0][0]))
        return True


class SeededEntropy:
    """Randomness that follows a seed. For tests only: whoever knows the seed knows every id."""

    def __init__(self, seed: int = 0) -> None:
        self._random = Random(seed)

    def random_bytes(self, count: int) -> bytes:
        """Bytes that follow the seed."""
        return self._random.randbytes(count)

    def uniform(self) -> float:
        """A number in 0..1."""
        return self._random.random()
