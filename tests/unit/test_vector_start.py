"""The start of the vector store without a file: what was begun while rows were loaded, and what the next start uses."""

from __future__ import annotations

import asyncio
from pathlib import Path

import numpy as np
import pytest

from reflow.limits import Limits
from reflow.search.metric import VectorChange, VectorQuery
from reflow.search.vector import VectorStore

PLACE = (1, 1)
DIMS = 64
ROWS = 40_000
TS = 7
LIMITS = Limits(vector_tail_bytes=1 << 16, vector_file_bytes=1 << 16)


def loaded(directory: Path, vectors: np.ndarray) -> VectorStore:
    """A store that was told of all rows, as at a start, and has begun to put them in order."""
    store = VectorStore(LIMITS, directory)
    store.create(PLACE, DIMS, "cosine")
    # All at once, so that the thread which puts them in order has only begun when this returns.
    store.load(PLACE, TS, [VectorChange(PLACE, seq, vectors[seq]) for seq in range(ROWS)])
    return store


def test_a_start_amid_the_ordering_of_what_was_loaded_leaves_one_whole_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    vectors = np.random.default_rng(5).standard_normal((ROWS, DIMS)).astype(np.float32)

    async def main() -> None:
        store = loaded(tmp_path, vectors)
        store.start(TS)
        await store.close()
        named = {note.place: note.name for note in store.news() if note.name is not None}
        assert not caplog.records, caplog.text
        again = VectorStore(LIMITS, tmp_path)
        again.know(named)
        again.create(PLACE, DIMS, "cosine")
        assert again.open_file(PLACE) == TS
        again.start(TS)
        assert again.count(PLACE, TS) == ROWS
        (hit,) = await again.search(PLACE, VectorQuery(1, vectors[123]), TS)
        assert hit[1] == 123
        await again.close()

    asyncio.run(main())
