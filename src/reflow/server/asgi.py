"""All doors of an app as one ASGI application: the sync protocol, the HTTP API, Pinecone's API, the app's own
endpoints, pages, the command line's door."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from reflow.auth import Provider
from reflow.engine.engine import Engine
from reflow.errors import DefinitionError
from reflow.routes import Router
from reflow.server import environment, local
from reflow.server.admin import admin_key
from reflow.server.asgi_socket import serve_socket
from reflow.server.auth import AppVerifier, home_of
from reflow.server.fast_socket import EXTENSION, FastSocket
from reflow.server.http_api import HttpApi, Receive, Scope, Send
from reflow.server.http_errors import HttpError
from reflow.server.origins import Origins
from reflow.server.pages import Pages
from reflow.server.pinecone.app import PineconeApi, PineconeSettings, is_path, refuse_unless_set_up
from reflow.server.routes import Routes, RouteTable
from reflow.server.sync import SyncDoor, SyncSocket
from reflow.storage.lock import DirectoryLock

_SYNC = re.compile(r"/api/(?:([^/]+)/)?sync")
_CHUNKS_SINCE = 1, 28
"""The version of the npm package from which on it understands a transition in chunks. Others don't say theirs."""


@dataclass(frozen=True, kw_only=True)
class Opened:
    """An open data directory and the engine that runs over it."""

    engine: Engine
    lock: DirectoryLock


class Opens(Protocol):
    """Opens an app's data directory and starts its engine; the context's end is the engine's."""

    def __call__(self, data: str | Path | None, durability: Any) -> AbstractAsyncContextManager[Opened]: ...


class _Running:
    """The doors of a started engine."""

    def __init__(
        self,
        opened: Opened,
        verifier: AppVerifier,
        pinecone: PineconeSettings | None,
        table: RouteTable,
        origins: Origins,
        *,
        with_logs: bool,
    ) -> None:
        self.opened = opened
        self.routes = Routes(opened.engine, verifier, table)
        self.verifier = verifier
        self.sync = SyncDoor(opened.engine, verifier, with_logs=with_logs)
        self.api = HttpApi(opened.engine, verifier, origins, with_logs=with_logs)
        self.pinecone = None if pinecone is None else PineconeApi(opened.engine, pinecone)

    async def close(self) -> None:
        """Tells everybody to go."""
        await self.sync.close()
        await self.verifier.close()
        if self.pinecone is not None:
            self.pinecone.close()


