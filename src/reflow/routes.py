"""Routes: an app's own HTTP endpoints, and other applications that are served beside it."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp

from reflow.context import ActionCtx
from reflow.errors import DefinitionError
from reflow.functions import ActionFunction

Handler = Callable[[ActionCtx, Request], Awaitable[Response]]
H = TypeVar("H", bound=Handler)

SCOPE_KEY = "reflow.ctx"
"""Where the scope of a mounted application's request has what makes its `ctx`."""

_METHOD = re.compile(r"[A-Z]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """Requests with one of the methods for a path go to the function's handler."""

    path: str
    methods: frozenset[str]
    function: ActionFunction[..., Any]

    def __str__(self) -> str:
        return self.function.path


@dataclass(frozen=True, slots=True, kw_only=True)
class Mount:
    """All below a path goes to another ASGI application. `path` has no slash at its end; "" is everything."""

    path: str
    app: ASGIApp


class Router:
    """HTTP endpoints that belong together, for `App(routes=[...])`; every path begins with `prefix`.

        hooks = rf.Router("/hooks")

        @hooks.route("/payments/{provider}", methods=["POST"])
        async def paid(ctx: rf.ActionCtx, request: Request) -> Response: ...

    A handler is an action: `ctx` has what an action's has, and a request counts against the same limits. The first
    route whose path and method fit is taken; routes go before mounted applications, and these before pages.
    """

    def __init__(self, prefix: str = "") -> None:
        self._prefix = prefix.rstrip("/")
        if self._prefix:
            _check_path(self._prefix)
        self.routes: list[Route] = []
        self.mounts: list[Mount] = []

    def route(self, path: str, *, methods: Iterable[str] = ("GET",)) -> Callable[[H], H]:
        """Registers a handler `async def f(ctx, request) -> Response` for a path such as "/items/{id:int}".

        What is in braces is in `request.path_params`, as Starlette has it. GET answers HEAD as well. Raises
        DefinitionError for a path that is reflow's own (/version and below /api) or taken.
        """
        if isinstance(methods, str):
            raise DefinitionError(f'methods takes a list of names: methods=["{methods}"]')
        named = frozenset(methods)
        whole = self._prefix + path
        _check_path(whole)
        if wrong := [method for method in named if _METHOD.fullmatch(method) is None]:
            raise DefinitionError(f"{whole}: {wrong[0]!r} is no method of HTTP: write it like POST")
        if not named:
            raise DefinitionError(f"{whole}: a route needs a method")
        answered = named | {"HEAD"} if "GET" in named else named
        name = f"{'|'.join(sorted(named))} {whole}"

        def register(handler: H) -> H:
            if not inspect.iscoroutinefunction(handler):
                raise DefinitionError(f"{name}: {handler!r} must be an `async def`")
            function: ActionFunction[..., Any] = ActionFunction(handler, path=name, internal=True, rename=None)
            route = Route(path=whole, methods=answered, function=function)
            check_distinct([*self.routes, route])
            self.routes.append(route)
            return handler

        return register

    def mount(self, path: str, app: ASGIApp) -> None:
        """Gives all below `path` to another ASGI application, such as a FastAPI one; "/" is all that is left over.

        Its lifespan runs while the app runs, its websockets are served, and `rf.request_ctx` gives its handlers `ctx`.
        How long its requests' bodies may be is its own affair. Raises DefinitionError for a path that is reflow's own
        or taken.
        """
        whole = (self._prefix + path).rstrip("/")
        if whole:
            _check_path(whole)
        if "{" in whole:
            raise DefinitionError(f"{whole}: an application is mounted at a plain path")
        if any(mount.path == whole for mount in self.mounts):
            raise DefinitionError(f"two applications are mounted at {whole or '/'}")
        self.mounts.append(Mount(path=whole, app=app))

    def __iter__(self) -> Iterator[Route]:
        return iter(self.routes)


def check_distinct(routes: Iterable[Route]) -> None:
    """Raises DefinitionError where two routes answer the same."""
    taken: dict[tuple[str, str], Route] = {}
    for route in routes:
        for method in route.methods:
            other = taken.setdefault((route.path, method), route)
            if other is not route and method != "HEAD":
                raise DefinitionError(f"two routes answer {method} {route.path}")


async def request_ctx(connection: HTTPConnection) -> ActionCtx:
    """`ctx` in a handler of a mounted application, for a request or a websocket of it.

    It is a dependency as FastAPI has them: `ctx: Annotated[rf.ActionCtx, Depends(rf.request_ctx)]`. Raises
    DefinitionError in an application that is not mounted by `App.mount`.
    """
    make: Callable[[Any], Awaitable[ActionCtx]] | None = connection.scope.get(SCOPE_KEY)
    if make is None:
        raise DefinitionError("rf.request_ctx: this request does not come through App.mount, so it has no ctx")
    return await make(connection.scope)


def _check_path(path: str) -> None:
    if not path.startswith("/") or "//" in path or "?" in path or "#" in path:
        raise DefinitionError(f"{path!r} is no path: write it like /hooks/payments")
    if path in ("/version", "/api") or path.startswith("/api/"):
        raise DefinitionError(f"{path} is reflow's own, as all below /api is: choose another path")
    try:
        compile_path(path)
    except (ValueError, AssertionError) as error:
        raise DefinitionError(f"{path}: {error}") from None
