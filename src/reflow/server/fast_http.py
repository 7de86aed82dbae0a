"""uvicorn's HTTP protocol with one write for a response (its head and its body leave together), and with bounds for
what clients do before there is a request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any, ClassVar, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from reflow.limits import DEFAULT, Limits

_JOINED_BYTES = 64 << 10
_take = HttpToolsProtocol.data_received


class JoiningTransport:
    """A transport that gathers what is written within one turn of the event loop. `inner` is the real one."""

    __slots__ = ("_loop", "_parts", "inner")

    def __init__(self, inner: asyncio.Transport) -> None:
        self.inner = inner
        self._parts: list[bytes] = []
        self._loop = asyncio.get_running_loop()

    def write(self, data: bytes) -> None:
        """Takes data along."""
        if not self._parts:
            self._loop.call_soon(self.flush)
        self._parts.append(data)
        if len(data) > _JOINED_BYTES:
            self.flush()  # the transport's own bound must see it

    def flush(self) -> None:
        """Writes what was gathered."""
        if self._parts:
            parts, self._parts = self._parts, []
            self.inner.write(parts[0] if len(parts) == 1 else b"".join(parts))

    def close(self) -> None:
        """Closes the transport once everything is written."""
        self.flush()
        self.inner.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


class FastHttp(HttpToolsProtocol):
    """A connection. Passed to uvicorn as `http=`, with an application's limits: see `fast_http`."""

    limits: ClassVar[Limits] = DEFAULT
    bound: ClassVar[int] = DEFAULT.connections
    """Connections of the process, websockets among them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head = 0
        """Bytes of a head that is not complete."""
        self._received = 0
        """Bytes that came for requests whose head is complete."""
        self._waits_for: tuple[str, object, int] | None = None
        """What the client was waited for at the last look."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A client has connected."""
        super().connection_made(cast(asyncio.Transport, JoiningTransport(transport)))
        if len(self.connections) > self.bound:
            self._refuse(b"503 Service Unavailable", f"limits.connections = {self.bound} are open already; try later")

    def data_received(self, data: bytes) -> None:
        """Some of a request has come."""
        _take(self, data)
        cycle = self.cycle
        # What comes with the rest of its head may be a body: only a head that is not over yet counts as one.
        if cycle is None or cycle.scope is not self.scope:  # pyright: ignore[reportUnnecessaryComparison]
            self._head += len(data)
            if self._head > self.limits.head_bytes:
                bound = self.limits.head_bytes
                self._refuse(b"431 Request Header Fields Too Large", f"limits.head_bytes is {bound}")
        else:
            self._head = 0
            self._received += len(data)

    def handle_websocket_upgrade(self) -> None:
        """A websocket takes over. The parser and this object would keep each other in memory: cycles are looked for
        so rarely that a connection must not leave any."""
        super().handle_websocket_upgrade()
        self.parser = cast(Any, None)

    def _refuse(self, status: bytes, text: str) -> None:
        head = b"HTTP/1.1 %b\r\ncontent-type: text/plain\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
        self.transport.write(head % (status, len(text)) + text.encode())
        self.transport.close()

    def look(self) -> None:
        """Drops a client that has kept its request waiting since the former look: one that connects and sends
        nothing, or a head that never ends, or a body that hardly comes."""
        former, self._waits_for = self._waits_for, self._waiting()
        if former is None or self._waits_for is None or former[:2] != self._waits_for[:2]:
            return
        if self._waits_for[2] - former[2] < self.limits.stalled_bytes:
            self.transport.abort()

    def _waiting(self) -> tuple[str, object, int] | None:
        """For what the client is waited for: its kind, its request, and how much has come."""
        if self.timeout_keep_alive_task is not None or self.flow.read_paused:
            return None
        cycle = self.cycle
        if cycle is None or cycle.scope is not self.scope:  # pyright: ignore[reportUnnecessaryComparison]
            return "head", id(self.scope), 0
        if cycle.more_body and not cycle.response_complete:
            return "body", id(self.scope), self._received
        return None


def fast_http(limits: Limits, bound: int) -> type[FastHttp]:
    """The protocol of a server with these limits, and room for so many connections."""
    return type("FastHttp", (FastHttp,), {"limits": limits, "bound": bound})


async def look_after(connections: Iterable[object], limits: Limits) -> None:
    """Drops the clients that keep their requests waiting, for ever."""
    while True:
        await asyncio.sleep(limits.stalled_seconds)
        for connection in list(connections):
            if isinstance(connection, FastHttp):
                connection.look()
