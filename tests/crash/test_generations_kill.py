"""Generations against kill -9: while they are filled, flipped and removed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from tests.support import ROOT, arun
from tests.support.generation_rules import MODELS, app, change_model, check, clear_away

ROUNDS = 8


def one_round(directory: Path, first: int, seconds: float) -> list[list[str]]:
    """What the process said until it was killed."""
    command = [sys.executable, "-m", "tests.crash.generations_child", str(directory), str(first)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "opened\n"
        time.sleep(seconds)
        child.kill()
        said = [line.split() for line in child.stdout.read().splitlines()]
    assert child.returncode == -signal.SIGKILL
    return said


@pytest.mark.timeout(300)
def test_generations_hold_through_kill_9(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    draw = random.Random(seed)
    states: Counter[str] = Counter()
    flips = 0

    async def inspect(said: list[list[str]]) -> None:
        async with app().open(tmp_path) as backend:
            rows = await check(backend)
            states.update(row.state for row in rows)
            (active,) = [row.number for row in rows if row.state == "active"] or [0]
            assert not said or active >= int(said[-1][1]), "an acknowledged flip was lost"

    for number in range(ROUNDS):
        said = one_round(tmp_path, number, draw.uniform(0.05, 0.9))
        flips += len(said)
        arun(inspect(said))

    async def finish() -> None:
        async with app().open(tmp_path) as backend:
            for name in MODELS:
                await backend.action(change_model, name=name)
                await backend.action(clear_away)
                (row,) = await check(backend)
                assert row.model.embedder == name

    arun(finish())
    print(f"seed {seed}: {flips} flips, states after a kill: {dict(states)}")
    assert flips
    assert {"active", "filling", "vacuuming"} & states.keys() > {"active"}, "killed in the midst of nothing"
