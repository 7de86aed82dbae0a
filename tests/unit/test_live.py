from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

import reflow as rf
from reflow.context import Identity
from reflow.engine.live import AddQuery, ProtocolError
from reflow.errors import CallFailed, LimitExceeded
from reflow.storage.memory import MemoryStorage
from reflow.testing import FaultPlan, Simulation, simulate
from reflow.testing.wrapping import WrappedStorage
from tests.support import arun
from tests.support.client import Client
from tests.support.simulated import simulated

T = TypeVar("T")


class Row(rf.Table, table="rows"):
    owner: str
    n: int = 0

    by_owner = rf.Index("owner", "n")


live = rf.Module("live")
RUNS: list[str] = []


@live.mutation
async def put(ctx: rf.MutationCtx, owner: str, n: int = 0) -> rf.Id[Row]:
    return await ctx.db.insert(Row(owner=owner, n=n))


@live.mutation
async def change(ctx: rf.MutationCtx, id: rf.Id[Row], n: int) -> None:
    await ctx.db.patch(id, n=n)


@live.query
async def total(ctx: rf.QueryCtx, owner: str) -> int:
    RUNS.append(owner)
    return sum([row.n async for row in ctx.db.query(Row).using(Row.by_owner, owner=owner)])


@live.query
async def parity(ctx: rf.QueryCtx, id: rf.Id[Row]) -> int | None:
    RUNS.append("parity")
    row = await ctx.db.get(id)
    return row and row.n % 2


@live.query
async def mine(ctx: rf.QueryCtx, ask: bool = True) -> Any:
    RUNS.append("mine")
    me = ctx.auth.identity() if ask else None
    return [me and me.subject, me and dict(me.claims), await ctx.db.query(Row).count()]


@live.query
async def age(ctx: rf.QueryCtx) -> float:
    RUNS.append("age")
    return ctx.now() - 1_700_000_000


