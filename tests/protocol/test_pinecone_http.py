"""Pinecone's HTTP API as it is on the wire: shapes, statuses, both error bodies, and everything that is refused."""

from __future__ import annotations

import asyncio
import gc
import json
import uuid
from collections.abc import AsyncGenerator, Iterator
from typing import Any, cast

import httpx
import pytest

import reflow as rf
from reflow.errors import EmbedderError, MissingExtra, Overloaded, StorageError
from reflow.server.pinecone.errors import Refused, refusal
from reflow.server.pinecone.requests import written
from reflow.server.pinecone.shapes import Query
from reflow.server.serve import Serving
from tests.support.pinecone_app import ENVIRONMENT, KEY, OTHER_KEY, app, nearest
from tests.support.servers import Threaded, in_thread, turn_taken

HEADERS = {"api-key": KEY, "x-pinecone-api-version": "2026-07"}
SPEC = {"serverless": {"cloud": "aws", "region": "us-east-1"}}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with in_thread(app, tmp_path_factory.mktemp("data")) as threaded:
        yield threaded


@pytest.fixture(scope="module")
def http(server: Threaded) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers=HEADERS) as client:
        yield client


class Place:
    """An index of its own for a test."""

    def __init__(self, http: httpx.Client, name: str) -> None:
        self.name = name
        self._http = http

    def post(self, path: str, body: Any) -> httpx.Response:
        return self._http.post(f"/i/{self.name}/{path}", json=body)

    def get(self, path: str, **parameters: Any) -> httpx.Response:
        return self._http.get(f"/i/{self.name}/{path}", params=parameters)

    def upsert(self, *vectors: Any, namespace: str = "") -> httpx.Response:
        return self.post("vectors/upsert", {"vectors": list(vectors), "namespace": namespace})

    def ids(self, **query: Any) -> list[str]:
        answer = self.post("query", {"topK": 100, "vector": [1, 1], **query})
        assert answer.status_code == 200, answer.text
        return [match["id"] for match in answer.json()["matches"]]


def make(http: httpx.Client, **body: Any) -> Place:
    name = f"i-{uuid.uuid4().hex[:12]}"
    made = http.post("/indexes", json={"name": name, "dimension": 2, "metric": "cosine", "spec": SPEC, **body})
    assert made.status_code == 201, made.text
    return Place(http, name)


@pytest.fixture
def place(http: httpx.Client) -> Place:
    return make(http)


def refused(response: httpx.Response, status: int, words: str = "") -> str:
    """The message of an error, both of whose bodies are checked."""
    assert response.status_code == status, f"{response.status_code}: {response.text}"
    body = response.json()
    assert set(body) == {"code", "message", "details", "status", "error"}
    assert body["status"] == status
    assert isinstance(body["code"], int)
    assert body["details"] == []
    assert body["error"]["message"] == body["message"]
    assert body["error"]["code"].isupper()
    assert words in body["message"], body["message"]
    return body["message"]


# The control plane


def test_an_index_has_the_fields_of_every_version(http: httpx.Client, place: Place, server: Threaded) -> None:
    told = http.get(f"/indexes/{place.name}").json()
    assert told["host"] == f"{server.url}/i/{place.name}"
    assert (told["dimension"], told["metric"], told["vector_type"]) == (2, "cosine", "dense")
    assert told["spec"]["serverless"]["region"] == "us-east-1"
    assert told["deployment"] == {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"}
    assert told["schema"]["fields"]["_values"]["dimension"] == 2
    assert told["status"] == {"ready": True, "state": "Ready"}
    assert "private_host" not in told


def test_the_host_is_what_the_client_has_called_the_server(http: httpx.Client, place: Place) -> None:
    told = http.get(f"/indexes/{place.name}", headers={"host": "vectors.example.com:8443"}).json()
    assert told["host"] == f"http://vectors.example.com:8443/i/{place.name}"
    for host in ("a b", "x/y", "a@b", '"', "a:123456"):
        refused(http.get(f"/indexes/{place.name}", headers={"host": host}), 400, "Host")


def test_the_host_can_be_set(tmp_path_factory: pytest.TempPathFactory) -> None:
    environment = {**ENVIRONMENT, "REFLOW_PINECONE_URL": "https://vectors.example.com/pinecone/"}
    with in_thread(rf.App(modules=[], environment=environment), tmp_path_factory.mktemp("data")) as threaded:
        http = httpx.Client(base_url=threaded.url, headers=HEADERS)
        place = make(http)
        told = http.get(f"/indexes/{place.name}").json()
        assert told["host"] == f"https://vectors.example.com/pinecone/i/{place.name}"
        http.close()


def test_both_shapes_of_creation(http: httpx.Client) -> None:
    def create(**body: Any) -> httpx.Response:
        return http.post("/indexes", json={"name": f"i-{uuid.uuid4().hex[:12]}", **body})

    dense = {"_values": {"type": "dense_vector", "dimension": 5, "metric": "euclidean"}}
    made = create(schema={"fields": dense}, deployment={"deployment_type": "managed", "cloud": "gcp", "region": "x"})
    assert (made.json()["dimension"], made.json()["metric"]) == (5, "euclidean")
    assert made.json()["spec"]["serverless"]["cloud"] == "gcp"
    made = create(schema={"fields": {**dense, "_sparse_values": {"type": "sparse_vector"}}})
    assert made.json()["vector_type"] == "dense"
    made = create(schema={"fields": {"_sparse_values": {"type": "sparse_vector"}}})
    assert (made.json()["vector_type"], made.json()["metric"]) == ("sparse", "dotproduct")
    assert "dimension" not in made.json()
    made = create(vector_type="sparse", spec=SPEC)
    assert made.json()["vector_type"] == "sparse"
    made = create(dimension=3, spec={"pod": {"environment": "us-east1-gcp", "pod_type": "p1.x1"}})
    assert made.status_code == 201
    unnamed = http.post("/indexes", json={"dimension": 3})
    assert unnamed.status_code == 201
    assert http.get(f"/indexes/{unnamed.json()['name']}").status_code == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"name": "x", "dimension": 0}, "dims"),
        ({"name": "x", "dimension": 20_001}, "20000"),
        ({"name": "x", "dimension": 1.5}, "dimension"),
        ({"name": "x", "dimension": "3"}, "dimension"),
        ({"name": "x"}, "dimension is required"),
        ({"name": "x", "dimension": 3, "metric": "hamming"}, "metric"),
        ({"name": "", "dimension": 3}, "name"),
        ({"name": "-x", "dimension": 3}, "name"),
        ({"name": "x" * 46, "dimension": 3}, "name"),
        ({"name": "ä", "dimension": 3}, "name"),
        ({"name": "x_y", "dimension": 3}, "name"),
        ({"name": "x/y", "dimension": 3}, "name"),
        ({"name": 5, "dimension": 3}, "name"),
        ({"name": "x", "vector_type": "sparse", "dimension": 3}, "sparse"),
        ({"name": "x", "vector_type": "sparse", "metric": "cosine"}, "dotproduct"),
        ({"name": "x", "vector_type": "fuzzy", "dimension": 3}, "vector_type"),
        ({"name": "x", "dimension": 3, "deletion_protection": "maybe"}, "deletion_protection"),
        ({"name": "x", "dimension": 3, "tags": {"a b": "c"}}, "tags"),
        ({"name": "x", "dimension": 3, "tags": {"a": "x" * 121}}, "tags"),
        ({"name": "x", "dimension": 3, "tags": {str(n): "x" for n in range(21)}}, "tags"),
        ({"name": "x", "schema": {}}, "schema"),
        ({"name": "x", "schema": {"fields": {}}}, "schema"),
        ({"name": "x", "schema": {"fields": {"title": {"type": "string"}}}}, "Documents API"),
        ({"name": "x", "schema": {"fields": {"_values": {"type": "string"}}}}, "_values"),
        ({"name": "x", "schema": {"fields": {"_values": {"type": "dense_vector"}}}}, "dimension"),
        ({"name": "x", "schema": {"fields": {"_values": 5}}}, "schema"),
    ],
)
def test_indexes_that_cant_be(http: httpx.Client, body: dict[str, Any], words: str) -> None:
    refused(http.post("/indexes", json=body), 400, words)
    assert http.get("/indexes/x").status_code == 404