class Doors:
    """The ASGI application of an app."""

    def __init__(
        self,
        opens: Opens,
        pages: Path | None,
        auth: Sequence[Provider] = (),
        environment: Mapping[str, str] | None = None,
        pinecone: PineconeSettings | None = None,
        routers: Sequence[Router] = (),
        origins: Iterable[str] | None = None,
    ) -> None:
        self._opens = opens
        self._routers = routers
        self._pages = Pages(pages)
        self._auth = auth
        self._environment = environment or {}
        self.pinecone = pinecone
        """How the Pinecone API is offered; None: not at all. Read when the doors open."""
        self.origins = Origins(origins)
        """Whose pages may ask."""
        self._running: _Running | None = None
        self._token: str | None = None

    @asynccontextmanager
    async def running(
        self, data: str | Path | None = None, durability: Any = None, *, with_logs: bool = False
    ) -> AsyncGenerator[Opened, None]:
        """Starts the engine and opens the doors; `with_logs` sends log lines to clients. Raises like `App.open`."""
        if self._running is not None:
            raise DefinitionError("this app is running already; one process runs it once")
        table = self._table()
        async with self._opens(data, durability) as opened:
            verifier = self._verifier_of(opened)
            running = _Running(opened, verifier, self.pinecone, table, self.origins, with_logs=with_logs)
            self._running = running
            running.sync.start()
            try:
                async with running.routes.lifespans():
                    yield opened
            finally:
                self._running = self._token = None
                await running.close()

    def _table(self) -> RouteTable:
        """Raises DefinitionError where two routes are the same."""
        table = RouteTable(self._routers)
        if self._pages.here and table.mount("/") is not None:
            raise DefinitionError('this app has pages and an application mounted at "/": they can\'t both be there')
        return table

    def _verifier_of(self, opened: Opened) -> AppVerifier:
        """Raises MissingExtra, and as `admin_key` does."""
        clock, limits = opened.engine.clock, opened.engine.limits
        key = admin_key(opened.lock.directory, self._environment)
        return AppVerifier(self._auth, limits, lambda: clock.now_ns() / 1e9, key)

    def publish(self, opened: Opened, url: str, token: str) -> None:
        """Writes down where the server is, and lets in who knows the token."""
        self._token = token
        opened.lock.publish(url, token)

    def sockets(self) -> set[SyncSocket]:
        """The clients that are connected."""
        return set() if self._running is None else self._running.sync.sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serves one request, one websocket, or the lifespan of the server."""
        kind = scope["type"]
        if kind == "http":
            await self._http(scope, receive, send)
        elif kind == "websocket":
            await self._websocket(scope, receive, send)
        elif kind == "lifespan":
            await self._lifespan(receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = _path(scope)
        running = self._running
        if not (path.startswith("/api/") or path == "/version"):
            await self._beside(path, scope, receive, send)
        elif running is None:
            await HttpApi.refuse(scope, send, _not_started())
        elif path == local.PATH:
            await running.api.local(self._token, home_of(self._auth), scope, receive, send)
        elif path == environment.PATH:
            await environment.serve(running.opened.engine, self._token, scope, receive, send)
        else:
            await running.api(path, scope, receive, send)

    async def _beside(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no call of a function: Pinecone's API, the app's own endpoints, pages."""
        running = self._running
        if is_path(path):
            if running is None and self.pinecone is not None:
                await HttpApi.refuse(scope, send, _not_started())
                return
            if running is not None and running.pinecone is not None:
                await running.pinecone(scope, receive, send)
                return
        if running is None:
            if self._table().owns(path):
                await HttpApi.refuse(scope, send, _not_started())
                return
        elif await running.routes.http(path, scope, receive, send):
            return
        if is_path(path) and await refuse_unless_set_up(scope, send):
            return
        await self._pages(path, scope, receive, send)

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        path, running = _path(scope), self._running
        sync = _SYNC.fullmatch(path)
        if running is not None and sync is None and await running.routes.websocket(path, scope, receive, send):
            return
        await receive()
        if running is None or sync is None:
            # Before it is accepted a websocket can only be refused: clients try again.
            await send({"type": "websocket.close", "code": 1013, "reason": "not served here, or not started yet"})
            return
        try:
            self.origins.check(dict(scope["headers"]))
        except HttpError as error:
            await send({"type": "websocket.close", "code": 1008, "reason": error.short})
            return
        extensions: dict[str, Any] = scope.get("extensions") or {}
        fast: FastSocket | None = extensions.get(EXTENSION)
        if fast is None:
            await send({"type": "websocket.accept"})
            await serve_socket(running.sync, receive, send, chunked=_takes_chunks(sync[1]))
            return
        socket = SyncSocket(running.sync, fast, chunked=_takes_chunks(sync[1]))
        fast.attach(socket, running.opened.engine.limits)
        try:
            await send({"type": "websocket.accept"})
            if scope is fast.scope:
                fast.forget_handshake()
            while (await receive())["type"] != "websocket.disconnect":
                pass
        finally:
            socket.lost()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        """The server's start and stop are the engine's."""
        async with AsyncExitStack() as stack:
            await receive()
            try:
                await stack.enter_async_context(self.running())
            except Exception as error:
                # Servers take an error without this message for an application that has no lifespan.
                await send({"type": "lifespan.startup.failed", "message": str(error)})
                raise
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})


def _not_started() -> HttpError:
    return HttpError(
        503,
        "NotStarted",
        "this app is not started: its lifespan must run, as with FastAPI(lifespan=app.lifespan)",
    )


def _takes_chunks(version: str | None) -> bool:
    """Whether a client of this version, which JavaScript clients have in their path, understands TransitionChunk."""
    numbers = re.match(r"(\d{1,5})\.(\d{1,5})", version or "")
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= _CHUNKS_SINCE


def _path(scope: Scope) -> str:
    """The path below the place where the app is mounted."""
    path: str = scope["path"]
    root: str = scope.get("root_path", "")
    if root and path.startswith(root):
        path = path[len(root) :]
    return path if path.startswith("/") else f"/{path}"
