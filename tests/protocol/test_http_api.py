"""The HTTP function API: shapes, statuses, formats, and what is not there."""

from __future__ import annotations

import base64
import json
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

import reflow as rf
from reflow.errors import Overloaded, StorageError
from reflow.server.frames import encode_timestamp
from reflow.server.http_errors import http_error
from reflow.server.serve import Serving
from tests.support.app_under_test import counters, messages
from tests.support.servers import Threaded, in_thread, turn_taken

ENCODED = "convex_encoded_json"


@pytest.fixture(scope="module")
def http(server: Threaded) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url) as client:
        yield client


def name() -> str:
    return uuid.uuid4().hex


def failed(response: httpx.Response, status: int) -> str:
    """The code of an infrastructure error, whose shape is checked."""
    assert response.status_code == status, response.text
    body = response.json()
    assert set(body) == {"code", "message"}
    assert body["message"]
    return body["code"]


# Calls


@pytest.mark.parametrize("wrapped", [False, True])
def test_arguments_come_plain_or_in_an_array_of_one(http: httpx.Client, wrapped: bool) -> None:
    args = {"name": name()}
    call = {"path": "lib/counters:addOne", "args": [args] if wrapped else args, "format": ENCODED}
    response = http.post("/api/mutation", json=call)
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.json() == {"status": "success", "value": 1, "logLines": []}


def test_query_mutation_and_action(http: httpx.Client) -> None:
    args = {"author": name(), "body": "hi"}
    assert http.post("/api/action", json={"path": "messages:announce", "args": args}).json()["value"] >= 1
    rows = http.post("/api/query", json={"path": "messages:listing", "args": {"author": args["author"]}}).json()
    assert [row["body"] for row in rows["value"]] == ["hi"]


def test_a_query_by_get(http: httpx.Client) -> None:
    parameters = {"path": "extra:echo", "args": json.dumps({"value": "ä b"}), "format": "json"}
    assert http.get("/api/query", params=parameters).json()["value"] == "ä b"
    assert http.get("/api/query", params={"path": "extra"}).json()["value"] == "the default"


def test_run_takes_the_path_from_the_address(http: httpx.Client) -> None:
    assert http.post("/api/run/lib/counters/addOne", json={"args": {"name": name()}}).json()["value"] == 1
    assert http.post("/api/run/extra/default", json={}).json()["value"] == "the default"
    assert http.post("/api/run/messages/wait", json={"args": {"seconds": 0}}).json()["value"] == 0
    assert http.post("/api/run/messages/secret", json={}).json()["status"] == "error"


def test_formats(http: httpx.Client) -> None:
    value = {
        "big": {"$integer": base64.b64encode((5).to_bytes(8, "little")).decode()},
        "bytes": {"$bytes": "AAE="},
        "infinite": {"$float": "AAAAAAAA8H8="},
    }
    call = {"path": "extra:echo", "args": {"value": value}}
    plain = {"big": "5", "bytes": "AAE=", "infinite": "Infinity"}
    for format, expected in [
        (ENCODED, value),
        ("convex_json", value),
        ("json", plain),
        ("convex_clean_json", plain),
        (None, plain),
    ]:
        asked = call if format is None else {**call, "format": format}
        assert http.post("/api/query", json=asked).json()["value"] == expected
    assert failed(http.post("/api/query", json={**call, "format": "xml"}), 400) == "BadFormat"


def test_reads_at_a_timestamp(http: httpx.Client) -> None:
    args = {"name": name()}
    http.post("/api/mutation", json={"path": "lib/counters:addOne", "args": args})
    asked = http.post("/api/query_ts", content=b"").json()
    assert set(asked) == {"ts"}
    http.post("/api/mutation", json={"path": "lib/counters:addOne", "args": args})
    call = {"path": "lib/counters:valueOf", "args": args}
    assert http.post("/api/query_at_ts", json={**call, **asked}).json()["value"] == 1
    assert http.post("/api/query", json=call).json()["value"] == 2