def test_an_index_is_configured_and_deleted(http: httpx.Client, place: Place) -> None:
    path = f"/indexes/{place.name}"
    refused(http.post("/indexes", json={"name": place.name, "dimension": 2}), 409)
    answer = http.patch(path, json={"tags": {"a": "1", "b": "2"}, "deletion_protection": "enabled"})
    assert answer.status_code == 202
    assert answer.json()["tags"] == {"a": "1", "b": "2"}
    assert http.patch(path, json={"tags": {"a": ""}}).json()["tags"] == {"b": "2"}
    refused(http.patch(path, json={"tags": {"a b": "1"}}), 400, "tags")
    refused(http.patch(path, json={"deletion_protection": "no"}), 400)
    refused(http.patch(path, json={"embed": {"model": "m", "field_map": {"text": "t"}}}), 400, "create-for-model")
    assert http.get(path).json()["tags"] == {"b": "2"}
    refused(http.delete(path), 403, "protection")
    assert http.patch(path, json={"deletion_protection": "disabled"}).status_code == 202
    answer = http.delete(path)
    assert (answer.status_code, answer.content) == (202, b"")
    refused(http.get(path), 404)
    refused(http.delete(path), 404)
    refused(http.patch(path, json={}), 404)
    refused(place.upsert({"id": "a", "values": [1, 1]}), 404)


def test_a_new_index_of_an_old_name_is_empty(http: httpx.Client, place: Place) -> None:
    assert place.upsert({"id": "a", "values": [1, 1]}).status_code == 200
    assert http.delete(f"/indexes/{place.name}").status_code == 202
    assert http.post("/indexes", json={"name": place.name, "dimension": 2}).status_code == 201
    assert place.ids() == []


def test_what_is_not_served_says_so(http: httpx.Client, place: Place) -> None:
    assert http.get("/collections").json() == {"collections": []}
    assert http.get("/backups").json() == {"data": []}
    assert http.get("/restore-jobs").json() == {"data": []}
    assert http.get(f"/indexes/{place.name}/backups").json() == {"data": []}
    assert place.get("bulk/imports").json() == {"data": []}
    refused(http.post("/collections", json={"name": "c", "source": place.name}), 400, "not served")
    refused(http.post(f"/indexes/{place.name}/backups", json={"name": "b"}), 400, "not served")
    refused(http.get("/collections/c"), 404)
    refused(http.get("/restore-jobs/c"), 404)
    refused(place.post("bulk/imports", {"uri": "s3://x"}), 400, "upsert")
    refused(place.get("bulk/imports/5"), 404)
    refused(place.post("namespaces/n/documents/search", {}), 400, "Documents API")
    refused(http.post("/rerank", json={"model": "m", "query": "q", "documents": []}), 400, "rerank")


# Keys, paths, bodies


@pytest.mark.parametrize("path", ["/indexes", "/i/any/query", "/embed", "/models", "/nothing"])
@pytest.mark.parametrize("headers", [{}, {"api-key": ""}, {"api-key": "wrong"}, {"api-key": f"{KEY}, {OTHER_KEY}"}])
def test_without_a_key_nothing_is_told(server: Threaded, path: str, headers: dict[str, str]) -> None:
    response = httpx.get(server.url + path, headers=headers)
    if path == "/nothing":  # a path of pages
        assert response.status_code == 404
    else:
        refused(response, 401)


def test_each_key_opens(server: Threaded) -> None:
    for key in (KEY, OTHER_KEY):
        assert httpx.get(f"{server.url}/indexes", headers={"api-key": key}).status_code == 200


