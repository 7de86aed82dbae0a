from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import reflow as rf
from reflow.engine.engine import Engine
from reflow.engine.record_store import StoredIndex
from reflow.engine.record_tables import PURGES, RECORDS
from reflow.engine.records import Records
from reflow.errors import (
    CallFailed,
    DefinitionError,
    InvalidFilter,
    InvalidValue,
    LimitExceeded,
    NoVectorIndex,
    SchemaError,
    StorageError,
    VectorIndexExists,
    VectorIndexProtected,
)
from reflow.limits import Limits
from reflow.storage.memory import MemoryStorage
from reflow.testing import Simulation, simulate
from reflow.vectors import IdPage, Index, QueryResult, Record, SparseValues
from tests.support import arun
from tests.support.simulated import simulated

module = rf.Module("memories")
memories = rf.Vectors("memories", dims=2)
words = rf.Vectors("words", sparse=True)
mixed = rf.Vectors("mixed", dims=2, metric="dotproduct")


@module.mutation
async def remember(ctx: rf.MutationCtx, who: str, id: str, vector: list[float]) -> bool:
    """Unless something very much like it is there."""
    index = ctx.vectors.index(memories)
    near = await index.query(vector=vector, top_k=1, namespace=who)
    if near.matches and near.matches[0].score > 0.99:
        return False
    await index.upsert([(id, vector, {"who": who})], namespace=who)
    return True


@module.query
async def recall(ctx: rf.QueryCtx, who: str, vector: list[float]) -> QueryResult:
    return await ctx.vectors.index("memories").query(vector=vector, top_k=2, namespace=who, include_metadata=True)


@module.query
async def page(ctx: rf.QueryCtx, who: str, limit: int, token: str | None) -> IdPage:
    return await ctx.vectors.index(memories).list(namespace=who, limit=limit, pagination_token=token)


@module.query
async def writing_query(ctx: rf.QueryCtx) -> None:
    index: Any = ctx.vectors.index(memories)
    await index.upsert([("a", [1.0, 0.0])])


@module.mutation
async def failing(ctx: rf.MutationCtx, who: str) -> None:
    index = ctx.vectors.index(memories)
    await index.upsert([("x", [1.0, 0.0])], namespace=who)
    await index.delete(delete_all=True, namespace="ann")
    raise rf.ApplicationError("no")


@module.action
async def tidy(ctx: rf.ActionCtx, who: str) -> list[str]:
    index = ctx.vectors.index(memories)
    await index.update("a", set_metadata={"tidy": True}, namespace=who)
    await index.delete(filter={"tidy": {"$exists": False}}, namespace=who)
    return (await index.list(namespace=who)).ids


@module.action
async def kept(ctx: rf.ActionCtx) -> Any:
    return (await ctx.vectors.index(memories).stats()).records


app = rf.App(modules=[module], environment={})


async def write(engine: Engine, name: str, work: Callable[[Index], Awaitable[Any]]) -> Any:
    """Does something to an index in a transaction of its own."""
    return await engine.transact(lambda tx: work(Records(tx).index(name)))


def ids_of(result: QueryResult) -> list[str]:
    return [match.id for match in result.matches]


# --- ctx.vectors ---------------------------------------------------------------------------------------------------


@simulated(app)
async def test_insert_unless_near_duplicate_is_a_transaction(sim: Simulation) -> None:
    assert await sim.mutation(remember, "ann", "a", [1.0, 0.0])
    assert not await sim.mutation(remember, "ann", "b", [1.0, 0.01])
    assert await sim.mutation(remember, "ann", "c", [0.0, 1.0])
    assert ids_of(await sim.query(recall, "ann", [1.0, 0.1])) == ["a", "c"]


@simulated(app, interleave=True)
async def test_rule_2_near_duplicates_written_side_by_side_leave_one(sim: Simulation) -> None:
    done = await asyncio.gather(*(sim.mutation(remember, "ann", str(n), [1.0, n / 1000]) for n in range(6)))
    assert sum(done) == 1
    assert len((await sim.query(page, "ann", 100, None)).ids) == 1


