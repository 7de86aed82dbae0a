"""An app's own endpoints and the applications mounted beside them: finding, running, answering what goes wrong."""

from __future__ import annotations

import asyncio
import logging
import re
import traceback
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import Any, cast

import msgspec
from msgspec import Raw
from starlette.convertors import Convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import compile_path
from starlette.types import Message

from reflow import values
from reflow.auth import Identity
from reflow.context import FUNCTION_LOG, ActionCtx
from reflow.engine.engine import Engine
from reflow.engine.outcomes import describe, is_outcome
from reflow.engine.runner import ActionRun
from reflow.errors import (
    ApplicationError,
    AuthenticationError,
    AuthenticationRequired,
    Overloaded,
    ProviderUnavailable,
    ReflowError,
    StorageError,
)
from reflow.functions import ActionFunction
from reflow.limits import Limits
from reflow.routes import SCOPE_KEY, Mount, Route, Router, check_distinct, request_ctx
from reflow.server.auth import Verifier, caller_of
from reflow.server.http_api import Receive, Scope, Send, answer, too_long
from reflow.server.http_errors import Headers, HttpError, bad_request, http_error

LOG = logging.getLogger("reflow.server")

_UNSENDABLE = re.compile(r"[^\t\x20-\x7e\x80-\xff]")
"""What no header can hold."""

_JSON_TYPE = (b"content-type", b"application/json")


class RouteRun(ActionRun):
    """The run behind one request. A token that is not accepted matters once somebody asks who calls."""

    def __init__(
        self,
        engine: Engine,
        function: ActionFunction[..., Any],
        identity: Identity | None,
        refused: ReflowError | None,
    ) -> None:
        super().__init__(engine, function, b"{}", identity)
        self._refused = refused

    def identity(self) -> Identity | None:
        if self._refused is not None:
            raise self._refused
        return self.caller


class RouteTable:
    """Where paths lead."""

    def __init__(self, routers: Iterable[Router]) -> None:
        """Raises DefinitionError where two routes or two applications have the same place."""
        mounts = Router()
        routes: list[Route] = []
        for router in routers:
            routes += router.routes
            for mount in router.mounts:
                mounts.mount(mount.path, mount.app)
        check_distinct(routes)
        self._routes: list[tuple[re.Pattern[str], Mapping[str, Convertor[Any]], Route]] = []
        for route in routes:
            pattern, _, convertors = compile_path(route.path)
            self._routes.append((pattern, convertors, route))
        self.mounts = sorted(mounts.mounts, key=lambda mount: -len(mount.path))

    def route(self, path: str, method: str) -> tuple[Route, dict[str, Any]] | None:
        """The route of a request and what its path says; None where none has that path. Raises HttpError 405."""
        allowed: set[str] = set()
        for pattern, convertors, route in self._routes:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            allowed |= route.methods
            if method not in route.methods:
                continue
            try:
                return route, {name: convertors[name].convert(text) for name, text in found.groupdict().items()}
            except ValueError:  # a number with more digits than Python reads
                return None
        if allowed:
            names = ", ".join(sorted(allowed))
            message = f"{method} is not possible here; use {names}"
            raise HttpError(405, "MethodNotAllowed", message, [(b"allow", names.encode())])
        return None

    def mount(self, path: str) -> Mount | None:
        """The application that has a path."""
        for mount in self.mounts:
            if path == mount.path or path.startswith(mount.path + "/"):
                return mount
        return None

    def owns(self, path: str) -> bool:
        """Whether a path leads anywhere."""
        return any(pattern.fullmatch(path) for pattern, _, _ in self._routes) or self.mount(path) is not None


