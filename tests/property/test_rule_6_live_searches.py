"""Live searches followed from the start, while documents change under them one commit, or one group, after another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reflow import values
from reflow.engine.outcomes import Result
from reflow.testing import Simulation, simulate
from tests.support import arun
from tests.support.client import Client
from tests.support.notes import PAGED, SEARCHES, VECTOR_SEARCHES, WRITES, app

Write = tuple[str, dict[str, Any]]
Follow = tuple[Any, dict[str, Any]]


async def check(groups: Sequence[Sequence[Write]], follows: Sequence[Follow], interleave: bool, seed: int) -> None:
    async with simulate(app, interleave=interleave, seed=seed) as sim:
        clients = [Client(sim) for _ in follows]
        ids = [client.add(function, **args) for client, (function, args) in zip(clients, follows, strict=True)]
        await asyncio.gather(*(client.up_to_date() for client in clients))
        for number, group in enumerate(groups):
            slow = clients[number % len(clients)]
            slow.takes = False  # it misses this one, and comes with the next
            await asyncio.gather(*(sim.mutation(f"notes:{name}", **args) for name, args in group))
            slow.takes = True
            slow.connection.wake()
            await asyncio.gather(*(client.up_to_date() for client in clients))
            await sim.quiet()
            for client, query_id, (function, args) in zip(clients, ids, follows, strict=True):
                result = client.results[query_id]
                assert result.failure is None, result.failure
                shown = values.decode(result.value or b"")
                if function in PAGED:
                    args = args | {"opts": args["opts"] | {"endCursor": shown["continueCursor"]}}
                fresh = await sim.engine.query_at(
                    function, function.arguments.encode((), args), sim.engine.committer.published
                )
                assert shown == values.decode(fresh.value or b""), (function.path, args)


class Watcher(Client):
    """Keeps, for every transition, all results as they then stood."""

    def __init__(self, sim: Simulation) -> None:
        super().__init__(sim)
        self.states: list[tuple[int, dict[int, Result]]] = []
        self.seen = lambda: self.states.append((self.version.ts, dict(self.results)))


async def check_all_that_was_shown(
    writers: Sequence[Sequence[Write]], follows: Sequence[Follow], interleave: bool, seed: int
) -> None:
    """Commits and runs of queries overlap: whatever was shown at any time is what a run at that timestamp gives."""
    async with simulate(app, interleave=interleave, seed=seed) as sim:
        for number in range(12):
            await sim.mutation("notes:write", tag=number % 2, rank=number % 4, text="red", vector=[1.0, number / 8])
        watcher = Watcher(sim)
        followed = {watcher.add(function, **args): (function, args) for function, args in follows}
        await watcher.up_to_date()

        async def write(writes: Sequence[Write]) -> None:
            for name, args in writes:
                await sim.mutation(f"notes:{name}", **args)

        await asyncio.gather(*map(write, writers))
        await watcher.up_to_date()
        await sim.quiet()
        for ts, results in watcher.states:
            for query_id, result in results.items():
                function, args = followed[query_id]
                fresh = await sim.engine.query_at(function, function.arguments.encode((), args), ts)
                assert (result.failure, fresh.failure) == (None, None)
                assert values.decode(result.value or b"") == values.decode(fresh.value or b""), (
                    ts,
                    function.path,
                    args,
                )


_GROUPS = st.lists(st.lists(WRITES, min_size=1, max_size=3), min_size=4, max_size=14)
_FOLLOWS = st.lists(SEARCHES, min_size=1, max_size=4)


@settings(max_examples=120, deadline=None)
@given(_GROUPS, _FOLLOWS, st.booleans(), st.integers(0, 1 << 16))
def test_rule_6_a_live_search_equals_a_fresh_one_after_every_commit(
    groups: Sequence[Sequence[Write]], follows: Sequence[Follow], interleave: bool, seed: int
) -> None:
    arun(check(groups, follows, interleave, seed))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(WRITES, min_size=3, max_size=10), min_size=2, max_size=4),
    st.lists(VECTOR_SEARCHES, min_size=2, max_size=5),
    st.booleans(),
    st.integers(0, 1 << 16),
)
def test_rule_3_searches_that_commits_overtake_are_of_one_snapshot(
    writers: Sequence[Sequence[Write]], follows: Sequence[Follow], interleave: bool, seed: int
) -> None:
    arun(check_all_that_was_shown(writers, follows, interleave, seed))
