"""Transitions that are large: in chunks for clients that understand these, in fragments for others."""

from __future__ import annotations

import json
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from reflow.server.frames import FRAGMENT_BYTES
from tests.protocol.test_bad_frames import CONNECT, RawSocket, frame
from tests.support.servers import Threaded
from tests.support.sync_client import Json, SyncClient, added

MIB = 1 << 20


def messages(client: SyncClient, query: Json) -> list[Json]:
    """The messages that bring a query's first result."""
    client.modify(query)
    found: list[Json] = []
    while True:
        message = json.loads(client.socket.recv(20))
        found.append(message)
        if message["type"] == "Transition" or message.get("partNumber") == message.get("totalParts", 0) - 1:
            return found


@pytest.mark.parametrize("letter", ["x", "ä", "€", "😀", '"', "\\"])
def test_a_large_transition_comes_in_chunks(server: Threaded, letter: str) -> None:
    value = letter * 2_700_000 if len(letter.encode()) == 1 else letter * 700_001
    with SyncClient(server.url, path="/api/1.48.0/sync", introduce=False) as client:
        client.connect()
        client.modify()
        client.expect("Transition")
        parts = messages(client, added(0, "extra:echo", {"value": value}))
    whole = json.loads("".join(part["chunk"] for part in parts))
    assert whole["type"] == "Transition"
    assert whole["startVersion"] == client.version
    assert whole["modifications"][0]["value"] == value
    assert len(parts) > 1
    assert {part["type"] for part in parts} == {"TransitionChunk"}
    assert [part["partNumber"] for part in parts] == list(range(len(parts)))
    assert {part["totalParts"] for part in parts} == {len(parts)}
    assert len({part["transitionId"] for part in parts}) == 1
    assert all(len(part["chunk"].encode()) <= MIB for part in parts)


@pytest.mark.parametrize(
    ("path", "chunked"),
    [
        ("/api/1.28.0/sync", True),
        ("/api/2.0.0-alpha.1/sync", True),
        ("/api/1.27.9/sync", False),
        ("/api/0.99.0/sync", False),
        ("/api/next/sync", False),
        ("/api/sync", False),
    ],
)
def test_only_who_understands_chunks_gets_any(server: Threaded, path: str, chunked: bool) -> None:
    with SyncClient(server.url, path=path) as client:
        (small,) = messages(client, added(0, "extra:large", {"name": "c", "size": MIB // 2}))
        assert small["type"] == "Transition"
        large = messages(client, added(1, "extra:large", {"name": "c", "size": 2 * MIB}))
        assert {message["type"] for message in large} == {"TransitionChunk" if chunked else "Transition"}


def test_chunks_are_followed_by_what_comes_after(server: Threaded) -> None:
    """The versions go on from the transition in chunks, and several sockets share it."""
    with SyncClient(server.url) as one, SyncClient(server.url) as other:
        for client in (one, other):
            assert client.subscribe(0, "extra:large", {"name": "shared", "size": 3 * MIB})["value"].startswith("0:")
        for round in range(1, 4):
            assert one.mutate("lib/counters:addOne", {"name": "shared"})["result"] == round
            assert one.results[0].startswith(f"{round}:")
            while not other.results[0].startswith(f"{round}:"):
                other.expect("Transition")


def frames_of(data: bytes) -> list[tuple[int, bytes]]:
    """(first byte, payload) of the frames that a server sent."""
    found: list[tuple[int, bytes]] = []
    while data:
        length, start = data[1], 2
        if length > 125:
            start = 4 if length == 126 else 10
            length = int.from_bytes(data[2:start], "big")
        found.append((data[0], data[start : start + length]))
        data = data[start + length :]
    return found


def test_other_clients_get_fragments_of_a_bounded_size(server: Threaded) -> None:
    """20 MiB, where the PyPI client takes frames of up to 16."""
    raw = RawSocket(server.url)  # of /api/sync
    raw.read = raw.read.partition(b"\r\n\r\n")[2]
    queries = [added(number, "extra:large", {"name": "f", "size": 10 * MIB}) for number in range(2)]
    modify: dict[str, Any] = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": queries}
    raw.send(CONNECT + frame(json.dumps(modify).encode()))
    parts: list[bytes] = []
    while b'"journal":null}]}' not in b"".join(parts[-2:]):
        parts.append(raw.socket.recv(MIB))
    raw.socket.close()
    found = frames_of(raw.read + b"".join(parts))
    assert [first for first, _ in found] == [0x01, *[0x00] * (len(found) - 2), 0x80]
    assert all(len(payload) <= FRAGMENT_BYTES for _, payload in found)
    whole = json.loads(b"".join(payload for _, payload in found))
    assert [len(change["value"]) for change in whole["modifications"]] == [10 * MIB + 2] * 2


def test_a_result_over_the_limit_is_an_error_of_its_query_alone(server: Threaded) -> None:
    with SyncClient(server.url) as client:
        client.modify(
            added(0, "extra:large", {"name": "o", "size": 17 * MIB}), added(1, "extra:large", {"name": "o", "size": 1})
        )
        failed, fine = client.expect("Transition")["modifications"]
        assert "limits.result_bytes" in failed["errorMessage"]
        assert fine["value"] == "0:x"


def test_a_message_over_the_limit_ends_its_own_socket_only(server: Threaded) -> None:
    with SyncClient(server.url) as witness, SyncClient(server.url) as client:
        client.call("Mutation", "messages:send", {"author": "a", "body": "x" * (18 * MIB)})
        with pytest.raises(ConnectionClosed) as closed:
            client.receive()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1009
        assert witness.mutate("lib/counters:addOne", {"name": "witness of size"})["success"]
