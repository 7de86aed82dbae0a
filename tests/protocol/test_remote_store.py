"""The adapter for remote stores, over real HTTP against a stand-in for Pinecone behind a proxy that injects faults."""

from __future__ import annotations

import asyncio
import logging
import sys
import traceback
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import reflow as rf
from reflow.errors import (
    InvalidFilter,
    InvalidValue,
    LimitExceeded,
    MissingExtra,
    NoVectorIndex,
    Overloaded,
    ReflowError,
    RetryAfter,
    VectorStoreBusy,
    VectorStoreError,
    VectorStoreUnavailable,
)
from reflow.limits import Limits
from reflow.stores import transport
from reflow.stores.attempts import in_time
from reflow.stores.pinecone import RemoteIndex, RemoteStore, open_store
from reflow.testing.clock import SeededEntropy
from reflow.vectors import Index, Record, SparseValues, Vectors
from tests.support import arun
from tests.support.fault_proxy import FAULTS, Fault, FaultProxy, fault_proxy
from tests.support.pinecone_stand_in import KEY, StandIn, listening

ROWS = [("a", [1, 0, 0]), ("b", [0, 1, 0], {"kind": "note", "tags": ["x", "y"]}), ("c", [0, 0, 1])]
QUICK = Limits(remote_request_seconds=0.3)


