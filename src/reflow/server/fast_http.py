"""uvicorn's HTTP protocol with one write for a response: its head and its body leave together."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

_JOINED_BYTES = 64 << 10


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
    """Passed to uvicorn as `http=`."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """A client has connected."""
        super().connection_made(cast(asyncio.Transport, JoiningTransport(transport)))
