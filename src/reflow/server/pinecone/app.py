"""The door: keys, addresses, bodies, and the headers that every answer has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast
from urllib.parse import quote

from reflow.server.http_api import Receive, Scope, Send, answer, read_body
from reflow.server.http_errors import Headers
from reflow.server.pinecone.control import control_routes
from reflow.server.pinecone.data import data_routes
from reflow.server.pinecone.errors import Refused, invalid, refusal
from reflow.server.pinecone.indexes import Indexes
from reflow.server.pinecone.inference import Inference, inference_routes
from reflow.server.pinecone.integrated import integrated_routes
from reflow.server.pinecone.keys import HEADER, SETTING, URL_SETTING, Keys, keys_in
from reflow.server.pinecone.namespaces import namespace_routes
from reflow.server.pinecone.requests import Reply, Request, Router

if TYPE_CHECKING:
    from reflow.engine.engine import Engine
    from reflow.server.pinecone.inference import OpensEmbedder

_VERSION_HEADER = b"x-pinecone-api-version"
_JSON_TYPE = (b"content-type", b"application/json")
_HOST = re.compile(rb"[A-Za-z0-9.\-]+(?::\d{1,5})?|\[[0-9A-Fa-f:.]+\](?::\d{1,5})?")
_PATHS = re.compile(
    r"/(?:indexes|collections|backups|restore-jobs|backup-schedules|embed|rerank|models|i/[^/]+)(?:/.*)?"
)


@dataclass(frozen=True, kw_only=True)
class PineconeSettings:
    """How the API is offered.

    `keys`: those that open it (none at all: every key does). `url`: where clients reach it, if that is not what their
    requests say, as behind a proxy that speaks TLS. `embedder`: opens what embeds the texts of integrated indexes.
    """

    keys: tuple[str, ...]
    url: str | None = None
    embedder: OpensEmbedder


def settings_of(environment: Mapping[str, str], embedder: OpensEmbedder) -> PineconeSettings | None:
    """What the environment says; None where it has no key."""
    keys = keys_in(environment.get(SETTING, ""))
    return PineconeSettings(keys=keys, url=environment.get(URL_SETTING) or None, embedder=embedder) if keys else None


def is_path(path: str) -> bool:
    """Whether a path belongs to this API."""
    return _PATHS.fullmatch(path) is not None


async def refuse_unless_set_up(scope: Scope, send: Send) -> bool:
    """Tells a Pinecone client, known by its key, that this server has no keys; False for everybody else."""
    if HEADER not in dict(cast(Headers, scope["headers"])):
        return False
    error = Refused("UNAUTHENTICATED", f"the Pinecone API is not set up here: start the server with {SETTING} set")
    await answer(send, error.status, [_JSON_TYPE], error.body())
    return True


class PineconeApi:
    """Pinecone's API over one engine."""

    def __init__(self, engine: Engine, settings: PineconeSettings) -> None:
        self._engine = engine
        self._keys = Keys(settings.keys)
        self._url = None if settings.url is None else settings.url.rstrip("/")
        inference = self._inference = Inference(settings.embedder, engine.limits)
        indexes = Indexes(engine)
        self._control = Router(control_routes(engine, indexes, inference), inference_routes(inference))
        self._data = Router(
            data_routes(engine, indexes),
            namespace_routes(engine, indexes),
            integrated_routes(engine, indexes, inference),
        )

    def close(self) -> None:
        """Ends the embedder's threads."""
        self._inference.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request whose path `is_path`."""
        headers = dict(cast(Headers, scope["headers"]))
        try:
            self._keys.check(headers.get(HEADER))
            status, body = await self._respond(scope, headers, receive)
            more: Headers = []
        except Exception as error:
            # No variable of this frame keeps the exception: it keeps the frames of its traceback, with all they hold.
            status, more, body = refusal(error).answer()
        headers = [_JSON_TYPE, *self._positions(), *more]
        await (answer(send, status, headers, body) if isinstance(body, bytes) else _send(send, status, headers, body))

    async def _respond(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> Reply:
        path, index, router = _path(scope), "", self._control
        if path.startswith("i/"):
            _, index, path = path.split("/", 2) if path.count("/") > 1 else ("", path[2:], "")
            router = self._data
        method = scope["method"]
        handler, names = router.find(method, path)
        body = b""
        if method in ("POST", "PATCH"):
            body = await read_body(receive, self._engine.limits.pinecone_body_bytes, "pinecone_body_bytes")
        version = headers.get(_VERSION_HEADER, b"").decode("latin-1")
        return await handler(Request(self._base(scope, headers), index, names, version, scope["query_string"], body))

    def _base(self, scope: Scope, headers: dict[bytes, bytes]) -> str:
        """Where the client has reached this server: what it is told of an index's host begins so."""
        if self._url is not None:
            return self._url
        host = headers.get(b"host")
        if host is None:
            name, port = scope["server"]
            host = f"{name}:{port}".encode()
        if _HOST.fullmatch(host) is None:
            raise invalid("the Host header is no name of a server")
        return f"{scope.get('scheme', 'http')}://{host.decode()}{scope.get('root_path', '')}"

    def _positions(self) -> Headers:
        """How far the log is written, and how far it can be read: the same, as whoever reads sees all that is
        acknowledged. Microseconds, which a float64 holds exactly; under the names of all versions of the clients."""
        position = b"%d" % (self._engine.committer.published // 1000)
        return [(name, position) for name in _POSITION_HEADERS]


async def _send(send: Send, status: int, headers: Headers, parts: Sequence[bytes]) -> None:
    """Sends a response in parts, none before the client has taken most of those before it."""
    length = b"%d" % sum(map(len, parts))
    await send({"type": "http.response.start", "status": status, "headers": [*headers, (b"content-length", length)]})
    for part in parts:
        await send({"type": "http.response.body", "body": part, "more_body": True})
    await send({"type": "http.response.body", "body": b""})


_POSITION_HEADERS = (
    b"x-pinecone-request-lsn",
    b"x-pinecone-max-indexed-lsn",
    b"x-pinecone-lsn-committed",
    b"x-pinecone-lsn-reconciled",
)


def _path(scope: Scope) -> str:
    """The path as it was sent, below the place where the app is mounted, without its first slash."""
    raw = cast("bytes | None", scope.get("raw_path"))
    path = quote(scope["path"]) if raw is None else raw.decode("latin-1")
    return path.removeprefix(quote(scope.get("root_path", ""))).lstrip("/")
