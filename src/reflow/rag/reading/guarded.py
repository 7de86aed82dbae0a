"""Connections to the public internet only: resolved once, judged, and made to the very number that was judged.

A name can resolve to a public address when it is checked and to a private one when it is used (DNS rebinding); here
there is nothing between the two. TLS still checks the certificate against the name.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

import httpcore

from reflow.errors import FetchError
from reflow.rag.reading.addresses import is_public

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""The IP addresses of a host, to connect to a port of it."""


async def system_addresses(host: str, port: int) -> list[str]:
    """What the system's resolver says, in its order, each once."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedNetwork(httpcore.AsyncNetworkBackend):
    """Connects to public addresses, or to any where `allow_private`."""

    def __init__(self, resolve: Resolve, *, allow_private: bool) -> None:
        self._resolve = resolve
        self._allow_private = allow_private
        self._network: httpcore.AsyncNetworkBackend = cast(Any, httpcore).AnyIOBackend()  # not there without anyio

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connects to the first address that answers. One private address among them refuses the host."""
        try:
            numbers = await self._resolve(host, port)
        except (OSError, UnicodeError) as error:
            lasting = isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME
            raise FetchError(f"{host} is not known ({error})", retryable=not lasting) from None
        private = [number for number in numbers if not is_public(number)]
        if private and not self._allow_private:
            raise FetchError(
                f"{host} is at {private[0]}, which is no public address: such are fetched only where the application"
                " allows it (allow_private=True)",
                retryable=False,
            )
        failure: Exception = FetchError(f"{host} has no address", retryable=True)
        for number in numbers:
            try:
                return await self._network.connect_tcp(number, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failure = error
        raise failure

    async def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.AsyncNetworkStream:
        """Never: nothing public is there."""
        raise FetchError(f"{path} is a socket of this machine", retryable=False)

    async def sleep(self, seconds: float) -> None:
        """Waits."""
        await asyncio.sleep(seconds)
