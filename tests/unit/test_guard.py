from __future__ import annotations

import asyncio
import logging
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

import reflow as rf
from reflow.engine.guard import Watchdog
from reflow.errors import CallFailed, FunctionTimeout
from reflow.limits import Limits
from reflow.testing import Simulation
from tests.support import arun
from tests.support.simulated import simulated


class Row(rf.Table, table="rows"):
    n: int
    meaning = rf.VectorIndex(dims=2)


guarded = rf.Module("guarded")


async def sleep(ctx: rf.QueryCtx) -> None:
    await asyncio.sleep(0.01)


async def bare_yield(ctx: rf.QueryCtx) -> None:
    await asyncio.sleep(0)


async def gather(ctx: rf.QueryCtx) -> None:
    await asyncio.gather(ctx.db.query(Row).count(), ctx.db.query(Row).count())


async def lock(ctx: rf.QueryCtx) -> None:
    held = asyncio.Lock()
    await held.acquire()
    await held.acquire()


async def to_thread(ctx: rf.QueryCtx) -> None:
    await asyncio.to_thread(len, "")


async def swallow(ctx: rf.QueryCtx) -> str:
    try:
        await asyncio.sleep(0.01)
    except Exception:
        return "nothing happened"
    return "slept"


async def connect(ctx: rf.QueryCtx) -> None:
    socket.create_connection(("127.0.0.1", 9), timeout=0.1)


async def resolve(ctx: rf.QueryCtx) -> None:
    socket.getaddrinfo("localhost", 80)


async def fetch(ctx: rf.QueryCtx) -> None:
    urllib.request.urlopen("http://127.0.0.1:9/")


async def swallowed_connect(ctx: rf.QueryCtx) -> str:
    try:
        socket.create_connection(("127.0.0.1", 9), timeout=0.1)
    except Exception:
        return "nothing happened"
    return "connected"


async def write_file(ctx: rf.QueryCtx) -> None:
    FILE.write_text("x")


async def append_file(ctx: rf.QueryCtx) -> None:
    with open(FILE, "a"):
        pass


async def remove_file(ctx: rf.QueryCtx) -> None:
    os.remove(FILE)


async def temporary_file(ctx: rf.QueryCtx) -> None:
    tempfile.mkstemp()


async def run_process(ctx: rf.QueryCtx) -> None:
    subprocess.run(["true"], check=False)


async def shell(ctx: rf.QueryCtx) -> None:
    os.system("true")


async def thread(ctx: rf.QueryCtx) -> None:
    threading.Thread(target=print).start()


async def endless(ctx: rf.QueryCtx) -> None:
    while True:
        pass


async def endless_reads(ctx: rf.QueryCtx) -> None:
    while True:
        await ctx.db.query(Row).first()


async def stubborn(ctx: rf.QueryCtx) -> None:
    while True:
        try:
            while True:
                pass
        except Exception:
            continue


REFUSED = {
    sleep: "awaited Future",
    bare_yield: "awaited .*bare yield",
    gather: "awaited _GatheringFuture",
    lock: "awaited Future",
    to_thread: "_thread.start_new_thread|awaited Future",
    swallow: "awaited Future",
    connect: "did socket",
    resolve: "did socket.getaddrinfo",
    fetch: "did (urllib.Request|http.client.connect|socket)",
    swallowed_connect: "did socket",
    write_file: "opened .* for writing",
    append_file: "opened .* for writing",
    remove_file: "did os.remove",
    temporary_file: "did tempfile.mkstemp",
    run_process: "did subprocess.Popen",
    shell: "did os.system",
}
if sys.version_info >= (3, 12):  # older ones tell nobody of new threads
    REFUSED[thread] = "did _thread.start_new_thread"
ENDLESS = (endless, endless_reads, stubborn)
FILE = Path(tempfile.gettempdir()) / "reflow-guard-test"

for _function in (*REFUSED, *ENDLESS):
    guarded.query(_function)


@guarded.query
async def fine(ctx: rf.QueryCtx) -> list[Any]:
    logging.getLogger("tests").warning("a log line")
    with open(os.devnull, "w") as nowhere:
        nowhere.write("x")
    first = Path(__file__).read_text()[:4]
    return [first, *await ctx.gather(ctx.db.query(Row).count())]


