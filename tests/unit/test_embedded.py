"""`open_vectors`: the vector store in a program without an event loop, and from several of them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reflow.embedded import EmbeddedIndex, open_vectors
from reflow.errors import DirectoryInUse, InvalidValue, NoVectorIndex, StoreClosed, VectorIndexExists
from reflow.vectors import SparseValues


def ids(index: EmbeddedIndex, namespace: str = "") -> list[str]:
    return index.list(namespace=namespace).ids


def test_every_call_of_an_index_blocking():
    with open_vectors(None) as vectors:
        notes = vectors.create_index("notes", dims=2)
        assert notes.upsert([("a", [1, 0], {"year": 2020}), ("b", [0, 1], {"year": 2024})]) == 2
        assert [match.id for match in notes.query(vector=[1, 0.1]).matches] == ["a", "b"]
        assert [match.id for match in notes.query(id="b", top_k=1).matches] == ["b"]
        assert notes.fetch(["b", "z"])["b"].values == [0, 1]
        assert [record.id for record in notes.fetch_by_metadata({"year": {"$gt": 2020}}).records] == ["b"]
        notes.update("a", set_metadata={"seen": True})
        assert notes.update_by_filter({"seen": True}, set_metadata={"year": 1999}) == 1
        assert notes.fetch(["a"])["a"].metadata == {"year": 1999, "seen": True}
        notes.create_namespace("empty")
        assert [found.name for found in notes.list_namespaces().namespaces] == ["", "empty"]
        found = notes.describe_namespace("")
        assert found is not None
        assert found.records == 2
        notes.delete_namespace("empty")
        notes.delete(["a"])
        assert ids(notes) == ["b"]
        assert notes.stats().records == 1
        assert [info.name for info in vectors.list_indexes()] == ["notes"]
        vectors.delete_index("notes")
        with pytest.raises(NoVectorIndex):
            notes.stats()


def test_every_call_awaited_on_loops_of_its_own():
    with open_vectors(None) as vectors:
        notes = vectors.create_index("notes", dims=2)

        async def use(namespace: str) -> list[str]:
            await notes.aio.upsert([("a", [1, 0]), ("b", [0, 1])], namespace=namespace)
            await notes.aio.delete(["a"], namespace=namespace)
            found = await notes.aio.query(vector=[1, 1], namespace=namespace)
            return [match.id for match in found.matches]

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(lambda name: asyncio.run(use(name)), "wxyz")) == [["b"]] * 4
        assert asyncio.run(notes.aio.stats()).namespaces == dict.fromkeys("wxyz", 1)


def test_an_awaited_call_leaves_the_callers_event_loop_free():
    with open_vectors(None) as vectors:
        notes = vectors.create_index("notes", dims=2)

        async def main() -> None:
            ticks = 0

            async def tick() -> None:
                nonlocal ticks
                while True:
                    await asyncio.sleep(0)
                    ticks += 1

            ticking = asyncio.create_task(tick())
            await notes.aio.upsert((str(n), [n, 1]) for n in range(2000))
            ticking.cancel()
            assert ticks > 0

        asyncio.run(main())
        assert notes.stats().records == 2000


def test_an_upsert_stores_all_or_nothing():
    with open_vectors(None) as vectors:
        notes = vectors.create_index("notes", dims=2)
        many = [(str(n), [n, 1]) for n in range(3000)]
        with pytest.raises(InvalidValue, match='record "wrong"'):
            notes.upsert([*many, ("wrong", [1, 2, 3])])
        assert notes.stats().records == 0
        assert notes.upsert(record for record in many) == 3000
        assert notes.stats().records == 3000


def test_what_was_written_is_there_when_opened_again(tmp_path: Path):
    with open_vectors(tmp_path) as vectors:
        vectors.create_index("notes", dims=2, metric="dotproduct").upsert(
            [{"id": "a", "values": [1, 0], "sparse_values": SparseValues(indices=[7], values=[0.5])}]
        )
    with open_vectors(tmp_path) as vectors:
        notes = vectors.create_index("notes", dims=2, metric="dotproduct")
        found = notes.query(vector=[2, 0], sparse_vector=SparseValues(indices=[7], values=[2]))
        assert [(match.id, match.score) for match in found.matches] == [("a", 3)]


def test_a_program_that_ends_without_closing_loses_nothing_and_says_nothing(tmp_path: Path):
    code = """
import sys, reflow.embedded
vectors = reflow.embedded.open_vectors(sys.argv[1])
vectors.create_index("notes", dims=2).upsert([("a", [1, 0])])
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    with open_vectors(tmp_path) as vectors:
        assert ids(vectors.index("notes")) == ["a"]


def test_one_directory_is_open_once(tmp_path: Path):
    with open_vectors(tmp_path):
        before = threading.active_count()
        with pytest.raises(DirectoryInUse):
            open_vectors(tmp_path)
        assert threading.active_count() == before


def test_an_index_is_made_once_and_is_not_taken_for_another():
    with open_vectors(None) as vectors:
        vectors.create_index("notes", dims=2)
        assert vectors.create_index("notes", dims=2).name == "notes"
        with pytest.raises(VectorIndexExists, match="dims=2 and metric='cosine', not dims=3"):
            vectors.create_index("notes", dims=3)
        with pytest.raises(InvalidValue, match="can't name a vector index"):
            vectors.create_index("No Tes", dims=3)


def test_a_closed_store_says_so():
    vectors = open_vectors(None)
    notes = vectors.create_index("notes", dims=2)
    vectors.close()
    vectors.close()
    with pytest.raises(StoreClosed, match="open it again"):
        notes.stats()
    with pytest.raises(StoreClosed):
        asyncio.run(notes.aio.stats())


def test_closing_waits_for_the_calls_that_run(tmp_path: Path):
    vectors = open_vectors(tmp_path)
    notes = vectors.create_index("notes", dims=2)
    started, stored = threading.Event(), list[int]()

    def records():
        started.set()
        yield from ((str(n), [n, 1]) for n in range(2000))

    thread = threading.Thread(target=lambda: stored.append(notes.upsert(records())))
    thread.start()
    started.wait()
    vectors.close()
    thread.join()
    assert stored == [2000]
    with open_vectors(tmp_path) as vectors:
        assert vectors.index("notes").stats().records == 2000
