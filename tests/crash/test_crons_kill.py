"""Crons and scheduled functions against kill -9: how often each ran, over 20 restarts."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import reflow as rf
from reflow.storage.lock import DirectoryLock
from reflow.storage.sqlite import SqliteStorage
from tests.crash import timed
from tests.crash.timed import FastClock, Order, Run, app
from tests.support import ROOT, arun

ROUNDS = 20
MOMENTS = ("before", "writing", "written", "synced", "after")


@dataclass
class Traces:
    """What processes said before they were killed."""

    acknowledged: set[int] = field(default_factory=set[int])
    shipped: Counter[int] = field(default_factory=Counter[int])
    delivered: Counter[int] = field(default_factory=Counter[int])
    swept: int = 0
    died: Counter[str] = field(default_factory=Counter[str])

    def take(self, words: list[str]) -> None:
        match words:
            case ["ack", n]:
                self.acknowledged.add(int(n))
            case ["ship", n]:
                self.shipped[int(n)] += 1
            case ["deliver", n]:
                self.delivered[int(n)] += 1
            case ["sweep"]:
                self.swept += 1
            case ["dies", moment]:
                self.died[moment] += 1
            case ["ended", number]:
                assert int(number) == signal.SIGKILL
            case _:
                raise AssertionError(words)


def one_round(child: subprocess.Popen[str], command: str, traces: Traces) -> None:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(command)
    child.stdin.flush()
    words: list[str] = []
    while not words or words[0] != "ended":
        words = child.stdout.readline().split()
        assert words, "the child ended without a word"
        traces.take(words)


async def the_rest(directory: Path, start: int, traces: Traces) -> tuple[dict[str, Counter[int]], list[rf.Cron], int]:
    """Lets a last process do what is due; returns the runs by what ran, the crons, and what is still scheduled."""
    timed.say = lambda line: traces.take(line.split())
    with DirectoryLock(directory):
        clock = FastClock(start)
        engine = app.engine(SqliteStorage(directory, limits=app.limits), clock=clock, log_errors=False)
        await engine.start()
        await clock.sleep(10)  # what is due later, and tries that are put off
        await engine.close()
    with DirectoryLock(directory):  # crons never rest: a stopped application is looked at
        storage = SqliteStorage(directory, limits=app.limits)
        engine = app.engine(storage, clock=FastClock(start), log_errors=False)
        await storage.open()
        await engine.catalog.deploy(storage)
        snapshot = await storage.snapshot()
        rows = {
            table: [table_codec.decode(row.value) for row in await snapshot.scan(n, n, b"", b"\xff", limit=1 << 30)]
            for table in (Order, Run, rf.Cron, rf.Scheduled)
            for table_codec in (engine.catalog.codec(table.table_spec),)
            for n in (table_codec.number,)
        }
        await snapshot.close()
        await storage.close()
    runs: dict[str, Counter[int]] = {"order": Counter(row.n for row in rows[Order])}
    for row in rows[Run]:
        runs.setdefault(row.what, Counter())[row.n] += 1
    waiting = [row for row in rows[rf.Scheduled] if row.cron is None and row.state.kind in ("pending", "inProgress")]
    return runs, rows[rf.Cron], len(waiting)


def check_crons(crons: list[rf.Cron], runs: dict[str, Counter[int]], swept: int) -> str:
    """Every time of a cron ran once, or is among those that were skipped; returns the counts in words."""
    told: list[str] = []
    for row in sorted(crons, key=lambda row: row.name):
        ended = Counter(run.state for run in row.runs if run.skipped is None)
        skipped = sum(run.skipped or 0 for run in row.runs)
        going = 0 if row.running is None else 1
        period = {"tick": 1000, "sweep": 1000, "refuse": 3000}[row.name]
        first = min(run.scheduled_time for run in row.runs)
        assert (row.next_time - first) % period == 0
        assert (row.next_time - first) / period == ended.total() + skipped + going, row.name
        times = [run.scheduled_time for run in row.runs if run.skipped is None]
        assert len(set(times)) == len(times), "a time ran twice"
        told.append(f"{row.name}: {dict(ended)}, {skipped} skipped, {going} going on")
        ran = runs.get(row.name, Counter[int]()).total()
        if row.name == "tick":
            assert ran == ended["success"] == ended.total()
        elif row.name == "refuse":
            assert ran == 0
            assert ended.total() == ended["failed"]
        else:
            assert ended["success"] <= ran <= swept <= ended.total() + going
    return "; ".join(told)


@pytest.mark.timeout(300)
def test_crons_and_scheduled_work_run_as_often_as_promised_through_kill_9(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    draw = random.Random(seed)
    start = time.time_ns()
    traces = Traces()
    command = [sys.executable, "-m", "tests.crash.timed_child", str(tmp_path), str(start)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        for number in range(ROUNDS):
            moment = MOMENTS[number % len(MOMENTS)]
            one_round(child, f"{moment} {draw.randint(1, 12)} {draw.randint(5, 40)} {100_000 * number}\n", traces)
        assert child.stdin is not None
        child.stdin.close()
    runs, crons, waiting = arun(the_rest(tmp_path, start, traces))
    orders = runs["order"]
    assert waiting == 0
    assert set(orders) >= traces.acknowledged
    assert max(orders.values()) == 1
    assert runs["settle"] == orders, "a scheduled mutation did not run exactly once"
    assert runs["late"] == orders, "a mutation scheduled for later did not run exactly once"
    assert "never" not in runs, "a cancelled function ran"
    assert max(traces.shipped.values()) == 1, "an action ran twice"
    assert set(runs["shipped"]) <= set(traces.shipped) <= set(orders)
    assert set(traces.delivered) == set(orders), "an action with retry did not run"
    assert set(runs["delivered"]) == set(orders), "an action with retry gave up"
    told = check_crons(crons, runs, traces.swept)
    print(
        f"seed {seed}: {ROUNDS} kills ({dict(traces.died)}), {len(traces.acknowledged)} acknowledged of {len(orders)} "
        f"orders; mutations: {runs['settle'].total()} + {runs['late'].total()} runs; actions: "
        f"{traces.shipped.total()} begun, {runs['shipped'].total()} ended; with retry: {traces.delivered.total()} "
        f"begun; crons: {told}"
    )
    assert traces.died.total() == ROUNDS
