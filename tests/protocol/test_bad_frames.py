"""Garbage on the wire: a client can only hurt itself."""

from __future__ import annotations

import base64
import json
import logging
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from websockets.frames import Opcode

from tests.support.servers import Threaded
from tests.support.sync_client import SyncClient, added

MANY = settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)


@pytest.fixture
def witness(server: Threaded, caplog: pytest.LogCaptureFixture) -> Iterator[SyncClient]:
    """A client that minds its own business: it must never notice, and the log must stay silent."""
    caplog.set_level(logging.WARNING)
    with SyncClient(server.url) as client:
        client.subscribe(0, "lib/counters:valueOf", {"name": "witness"})
        yield client
        value = client.mutate("lib/counters:addOne", {"name": "witness"})["result"]
        assert client.results[0] == value
    assert [record.getMessage() for record in caplog.get_records("call")] == []


class RawSocket:
    """A websocket without any help: what is sent is what is given."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.socket = socket.create_connection((parts.hostname, parts.port), timeout=10)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /api/sync HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.read = b""
        while b"\r\n\r\n" not in self.read:
            self.read += self.socket.recv(4096)
        assert b" 101 " in self.read.split(b"\r\n")[0]

    def send(self, data: bytes) -> None:
        """Sends bytes, unless the server has closed the socket."""
        try:
            self.socket.sendall(data)
        except OSError:
            pass

    def until(self, text: bytes) -> None:
        """Waits until the server says it."""
        while text not in self.read:
            try:
                data = self.socket.recv(1 << 16)
            except OSError:
                self.socket.close()
                raise
            assert data, f"the server closed the socket after {self.read!r}"
            self.read += data

    def finish(self) -> bytes:
        """Sends no more; all that the server still says."""
        try:
            self.socket.shutdown(socket.SHUT_WR)
            while data := self.socket.recv(1 << 16):
                self.read += data
        except ConnectionError:
            pass
        finally:
            self.socket.close()
        return self.read


def frame(payload: bytes, *, first: int = 0x80 | Opcode.TEXT, masked: bool = True, length: int | None = None) -> bytes:
    """One websocket frame; `length` is what its header claims."""
    size = len(payload) if length is None else length
    bit = 0x80 if masked else 0
    if size < 126:
        head = struct.pack("!BB", first, bit | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", first, bit | 126, size)
    else:
        head = struct.pack("!BBQ", first, bit | 127, size)
    if not masked:
        return head + payload
    mask = b"\x01\x02\x03\x04"
    return head + mask + bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


CONNECT = frame(b'{"type":"Connect","sessionId":"s","connectionCount":0}')


@MANY
@given(data=st.binary(min_size=1, max_size=300))
def test_random_bytes(server: Threaded, witness: SyncClient, data: bytes) -> None:
    raw = RawSocket(server.url)
    raw.send(CONNECT + data)
    raw.finish()


@MANY
@given(
    payloads=st.lists(st.binary(max_size=200), min_size=1, max_size=5), first=st.sampled_from([0x81, 0x82, 0x80, 0x01])
)
def test_frames_of_random_bytes(server: Threaded, witness: SyncClient, payloads: list[bytes], first: int) -> None:
    raw = RawSocket(server.url)
    raw.send(CONNECT + b"".join(frame(payload, first=first) for payload in payloads))
    raw.finish()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
NAMES = st.sampled_from(
    ["requestId", "udfPath", "args", "baseVersion", "newVersion", "modifications", "tokenType", "value", "sessionId"]
)
TYPES = st.sampled_from(["Connect", "ModifyQuerySet", "Mutation", "Action", "Authenticate", "Event", "Ping", ""])
MESSAGES = st.builds(lambda kind, fields: {"type": kind, **fields}, TYPES, st.dictionaries(NAMES, JSON, max_size=6))
CALLS = st.builds(
    lambda kind, path, args: {"type": kind, "requestId": 1, "udfPath": path, "args": [args]},
    st.sampled_from(["Mutation", "Action"]),
    st.sampled_from(["extra:echo", "lib/counters:addOne", "messages:send", "messages:wait"]),
    JSON,
)
QUERIES = st.builds(
    lambda path, args, journal: {
        "type": "ModifyQuerySet",
        "baseVersion": 0,
        "newVersion": 1,
        "modifications": [{**added(0, path), "args": [args], "journal": journal}],
    },
    st.sampled_from(["extra:echo", "messages:page", "lib/counters:valueOf"]),
    JSON | st.fixed_dictionaries({"paginationOpts": JSON}) | st.fixed_dictionaries({"value": JSON}),
    st.none() | st.text(max_size=20),
)


@MANY
@given(messages=st.lists(MESSAGES | CALLS | QUERIES, min_size=1, max_size=4))
def test_messages_of_the_wrong_shape(server: Threaded, witness: SyncClient, messages: list[Any]) -> None:
    raw = RawSocket(server.url)
    raw.send(CONNECT + b"".join(frame(json.dumps(message).encode()) for message in messages))
    raw.finish()


@MANY
@given(cuts=st.lists(st.integers(1, 400), max_size=8), place=st.integers(0, 3))
def test_messages_in_pieces_arrive_whole(server: Threaded, cuts: list[int], place: int) -> None:
    """However the bytes are cut, by TCP or into websocket fragments, and whatever control frames stand between."""
    query = {"type": "ModifyQuerySet", "baseVersion": 0, "newVersion": 1, "modifications": [added(0, "extra")]}
    text = json.dumps(query).encode() + b" " * 200
    pieces = [text[:50], text[50:100], text[100:]]
    frames = [CONNECT, frame(pieces[0], first=0x01), frame(pieces[1], first=0x00), frame(pieces[2], first=0x80)]
    frames.insert(place + 1, frame(b"ping", first=0x80 | Opcode.PING))
    data = b"".join(frames)
    raw = RawSocket(server.url)
    start = 0
    for cut in sorted(set(cuts)):
        raw.send(data[start:cut])
        start = cut
    raw.send(data[start:])
    raw.until(b"the default")
    raw.finish()


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (frame(b"{}", masked=False), b"\x03\xea"),  # 1002: protocol error
        (frame(b"", length=(17 << 20) + 1), b"\x03\xf1"),  # 1009: too big
        (frame(b"", length=1 << 62), b"\x03\xf1"),
        (frame(b"{}", first=0xF1), b"\x03\xea"),
        (frame(b"x" * 126, first=0x89), b"\x03\xea"),
        (frame(b"{", first=0x01) + frame(b"}", first=0x81), b"\x03\xea"),
        (frame(b"x", first=0x80), b"\x03\xea"),
        (frame(b"binary", first=0x82), b"binary frames"),
        (frame(b"\xff\xfe"), b"BadMessage"),
        (frame(b"nonsense"), b"BadMessage"),
        (frame(b"[" * 100_000), b"BadMessage"),
        (frame(b""), b"BadMessage"),
    ],
)
def test_each_breach_gets_its_answer(server: Threaded, witness: SyncClient, data: bytes, said: bytes) -> None:
    raw = RawSocket(server.url)
    raw.send(CONNECT + data)
    assert said in raw.finish()


@MANY
@given(data=st.binary(min_size=1, max_size=300))
def test_garbage_instead_of_http(server: Threaded, witness: SyncClient, data: bytes) -> None:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as raw:
        raw.sendall(data)


@MANY
@given(
    body=st.binary(max_size=200) | JSON.map(lambda value: json.dumps(value).encode()),
    door=st.sampled_from(["query", "mutation", "action", "query_at_ts", "run/a/b", "local/run"]),
)
def test_garbage_bodies(server: Threaded, witness: SyncClient, body: bytes, door: str) -> None:
    parts = urlsplit(server.url)
    with socket.create_connection((parts.hostname, parts.port), timeout=10) as raw:
        raw.sendall(
            f"POST /api/{door} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )
        answer = b""
        while data := raw.recv(1 << 16):
            answer += data
    assert answer.split(b" ")[1] in (b"200", b"400", b"403", b"404")


@pytest.mark.parametrize(
    "value",
    [
        *(b"[" * depth + b"]" * depth for depth in (60, 70, 200, 500, 800, 900, 950, 1000, 1050)),
        b'"\\ud800"',
        b'"\\udc00x"',
        b"1e999",
        b"-1e999",
        b"123456789012345678901234567890",
        b'{"$integer":"x"}',
        b'{"$nothing":1}',
        b'{"a":1,"a":2}',
        b"\xff",
        b'"\xff"',
        b'"\x01"',
        b"01",
        b"NaN",
        b"'x'",
        b"[1,]",
    ],
)
@pytest.mark.parametrize("kind", ["Mutation", "Action", "ModifyQuerySet"])
def test_arguments_that_look_like_json(server: Threaded, witness: SyncClient, kind: str, value: bytes) -> None:
    """Whatever is wrong with them is told to the caller, or closes the caller's socket with a reason."""
    path = {"Mutation": b"messages:refuse", "Action": b"messages:refuse_action"}.get(kind, b"extra:echo")
    name = b"value" if kind == "ModifyQuerySet" else b"data"
    call = b'"udfPath":"%b","args":[{"%b":%b}]' % (path, name, value)
    if kind == "ModifyQuerySet":
        call = b'"baseVersion":0,"newVersion":1,"modifications":[{"type":"Add","queryId":0,%b}]' % call
    else:
        call = b'"requestId":0,' + call
    raw = RawSocket(server.url)
    raw.send(CONNECT + frame(b'{"type":"%b",%b}' % (kind.encode(), call)))
    raw.until(b"}")
    raw.finish()
