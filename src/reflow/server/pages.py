"""Static pages: a folder with an index.html, whose addresses all lead to that page's own router."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope as StarletteScope

from reflow.server.http_api import Receive, Scope, Send

_ONE_YEAR = "public, max-age=31536000, immutable"


class Pages:
    """Serves a folder of built pages, or says that there are none."""

    def __init__(self, folder: Path | None) -> None:
        built = folder is not None and (folder / "index.html").is_file()
        self._files = _SinglePage(directory=folder, html=True) if built else None
        self.here = folder is not None

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request for `path`."""
        if scope["method"] not in ("GET", "HEAD"):
            response: Response = PlainTextResponse("Only GET is possible here.\n", 405, {"allow": "GET, HEAD"})
        elif self._files is None:
            response = _without_pages(path)
        else:
            try:
                response = await self._files.get_response(self._files.get_path({"path": path}), scope)
            except HTTPException as error:
                response = PlainTextResponse(f"{error.detail}\n", error.status_code)
        await response(scope, receive, send)


class _SinglePage(StaticFiles):
    """Addresses without a file belong to the page's own router, unless they look like a file's."""

    async def get_response(self, path: str, scope: StarletteScope) -> Response:
        try:
            response = await super().get_response(path, scope)
        except HTTPException as error:
            if error.status_code != 404 or "." in path.rpartition("/")[2]:
                raise
            path = "index.html"
            response = await super().get_response(path, scope)
        # The names of built assets contain a hash of what is in them.
        response.headers["cache-control"] = _ONE_YEAR if path.startswith("assets/") else "no-cache"
        return response


def _without_pages(path: str) -> Response:
    if path != "/":
        return PlainTextResponse("Not found.\n", 404)
    return PlainTextResponse(
        f"reflow {version('reflow')} is running.\n\n"
        "Clients connect to this address; functions are called at /api/query, /api/mutation and /api/action.\n"
        "This app has no pages of its own, or they are not built: in a checkout, `pip install -e .` builds the "
        "playground's.\n"
    )
