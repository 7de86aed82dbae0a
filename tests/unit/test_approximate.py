"""Approximate searches: nearly all hits, right scores, and never a row that is not there."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reflow.limits import Limits
from reflow.search.approximate import Approximation
from reflow.search.filters import equals
from reflow.search.metric import VectorChange, VectorQuery, score
from reflow.search.vector import VectorStore
from tests.support import arun

PLACE = (7, 1)
DIMS = 24
COUNT = 3000
LIMITS = Limits(approximate_rows=500, vector_tail_bytes=200_000, vector_file_bytes=1000)


def clustered(count: int, seed: int) -> NDArray[np.float32]:
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(30, DIMS))
    return (centres[chance.integers(0, 30, count)] + 0.4 * chance.normal(size=(count, DIMS))).astype(np.float32)


ROWS, QUERIES = clustered(COUNT, 1), clustered(30, 2)


def put(store: VectorStore, ts: int, first: int, vectors: NDArray[np.float32]) -> None:
    changes = [
        VectorChange(PLACE, first + n, vector, metadata={"half": float(n % 2), "one": float(n % 100 == 0)})
        for n, vector in enumerate(vectors)
    ]
    store.apply(ts, changes)
    store.commit()


async def filled(folder: Path | None) -> VectorStore:
    """A store whose rows are all in its base."""
    store = VectorStore(LIMITS, folder)
    store.create(PLACE, DIMS, "cosine")
    store.start(0)
    put(store, 1, 0, ROWS)
    await store.join()
    store.commit()
    await store.join()
    store.commit()
    return store


async def learnt(store: VectorStore) -> Approximation:
    """The graph, once it knows everything."""
    table = store.tables[PLACE]
    table.approximation(0)
    table.join_cells()
    found = table.approximation(0)
    assert found is not None
    table.join_cells()
    return found


async def recall(store: VectorStore, ts: int, query: VectorQuery) -> float:
    shares: list[float] = []
    for vector in QUERIES:
        asked = VectorQuery(query.limit, vector, filter=query.filter)
        exact = await store.search(PLACE, asked, ts)
        found = await store.search(PLACE, asked, ts, approximate=True)
        assert found == sorted(found, key=lambda hit: (-hit[0], hit[1]))
        assert len(found) == len(exact)
        for value, seq in found:
            row = store.vector(PLACE, seq, ts)
            assert row is not None
            assert value == score("cosine", row, vector)
        shares.append(len(set(found) & set(exact)) / len(exact))
    return float(np.mean(shares))


def test_a_graph_finds_nearly_everything_and_filters_are_kept() -> None:
    async def main() -> None:
        store = await filled(None)
        assert await recall(store, 1, VectorQuery(10, None)) == 1.0, "exact as long as there is no graph"
        await learnt(store)
        assert await recall(store, 1, VectorQuery(10, None)) > 0.95
        assert await recall(store, 1, VectorQuery(200, None)) > 0.95
        assert await recall(store, 1, VectorQuery(10, None, filter=equals({"half": 1}))) > 0.95
        assert await recall(store, 1, VectorQuery(10, None, filter=equals({"one": 1}))) == 1.0, "a selective filter"
        await store.close()

    arun(main())


def test_what_the_graph_does_not_know_yet_is_found_and_what_is_gone_is_not() -> None:
    async def main() -> None:
        store = await filled(None)
        await learnt(store)
        vector = QUERIES[0]
        best = await store.search(PLACE, VectorQuery(20, vector), 1)
        store.apply(2, [VectorChange(PLACE, seq, None) for _, seq in best[:10]])
        store.apply(3, [VectorChange(PLACE, best[10][1], -vector), VectorChange(PLACE, 9000, vector)])
        store.commit()
        found = await store.search(PLACE, VectorQuery(10, vector), 3, approximate=True)
        assert found == await store.search(PLACE, VectorQuery(10, vector), 3)
        assert found[0][1] == 9000
        assert {seq for _, seq in best[:11]}.isdisjoint(seq for _, seq in found)
        # An older timestamp still sees what was there.
        assert {best[0]} <= set(await store.search(PLACE, VectorQuery(10, vector), 1, approximate=True))
        for start in range(3000, 6000, 1000):
            put(store, start, start, clustered(1000, start))
            await store.join()
        store.commit()
        assert await recall(store, 5000, VectorQuery(10, None)) > 0.95, "rows of a newer base"
        graph = await learnt(store)
        assert graph.covered >= 4000, "it has followed the base"
        assert await recall(store, 5000, VectorQuery(10, None)) > 0.95
        await store.close()

    arun(main())


def test_a_graph_survives_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        store = await filled(tmp_path)
        await learnt(store)
        put(store, 2, 5000, QUERIES)
        store.apply(3, [VectorChange(PLACE, 7, QUERIES[3])])
        await store.close()
        names = {note.place: note.name for note in store.news() if note.name is not None}
        store.noted(store.news())
        assert len(list(tmp_path.glob("*.cells"))) == 1
        store = VectorStore(LIMITS, tmp_path)
        store.create(PLACE, DIMS, "cosine")
        store.know(names)
        assert store.open_file(PLACE) == 3
        store.start(3)
        graph = await learnt(store)
        assert graph.learnt < 100, "the others were in the file"
        assert await recall(store, 3, VectorQuery(10, None)) > 0.95
        await store.close()

    arun(main())
