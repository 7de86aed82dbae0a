"""Every call of the official PyPI client, in any of its versions, blocking or not, against one server.

`python pinecone_scenario.py PACKAGES URL KEY blocking|async` prints the names of the steps it has gone, as JSON.
Not a test by itself: it runs in a process of its own, with PACKAGES first on its path.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import sys
import warnings
from typing import Any

PACKAGES, URL, KEY, MODE = sys.argv[1:]
sys.path.insert(0, PACKAGES)
warnings.simplefilter("ignore")

import pinecone  # noqa: E402
from pinecone import exceptions  # noqa: E402

MAJOR = int(getattr(pinecone, "__version__", "0").split(".")[0])
ASYNC = MODE == "async"
SPEC = {"serverless": {"cloud": "aws", "region": "us-east-1"}}
MODEL = "local/minilm-l6-v2"


async def now(value: Any) -> Any:
    """What a call of either kind of client gives."""
    return await value if inspect.isawaitable(value) else value


async def everything(pages: Any) -> list[Any]:
    """What an iterator of either kind gives."""
    pages = await now(pages)
    return [page async for page in pages] if hasattr(pages, "__aiter__") else list(pages)


async def refused(call: Any, status: int, words: str = "") -> None:
    """The server must have refused this, with the client's own exception class for that status."""
    kind = {
        401: exceptions.UnauthorizedException,
        403: exceptions.ForbiddenException,
        404: exceptions.NotFoundException,
    }.get(status, exceptions.PineconeApiException)
    try:
        answer = await now(call())
    except kind as caught:
        error = caught
    else:
        raise AssertionError(f"not refused: {answer}")
    assert status_of(error) == status, error
    assert words in str(error), error


def status_of(error: Any) -> int:
    """The HTTP status behind an exception."""
    return getattr(error, "status", None) or error.status_code


async def rejected(call: Any) -> None:
    """Refused by the server, or by the client before that: versions differ."""
    try:
        answer = await now(call())
    except exceptions.PineconeApiException as caught:
        error = caught
    except (exceptions.PineconeException, ValueError, TypeError):
        return
    else:
        raise AssertionError(f"not refused: {answer}")
    assert 400 <= status_of(error) < 500, error


def client(key: str = KEY) -> Any:
    """A client of this version and kind."""
    if not ASYNC:
        return pinecone.Pinecone(api_key=key, host=URL)
    kind = pinecone.AsyncPinecone if MAJOR >= 9 else pinecone.PineconeAsyncio
    return kind(api_key=key, host=URL)


opened: list[Any] = []


def at(pc: Any, host: str) -> Any:
    """An index by its host."""
    opened.append(pc.IndexAsyncio(host=host) if ASYNC else pc.Index(host=host))
    return opened[-1]


async def handle(pc: Any, name: str) -> Any:
    """An index by name."""
    host = (await now(pc.describe_index(name))).host
    assert host.startswith("http://"), host
    return at(pc, host) if ASYNC else pc.Index(name=name)


def near(found: Any, wanted: list[float]) -> None:
    """The same vector, as 32-bit floats keep it."""
    assert len(found) == len(wanted), (found, wanted)
    assert all(abs(a - b) < 1e-6 for a, b in zip(found, wanted, strict=True)), (found, wanted)


def scores(result: Any) -> list[float]:
    """The scores of a query's matches."""
    return [round(match.score, 5) for match in result.matches]


def ids(result: Any) -> list[str]:
    """The ids of a query's matches."""
    return [match.id for match in result.matches]


def listed(page: Any) -> list[str]:
    """The ids of a page of ids."""
    items = page if isinstance(page, list) else page.vectors
    return [item if isinstance(item, str) else item.id for item in items]


def search(index: Any, query: dict[str, Any], namespace: str = "texts", **more: Any) -> Any:
    """A search for records, as versions spell it."""
    if MAJOR >= 9:
        return index.search(namespace=namespace, **query, **more)
    return index.search(namespace=namespace, query=query, **more)


