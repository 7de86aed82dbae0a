"""What one client, or very many, can take of a server: each bound holds, is named, and hurts nobody else."""

from __future__ import annotations

import gc
import json
import socket
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx
import pytest
from websockets.exceptions import ConnectionClosed

import reflow as rf
from reflow.server.fast_http import FastHttp
from reflow.server.fast_socket import FastSocket
from reflow.server.serve import Serving
from reflow.server.sync import SyncSocket
from tests.protocol.test_bad_frames import CONNECT, RawSocket, frame
from tests.support.app_under_test import counters, extra, messages
from tests.support.servers import Threaded, in_thread
from tests.support.sync_client import SyncClient, added

LIMITS = rf.Limits(
    connections=12,
    head_bytes=4096,
    stalled_seconds=1.0,
    stalled_bytes=1000,
    unread_seconds=1.0,
    pong_seconds=2.0,
    ping_seconds=0.4,
    queries_per_socket=50,
    query_bytes_per_socket=100_000,
    waiting_bytes=250_000,
    actions_per_socket=3,
    queries_per_batch=5,
    result_bytes=1 << 20,
)
app = rf.App(modules=[messages, counters, extra], limits=LIMITS)


@pytest.fixture
def bounded(tmp_path: Path) -> Iterator[Threaded]:
    with in_thread(app, tmp_path) as threaded:
        yield threaded


def plain(url: str) -> socket.socket:
    """A connection without any protocol."""
    parts = urlsplit(url)
    return socket.create_connection((parts.hostname, parts.port), timeout=20)


def all_of(raw: socket.socket) -> bytes:
    """What the server still says until it closes."""
    read = b""
    try:
        while data := raw.recv(1 << 16):
            read += data
    except ConnectionError:
        pass
    raw.close()
    return read


def asks(url: str) -> bool:
    """Whether somebody else is served as ever."""
    return httpx.post(f"{url}/api/query", json={"path": "extra"}).json()["value"] == "the default"


def eventually(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not true():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.05)


HEADS = [
    b"",
    b"GET",
    b"GET /version HTTP/1.1\r\nHost: x\r\nX-A: ",
    b"GET /version HTTP/1.1\r\nHost: x\r\n\r\nGET /version HTT",  # the second one on its connection
    b"POST /api/query HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n" + b"{" * 500,
    b"GET /api/sync HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n",
]


@pytest.mark.parametrize("said", HEADS)
def test_who_does_not_finish_a_request_is_dropped(bounded: Threaded, said: bytes) -> None:
    raw = plain(bounded.url)
    raw.sendall(said)
    all_of(raw)  # raises TimeoutError where the server keeps the connection
    assert asks(bounded.url)


@pytest.mark.parametrize("said", [b"X-A: b\r\n", b"x"])
def test_who_sends_a_head_drop_by_drop_is_dropped(bounded: Threaded, said: bytes) -> None:
    raw = plain(bounded.url)
    raw.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n")
    deadline = time.monotonic() + 20
    try:
        while time.monotonic() < deadline:
            raw.sendall(said)
            time.sleep(0.1)
    except OSError:
        raw.close()
        return
    pytest.fail("the server keeps the connection")


def test_a_body_that_comes_in_time_is_taken(bounded: Threaded) -> None:
    body = json.dumps({"path": "extra:echo", "args": {"value": "x" * 20_000}}).encode()
    raw = plain(bounded.url)
    head = b"POST /api/query HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    raw.sendall(head)
    for start in range(0, len(body), 1000):
        raw.sendall(body[start : start + 1000])
        time.sleep(0.12)  # over two seconds in all, ten times the least
    assert b'"status":"success"' in all_of(raw)


def test_an_endless_head_is_refused(bounded: Threaded) -> None:
    raw = plain(bounded.url)
    raw.sendall(b"GET /version HTTP/1.1\r\nHost: x\r\n")
    try:
        for _ in range(2000):
            raw.sendall(b"X-A: " + b"b" * 1000 + b"\r\n")
    except OSError:
        pass
    else:
        pytest.fail("the server reads without end")
    raw.close()
    assert asks(bounded.url)