def test_a_server_without_keys_says_how_to_set_them(tmp_path_factory: pytest.TempPathFactory) -> None:
    with in_thread(rf.App(modules=[], environment={}), tmp_path_factory.mktemp("data")) as threaded:
        refused(httpx.get(f"{threaded.url}/indexes", headers=HEADERS), 401, "REFLOW_PINECONE_API_KEY")
        assert httpx.get(f"{threaded.url}/indexes").status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("PUT", "/indexes", 405),
        ("DELETE", "/indexes", 405),
        ("POST", "/indexes/x", 405),
        ("OPTIONS", "/indexes", 405),
        ("GET", "/i/x/query", 405),
        ("POST", "/i/x/vectors/fetch", 405),
        ("GET", "/i/x/vectors/upsert", 405),
        ("GET", "/indexes/x/y", 404),
        ("GET", "/i/x", 404),
        ("GET", "/i/x/", 404),
        ("POST", "/i/x/vectors", 404),
        ("POST", "/i/x/vectors/upsert/", 404),
        ("GET", "/models/a/b/c", 404),
    ],
)
def test_paths_and_methods(http: httpx.Client, method: str, path: str, status: int) -> None:
    response = http.request(method, path)
    refused(response, status)
    assert status != 405 or response.headers["allow"]


@pytest.mark.parametrize("path", ["vectors/upsert", "query", "vectors/update", "vectors/delete", "namespaces"])
@pytest.mark.parametrize(
    "body",
    [b"", b"nonsense", b"[]", b'"text"', b"null", b"\xff\xfe", b"[" * 100_000, b'{"vectors":[{"id":"\\ud800"}]}'],
)
def test_bodies_that_are_no_request(http: httpx.Client, place: Place, path: str, body: bytes) -> None:
    refused(http.post(f"/i/{place.name}/{path}", content=body), 400)


def test_a_body_has_a_bound(http: httpx.Client, place: Place) -> None:
    vectors = [{"id": str(n), "values": [1, 1], "metadata": {"t": "x" * 30_000}} for n in range(80)]
    refused(place.upsert(*vectors), 413, "pinecone_body_bytes")
    assert place.upsert(*vectors[:30]).json() == {"upsertedCount": 30}


# Vectors


def test_an_upsert_is_whole_or_not_at_all(place: Place) -> None:
    good = {"id": "good", "values": [1, 0], "metadata": {"a": 1}}
    assert place.upsert({"id": "before", "values": [1, 0]}).json() == {"upsertedCount": 1}
    for bad in BAD_RECORDS:
        refused(place.upsert(good, bad), 400)
        refused(place.upsert(bad, good), 400)
    assert place.ids() == ["before"]


BAD_RECORDS: list[dict[str, Any]] = [
    {"id": "x"},
    {"id": "x", "values": []},
    {"id": "x", "values": [1]},
    {"id": "x", "values": [1, 2, 3]},
    {"id": "x", "values": [0, 0]},
    {"id": "x", "values": [1e-9, 1e-9]},
    {"id": "x", "values": [1e39, 1]},
    {"id": "x", "values": [1, None]},
    {"id": "x", "values": [1, "2"]},
    {"id": "x", "values": [[1], [2]]},
    {"id": "x", "values": [1, True]},
    {"id": "x", "values": "12"},
    {"id": "", "values": [1, 1]},
    {"id": "x" * 513, "values": [1, 1]},
    {"id": "ä", "values": [1, 1]},
    {"id": "a\0b", "values": [1, 1]},
    {"id": 5, "values": [1, 1]},
    {"values": [1, 1]},
    {"id": "x", "values": [1, 1], "metadata": {"a": {"b": 1}}},
    {"id": "x", "values": [1, 1], "metadata": {"a": [1, 2]}},
    {"id": "x", "values": [1, 1], "metadata": {"a": ["b", 1]}},
    {"id": "x", "values": [1, 1], "metadata": {"a": [["b"]]}},
    {"id": "x", "values": [1, 1], "metadata": {"$a": 1}},
    {"id": "x", "values": [1, 1], "metadata": [1]},
    {"id": "x", "values": [1, 1], "metadata": {"a": "x" * 41_000}},
    {"id": "x", "values": [1, 1], "sparseValues": {"indices": [1], "values": [1, 2]}},
    {"id": "x", "values": [1, 1], "sparseValues": {"indices": [-1], "values": [1]}},
    {"id": "x", "values": [1, 1], "sparseValues": {"indices": [2**32], "values": [1]}},
    {"id": "x", "values": [1, 1], "sparseValues": {"indices": [1.5], "values": [1]}},
    {"id": "x", "values": [1, 1], "sparseValues": {"indices": [1, 1], "values": [1, 1]}},
    {"id": "x", "values": [1, 1], "sparseValues": {"indices": [1]}},
    {"id": "x", "values": [1, 1], "sparseValues": [1]},
    {"id": "good", "values": [1, 1]},  # its neighbour has the same id
]


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_json_lacks(http: httpx.Client, place: Place, number: str) -> None:
    body = '{"vectors":[{"id":"a","values":[1,NUMBER]}]}'.replace("NUMBER", number)
    refused(http.post(f"/i/{place.name}/vectors/upsert", content=body), 400)
    body = '{"topK":1,"vector":[1,NUMBER]}'.replace("NUMBER", number)
    refused(http.post(f"/i/{place.name}/query", content=body), 400)


def test_a_thousand_records_are_the_most(place: Place) -> None:
    vectors = [{"id": str(n), "values": [1, n]} for n in range(1001)]
    refused(place.upsert(*vectors), 400, "1000")
    assert place.upsert(*vectors[:1000]).json() == {"upsertedCount": 1000}
    assert len(place.ids(topK=10_000)) == 1000


def test_nulls_are_fields_that_are_not_there(place: Place) -> None:
    record = {"id": "a", "values": [1, 2], "sparseValues": None, "metadata": {"kept": 1, "dropped": None}}
    assert place.upsert(record, {"id": "b", "values": [1, 3], "metadata": None}).json() == {"upsertedCount": 2}
    found = place.get("vectors/fetch", ids=["a", "b"]).json()["vectors"]
    assert found["a"] == {"id": "a", "values": [1.0, 2.0], "metadata": {"kept": 1}}
    assert found["b"] == {"id": "b", "values": [1.0, 3.0]}