@guarded.mutation
async def add(ctx: rf.MutationCtx, n: int) -> int:
    await ctx.db.insert(Row(n=n), vectors={Row.meaning: [n, 1]})
    if n < 0:
        await asyncio.sleep(0.01)
    return await ctx.db.query(Row).count()


@guarded.mutation
async def hang_after_writing(ctx: rf.MutationCtx) -> None:
    await ctx.db.insert(Row(n=0))
    while True:
        pass


@guarded.query
async def nearest(ctx: rf.QueryCtx) -> list[int]:
    return [hit.doc.n for hit in await ctx.db.nearest(Row.meaning, [1, 1])]


@guarded.action
async def act(ctx: rf.ActionCtx) -> str:
    await asyncio.sleep(0)
    return await asyncio.to_thread(lambda: "an action may")


app = rf.App(modules=[guarded], limits=rf.Limits(function_cpu_seconds=0.3))


@pytest.mark.parametrize("function", REFUSED, ids=lambda function: function.__name__)
def test_side_effects_and_foreign_awaits_are_refused(function: Any) -> None:
    @simulated(app)
    async def run(sim: Simulation) -> None:
        with pytest.raises(CallFailed, match=f"PurityError: a query or mutation ({REFUSED[function]}).*Only an action"):
            await sim.query(f"guarded:{function.__name__}")
        assert await sim.mutation(add, 1) == 1, "the server goes on"

    FILE.unlink(missing_ok=True)
    run()
    assert not FILE.exists()


@pytest.mark.parametrize("function", ENDLESS, ids=lambda function: function.__name__)
def test_an_endless_query_is_ended_and_the_server_goes_on(function: Any) -> None:
    @simulated(app)
    async def run(sim: Simulation) -> None:
        with pytest.raises(CallFailed, match=r"FunctionTimeout: guarded:.*limits.function_cpu_seconds = 0.3"):
            await sim.query(f"guarded:{function.__name__}")
        assert await sim.mutation(add, 1) == 1

    run()


@simulated(app)
async def test_an_endless_mutation_is_ended_and_leaves_nothing(sim: Simulation) -> None:
    others = [asyncio.ensure_future(sim.mutation(add, n)) for n in range(3)]
    with pytest.raises(CallFailed, match=r"FunctionTimeout"):
        await sim.mutation(hang_after_writing)
    assert sorted(await asyncio.gather(*others)) == [1, 2, 3]
    assert await sim.mutation(add, 1) == 4


@simulated(app)
async def test_a_mutation_that_is_refused_leaves_nothing(sim: Simulation) -> None:
    with pytest.raises(CallFailed, match=r"PurityError"):
        await sim.mutation(add, -1)
    assert await sim.mutation(add, 1) == 1


@simulated(app)
async def test_what_changes_nothing_is_allowed(sim: Simulation) -> None:
    assert await sim.query(fine) == ["from", 0]
    assert await sim.action(act) == "an action may"


@simulated(rf.App(modules=[guarded], limits=rf.Limits(scan_inline_rows=0)))
async def test_a_large_search_runs_in_a_thread_all_the_same(sim: Simulation) -> None:
    for n in (1, 5):
        await sim.mutation(add, n)
    assert await sim.query(nearest) == [1, 5]


@simulated(app, interleave=True)
async def test_the_storage_may_be_awaited(sim: Simulation) -> None:
    assert sorted(await asyncio.gather(*(sim.mutation(add, n) for n in range(5)))) == [1, 2, 3, 4, 5]
    with pytest.raises(CallFailed, match=r"PurityError"):
        await sim.query("guarded:sleep")


def test_an_interrupt_that_comes_too_late_hits_nobody() -> None:
    """The time is up just when the function ends, many times over."""

    async def main() -> None:
        watchdog = Watchdog(Limits(function_cpu_seconds=0.01, function_wall_seconds=0.01))
        watchdog.start()
        timeouts = 0
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            for turn in range(300):
                try:
                    try:
                        watchdog.enter()
                        end = time.perf_counter() + 0.0099 + (turn % 30) * 0.0001
                        while time.perf_counter() < end:
                            pass
                    finally:
                        watchdog.leave()
                except FunctionTimeout:
                    watchdog.leave()
                    timeouts += 1
                for _ in range(50):
                    pass  # an interrupt here would end the test
                await asyncio.sleep(0)
        finally:
            sys.setswitchinterval(interval)
            watchdog.stop()
        assert timeouts > 0, "the interrupt never came, so this shows nothing"

    arun(main())