def test_more_connections_than_there_may_be(bounded: Threaded) -> None:
    clients = [SyncClient(bounded.url) for _ in range(6)]
    others = [plain(bounded.url) for _ in range(6)]
    answer = httpx.get(f"{bounded.url}/version")
    assert answer.status_code == 503
    assert "limits.connections = 12" in answer.text
    clients[0].subscribe(0, "extra:default")
    for other in others:
        other.close()
    eventually(lambda: httpx.get(f"{bounded.url}/version").status_code == 200)
    for client in clients:
        client.close()


def test_who_takes_no_answer_is_dropped(bounded: Threaded) -> None:
    """Many small answers over one connection, of which none is read."""

    async def clients(serving: Serving) -> int:
        return len(app.doors.sockets())

    raw = RawSocket(bounded.url)
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    query = added(0, "extra:large", {"name": "unread", "size": 900_000})
    modify = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [query]}
    raw.send(CONNECT + frame(json.dumps(modify).encode()))
    eventually(lambda: bounded.call(clients) == 0)
    raw.socket.close()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells who takes nothing")
def test_who_takes_no_answer_to_a_request_is_dropped(tmp_path: Path) -> None:
    """The answer is larger than what the system itself keeps of it."""
    few = rf.App(modules=[extra, counters], limits=rf.Limits(connections=3, unread_seconds=1.0))
    with in_thread(few, tmp_path) as server:
        taken = [plain(server.url) for _ in range(3)]
        for raw in taken:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            args = quote(json.dumps({"name": "unread", "size": 15_000_000}))
            raw.sendall(f"GET /api/query?path=extra:large&args={args} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert httpx.get(f"{server.url}/version").status_code == 503
        eventually(lambda: httpx.get(f"{server.url}/version").status_code == 200)
        for raw in taken:
            raw.close()


def test_who_never_introduces_itself_is_dismissed(bounded: Threaded) -> None:
    with SyncClient(bounded.url) as polite, SyncClient(bounded.url, introduce=False) as stranger:
        assert stranger.closed().rcvd is not None
        polite.subscribe(0, "extra:default")


def test_queries_of_a_socket_are_bounded_in_number_and_size(bounded: Threaded) -> None:
    with SyncClient(bounded.url) as client:
        client.modify(*(added(n, "extra:echo", {"value": n}) for n in range(51)))
        assert "limits.queries_per_socket = 50" in client.expect("FatalError")["error"]
    with SyncClient(bounded.url) as client:
        for n in range(20):  # what is gone does not count
            client.subscribe(n, "extra:echo", {"value": "x" * 60_000})
            client.modify({"type": "Remove", "queryId": n})
            client.expect("Transition")
        client.subscribe(100, "extra:echo", {"value": "x" * 60_000})
        client.modify(added(101, "extra:echo", {"value": 1}, journal="j" * 50_000))
        assert "limits.query_bytes_per_socket = 100000" in client.expect("FatalError")["error"]
        with pytest.raises(ConnectionClosed):
            client.receive()
    assert asks(bounded.url)


def test_calls_that_wait_are_bounded_over_all_sockets(bounded: Threaded) -> None:
    large = {"author": "a", "body": "x" * 90_000}
    call = '{"type":"Action","requestId":%d,"udfPath":"lib/counters:counted","args":[{"name":"gate"%s}]}'
    with SyncClient(bounded.url) as one, SyncClient(bounded.url) as other:
        for request in range(2):
            one.socket.send(call % (request, " " * 90_000))
        one.mutate("lib/counters:addOne", {"name": "after them"})
        refused = other.mutate("messages:send", large)
        assert "limits.waiting_bytes = 250000" in refused["result"]
        assert "limits.waiting_bytes" in other.act("messages:wait", {"seconds": "x" * 90_000})["result"]
        assert other.mutate("lib/counters:addOne", {"name": "gate"})["success"]
        for _ in range(2):
            assert one.expect("ActionResponse")["success"]
        assert other.mutate("messages:send", large)["success"]


def test_who_has_asked_for_much_outlives_the_bound_of_pings(tmp_path: Path) -> None:
    """Such a client is not read from until it is answered, so that the answers to pings are not seen."""
    limits = replace(LIMITS, socket_buffer_bytes=50_000)
    few = rf.App(modules=[messages, counters, extra], limits=limits)
    call = '{"type":"Action","requestId":0,"udfPath":"messages:wait","args":[{"seconds":4.0%s}]}'
    with in_thread(few, tmp_path) as threaded, SyncClient(threaded.url) as client:
        client.socket.send(call % (" " * 90_000))
        assert client.expect("ActionResponse")["success"]
        client.mutate("lib/counters:addOne", {"name": "after it"})


def test_actions_of_a_socket_are_bounded(bounded: Threaded) -> None:
    with SyncClient(bounded.url) as client:
        for _ in range(4):
            client.call("Action", "messages:wait", {"seconds": 0.5})
        answers = [client.expect("ActionResponse") for _ in range(4)]
    assert [answer["success"] for answer in answers] == [False, True, True, True]
    assert "limits.actions_per_socket = 3" in answers[0]["result"]


def batch(url: str, *queries: object) -> httpx.Response:
    return httpx.post(f"{url}/api/query_batch", json={"queries": list(queries)})


def test_a_batch_of_queries(bounded: Threaded) -> None:
    httpx.post(f"{bounded.url}/api/mutation", json={"path": "lib/counters:addOne", "args": {"name": "batch"}})
    answer = batch(
        bounded.url,
        {"path": "lib/counters:valueOf", "args": {"name": "batch"}},
        {"path": "lib/counters:valueOf", "args": [{"name": "none"}], "format": "convex_encoded_json"},
        {"path": "messages:secret", "args": {}},
        {"path": "lib/counters:addOne", "args": {"name": "batch"}},
        {"path": "lib/counters:valueOf", "args": {"nam": 1}},
    )
    assert answer.status_code == 200
    first, second, secret, mutation, bad = answer.json()["results"]
    assert (first["value"], second["value"]) == (1, 0)
    assert secret["status"] == mutation["status"] == bad["status"] == "error"
    assert "Could not find public function" in secret["errorMessage"]
    assert "Could not find public function" in mutation["errorMessage"]
    assert "ArgumentValidationError" in bad["errorMessage"]
    assert batch(bounded.url).json() == {"results": []}


def test_a_batch_is_bounded(bounded: Threaded) -> None:
    query = {"path": "extra", "args": {}}
    many = batch(bounded.url, *[query] * 6)
    assert many.status_code == 413
    assert "limits.queries_per_batch is 5" in many.json()["message"]
    large = batch(bounded.url, *[{"path": "extra:large", "args": {"name": "b", "size": 600_000}}] * 2)
    assert large.status_code == 413
    assert "limits.result_bytes" in large.json()["message"]
    for body in (
        b"",
        b"[]",
        b"{}",
        b'{"queries":{}}',
        b'{"queries":[1]}',
        b'{"queries":[{"path":"extra","format":"x"}]}',
    ):
        assert httpx.post(f"{bounded.url}/api/query_batch", content=body).status_code == 400
    assert httpx.get(f"{bounded.url}/api/query_batch").status_code == 405


def test_a_socket_that_is_gone_leaves_nothing_to_the_collector_of_cycles(bounded: Threaded) -> None:
    kinds = (FastHttp, FastSocket, SyncSocket)

    def left() -> int:
        return sum(isinstance(found, kinds) for found in gc.get_objects())

    gc.collect()
    before = left()
    gc.disable()
    try:
        with SyncClient(bounded.url) as client:
            client.subscribe(0, "extra", {})
            assert left() > before
        plain(bounded.url).close()
        stranger = RawSocket(bounded.url)
        stranger.send(frame(b"{}"))  # refused: the server closes
        assert stranger.finish()
        eventually(lambda: left() <= before)  # what was there before may go, too
    finally:
        gc.enable()