@simulated(app)
async def test_rule_6_a_live_query_follows_its_namespace_and_no_other(sim: Simulation) -> None:
    seen: list[QueryResult] = []

    async def watch() -> None:
        async for result in sim.watch(recall, "ann", [1.0, 0.0]):
            seen.append(result)

    task = asyncio.create_task(watch())
    await sim.quiet()
    assert [ids_of(result) for result in seen] == [[]]  # the namespace does not exist yet
    await sim.mutation(remember, "ann", "a", [1.0, 0.0])
    await sim.quiet()
    await sim.mutation(remember, "bob", "b", [1.0, 0.0])
    await sim.quiet()
    assert [ids_of(result) for result in seen] == [[], ["a"]]
    await StoredIndex(sim.engine, "memories").update("a", set_metadata={"n": 1}, namespace="ann")
    await sim.quiet()
    assert seen[-1].matches[0].metadata == {"who": "ann", "n": 1}
    await StoredIndex(sim.engine, "memories").delete(delete_all=True, namespace="ann")
    await sim.quiet()
    assert ids_of(seen[-1]) == []
    task.cancel()


@simulated(app)
async def test_rule_1_a_failed_mutation_leaves_nothing(sim: Simulation) -> None:
    await sim.mutation(remember, "ann", "a", [1.0, 0.0])
    with pytest.raises(rf.ApplicationError):
        await sim.mutation(failing, "new")
    stats = await StoredIndex(sim.engine, "memories").stats()
    assert stats.namespaces == {"ann": 1}
    await sim.advance(30)  # nothing of what is there is purged
    assert ids_of(await sim.query(recall, "ann", [1.0, 0.0])) == ["a"]


@simulated(app)
async def test_rule_8_queries_can_not_write(sim: Simulation) -> None:
    with pytest.raises(CallFailed, match="a query can't write to a vector index: use a mutation"):
        await sim.query(writing_query)


@simulated(app)
async def test_actions_call_by_call(sim: Simulation) -> None:
    for id, vector in (("a", [1.0, 0.0]), ("b", [0.0, 1.0]), ("c", [-1.0, 0.0])):
        await sim.mutation(remember, "ann", id, vector)
    assert await sim.action(tidy, "ann") == ["a"]
    assert await sim.action(kept) == 1


def test_a_remote_store_is_for_actions_only() -> None:
    remote = rf.App(modules=[module], environment={"REFLOW_VECTORS_URL": "http://127.0.0.1:9"})

    async def main() -> None:
        async with simulate(remote) as sim:
            for call in (sim.query(recall, "ann", [1.0, 0.0]), sim.mutation(remember, "ann", "a", [1.0, 0.0])):
                with pytest.raises(CallFailed, match=r"REFLOW_VECTORS_URL.*from actions only.*run_after"):
                    await call
            with pytest.raises(CallFailed, match="PINECONE_API_KEY"):
                await sim.action(kept)

    arun(main())


@simulated(app)
async def test_a_namespace_of_a_commit_that_failed_is_not_there(sim: Simulation) -> None:
    """Names are remembered: those that a lost group has made must be forgotten with it."""
    index = StoredIndex(sim.engine, "memories")
    await index.upsert([("a", [1, 0])], namespace="y")
    sim.faults.commit, sim.faults.most = 1.0, 1
    lost = [index.upsert([(f"r{n}", [1, n])], namespace="x") for n in range(2)]  # the second finds the first's
    for outcome in await asyncio.gather(*lost, return_exceptions=True):
        assert isinstance(outcome, StorageError)
    await index.upsert([("b", [1, 0])], namespace="y")  # makes no name, and moves the time on
    assert (await index.stats()).namespaces == {"y": 2}
    assert await index.fetch(["r0", "r1"], namespace="x") == {}
    await index.upsert([("r2", [1, 0])], namespace="x")
    assert (await index.stats()).namespaces == {"x": 1, "y": 2}
    assert (await index.list(namespace="x")).ids == ["r2"]


