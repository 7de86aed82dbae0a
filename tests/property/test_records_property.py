"""Free-standing indexes against a model of dicts: in mutations, after them, live, after rollbacks and a restart."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow.errors import CallFailed
from reflow.search.filters import parse
from reflow.search.metric import Metric, scores
from reflow.storage.memory import MemoryStorage
from reflow.testing import Simulation, simulate
from reflow.vectors import IdPage, Index, IndexStats
from tests.support import arun

module = rf.Module("records")
INDEXES: dict[Metric, rf.Vectors] = {
    "cosine": rf.Vectors("by-angle", dims=2),
    "dotproduct": rf.Vectors("by-product", dims=2, metric="dotproduct"),
    "euclidean": rf.Vectors("by-distance", dims=2, metric="euclidean"),
}

Thing = tuple[list[float], dict[int, float] | None, dict[str, Any]]
"""Vector, sparse vector by index, metadata."""

Model = dict[str, dict[str, Thing]]
"""By namespace and id."""


class Rollback(Exception):
    """Undoes a mutation."""


# What mutations do: each operation on the index and on the model


async def on_index(index: Index, op: str, namespace: str, about: dict[str, Any]) -> Any:
    match op:
        case "upsert":
            records = [
                {"id": id, "values": v, "sparse_values": _sparse(s), "metadata": m} for id, (v, s, m) in about["things"]
            ]
            return await index.upsert(records, namespace=namespace)
        case "update":
            await index.update(about["id"], values=about["v"], set_metadata=about["set"], namespace=namespace)
        case "delete":
            await index.delete(about["ids"], namespace=namespace)
        case "delete_all":
            await index.delete(delete_all=True, namespace=namespace)
        case "delete_where":
            await index.delete(filter=about["filter"], namespace=namespace)
        case "update_where":
            return await index.update_by_filter(about["filter"], set_metadata=about["set"], namespace=namespace)
        case "drop":
            await index.delete_namespace(namespace)
        case _:
            raise AssertionError(op)


def on_model(model: Model, op: str, namespace: str, about: dict[str, Any]) -> Any:
    here = model.get(namespace, {})
    match op:
        case "upsert":
            for id, thing in about["things"]:
                model.setdefault(namespace, {})[id] = thing
            return len(about["things"])
        case "update":
            if about["id"] in here:
                v, s, m = here[about["id"]]
                here[about["id"]] = (about["v"] or v, s, {**m, **(about["set"] or {})})
        case "delete":
            for id in about["ids"]:
                here.pop(id, None)
        case "delete_all":
            here.clear()
        case "delete_where":
            for id in passing(here, about["filter"]):
                del here[id]
        case "update_where":
            found = passing(here, about["filter"])
            for id in found:
                v, s, m = here[id]
                here[id] = (v, s, {**m, **about["set"]})
            return len(found)
        case "drop":
            model.pop(namespace, None)
        case _:
            raise AssertionError(op)


def passing(things: dict[str, Thing], filter: dict[str, Any]) -> list[str]:
    wanted = parse(filter)
    return [id for id, (_, _, metadata) in things.items() if wanted is None or wanted.matches(metadata)]


def _sparse(values: dict[int, float] | None) -> Any:
    return None if values is None else {"indices": list(values), "values": list(values.values())}


@module.mutation
async def change(ctx: rf.MutationCtx, index: str, ops: str, fail: bool) -> list[Any]:
    """Runs operations; after each one, what the transaction sees of the namespace. JSON: names may begin with `$`."""
    told: list[Any] = []
    found = ctx.vectors.index(index)
    for op, namespace, about in json.loads(ops):
        result = await on_index(found, op, namespace, _keyed(about))
        ids = (await found.list(namespace=namespace)).ids
        matches = (await found.query(vector=[1.0, 0.5], top_k=100, namespace=namespace)).matches
        told.append([result, ids, [[match.id, match.score] for match in matches]])
    if fail:
        raise Rollback
    return told


def _keyed(about: Any) -> Any:
    """Numbers as keys of sparse vectors are texts on their way."""
    if "things" not in about:
        return about
    things = [
        (id, (v, None if s is None else {int(k): x for k, x in s.items()}, m)) for id, (v, s, m) in about["things"]
    ]
    return {"things": things}


@module.query
async def recall(
    ctx: rf.QueryCtx, index: str, namespace: str, vector: list[float], top_k: int, filter: str
) -> rf.QueryResult:
    found = ctx.vectors.index(index)
    return await found.query(
        vector=vector,
        top_k=top_k,
        namespace=namespace,
        filter=json.loads(filter),
        include_metadata=True,
        include_values=True,
    )


@module.query
async def numbers(ctx: rf.QueryCtx, index: str) -> IndexStats:
    return await ctx.vectors.index(index).stats()


@module.query
async def ids(ctx: rf.QueryCtx, index: str, namespace: str) -> IdPage:
    return await ctx.vectors.index(index).list(namespace=namespace)


@module.query
async def fetched(ctx: rf.QueryCtx, index: str, namespace: str) -> list[rf.Record]:
    return list((await ctx.vectors.index(index).fetch(IDS, namespace=namespace)).values())


app = rf.App(modules=[module], tables=INDEXES.values(), environment={})

IDS = ["a", "b", "ab", "c", "d", "~\x01"]
NAMES = ["", "x", "y"]
ids_ = st.sampled_from(IDS)
coordinate = st.integers(-3, 3).map(float)
vectors = st.tuples(coordinate, coordinate).map(list).filter(any)
metadata = st.fixed_dictionaries(
    {}, optional={"n": st.integers(0, 3), "tag": st.sampled_from(["p", "q"]), "on": st.booleans()}
)
filters: st.SearchStrategy[dict[str, Any]] = st.one_of(
    st.integers(0, 3).map(lambda n: {"n": {"$gte": n}}),
    st.sampled_from(["p", "q"]).map(lambda tag: {"tag": tag}),
    st.booleans().map(lambda on: {"$or": [{"on": on}, {"n": 0}]}),
    st.just({"tag": {"$exists": False}}),
)
sparse = st.none() | st.dictionaries(st.integers(0, 3), st.integers(1, 3).map(float), min_size=1, max_size=2)
things = st.lists(st.tuples(ids_, st.tuples(vectors, sparse, metadata)), max_size=4, unique_by=lambda thing: thing[0])


def operation(op: str, **about: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.tuples(st.just(op), st.sampled_from(NAMES), st.fixed_dictionaries(about))


operations = st.one_of(
    operation("upsert", things=things),
    operation("upsert", things=things),
    operation("update", id=ids_, v=st.none() | vectors, set=st.none() | metadata),
    operation("delete", ids=st.lists(ids_, max_size=3)),
    operation("delete_all"),
    operation("delete_where", filter=filters),
    operation("update_where", filter=filters, set=metadata),
    operation("drop"),
)
mutations = st.lists(st.tuples(st.lists(operations, min_size=1, max_size=4), st.booleans()), min_size=1, max_size=6)
questions = st.lists(
    st.tuples(st.sampled_from(NAMES), vectors, st.integers(1, 4), (st.none() | filters).map(json.dumps)),
    min_size=1,
    max_size=3,
)


def best(
    metric: Metric, here: dict[str, Thing], vector: list[float], filter: dict[str, Any] | None
) -> dict[str, float]:
    """Ids that pass, with their scores as callers see them."""
    found = passing(here, filter or {})
    if not found:
        return {}
    rows = np.array([here[id][0] for id in found], dtype=np.float32)
    values = scores(metric, rows, np.array(vector, dtype=np.float32))
    return {
        id: abs(value) if metric == "euclidean" else value for id, value in zip(found, values.tolist(), strict=True)
    }


def check_best(metric: Metric, told: list[tuple[str, float]], wanted: dict[str, float], top_k: int) -> None:
    order = sorted(wanted.values(), reverse=metric != "euclidean")
    assert [score for _, score in told] == order[:top_k]
    assert all(wanted[id] == score for id, score in told)
    assert len({id for id, _ in told}) == len(told)


async def check_all(sim: Simulation, metric: Metric, name: str, model: Model) -> None:
    """What queries say is what the model says."""
    stats = await sim.query(numbers, name)
    assert stats.namespaces == {namespace: len(here) for namespace, here in model.items()}
    assert stats.records == sum(map(len, model.values()))
    for namespace in NAMES:
        here = model.get(namespace, {})
        assert (await sim.query(ids, name, namespace)).ids == sorted(here)
        stored = await sim.query(fetched, name, namespace)
        assert {r.id: (r.values, _by_index(r.sparse_values), r.metadata) for r in stored} == here
        told = await sim.query(recall, name, namespace, [0.5, -1.0], 3, "null")
        found = [(match.id, match.score) for match in told.matches]
        check_best(metric, found, best(metric, here, [0.5, -1.0], None), 3)


def _by_index(values: rf.SparseValues | None) -> dict[int, float] | None:
    return None if values is None else dict(zip(values.indices, values.values, strict=True))


def copied(model: Model) -> Model:
    return {namespace: dict(here) for namespace, here in model.items()}


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(INDEXES)), mutations, questions, st.booleans())
def test_rule_6_and_8_an_index_is_its_model(
    metric: Metric, work: list[Any], asked: list[Any], interleave: bool
) -> None:
    name = INDEXES[metric].name
    model: Model = {}
    storage = MemoryStorage()

    async def main() -> None:
        nonlocal model
        async with simulate(app, storage=storage, interleave=interleave) as sim:
            latest: list[Any] = [None] * len(asked)

            async def watch(place: int, question: Any) -> None:
                async for result in sim.watch(recall, name, *question):
                    latest[place] = result

            watching = [asyncio.create_task(watch(place, question)) for place, question in enumerate(asked)]
            for ops, fail in work:
                after = copied(model)
                expected = [(on_model(after, *op), dict(after.get(op[1], {}))) for op in ops]
                if fail:
                    with pytest.raises(CallFailed, match="Rollback"):
                        await sim.mutation(change, name, json.dumps(ops), fail)
                else:
                    model = after
                    told = await sim.mutation(change, name, json.dumps(ops), fail)
                    for (result, here), (done, seen, matches) in zip(expected, told, strict=True):
                        assert done == result
                        assert seen == sorted(here)
                        check_best(metric, [tuple(m) for m in matches], best(metric, here, [1.0, 0.5], None), 100)
                await sim.quiet()
                for place, question in enumerate(asked):
                    assert latest[place] == await sim.query(recall, name, *question)
            await check_all(sim, metric, name, model)
            await sim.advance(30)  # what was deleted as a whole is purged meanwhile
            await check_all(sim, metric, name, model)
            for task in watching:
                task.cancel()
        async with simulate(app, storage=storage) as sim:
            await check_all(sim, metric, name, model)

    arun(main())