def hits_of(found: Any) -> list[tuple[str, float, dict[str, Any]]]:
    """Id, score and fields of what a search has found."""
    hits = found.result.hits
    if MAJOR >= 9:
        return [(hit.id, hit.score, dict(hit.fields)) for hit in hits]
    return [(hit["_id"], hit["_score"], hit["fields"]) for hit in hits]


def plain(value: Any) -> Any:
    """A mapping of any version as a dict."""
    return value.to_dict() if hasattr(value, "to_dict") else value


def names(indexes: Any) -> list[str]:
    """The names in a list of indexes."""
    return indexes.names() if callable(getattr(indexes, "names", None)) else [found.name for found in indexes]


class Scenario:
    """The steps, in order."""

    def __init__(self, pc: Any) -> None:
        self.pc = pc
        self.name = f"scenario-{MODE}-{MAJOR}"
        self.index: Any = None

    async def control_plane(self) -> None:
        """Create, list, describe, configure."""
        pc, name = self.pc, self.name
        assert not await now(pc.has_index(name))
        made = await now(pc.create_index(name=name, dimension=4, metric="cosine", spec=SPEC, tags={"team": "search"}))
        assert (made.name, made.dimension, made.metric) == (name, 4, "cosine")
        assert made.status.ready
        found = await now(pc.describe_index(name))
        assert (found.dimension, found.metric, found.vector_type) == (4, "cosine", "dense")
        assert found.spec.serverless.region == "us-east-1"
        assert found.deletion_protection == "disabled"
        assert plain(found.tags) == {"team": "search"}
        assert name in names(await now(pc.list_indexes()))
        assert await now(pc.has_index(name))
        await now(pc.configure_index(name=name, tags={"team": "", "stage": "test"}, deletion_protection="enabled"))
        found = await now(pc.describe_index(name))
        assert plain(found.tags) == {"stage": "test"}
        assert found.deletion_protection == "enabled"
        await refused(lambda: pc.delete_index(name), 403, "protection")
        await refused(lambda: pc.create_index(name=name, dimension=4, metric="cosine", spec=SPEC), 409)
        await rejected(lambda: pc.create_index(name="Bad_Name", dimension=4, metric="cosine", spec=SPEC))
        await rejected(lambda: pc.create_index(name="large", dimension=20_001, metric="cosine", spec=SPEC))
        await rejected(lambda: pc.create_index(name="odd", dimension=4, metric="manhattan", spec=SPEC))
        await refused(lambda: pc.describe_index("missing"), 404)
        await refused(lambda: pc.delete_index("missing"), 404)
        assert names(await now(pc.list_collections())) == []
        assert len(list(await now(pc.list_backups()))) == 0
        await rejected(lambda: pc.create_collection(name="copy", source=name))
        await rejected(lambda: pc.create_backup(index_name=name, backup_name="copy"))

    async def new_shape(self) -> None:
        """Create by schema and deployment, as from 2026-07 on."""
        pc, name = self.pc, f"{self.name}-schema"
        await now(
            pc.indexes.create(
                name=name,
                schema={"fields": {"_values": {"type": "dense_vector", "dimension": 3, "metric": "dotproduct"}}},
                deployment={"deployment_type": "managed", "cloud": "gcp", "region": "europe-west1"},
            )
        )
        found = await now(pc.indexes.describe(name))
        assert (found.dimension, found.metric) == (3, "dotproduct")
        assert found.deployment.region == "europe-west1"
        assert found.schema.fields["_values"].dimension == 3
        await now(pc.indexes.configure(name, tags={"a": "b"}))
        fields = {"text": {"type": "string", "full_text_search": {}}}
        await refused(lambda: pc.indexes.create(name="documents", schema={"fields": fields}), 400, "schema")
        documents = (await handle(pc, name)).documents
        await refused(lambda: documents.upsert(namespace="n", documents=[{"_id": "1", "_values": [1.0]}]), 400)
        await now(pc.indexes.delete(name))
        assert not await now(pc.has_index(name))

    async def writing(self) -> None:
        """Upserts: one, several, in batches; what is overwritten is gone."""
        index = self.index = await handle(self.pc, self.name)
        told = await now(
            index.upsert(
                vectors=[
                    {"id": "a", "values": [1.0, 0.0, 0.0, 0.0], "metadata": {"kind": "note", "year": 2020}},
                    {"id": "b", "values": [0.0, 1.0, 0.0, 0.0], "metadata": {"kind": "book", "tags": ["x", "y"]}},
                    ("c", [0.5, 0.5, 0.0, 0.0], {"kind": "note", "year": 2024, "pinned": True}),
                    ("d", [0.0, 0.0, 1.0, 0.0]),
                ],
            )
        )
        assert told.upserted_count == 4
        many = [(f"doc{number:03}#1", [1.0, number / 100, 0.0, 1.0]) for number in range(230)]
        told = await now(index.upsert(vectors=many, namespace="many", batch_size=100, show_progress=False))
        assert told.upserted_count == 230
        assert (await now(index.upsert(vectors=[("d", [0.0, 0.0, 0.0, 1.0])]))).upserted_count == 1
        near((await now(index.fetch(ids=["d"]))).vectors["d"].values, [0.0, 0.0, 0.0, 1.0])

    async def positions(self) -> None:
        """A write's position in the log is covered by the next read's."""
        told = await now(self.index.upsert(vectors=[("lsn", [1.0, 1.0, 1.0, 1.0])], namespace="lsn"))
        found = await now(self.index.query(vector=[1.0, 1.0, 1.0, 1.0], top_k=1, namespace="lsn"))
        assert ids(found) == ["lsn"]
        if MAJOR == 8:
            written = int(told._response_info["raw_headers"]["x-pinecone-request-lsn"])
            assert int(found._response_info["raw_headers"]["x-pinecone-max-indexed-lsn"]) >= written > 0
        elif MAJOR >= 9:
            assert told.response_info.lsn_committed > 0
            assert found.response_info.is_reconciled(told.response_info.lsn_committed)

    async def querying(self) -> None:
        """By vector and by id, with values and metadata, in namespaces that are there and not."""
        index = self.index
        found = await now(index.query(vector=[1.0, 0.0, 0.0, 0.0], top_k=3, include_metadata=True))
        assert ids(found)[:2] == ["a", "c"]
        assert scores(found)[:2] == [1.0, 0.70711]
        assert found.matches[0].metadata == {"kind": "note", "year": 2020}
        assert found.usage.read_units is not None
        found = await now(index.query(id="b", top_k=1, include_values=True))
        assert ids(found) == ["b"]
        near(found.matches[0].values, [0.0, 1.0, 0.0, 0.0])
        assert not found.matches[0].metadata
        assert ids(await now(index.query(vector=[1.0] * 4, top_k=5, namespace="nowhere"))) == []
        assert len(ids(await now(index.query(vector=[1.0] * 4, top_k=1000, namespace="many")))) == 230
        merged = await now(index.query_namespaces(vector=[1.0] * 4, namespaces=["", "many"], metric="cosine", top_k=5))
        assert len(merged.matches) == 5

    async def filters(self) -> None:
        """The whole language."""
        cases: list[tuple[dict[str, Any], list[str]]] = [
            ({"kind": "note"}, ["a", "c"]),
            ({"kind": {"$eq": "book"}}, ["b"]),
            ({"kind": {"$ne": "note"}}, ["b"]),
            ({"year": {"$gt": 2020}}, ["c"]),
            ({"year": {"$gte": 2020, "$lt": 2024}}, ["a"]),
            ({"year": {"$lte": 2020}}, ["a"]),
            ({"kind": {"$in": ["note", "book"]}}, ["a", "b", "c"]),
            ({"kind": {"$nin": ["book"]}}, ["a", "c"]),
            ({"tags": "x"}, ["b"]),
            ({"pinned": True}, ["c"]),
            ({"year": {"$exists": True}}, ["a", "c"]),
            ({"$and": [{"kind": "note"}, {"year": {"$lt": 2021}}]}, ["a"]),
            ({"$or": [{"kind": "book"}, {"year": 2024}]}, ["b", "c"]),
            ({"year": "2020"}, []),
            ({}, ["a", "b", "c", "d"]),
        ]
        for filter, wanted in cases:
            found = await now(self.index.query(vector=[1.0] * 4, top_k=10, filter=filter))
            assert sorted(ids(found)) == wanted, (filter, ids(found))

    async def fetching(self) -> None:
        """By id and by metadata; ids page by page."""
        index = self.index
        found = await now(index.fetch(ids=["a", "c", "nobody"]))
        assert sorted(found.vectors) == ["a", "c"]
        near(found.vectors["c"].values, [0.5, 0.5, 0.0, 0.0])
        assert found.vectors["c"].metadata == {"kind": "note", "year": 2024, "pinned": True}
        assert len((await now(index.fetch(ids=["a"], namespace="nowhere"))).vectors) == 0
        if MAJOR >= 8:
            found = await now(index.fetch_by_metadata(filter={"kind": "note"}))
            assert sorted(found.vectors) == ["a", "c"]
            first = await now(index.fetch_by_metadata(filter={"kind": "note"}, limit=1))
            rest = await now(
                index.fetch_by_metadata(filter={"kind": "note"}, limit=1, pagination_token=first.pagination.next)
            )
            assert sorted([*first.vectors, *rest.vectors]) == ["a", "c"]
        pages = [listed(page) for page in await everything(index.list(namespace="many", limit=100))]
        assert [len(page) for page in pages] == [100, 100, 30]
        assert [id for page in pages for id in page] == [f"doc{number:03}#1" for number in range(230)]
        found = [listed(page) for page in await everything(index.list(prefix="doc02", namespace="many"))]
        assert found == [[f"doc{number:03}#1" for number in range(20, 30)]]
        page = await now(index.list_paginated(prefix="doc", limit=3, namespace="many"))
        assert listed(page) == ["doc000#1", "doc001#1", "doc002#1"]
        page = await now(
            index.list_paginated(prefix="doc", limit=2, namespace="many", pagination_token=page.pagination.next)
        )
        assert listed(page) == ["doc003#1", "doc004#1"]

    async def updating(self) -> None:
        """Values and metadata of one record; metadata of all that pass a filter."""
        index = self.index
        await now(index.update(id="a", values=[0.0, 0.0, 2.0, 0.0]))
        await now(index.update(id="a", set_metadata={"year": 2021, "new": "yes"}))
        await now(index.update(id="nobody", set_metadata={"year": 1}))
        found = (await now(index.fetch(ids=["a", "nobody"]))).vectors
        assert sorted(found) == ["a"]
        near(found["a"].values, [0.0, 0.0, 2.0, 0.0])
        assert found["a"].metadata == {"kind": "note", "year": 2021, "new": "yes"}
        if MAJOR >= 8:
            told = await now(index.update(filter={"kind": "note"}, set_metadata={"seen": True}, dry_run=True))
            assert told.matched_records == 2
            assert "seen" not in (await now(index.fetch(ids=["a"]))).vectors["a"].metadata
            told = await now(index.update(filter={"kind": "note"}, set_metadata={"seen": True}))
            assert told.matched_records == 2
            assert (await now(index.fetch(ids=["c"]))).vectors["c"].metadata["seen"] is True

    async def deleting(self) -> None:
        """By id, by filter, all of a namespace."""
        index = self.index
        await now(index.delete(ids=["d", "nobody"]))
        assert sorted((await now(index.fetch(ids=["a", "d"]))).vectors) == ["a"]
        await now(index.delete(filter={"kind": "book"}))
        assert ids(await now(index.query(vector=[0.0, 1.0, 0.0, 0.0], top_k=10, filter={"kind": "book"}))) == []
        await now(index.upsert(vectors=[("x", [1.0] * 4)], namespace="soon gone"))
        await now(index.delete(delete_all=True, namespace="soon gone"))
        assert ids(await now(index.query(vector=[1.0] * 4, top_k=5, namespace="soon gone"))) == []
        await refused(lambda: index.delete(ids=["a"], namespace="nowhere"), 404)
        await refused(lambda: index.delete(delete_all=True, namespace="nowhere"), 404)
        await rejected(lambda: index.delete(ids=["a"], delete_all=True))

    async def numbers(self) -> None:
        """Statistics, and namespaces as things of their own."""
        index = self.index
        stats = await now(index.describe_index_stats())
        assert stats.dimension == 4
        assert stats.namespaces["many"].vector_count == 230
        assert stats.namespaces["__default__"].vector_count == 2
        assert stats.total_vector_count == 233
        found = await now(index.describe_namespace(namespace="many"))
        assert (found.name, int(found.record_count)) == ("many", 230)
        pages = await everything(index.list_namespaces())
        listed = [found.name for page in pages for found in getattr(page, "namespaces", None) or [page]]
        assert {"__default__", "many", "lsn"} <= set(listed)
        page = await now(index.list_namespaces_paginated(limit=1))
        assert len(page.namespaces) == 1
        assert page.pagination.next
        if MAJOR >= 8:
            made = await now(index.create_namespace(name="made"))
            assert (made.name, int(made.record_count)) == ("made", 0)
            await refused(lambda: index.create_namespace(name="made"), 409)
        await now(index.delete_namespace(namespace="many"))
        await refused(lambda: index.describe_namespace(namespace="many"), 404)
        await refused(lambda: index.delete_namespace(namespace="many"), 404)
        assert (await now(index.describe_index_stats())).total_vector_count == 3

    async def sparse(self) -> None:
        """Sparse vectors in an index of their own, and dense and sparse together."""
        pc, name = self.pc, f"{self.name}-sparse"
        made = await now(pc.create_index(name=name, vector_type="sparse", metric="dotproduct", spec=SPEC))
        assert made.vector_type == "sparse"
        index = await handle(pc, name)
        await now(
            index.upsert(
                vectors=[
                    {"id": "one", "sparse_values": {"indices": [1, 5], "values": [1.0, 2.0]}},
                    {"id": "two", "sparse_values": {"indices": [4294967295], "values": [3.0]}},
                ]
            )
        )
        found = await now(index.query(sparse_vector={"indices": [5, 9], "values": [0.5, 1.0]}, top_k=5))
        assert (ids(found), scores(found)) == (["one"], [1.0])
        vector = (await now(index.fetch(ids=["two"]))).vectors["two"]
        assert list(vector.sparse_values.indices) == [4294967295]
        await now(index.update(id="two", sparse_values={"indices": [9], "values": [4.0]}))
        found = await now(index.query(sparse_vector={"indices": [5, 9], "values": [0.5, 1.0]}, top_k=5))
        assert (ids(found), scores(found)) == (["two", "one"], [4.0, 1.0])
        await now(pc.delete_index(name))

    async def hybrid(self) -> None:
        """Dense and sparse in one record and one query: the sum of both products."""
        pc, name = self.pc, f"{self.name}-hybrid"
        await now(pc.create_index(name=name, dimension=2, metric="dotproduct", spec=SPEC))
        index = await handle(pc, name)
        parts = {"indices": [7], "values": [10.0]}
        await now(
            index.upsert(
                vectors=[
                    {"id": "both", "values": [1.0, 0.0], "sparse_values": parts},
                    {"id": "dense", "values": [3.0, 0.0]},
                ]
            )
        )
        assert ids(await now(index.query(vector=[1.0, 0.0], top_k=2))) == ["dense", "both"]
        found = await now(index.query(vector=[1.0, 0.0], sparse_vector=parts, top_k=2))
        assert (ids(found), scores(found)) == (["both", "dense"], [101.0, 3.0])
        await now(pc.delete_index(name))
        name = f"{self.name}-euclid"
        await now(pc.create_index(name=name, dimension=2, metric="euclidean", spec=SPEC))
        index = await handle(pc, name)
        await now(index.upsert(vectors=[("near", [1.0, 0.0]), ("far", [0.0, 3.0])]))
        found = await now(index.query(vector=[0.0, 0.0], top_k=2))
        assert (ids(found), scores(found)) == (["near", "far"], [1.0, 9.0])
        await now(pc.delete_index(name))

    async def integrated(self) -> None:
        """Texts in, texts asked."""
        pc, name = self.pc, f"{self.name}-texts"
        embed = {"model": MODEL, "field_map": {"text": "chunk_text"}}
        made = await now(pc.create_index_for_model(name=name, cloud="aws", region="us-east-1", embed=embed))
        assert made.embed.model == MODEL
        assert made.embed.field_map == {"text": "chunk_text"}
        index = await handle(pc, name)
        records = [
            {"_id": "1", "chunk_text": "Apples are a sweet fruit that grows on trees.", "group": "fruit"},
            {"_id": "2", "chunk_text": "The company released a new telephone.", "group": "business"},
            {"id": "3", "chunk_text": "Bananas are yellow and rich in potassium.", "group": "fruit", "year": 2024},
        ]
        await now(index.upsert_records(namespace="texts", records=records))
        query: dict[str, Any] = {"inputs": {"text": "which fruit is yellow?"}, "top_k": 2}
        hits = hits_of(await now(search(index, query)))
        (best, score, fields), (_, second, _) = hits
        assert best == "3"
        assert score > second
        assert fields["chunk_text"].startswith("Bananas")
        assert fields["year"] == 2024
        query = {"inputs": {"text": "phone"}, "top_k": 3, "filter": {"group": "fruit"}}
        hits = hits_of(await now(search(index, query, fields=["group"])))
        assert [fields for _, _, fields in hits] == [{"group": "fruit"}, {"group": "fruit"}]
        assert [id for id, _, _ in hits_of(await now(search(index, {"id": "1", "top_k": 1})))] == ["1"]
        rerank = {"model": "bge-reranker-v2-m3", "rank_fields": ["chunk_text"]}
        await refused(lambda: search(index, query, rerank=rerank), 400, "rerank")
        await refused(lambda: index.upsert_records(namespace="texts", records=[{"_id": "4", "other": "x"}]), 400)
        await refused(lambda: search(self.index, {"inputs": {"text": "x"}, "top_k": 1}), 400, "embedder")
        unknown = {"model": "multilingual-e5-large", "field_map": {"text": "t"}}
        await refused(
            lambda: pc.create_index_for_model(name="other", cloud="aws", region="us-east-1", embed=unknown), 400, MODEL
        )
        await now(pc.delete_index(name))

    async def inference(self) -> None:
        """Models and embeddings."""
        inference = self.pc.inference
        found = await now(inference.list_models())
        assert [model.model for model in found.models] == [MODEL]
        assert (await now(inference.get_model(model_name=MODEL))).default_dimension == 384
        told = await now(inference.embed(model=MODEL, inputs=["apple", "banana"], parameters={"input_type": "query"}))
        assert len(told.data) == 2
        assert len(told.data[0]["values"]) == 384
        await refused(lambda: inference.embed(model="nothing", inputs=["x"], parameters={}), 400, MODEL)
        await refused(lambda: inference.rerank(model="bge-reranker-v2-m3", query="q", documents=["d"]), 400, "rerank")

    async def mistakes(self) -> None:
        """What the server refuses, with the client's own exceptions; nothing of a bad batch is stored."""
        index = self.index
        ones = [1.0, 1.0, 1.0, 1.0]

        def upsert(*vectors: Any, **more: Any) -> Any:
            return lambda: index.upsert(vectors=list(vectors), **more)

        await refused(upsert(("good", ones), ("short", [1.0, 1.0])), 400, "dimension")
        await rejected(upsert(("good", ones), ("nan", [1.0, 1.0, 1.0, float("nan")])))
        await rejected(upsert(("good", ones), ("large", [1.0, 1.0, 1.0, float("inf")])))
        await refused(upsert(("good", ones), ("zero", [0.0, 0.0, 0.0, 0.0])), 400, "non-zero")
        await rejected(upsert(("good", ones), {"id": "n", "values": ones, "metadata": {"a": {"b": 1}}}))
        await refused(upsert(("good", ones), ("big", ones, {"text": "x" * 41_000})), 400)
        await rejected(upsert(("good", ones), ("x" * 513, ones)))
        assert len((await now(index.fetch(ids=["good"]))).vectors) == 0
        await refused(lambda: index.query(vector=[1.0], top_k=1), 400, "dimension")
        await rejected(lambda: index.query(vector=ones, top_k=0))
        await rejected(lambda: index.query(vector=ones, top_k=10_001))
        await rejected(lambda: index.query(vector=ones, id="a", top_k=1))
        await refused(lambda: index.query(vector=ones, top_k=1, filter={"a": {"$near": 1}}), 400)
        await refused(lambda: index.query(vector=ones, top_k=1, filter={"a": {"$gt": "x"}}), 400)
        await refused(lambda: index.query(vector=ones, top_k=1, filter={"$gt": 5}), 400)
        await refused(lambda: index.query(vector=ones, top_k=1, filter={"a": {"$in": [1, "x"]}}), 400)
        parts = {"indices": [1], "values": [1.0]}
        await refused(lambda: index.query(vector=ones, sparse_vector=parts, top_k=1), 400)
        await rejected(lambda: index.delete())
        await rejected(lambda: index.delete(filter={}))
        await rejected(lambda: index.start_import(uri="s3://bucket/folder"))
        assert len(await everything(index.list_imports())) == 0

    async def strangers(self) -> None:
        """A wrong key opens nothing."""
        other = client("wrong")
        await refused(lambda: other.list_indexes(), 401)
        host = (await now(self.pc.describe_index(self.name))).host
        index = at(other, host)
        await refused(lambda: index.query(vector=[1.0] * 4, top_k=1), 401)
        await refused(lambda: index.upsert(vectors=[("a", [1.0] * 4)]), 401)
        opened.append(other)
        index = at(self.pc, host.replace(self.name, "missing"))
        await refused(lambda: index.query(vector=[1.0] * 4, top_k=1), 404)
        await refused(lambda: index.upsert(vectors=[("a", [1.0] * 4)]), 404)

    async def deleting_the_index(self) -> None:
        """The last step."""
        await now(self.pc.configure_index(name=self.name, deletion_protection="disabled"))
        await now(self.pc.delete_index(self.name))
        assert not await now(self.pc.has_index(self.name))


async def main() -> None:
    """Goes all steps."""
    scenario = Scenario(client())
    steps = [step for step in vars(Scenario) if not step.startswith("_") and (step != "new_shape" or MAJOR >= 10)]
    for step in steps:
        try:
            await getattr(scenario, step)()
        except BaseException:
            print(f"{MODE} {MAJOR}: {step}", file=sys.stderr)
            raise
    for client_or_index in (*opened, scenario.pc) if ASYNC else ():
        await client_or_index.close()
    print(json.dumps(steps))


asyncio.run(main())