# --- Declarations ---------------------------------------------------------------------------------------------------


def test_declared_indexes_are_made_once_and_survive() -> None:
    storage = MemoryStorage()

    async def main() -> None:
        async with simulate(app, storage=storage) as sim:
            await sim.mutation(remember, "ann", "a", [1.0, 0.0])
        async with simulate(app, storage=storage) as sim:
            async with sim.engine.reading() as tx:
                found = await Records(tx).list_indexes()
            assert [(index.name, index.dims, index.metric) for index in found] == [
                ("memories", 2, "cosine"),
                ("mixed", 2, "dotproduct"),
                ("words", None, "dotproduct"),
            ]
            assert ids_of(await sim.query(recall, "ann", [1.0, 0.0])) == ["a"]

    arun(main())


def test_another_declaration_of_an_index_with_records_is_refused() -> None:
    storage = MemoryStorage()
    other = rf.App(modules=[], tables=[rf.Vectors("memories", dims=3)], environment={})

    async def main() -> None:
        async with simulate(app, storage=storage) as sim:
            await sim.mutation(remember, "ann", "a", [1.0, 0.0])
        with pytest.raises(SchemaError, match=r"'memories' holds vectors of 2 numbers.*dims=3.*another name"):
            async with simulate(other, storage=storage):
                raise AssertionError("it must not start")
        async with simulate(app, storage=storage) as sim:
            await StoredIndex(sim.engine, "memories").delete(["a"], namespace="ann")
        async with simulate(other, storage=storage) as sim:
            assert (await StoredIndex(sim.engine, "memories").stats()).dims == 3

    arun(main())


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"name": "Memories", "dims": 2}, "can't name a vector index"),
        ({"name": "x" * 46, "dims": 2}, "can't name a vector index"),
        ({"name": "-x", "dims": 2}, "can't name a vector index"),
        ({"name": "x", "dims": 0}, "dims must be 1 to 20000, got 0"),
        ({"name": "x", "dims": 20_001}, "dims must be 1 to 20000"),
        ({"name": "x"}, "either dims=... or sparse=True"),
        ({"name": "x", "dims": 2, "sparse": True}, "either dims=... or sparse=True"),
        ({"name": "x", "sparse": True, "metric": "cosine"}, 'must be "dotproduct"'),
        ({"name": "x", "dims": 2, "metric": "manhattan"}, "metric must be one of cosine, dotproduct, euclidean"),
    ],
)
def test_what_can_not_be_declared(arguments: dict[str, Any], told: str) -> None:
    with pytest.raises(DefinitionError, match=told):
        rf.Vectors(**arguments)


def test_two_declarations_of_one_name_must_agree() -> None:
    both = [rf.Vectors("a", dims=2), rf.Vectors("a", dims=3)]
    with pytest.raises(DefinitionError, match="'a' is declared twice"):
        rf.App(modules=[], tables=both, environment={}).engine(MemoryStorage())


# --- Indexes --------------------------------------------------------------------------------------------------------


