"""Approximate searches: nearly all hits, right scores, and never a row that is not there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from reflow.limits import Limits
from reflow.search.approximate import Approximation
from reflow.search.cells import Cells
from reflow.search.filters import equals
from reflow.search.metric import Metric, Place, VectorChange, VectorQuery, score
from reflow.search.vector import VectorStore
from tests.support import arun

PLACE = (7, 1)
DIMS = 24
COUNT = 3000
MANY = 20_000
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


async def filled(
    folder: Path | None, rows: NDArray[np.float32] = ROWS, metric: Metric = "cosine", limits: Limits = LIMITS
) -> VectorStore:
    """A store whose rows are all in its base."""
    store = VectorStore(limits, folder)
    store.create(PLACE, rows.shape[1], metric)
    store.start(0)
    put(store, 1, 0, rows)
    await store.join()
    store.commit()
    await store.join()
    store.commit()
    return store


async def learnt(store: VectorStore) -> Approximation:
    """What finds candidates, once it knows everything."""
    table = store.tables[PLACE]
    table.approximation(0)
    table.join_cells()
    found = table.approximation(0)
    assert found is not None
    table.join_cells()
    return found


async def recall(store: VectorStore, ts: int, query: VectorQuery, vectors: NDArray[np.float32] = QUERIES) -> float:
    shares: list[float] = []
    for vector in vectors:
        asked = VectorQuery(query.limit, vector, filter=query.filter)
        exact = await store.search(PLACE, asked, ts)
        found = await store.search(PLACE, asked, ts, approximate=True)
        assert found == sorted(found, key=lambda hit: (-hit[0], hit[1]))
        assert len(found) == len(exact)
        for value, seq in found:
            row = store.vector(PLACE, seq, ts)
            assert row is not None
            assert value == score(store.metric(PLACE), row, vector)
        shares.append(len(set(found) & set(exact)) / len(exact))
    return float(np.mean(shares))


def test_nearly_everything_is_found_and_filters_are_kept() -> None:
    async def main() -> None:
        store = await filled(None)
        assert await recall(store, 1, VectorQuery(10, None)) == 1.0, "exact as long as nothing is learnt"
        await learnt(store)
        assert await recall(store, 1, VectorQuery(10, None)) > 0.95
        assert await recall(store, 1, VectorQuery(200, None)) > 0.95
        assert await recall(store, 1, VectorQuery(10, None, filter=equals({"half": 1}))) > 0.95
        assert await recall(store, 1, VectorQuery(10, None, filter=equals({"one": 1}))) == 1.0, "a selective filter"
        await store.close()

    arun(main())


def test_what_is_not_learnt_yet_is_found_and_what_is_gone_is_not() -> None:
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
        known = await learnt(store)
        assert known.covered >= 4000, "it has followed the base"
        assert await recall(store, 5000, VectorQuery(10, None)) > 0.95
        await store.close()

    arun(main())


def test_what_is_learnt_survives_a_restart(tmp_path: Path) -> None:
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
        known = await learnt(store)
        assert known.learnt < 100, "the others were in the file"
        assert await recall(store, 3, VectorQuery(10, None)) > 0.95
        await store.close()

    arun(main())


def unlike(count: int, seed: int, dims: int) -> NDArray[np.float32]:
    """Vectors of many topics, a few of them large and most of them small, of lengths that differ."""
    chance = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(300, dims))
    shares = 1 / np.arange(1, 301)
    spread = np.arange(1.0, dims + 1) ** -0.66
    spread *= 0.3 * np.sqrt(dims) / np.linalg.norm(spread)
    rows = centres[chance.choice(300, count, p=shares / shares.sum())] + spread * chance.normal(size=(count, dims))
    return (rows * np.exp(0.1 * chance.normal(size=(count, 1)))).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "dotproduct", "euclidean"])
@pytest.mark.parametrize("dims", [33, 130])
def test_small_topics_are_found_among_large_ones_by_any_metric(metric: Metric, dims: int) -> None:
    async def main() -> None:
        store = await filled(None, unlike(MANY, 1, dims), metric)
        await learnt(store)
        assert await recall(store, 1, VectorQuery(10, None), unlike(100, 2, dims)) > 0.97
        await store.close()

    arun(main())


def test_a_search_does_not_look_into_all_cells() -> None:
    """Or the recall above would say nothing."""
    rows = unlike(MANY, 1, 33)
    cells = Cells.made("cosine", rows, np.arange(MANY), lambda: False)
    assert cells is not None
    cells.add(np.arange(MANY), rows)
    assert len(cells.search(rows[0], MANY, 1.0)) < MANY / 2


def test_cells_forget_what_is_removed_and_keep_no_vector_twice() -> None:
    rows = unlike(2000, 1, 33)
    cells = Cells.made("euclidean", rows, np.arange(2000), lambda: False)
    assert cells is not None
    cells.add(np.arange(1500), rows[:1500])
    cells.remove(np.arange(100, 1600))
    assert cells.seqs().tolist() == list(range(100))
    assert set(cells.search(rows[0], 50, 1.0).tolist()) <= set(range(100))
    assert cells.suit(4000)
    assert not cells.suit(4001)
    assert not cells.suit(200)


def test_documents_that_are_gone_leave_the_cells_when_they_are_many() -> None:
    async def main() -> None:
        store = await filled(None)
        await learnt(store)
        store.apply(2, [VectorChange(PLACE, seq, None) for seq in range(1, COUNT, 2)])
        store.compact(2)
        store.commit()
        await store.join()
        store.commit()
        known = await learnt(store)
        found = known.search(QUERIES[0], COUNT, 0.01)  # in all cells
        assert len(found) == COUNT / 2
        assert not any(found % 2)
        assert await recall(store, 2, VectorQuery(10, None)) > 0.95
        await store.close()

    arun(main())


def test_far_more_vectors_get_new_cells_and_searches_go_on_meanwhile() -> None:
    async def main() -> None:
        store = await filled(None)
        before = await learnt(store)
        for start in range(10_000, 20_000, 1000):
            put(store, start, start, clustered(1000, start))
        await store.join()
        store.commit()
        await store.join()
        store.commit()
        assert await recall(store, 20_000, VectorQuery(10, None)) > 0.95
        assert (await learnt(store)) is before
        for _ in range(100):
            if before.learnt >= COUNT + 10_000 + COUNT:
                break
            store.commit()
            await store.join()
            await learnt(store)  # who searches has what came since learnt, too
            await asyncio.sleep(0.1)
        else:
            raise AssertionError("not all were learnt anew")
        assert await recall(store, 20_000, VectorQuery(10, None)) > 0.95
        await store.close()

    arun(main())


def test_vectors_of_a_few_numbers_are_compared_exactly() -> None:
    async def main() -> None:
        store = await filled(None, clustered(COUNT, 1)[:, :4])
        assert store.tables[PLACE].approximation(0) is None
        await store.close()

    arun(main())


def test_a_query_to_which_all_are_alike_is_answered_exactly() -> None:
    async def main() -> None:
        store = await filled(None, metric="dotproduct")
        await learnt(store)
        nothing = VectorQuery(10, np.zeros(DIMS, dtype=np.float32))
        assert await store.search(PLACE, nothing, 1, approximate=True) == await store.search(PLACE, nothing, 1)
        await store.close()

    arun(main())


async def left(folder: Path) -> tuple[Path, dict[Place, str]]:
    """The file of cells beside a base, and how to open the base, of a store that was not even closed."""
    store = await filled(folder)
    await learnt(store)
    names = {note.place: note.name for note in store.news() if note.name is not None}
    (file,) = folder.glob("*.cells")
    return file, names


def reopened(folder: Path, names: dict[Place, str]) -> VectorStore:
    store = VectorStore(LIMITS, folder)
    store.create(PLACE, DIMS, "cosine")
    store.know(names)
    assert store.open_file(PLACE) == 1
    store.start(1)
    return store


def test_saved_cells_are_read_at_the_start_and_not_at_the_first_search(tmp_path: Path) -> None:
    async def main() -> None:
        _, names = await left(tmp_path)
        store = reopened(tmp_path, names)
        store.tables[PLACE].join_cells()
        known = store.tables[PLACE].approximation(0)
        assert known is not None
        assert known.learnt == 0
        assert await recall(store, 1, VectorQuery(10, None)) > 0.95
        await store.close()

    arun(main())


def cut(content: bytes) -> bytes:
    return content[:-100]


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def of_another_version(content: bytes) -> bytes:
    return content[:-24] + bytes(16) + content[-8:]


def emptied(content: bytes) -> bytes:
    return b""


@pytest.mark.parametrize("damage", [cut, flipped, of_another_version, emptied])
def test_damaged_cells_are_made_anew(
    tmp_path: Path, damage: Callable[[bytes], bytes], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        file, names = await left(tmp_path)
        whole = file.read_bytes()
        file.write_bytes(damage(whole))
        store = reopened(tmp_path, names)
        known = await learnt(store)
        assert known.learnt == COUNT
        assert "is not used, it is made anew" in caplog.text
        assert await recall(store, 1, VectorQuery(10, None)) > 0.95
        await store.close()
        assert len(file.read_bytes()) > len(whole) / 2, "and saved again"

    arun(main())


def test_the_making_of_cells_can_be_stopped_at_any_step() -> None:
    rows = unlike(2000, 1, 33)

    def made(patience: int) -> bool:
        steps = iter(range(patience))
        return Cells.made("cosine", rows, np.arange(2000), lambda: next(steps, None) is None) is not None

    outcomes = [made(patience) for patience in range(30)]
    assert outcomes == sorted(outcomes)
    assert outcomes.count(False) > 10, "also between the rounds in which centres are learnt"
    assert outcomes[-1]


def test_what_was_stopped_while_it_learnt_is_not_saved(tmp_path: Path) -> None:
    async def main() -> None:
        store = await filled(tmp_path)
        table = store.tables[PLACE]
        table.approximation(0)
        table.stop()
        table.join_cells()
        known = table.approximation(0)
        await store.close()
        saved = len(list(tmp_path.glob("*.cells")))
        assert saved == (0 if known is None else 1)

    arun(main())