@pytest.mark.parametrize(
    ("ts", "status", "code"),
    [
        (encode_timestamp(time.time_ns() + 10**18), 503, "OutOfRetention"),
        ("yesterday", 400, "InvalidValue"),
        (None, 400, "BadRequest"),
    ],
)
def test_timestamps_that_cant_be_read(http: httpx.Client, ts: str | None, status: int, code: str) -> None:
    http.post("/api/mutation", json={"path": "lib/counters:addOne", "args": {"name": name()}})
    call = {"path": "extra:default", "args": {}, "ts": ts}
    assert failed(http.post("/api/query_at_ts", json=call), status) == code


# Errors of functions: status 200


@pytest.mark.parametrize("data", [None, {"code": 7}, "text"])
def test_an_applications_error_has_its_data(http: httpx.Client, data: Any) -> None:
    response = http.post("/api/mutation", json={"path": "messages:refuse", "args": {"data": data}, "format": ENCODED})
    assert response.status_code == 200
    body = response.json()
    assert set(body) == {"status", "errorMessage", "errorData"}
    assert body["status"] == "error"
    assert body["errorData"] == data


def test_other_errors_have_none(http: httpx.Client) -> None:
    body = http.post("/api/mutation", json={"path": "messages:crash", "args": {}}).json()
    assert set(body) == {"status", "errorMessage"}
    assert "the reason" in body["errorMessage"]


@pytest.mark.parametrize("door", ["query", "mutation", "action"])
@pytest.mark.parametrize("path", ["nope:nothing", "messages:secret", "messages:secret_send", "x" * 5000])
def test_rule_8_unknown_and_internal_functions_are_the_same(http: httpx.Client, door: str, path: str) -> None:
    response = http.post(f"/api/{door}", json={"path": path, "args": {}})
    assert response.status_code == 200
    assert response.json()["errorMessage"].startswith("Could not find public function for '")
    assert len(response.content) < 1000


def test_wrong_arguments(http: httpx.Client) -> None:
    for args in ({"nam": 1}, {}, {"name": 1}, "text", 5, None):
        body = http.post("/api/mutation", json={"path": "lib/counters:addOne", "args": args}).json()
        assert body["errorMessage"].startswith("ArgumentValidationError: "), args


# Errors of the request


@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"[]", b'"text"', b'{"args":{}}', b'{"path":5}', b"\xff\xfe", b"[" * 100_000]
)
def test_bodies_that_are_no_call(http: httpx.Client, body: bytes) -> None:
    for door in ("query", "mutation", "action", "query_at_ts"):
        assert failed(http.post(f"/api/{door}", content=body), 400) == "BadRequest"


def test_two_arguments_are_none(http: httpx.Client) -> None:
    call = {"path": "extra:default", "args": [{}, {}]}
    assert failed(http.post("/api/query", json=call), 400) == "BadRequest"


def test_deep_and_broken_arguments_are_the_callers_mistake(http: httpx.Client) -> None:
    deep = b'{"path":"extra:echo","args":{"value":' + b"[" * 5000 + b"]" * 5000 + b"}}"
    response = http.post("/api/query", content=deep)
    assert response.status_code == 400 or response.json()["status"] == "error"
    lone = b'{"path":"extra:echo","args":{"value":"\\ud800"}}'
    assert http.post("/api/query", content=lone).status_code in (200, 400)


@pytest.mark.parametrize("path", ["/api/nothing", "/api/", "/api/run/", "/api/nothing/upload"])
def test_what_is_not_there(http: httpx.Client, path: str) -> None:
    assert failed(http.post(path, json={"path": "messages:secret", "args": {}}), 404) == "NotFound"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/api/mutation"),
        ("GET", "/api/action"),
        ("PUT", "/api/query"),
        ("DELETE", "/api/mutation"),
        ("GET", "/api/query_ts"),
        ("GET", "/api/run/extra/default"),
        ("POST", "/version"),
    ],
)
def test_wrong_methods(http: httpx.Client, method: str, path: str) -> None:
    response = http.request(method, path)
    assert failed(response, 405) == "MethodNotAllowed"
    assert response.headers["allow"]


def test_a_body_has_a_bound(http: httpx.Client) -> None:
    body = b'{"path":"extra:echo","args":{"value":"' + b"x" * (17 << 20) + b'"}}'
    response = http.post("/api/query", content=body)
    assert failed(response, 413) == "BodyTooLarge"
    assert "limits.body_bytes" in response.text