class Naps:
    """A clock whose pauses take no time; it remembers them."""

    def __init__(self) -> None:
        self.taken: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.taken.append(seconds)
        await asyncio.sleep(0)


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A remote store, what is behind it, and what is in between."""

    store: RemoteStore
    stand_in: StandIn
    proxy: FaultProxy
    naps: Naps

    @property
    def index(self) -> RemoteIndex:
        """The index that is there from the beginning."""
        return self.store.index("memories")


@asynccontextmanager
async def cloud(limits: Limits = QUICK, key: str = KEY) -> AsyncGenerator[Cloud, None]:
    stand_in, naps = StandIn(), Naps()
    async with listening(stand_in.app()) as port, fault_proxy(port) as proxy:
        store = open_store(proxy.url, {"PINECONE_API_KEY": key}, limits, clock=naps, entropy=SeededEntropy(1))
        try:
            yield Cloud(store=store, stand_in=stand_in, proxy=proxy, naps=naps)
        finally:
            await store.close()


# The face


def test_records_go_there_and_come_back() -> None:
    async def main() -> None:
        async with cloud() as at:
            index: Index = at.index  # the same face as that of the built-in store
            assert await index.upsert(ROWS, namespace="notes") == 3
            hits = await index.query(vector=[0.9, 0.1, 0], top_k=2, namespace="notes")
            assert [match.id for match in hits.matches] == ["a", "b"]
            assert hits.matches[0].score == pytest.approx(0.9)
            assert (hits.matches[0].values, hits.matches[0].metadata) == (None, {})
            found = await index.fetch(["b", "nobody", "a", "b"], namespace="notes")
            assert found == {
                "b": Record(id="b", values=[0, 1, 0], metadata={"kind": "note", "tags": ["x", "y"]}),
                "a": Record(id="a", values=[1, 0, 0]),
            }
            await index.update("b", set_metadata={"kind": "letter"}, namespace="notes")
            found = await index.fetch(["b"], namespace="notes")
            assert found["b"].metadata == {"kind": "letter", "tags": ["x", "y"]}
            await index.delete(["a", "nobody"], namespace="notes")
            assert (await index.list(namespace="notes")).ids == ["b", "c"]

    arun(main())


def test_every_form_of_a_record_is_taken() -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.index.upsert(
                [
                    ("tuple", np.array([1, 0, 0], np.float64)),
                    ("with metadata", (0, 1, 0), {"n": 1}),
                    {"id": "mapping", "values": [0, 0, 1], "metadata": {"gone": None}},
                    Record(id="record", values=[1, 1, 1], sparse_values=SparseValues(indices=[7, 3], values=[1, 2])),
                ]
            )
            assert at.stand_in.spaces[""] == {
                "tuple": {"id": "tuple", "values": [1, 0, 0]},
                "with metadata": {"id": "with metadata", "values": [0, 1, 0], "metadata": {"n": 1}},
                "mapping": {"id": "mapping", "values": [0, 0, 1]},
                "record": {
                    "id": "record",
                    "values": [1, 1, 1],
                    "sparseValues": {"indices": [3, 7], "values": [2, 1]},
                },
            }

    arun(main())


def test_lists_come_page_by_page() -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.index.upsert([(f"{letter}{n}", [1, 0, 0]) for letter in "xy" for n in range(5)])
            first = await at.index.list(prefix="y", limit=3)
            assert (first.ids, first.next is None) == (["y0", "y1", "y2"], False)
            second = await at.index.list(prefix="y", limit=3, pagination_token=first.next)
            assert (second.ids, second.next) == (["y3", "y4"], None)

    arun(main())


def test_an_unknown_namespace_is_an_empty_one() -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.index.delete(["a"], namespace="nothing")
            assert at.proxy.paths["delete"] == 1

    arun(main())


# Batches


def test_no_request_is_larger_than_the_store_takes() -> None:
    async def main() -> None:
        limits = Limits(remote_batch_records=100, remote_batch_bytes=20_000)
        async with cloud(limits) as at:
            small = [(f"s{n}", [1, 0, 0]) for n in range(250)]
            # Characters that JSON writes as six, numbers that it writes at their longest.
            large = [(f"l{n}", [-1.2345678e-05] * 3, {"text": "\x01" * 1000}) for n in range(10)]
            assert await at.index.upsert(small) == 250
            assert at.stand_in.batches == [100, 100, 50]
            assert await at.index.upsert(large) == 10
            assert len(at.stand_in.spaces[""]) == 260
            assert max(at.stand_in.bytes) <= 20_000
            assert at.stand_in.batches[3:] == [3, 3, 3, 1], "a batch holds as many as surely fit"

    arun(main())


def test_only_so_many_requests_are_made_at_a_time() -> None:
    async def main() -> None:
        async with cloud(Limits(remote_requests=3, remote_batch_records=1)) as at:
            at.stand_in.slow = 0.005
            rows = [(f"r{n}", [1, 0, 0]) for n in range(12)]
            await asyncio.gather(at.index.upsert(rows), at.index.upsert(rows))
            assert at.stand_in.most_at_once == 3
            assert sorted(at.stand_in.batches) == [1] * 24

    arun(main())


def test_who_would_wait_too_long_is_refused() -> None:
    async def main() -> None:
        async with cloud(Limits(remote_requests=1, remote_waiting=2)) as at:
            at.stand_in.slow = 0.05
            outcomes = await asyncio.gather(*(at.index.upsert(ROWS) for _ in range(4)), return_exceptions=True)
            assert sorted(str(type(outcome)) for outcome in outcomes) == sorted(map(str, [int, int, int, Overloaded]))
            assert await at.index.upsert(ROWS) == 3, "the places are free again"

    arun(main())


# Bad days


@pytest.mark.parametrize("fault", FAULTS)
def test_a_passing_failure_is_not_seen(fault: Fault) -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.index.list()
            at.proxy.next(fault, fault)
            assert await at.index.upsert(ROWS, namespace="n") == 3
            at.proxy.next(fault)
            assert [match.id for match in (await at.index.query(vector=[0, 1, 0], top_k=1, namespace="n")).matches] == [
                "b"
            ]
            at.proxy.next(fault)
            await at.index.delete(["b"], namespace="n")
            assert at.stand_in.spaces["n"].keys() == {"a", "c"}
            assert at.proxy.met == {fault: 4}
            assert len(at.naps.taken) == 4

    arun(main())


def test_finding_the_index_is_tried_again_too() -> None:
    async def main() -> None:
        async with cloud() as at:
            at.proxy.next("down", "garbage", "hangs")
            assert await at.index.upsert(ROWS) == 3

    arun(main())


def test_each_try_is_one_request_and_there_are_as_many_as_the_limit_says() -> None:
    async def main() -> None:
        async with cloud(Limits(remote_attempts=4)) as at:
            await at.index.list()
            at.proxy.next("down", "down", "down", "down")
            with pytest.raises(VectorStoreUnavailable, match=r"answered a query .* with 503: .*tried 4 times"):
                await at.index.query(vector=[1, 0, 0])
            assert at.proxy.paths["query"] == 4, "the SDK does not try by itself"
            first, second, third = at.naps.taken
            assert 0.25 <= first <= 0.5 <= second <= 1 <= third <= 2

    arun(main())


def test_the_pause_that_the_store_asks_for_is_kept() -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.index.list()
            at.proxy.retry_after = "7"
            at.proxy.next("busy")
            await at.index.query(vector=[1, 0, 0])
            (pause,) = at.naps.taken
            assert 7 <= pause <= 8.75

    arun(main())


def test_a_pause_that_is_too_long_is_left_to_the_scheduler() -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.index.list()
            at.proxy.next("busy_later")
            with pytest.raises(VectorStoreBusy, match="tried once; it asks for a pause of 3600 s") as caught:
                await at.index.query(vector=[1, 0, 0])
            assert isinstance(caught.value, RetryAfter)
            assert caught.value.seconds == 3600, "a day is not believed"
            assert at.naps.taken == []

    arun(main())


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ("hangs", VectorStoreUnavailable, "did not answer an upsert .* in time"),
        ("lost", VectorStoreUnavailable, "can't be reached for an upsert"),
        ("garbage", VectorStoreError, "is REFLOW_VECTORS_URL right"),
        ("strange", VectorStoreError, "is REFLOW_VECTORS_URL right"),
    ],
)
def test_a_failure_that_stays_is_told(fault: Fault, kind: type[Exception], text: str) -> None:
    async def main() -> None:
        async with cloud(Limits(remote_request_seconds=0.1, remote_attempts=2)) as at:
            await at.index.list()
            at.proxy.next(fault, fault)
            with pytest.raises(kind, match=text):
                await at.index.upsert(ROWS)
            assert await at.index.upsert(ROWS) == 3

    arun(main())


def test_a_store_that_is_not_there() -> None:
    async def main() -> None:
        store = open_store("http://127.0.0.1:9", {"PINECONE_API_KEY": KEY}, clock=Naps())
        with pytest.raises(VectorStoreUnavailable, match=r"http://127\.0\.0\.1:9 can't be reached"):
            await store.index("memories").list()
        await store.close()

    arun(main())


def test_a_package_that_cancels_its_own_task_does_not_cancel_the_caller() -> None:
    async def ends_itself() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await asyncio.sleep(60)

    async def main() -> None:
        caller = asyncio.current_task()
        for work in (ends_itself(), asyncio.sleep(60)):
            with pytest.raises(TimeoutError):
                await in_time(0.05, work)
        assert caller is not None
        assert caller.cancelling() == 0
        assert asyncio.all_tasks() == {caller}, "nothing goes on behind the caller's back"

    arun(main())


def test_a_cancelled_call_leaves_its_place_to_others() -> None:
    async def main() -> None:
        async with cloud(Limits(remote_requests=1)) as at:
            await at.index.list()
            at.proxy.next("hangs")
            waiting = asyncio.create_task(at.index.query(vector=[1, 0, 0]))
            while not at.proxy.met:
                await asyncio.sleep(0.001)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            assert (await at.index.query(vector=[1, 0, 0])).matches == []

    arun(main())


# Refusals


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (400, {"code": 3, "message": "no such operator", "details": []}, InvalidValue, "no such operator"),
        (422, {"error": {"code": "UNPROCESSABLE_ENTITY", "message": "not so"}}, InvalidValue, "not so"),
        (402, {"error": {"code": "PAYMENT_REQUIRED", "message": "pay first"}}, VectorStoreError, "pay first"),
        (
            403,
            {"error": {"code": "QUOTA_EXCEEDED", "message": "full"}},
            VectorStoreError,
            "does not allow a query.*full",
        ),
        (409, {"code": 6, "message": "there already", "details": []}, VectorStoreError, "there already"),
        (412, "later", VectorStoreError, "412: later"),
        (401, f"Invalid API Key: {KEY}", VectorStoreError, r"PINECONE_API_KEY: Invalid API Key: \*\*\*"),
        (400, "x" * 10_000, InvalidValue, "x{300}"),
    ],
)
def test_a_refusal_is_told_once_and_says_what_to_do(status: int, body: Any, kind: type[Exception], text: str) -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.index.list()
            at.stand_in.error = (status, body)
            with pytest.raises(kind, match=text) as caught:
                await at.index.query(vector=[1, 0, 0])
            assert at.naps.taken == [], "what is refused is not tried again"
            assert len(str(caught.value)) < 1000

    arun(main())


def test_no_text_holds_the_key(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        caplog.set_level(logging.DEBUG)
        async with cloud(key="pc-secret-key") as at:
            with pytest.raises(VectorStoreError) as caught:
                await at.index.list()
            assert "Invalid API Key" in str(caught.value)
            told = "".join(traceback.format_exception(caught.value))
            for text in (told, repr(at.store), repr(at.store.account), str(at.store.account), caplog.text):
                assert "secret" not in text

    arun(main())


def test_the_wrong_dimensions_are_the_stores_to_refuse() -> None:
    async def main() -> None:
        async with cloud() as at:
            with pytest.raises(InvalidValue, match="Vector dimension 2 does not match the dimension of the index 3"):
                await at.index.upsert([("a", [1, 0])])

    arun(main())


Call = Callable[[RemoteIndex], Awaitable[object]]

BAD_CALLS: list[tuple[Call, type[Exception], str]] = [
    (lambda i: i.upsert([("a", [1, float("nan"), 0])]), InvalidValue, r"record 0 \('a'\): .*finite"),
    (lambda i: i.upsert([("a", [1, 1e39, 0])]), InvalidValue, "finite"),
    (lambda i: i.upsert([("a", [[1, 0, 0]])]), InvalidValue, "one dimension"),
    (lambda i: i.upsert([("a", [])]), InvalidValue, "at least one value"),
    (lambda i: i.upsert([("a", ["x"])]), InvalidValue, "numbers"),
    (lambda i: i.upsert([("", [1, 0, 0])]), InvalidValue, "must not be empty"),
    (lambda i: i.upsert([("ä", [1, 0, 0])]), InvalidValue, "must be ASCII"),
    (lambda i: i.upsert([("x" * 513, [1, 0, 0])]), InvalidValue, "at most 512 characters"),
    (lambda i: i.upsert([("a", [1, 0, 0]), ("a", [0, 1, 0])]), InvalidValue, "'a' is given twice"),
    (lambda i: i.upsert([("a", [1, 0, 0], {"n": {"nested": 1}})]), InvalidValue, "Metadata value must be"),
    (lambda i: i.upsert([("a", [1, 0, 0], {"text": "x" * 41_000})]), InvalidValue, "limits.metadata_bytes"),
    (lambda i: i.upsert([{"id": "a", "vector": [1]}]), InvalidValue, "a record has"),
    (lambda i: i.upsert([{"id": "a"}]), InvalidValue, "neither values nor sparse_values"),
    (lambda i: i.upsert([{"id": "a", "sparse_values": {"indices": [1]}}]), InvalidValue, "`indices` and `values`"),
    (lambda i: i.upsert(["ab"]), InvalidValue, "record 0 is a str"),  # pyright: ignore[reportArgumentType]
    (lambda i: i.upsert(ROWS, namespace="ä"), InvalidValue, "a namespace's name"),
    (lambda i: i.query(), InvalidValue, "a query needs"),
    (lambda i: i.query(vector=[1, 0, 0], id="a"), InvalidValue, "a query needs"),
    (lambda i: i.query(vector=[1, 0, 0], top_k=0), InvalidValue, "top_k must be 1 to 10000"),
    (lambda i: i.query(vector=[1, 0, 0], filter={"a": {"$regex": "b"}}), InvalidFilter, "regex"),
    (lambda i: i.delete(), InvalidValue, "ids, a filter or delete_all"),
    (lambda i: i.delete(["a"], delete_all=True), InvalidValue, "only one"),
    (lambda i: i.delete(filter={}), InvalidFilter, "empty filter"),
    (lambda i: i.update("a"), InvalidValue, "an update needs"),
    (lambda i: i.update_by_filter({}, set_metadata={"a": 1}), InvalidFilter, "empty filter"),
    (lambda i: i.list(limit=101), InvalidValue, "limit must be 1 to 100"),
]


@pytest.mark.parametrize(("call", "kind", "text"), BAD_CALLS)
def test_rule_9_bad_input_is_refused_before_anything_is_sent(call: Call, kind: type[Exception], text: str) -> None:
    async def main() -> None:
        async with cloud() as at:
            with pytest.raises(kind, match=text):
                await call(at.index)
            assert not at.proxy.paths

    arun(main())


# Indexes


def test_an_index_that_nobody_declared_must_be_there() -> None:
    async def main() -> None:
        async with cloud() as at:
            with pytest.raises(NoVectorIndex, match="has no index 'dreams': create it there, or declare it"):
                await at.store.index("dreams").list()
            assert "dreams" not in at.stand_in.indexes

    arun(main())


def test_a_declared_index_is_made_even_when_the_answer_is_lost() -> None:
    async def main() -> None:
        async with cloud() as at:
            at.proxy.next(None, "lost")
            await at.store.index(Vectors("dreams", dims=3, metric="euclidean")).upsert(ROWS)
            assert at.stand_in.indexes["dreams"] == {"dimension": 3, "metric": "euclidean"}
            assert at.proxy.met == {"lost": 1}

    arun(main())


def test_a_declared_sparse_index_is_made() -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.store.index(Vectors("words", sparse=True)).list()
            assert at.stand_in.indexes["words"] == {"metric": "dotproduct"}

    arun(main())


def test_an_index_of_another_shape_is_not_used() -> None:
    async def main() -> None:
        async with cloud() as at:
            index = at.store.index(Vectors("memories", dims=384))
            with pytest.raises(NoVectorIndex, match=r"of 3 dimensions \(cosine\); declared is of 384 dimensions \(cos"):
                await index.upsert(ROWS)

    arun(main())


def test_an_index_that_was_made_anew_is_found_again() -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.index.upsert(ROWS)
            at.stand_in.generation = 2
            assert await at.index.upsert(ROWS) == 3
            assert len((await at.index.query(vector=[1, 0, 0])).matches) == 3

    arun(main())


def test_an_index_stays_in_use_while_the_control_plane_is_down() -> None:
    async def main() -> None:
        async with cloud(Limits(remote_attempts=2)) as at:
            await at.index.upsert(ROWS)
            at.proxy.next("lost", "lost")  # out of reach: the index may be somewhere else now
            with pytest.raises(VectorStoreUnavailable):
                await at.index.query(vector=[1, 0, 0])
            at.proxy.next("down", "down")  # who knows where is not there
            assert len((await at.index.query(vector=[1, 0, 0])).matches) == 3
            assert (at.proxy.paths["memories"], at.proxy.paths["query"]) == (3, 3)
            at.proxy.next("down", "down")
            with pytest.raises(VectorStoreUnavailable):
                await at.index.query(vector=[1, 0, 0])
            await at.index.query(vector=[1, 0, 0])
            assert at.proxy.paths["memories"] == 3, "who answers is there"

    arun(main())


def test_an_index_that_was_deleted_is_missed() -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.index.upsert(ROWS)
            at.stand_in.generation = 2
            del at.stand_in.indexes["memories"]
            with pytest.raises(NoVectorIndex, match="has no index 'memories'"):
                await at.index.query(vector=[1, 0, 0])

    arun(main())


def test_only_so_many_indexes_are_in_use() -> None:
    async def main() -> None:
        async with cloud(Limits(remote_indexes=2)) as at:
            assert at.store.index("one") is at.store.index("one")
            at.store.index("two")
            with pytest.raises(LimitExceeded, match=r"limits\.remote_indexes"):
                at.store.index("three")

    arun(main())


# Read your writes


def test_settled_returns_when_queries_see_what_was_written() -> None:
    async def main() -> None:
        async with cloud() as at:
            await at.index.upsert(ROWS, namespace="n")
            await at.index.delete(["a"], namespace="n")
            at.stand_in.lag = 3
            await at.index.settled(namespace="n")
            assert (at.stand_in.indexed, len(at.naps.taken)) == (2, 3)
            asked = at.proxy.paths["query"]
            await at.index.settled(namespace="n")
            await at.index.settled(namespace="other")
            assert at.proxy.paths["query"] == asked, "there is nothing to wait for any more"

    arun(main())


def test_settled_gives_up_when_the_store_does_not_catch_up() -> None:
    async def main() -> None:
        async with cloud(Limits(remote_settle_seconds=5)) as at:
            await at.index.upsert(ROWS)
            at.stand_in.lag = 1000
            with pytest.raises(VectorStoreUnavailable, match=r"limits\.remote_settle_seconds"):
                await at.index.settled()
            assert 5 <= sum(at.naps.taken) <= 15

    arun(main())


def test_a_store_that_tells_no_positions_is_not_waited_for() -> None:
    async def main() -> None:
        async with cloud() as at:
            at.stand_in.tells_positions = False
            await at.index.upsert(ROWS)
            await at.index.settled()
            assert at.naps.taken == []

    arun(main())


# In an application


things = rf.Module("things")
memories = rf.Vectors("memories", dims=3)


@things.query
async def recall(ctx: rf.QueryCtx) -> rf.QueryResult:
    return await ctx.vectors.index(memories).query(vector=[1, 0, 0])


@things.mutation
async def learn(ctx: rf.MutationCtx) -> int:
    return await ctx.vectors.index(memories).upsert([("a", [1, 0, 0])])


@things.action
async def ask(ctx: rf.ActionCtx, index: str | None = None) -> list[str]:
    chosen = ctx.vectors.index(memories if index is None else index)
    await chosen.upsert([("a", [1, 0, 0])])
    return (await chosen.list()).ids


def test_a_remote_store_is_used_from_actions() -> None:
    async def main() -> None:
        async with cloud() as at:
            settings = {"REFLOW_VECTORS_URL": at.proxy.url, "PINECONE_API_KEY": KEY}
            app = rf.App(modules=[things], environment=settings)
            async with app.in_memory() as backend:
                assert await backend.action(ask) == ["a"]
                assert await backend.action(ask, index="memories") == ["a"]
                with pytest.raises(rf.ReflowError, match="has no index 'dreams'"):
                    await backend.action(ask, index="dreams")

    arun(main())


def test_queries_and_mutations_are_told_what_to_do_instead() -> None:
    async def main() -> None:
        settings = {"REFLOW_VECTORS_URL": "https://user:pw@store.example", "PINECONE_API_KEY": KEY}
        async with rf.App(modules=[things], environment=settings).in_memory() as backend:
            for call in (backend.query(recall), backend.mutation(learn)):
                with pytest.raises(rf.ReflowError, match="used from actions only") as caught:
                    await call
                assert "unset REFLOW_VECTORS_URL" in str(caught.value)
                assert "pw" not in str(caught.value)

    arun(main())


# Settings


@pytest.mark.parametrize(
    ("url", "key", "text"),
    [
        ("api.pinecone.io", KEY, "REFLOW_VECTORS_URL is no address"),
        ("ftp://api.pinecone.io", KEY, "REFLOW_VECTORS_URL is no address"),
        ("http://", KEY, "REFLOW_VECTORS_URL is no address"),
        ("http://host:port", KEY, "REFLOW_VECTORS_URL is no address"),
        ("https://api.pinecone.io", "", "PINECONE_API_KEY is not: the store at https://api.pinecone.io wants a key"),
        ("https://api.pinecone.io", "two words", "PINECONE_API_KEY holds characters"),
    ],
)
def test_a_wrong_setting_is_named(url: str, key: str, text: str) -> None:
    with pytest.raises(VectorStoreError, match=text) as caught:
        open_store(url, {"PINECONE_API_KEY": key})
    assert not key or key not in str(caught.value)


def test_a_password_in_the_address_is_not_told() -> None:
    store = open_store("https://user:pw@store.example:8443/path/", {"PINECONE_API_KEY": f" {KEY}\n"})
    assert repr(store) == "RemoteStore('https://store.example:8443')"
    assert store.account.key == KEY


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pinecone", None)
    store = open_store("https://api.pinecone.io", {"PINECONE_API_KEY": KEY})
    with pytest.raises(MissingExtra, match=r'pip install "reflow\[pinecone\]"'):
        arun(store.index("memories").list())


def test_an_sdk_with_another_inside_still_works(caplog: pytest.LogCaptureFixture) -> None:
    transport.make_plain(object())
    assert "goes on trying by itself" in caplog.text


def test_errors_of_stores_are_reflows() -> None:
    assert issubclass(VectorStoreError, ReflowError)
    assert VectorStoreBusy(2, "wait").seconds == 2
    assert str(VectorStoreBusy(2, "wait")) == "wait"