class Routes:
    """Serves a table's routes and applications over one engine."""

    def __init__(self, engine: Engine, verifier: Verifier, table: RouteTable) -> None:
        self._engine = engine
        self._verifier = verifier
        self._table = table
        self._running = 0
        self._states: dict[str, dict[str, Any]] = {mount.path: {} for mount in table.mounts}

    @asynccontextmanager
    async def lifespans(self) -> AsyncGenerator[None, None]:
        """Runs the lifespans of the mounted applications. Raises ReflowError where one of them does not start."""
        async with AsyncExitStack() as stack:
            for mount in self._table.mounts:
                state, patience = self._states[mount.path], self._engine.limits.shutdown_seconds
                await stack.enter_async_context(_lifespan(mount, state, patience))
            yield

    async def http(self, path: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Answers a request where its path leads anywhere; False: it does not."""
        try:
            found = self._table.route(path, scope["method"])
            if found is not None:
                await self._run(*found, scope, receive, send)
                return True
        except ReflowError as error:
            await _refuse(send, http_error(error))
            return True
        mount = self._table.mount(path)
        if mount is None:
            return False
        if path == mount.path:
            query = scope["query_string"]
            target = f"{scope.get('root_path', '')}{path}/" + (f"?{query.decode('latin-1')}" if query else "")
            await RedirectResponse(target)(scope, receive, send)
        else:
            await mount.app(self._inside(mount, scope), receive, send)
        return True

    async def websocket(self, path: str, scope: Scope, receive: Receive, send: Send) -> bool:
        """Gives a websocket to the mounted application that has its path; False: none has."""
        mount = self._table.mount(path)
        if mount is None:
            return False
        await mount.app(self._inside(mount, scope), receive, send)
        return True

    def _inside(self, mount: Mount, scope: Scope) -> Scope:
        """A request as the application at `mount` sees it."""
        root = scope.get("root_path", "") + mount.path
        function: ActionFunction[..., Any] = ActionFunction(request_ctx, path=mount.path, internal=True, rename=None)

        async def ctx(inner: Scope) -> ActionCtx:
            return ActionCtx(await self._run_for(function, inner))

        # What an application around this one has left there would mislead `request.url_for`.
        outer = {key: value for key, value in scope.items() if key not in ("app", "router", "endpoint", "path_params")}
        return {
            **outer,
            "app_root_path": root,
            "root_path": root,
            "state": {**scope.get("state", {}), **self._states[mount.path]},
            SCOPE_KEY: ctx,
        }

    async def _run_for(self, function: ActionFunction[..., Any], scope: Scope) -> RouteRun:
        """A run for a request, on behalf of whoever sent it."""
        try:
            caller = await caller_of(self._verifier, dict(cast(Headers, scope["headers"])))
        except ReflowError as error:
            return RouteRun(self._engine, function, None, error)
        return RouteRun(self._engine, function, caller.identity, None)

    async def _run(self, route: Route, parameters: dict[str, Any], scope: Scope, receive: Receive, send: Send) -> None:
        """Runs a route's handler and answers, whatever it does."""
        limits = self._engine.limits
        if self._running >= limits.route_requests:
            raise Overloaded(f"limits.route_requests = {limits.route_requests} requests run already; try again later")
        started = False

        async def noting(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        inner: Scope = {**scope, "path_params": parameters}
        bounded = _bounded(receive, limits.body_bytes)
        self._running += 1
        patience = asyncio.timeout(limits.action_seconds)
        try:
            async with patience:
                ctx = ActionCtx(await self._run_for(route.function, inner))
                response = await route.function.handler(ctx, Request(inner, bounded, noting))
                if not isinstance(response, Response):
                    kind = type(cast(object, response)).__name__
                    raise TypeError(f"the handler returned {kind}: return a Response, such as JSONResponse({{...}})")
                await response(inner, bounded, noting)
        except ClientDisconnect:
            return
        except BaseException as error:
            if not is_outcome(error):
                raise
            # No other variable of this frame keeps the exception: it keeps the frame.
            text = f"{route} ran longer than limits.action_seconds = {limits.action_seconds:g}"
            late = HttpError(504, "FunctionTimeout", text) if patience.expired() else None
            await self._fail(route, late or error, None if started else send)
        finally:
            self._running -= 1

    async def _fail(self, route: Route, error: BaseException, send: Send | None) -> None:
        """Tells the client of an exception, by `send` unless its answer has begun.

        What is nobody's mistake but the handler's goes to the log, and is told without a reason.
        """
        match error:
            case HTTPException():
                known = _of_starlette(error)
            case ApplicationError():
                known = bad_request(str(error), error.code)
            case AuthenticationRequired():
                known = HttpError(401, error.code, str(error))
            case HttpError() | AuthenticationError() | ProviderUnavailable() | Overloaded() | StorageError():
                known = http_error(error)
            case _:
                known = None
        if known is None or send is None:
            if self._engine.log_errors:
                FUNCTION_LOG.error("%s raised\n%s", route, "".join(traceback.format_exception(error)).rstrip())
            known = HttpError(500, "InternalServerError", "this endpoint failed; the server's log says why")
        if send is not None:
            data = _data(error, route, self._engine.limits) if isinstance(error, ApplicationError) else None
            await _refuse(send, known, data)


def _data(error: ApplicationError, route: Route, limits: Limits) -> bytes | None:
    """What an application's own error brings along; None, which the log explains, for what can't be sent."""
    failure = describe(error, str(route), limits, log=False)
    if failure.data is None:
        FUNCTION_LOG.error("%s", failure.message)
    return failure.data


def _of_starlette(error: HTTPException) -> HttpError | None:
    """The answer that it stands for; None where HTTP has none like it."""
    given = (error.headers or {}).items()
    if not 200 <= error.status_code < 600 or any(_UNSENDABLE.search(text) for item in given for text in item):
        return None
    headers = [(name.lower().encode("latin-1"), text.encode("latin-1")) for name, text in given]
    known = error.status_code in HTTPStatus.__members__.values()
    code = HTTPStatus(error.status_code).phrase.replace(" ", "") if known else "HttpError"
    return HttpError(error.status_code, code, str(error.detail), headers)


async def _refuse(send: Send, error: HttpError, data: bytes | None = None) -> None:
    """Answers with an error, as JSON: code, message, and the data of an application's own one."""
    # Any text can be sent so, also one with half of a character.
    body: dict[str, Any] = {"code": error.short, "message": str(error).encode("utf-8", "backslashreplace").decode()}
    if data is not None:
        body["data"] = Raw(values.to_plain(data))
    await answer(send, error.status, [_JSON_TYPE, *error.headers], msgspec.json.encode(body))


def _bounded(receive: Receive, limit: int) -> Receive:
    """Reads a request's body, and raises HttpError where that is longer than `limit`."""
    received = 0

    async def bounded() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            raise too_long(limit, "body_bytes")
        return message

    return bounded


@asynccontextmanager
async def _lifespan(mount: Mount, state: dict[str, Any], patience: float) -> AsyncGenerator[None, None]:
    """Runs an application's lifespan; one that has none is fine."""
    inbox: asyncio.Queue[Message] = asyncio.Queue()
    ready: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()

    async def send(message: Message) -> None:
        if ready.done():
            return
        if message["type"] == "lifespan.startup.complete":
            ready.set_result(None)
        elif message["type"] == "lifespan.startup.failed":
            ready.set_result(message.get("message") or "it says no more")

    scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": state}
    task = asyncio.ensure_future(mount.app(scope, inbox.get, send))
    inbox.put_nowait({"type": "lifespan.startup"})
    try:
        await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    except BaseException:
        task.cancel()
        raise
    if ready.done() and (reason := ready.result()) is not None:
        await _ended(task, patience)
        last = reason.strip().rpartition("\n")[2]
        raise ReflowError(f"the application mounted at {mount.path or '/'} does not start: {last}")
    try:
        yield
    finally:
        inbox.put_nowait({"type": "lifespan.shutdown"})
        error = await _ended(task, patience)
        if error is not None and ready.done():
            LOG.error("the application mounted at %s did not stop as it should: %s", mount.path or "/", error)


async def _ended(task: asyncio.Future[None], patience: float) -> BaseException | None:
    """Waits for a task, or cancels it; returns what it raised."""
    await asyncio.wait([task], timeout=patience)
    if not task.done():
        task.cancel()
        await asyncio.wait([task])
    return None if task.cancelled() else task.exception()
