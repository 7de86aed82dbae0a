"""The real clock and real randomness. Everything below gets them handed in, so that tests can hand in others."""

from __future__ import annotations

import asyncio
import os
import random
import time


class SystemClock:
    """The machine's clock."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        return time.time_ns()

    async def sleep(self, seconds: float) -> None:
        """Returns after that time, or a little later."""
        await asyncio.sleep(seconds)


class SystemEntropy:
    """The operating system's randomness."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def random_bytes(self, count: int) -> bytes:
        """Unpredictable bytes."""
        return os.urandom(count)

    def uniform(self) -> float:
        """A number in 0..1."""
        return self._random.random()