@live.query
async def minutes(ctx: rf.QueryCtx, every: float = 60) -> int:
    RUNS.append("minutes")
    await ctx.db.query(Row).count()
    return int(ctx.now(every=every) // every)


@live.query
async def broken(ctx: rf.QueryCtx) -> int:
    RUNS.append("broken")
    if await ctx.db.query(Row).count() < 2:
        raise ValueError("too few")
    return 2


app = rf.App(modules=[live])
ANN, BOB = Identity(issuer="i", subject="ann"), Identity(issuer="i", subject="bob")


@pytest.fixture(autouse=True)
def _nothing_has_run() -> None:
    RUNS.clear()


# The cache


@simulated(app)
async def test_equal_queries_run_once(sim: Simulation) -> None:
    clients = [Client(sim) for _ in range(20)]
    ids = [client.add(total, owner="a") for client in clients]
    for client in clients:
        await client.up_to_date()
    assert RUNS == ["a"]
    assert await sim.query(total, "a") == 0
    assert RUNS == ["a"]
    await sim.mutation(put, "a", 4)
    for client, query in zip(clients, ids, strict=True):
        await client.up_to_date()
        assert client.value(query) == 4
    assert RUNS == ["a", "a"]


@simulated(app)
async def test_spellings_of_one_argument_are_one_query(sim: Simulation) -> None:
    function = sim.engine.functions["live:minutes"]
    for raw in (b'{"every": 60}', b'{"every":60.0}', b'{"every": 6e1}'):
        await sim.engine.query(function, raw)
    assert RUNS == ["minutes"]


@simulated(app)
async def test_only_commits_that_overlap_wake_a_query(sim: Simulation) -> None:
    client = Client(sim)
    query = client.add(total, owner="a")
    await client.up_to_date()
    sent = len(client.sent)
    await sim.mutation(put, "b", 1)
    await client.up_to_date()
    assert RUNS == ["a"]
    assert len(client.sent) == sent
    await sim.mutation(put, "a", 1)
    await client.up_to_date()
    assert client.value(query) == 1


@simulated(app)
async def test_an_unchanged_result_is_not_sent(sim: Simulation) -> None:
    id = await sim.mutation(put, "a", 1)
    client = Client(sim)
    query = client.add(parity, id=id)
    await client.up_to_date()
    sent = len(client.sent)
    await sim.mutation(change, id, 3)
    await client.up_to_date()
    assert RUNS == ["parity", "parity"]
    assert len(client.sent) == sent, "nothing is said where nothing changed"
    await sim.mutation(change, id, 4)
    await client.up_to_date()
    assert client.value(query) == 0
    assert client.version.ts == sim.engine.committer.published


@simulated(app)
async def test_calls_at_one_time_share_a_run(sim: Simulation) -> None:
    assert await asyncio.gather(*(sim.query(total, "a") for _ in range(10))) == [0] * 10
    assert RUNS == ["a"]


@simulated(app, interleave=True, seed=3)
async def test_calls_at_one_time_share_a_run_that_suspends(sim: Simulation) -> None:
    assert await asyncio.gather(*(sim.query(total, "a") for _ in range(10))) == [0] * 10
    assert RUNS == ["a"]


@simulated(app)
async def test_a_failed_query_is_told_and_mends_itself(sim: Simulation) -> None:
    client = Client(sim)
    query = client.add(broken)
    await client.up_to_date()
    assert client.failure(query).message == "Uncaught ValueError: too few"
    with pytest.raises(CallFailed):
        await sim.query(broken)
    await sim.mutation(put, "a")
    await client.up_to_date()
    await sim.mutation(put, "a")
    await client.up_to_date()
    assert client.value(query) == 2


@simulated(rf.App(modules=[live], limits=rf.Limits(cached_queries=5)))
async def test_results_that_nobody_follows_are_bounded_by_number(sim: Simulation) -> None:
    client = Client(sim)
    client.add(total, owner="followed")
    await client.up_to_date()
    for n in range(50):
        await sim.query(total, f"{n}")
    assert len(sim.engine.cache) <= 6
    RUNS.clear()
    await sim.query(total, "followed")
    await sim.query(total, "49")
    await sim.query(total, "0")
    assert RUNS == ["0"], "the oldest went, what is followed stayed"


@simulated(rf.App(modules=[live], limits=rf.Limits(cached_bytes=200)))
async def test_results_that_nobody_follows_are_bounded_by_size(sim: Simulation) -> None:
    for n in range(50):
        await sim.query(total, f"{n}" * 20)
    assert sim.engine.cache.idle_bytes <= 300
    assert len(sim.engine.cache) < 10


@simulated(app)
async def test_nothing_is_left_of_closed_connections(sim: Simulation) -> None:
    await sim.mutation(put, "a")
    for turn in range(3):
        clients = [Client(sim) for _ in range(5)]
        for client in clients:
            client.sign_in(ANN if turn % 2 else None)
            kept = [client.add(total, owner="a"), client.add(mine), client.add(broken), client.add(minutes)]
            await client.up_to_date()
            client.remove(kept[0])
        await sim.mutation(put, "a")
        for client in clients:
            await client.up_to_date()
            client.close()
        await sim.mutation(put, "a")
    await sim.advance(3600)
    cache = sim.engine.cache
    subscriptions = cache._subscriptions  # pyright: ignore[reportPrivateUsage]
    await sim.mutation(put, "a")
    await sim.mutation(put, "b")
    assert not any(entry.subscribers for entry in cache.entries())
    assert len(subscriptions) == len([entry for entry in cache.entries() if entry.reads is not None])
    assert len(cache) == 0, "every one of these depends on what was written"
    assert cache.idle_bytes == 0
    assert (subscriptions._points, subscriptions._ranges, subscriptions._whole) == ({}, {}, {})  # pyright: ignore[reportPrivateUsage]
    assert sim.engine.hub._ticks == []  # pyright: ignore[reportPrivateUsage]


# Identities


@simulated(app)
async def test_personal_results_are_never_shared(sim: Simulation) -> None:
    clients = {who and who.subject: Client(sim) for who in (None, ANN, BOB)}
    queries: dict[str | None, int] = {}
    for who in (None, ANN, BOB):
        client = clients[who and who.subject]
        client.sign_in(who)
        queries[who and who.subject] = client.add(mine)
    for subject, client in clients.items():
        await client.up_to_date()
        assert client.value(queries[subject])[0] == subject
    await sim.mutation(put, "a")
    for subject, client in clients.items():
        await client.up_to_date()
        assert client.value(queries[subject])[0] == subject
        assert client.value(queries[subject])[2] == 1
    function = sim.engine.functions["live:mine"]
    for who in (BOB, None, ANN):
        result = await sim.engine.query(function, b"{}", who)
        assert result.value is not None
        assert result.value.startswith(b'["%s"' % who.subject.encode() if who else b"[null")


@simulated(app)
async def test_one_that_asks_only_sometimes_is_personal_then(sim: Simulation) -> None:
    one, other = Client(sim), Client(sim)
    one.sign_in(ANN)
    other.sign_in(BOB)
    quiet = [client.add(mine, ask=False) for client in (one, other)]
    await one.up_to_date()
    await other.up_to_date()
    assert RUNS == ["mine"]
    asking = [client.add(mine, ask=True) for client in (one, other)]
    await one.up_to_date()
    await other.up_to_date()
    assert [one.value(asking[0])[0], other.value(asking[1])[0]] == ["ann", "bob"]
    assert [one.value(quiet[0])[0], other.value(quiet[1])[0]] == [None, None]


@simulated(app)
async def test_other_claims_are_another_identity(sim: Simulation) -> None:
    client = Client(sim)
    client.sign_in(Identity(issuer="i", subject="ann", claims={"role": "guest"}))
    query = client.add(mine)
    await client.up_to_date()
    assert client.value(query)[1] == {"role": "guest"}
    client.sign_in(Identity(issuer="i", subject="ann", claims={"role": "admin"}))
    await client.up_to_date()
    assert client.value(query)[1] == {"role": "admin"}
    client.sign_in(None)
    await client.up_to_date()
    assert client.value(query)[0] is None


# Time


@simulated(app)
async def test_a_query_of_the_clock_runs_again_at_ticks(sim: Simulation) -> None:
    client = Client(sim)
    query = client.add(minutes)
    await client.up_to_date()
    first = client.value(query)
    for minute in range(1, 4):
        await sim.advance(60)
        await client.up_to_date()
        assert client.value(query) == first + minute
    runs = len(RUNS)
    client.close()
    await sim.advance(600)
    assert len(RUNS) == runs, "nobody listens any more"


@simulated(app)
async def test_ticks_do_not_pile_up(sim: Simulation) -> None:
    client = Client(sim)
    client.add(minutes, every=86400)
    for _ in range(300):
        await sim.mutation(put, "a")
        await client.up_to_date()
    assert len(sim.engine.hub._ticks) == 1  # pyright: ignore[reportPrivateUsage]
    shorter = client.add(minutes, every=7)
    await client.up_to_date()
    before = client.value(shorter)
    await sim.advance(7)
    await client.up_to_date()
    assert client.value(shorter) == before + 1, "an earlier tick does not wait for the later one"


@simulated(app)
async def test_a_result_with_the_time_in_it_is_not_served_for_long(sim: Simulation) -> None:
    assert await sim.query(age) == 0
    await sim.advance(10)
    assert await sim.query(age) == 0
    await sim.advance(10)
    assert await sim.query(age) == 20
    await sim.advance(3600)
    client = Client(sim)
    query = client.add(age)
    await client.up_to_date()
    assert client.value(query) == 3620, "a newcomer is not told the time of an hour ago"


# Query sets


@simulated(app)
async def test_wrong_query_sets_are_refused(sim: Simulation) -> None:
    connection = Client(sim).connection
    add = AddQuery(0, "live:age", age, b"{}", None)
    connection.modify(0, 1, [add], [])
    with pytest.raises(ProtocolError, match=r"BaseVersionMismatch: the query set is at version 1, not 0 -> 1"):
        connection.modify(0, 1, [], [])
    with pytest.raises(ProtocolError, match=r"BaseVersionMismatch"):
        connection.modify(1, 1, [], [])
    with pytest.raises(ProtocolError, match=r"query 0 is in the query set already"):
        connection.modify(1, 2, [add], [])
    with pytest.raises(ProtocolError, match=r"query 7 is to be removed but"):
        connection.modify(1, 2, [], [7])
    with pytest.raises(ProtocolError, match=r"the identity is at version 0, not 4"):
        connection.authenticate(4, None)


@simulated(rf.App(modules=[live], limits=rf.Limits(queries_per_socket=3)))
async def test_queries_of_one_connection_are_bounded(sim: Simulation) -> None:
    client = Client(sim)
    ids = [client.add(total, owner=f"{n}") for n in range(3)]
    with pytest.raises(LimitExceeded, match=r"limits.queries_per_socket = 3"):
        client.add(total, owner="x")
    add = AddQuery(9, "live:age", age, b"{}", None)
    client.connection.modify(3, 4, [add], ids[:1])  # one goes, one comes


@simulated(app)
async def test_a_function_that_is_not_there_is_told_so(sim: Simulation) -> None:
    client = Client(sim)
    client.connection.modify(0, 1, [AddQuery(1, "live:none", None, b"{}", None)], [])
    await sim.quiet()
    assert client.failure(1).code == "FunctionNotFound"
    assert "'live:none'" in client.failure(1).message


@simulated(app)
async def test_a_client_that_takes_nothing_is_left_alone_and_gets_the_latest(sim: Simulation) -> None:
    client = Client(sim)
    query = client.add(total, owner="a")
    await client.up_to_date()
    client.takes = False
    for _ in range(5):
        await sim.mutation(put, "a", 1)
        await sim.quiet()
    assert RUNS == ["a"], "nothing is computed for nobody"
    client.takes = True
    client.connection.wake()
    await client.up_to_date()
    assert client.value(query) == 5
    assert RUNS == ["a", "a"]


@simulated(app)
async def test_watching_gives_each_new_result(sim: Simulation) -> None:
    seen: list[int] = []
    async for value in sim.watch(total, "a"):
        seen.append(value)
        if len(seen) == 3:
            break
        await sim.mutation(put, "a", 1)
    assert seen == [0, 1, 2]


# Races, over a storage that waits where the test wants it to


class GateStorage(WrappedStorage):
    """Holds calls of one kind back until the test lets them go on."""

    def __init__(self) -> None:
        super().__init__(MemoryStorage())
        self.concurrent = True
        self.closed_for = ""
        self.held: list[asyncio.Future[None]] = []

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        if operation == self.closed_for:
            future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self.held.append(future)
            await future
        return await call()

    async def reached(self, count: int = 1) -> None:
        while len(self.held) < count:
            await asyncio.sleep(0)

    def open_up(self) -> None:
        self.closed_for = ""
        for future in self.held:
            future.set_result(None)
        self.held.clear()


def gated(test: Callable[[Simulation, GateStorage], Awaitable[None]]) -> Callable[[], None]:
    async def main() -> None:
        gate = GateStorage()
        engine = app.engine(gate)
        await engine.start()
        try:
            from reflow.testing import VirtualClock

            await test(Simulation(engine, VirtualClock(), FaultPlan()), gate)
        finally:
            gate.open_up()
            await engine.close()

    def run() -> None:
        arun(main())

    run.__name__ = test.__name__
    return run


@gated
async def test_a_late_result_of_an_older_snapshot_is_followed_by_the_newer_one(
    sim: Simulation, gate: GateStorage
) -> None:
    client = Client(sim)
    gate.closed_for = "snapshot.scan"
    query = client.add(total, owner="a")
    await gate.reached()  # the connection reads its snapshot
    held, gate.held, gate.closed_for = gate.held, [], ""
    await sim.mutation(put, "a", 5)
    assert await sim.query(total, "a") == 5  # by another road, through the same entry
    gate.held = held
    gate.open_up()
    await client.up_to_date()
    assert client.value(query) == 5


@gated
async def test_a_connection_that_closes_while_it_is_served_leaves_nothing(sim: Simulation, gate: GateStorage) -> None:
    client = Client(sim)
    gate.closed_for = "snapshot.scan"
    client.add(total, owner="a")
    await gate.reached()
    client.close()
    gate.open_up()
    await sim.quiet()
    assert client.sent == []
    assert len(sim.engine.cache._subscriptions) == 0  # pyright: ignore[reportPrivateUsage]
    assert not any(entry.subscribers for entry in sim.engine.cache.entries())


@gated
async def test_a_query_set_that_changes_while_it_is_served_is_served_again(sim: Simulation, gate: GateStorage) -> None:
    await sim.mutation(put, "b", 2)
    client = Client(sim)
    gate.closed_for = "snapshot.scan"
    first = client.add(total, owner="a")
    await gate.reached()
    client.remove(first)
    second = client.add(total, owner="b")
    gate.open_up()
    await client.up_to_date()
    assert client.value(second) == 2
    assert first not in client.results


@gated
async def test_results_of_two_identities_are_not_mixed(sim: Simulation, gate: GateStorage) -> None:
    client = Client(sim)
    client.sign_in(ANN)
    query = client.add(mine)
    client.add(mine, ask=True)
    await client.up_to_date()
    gate.closed_for = "snapshot.count"
    await sim.mutation(put, "a")
    await gate.reached()
    client.sign_in(BOB)
    gate.open_up()
    await client.up_to_date()
    for version, changes in client.sent:
        for result in changes.values():
            assert result is not None
            name = b"ann" if version.identity == 1 else b"bob"
            assert result.value is not None
            assert name in result.value
    assert client.value(query)[0] == "bob"


@gated
async def test_a_commit_while_a_result_is_made_outdates_it(sim: Simulation, gate: GateStorage) -> None:
    client = Client(sim)
    query = client.add(total, owner="a")
    await client.up_to_date()
    await sim.mutation(put, "a", 1)
    gate.closed_for = "snapshot.scan"
    asked = asyncio.ensure_future(sim.query(total, "b"))
    await gate.reached()
    gate.held, held, gate.closed_for = [], gate.held, ""
    await sim.mutation(put, "b", 3)
    gate.held = held
    gate.open_up()
    assert await asked in (0, 3)
    assert await sim.query(total, "b") == 3
    await client.up_to_date()
    assert client.value(query) == 1


# Faults


def test_a_storage_that_fails_is_no_result() -> None:
    async def main() -> None:
        faults = FaultPlan()
        async with simulate(app, faults=faults) as sim:
            good, bad = Client(sim), Client(sim)
            query = good.add(total, owner="a")
            await good.up_to_date()
            faults.read = 1.0
            bad.add(total, owner="b")
            await sim.quiet()
            assert bad.failed == "InternalServerError: StorageUnavailable"
            with pytest.raises(rf.ReflowError, match=r"Fault"):
                await sim.query(total, "c")
            with pytest.raises(rf.ReflowError, match=r"Fault"):
                await sim.mutation("live:change", id=(await sim.mutation(put, "z")), n=1)
            faults.read, faults.snapshot = 0.0, 1.0
            with pytest.raises(rf.ReflowError, match=r"Fault"):
                await sim.query(total, "d")
            faults.snapshot = 0.0
            assert await sim.query(total, "c") == 0
            assert await sim.query(total, "d") == 0
            await sim.mutation(put, "a", 1)
            await good.up_to_date()
            assert good.value(query) == 1

    arun(main())


def test_a_group_that_is_not_committed_is_seen_by_nobody() -> None:
    async def main() -> None:
        faults = FaultPlan()
        async with simulate(app, faults=faults) as sim:
            client = Client(sim)
            query = client.add(total, owner="a")
            await client.up_to_date()
            faults.commit = 1.0
            results = await asyncio.gather(*(sim.mutation(put, "a", 1) for _ in range(5)), return_exceptions=True)
            assert all(isinstance(result, rf.ReflowError) for result in results)
            await client.up_to_date()
            faults.commit = 0.0
            assert client.value(query) == 0
            assert await sim.query(total, "a") == 0
            await sim.mutation(put, "a", 1)
            await client.up_to_date()
            assert client.value(query) == 1

    arun(main())
