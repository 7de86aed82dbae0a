"""Rule 9 at Pinecone's API: whatever is sent, the answer is a success or tells the sender's own mistake."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.pinecone_app import KEY, app
from tests.support.servers import Threaded, in_thread

PATHS = (
    "POST vectors/upsert", "POST query", "GET vectors/fetch", "POST vectors/fetch_by_metadata", "POST vectors/update",
    "POST vectors/delete", "GET vectors/list", "POST describe_index_stats", "POST namespaces", "GET namespaces",
    "GET namespaces/n", "DELETE namespaces/n", "POST records/namespaces/n/upsert", "POST records/namespaces/n/search",
)  # fmt: skip
CONTROL = ("POST /indexes", "POST /indexes/create-for-model", "PATCH /indexes/dense", "POST /embed", "GET /indexes")
WORDS = (
    "id _id values vector vectors sparseValues sparseVector indices metadata namespace topK filter ids deleteAll "
    "setMetadata dryRun limit prefix paginationToken includeValues includeMetadata $and $or $in $eq $gt $exists $not "
    "query top_k inputs text fields name dimension metric schema embed model field_map tags deletion_protection a n"
).split()

TEXTS = st.sampled_from(["", "a", "n", "__default__", "cosine", "local/minilm-l6-v2", "ä", "\0", "x" * 600]) | st.text()
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-3, 10_002)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXTS
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | TEXTS, inner, max_size=4),
    max_leaves=12,
)
VECTORS = st.lists(st.floats(-2, 2, width=32), min_size=2, max_size=2) | VALUES
SPARSE = st.fixed_dictionaries({"indices": st.lists(st.integers(0, 9)), "values": st.lists(st.floats(-1, 1))})
FILTERS = st.dictionaries(st.sampled_from(["a", "$and", "$or", "$not", "$gt"]), VALUES, max_size=2)
RECORDS = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b"]) | VALUES},
    optional={"values": VECTORS, "sparseValues": SPARSE | VALUES, "metadata": VALUES},
)
LIKELY = st.fixed_dictionaries(
    {},
    optional={
        "vectors": st.lists(RECORDS, max_size=3),
        "vector": VECTORS,
        "values": VECTORS,
        "id": st.sampled_from(["a", "b"]),
        "ids": st.lists(st.sampled_from(["a", "b"]) | TEXTS, max_size=2),
        "topK": st.integers(0, 5),
        "sparseVector": SPARSE,
        "filter": FILTERS,
        "setMetadata": st.dictionaries(TEXTS, SCALARS, max_size=2),
        "namespace": st.sampled_from(["", "n", "__default__"]),
        "query": VALUES,
    },
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with in_thread(app, tmp_path_factory.mktemp("data")) as threaded:
        yield threaded


@pytest.fixture(scope="module")
def http(server: Threaded) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, headers={"api-key": KEY}) as client:
        client.post("/indexes", json={"name": "dense", "dimension": 2})
        client.post("/indexes", json={"name": "mixed", "dimension": 2, "metric": "dotproduct"})
        client.post("/indexes", json={"name": "sparse", "vector_type": "sparse"})
        yield client


@given(
    index=st.sampled_from(["dense", "mixed", "sparse", "notes-meaning", "missing"]),
    path=st.sampled_from(PATHS),
    body=LIKELY | VALUES,
)
@settings(
    max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
def test_rule_9_whatever_a_pinecone_client_sends(http: httpx.Client, index: str, path: str, body: Any) -> None:
    method, _, place = path.partition(" ")
    parameters = body if method == "GET" and isinstance(body, dict) else {}
    plain = {name: str(value) for name, value in parameters.items()}
    check(http.request(method, f"/i/{index}/{place}", params=plain, content=encoded(body)))


@given(path=st.sampled_from(CONTROL), body=VALUES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_rule_9_whatever_is_sent_to_the_control_plane(http: httpx.Client, path: str, body: Any) -> None:
    method, _, place = path.partition(" ")
    check(http.request(method, place, content=encoded(body)))


def encoded(body: Any) -> bytes:
    return json.dumps(body).encode()


def check(response: httpx.Response) -> None:
    assert response.status_code < 500, response.text
    if response.status_code >= 400:
        told = response.json()
        assert told["message"]
        assert told["error"]["message"] == told["message"]
