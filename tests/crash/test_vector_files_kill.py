"""kill -9 while files of vectors are written: the next start finds every acknowledged vector, and no other."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from reflow.search.metric import scores
from tests.crash.vector_child import app, every, vector
from tests.support import ROOT, arun

Round = dict[int, tuple[int, float]]
"""By number, tag and score."""


def run_and_kill(folder: Path, seconds: float) -> set[int]:
    """The rounds of ten that were acknowledged."""
    command = [sys.executable, "-m", "tests.crash.vector_child", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "open\n"
        time.sleep(seconds)
        child.kill()
        return {int(line) for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")}


def expected(first: int, *, changed: bool) -> Round:
    """What a search finds of a round."""
    query = np.array(vector(5, 0), dtype=np.float32)
    found: Round = {}
    for number in range(first + changed, first + 10):
        row = np.array([vector(number, int(changed and number == first + 1))], dtype=np.float32)
        found[number] = int(changed and number == first + 2), float(scores("cosine", row, query)[0])
    return found


async def rounds(folder: Path) -> dict[int, Round]:
    async with app.open(folder) as backend:
        hits = [(tag, *hit) for tag in (0, 1) for hit in await backend.query(every, tag=tag)]
    found: dict[int, Round] = {}
    for tag, number, score in hits:
        found.setdefault(number // 10 * 10, {})[number] = (tag, score)
    return found


def test_files_of_vectors_survive_kills_at_any_moment(tmp_path: Path) -> None:
    chance = random.Random(5)
    acknowledged: set[int] = set()
    for _ in range(6):
        acknowledged |= run_and_kill(tmp_path, chance.uniform(0.05, 0.6))
    assert acknowledged
    assert list((tmp_path / "vectors").glob("*.rows")), "files were written"
    found = arun(rounds(tmp_path))
    assert acknowledged <= found.keys()
    for first, dots in found.items():
        added, changed = expected(first, changed=False), expected(first, changed=True)
        assert dots == changed or (first not in acknowledged and dots == added)
