from __future__ import annotations

import asyncio
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow import values
from reflow.engine.documents import FIRST_GENERATION
from reflow.engine.mutations import Outcome
from reflow.errors import ReflowError
from reflow.ids import encode_id
from reflow.storage.base import TOP, Snapshot
from reflow.testing import Simulation, simulate
from tests.support import arun


class Item(rf.Table, table="items"):
    name: str
    n: int = 0
    parent: rf.Id[Item] | None = None

    by_name = rf.Index("name", "n")
    words = rf.TextIndex("name")
    meaning = rf.VectorIndex(dims=2)


class Other(rf.Table, table="others"):
    x: int


api = rf.Module("api")


@api.mutation
async def put(ctx: rf.MutationCtx, name: str, n: int, parent: rf.Id[Item] | None, vector: list[float]) -> rf.Id[Item]:
    return await ctx.db.insert(Item(name=name, n=n, parent=parent), vectors={Item.meaning: vector})


@api.mutation
async def change(ctx: rf.MutationCtx, id: rf.Id[Item], fields: dict[str, Any]) -> None:
    await ctx.db.insert(Other(x=1))
    await ctx.db.patch(id, **fields)


@api.mutation
async def remove_then_raise(ctx: rf.MutationCtx, id: rf.Id[Item], error: str) -> None:
    await ctx.scheduler.run_after(0, put, name="late", n=1, parent=None, vector=[1.0, 1.0])
    await ctx.db.delete(id)
    match error:
        case "value":
            raise ValueError("no")
        case "exit":
            raise SystemExit(1)
        case "cancel":
            raise asyncio.CancelledError
        case "data":
            raise rf.ApplicationError({"no": [1]})
        case "bad data":
            raise rf.ApplicationError(object())
        case "await":
            await asyncio.sleep(0.001)
        case _:
            await ctx.db.insert(Item(name="x" * 3000))


@api.mutation
async def wrong_result(ctx: rf.MutationCtx, id: rf.Id[Item]) -> int:
    await ctx.db.patch(id, n=99)
    return "text"  # type: ignore[return-value]


@api.query
async def there(ctx: rf.QueryCtx, id: rf.Id[Item]) -> bool:
    return await ctx.db.get(id) is not None


app = rf.App(modules=[api], limits=rf.Limits(document_bytes=2000, arguments_bytes=4000))


async def everything(snapshot: Snapshot) -> Any:
    """All that a storage of this application holds."""
    tables = [10_001, 10_002, 10_003]
    rows = [await snapshot.scan(table, table, b"", TOP, limit=10_000) for table in tables]
    return [snapshot.ts, rows, await snapshot.undo(0), await snapshot.horizon()]


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
NAMES = st.sampled_from(["name", "n", "parent", "vector", "id", "fields", "error", "extra"])
PATHS = st.sampled_from(["put", "change", "remove_then_raise", "wrong_result"])
RAISES = st.sampled_from(["value", "exit", "cancel", "data", "bad data", "await", "large"])


def failed(outcome: Outcome) -> str:
    failure = outcome.result.failure
    assert failure is not None
    assert outcome.error is None, f"the server did not fail: {outcome.error}"
    assert failure.message.strip()
    return failure.message


async def refused(sim: Simulation, path: str, raw: bytes) -> str | None:
    """The error of a call, None when it was right after all."""
    outcome = await sim.engine.mutation(sim.engine.functions[f"api:{path}"], raw)
    return None if outcome.result.failure is None else failed(outcome)


def unchanged(test: Any) -> None:
    """Runs a test against an application with one document, and sees that nothing is stored that was not before."""

    async def main() -> None:
        async with simulate(app) as sim:
            id = await sim.mutation(put, name="first", n=1, parent=None, vector=[1.0, 0.0])
            before = await _dump(sim)
            if await test(sim, id):
                assert await _dump(sim) == before
            await sim.advance(10)
            if await sim.query(there, id):
                assert await sim.mutation(put, name="after", n=2, parent=id, vector=[0.0, 1.0]), "it goes on"

    arun(main())


