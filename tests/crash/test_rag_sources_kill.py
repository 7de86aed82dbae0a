"""Adding, replacing and deleting against kill -9: no acknowledged step is lost, no half of one is ever seen."""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tests.crash.rag_sources_child import KEYS, corpus_of, key_of, text_of
from tests.support import ROOT, arun
from tests.support.corpora import chunks, texts_of

ROUNDS = 5


def one_round(directory: Path, first: int, seconds: float) -> int:
    """Runs the process and kills it after a time; returns the number of the next step that was not acknowledged."""
    command = [sys.executable, "-m", "tests.crash.rag_sources_child", str(directory), str(first)]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "opened\n"
        threading.Timer(seconds, child.kill).start()
        lines = [line for line in child.stdout.read().splitlines(keepends=True) if line.endswith("\n")]
    return int(lines[-1]) + 1 if lines else first


def allowed(following: int) -> dict[str, list[str | None]]:
    """Per key the text that may be there: that of the last acknowledged step, or of the one that was under way."""
    texts: dict[str, list[str | None]] = {f"k{number}": [None] for number in range(KEYS)}
    for number in range(following):
        texts[key_of(number)] = [text_of(number)]
    texts[key_of(following)].append(text_of(following))
    return texts


async def check(directory: Path, following: int) -> None:
    corpus, app, audit = corpus_of()
    async with app.open(directory) as backend:
        assert await backend.query(audit.faults, settled=False) == []
        # What was under way counts as a failed try: it is tried again after a pause.
        while faults := await backend.query(audit.faults, settled=True):
            assert all("in work" in fault or "no vector" in fault for fault in faults)
            await asyncio.sleep(0.02)
        for key, texts in allowed(following).items():
            view = await backend.query(corpus.sources.by_key, key=key)
            if view is None:
                assert None in texts
                continue
            shown = [one.text for one in await chunks(backend, corpus, view.id)]
            assert view.state == "ready"
            assert shown in [texts_of(corpus, text) for text in texts if text is not None]


@pytest.mark.timeout(300)
def test_rule_1_sources_hold_through_kill_9(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    draw = random.Random(seed)
    print(f"seed {seed}")
    following = 0
    for _ in range(ROUNDS):
        following = one_round(tmp_path, following, draw.uniform(0.1, 1.2))
        arun(check(tmp_path, following))
    assert following > 0
