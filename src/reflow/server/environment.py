"""The door of `reflow env` beside a running server: for who can read the data directory."""

from __future__ import annotations

from typing import cast

import msgspec

from reflow.engine.engine import Engine
from reflow.engine.environment import Told, assign
from reflow.errors import ReflowError
from reflow.server import local
from reflow.server.http_api import HttpApi, Receive, Scope, Send, answer, read_body
from reflow.server.http_errors import Headers, HttpError, bad_request

PATH = "/api/local/env"


class EnvironmentCall(msgspec.Struct, kw_only=True):
    """Variables to store, or to remove (None); then which ones to tell of (None: all), and whether with their values.

    What is to be shown must be named.
    """

    changes: dict[str, str | None] = msgspec.field(default_factory=dict[str, str | None])
    name: str | None = None
    show: bool = False


class EnvironmentAnswer(msgspec.Struct, kw_only=True):
    """The variables asked for, and the names of those that were not there to be removed."""

    variables: list[Told]
    unknown: list[str]


_decode = msgspec.json.Decoder(EnvironmentCall).decode


async def serve(engine: Engine, token: str | None, scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a request. No page of another site may ask this, and nothing of it is logged."""
    try:
        if scope["method"] != "POST":
            raise HttpError(405, "MethodNotAllowed", "use POST", [(b"allow", b"POST")])
        local.check_caller(scope, dict(cast(Headers, scope["headers"])), token)
        found = await answered(engine, _decoded(await read_body(receive, engine.limits.body_bytes)))
    except ReflowError as error:
        await HttpApi.refuse(scope, send, error)
        return
    body = msgspec.json.encode({"status": "success", "value": found})
    await answer(send, 200, [(b"content-type", b"application/json"), (b"cache-control", b"no-store")], body)


async def answered(engine: Engine, call: EnvironmentCall) -> EnvironmentAnswer:
    """Does what a call asks for. Raises InvalidValue, LimitExceeded, SettingsError, StorageError."""
    unknown = await assign(engine, call.changes) if call.changes else []
    show = call.show and call.name is not None
    variables = engine.variables.told(engine.committer.published, call.name, show=show)
    return EnvironmentAnswer(variables=variables, unknown=unknown)


def _decoded(body: bytes) -> EnvironmentCall:
    try:
        return _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # What msgspec says may quote a value.
        raise bad_request("the body must be an object such as {changes, name, show}") from None