@simulated(rf.App(modules=[], environment={}, limits=Limits(vector_indexes=2)))
async def test_indexes_are_made_configured_and_deleted(sim: Simulation) -> None:
    transact = sim.engine.transact
    made = await transact(lambda tx: Records(tx).create_index("a", dims=2, tags={"k": "v"}, about={"cloud": "aws"}))
    assert (made.name, made.dims, made.metric, made.tags, made.about) == (
        "a",
        2,
        "cosine",
        {"k": "v"},
        {"cloud": "aws"},
    )
    with pytest.raises(VectorIndexExists, match="'a' exists already"):
        await transact(lambda tx: Records(tx).create_index("a", dims=2))
    await transact(lambda tx: Records(tx).create_index("b", dims=None, metric="dotproduct"))
    with pytest.raises(LimitExceeded, match=r"limits\.vector_indexes = 2"):
        await transact(lambda tx: Records(tx).create_index("c", dims=2))
    changed = await transact(
        lambda tx: Records(tx).configure_index("a", deletion_protection=True, tags={"k": "", "l": "w"})
    )
    assert (changed.tags, changed.deletion_protection) == ({"l": "w"}, True)
    with pytest.raises(VectorIndexProtected, match="'a' is protected from deletion"):
        await transact(lambda tx: Records(tx).delete_index("a"))
    await transact(lambda tx: Records(tx).configure_index("a", deletion_protection=False))
    await transact(lambda tx: Records(tx).delete_index("a"))
    with pytest.raises(NoVectorIndex, match="no vector index 'a'"):
        await transact(lambda tx: Records(tx).delete_index("a"))
    async with sim.engine.reading() as tx:
        assert await Records(tx).describe_index("a") is None
        assert [index.name for index in await Records(tx).list_indexes()] == ["b"]


@simulated(app)
async def test_a_deleted_index_is_purged_and_its_name_is_free(sim: Simulation) -> None:
    engine = sim.engine
    await sim.mutation(remember, "ann", "a", [1.0, 0.0])
    before = engine.committer.published
    place = await _place(engine, "memories")

    async def again(tx: Any) -> None:
        await Records(tx).delete_index("memories")
        await Records(tx).create_index("memories", dims=2)

    await engine.transact(again)
    assert (await StoredIndex(engine, "memories").stats()).records == 0
    assert await _rows(engine, RECORDS) == 1
    await sim.advance(30)
    assert await _rows(engine, RECORDS) == 0
    result = await engine.query_at(engine.resolve(recall), b'{"who": "ann", "vector": [1.0, 0.0]}', before)
    assert b'"a"' in (result.value or b"")  # the past stays readable
    await sim.advance(engine.limits.retention_seconds + 30)
    assert await _rows(engine, PURGES) == 0
    with pytest.raises(KeyError):
        engine.vectors.settings(place)


async def _place(engine: Engine, name: str) -> tuple[int, int]:
    async with engine.reading() as tx:
        row: Any = await Records(tx).index(name)._open()  # pyright: ignore[reportPrivateUsage]
        return engine.catalog.codec(RECORDS).vectors[0].number, row[0].number


async def _rows(engine: Engine, spec: Any) -> int:
    async with engine.reading() as tx:
        number = engine.catalog.codec(spec).number
        return await tx.snapshot.count(number, number, b"", b"\xff")


# --- Records --------------------------------------------------------------------------------------------------------


@simulated(app)
async def test_hybrid_and_sparse_queries(sim: Simulation) -> None:
    hybrid = StoredIndex(sim.engine, "mixed")
    await hybrid.upsert(
        [
            {"id": "a", "values": [1, 0], "sparse_values": {"indices": [7], "values": [2.0]}},
            {"id": "b", "values": [0, 1], "sparse_values": {"indices": [7, 9], "values": [1.0, 3.0]}},
            ("c", [1, 1]),
        ]
    )
    found = await hybrid.query(vector=[1, 0], sparse_vector=SparseValues(indices=[7], values=[0.5]), top_k=3)
    assert [(match.id, match.score) for match in found.matches] == [("a", 2.0), ("c", 1.0), ("b", 0.5)]
    by_id = await hybrid.query(id="b", top_k=1)
    assert [(match.id, match.score) for match in by_id.matches] == [("b", 11.0)]
    sparse = StoredIndex(sim.engine, "words")
    await sparse.upsert(
        [
            {"id": "a", "sparse_values": {"indices": [1, 2], "values": [1.0, 1.0]}, "metadata": {"n": 1}},
            {"id": "b", "sparse_values": {"indices": [3], "values": [1.0]}},
        ]
    )
    found = await sparse.query(sparse_vector=SparseValues(indices=[2], values=[3.0]), include_values=True)
    assert [(match.id, match.score, match.values) for match in found.matches] == [("a", 3.0, None)]
    assert found.matches[0].sparse_values == SparseValues(indices=[1, 2], values=[1.0, 1.0])
    assert (await sparse.stats()).records == 2


