"""What a growing list shows while documents come, go and move: at every moment a beginning of the whole list."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow import values
from reflow.functions import Function
from reflow.testing import Simulation, simulate
from tests.support import arun
from tests.support.client import Client
from tests.support.lists_app import down, insert, lists, move, odd, remove, searched, up


class GrowingList:
    """What usePaginatedQuery of the npm package does: pages, one behind another; large ones are split in two, which
    are shown once both are there. What a page that is to be split lacks is not shown, nor what comes behind it."""

    def __init__(self, client: Client, function: Function[..., Any], first: dict[str, Any]) -> None:
        self.client = client
        self.function = function
        self.first = first
        self.options: dict[int, dict[str, Any]] = {}
        self.pages = [self._follow(first)]
        self.splits: dict[int, tuple[int, int]] = {}
        self.split_count = 0

    def _follow(self, options: dict[str, Any]) -> int:
        page = self.client.add(self.function, opts=options)
        self.options[page] = options
        return page

    def shown(self) -> tuple[list[Any], bool]:
        """The items, and whether they are all."""
        items: list[Any] = []
        done = False
        for page in self.pages:
            found = self.client.value(page)
            if found is None or found["pageStatus"] == "SplitRequired":
                return items, False
            items += found["page"]
            done = found["isDone"]
        return items, done

    def more(self, count: int) -> bool:
        """Asks for another page; False where there is none, or one is on its way."""
        last = self.client.value(self.pages[-1])
        if last is None or last["isDone"] or last["pageStatus"] == "SplitRequired":
            return False
        self.pages.append(self._follow(self.first | {"numItems": count, "cursor": last["continueCursor"]}))
        return True

    def react(self) -> bool:
        """Begins and ends splits; False where there is nothing to do."""
        acted = False
        for page in list(self.pages):
            found = self.client.value(page)
            if found is None:
                return acted
            halves = self.splits.get(page)
            if halves is not None:
                if all(self.client.value(half) is not None for half in halves):
                    at = self.pages.index(page)
                    self.pages[at : at + 1] = halves
                    del self.splits[page]
                    self.client.remove(page)
                    acted = True
            elif found["splitCursor"] and (found["pageStatus"] or len(found["page"]) > 2 * self.first["numItems"]):
                self.split_count += 1
                middle = {"endCursor": found["splitCursor"]}
                rest = {"cursor": found["splitCursor"], "endCursor": found["continueCursor"]}
                options = self.options[page]
                self.splits[page] = self._follow(options | middle), self._follow(options | rest)
                acted = True
            if found["pageStatus"] == "SplitRequired":
                return acted
        return acted


async def whole(sim: Simulation, function: Function[..., Any], ts: int) -> list[Any]:
    """The list at a timestamp, page after page."""
    items: list[Any] = []
    cursor = None
    while True:
        args = function.arguments.encode((), {"opts": {"numItems": 7, "cursor": cursor}})
        result = await sim.engine.query_at(function, args, ts)
        assert result.failure is None, result.failure
        page = values.decode(result.value or b"")
        items += page["page"]
        cursor = page["continueCursor"]
        if page["isDone"]:
            return items


class Session:
    """One list, and every state that it was in."""

    def __init__(self, sim: Simulation, function: Function[..., Any], first: dict[str, Any]) -> None:
        self.sim = sim
        self.client = Client(sim)
        self.list = GrowingList(self.client, function, first)
        self.states: list[tuple[int, list[Any], bool]] = []
        self._watch()

    def _watch(self) -> None:
        self.client.seen = lambda: self.states.append((self.client.version.ts, *self.list.shown()))

    def reconnect(self) -> None:
        later = Client(self.sim)
        later.resume(self.client)
        self.client = self.list.client = later
        self._watch()

    async def check(self) -> None:
        """Each state shows a beginning of the list as it was, the whole of it where it says so.

        How a search was ranked in the past is not kept: of its former states it is only known that nothing is twice.
        """
        known: dict[int, list[Any]] = {}
        for ts, items, done in self.states:
            assert len({id for id, _ in items}) == len(items), items
            if self.list.function is searched and ts != self.sim.engine.committer.published:
                continue
            if ts not in known:
                known[ts] = await whole(self.sim, self.list.function, ts)
            true = known[ts]
            assert items == true[: len(items)], (items, true)
            assert not done or items == true
        self.states.clear()


async def run(
    function: Function[..., Any], first: dict[str, Any], steps: list[Any], limits: rf.Limits, seed: int | None
) -> int:
    app = rf.App(modules=[lists], limits=limits)
    async with simulate(app, seed=seed or 0, interleave=seed is not None) as sim:
        await sim.mutation(insert, list(range(0, 40, 2)))
        session = Session(sim, function, first)
        for kind, *args in steps:
            if kind == "write":
                await sim.mutation(*args)
            elif kind == "more":
                session.list.more(*args)
            elif kind == "react":
                session.list.react()
            elif kind == "reconnect":
                session.reconnect()
            elif kind == "slow":
                session.client.takes = not session.client.takes
                session.client.connection.wake()
            else:
                await sim.quiet()
                await session.check()
        session.client.takes = True
        session.client.connection.wake()
        for _ in range(200):
            await session.client.up_to_date()
            await sim.quiet()
            await session.check()
            if not session.list.react() and not session.list.more(first["numItems"]):
                break
        items, done = session.list.shown()
        assert done, "the list does not come to its end"
        assert items == await whole(sim, function, sim.engine.committer.published)
        return session.list.split_count


NUMBERS = st.integers(0, 50)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.just(insert), st.lists(NUMBERS, min_size=1, max_size=9)),
        st.tuples(st.just("write"), st.just(move), NUMBERS, NUMBERS),
        st.tuples(st.just("write"), st.just(remove), NUMBERS, st.integers(1, 12)),
        st.tuples(st.just("more"), st.integers(1, 9)),
        st.tuples(st.sampled_from(["react", "react", "settle", "settle", "reconnect", "slow"])),
    ),
    max_size=20,
)
FIRST = st.fixed_dictionaries(
    {"numItems": st.integers(1, 6), "cursor": st.none()},
    optional={"maximumRowsRead": st.integers(1, 12), "maximumBytesRead": st.integers(1, 2000)},
)


@pytest.mark.parametrize("function", [up, down, odd, searched], ids=lambda function: function.path)
def test_a_growing_list_has_no_gap_and_no_duplicate(function: Function[..., Any]) -> None:
    splits = 0

    @settings(max_examples=25, deadline=None)
    @given(FIRST, STEPS, st.none() | st.integers(0, 1000))
    def search(first: dict[str, Any], steps: list[Any], seed: int | None) -> None:
        nonlocal splits
        splits += arun(run(function, first, steps, rf.Limits(), seed))

    search()
    assert splits > 0


@pytest.mark.parametrize("seed", range(4))
def test_a_page_that_outgrows_what_a_function_may_read_is_split(seed: int) -> None:
    """Nobody bounds the pages here but the limits of the app, which the first page soon exceeds by far."""
    chance = Random(seed)
    steps: list[Any] = []
    for _ in range(20):
        steps.append(("write", insert, [chance.randrange(60) for _ in range(chance.randrange(1, 9))]))
        steps += [("react",)] * chance.randrange(2) + [("settle",)] * chance.randrange(2)
    limits = rf.Limits(documents_read=40)
    assert arun(run(chance.choice([up, down, odd]), {"numItems": 20, "cursor": None}, steps, limits, None)) > 0
