"""Ingestion against kill -9: what comes out is what an undisturbed run makes, and nothing is embedded twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from reflow.rag.ingestion.cache import text_hash
from tests.crash.rag_child import BATCH, CONCURRENCY, SOURCES, stored_in, text_of
from tests.support import ROOT, arun
from tests.support.model_provider import ModelProvider, model_provider
from tests.support.rag_stored import StoredChunk, StoredSource

KILLS = 5


def one_round(directory: Path, provider: ModelProvider, seconds: float | None) -> bool:
    """Runs the process: to its end, or until it is killed in the midst of a request, some seconds after the first one.
    Returns whether it was killed."""
    command = [sys.executable, "-m", "tests.crash.rag_child", str(directory), provider.url]
    with subprocess.Popen(command, cwd=ROOT, text=True, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "opened\n"
        if seconds is not None:
            wait_for(lambda: provider.in_flight > 0 or child.poll() is not None)
            time.sleep(seconds)
            wait_for(lambda: provider.in_flight > 0 or child.poll() is not None)
            child.kill()
        child.stdout.read()
    assert child.returncode in (0, -signal.SIGKILL)
    wait_for(lambda: not provider.in_flight)
    return child.returncode != 0


def wait_for(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.001)


def found_in(directory: Path) -> tuple[list[StoredSource], list[StoredChunk], dict[str, int], set[str]]:
    """Sources, chunks, the number of rows of each table, and the hashes of texts whose vectors are stored.

    Reads without a provider, so that nothing goes on meanwhile.
    """
    _, stored = stored_in("http://127.0.0.1:9/v1")

    async def main() -> tuple[list[StoredSource], list[StoredChunk], dict[str, int], set[str]]:
        async with stored.app.open(directory) as backend:
            sources, chunks = await stored.all(backend)
            hashes = {chunk.hash for chunk in chunks if chunk.vector is not None}
            return sources, chunks, await backend.query(stored.counts), hashes

    return arun(main())


def asked(provider: ModelProvider) -> Counter[str]:
    """How often each text was sent to be embedded."""
    return Counter(text for call in provider.calls for text in call.texts)


@pytest.mark.timeout(300)
def test_ingestion_holds_through_kill_9(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    draw = random.Random(seed)
    print(f"seed {seed}")
    with model_provider(seconds=0.05) as provider:
        kills = 0
        there: set[str] = set()
        while kills < KILLS:
            before = asked(provider)
            if not one_round(tmp_path / "killed", provider, draw.uniform(0.0, 0.4)):
                break
            kills += 1
            assert not {text for text in asked(provider) - before if text_hash(text) in there}
            *_, there = found_in(tmp_path / "killed")
        before = asked(provider)
        assert not one_round(tmp_path / "killed", provider, None)
        total = asked(provider)
        assert not {text for text in total - before if text_hash(text) in there}
        twice = sum(total.values()) - len(total)
        print(f"{kills} kills; {sum(total.values())} texts sent, {twice} of them again")
        assert kills >= 3
        assert twice <= kills * CONCURRENCY * BATCH, "more than was under way at the kills"
        assert not one_round(tmp_path / "whole", provider, None)
    sources, chunks, counts, _ = found_in(tmp_path / "killed")
    other_sources, other_chunks, other_counts, _ = found_in(tmp_path / "whole")
    assert [(source.key, source.state, source.error) for source in sources] == [
        (f"key {number:02}", "ready", None) for number in range(SOURCES)
    ]
    assert chunks == other_chunks
    assert [chunk.text for chunk in chunks] == [
        part for number in range(SOURCES) for part in text_of(number, 2).split("\n\n")
    ]
    assert [source.chunk_count for source in sources] == [source.chunk_count for source in other_sources]
    for table in ("Source", "Chunk", "Draft"):
        assert counts[table] == other_counts[table]
    assert counts["Draft"] == 0
