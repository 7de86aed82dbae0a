"""The door for the command line beside a running server: every function, for who can read the data directory."""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
from ipaddress import ip_address
from typing import Any

from msgspec import Raw, Struct

from reflow.engine.engine import Engine
from reflow.engine.outcomes import Result
from reflow.errors import FunctionNotFound
from reflow.functions import Kind
from reflow.server import messages
from reflow.server.admin import impersonated
from reflow.server.http_errors import HttpError

PATH = "/api/local/run"
TOKEN_HEADER = b"x-reflow-token"


class LocalCall(Struct):
    """What to run: `{path, args, kind?, format?, identity?}`."""

    path: str
    args: Raw = Raw(b"{}")
    kind: Kind | None = None
    format: str = "json"
    identity: Raw = Raw(b"null")
    """Who calls, as `admin.impersonated` reads it."""


def check_caller(scope: Mapping[str, Any], headers: Mapping[bytes, bytes], token: str | None) -> None:
    """Raises HttpError unless the caller is on this machine and knows the token of the data directory's lock."""
    client = scope.get("client")
    if token is None or (client is not None and not _is_loopback(client[0])):
        raise HttpError(404, "NotFound", f"there is nothing at {PATH}")
    if not compare_digest(headers.get(TOKEN_HEADER, b""), token.encode()):
        raise HttpError(403, "Forbidden", f"{PATH} needs the token that reflow.lock in the data directory holds")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


async def run(engine: Engine, call: LocalCall, home: str) -> Result:
    """Runs any function, internal ones included; `home` is the issuer of a caller who names none.

    Raises HttpError for an unknown function, AuthenticationError for a caller who can't be.
    """
    path = messages.normal_path(call.path)
    try:
        function = engine.resolve(path)
    except FunctionNotFound as error:
        raise HttpError(404, error.code, str(error)) from None
    if call.kind is not None and call.kind != function.kind:
        raise HttpError(400, "BadRequest", f"{path} is a {function.kind}, not a {call.kind}")
    shown = bytes(call.identity)
    return await engine.call(function, bytes(call.args), None if shown == b"null" else impersonated(shown, home))