def test_numbers_come_back_as_floats(http: httpx.Client, place: Place) -> None:
    place.upsert({"id": "a", "values": [1, 2]})
    assert b'"values":[1.0,2.0]' in http.get(f"/i/{place.name}/vectors/fetch", params={"ids": "a"}).content


def test_a_query_tells_what_is_asked_for(place: Place) -> None:
    place.upsert({"id": "a", "values": [3, 4], "metadata": {"k": "v"}}, namespace="n")
    asked = {"topK": 1, "vector": [3, 4], "namespace": "n"}
    told = place.post("query", asked).json()
    assert told == {
        "matches": [{"id": "a", "score": pytest.approx(1.0)}],
        "namespace": "n",
        "usage": {"readUnits": 1},
    }
    told = place.post("query", {**asked, "includeValues": True, "includeMetadata": True}).json()
    assert told["matches"][0]["values"] == [3.0, 4.0]
    assert told["matches"][0]["metadata"] == {"k": "v"}


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"vector": [1, 1]},
        {"topK": 0, "vector": [1, 1]},
        {"topK": -1, "vector": [1, 1]},
        {"topK": 10_001, "vector": [1, 1]},
        {"topK": 1.5, "vector": [1, 1]},
        {"topK": "1", "vector": [1, 1]},
        {"topK": 1},
        {"topK": 1, "vector": []},
        {"topK": 1, "vector": [1]},
        {"topK": 1, "vector": [0, 0]},
        {"topK": 1, "vector": [1, None]},
        {"topK": 1, "vector": [1, 1], "id": "a"},
        {"topK": 1, "id": ""},
        {"topK": 1, "id": 5},
        {"topK": 1, "vector": [1, 1], "namespace": "ä"},
        {"topK": 1, "vector": [1, 1], "namespace": "x" * 513},
        {"topK": 1, "vector": [1, 1], "namespace": 5},
        {"topK": 1, "vector": [1, 1], "sparseVector": {"indices": [1], "values": [1]}},
        {"topK": 1, "sparseVector": {"indices": [1], "values": [1]}},
        {"topK": 1, "vector": [1, 1], "scanFactor": 2},
        {"topK": 1, "vector": [1, 1], "maxCandidates": 100},
        {"topK": 1, "vector": [1, 1], "includeValues": "yes"},
        {"topK": 1, "vector": [1, 1], "filter": 5},
        {"topK": 1, "vector": [1, 1], "filter": []},
    ],
)
def test_queries_that_are_refused(place: Place, query: dict[str, Any]) -> None:
    place.upsert({"id": "a", "values": [1, 1]})
    refused(place.post("query", query), 400)


BAD_FILTERS: list[dict[str, Any]] = [
    {"$gt": 5},
    {"$and": []},
    {"$or": {}},
    {"$and": [5]},
    {"$nor": [{"a": 1}]},
    {"a": {"$near": 1}},
    {"a": {"b": 1}},
    {"a": {}},
    {"a": None},
    {"a": [1]},
    {"a": {"$gt": "x"}},
    {"a": {"$gte": True}},
    {"a": {"$lt": None}},
    {"a": {"$in": 5}},
    {"a": {"$in": [1, "x"]}},
    {"a": {"$nin": [None]}},
    {"a": {"$in": [["x"]]}},
    {"a": {"$exists": 1}},
    {"a": {"$eq": {"b": 1}}},
    {"a": {"$in": ["x"] * 10_001}},
]


@pytest.mark.parametrize("filter", BAD_FILTERS, ids=lambda filter: json.dumps(filter)[:40])
def test_filters_that_are_refused_everywhere(place: Place, filter: dict[str, Any]) -> None:
    place.upsert({"id": "a", "values": [1, 1], "metadata": {"a": 1}})
    refused(place.post("query", {"topK": 1, "vector": [1, 1], "filter": filter}), 400)
    refused(place.post("vectors/delete", {"filter": filter}), 400)
    refused(place.post("vectors/update", {"filter": filter, "setMetadata": {"b": 1}}), 400)
    refused(place.post("vectors/fetch_by_metadata", {"filter": filter}), 400)
    assert place.get("vectors/fetch", ids="a").json()["vectors"]["a"]["metadata"] == {"a": 1}


def test_a_large_answer_lets_others_have_the_event_loop() -> None:
    most, taken, turns = 1 << 20, 0, 0

    def texts() -> Iterator[str]:
        nonlocal taken
        for _ in range(100):
            taken += 1
            yield "x" * (1 << 16)

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def main() -> None:
        other = asyncio.create_task(count_turns())
        parts = await written(texts())
        assert [json.loads(bytes(part)) for part in parts] == ["x" * (1 << 16)] * 100
        assert turns >= 20
        with pytest.raises(Refused, match="pinecone_result_bytes"):
            await written(texts(), most)
        assert taken == 100 + 16  # the rest was not even written
        other.cancel()

    asyncio.run(main())


