"""A client that never reads: what waits for it is bounded, and nobody else notices."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

import reflow as rf
from reflow.server.fast_socket import FastSocket
from reflow.server.serve import Serving
from tests.protocol.test_bad_frames import CONNECT, RawSocket, frame
from tests.support.app_under_test import counters, extra, messages
from tests.support.servers import Threaded, in_thread
from tests.support.sync_client import SyncClient, added

SIZE = 200_000
ROUNDS = 200


app = rf.App(modules=[messages, counters, extra], limits=rf.Limits(mutations_per_socket=50, pong_seconds=3))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with in_thread(app, tmp_path_factory.mktemp("slow")) as threaded:
        yield threaded


async def unsent(serving: Serving) -> int:
    """Bytes that wait in the server for its clients."""
    wires = [socket._wire for socket in app.doors.sockets()]  # pyright: ignore[reportPrivateUsage]
    return sum(wire.transport.get_write_buffer_size() for wire in wires if isinstance(wire, FastSocket))


def follow(name: str) -> bytes:
    """Follows a query with a large result."""
    query = added(0, "extra:large", {"name": name, "size": SIZE})
    return frame(
        json.dumps({"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [query]}).encode()
    )


def test_who_reads_nothing_gets_nothing_more(server: Threaded) -> None:
    """40 MB of results for each: a bounded part waits, intermediate states are skipped, others get all."""
    slow = [RawSocket(server.url) for _ in range(3)]
    for one in slow:
        one.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        one.send(CONNECT + follow("flood"))
    with SyncClient(server.url) as client:
        client.subscribe(0, "extra:large", {"name": "flood", "size": SIZE})
        most = 0
        for round in range(1, ROUNDS + 1):
            client.mutate("lib/counters:addOne", {"name": "flood"})
            assert client.results[0].startswith(f"{round}:")
            if round % 20 == 0:
                most = max(most, server.call(unsent))
    bound = app.limits.socket_buffer_bytes + 2 * SIZE
    assert most <= bound * len(slow)
    for one in slow:
        one.socket.close()


def test_who_reads_again_gets_the_latest(server: Threaded) -> None:
    slow = RawSocket(server.url)
    slow.send(CONNECT + follow("late"))
    with SyncClient(server.url) as client:
        for _ in range(ROUNDS):
            client.mutate("lib/counters:addOne", {"name": "late"})
    slow.until(b'"value":"%d:' % ROUNDS)
    assert len(slow.read) < ROUNDS * SIZE / 2
    slow.socket.close()


def test_who_reads_no_answers_asks_no_questions(server: Threaded) -> None:
    """The server stops reading from a client whose answers wait, so that its questions don't pile up either."""
    slow = RawSocket(server.url)
    slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.send(CONNECT)
    slow.socket.setblocking(False)
    call = {"type": "Action", "requestId": 0, "udfPath": "messages:refuse_action", "args": [{"data": "x" * 50_000}]}
    data = frame(json.dumps(call).encode()) * 20
    sent, silent_since = 0, time.monotonic()
    while time.monotonic() - silent_since < 1.0:
        try:
            sent += slow.socket.send(data[sent % len(data) :])
            silent_since = time.monotonic()
        except BlockingIOError:
            time.sleep(0.01)
        except OSError:
            break
        assert sent < 100_000_000, "the server reads without end"
    assert server.call(unsent) < 8_000_000
    slow.socket.close()


def test_a_dead_client_is_given_up(server: Threaded) -> None:
    """Nothing tells the server that it is gone, but it does not answer the transport's ping."""

    async def clients(serving: Serving) -> int:
        return len(app.doors.sockets())

    before = server.call(clients)
    dead = RawSocket(server.url)
    dead.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    dead.send(CONNECT + follow("dead"))
    deadline = time.monotonic() + 30
    while server.call(clients) > before:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    dead.socket.close()


def test_a_client_that_asks_too_much_at_once_is_told(server: Threaded, tmp_path: Path) -> None:
    with SyncClient(server.url) as client:
        requests = [client.call("Mutation", "lib/counters:addOne", {"name": "many"}) for _ in range(500)]
        answers = {}
        while len(answers) < len(requests):
            try:
                message = client.receive()
            except ConnectionClosed as error:
                raise AssertionError("closed") from error
            if message["type"] == "MutationResponse":
                answers[message["requestId"]] = message
    refused = [answer for answer in answers.values() if not answer["success"]]
    done = [answer["result"] for answer in answers.values() if answer["success"]]
    assert done == list(range(1, len(done) + 1))
    assert all("limits.mutations_per_socket" in answer["result"] for answer in refused)


def test_pings_fill_the_silence(tmp_path: Path) -> None:
    quick = rf.App(modules=[extra, counters], limits=rf.Limits(ping_seconds=0.2))
    with in_thread(quick, tmp_path) as threaded, SyncClient(threaded.url) as client:
        client.subscribe(0, "extra:default")
        assert json.loads(client.socket.recv(10)) == {"type": "Ping"}
        assert json.loads(client.socket.recv(10)) == {"type": "Ping"}
        assert client.mutate("lib/counters:addOne", {"name": "x"})["result"] == 1