def test_sparse_records_survive_a_restart() -> None:
    storage = MemoryStorage()

    async def main() -> None:
        async with simulate(app, storage=storage) as sim:
            await StoredIndex(sim.engine, "words").upsert(
                [{"id": "a", "sparse_values": {"indices": [5], "values": [2.0]}, "metadata": {"n": 1}}], namespace="x"
            )
        async with simulate(app, storage=storage) as sim:
            index = StoredIndex(sim.engine, "words")
            asked = SparseValues(indices=[5], values=[1.0])
            assert ids_of(await index.query(sparse_vector=asked, namespace="x", filter={"n": 1})) == ["a"]
            assert ids_of(await index.query(sparse_vector=asked)) == []

    arun(main())


@simulated(app)
async def test_euclidean_scores_are_squared_distances_nearest_first(sim: Simulation) -> None:
    await sim.engine.transact(lambda tx: Records(tx).create_index("places", dims=2, metric="euclidean"))
    index = StoredIndex(sim.engine, "places")
    await index.upsert([("far", [3, 4]), ("here", [0.5, 0]), ("near", [1, 0])])
    found = await index.query(vector=[0, 0])
    assert [(match.id, match.score) for match in found.matches] == [("here", 0.25), ("near", 1.0), ("far", 25.0)]


@simulated(app)
async def test_lists_go_by_bytes_and_page_by_page(sim: Simulation) -> None:
    ids = ["Z", "a", "a\x01", "a b", "a#1", "a#10", "a#2", "b", "~"]
    index = StoredIndex(sim.engine, "memories")
    await index.upsert([(id, [1, 0]) for id in reversed(ids)])
    assert (await index.list()).ids == sorted(ids, key=str.encode)
    seen: list[str] = []
    token = None
    while True:
        found = await index.list(prefix="a#", limit=2, pagination_token=token)
        seen += found.ids
        if (token := found.next) is None:
            break
    assert seen == ["a#1", "a#10", "a#2"]
    token = (await index.list(limit=1)).next
    others: list[dict[str, Any]] = [{"prefix": "a"}, {"namespace": "x"}]
    for other in others:
        with pytest.raises(InvalidValue, match="belongs to another list or is damaged: begin without one"):
            await index.list(pagination_token=token, **other)


@simulated(app)
async def test_records_by_metadata_page_by_page(sim: Simulation) -> None:
    index = StoredIndex(sim.engine, "memories")
    await index.upsert([(f"r{n}", [1, n], {"even": n % 2 == 0}) for n in range(9)])
    seen: list[Record] = []
    token = None
    while True:
        found = await index.fetch_by_metadata({"even": True}, limit=2, pagination_token=token)
        seen += found.records
        if (token := found.next) is None:
            break
    assert [record.id for record in seen] == ["r0", "r2", "r4", "r6", "r8"]
    assert seen[1].values == [1.0, 2.0]


@simulated(app)
async def test_the_default_namespace_has_two_names(sim: Simulation) -> None:
    index = StoredIndex(sim.engine, "memories")
    await index.upsert([("a", [1, 0])], namespace="__default__")
    assert ids_of(await index.query(vector=[1, 0])) == ["a"]
    assert (await index.stats()).namespaces == {"": 1}
    await index.create_namespace("x")
    await index.upsert([("b", [1, 0])], namespace="xy")
    first = await index.list_namespaces(limit=1)
    assert [(found.name, found.records) for found in first.namespaces] == [("", 1)]
    rest = await index.list_namespaces(pagination_token=first.next)
    assert [(found.name, found.records) for found in rest.namespaces] == [("x", 0), ("xy", 1)]
    assert [found.name for found in (await index.list_namespaces(prefix="xy")).namespaces] == ["xy"]
    described = await index.describe_namespace("__default__")
    assert described is not None
    assert described.records == 1
    assert await index.describe_namespace("nowhere") is None
    await index.delete_namespace("")
    assert await index.describe_namespace("") is None


