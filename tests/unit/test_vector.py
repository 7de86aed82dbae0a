"""The store of vectors: what a timestamp sees, threads beside changes, and cleaning."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from reflow.errors import OutOfRetention
from reflow.limits import Limits
from reflow.search.filters import equals
from reflow.search.metric import VectorChange, VectorQuery, scores
from reflow.search.vector import VectorStore
from tests.support import arun

PLACE = (7, 1)
SMALL = Limits(vector_tail_bytes=20_000)
"""Tails of a few hundred rows."""


def vectors_of(count: int, dims: int = 16, seed: int = 3) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(size=(count, dims)).astype(np.float32)


def changes(vectors: NDArray[np.float32], first: int = 0, **metadata: Any) -> list[VectorChange]:
    return [VectorChange(PLACE, first + row, vector, metadata=metadata) for row, vector in enumerate(vectors)]


def store_of(vectors: NDArray[np.float32], limits: Limits = SMALL) -> VectorStore:
    """A store whose row `seq` was born at `seq + 1`."""
    store = VectorStore(limits)
    store.create(PLACE, vectors.shape[1], "cosine")
    store.start(0)
    for seq, vector in enumerate(vectors):
        store.apply(seq + 1, changes(vector[np.newaxis], seq, parity="odd" if seq % 2 else "even"))
    return store


def by_hand(vectors: NDArray[np.float32], query: Any, limit: int, seqs: range) -> list[int]:
    found = scores("cosine", vectors[list(seqs)], query)
    return [seq for _, seq in sorted(zip(-found, seqs, strict=True))[:limit]]


def seqs_of(hits: list[tuple[float, int]]) -> list[int]:
    return [seq for _, seq in hits]


def test_a_search_at_a_timestamp_sees_its_rows_only() -> None:
    async def main() -> None:
        vectors = vectors_of(200)
        store = store_of(vectors)
        for ts in (0, 1, 50, 200):
            found = await store.search(PLACE, VectorQuery(7, vectors[7]), ts)
            assert seqs_of(found) == by_hand(vectors, vectors[7], 7, range(ts))
        odd = VectorQuery(7, vectors[7], filter=equals({"parity": "odd"}))
        assert seqs_of(await store.search(PLACE, odd, 90)) == by_hand(vectors, vectors[7], 7, range(1, 90, 2))

    arun(main())


def test_equal_scores_are_in_order_of_insertion() -> None:
    async def main() -> None:
        vectors = np.tile(vectors_of(1), (100, 1))
        vectors[1::2] *= 2  # the same direction
        store = store_of(vectors)
        assert seqs_of(await store.search(PLACE, VectorQuery(50, vectors[0]), 100)) == list(range(50))

    arun(main())


@pytest.mark.parametrize("inline", [0, 10**9])
def test_a_search_in_a_thread_sees_what_was_there_when_it_was_asked(inline: int) -> None:
    """Rows come and go, tails become bases and are given back, while searches of all ages are under way."""

    async def main() -> None:
        vectors = vectors_of(3000)
        store = VectorStore(Limits(vector_tail_bytes=20_000, scan_inline_rows=inline))
        store.create(PLACE, 16, "cosine")
        store.start(0)
        wanted: list[list[int]] = []
        searches: list[asyncio.Task[list[tuple[float, int]]]] = []
        for start in range(0, 3000, 100):
            ts = start + 1
            store.apply(ts, changes(vectors[start : start + 100], start))
            gone = range(max(0, start - 300), max(0, start - 200))
            store.apply(ts + 1, [VectorChange(PLACE, seq, None) for seq in gone])
            store.commit()
            query = VectorQuery(20, vectors[start])
            searches.append(asyncio.create_task(store.search(PLACE, query, ts + 1)))
            wanted.append(by_hand(vectors, vectors[start], 20, range(gone.stop, start + 100)))
            await asyncio.sleep(0)
            store.compact(ts + 1)
        assert [seqs_of(await search) for search in searches] == wanted
        await store.close()

    arun(main())


def test_rollback_undoes_what_came_later() -> None:
    async def main() -> None:
        vectors = vectors_of(100)
        store = store_of(vectors)
        before = await store.search(PLACE, VectorQuery(100, vectors[0]), 100)
        store.apply(101, [VectorChange(PLACE, 3, None), *changes(vectors[5:6] * -1, 4), *changes(vectors[:1], 500)])
        assert store.count(PLACE, 101) == 100
        assert store.vector(PLACE, 3, 101) is None
        store.rollback(100)
        assert await store.search(PLACE, VectorQuery(100, vectors[0]), 100) == before
        assert store.count(PLACE, 100) == 100
        assert store.vector(PLACE, 500, 100) is None

    arun(main())


def test_what_ended_is_forgotten_and_its_memory_given_back() -> None:
    async def main() -> None:
        vectors = vectors_of(100)
        store = VectorStore(Limits())
        store.create(PLACE, 16, "cosine")
        store.start(0)
        for ts in range(1, 60):
            store.apply(ts, changes(vectors))
            store.commit()
        assert len(store.tables[PLACE]) == 5900
        store.compact(59)
        assert len(store.tables[PLACE]) == 100
        assert seqs_of(await store.search(PLACE, VectorQuery(1, vectors[9]), 59)) == [9]
        with pytest.raises(OutOfRetention):
            await store.search(PLACE, VectorQuery(1, vectors[9]), 58)

    arun(main())


def test_a_namespace_is_a_part_of_its_own() -> None:
    async def main() -> None:
        vectors = vectors_of(400)
        store = VectorStore(SMALL)
        store.create(PLACE, 16, "cosine")
        store.start(0)
        for ts in range(1, 5):
            rows = range((ts - 1) * 100, ts * 100)
            store.apply(ts, [VectorChange(PLACE, row, vectors[row], space=row % 4) for row in rows])
            store.commit()
            await store.join()
        store.commit()
        for space in range(4):
            found = await store.search(PLACE, VectorQuery(9, vectors[0], space=space), 4)
            assert seqs_of(found) == by_hand(vectors, vectors[0], 9, range(space, 400, 4))
            assert store.count(PLACE, 4, space) == 100
        store.drop_space(PLACE, 1, 5)
        assert [store.count(PLACE, 5, space) for space in range(5)] == [100, 0, 100, 100, 0]
        assert store.count(PLACE, 4, 1) == 100
        assert store.vector(PLACE, 0, 5, space=2) is None, "it is in another namespace"

    arun(main())


def test_a_place_that_is_made_twice_keeps_its_rows() -> None:
    store = store_of(vectors_of(3))
    store.create(PLACE, 16, "cosine")
    assert store.count(PLACE, 3) == 3
    assert store.settings(PLACE) == (16, "cosine")
    store.drop(PLACE)
    store.create(PLACE, 16, "cosine")
    assert store.count(PLACE, 3) == 0
