"""One request and its repetitions: whose turn it is, how long to wait, when to give up."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from random import Random
from time import monotonic

from reflow.errors import ProviderBusy, ProviderError
from reflow.limits import Limits
from reflow.rag.provider.limiter import Limiter

_JITTER = 0.25
"""Share by which a pause that was asked for is lengthened at random at most, so that not all come back at once."""

_TOO_MANY = (429, 529)
"""Statuses that say that there are too many requests, with a pause or without."""


class Attempts:
    """The tries of one request, with what they took so far."""

    def __init__(self, content: bytes, limiter: Limiter, *, urgent: bool, limits: Limits, rng: Random) -> None:
        self.content = content
        """The request's body."""
        self.seconds = 0.0
        """Time in requests."""
        self.failures = 0
        """Tries that have failed."""
        self._limiter = limiter
        self._ticket = limiter.ticket(urgent=urgent)
        self._limits = limits
        self._rng = rng
        self._begun = 0.0
        self._paused = 0.0

    @asynccontextmanager
    async def turn(self) -> AsyncGenerator[None, None]:
        """A turn for the next try. Raises ProviderBusy and Overloaded."""
        async with self._limiter.turn(self._ticket):
            self._begun = monotonic()
            yield

    @contextmanager
    def timed(self) -> Generator[None, None, None]:
        """Counts the time in the block."""
        started = monotonic()
        try:
            yield
        finally:
            self.seconds += monotonic() - started

    def succeeded(self) -> None:
        """The provider has answered."""
        self._limiter.succeeded()

    def failed(self, error: ProviderError) -> float:
        """Seconds until the next try; raises what the caller gets where there is none."""
        if isinstance(error, ProviderBusy) or not error.retryable:
            raise error
        self.failures += 1
        asked = bool(error.retry_after)  # no pause at all is nobody's wish
        pause = self._pause(error)
        if asked or error.status in _TOO_MANY:
            self._limiter.throttled(self._begun, pause)
        self._paused += pause
        if self.failures < self._limits.model_attempts and self._paused <= self._limits.model_pause_seconds:
            return pause
        told = f"{error}; tried {'once' if self.failures == 1 else f'{self.failures} times'}"
        if asked:
            raise ProviderBusy(f"{told}, and it asks for a pause of {round(pause, 3):,} s", pause, status=error.status)
        raise ProviderError(told, error.reason, retryable=True, input_refused=error.input_refused, status=error.status)

    def _pause(self, error: ProviderError) -> float:
        limits = self._limits
        if error.retry_after:
            asked = min(error.retry_after, limits.model_retry_after_seconds)
            return asked * (1 + _JITTER * self._rng.random())
        longest = min(limits.model_first_pause_seconds * 2 ** (self.failures - 1), limits.model_pause_seconds)
        return longest * (0.5 + 0.5 * self._rng.random())
