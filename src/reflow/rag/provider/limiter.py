"""Turns: how many requests to one address are under way, who is next, and when nobody is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from heapq import heappop, heappush
from itertools import count
from threading import RLock
from time import monotonic
from typing import NamedTuple
from weakref import WeakValueDictionary

from reflow import Secret
from reflow.errors import Overloaded, ProviderBusy
from reflow.limits import DEFAULT, Limits

Clock = Callable[[], float]
"""Seconds since some moment, never going back."""


class LimiterStats(NamedTuple):
    """What a limiter sees and has seen."""

    in_flight: int = 0
    """Requests under way."""
    most_in_flight: int = 0
    """The most there were at once."""
    waiting: int = 0
    """Requests that wait for their turn."""
    window: float = 0.0
    """How many the provider seems to bear at once: halved when it says that it is too much, then growing again."""
    requests: int = 0
    """Requests so far, each try counted."""
    throttled: int = 0
    """Requests that were answered with too many requests, or a pause."""


class Ticket(NamedTuple):
    """A place in the queue, kept when a request is made again: the urgent first, then in order of arrival."""

    rank: int
    number: int


class _State(Enum):
    WAITING = "waiting"
    GRANTED = "granted"
    OUT = "out"


@dataclass(slots=True, order=True)
class _Waiter:
    ticket: Ticket
    loop: asyncio.AbstractEventLoop = field(compare=False)
    future: asyncio.Future[ProviderBusy | None] = field(compare=False)
    """Done with its turn, or with the reason why it gets none."""
    state: _State = field(default=_State.WAITING, compare=False)
    timed: bool = field(default=False, compare=False)


class Pauses:
    """Until when all users of one key keep still."""

    def __init__(self, now: Clock = monotonic) -> None:
        self._now = now
        self._until = float("-inf")

    def rest(self) -> float:
        """Seconds that are left, at least 0."""
        return max(0.0, self._until - self._now())

    def ask(self, seconds: float) -> None:
        """Keeps still from now on for so long, unless a longer pause is under way."""
        self._until = max(self._until, self._now() + seconds)


class Limiter:
    """Turns for requests to one address with one key: never more than `most` at once, urgent ones first, then in order.

    A response that says "too many" halves the number, once for all requests that were under way together; each success
    lets it grow again, by one for about as many successes as are allowed at once (additive increase, multiplicative
    decrease: Chiu and Jain, 1989). A pause that the provider asks for is everybody's. Whoever would have to wait longer
    than `limits.model_pause_seconds` gets ProviderBusy at once.

    It serves any number of event loops and threads. A cancelled caller loses its turn and nothing else.
    """

    def __init__(
        self,
        most: int,
        *,
        pauses: Pauses | None = None,
        limits: Limits = DEFAULT,
        now: Clock = monotonic,
    ) -> None:
        self.most = most
        self.pauses = pauses or Pauses(now)
        self._limits = limits
        self._now = now
        self._lock = RLock()  # for all below
        self._queue: list[_Waiter] = []
        self._numbers = count()
        self._waiting = 0
        self._in_flight = 0
        self._most_in_flight = 0
        self._requests = 0
        self._throttled = 0
        self._window = float(most)
        self._cut_at = float("-inf")

    @property
    def stats(self) -> LimiterStats:
        """The counters."""
        with self._lock:
            return LimiterStats(
                self._in_flight, self._most_in_flight, self._waiting, self._window, self._requests, self._throttled
            )

    def ticket(self, *, urgent: bool = False) -> Ticket:
        """A place in the queue for one request and its repetitions."""
        return Ticket(0 if urgent else 1, next(self._numbers))

    @asynccontextmanager
    async def turn(self, ticket: Ticket) -> AsyncGenerator[None, None]:
        """Waits for a turn, which ends with the block. Raises ProviderBusy, and Overloaded when too many wait."""
        await self._enter(ticket)
        try:
            yield
        finally:
            with self._lock:
                self._in_flight -= 1
                self._advance()

    def succeeded(self) -> None:
        """A request was answered."""
        with self._lock:
            self._window = min(self.most, self._window + 1 / self._window)

    def throttled(self, begun: float, seconds: float) -> None:
        """A request that began at that time of the clock was too much; everybody waits for so many seconds."""
        with self._lock:
            self._throttled += 1
            if begun >= self._cut_at:
                self._window = max(1.0, self._window / 2)
                self._cut_at = self._now()
            self.pauses.ask(seconds)
            self._advance()

    def restrict(self, most: int) -> None:
        """Another user of the address allows fewer at once."""
        with self._lock:
            self.most = min(self.most, most)
            self._window = min(self._window, self.most)

    # Inside. The lock is held in what follows the first function.

    async def _enter(self, ticket: Ticket) -> None:
        with self._lock:
            rest = self.pauses.rest()
            if rest > self._limits.model_pause_seconds:
                raise self._busy(rest)
            if rest == 0 and self._waiting == 0 and self._in_flight < int(self._window):
                self._take()
                return
            if self._waiting >= self._limits.model_waiting:
                raise Overloaded(
                    f"{self._waiting} requests to a provider of models wait already (limits.model_waiting): try later"
                )
            loop = asyncio.get_running_loop()
            waiter = _Waiter(ticket, loop, loop.create_future())
            heappush(self._queue, waiter)
            self._waiting += 1
            self._advance()
        try:
            refusal = await waiter.future
        except BaseException:
            with self._lock:
                if waiter.state is _State.GRANTED:  # and cancelled before it knew
                    self._in_flight -= 1
                else:
                    self._remove(waiter)
                self._advance()
            raise
        if refusal is not None:
            raise refusal

    def _take(self) -> None:
        self._in_flight += 1
        self._requests += 1
        self._most_in_flight = max(self._most_in_flight, self._in_flight)

    def _remove(self, waiter: _Waiter) -> None:
        if waiter.state is _State.WAITING:
            waiter.state = _State.OUT
            self._waiting -= 1

    def _advance(self) -> None:
        """Gives turns to those who are next, as far as there are any."""
        while self._queue:
            head = self._queue[0]
            if head.state is not _State.WAITING:
                heappop(self._queue)
                continue
            rest = self.pauses.rest()
            if rest > self._limits.model_pause_seconds:
                self._remove(head)
                self._tell(head, partial(_settle, head.future, self._busy(rest)))
            elif self._in_flight >= int(self._window):
                return
            elif rest > 0:
                if head.timed or self._tell(head, partial(self._time, head, rest)):
                    head.timed = True
                    return
                self._remove(head)
            else:
                self._remove(head)
                if self._tell(head, partial(_settle, head.future, None)):
                    head.state = _State.GRANTED
                    self._take()

    def _time(self, waiter: _Waiter, seconds: float) -> None:
        """Has the waiter's loop look again after a pause."""
        waiter.loop.call_later(seconds, self._look, waiter)

    def _look(self, waiter: _Waiter) -> None:
        """The pause should be over, unless it has become longer or the waiter has left."""
        with self._lock:
            waiter.timed = False
            self._advance()

    @staticmethod
    def _tell(waiter: _Waiter, what: Callable[[], object]) -> bool:
        """Has something done in the waiter's loop; False if that is no more."""
        try:
            waiter.loop.call_soon_threadsafe(what)
        except RuntimeError:  # its loop is closed, and nobody waits there
            return False
        return True

    def _busy(self, rest: float) -> ProviderBusy:
        return ProviderBusy(f"The provider has asked for a pause; {rest:.1f} s of it are left: try again then", rest)


def _settle(future: asyncio.Future[ProviderBusy | None], refusal: ProviderBusy | None) -> None:
    if not future.done():  # it may have left
        future.set_result(refusal)


# --- One limiter per address and key in the process ----------------------------------------------------------------

_REGISTRY = RLock()
_LIMITERS: WeakValueDictionary[tuple[str, Secret | None], Limiter] = WeakValueDictionary()
_PAUSES: WeakValueDictionary[tuple[str, Secret | None], Pauses] = WeakValueDictionary()


def limiter_of(url: str, origin: str, key: Secret | None, most: int, limits: Limits = DEFAULT) -> Limiter:
    """The limiter of an address and key, shared by all who use them; the smallest `most` that one of them states holds.

    All addresses of one origin share the pauses of a key.
    """
    with _REGISTRY:
        limiter = _LIMITERS.get((url, key))
        if limiter is None:
            pauses = _PAUSES.get((origin, key)) or Pauses()
            _PAUSES[origin, key] = pauses
            limiter = _LIMITERS[url, key] = Limiter(most, pauses=pauses, limits=limits)
        limiter.restrict(most)
        return limiter
