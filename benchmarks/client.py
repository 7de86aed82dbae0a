"""Lean HTTP/1.1, server-sent-events and websocket clients on `asyncio.Protocol`.

They exist so that the load generator costs a few microseconds per message and the server stays the bottleneck:
no header objects, no compression offered, one request in flight per connection, bytes in and bytes out.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import Callable
from typing import cast


class ClientError(Exception):
    """A server answered something this benchmark cannot count as success; the message carries the answer."""


class Connection(asyncio.Protocol):
    """What the three clients share: the transport, the one waiting request, and how a lost connection ends it."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._waiting: asyncio.Future[bytes] | None = None
        self._buffer = b""
        self._closing = False

    async def open(self, host: str, port: int) -> None:
        """Connect over TCP; raises `OSError` if nobody listens."""
        await asyncio.get_running_loop().create_connection(lambda: self, host, port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport (asyncio callback)."""
        # uvloop's transports have the methods of asyncio.Transport without being one
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Fail the waiting request, if any (asyncio callback)."""
        self.fail(ClientError(f"connection lost: {exc or 'closed by the server'}"))

    def write(self, data: bytes) -> None:
        """Send bytes now; raises `ClientError` once the connection is gone."""
        if self._transport is None or self._transport.is_closing():
            raise ClientError("the connection is closed")
        self._transport.write(data)

    def wait(self) -> asyncio.Future[bytes]:
        """The future of the next answer. Only one request may wait per connection."""
        if self._waiting is not None and not self._waiting.done():
            raise ClientError("a request is already in flight on this connection")
        self._waiting = asyncio.get_running_loop().create_future()
        return self._waiting

    def answer(self, value: bytes) -> None:
        """Resolve the waiting request."""
        if self._waiting is None or self._waiting.done():
            raise ClientError(f"an answer nobody asked for: {value[:200]!r}")
        self._waiting.set_result(value)

    def fail(self, error: ClientError) -> None:
        """Reject the waiting request, unless this side closed the connection."""
        if self._waiting is not None and not self._waiting.done() and not self._closing:
            self._waiting.set_exception(error)

    def close(self) -> None:
        """Close without a goodbye: the benchmark measures, it does not part politely."""
        self._closing = True
        if self._transport is not None:
            self._transport.abort()


class HttpConnection(Connection):
    """One keep-alive HTTP/1.1 connection. `send` takes a whole request and returns the body of a 2xx answer."""

    async def send(self, request: bytes) -> bytes:
        """Send one prebuilt request; raises `ClientError` with status line and body unless the status is 2xx."""
        waiting = self.wait()
        self.write(request)
        return await waiting

    def data_received(self, data: bytes) -> None:
        """Collect until the answer is whole (asyncio callback)."""
        self._buffer = self._buffer + data if self._buffer else data
        head_end = self._buffer.find(b"\r\n\r\n")
        if head_end < 0:
            return
        body = _whole_body(self._buffer[:head_end].lower(), self._buffer[head_end + 4 :])
        if body is None:
            return
        status = self._buffer[:head_end].partition(b"\r\n")[0]
        self._buffer = b""
        if status[9:10] == b"2":
            self.answer(body)
        else:
            self.fail(ClientError(f"{status.decode()}: {body[:500].decode(errors='replace')}"))


def _whole_body(head: bytes, rest: bytes) -> bytes | None:
    """The body once all of it has arrived, else None. `head` in lower case."""
    at = head.find(b"content-length:")
    if at >= 0:
        length = int(head[at + 15 :].partition(b"\r\n")[0])
        return rest if len(rest) >= length else None
    if b"transfer-encoding: chunked" in head:
        chunks = Chunks()
        body = chunks.feed(rest)
        return body if chunks.ended else None
    return b""


def http_request(method: str, path: str, body: bytes = b"", *, token: str = "") -> bytes:
    """The bytes of one HTTP/1.1 request with a JSON body."""
    authorization = f"Authorization: {token}\r\n" if token else ""
    head = (
        f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n{authorization}"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


class Chunks:
    """Takes the chunked transfer coding off a stream, piece by piece."""

    def __init__(self) -> None:
        self._rest = b""
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """The payload bytes that `data` completes; an unfinished chunk waits for the next call."""
        rest = self._rest + data
        out: list[bytes] = []
        while not self.ended:
            line_end = rest.find(b"\r\n")
            if line_end < 0:
                break
            size = int(rest[:line_end].partition(b";")[0], 16)
            if len(rest) < line_end + 2 + size + 2:
                break
            out.append(rest[line_end + 2 : line_end + 2 + size])
            rest = rest[line_end + 2 + size + 2 :]
            self.ended = size == 0
        self._rest = rest
        return b"".join(out)


class EventStream(Connection):
    """A server-sent-events stream: `open_stream` asks for it, `on_event(name, data)` gets every event."""

    def __init__(self, on_event: Callable[[bytes, bytes], None]) -> None:
        super().__init__()
        self._on_event = on_event
        self._chunks = Chunks()
        self._text = b""
        self._in_body = False

    def open_stream(self, path: str) -> None:
        """Send the GET request that starts the stream."""
        self.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: text/event-stream\r\n\r\n".encode())

    def data_received(self, data: bytes) -> None:
        """Split the stream into events (asyncio callback)."""
        if not self._in_body:
            head, found, data = (self._buffer + data).partition(b"\r\n\r\n")
            if not found:
                self._buffer = head
                return
            if b" 200 " not in head.partition(b"\r\n")[0] or b"chunked" not in head.lower():
                raise ClientError(f"not an event stream: {head[:300]!r}")
            self._in_body = True
        self._text += self._chunks.feed(data)
        while b"\n\n" in self._text:
            event, _, self._text = self._text.partition(b"\n\n")
            fields: dict[bytes, bytes] = {}
            for line in event.split(b"\n"):
                key, _, value = line.partition(b":")
                fields[key] = value
            self._on_event(fields.get(b"event", b"").strip(), fields.get(b"data", b"").strip())


class FrameReader(Connection):
    """Splits the websocket frames a server sends (unmasked, unfragmented, uncompressed) into text messages.

    Used bare, without a handshake, for the socket floor, so that the floor's receiver does the same work.
    """

    def __init__(self, on_text: Callable[[bytes], None]) -> None:
        super().__init__()
        self._on_text = on_text
        self.bytes_received = 0
        self.texts_received = 0

    def data_received(self, data: bytes) -> None:
        """Deliver every whole frame (asyncio callback)."""
        self.bytes_received += len(data)
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while len(buffer) - at >= 2:
            length, start = buffer[at + 1], at + 2
            if length == 126:
                length, start = int.from_bytes(buffer[at + 2 : at + 4], "big"), at + 4
            elif length == 127:
                length, start = int.from_bytes(buffer[at + 2 : at + 10], "big"), at + 10
            if len(buffer) < start + length:
                break
            self._frame(buffer[at], buffer[start : start + length])
            at = start + length
        self._buffer = buffer[at:]

    def _frame(self, first: int, payload: bytes) -> None:
        if first == 0x81:
            self.texts_received += 1
            self._on_text(payload)
        elif first == 0x89:
            self.write(_masked_frame(0x8A, payload))
        elif first == 0x88:
            self.fail(ClientError(f"the server closed the socket: {payload[:2].hex()} {payload[2:]!r}"))
        elif first != 0x8A:
            raise ClientError(f"a frame this client did not agree to: first byte {first:#x}")


class WebSocket(FrameReader):
    """A websocket client: handshake, masked text frames out, text messages in, pings answered."""

    def __init__(self, on_text: Callable[[bytes], None]) -> None:
        super().__init__(on_text)
        self._upgraded = False

    async def handshake(self, path: str) -> None:
        """Upgrade the open connection; raises `ClientError` unless the server answers 101."""
        key = base64.b64encode(os.urandom(16)).decode()
        waiting = self.wait()
        self.write(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        await waiting

    def data_received(self, data: bytes) -> None:
        """Take the handshake's answer first, frames afterwards (asyncio callback)."""
        if self._upgraded:
            super().data_received(data)
            return
        head, found, rest = (self._buffer + data).partition(b"\r\n\r\n")
        self._buffer = b"" if found else head
        if not found:
            return
        if not head.startswith(b"HTTP/1.1 101"):
            self.fail(ClientError(f"no websocket here: {head[:300].decode(errors='replace')}"))
            return
        self._upgraded = True
        self.answer(head)
        if rest:
            super().data_received(rest)

    def send_text(self, payload: bytes) -> None:
        """Send one text message."""
        self.write(_masked_frame(0x81, payload))


def _masked_frame(first: int, payload: bytes) -> bytes:
    """A client frame. The masking key is all zeros: legal, the server unmasks as always, and we save the XOR."""
    length = len(payload)
    if length < 126:
        header = bytes((first, 0x80 | length))
    elif length < 65536:
        header = bytes((first, 0x80 | 126)) + length.to_bytes(2, "big")
    else:
        header = bytes((first, 0x80 | 127)) + length.to_bytes(8, "big")
    return header + b"\0\0\0\0" + payload