@simulated(rf.App(modules=[], tables=[memories], environment={}, limits=Limits(records_per_batch=7)))
async def test_many_records_are_changed_and_deleted_in_batches(sim: Simulation) -> None:
    index = StoredIndex(sim.engine, "memories")
    await index.upsert([(f"r{n}", [1, n], {"n": n}) for n in range(40)])
    commits = len(sim.engine.committer.log._commits)  # pyright: ignore[reportPrivateUsage]
    assert await index.update_by_filter({"n": {"$gte": 10}}, set_metadata={"late": True}, dry_run=True) == 30
    assert await index.update_by_filter({"n": {"$gte": 10}}, set_metadata={"late": True}) == 30
    assert len(sim.engine.committer.log._commits) == commits + 5  # pyright: ignore[reportPrivateUsage]
    await index.delete(filter={"late": True})
    assert (await index.stats()).records == 10
    await index.delete(delete_all=True)
    assert (await index.stats()).namespaces == {"": 0}
    await sim.advance(30)
    assert await _rows(sim.engine, RECORDS) == 0


@simulated(rf.App(modules=[], tables=[memories], environment={}, limits=Limits(documents_written=20)))
async def test_one_transaction_has_a_bound_and_says_the_way_out(sim: Simulation) -> None:
    index = StoredIndex(sim.engine, "memories")
    for start in (0, 15):
        await index.upsert([(f"r{n}", [1, n], {"n": n}) for n in range(start, start + 15)])
    with pytest.raises(LimitExceeded, match=r"limits\.documents_written = 20 .*from an action, which works in batches"):
        await write(sim.engine, "memories", lambda here: here.delete(filter={"n": {"$gte": 0}}))
    assert (await index.stats()).records == 30


def test_large_upserts_on_disk(tmp_path: Path) -> None:
    """Ids in a row, at random, and again: each has its own way of being looked up."""
    numbers = np.random.default_rng(1).permutation(600)
    vectors = np.random.default_rng(2).standard_normal((600, 2)).astype(np.float32)

    async def main() -> None:
        async with app.open(tmp_path) as backend:
            index = StoredIndex(backend.engine, "memories")
            for part in (numbers[:300], numbers[300:], numbers[200:400]):
                await index.upsert([(f"r{n}", vectors[n], {"n": int(n)}) for n in part.tolist()])
            assert (await index.stats()).records == 600
        async with app.open(tmp_path) as backend:
            index = StoredIndex(backend.engine, "memories")
            found = await index.fetch([f"r{n}" for n in range(600)])
            assert len(found) == 600
            values = found["r77"].values
            assert values is not None
            assert np.array_equal(np.array(values, dtype=np.float32), vectors[77])
            best = await index.query(vector=vectors[5], top_k=1)
            assert best.matches[0].score == pytest.approx(1.0)

    arun(main())


# --- Bad input ------------------------------------------------------------------------------------------------------

GOOD: tuple[str, list[float]] = ("good", [1.0, 0.0])