async def _dump(sim: Simulation) -> Any:
    await sim.quiet()
    snapshot = await sim.engine.committer.snapshot()
    try:
        place = (sim.engine.catalog.index(Item.meaning)[1].number, FIRST_GENERATION)
        return [await everything(snapshot), sim.engine.vectors.count(place, snapshot.ts)]
    finally:
        await snapshot.close()


@settings(max_examples=150, deadline=None)
@given(PATHS, st.dictionaries(NAMES, JSON, max_size=5))
def test_rule_9_wrong_arguments_get_an_error_and_change_nothing(path: str, arguments: dict[str, Any]) -> None:
    async def test(sim: Simulation, id: str) -> bool:
        return await refused(sim, path, json.dumps(arguments).encode()) is not None

    unchanged(test)


@settings(max_examples=80, deadline=None)
@given(PATHS, st.binary(max_size=20) | st.text(max_size=20).map(str.encode))
def test_rule_9_what_is_no_json_object_gets_an_error_and_changes_nothing(path: str, raw: bytes) -> None:
    async def test(sim: Simulation, id: str) -> bool:
        message = await refused(sim, path, raw)
        assert message is not None
        assert f"api:{path}" in message
        return True

    unchanged(test)


@settings(max_examples=60, deadline=None)
@given(RAISES)
def test_rule_9_a_mutation_that_raises_changes_nothing(error: str) -> None:
    async def test(sim: Simulation, id: str) -> bool:
        assert await refused(sim, "remove_then_raise", values.encode({"id": id, "error": error}))
        return True

    unchanged(test)


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(st.sampled_from(["name", "n", "parent", "_id", "other", "createdAt"]), JSON, min_size=1))
def test_rule_9_a_wrong_patch_changes_nothing(fields: dict[str, Any]) -> None:
    async def test(sim: Simulation, id: str) -> bool:
        try:
            raw = values.encode({"id": id, "fields": fields})
        except ReflowError:
            return True
        return await refused(sim, "change", raw) is not None

    unchanged(test)


BAD_IDS = st.one_of(
    st.text(max_size=40),
    st.tuples(st.integers(1, 20_000), st.integers(0, (1 << 63) - 1), st.binary(min_size=8, max_size=8)).map(
        lambda parts: encode_id(*parts)
    ),
)


@settings(max_examples=80, deadline=None)
@given(BAD_IDS, st.sampled_from(["change", "wrong_result", "remove_then_raise"]))
def test_rule_9_ids_that_name_nothing_change_nothing(bad: str, path: str) -> None:
    async def test(sim: Simulation, id: str) -> bool:
        more: dict[str, Any] = {"change": {"fields": {}}, "remove_then_raise": {"error": "value"}}.get(path, {})
        message = await refused(sim, path, values.encode({"id": bad} | more))
        assert message is not None
        return True

    unchanged(test)


def test_rule_9_a_result_that_is_not_what_was_declared_changes_nothing() -> None:
    async def test(sim: Simulation, id: str) -> bool:
        message = await refused(sim, "wrong_result", values.encode({"id": id}))
        assert message is not None
        assert "ReturnsValidationError: api:wrong_result" in message
        return True

    unchanged(test)


def test_rule_9_oversize_documents_and_arguments_change_nothing() -> None:
    async def test(sim: Simulation, id: str) -> bool:
        args = {"name": "x" * 2500, "n": 1, "parent": None, "vector": [1.0, 2.0]}
        message = await refused(sim, "put", values.encode(args))
        assert message is not None
        assert "limits.document_bytes allows 2000" in message
        message = await refused(sim, "put", values.encode(args | {"name": "x" * 5000}))
        assert message is not None
        assert "limits.arguments_bytes is 4000" in message
        return True

    unchanged(test)