def test_a_refused_request_leaves_nothing_to_the_collector_of_cycles(http: httpx.Client) -> None:
    place = make(http)
    gc.collect()
    gc.disable()
    try:
        for _ in range(3):
            refused(place.post("query", {"topK": 1, "vector": [1, 1], "scanFactor": 2}), 400, "scanFactor")
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not [found for found in gc.garbage if isinstance(found, Exception | Query)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()


def test_a_result_has_a_bound(http: httpx.Client) -> None:
    place = make(http, dimension=2000)
    for batch in range(6):
        vectors = [{"id": f"{batch}-{n:02}", "values": [n + 1.5] + [0] * 1999, "metadata": {"k": 1}} for n in range(90)]
        assert place.upsert(*vectors).status_code == 200
    query = {"topK": 540, "vector": [1] * 2000}
    assert len(place.post("query", query).json()["matches"]) == 540
    refused(place.post("query", {**query, "includeValues": True}), 400, "pinecone_result_bytes")
    asked: dict[str, Any] = {"filter": {"k": 1}, "limit": 540}
    sizes: list[int] = []
    while True:
        page = place.post("vectors/fetch_by_metadata", asked).json()
        sizes.append(len(page["vectors"]))
        if "pagination" not in page:
            break
        asked["paginationToken"] = page["pagination"]["next"]
    assert sum(sizes) == 540
    assert max(sizes) == 104
    # By id, an answer of any size comes, in several parts.
    ids = [f"{batch}-{n:02}" for batch in range(6) for n in range(0, 90, 2)]
    fetched = place.get("vectors/fetch", ids=ids)
    assert len(fetched.content) > 4 * 270 * 2000
    found = fetched.json()["vectors"]
    assert list(found) == ids
    assert all(found[id] == {"id": id, "values": [int(id[2:]) + 1.5] + [0] * 1999, "metadata": {"k": 1}} for id in ids)


def test_changes_by_a_filter_reach_any_number_of_records(place: Place) -> None:
    for batch in range(3):
        place.upsert(*({"id": f"{batch}-{n}", "values": [1, n], "metadata": {"k": n % 2}} for n in range(900)))
    told = place.post("vectors/update", {"filter": {"k": 1}, "setMetadata": {"seen": True}}).json()
    assert told == {"matchedRecords": 1350}
    assert len(place.ids(topK=10_000, filter={"seen": True})) == 1350
    assert place.post("vectors/delete", {"filter": {"k": 1}}).json() == {}
    assert len(place.ids(topK=10_000)) == 1350
    assert place.ids(filter={"seen": True}) == []


def test_fetching(place: Place) -> None:
    place.upsert({"id": "a b&c", "values": [1, 1]}, {"id": "d", "values": [1, 2]}, namespace="n/ä".replace("ä", "a"))
    told = place.get("vectors/fetch", ids=["a b&c", "nobody"], namespace="n/a").json()
    assert list(told["vectors"]) == ["a b&c"]
    assert told["namespace"] == "n/a"
    refused(place.get("vectors/fetch"), 400, "ids")
    refused(place.get("vectors/fetch", ids=[str(n) for n in range(1001)]), 400, "1000")
    refused(place.get("vectors/fetch", ids="ä"), 400)
    refused(place.get("vectors/fetch", ids=""), 400)


def test_fetching_by_metadata(place: Place) -> None:
    place.upsert(*({"id": f"{n:02}", "values": [1, n], "metadata": {"even": n % 2 == 0}} for n in range(20)))
    asked: dict[str, Any] = {"filter": {"even": True}, "limit": 4}
    seen: list[str] = []
    while True:
        told = place.post("vectors/fetch_by_metadata", asked).json()
        seen += told["vectors"]
        if "pagination" not in told:
            break
        asked["paginationToken"] = told["pagination"]["next"]
    assert seen == [f"{n:02}" for n in range(0, 20, 2)]
    for bad in ({}, {"filter": {}}, {"filter": None}, {"limit": 0}, {"limit": 10_001}, {"paginationToken": "junk"}):
        refused(place.post("vectors/fetch_by_metadata", {"filter": {"even": True}, **bad} if bad else {}), 400)


@pytest.mark.parametrize(
    "update",
    [
        {},
        {"id": "a", "filter": {"k": 1}, "setMetadata": {"x": 1}},
        {"id": "a", "values": [1]},
        {"id": "a", "values": [0, 0]},
        {"id": "a", "setMetadata": {"x": {"y": 1}}},
        {"id": "a", "setMetadata": {"x": "y" * 41_000}},
        {"id": "a", "setMetadata": {"$x": 1}},
        {"id": "", "values": [1, 1]},
        {"id": "a", "sparseValues": {"indices": [1], "values": []}},
        {"filter": {}, "setMetadata": {"x": 1}},
        {"filter": {"k": 1}},
        {"filter": {"k": 1}, "values": [1, 1]},
        {"filter": {"k": 1}, "setMetadata": {"x": {"y": 1}}},
    ],
)
def test_updates_that_are_refused(place: Place, update: dict[str, Any]) -> None:
    place.upsert({"id": "a", "values": [1, 1], "metadata": {"k": 1}})
    refused(place.post("vectors/update", update), 400)
    kept = {"id": "a", "values": [1.0, 1.0], "metadata": {"k": 1}}
    assert place.get("vectors/fetch", ids="a").json()["vectors"]["a"] == kept


def test_metadata_that_grow_too_large_together_are_refused_all(place: Place) -> None:
    place.upsert(
        {"id": "a", "values": [1, 1], "metadata": {"k": 1}},
        {"id": "b", "values": [1, 1], "metadata": {"k": 1, "text": "x" * 30_000}},
    )
    refused(place.post("vectors/update", {"filter": {"k": 1}, "setMetadata": {"more": "y" * 20_000}}), 400)
    assert place.get("vectors/fetch", ids="a").json()["vectors"]["a"]["metadata"] == {"k": 1}


@pytest.mark.parametrize(
    "delete",
    [
        {},
        {"ids": []},
        {"ids": ["a"], "deleteAll": True},
        {"filter": {"k": 1}, "deleteAll": True},
        {"filter": {}},
        {"deleteAll": False},
        {"ids": [str(n) for n in range(1001)]},
        {"ids": ["ä"]},
        {"ids": [5]},
        {"ids": "a"},
    ],
)
def test_deletions_that_are_refused(place: Place, delete: dict[str, Any]) -> None:
    place.upsert({"id": "a", "values": [1, 1], "metadata": {"k": 1}})
    refused(place.post("vectors/delete", delete), 400)
    assert place.ids() == ["a"]


def test_deleting(place: Place) -> None:
    def vector(id: str) -> dict[str, Any]:
        return {"id": id, "values": [1, 1], "metadata": {"k": id}}

    place.upsert(vector("a"), vector("b"), vector("c"))
    assert place.post("vectors/delete", {"ids": ["a", "nobody"], "namespace": ""}).json() == {}
    # with both, the filter counts
    assert place.post("vectors/delete", {"ids": ["c"], "filter": {"k": "b"}}).status_code == 200
    assert place.ids() == ["c"]
    for body in ({"ids": ["a"]}, {"deleteAll": True}, {"filter": {"k": 1}}):
        refused(place.post("vectors/delete", {**body, "namespace": "unknown"}), 404, "Namespace not found")
    assert place.post("vectors/delete", {"deleteAll": True}).json() == {}
    assert place.ids() == []


def test_listing(place: Place) -> None:
    place.upsert(*({"id": id, "values": [1, 1]} for id in ("b", "a2", "a1", "a10", "A", "~")))
    told = place.get("vectors/list").json()
    assert [vector["id"] for vector in told["vectors"]] == ["A", "a1", "a10", "a2", "b", "~"]
    assert "pagination" not in told
    told = place.get("vectors/list", prefix="a", limit=2).json()
    assert told["vectors"] == [{"id": "a1"}, {"id": "a10"}]
    token = told["pagination"]["next"]
    told = place.get("vectors/list", prefix="a", limit=2, paginationToken=token).json()
    assert told["vectors"] == [{"id": "a2"}]
    assert "pagination" not in told
    for bad in ({"limit": 0}, {"limit": 101}, {"limit": "x"}, {"limit": ""}, {"paginationToken": "junk"}):
        refused(place.get("vectors/list", **bad), 400)
    refused(place.get("vectors/list", prefix="b", paginationToken=token), 400)
    assert place.get("vectors/list", namespace="unknown").json()["vectors"] == []


def test_numbers(place: Place) -> None:
    place.upsert({"id": "a", "values": [1, 1]}, {"id": "b", "values": [1, 1]})
    place.upsert({"id": "a", "values": [1, 1]}, namespace="n")
    told = place.post("describe_index_stats", {}).json()
    assert told["namespaces"] == {"__default__": {"vectorCount": 2}, "n": {"vectorCount": 1}}
    assert (told["totalVectorCount"], told["dimension"], told["indexFullness"]) == (3, 2, 0)
    assert place.post("describe_index_stats", {"filter": {}}).status_code == 200
    refused(place.post("describe_index_stats", {"filter": {"a": 1}}), 400)


def test_the_default_namespace_has_three_names(place: Place) -> None:
    for number, name in enumerate(("", "__default__")):
        place.upsert({"id": str(number), "values": [1, 1]}, namespace=name)
    place.post("vectors/upsert", {"vectors": [{"id": "2", "values": [1, 1]}]})
    for asked in ({}, {"namespace": ""}, {"namespace": "__default__"}, {"namespace": None}):
        assert sorted(place.ids(**asked)) == ["0", "1", "2"]
    assert place.get("namespaces/__default__").json()["record_count"] == "3"


def test_namespaces(http: httpx.Client, place: Place) -> None:
    made = place.post("namespaces", {"name": "made", "schema": {"fields": {"f": {"filterable": True}}}})
    assert made.json() == {
        "name": "made", "record_count": "0", "size_bytes": "0", "schema": {"fields": {"f": {"filterable": True}}},
    }  # fmt: skip
    refused(place.post("namespaces", {"name": "made"}), 409)
    for bad in ("", "__default__", "ä", "x" * 513, 5):
        refused(place.post("namespaces", {"name": bad}), 400)
    place.upsert({"id": "a", "values": [1, 1]}, namespace="of/slashes and %")
    path = f"/i/{place.name}/namespaces/of%2Fslashes%20and%20%25"
    assert http.get(path).json()["name"] == "of/slashes and %"
    assert http.get(path, headers={"x-pinecone-api-version": "2025-10"}).json()["record_count"] == 1
    told = place.get("namespaces").json()
    assert ([found["name"] for found in told["namespaces"]], told["total_count"]) == (["made", "of/slashes and %"], 2)
    told = place.get("namespaces", limit=1).json()
    told = place.get("namespaces", limit=1, paginationToken=told["pagination"]["next"]).json()
    assert [found["name"] for found in told["namespaces"]] == ["of/slashes and %"]
    assert place.get("namespaces", prefix="ma").json()["namespaces"][0]["name"] == "made"
    assert http.delete(path).json() == {}
    refused(http.get(path), 404)
    refused(http.delete(path), 404)
    assert place.ids(namespace="of/slashes and %") == []


def test_positions_in_the_log_grow_with_each_write_and_every_read_has_reached_them(place: Place) -> None:
    last = 0
    for number in range(3):
        written = place.upsert({"id": str(number), "values": [1, 1]}).headers
        read = place.post("query", {"topK": 1, "vector": [1, 1]}).headers
        position = int(written["x-pinecone-request-lsn"])
        assert last < position < 2**53
        assert int(read["x-pinecone-max-indexed-lsn"]) >= position
        assert written["x-pinecone-lsn-committed"] == written["x-pinecone-request-lsn"]
        assert read["x-pinecone-lsn-reconciled"] == read["x-pinecone-max-indexed-lsn"]
        last = position


@pytest.mark.parametrize(
    ("metric", "order", "scores"),
    [
        ("cosine", ["b", "c", "a"], [1.0, 0.8, 0.6]),
        ("dotproduct", ["c", "b", "a"], [8.0, 2.0, 0.6]),
        ("euclidean", ["b", "a", "c"], [1.0, 0.8, 65.0]),
    ],
)
def test_metrics(http: httpx.Client, metric: str, order: list[str], scores: list[float]) -> None:
    place = make(http, metric=metric)
    place.upsert({"id": "a", "values": [0.6, 0.8]}, {"id": "b", "values": [2, 0]}, {"id": "c", "values": [8, 6]})
    matches = place.post("query", {"topK": 3, "vector": [1, 0]}).json()["matches"]
    found = {match["id"]: match["score"] for match in matches}
    expected = dict(zip(order, scores, strict=True))
    if metric == "euclidean":
        expected = {"a": 0.8, "b": 1.0, "c": 85.0}
    assert found == pytest.approx(expected)
    by_score = sorted(expected, key=lambda id: expected[id], reverse=metric != "euclidean")
    assert [match["id"] for match in matches] == by_score


# Texts


def test_an_integrated_index(http: httpx.Client) -> None:
    name = f"t-{uuid.uuid4().hex[:12]}"
    embed = {"model": "local/minilm-l6-v2", "field_map": {"text": "body"}}
    body = {"name": name, "cloud": "aws", "region": "us-east-1", "embed": embed}
    refused(http.post("/indexes/create-for-model", json={**body, "embed": {**embed, "model": "e5"}}), 400, "minilm")
    refused(http.post("/indexes/create-for-model", json={**body, "embed": {**embed, "dimension": 3}}), 400, "384")
    refused(
        http.post("/indexes/create-for-model", json={**body, "embed": {**embed, "field_map": {}}}), 400, "field_map"
    )
    made = http.post("/indexes/create-for-model", json=body)
    assert made.status_code == 201
    assert made.json()["embed"]["field_map"] == {"text": "body"}
    assert made.json()["schema"]["fields"]["body"]["type"] == "semantic_text"

    def upsert(*lines: str) -> httpx.Response:
        headers = {"content-type": "application/x-ndjson"}
        return http.post(f"/i/{name}/records/namespaces/n/upsert", content="\n".join(lines), headers=headers)

    stored = upsert('{"_id":"a","body":"cats and dogs","n":1}', "", '{"id":"b","body":"stocks and bonds","z":null}')
    assert (stored.status_code, stored.content) == (201, b"")
    for bad in (
        "", "5", "nonsense", '{"_id":"x"}', '{"_id":"x","body":5}', '{"_id":"x","body":" "}', '{"body":"t"}',
        '{"_id":"x","id":"x","body":"t"}', '{"_id":5,"body":"t"}', '{"_id":"x","body":"t","more":{"a":1}}',
    ):  # fmt: skip
        refused(upsert('{"_id":"good","body":"t"}', bad) if bad else upsert(), 400)
    refused(upsert(*(json.dumps({"_id": str(n), "body": "t"}) for n in range(97))), 400, "96")

    def search(query: dict[str, Any], **more: Any) -> httpx.Response:
        return http.post(f"/i/{name}/records/namespaces/n/search", json={"query": query, **more})

    told = search({"inputs": {"text": "animals"}, "top_k": 5}).json()
    assert [hit["_id"] for hit in told["result"]["hits"]] == ["a", "b"]
    assert told["result"]["hits"][0]["fields"] == {"body": "cats and dogs", "n": 1}
    assert told["usage"]["embed_total_tokens"] > 0
    told = search({"vector": {"values": [1.0] * 384}, "top_k": 1}, fields=[]).json()
    assert told["result"]["hits"][0]["fields"] == {}
    for bad in (
        {"top_k": 1}, {"inputs": {}, "top_k": 1}, {"inputs": {"text": 5}, "top_k": 1}, {"inputs": {"text": "x"}},
        {"inputs": {"text": "x"}, "top_k": 0}, {"inputs": {"text": "x"}, "id": "a", "top_k": 1},
        {"inputs": {"text": ""}, "top_k": 1}, {"inputs": {"text": "x"}, "top_k": 1, "match_terms": {}},
    ):  # fmt: skip
        refused(search(bad), 400)


def test_models_and_embeddings(http: httpx.Client) -> None:
    models = http.get("/models").json()["models"]
    assert [(model["model"], model["default_dimension"]) for model in models] == [("local/minilm-l6-v2", 384)]
    assert http.get("/models", params={"type": "rerank"}).json() == {"models": []}
    for path in ("/models/local%2Fminilm-l6-v2", "/models/local/minilm-l6-v2"):
        assert http.get(path).json() == models[0]
    refused(http.get("/models/other"), 404)
    body: dict[str, Any] = {"model": "local/minilm-l6-v2", "inputs": [{"text": "cat"}]}
    told = http.post("/embed", json={**body, "parameters": {"input_type": "query"}}).json()
    assert len(told["data"][0]["values"]) == 384
    assert told["usage"]["total_tokens"] == 3
    for bad in ({"model": "e5"}, {"inputs": []}, {"inputs": [{"text": ""}]}, {"inputs": ["cat"]},
                {"inputs": [{"text": "x"}] * 97}, {"parameters": {"input_type": "x"}},
                {"parameters": {"dimension": 5}}):  # fmt: skip
        refused(http.post("/embed", json={**body, **bad}), 400)


class Without:
    """An embedder whose packages are not installed."""

    id = "local/minilm-l6-v2"

    async def load(self) -> None:
        raise MissingExtra("The local embedder needs the package onnxruntime: install `reflow[local]`")


def test_a_missing_extra_is_told_with_its_remedy(tmp_path_factory: pytest.TempPathFactory) -> None:
    bare = rf.App(modules=[], environment=ENVIRONMENT)
    assert bare.doors.pinecone is not None
    object.__setattr__(bare.doors.pinecone, "embedder", Without)
    with in_thread(bare, tmp_path_factory.mktemp("data")) as threaded:
        http = httpx.Client(base_url=threaded.url, headers=HEADERS)
        assert http.get("/models").json() == {"models": []}
        body = {"model": "local/minilm-l6-v2", "inputs": [{"text": "cat"}]}
        refused(http.post("/embed", json=body), 400, "reflow[local]")
        http.close()


# Tables


def test_a_tables_index_can_be_read(server: Threaded, http: httpx.Client) -> None:
    def add(text: str, year: int, vector: list[float] | None) -> str:
        call = {"path": "notes:add", "args": {"text": text, "year": year, "vector": vector}}
        return http.post("/api/mutation", json=call).json()["value"]

    first, second = add("one", 2020, [1.0, 0.0]), add("two", 2021, [0.0, 1.0])
    add("without a vector", 2022, None)
    gone = add("gone", 2023, [1.0, 1.0])
    http.post("/api/mutation", json={"path": "notes:remove", "args": {"id": gone}})
    place = Place(http, "notes-meaning")

    assert "notes-meaning" in [info["name"] for info in http.get("/indexes").json()["indexes"]]
    info = http.get("/indexes/notes-meaning").json()
    assert (info["dimension"], info["metric"], info["deletion_protection"]) == (2, "cosine", "enabled")
    assert place.ids(vector=[1, 0.1]) == [first, second]
    assert place.ids(vector=[1, 0.1], filter={"year": {"$gt": 2020}}) == [second]
    assert place.ids(vector=[1, 0.1], namespace="other") == []
    assert place.ids(vector=None, id=second) == [second, first]
    told = place.post("query", {"topK": 1, "vector": [1, 0], "includeMetadata": True, "includeValues": True}).json()
    match = told["matches"][0]
    assert match["values"] == [1.0, 0.0]
    assert {name: match["metadata"][name] for name in ("text", "year", "tags")} == {
        "text": "one", "year": 2020, "tags": ["a", "b"],
    }  # fmt: skip
    assert "nested" not in match["metadata"]
    assert list(place.get("vectors/fetch", ids=[first, gone, "nobody"]).json()["vectors"]) == [first]
    page = place.get("vectors/list", limit=1).json()
    assert page["vectors"] == [{"id": first}]
    page = place.get("vectors/list", limit=1, paginationToken=page["pagination"]["next"]).json()
    assert page["vectors"] == [{"id": second}]
    found = place.post("vectors/fetch_by_metadata", {"filter": {"year": 2021}}).json()["vectors"]
    assert list(found) == [second]
    assert place.post("describe_index_stats", {}).json()["totalVectorCount"] == 2
    assert place.get("namespaces/__default__").json()["record_count"] == "2"
    refused(place.get("namespaces/other"), 404)
    refused(place.post("query", {"topK": 1, "vector": [1, 0], "filter": {"text": "one"}}), 400, "year")
    refused(place.post("query", {"topK": 1, "vector": [1, 0, 0]}), 400)


def test_a_tables_index_can_only_be_read(http: httpx.Client) -> None:
    place = Place(http, "notes-meaning")
    words = "'meaning' of the table 'notes'"
    refused(place.upsert({"id": "a", "values": [1, 0]}), 403, words)
    refused(place.post("vectors/update", {"id": "a", "values": [1, 0]}), 403, words)
    refused(place.post("vectors/update", {"filter": {"year": 1}, "setMetadata": {"year": 2}}), 403, words)
    refused(place.post("vectors/delete", {"deleteAll": True}), 403, words)
    refused(place.post("namespaces", {"name": "n"}), 403, words)
    refused(http.delete("/i/notes-meaning/namespaces/__default__"), 403, words)
    refused(http.delete("/indexes/notes-meaning"), 403, words)
    refused(http.patch("/indexes/notes-meaning", json={"tags": {"a": "b"}}), 403, words)
    refused(http.post("/indexes", json={"name": "notes-meaning", "dimension": 3}), 409, "table")


def test_reflows_own_tables_are_no_indexes(http: httpx.Client) -> None:
    names = [info["name"] for info in http.get("/indexes").json()["indexes"]]
    assert not [name for name in names if "record" in name]


# Life


def test_what_is_acknowledged_is_there_after_a_restart(tmp_path_factory: pytest.TempPathFactory) -> None:
    data = tmp_path_factory.mktemp("data")
    kept = rf.App(modules=[], environment=ENVIRONMENT)
    for round in range(2):
        with in_thread(kept, data) as threaded:
            http = httpx.Client(base_url=threaded.url, headers=HEADERS)
            place = Place(http, "kept")
            if not round:
                http.post("/indexes", json={"name": "kept", "dimension": 2, "tags": {"a": "b"}})
                place.upsert({"id": "a", "values": [1, 2], "metadata": {"k": ["v"]}}, namespace="n")
            else:
                assert http.get("/indexes/kept").json()["tags"] == {"a": "b"}
                told = place.get("vectors/fetch", ids="a", namespace="n").json()["vectors"]
                assert told == {"a": {"id": "a", "values": [1.0, 2.0], "metadata": {"k": ["v"]}}}
                assert place.ids(namespace="n", filter={"k": "v"}) == ["a"]
            http.close()


def test_an_upsert_wakes_a_live_query(server: Threaded, place: Place) -> None:
    async def start(serving: Serving) -> AsyncGenerator[list[str], None]:
        return cast(
            AsyncGenerator[list[str], None], serving.backend.watch(nearest, index=place.name, vector=[1.0, 0.0])
        )

    results = server.call(start)

    async def following(_: Serving) -> list[str]:
        return await anext(results)

    assert server.call(following) == []
    place.upsert({"id": "a", "values": [1, 1]})
    assert server.call(following) == ["a"]
    place.upsert({"id": "b", "values": [2, 0]}, {"id": "elsewhere", "values": [-1, 0]})
    assert server.call(following) == ["b", "a", "elsewhere"]
    place.post("vectors/delete", {"ids": ["b"]})
    assert server.call(following) == ["a", "elsewhere"]
    server.call(lambda _: results.aclose())


def test_errors_of_the_server_itself() -> None:
    busy = refusal(Overloaded("too many wait"))
    assert (busy.status, busy.headers) == (429, [(b"retry-after", b"1")])
    assert refusal(StorageError("/secret/path failed")).status == 503
    assert b"/secret" not in refusal(StorageError("/secret/path failed")).body()
    assert refusal(EmbedderError("the model is broken")).status == 500
    unknown = refusal(ZeroDivisionError("1/0 in /secret"))
    assert unknown.status == 500
    assert b"secret" not in unknown.body()


def test_an_overloaded_server_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    busy = rf.App(modules=[], environment=ENVIRONMENT, limits=rf.Limits(queued_mutations=1))
    with in_thread(busy, tmp_path_factory.mktemp("data")) as threaded:
        http = httpx.Client(base_url=threaded.url, headers=HEADERS)
        place = make(http)
        with turn_taken(threaded):
            for response in (
                http.post("/indexes", json={"name": "x", "dimension": 2}),
                place.upsert({"id": "a", "values": [1, 1]}),
            ):
                refused(response, 429, "limits.queued_mutations")
                assert response.headers["retry-after"] == "1"
        assert place.upsert({"id": "a", "values": [1, 1]}).status_code == 200
        http.close()