@pytest.mark.parametrize(
    ("name", "record", "told"),
    [
        ("memories", ("", [1, 0]), "ID must not be empty"),
        ("memories", ("é", [1, 0]), "ID must be ASCII"),
        ("memories", ("a\0", [1, 0]), "must not contain NUL"),
        ("memories", ("x" * 513, [1, 0]), r"at most 512 characters \(limits.record_id_length\)"),
        ("memories", (7, [1, 0]), "ID must be a text, got 7"),
        ("memories", ("a", [1, 0, 0]), "Vector dimension 3 does not match the dimension of the index 2"),
        ("memories", ("a", []), "Vector dimension 0 does not match the dimension of the index 2"),
        ("memories", ("a", [[1, 0]]), "must be a list of numbers"),
        ("memories", ("a", ["1", "0"]), "must be a list of numbers"),
        ("memories", ("a", None), "takes dense vectors of 2 numbers"),
        ("memories", ("a", [float("nan"), 1]), "no NaN"),
        ("memories", ("a", [1e39, 1]), "finite 32-bit floats"),
        ("memories", ("a", [0, 0]), "Dense vectors must contain at least one non-zero value"),
        ("memories", ("a", [1e-9, 0]), "Dense vectors must contain at least one non-zero value"),
        ("memories", ("a", [1, 0], {"x": {"y": 1}}), "must be a string, number, boolean or list of strings"),
        ("memories", ("a", [1, 0], {"x": [1]}), "for field 'x'"),
        ("memories", ("a", [1, 0], {"$x": 1}), "must not start with"),
        ("memories", ("a", [1, 0], {"x": "y" * 40_960}), "exceeds the limit of 40960 bytes"),
        ("memories", ("a", [1, 0], "x"), "metadata must be an object"),
        ("memories", ("good", [0, 1]), "given twice in one upsert"),
        ("memories", {"id": "a", "values": [1, 0], "vector": 1}, "has the fields"),
        ("memories", {"values": [1, 0]}, "has the fields"),
        ("memories", ("a",), "give .id, values., a mapping or a Record"),
        ("memories", {"id": "a", "sparse_values": {"indices": [1], "values": [1]}}, "takes dense vectors"),
        ("mixed", {"id": "a", "values": [1, 0], "sparse_values": {"indices": [1, 1], "values": [1, 2]}}, "unique"),
        ("mixed", {"id": "a", "values": [1, 0], "sparse_values": {"indices": [1], "values": []}}, "same length"),
        ("mixed", {"id": "a", "values": [1, 0], "sparse_values": {"indices": [-1], "values": [1]}}, "within 0 and"),
        ("mixed", {"id": "a", "values": [1, 0], "sparse_values": [1]}, "have `indices` and `values`"),
    ],
)
def test_rule_9_a_batch_is_stored_whole_or_not_at_all(name: str, record: Any, told: str) -> None:
    @simulated(app)
    async def check(sim: Simulation) -> None:
        index = StoredIndex(sim.engine, name)
        with pytest.raises(InvalidValue, match=told):
            await index.upsert([GOOD, record])
        assert (await index.stats()).namespaces == {}

    check()


@pytest.mark.parametrize(
    ("record", "told"),
    [(("a", [1.0]), "is sparse: it takes sparse values, no dense ones"), ({"id": "a"}, "has no sparse values")],
)
def test_rule_9_sparse_indexes_take_sparse_values_only(record: Any, told: str) -> None:
    @simulated(app)
    async def check(sim: Simulation) -> None:
        with pytest.raises(InvalidValue, match=told):
            await StoredIndex(sim.engine, "words").upsert([record])

    check()


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ({}, "either an id, or a vector"),
        ({"vector": [1, 0], "id": "a"}, "either an id, or a vector"),
        ({"vector": [1, 0], "top_k": 0}, "top_k must be a whole number between 1 and 10000"),
        ({"vector": [1, 0], "top_k": 10_001}, "top_k must be a whole number between 1 and 10000"),
        ({"vector": [1, 0], "top_k": True}, "top_k must be a whole number"),
        ({"vector": [1]}, "Vector dimension 1 does not match the dimension of the index 2"),
        ({"vector": [float("inf"), 1]}, "finite"),
        ({"vector": [0, 0]}, "zeros has no direction"),
        ({"sparse_vector": {"indices": [1], "values": [1]}}, "does not support sparse values"),
        ({"vector": [1, 0], "filter": {"a": {"$like": 1}}}, "not a valid operator"),
        ({"vector": [1, 0], "filter": {"a": {"$gt": "x"}}}, "must be followed by a number"),
        ({"vector": [1, 0], "filter": {"a": {"$nin": [1, "x"]}}}, "must be followed by a list of strings or a list"),
        ({"vector": [1, 0], "filter": {"$gt": 1}}, "at top level"),
        ({"id": "x" * 513}, "at most 512 characters"),
        ({"vector": [1, 0], "namespace": "é"}, "a namespace's name"),
        ({"vector": [1, 0], "namespace": "x" * 513}, "a namespace's name"),
        ({"vector": [1, 0], "namespace": 1}, "a namespace's name is a text"),
    ],
)
def test_rule_9_what_can_not_be_asked(question: Mapping[str, Any], told: str) -> None:
    @simulated(app)
    async def check(sim: Simulation) -> None:
        with pytest.raises(InvalidValue, match=told):
            await StoredIndex(sim.engine, "memories").query(**question)

    check()


