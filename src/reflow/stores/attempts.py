"""Requests that may fail for a while: how often, how patiently, and how many at a time they are made."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

from reflow.errors import Overloaded, VectorStoreBusy, VectorStoreError, VectorStoreUnavailable
from reflow.limits import Limits

T = TypeVar("T")

Request = Callable[[], Awaitable[T]]
"""One try. Raises Passing where another one may succeed."""


class Clock(Protocol):
    """What pauses need of a clock."""

    async def sleep(self, seconds: float) -> None:
        """Returns after that time, or a little later."""
        ...


class Entropy(Protocol):
    """What pauses need of randomness."""

    def uniform(self) -> float:
        """A number in 0..1."""
        ...


class Passing(Exception):
    """A failure that may be gone at the next try.

    `retry_after` is when the store wants to be asked again, in seconds. After the last try `kind` is raised.
    `unreachable` says that nobody answered.
    """

    def __init__(
        self,
        reason: str,
        *,
        retry_after: float | None = None,
        kind: type[VectorStoreError] = VectorStoreUnavailable,
        unreachable: bool = False,
    ) -> None:
        super().__init__(reason)
        self.retry_after = retry_after
        self.kind = kind
        self.unreachable = unreachable


async def in_time(seconds: float, work: Awaitable[T]) -> T:
    """The outcome of work that may take so long. Raises TimeoutError.

    It has a task of its own: packages end their own waits by cancelling the task that they are in, and where theirs and
    ours end at one moment, one of the two would go on as a cancellation of the caller.
    """
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=seconds)
        if not task.done() or task.cancelled():
            raise TimeoutError
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait([task])


class Attempts:
    """Makes requests to one store: at most `limits.remote_requests` at a time, each `limits.remote_attempts` times.

    The pause doubles with each try and is shortened by up to half at random, so that many callers do not come back
    together; a pause that the store asks for is kept, and lengthened a little for the same reason.
    """

    def __init__(self, limits: Limits, clock: Clock, entropy: Entropy) -> None:
        self._limits = limits
        self._clock = clock
        self._entropy = entropy
        self._places = asyncio.Semaphore(limits.remote_requests)
        self._waiting = 0

    async def __call__(self, request: Request[T]) -> T:
        """The outcome of a request. Raises VectorStoreError when all tries fail, Overloaded when too many wait."""
        tried = 0
        while True:
            try:
                return await self._once(request)
            except Passing as failure:
                tried += 1
                pause = self._pause(failure, tried)
            await self._clock.sleep(pause)

    async def each(self, requests: Iterable[Request[T]]) -> list[T]:
        """The outcomes of requests made side by side; they are taken from `requests` as there is room for them.

        The first that fails for good ends the others and is raised: some of them were made then, some not.
        """
        outcomes: dict[int, T] = {}
        todo = enumerate(requests)

        async def work() -> None:
            for number, request in todo:
                outcomes[number] = await self(request)

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(self._limits.remote_requests):
                    group.create_task(work())
        except BaseExceptionGroup as failures:
            raise failures.exceptions[0] from None
        return [outcomes[number] for number in range(len(outcomes))]

    async def _once(self, request: Request[T]) -> T:
        if self._waiting >= self._limits.remote_waiting:
            raise Overloaded(
                f"{self._waiting} requests to the vector store wait already (limits.remote_waiting): try again later"
            )
        self._waiting += 1
        try:
            await self._places.acquire()
        finally:
            self._waiting -= 1
        try:
            return await request()
        finally:
            self._places.release()

    def _pause(self, failure: Passing, tried: int) -> float:
        """Seconds until the next try; raises what the caller gets where there is none."""
        limits = self._limits
        asked = None
        if failure.retry_after is not None:
            asked = min(failure.retry_after, limits.remote_retry_after_seconds)
        if tried >= limits.remote_attempts or (asked is not None and asked > limits.remote_longest_pause_seconds):
            times = "once" if tried == 1 else f"{tried} times"
            if asked is not None:
                raise VectorStoreBusy(asked, f"{failure} (tried {times}; it asks for a pause of {asked:g} s)") from None
            raise failure.kind(f"{failure} (tried {times})") from None
        if asked is not None:
            return asked * (1 + 0.25 * self._entropy.uniform())
        longest = min(limits.remote_first_pause_seconds * 2 ** (tried - 1), limits.remote_longest_pause_seconds)
        return longest * (0.5 + 0.5 * self._entropy.uniform())
