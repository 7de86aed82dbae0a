"""Migrations against kill -9: in a running application, and before the next schema is enforced."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

import reflow as rf
from tests.crash.migrating import COUNT, T, version
from tests.support import ROOT, arun

MOMENTS = ("before", "writing", "written", "synced", "after")


async def fill(directory: Path) -> None:
    async with version("old").open(directory) as backend:
        documents = [T.Old(n=n) for n in range(COUNT)]
        vectors = [{T.Old.near: [1.0, n]} for n in range(COUNT)]
        await backend.engine.transact(lambda tx: rf.DatabaseWriter(tx).insert_many(documents, vectors=vectors))


def until_done(directory: Path, name: str, mode: str, migration: str, draw: random.Random) -> Counter[str]:
    """Runs a migration in processes that are killed, until it is done; returns when they were."""
    died: Counter[str] = Counter()
    for number in range(1000):
        moment = MOMENTS[number % len(MOMENTS)]
        command = [sys.executable, "-m", "tests.crash.migrating_child", str(directory), name, mode, migration, moment]
        done = subprocess.run(
            [*command, str(draw.randint(1, 12))], cwd=ROOT, text=True, capture_output=True, check=False, timeout=60
        )
        if done.returncode == 0:
            assert done.stdout == "done\n"
            return died
        assert done.returncode == -signal.SIGKILL, done.stderr
        died[moment] += 1
    raise AssertionError("it makes no progress")


async def check(directory: Path, name: str, table: Any, index: rf.Index, met: int, word: str) -> None:
    """All documents were met so often, and every index says so."""
    field = index.fields[0]
    async with version(name).open(directory) as backend, backend.engine.reading() as tx:
        db = rf.DatabaseReader(tx)
        rows = await db.query(table).using(index).collect()
        assert [(getattr(row, field), row.n) for row in rows] == [(met, n) for n in range(COUNT)]
        assert len(await db.search(table.words, word, limit=1000)) == COUNT
        assert not await db.search(table.words, "old", limit=1)
        assert len(await db.nearest(table.near, [1, 1], limit=1000, filter={field: met})) == COUNT


@pytest.mark.timeout(300)
def test_migrations_meet_each_document_once_through_kill_9(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    draw = random.Random(seed)
    arun(fill(tmp_path))
    running = until_done(tmp_path, "meeting", "running", "meet", draw)
    arun(check(tmp_path, "meeting", T.Old, T.Old.by_met, 1, "met"))
    raw = until_done(tmp_path, "new", "raw", "rename", draw)
    arun(check(tmp_path, "new", T.New, T.New.by_times, 11, "renamed"))
    print(f"seed {seed}: {COUNT} documents; kills while running {dict(running)}, raw {dict(raw)}")
    assert running.total() > 3
    assert raw.total() > 3