@simulated(app)
async def test_rule_9_the_other_calls(sim: Simulation) -> None:
    index: Any = StoredIndex(sim.engine, "memories")
    await index.upsert([GOOD])
    for call, told in (
        (index.delete(), "exactly one of ids, filter and delete_all"),
        (index.delete(["a"], delete_all=True), "exactly one of ids, filter and delete_all"),
        (index.delete(["a"], filter={"n": 1}), "exactly one of ids, filter and delete_all"),
        (index.delete([""]), "must not be empty"),
        (index.update("good", values=[1]), "Vector dimension 1"),
        (index.update("good", set_metadata={"a": {}}), "Metadata value must be"),
        (index.fetch(["é"]), "must be ASCII"),
        (index.list(limit=0), "limit must be a whole number between 1 and 100"),
        (index.list(limit=101), "limit must be a whole number between 1 and 100"),
        (index.list(pagination_token="?"), "belongs to another list or is damaged"),
        (index.list_namespaces(limit=101), "limit must be a whole number between 1 and 100"),
        (index.fetch_by_metadata({"n": 1}, limit=10_001), "limit must be a whole number between 1 and 10000"),
        (index.fetch_by_metadata({"n": 1}, pagination_token="AAAA"), "belongs to another list or is damaged"),
    ):
        with pytest.raises(InvalidValue, match=told):
            await call
    for call in (
        index.delete(filter={}),
        index.update_by_filter({}, set_metadata={"a": 1}),
        index.fetch_by_metadata({}),
    ):
        with pytest.raises(InvalidFilter, match=r"[Ee]mpty"):
            await call
    assert (await index.fetch(["good"]))["good"].metadata == {}
    with pytest.raises(NoVectorIndex, match=r"no vector index 'nowhere': declare it with rf.Vectors"):
        await StoredIndex(sim.engine, "nowhere").query(vector=[1, 0])


@simulated(app)
async def test_unknown_things_are_no_errors(sim: Simulation) -> None:
    index = StoredIndex(sim.engine, "memories")
    await index.update("a", set_metadata={"n": 1}, namespace="nowhere")
    await index.delete(["a"], namespace="nowhere")
    await index.delete(delete_all=True, namespace="nowhere")
    await index.delete(filter={"n": 1}, namespace="nowhere")
    await index.delete_namespace("nowhere")
    assert await index.update_by_filter({"n": 1}, set_metadata={"n": 2}, namespace="nowhere") == 0
    assert await index.fetch(["a"], namespace="nowhere") == {}
    assert (await index.list(namespace="nowhere")).ids == []
    assert (await index.fetch_by_metadata({"n": 1}, namespace="nowhere")).records == []
    assert ids_of(await index.query(id="a", namespace="nowhere")) == []
    await index.upsert([], namespace="nowhere")
    assert (await index.stats()).namespaces == {}
    await index.upsert([GOOD])
    assert ids_of(await index.query(id="unknown")) == []