@pytest.mark.parametrize(
    ("header", "code"),
    [("Bearer a.b.c", "NoAuthProvider"), ("Convex key", "BadDeployKey"), ("Basic x", "InvalidAuthHeader")],
)
def test_tokens_are_refused_where_no_provider_is_set_up(http: httpx.Client, header: str, code: str) -> None:
    call = {"path": "extra:default", "args": {}}
    assert failed(http.post("/api/query", json=call, headers={"authorization": header}), 401) == code


def test_what_kept_the_server_from_running_a_function_is_its_status() -> None:
    assert http_error(Overloaded("x")).status == 503
    assert http_error(Overloaded("x")).short == "TooManyConcurrentRequests"
    assert http_error(StorageError("x")).status == 503


def test_an_overloaded_server_says_so(tmp_path_factory: pytest.TempPathFactory) -> None:
    busy = rf.App(modules=[counters], limits=rf.Limits(queued_mutations=1))
    with in_thread(busy, tmp_path_factory.mktemp("busy")) as threaded:
        with turn_taken(threaded):
            call = {"path": "lib/counters:addOne", "args": {"name": "x"}}
            response = httpx.post(f"{threaded.url}/api/mutation", json=call)
            assert failed(response, 503) == "TooManyConcurrentRequests"
            assert "limits.queued_mutations" in response.text
        assert httpx.post(f"{threaded.url}/api/mutation", json=call).status_code == 200


def test_actions_over_http_have_a_bound(tmp_path_factory: pytest.TempPathFactory) -> None:
    busy = rf.App(modules=[messages], limits=rf.Limits(client_actions=1))
    with in_thread(busy, tmp_path_factory.mktemp("busy")) as threaded, ThreadPoolExecutor(3) as pool:
        call = {"path": "messages:wait", "args": {"seconds": 2.0}}
        answers = list(pool.map(lambda _: httpx.post(f"{threaded.url}/api/action", json=call), range(3)))
        assert sorted(answer.status_code for answer in answers) == [200, 503, 503]
        assert "limits.client_actions" in next(answer.text for answer in answers if answer.status_code == 503)


# Browsers


def test_a_browsers_preflight(http: httpx.Client) -> None:
    headers = {
        "origin": "http://localhost:5173",
        "access-control-request-method": "POST",
        "access-control-request-headers": "convex-client, content-type",
    }
    response = http.options("/api/query", headers=headers)
    assert response.status_code == 204
    assert response.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert response.headers["access-control-allow-headers"] == "convex-client, content-type"
    assert "POST" in response.headers["access-control-allow-methods"]
    assert response.headers["access-control-max-age"] == "86400"
    answered = http.post("/api/query", json={"path": "extra"}, headers={"origin": "http://localhost:5173"})
    assert answered.headers["access-control-allow-origin"] == "http://localhost:5173"
    assert answered.headers["access-control-allow-credentials"] == "true"
    refused = http.post("/api/query", content=b"no", headers={"origin": "http://localhost:5173"})
    assert refused.headers["access-control-allow-origin"] == "http://localhost:5173"


def test_version(http: httpx.Client) -> None:
    assert http.get("/version").text.count(".") == 2


# The command line's door


def test_the_local_door_runs_everything_for_who_has_the_token(server: Threaded, http: httpx.Client) -> None:
    async def token(serving: Serving) -> str:
        return serving.token

    headers = {"x-reflow-token": server.call(token)}

    def run(**call: Any) -> httpx.Response:
        return http.post("/api/local/run", json=call, headers=headers)

    assert run(path="messages:secret").json()["value"] == "hidden"
    assert run(path="messages:secret_send", kind="mutation").json()["value"] == "hidden"
    assert run(path="messages:wait", args={"seconds": 0}).json()["value"] == 0
    assert run(path="messages:refuse_action", args={"data": 1}).json()["logLines"] == ["[LOG] about to refuse"]
    assert failed(run(path="messages:secret", kind="action"), 400) == "BadRequest"
    assert failed(run(path="nope:nothing"), 404) == "FunctionNotFound"


@pytest.mark.parametrize("headers", [{}, {"x-reflow-token": "guess"}, {"x-reflow-token": ""}])
def test_the_local_door_is_shut_for_others(http: httpx.Client, headers: dict[str, str]) -> None:
    response = http.post("/api/local/run", json={"path": "messages:secret"}, headers=headers)
    assert failed(response, 403) == "Forbidden"
