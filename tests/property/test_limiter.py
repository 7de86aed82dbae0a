"""Turns at a provider: never too many at once, nobody forgotten, whoever leaves and whatever the provider answers."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Sequence
from itertools import count
from random import Random
from typing import Literal, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow.errors import Overloaded, ProviderBusy
from reflow.limits import Limits
from reflow.rag.provider.limiter import Limiter, Pauses, limiter_of
from tests.support import arun
from tests.support.virtual_loop import run_virtual

TENTHS = st.integers(0, 40).map(lambda tenths: tenths / 10)


class Caller(NamedTuple):
    """One request: when it comes, how long it takes, how it ends, and when its caller loses patience.

    `hops` are turns of the event loop that pass before the caller leaves, so that it may leave at any moment of others'
    business: between being given a turn and knowing it, for one.
    """

    comes: float
    takes: float
    urgent: bool
    outcome: Literal["answered", "failed", "throttled"]
    pause: float
    leaves: float | None
    hops: int


CALLERS = st.lists(
    st.builds(
        Caller,
        comes=TENTHS,
        takes=TENTHS,
        urgent=st.booleans(),
        outcome=st.sampled_from(["answered", "answered", "failed", "throttled"]),
        pause=st.one_of(TENTHS, st.just(100.0)),
        leaves=st.one_of(st.none(), TENTHS),
        hops=st.integers(0, 5),
    ),
    min_size=1,
    max_size=25,
)


class Watch:
    """Looks at a limiter while callers come and go."""

    def __init__(self, limiter: Limiter) -> None:
        self.limiter = limiter
        self.at_once = 0
        self.arrivals = count()
        self.waiting: dict[tuple[bool, int], float] = {}
        self.overtaken: dict[tuple[bool, int], float] = {}
        """When a later caller began before this one."""
        self.refused: list[float] = []
        self.quiet = (0.0, 0.0)
        """From when to when nobody may begin."""

    async def call(self, caller: Caller) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(caller.comes)
        place = (not caller.urgent, next(self.arrivals))
        self.waiting[place] = loop.time()
        try:
            async with self.limiter.turn(self.limiter.ticket(urgent=caller.urgent)):
                self.began(place, loop.time(), self.waiting.pop(place))
                self.at_once += 1
                try:
                    assert self.at_once <= self.limiter.most
                    begun = loop.time()
                    await asyncio.sleep(caller.takes)
                    if caller.outcome == "answered":
                        self.limiter.succeeded()
                    elif caller.outcome == "throttled":
                        self.throttle(begun, caller.pause, loop.time())
                finally:
                    self.at_once -= 1
        except ProviderBusy as error:
            self.refused.append(error.seconds)
        finally:
            self.waiting.pop(place, None)

    def began(self, place: tuple[bool, int], now: float, since: float) -> None:
        start, end = self.quiet
        assert not start < now < end - 1e-9, "somebody began in a pause"
        # Who has its turn and has not begun yet begins at this very moment.
        assert self.overtaken.get(place, now) == now, "a later caller was served first"
        for other, came in self.waiting.items():
            if other < place and came < min(now, since):
                self.overtaken.setdefault(other, now)

    def throttle(self, begun: float, pause: float, now: float) -> None:
        self.limiter.throttled(begun, pause)
        self.quiet = (self.quiet[0] if now < self.quiet[1] else now, max(self.quiet[1], now + pause))
        assert 1 <= self.limiter.stats.window <= self.limiter.most


async def leave(task: asyncio.Task[None], caller: Caller) -> None:
    if caller.leaves is not None:
        await asyncio.sleep(caller.leaves)
        for _ in range(caller.hops):
            await asyncio.sleep(0)
        task.cancel()


async def scenario(most: int, callers: Sequence[Caller]) -> None:
    loop = asyncio.get_running_loop()
    limiter = Limiter(most, now=loop.time)
    watch = Watch(limiter)
    tasks = [asyncio.create_task(watch.call(caller)) for caller in callers]
    leaving = [asyncio.create_task(leave(*pair)) for pair in zip(tasks, callers, strict=True)]
    found = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*leaving)
    wrong = [one for one in found if isinstance(one, Exception)]
    assert not wrong, wrong
    assert all(isinstance(one, asyncio.CancelledError) for one in found if one is not None)
    assert all(seconds > 20 for seconds in watch.refused)
    stats = limiter.stats
    assert (stats.in_flight, stats.waiting) == (0, 0)
    assert stats.most_in_flight <= most
    # Whatever has happened, all places are there again once the pauses are over.
    await asyncio.sleep(limiter.pauses.rest())
    for _ in range(200):
        limiter.succeeded()
    tickets = [limiter.ticket() for _ in range(most)]
    turns = [limiter.turn(ticket) for ticket in tickets]
    for turn in turns:
        await turn.__aenter__()
    assert limiter.stats.in_flight == most
    for turn in turns:
        await turn.__aexit__(None, None, None)


@settings(deadline=None, max_examples=400)
@given(st.integers(1, 5), CALLERS)
def test_never_more_than_allowed_and_nobody_forgotten(most: int, callers: Sequence[Caller]) -> None:
    run_virtual(scenario(most, callers))


@settings(deadline=None, max_examples=8)
@given(st.integers(1, 4), st.integers(0, 1 << 16))
def test_several_event_loops_share_the_turns(most: int, seed: int) -> None:
    limiter = Limiter(most)
    lock = threading.Lock()
    at_once = [0, 0]
    done: list[int] = []

    async def one(rng: Random) -> None:
        async with limiter.turn(limiter.ticket()):
            with lock:
                at_once[0] += 1
                at_once[1] = max(at_once)
            try:
                await asyncio.sleep(rng.random() / 1000)
                if rng.random() < 0.1:
                    limiter.throttled(0, 0.001)
                done.append(1)
            finally:
                with lock:
                    at_once[0] -= 1

    async def main(rng: Random) -> None:
        tasks = [asyncio.create_task(one(rng)) for _ in range(30)]
        await asyncio.sleep(0)
        left = [task for task in tasks if rng.random() < 0.2]
        for task in left:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    threads = [threading.Thread(target=lambda n=n: asyncio.run(main(Random(seed + n)))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive(), "somebody waits for ever"
    assert at_once[1] <= most
    assert limiter.stats.most_in_flight <= most
    assert (limiter.stats.in_flight, limiter.stats.waiting) == (0, 0)
    assert done


def test_a_loop_that_has_ended_is_not_waited_for() -> None:
    limiter = Limiter(1)
    gone = asyncio.new_event_loop()

    async def waits() -> None:
        async with limiter.turn(limiter.ticket()):
            raise AssertionError("nobody can get here")

    async def main() -> None:
        async with limiter.turn(limiter.ticket()):
            task = gone.create_task(waits())
            await asyncio.to_thread(lambda: gone.run_until_complete(asyncio.sleep(0.001)))
            assert limiter.stats.waiting == 1
            gone.close()
            task.get_coro().close()  # type: ignore[union-attr]  # so that nobody complains of it
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        async with limiter.turn(limiter.ticket()):
            assert limiter.stats.in_flight == 1

    arun(main())


def test_a_throttled_burst_halves_once_and_successes_bring_it_back() -> None:
    now = [100.0]
    limiter = Limiter(8, now=lambda: now[0])
    for _ in range(5):  # all of them were under way together
        now[0] += 1
        limiter.throttled(99.0, 0.0)
    assert limiter.stats.window == 4
    limiter.throttled(now[0], 0.0)
    assert limiter.stats.window == 2
    for _ in range(60):
        limiter.succeeded()
    assert limiter.stats.window == 8
    for _ in range(20):
        now[0] += 1
        limiter.throttled(now[0], 0.0)
    assert limiter.stats.window == 1
    assert limiter.stats.throttled == 26


def test_who_would_wait_too_long_is_told_how_long_at_once() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        limiter = Limiter(1, now=loop.time)

        async def waits() -> float:
            with pytest.raises(ProviderBusy) as caught:
                async with limiter.turn(limiter.ticket()):
                    pass
            return caught.value.seconds

        async with limiter.turn(limiter.ticket()):
            task = asyncio.create_task(waits())
            await asyncio.sleep(1)
            limiter.throttled(0, 300)
            assert await task == 300
            assert loop.time() == 1
        await asyncio.sleep(100)
        assert await waits() == 200
        await asyncio.sleep(190)
        async with limiter.turn(limiter.ticket()):  # ten seconds are worth waiting
            assert loop.time() == pytest.approx(301)

    run_virtual(main())


def test_a_pause_that_grows_while_somebody_waits_is_kept() -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        limiter = Limiter(2, now=loop.time)

        async def begins() -> float:
            async with limiter.turn(limiter.ticket()):
                return loop.time()

        limiter.throttled(0, 5)
        waiting = [asyncio.create_task(begins()) for _ in range(3)]
        await asyncio.sleep(3)
        limiter.throttled(0, 5)
        assert await asyncio.gather(*waiting) == [8, 8, 8]

    run_virtual(main())


def test_who_leaves_between_a_turn_and_knowing_of_it_passes_it_on() -> None:
    async def main() -> None:
        limiter = Limiter(1)

        async def begins() -> None:
            async with limiter.turn(limiter.ticket()):
                pass

        async with limiter.turn(limiter.ticket()):
            first, second = [asyncio.create_task(begins()) for _ in range(2)]
            await asyncio.sleep(0)
        assert limiter.stats.waiting == 1, "the turn is the first one's by now"
        first.cancel()
        await second
        assert first.cancelled()
        assert limiter.stats.in_flight == 0

    run_virtual(main())


def test_who_comes_when_a_pause_has_just_ended_does_not_overtake() -> None:
    now = [0.0]

    async def main() -> None:
        limiter = Limiter(1, now=lambda: now[0])
        order: list[str] = []

        async def begins(name: str) -> None:
            async with limiter.turn(limiter.ticket()):
                order.append(name)

        limiter.throttled(0, 5)
        early = asyncio.create_task(begins("early"))
        await asyncio.sleep(0)
        now[0] = 6
        await asyncio.gather(early, begins("late"))
        assert order == ["early", "late"]

    arun(main())


def test_too_many_waiting_are_refused() -> None:
    async def main() -> None:
        limiter = Limiter(1, limits=Limits(model_waiting=2))

        async def waits() -> None:
            async with limiter.turn(limiter.ticket()):
                pass

        async with limiter.turn(limiter.ticket()):
            tasks = [asyncio.create_task(waits()) for _ in range(2)]
            await asyncio.sleep(0)
            with pytest.raises(Overloaded, match="model_waiting"):
                await waits()
        await asyncio.gather(*tasks)

    arun(main())


def test_one_limiter_per_address_and_key() -> None:
    origin, url = "https://a.example", "https://a.example/v1/embeddings"
    one = limiter_of(url, origin, rf.Secret("k1"), 8)
    assert limiter_of(url, origin, rf.Secret("k1"), 4) is one
    assert one.most == 4, "the smallest number that a user of it states"
    assert limiter_of(url, origin, rf.Secret("k2"), 8) is not one
    assert limiter_of(url, origin, None, 8) is not one
    chat = limiter_of("https://a.example/v1/chat/completions", origin, rf.Secret("k1"), 8)
    assert chat is not one
    assert chat.pauses is one.pauses, "a pause is the key's"
    assert chat.pauses is not limiter_of(url, origin, rf.Secret("k2"), 8).pauses
    number = id(one)
    del one, chat
    gc.collect()
    assert limiter_of(url, origin, rf.Secret("k1"), 8).most == 8, f"{number} is forgotten with its last user"


def test_pauses_only_grow() -> None:
    now = [0.0]
    pauses = Pauses(lambda: now[0])
    assert pauses.rest() == 0
    pauses.ask(5)
    pauses.ask(2)
    assert pauses.rest() == 5
    now[0] = 9
    assert pauses.rest() == 0
