"""Rule 1 at the storage: what commit() acknowledged survives kill -9, and nothing is half there."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reflow.storage.base import TOP, Request, TextTerm
from reflow.storage.sqlite import SqliteStorage
from tests.crash.storage_child import PER_BATCH, RANGE, TABLE, TEXT, VECTOR, documents
from tests.support import ROOT, arun
from tests.support.storages import reading

MOMENTS = ("before", "writing", "written", "synced", "after")
"""Where inside of a commit the process ends; "written" and "synced" come with full durability only."""


def run_until_killed(child: subprocess.Popen[str], moment: str, times: int) -> list[list[str]]:
    """Has a process work until it ends itself, or ("outside") kills it a random while after it has opened."""
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(f"{moment} {times}\n")
    child.stdin.flush()
    said: list[list[str]] = []
    while not said or said[-1][0] != "ended":
        said.append(child.stdout.readline().split())
        if said[-1][0] == "opened" and moment == "outside":
            time.sleep(times / 100)
            os.kill(int(said[-1][2]), signal.SIGKILL)
    assert int(said[-1][1]) == signal.SIGKILL, said
    return said


async def check(directory: Path, acknowledged: int, begun: int) -> int:
    """Everything up to some ts is whole, and that ts is at least the acknowledged one; returns it."""
    storage = SqliteStorage(directory)
    last = await storage.open()
    try:
        assert acknowledged <= last <= max(begun, acknowledged)
        expected = {write.seq: write.value for ts in range(2, last + 1) for write in documents(ts)}
        async with reading(storage) as snapshot:
            assert snapshot.ts == last
            rows = await snapshot.scan(TABLE, TABLE, b"", TOP, limit=1_000_000)
            assert {row.seq: row.value for row in rows} == {1: b"%d" % last, **expected}
            indexed = await snapshot.scan(TABLE, RANGE, b"", TOP, limit=1_000_000)
            assert {row.seq: row.value for row in indexed} == expected
            assert await snapshot.count(TABLE, RANGE, b"", TOP) == len(expected)
            stats = await snapshot.text_stats(TEXT, [TextTerm("every"), TextTerm(f"t{last}"), TextTerm(f"t{last + 1}")])
            assert stats.matches == (len(expected), PER_BATCH if last > 1 else 0, 0)
            vectors = await snapshot.vectors(VECTOR, 1, limit=1_000_000)
            assert [seq for seq, _ in vectors] == [ts * PER_BATCH for ts in range(2, last + 1)]
            for ts in range(2, last + 1):
                assert await snapshot.request("session", ts) == Request("session", ts, ts, b"%d" % ts)
            assert sorted({undo.ts for undo in await snapshot.undo(0)}) == list(range(1, last + 1))
    finally:
        await storage.close()
    return last


@pytest.mark.parametrize("durability", ["full", "relaxed"])
def test_nothing_acknowledged_is_lost_and_nothing_is_half_there(tmp_path: Path, durability: str) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw = random.Random(seed)
    moments = [*(MOMENTS if durability == "full" else ("before", "writing", "after")), "outside"]
    inside = last = 0
    command = [sys.executable, "-m", "tests.crash.storage_child", str(tmp_path), durability]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, text=True, stdin=pipe, stdout=pipe) as child:
        for moment in moments * 2:
            said = run_until_killed(child, moment, draw.randint(2, 30))
            acknowledged = max([int(words[1]) for words in said if words[0] in ("ack", "opened")], default=last)
            begun = max([int(words[1]) for words in said if words[0] == "begin"], default=acknowledged)
            inside += begun > acknowledged
            last = arun(check(tmp_path, max(acknowledged, last), begun))
        assert child.stdin is not None
        child.stdin.close()
    assert inside >= 2 * (len(moments) - 1)
