from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reflow import values
from reflow.context import Identity
from reflow.engine.outcomes import Result
from reflow.errors import StorageError
from reflow.storage.base import Storage
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from reflow.testing import FaultPlan, Simulation, simulate
from tests.support import arun
from tests.support.client import Client
from tests.support.notes import PAGED, PRESENT_ONLY, QUERIES, WRITES, app

Write = tuple[str, dict[str, Any]]
Follow = tuple[Any, dict[str, Any]]


class Watcher(Client):
    """Keeps, for every transition, all results as they then stood."""

    def __init__(self, backend: Simulation) -> None:
        super().__init__(backend)
        self.asked: dict[int, Follow] = {}
        self.who: dict[int, Identity | None] = {0: None}
        self.states: list[tuple[int, int, dict[int, Result]]] = []
        self.seen = lambda: self.states.append((self.version.ts, self.version.identity, dict(self.results)))

    def follow(self, query: Follow) -> int:
        query_id = self.add(query[0], **query[1])
        self.asked[query_id] = query
        return query_id

    def turn_into(self, identity: Identity | None) -> None:
        self.sign_in(identity)
        self.who[max(self.who) + 1] = identity


async def writer(sim: Simulation, writes: Sequence[Write]) -> None:
    for name, args in writes:
        try:
            await sim.mutation(f"notes:{name}", **args)
        except StorageError:
            assert sim.faults.raised


async def meddler(watcher: Watcher, queries: Sequence[Follow], random: Random) -> None:
    """Changes what is asked while answers are being made."""
    following: list[int] = []
    for query in queries:
        following.append(watcher.follow(query))
        for _ in range(random.randint(0, 12)):
            await asyncio.sleep(0)
        match random.randint(0, 5):
            case 0:
                watcher.remove(following.pop(random.randrange(len(following))))
            case 1:
                watcher.takes = False
            case 2:
                watcher.takes = True
                watcher.connection.wake()
            case 3:
                watcher.turn_into(Identity(issuer="test", subject=random.choice("ab")))
            case _:
                pass
    watcher.takes = True
    watcher.connection.wake()


async def poller(sim: Simulation, queries: Sequence[Follow], random: Random) -> None:
    """Asks the same beside the live queries, through the same cache."""
    for function, args in [*queries, *queries]:
        for _ in range(random.randint(0, 12)):
            await asyncio.sleep(0)
        result = await sim.engine.query(function, function.arguments.encode((), args))
        assert result.failure is None, result.failure


async def expected(sim: Simulation, watcher: Watcher, query_id: int, ts: int, who: int, shown: Any) -> Any:
    """What a run of the query at that timestamp gives, without any cache."""
    function, args = watcher.asked[query_id]
    if function in PAGED:
        args = args | {"opts": args["opts"] | {"endCursor": shown["continueCursor"]}}
    raw = function.arguments.encode((), args)
    result = await sim.engine.query_at(function, raw, ts, watcher.who[who])
    assert result.failure is None, result.failure
    return values.decode(result.value or b"")


async def verify(sim: Simulation, watcher: Watcher) -> None:
    newest = sim.engine.committer.published
    ends: dict[int, str] = {}
    for ts, who, results in watcher.states:
        for query_id, result in results.items():
            assert result.failure is None, result.failure
            shown = values.decode(result.value or b"")
            function = watcher.asked[query_id][0]
            if function in PAGED:
                assert ends.setdefault(query_id, shown["continueCursor"]) == shown["continueCursor"], "a page moved"
            if function not in PRESENT_ONLY:
                assert shown == await expected(sim, watcher, query_id, ts, who, shown), watcher.asked[query_id]
    for query_id, result in watcher.results.items():
        shown = values.decode(result.value or b"")
        assert shown == await expected(sim, watcher, query_id, newest, watcher.version.identity, shown)


async def check(
    writes: Sequence[Sequence[Write]],
    queries: Sequence[Sequence[Follow]],
    seed: int,
    storage: Storage,
    suspend: bool,
    failing: float = 0.0,
) -> None:
    faults = FaultPlan(seed=seed, commit=failing, write=failing / 2)
    async with simulate(app, storage=storage, interleave=suspend, seed=seed, faults=faults) as sim:
        watchers = [Watcher(sim) for _ in queries]
        work = [writer(sim, some) for some in writes]
        work += [
            meddler(watcher, some, Random(seed + place))
            for place, (watcher, some) in enumerate(zip(watchers, queries, strict=True))
        ]
        work += [poller(sim, some, Random(seed - place - 1)) for place, some in enumerate(queries)]
        await asyncio.gather(*work)
        for watcher in watchers:
            await watcher.up_to_date()
            await verify(sim, watcher)
            watcher.close()
        await sim.quiet()
        cache = sim.engine.cache
        assert not any(entry.subscribers for entry in cache.entries()), "somebody is followed by nobody"


_WRITERS = st.lists(st.lists(WRITES, min_size=1, max_size=8), min_size=1, max_size=3)
_FOLLOWERS = st.lists(st.lists(QUERIES, min_size=1, max_size=5), min_size=1, max_size=2)


@settings(max_examples=80, deadline=None)
@given(_WRITERS, _FOLLOWERS, st.integers(0, 1 << 16), st.booleans())
def test_rule_6_a_live_query_is_exact_over_memory(
    writes: Sequence[Sequence[Write]], queries: Sequence[Sequence[Follow]], seed: int, suspend: bool
) -> None:
    arun(check(writes, queries, seed, MemoryStorage(), suspend))


@settings(max_examples=30, deadline=None)
@given(_WRITERS, _FOLLOWERS, st.integers(0, 1 << 16), st.booleans())
def test_rule_6_a_live_query_is_exact_over_sqlite(
    writes: Sequence[Sequence[Write]], queries: Sequence[Sequence[Follow]], seed: int, suspend: bool
) -> None:
    with tempfile.TemporaryDirectory() as directory:
        storage = SqliteStorage(directory, durability="full" if seed % 2 else "relaxed")
        arun(check(writes, queries, seed, storage, suspend))


@settings(max_examples=40, deadline=None)
@given(_WRITERS, _FOLLOWERS, st.integers(0, 1 << 16), st.booleans())
def test_rule_6_a_live_query_is_exact_when_commits_fail(
    writes: Sequence[Sequence[Write]], queries: Sequence[Sequence[Follow]], seed: int, suspend: bool
) -> None:
    arun(check(writes, queries, seed, MemoryStorage(), suspend, failing=0.3))
