"""The HTTP function API: one request, one call. Plain ASGI: it is the hot path of clients without a socket."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any, cast
from urllib.parse import parse_qs

import msgspec
from msgspec import Raw, Struct

from reflow import values
from reflow.auth import Identity
from reflow.engine.engine import Engine
from reflow.engine.files import PATH
from reflow.engine.live import missing_function
from reflow.engine.outcomes import Result
from reflow.errors import Forbidden, LimitExceeded, Overloaded, ReflowError
from reflow.functions import Function, Kind
from reflow.server import frames, local, messages
from reflow.server.auth import Caller, Verifier, caller_of
from reflow.server.files import FileDoor
from reflow.server.http_errors import Headers, HttpError, bad_request, http_error
from reflow.server.origins import Origins

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

_json = msgspec.json.Encoder().encode
_JSON_TYPE = (b"content-type", b"application/json")
_TEXT_TYPE = (b"content-type", b"text/plain; charset=utf-8")

_ENCODED = ("convex_encoded_json", "convex_json")
_PLAIN = ("json", "convex_clean_json")


class FunctionCall(Struct, gc=False):
    """The body of a call."""

    path: str
    args: Raw = Raw(b"{}")
    format: str = "json"
    ts: str | None = None


class PathlessCall(Struct, gc=False):
    """The body of a call whose path is in the address."""

    args: Raw = Raw(b"{}")
    format: str = "json"


class Batch(Struct, gc=False):
    """The body of several queries."""

    queries: list[FunctionCall]


_decode_batch = msgspec.json.Decoder(Batch).decode
_decode_call = msgspec.json.Decoder(FunctionCall).decode
_decode_pathless = msgspec.json.Decoder(PathlessCall).decode
_decode_local = msgspec.json.Decoder(local.LocalCall).decode
_decode_list = msgspec.json.Decoder(tuple[Raw]).decode


async def read_body(receive: Receive, limit: int, bound: str = "body_bytes") -> bytes:
    """The whole body of a request. Raises HttpError where it is longer than the bound of that name allows, or the
    client has gone."""
    message = await receive()
    if not message.get("more_body") and message["type"] == "http.request":
        body = cast(bytes, message.get("body", b""))
        if len(body) > limit:
            raise too_long(limit, bound)
        return body
    parts = bytearray()
    while True:
        if message["type"] == "http.disconnect":
            raise bad_request("the client left before its request was complete", "ClientDisconnected")
        parts += message.get("body", b"")
        if len(parts) > limit:
            raise too_long(limit, bound)
        if not message.get("more_body"):
            return bytes(parts)
        message = await receive()


@cache
def _version() -> bytes:
    """The package's version, which is read from disk."""
    return version("reflow").encode()


def too_long(limit: int, bound: str) -> HttpError:
    """The error for a body that is longer than the bound of that name."""
    # The rest of the body is not read: the connection can't go on.
    close = [(b"connection", b"close")]
    return HttpError(413, "BodyTooLarge", f"the request's body is longer than limits.{bound} = {limit}", close)


async def answer(send: Send, status: int, headers: Headers, body: bytes) -> None:
    """Sends a whole response."""
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


class HttpApi:
    """The function API over one engine."""

    def __init__(self, engine: Engine, verifier: Verifier, origins: Origins, *, with_logs: bool = False) -> None:
        self._engine = engine
        self._origins = origins
        self._verifier = verifier
        self._with_logs = with_logs
        self._acting = 0
        self._files = FileDoor(engine, self.refuse)

    async def __call__(self, path: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request for `path`, which starts with /api/ or is /version."""
        headers = dict(cast(Headers, scope["headers"]))
        cors: Headers = []
        try:
            self._origins.check(headers)
            cors = _cors(headers)
            if scope["method"] == "OPTIONS":
                await answer(send, 204, [*cors, *_preflight(headers)], b"")
                return
            if path.startswith(PATH):
                await self._files(path, scope, cors, receive, send)
                return
            content_type, body = await self._respond(path, scope, headers, receive)
        except ReflowError as error:
            await _refuse(send, error, cors)
            return
        await answer(send, 200, [content_type, *cors], body)

    @staticmethod
    async def refuse(scope: Scope, send: Send, error: ReflowError) -> None:
        """Answers with an infrastructure error."""
        await _refuse(send, error, _cors(dict(cast(Headers, scope["headers"]))))

    async def local(self, token: str | None, home: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers the command line: any function, internal ones included. No page of another site may ask this."""
        try:
            _allow(scope["method"], "POST")
            local.check_caller(scope, dict(cast(Headers, scope["headers"])), token)
            call = _decoded(_decode_local, await read_body(receive, self._engine.limits.body_bytes))
            _check_format(call.format)
            result = await local.run(self._engine, call, home)
        except ReflowError as error:
            await self.refuse(scope, send, error)
            return
        await answer(send, 200, [_JSON_TYPE], self._encoded(result, call.format in _PLAIN, with_logs=True))

    async def _respond(
        self, path: str, scope: Scope, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[tuple[bytes, bytes], bytes]:
        method = scope["method"]
        if path == "/version":
            _allow(method, "GET", "HEAD")
            return _TEXT_TYPE, _version()
        door = path.removeprefix("/api/")
        if door == "query" and method == "GET":
            call = _call_of_address(scope)
        elif door == "query_ts":
            _allow(method, "POST")
            await read_body(receive, self._engine.limits.body_bytes)
            return _JSON_TYPE, b'{"ts":"%b"}' % frames.encode_timestamp(self._engine.committer.published).encode()
        elif door == "query_batch":
            _allow(method, "POST")
            batch = _decoded(_decode_batch, await read_body(receive, self._engine.limits.body_bytes))
            return _JSON_TYPE, await self._batch(batch.queries, await caller_of(self._verifier, headers))
        elif door in ("query", "mutation", "action", "query_at_ts", "function"):
            _allow(method, "POST", *(["GET"] if door == "query" else []))
            call = _decoded(_decode_call, await read_body(receive, self._engine.limits.body_bytes))
        elif door.startswith("run/") and len(door) > 4:
            _allow(method, "POST")
            body = _decoded(_decode_pathless, await read_body(receive, self._engine.limits.body_bytes))
            module, _, name = door[4:].rpartition("/")
            call = FunctionCall(f"{module}:{name}" if module else name, body.args, body.format)
        else:
            raise HttpError(404, "NotFound", f"there is nothing at {messages.shown(path)}")
        _check_format(call.format)
        caller = await caller_of(self._verifier, headers)
        if door == "function" and not caller.admin:
            raise Forbidden(f"{path} runs internal functions too, and needs the admin key")
        return _JSON_TYPE, await self._call(door, call, caller)

    async def _call(self, door: str, call: FunctionCall, caller: Caller) -> bytes:
        kinds: tuple[Kind, ...] = ("query", "mutation", "action")
        if door != "function" and not door.startswith("run/"):
            kinds = (cast(Kind, door.removesuffix("_at_ts")),)
        args = _arguments(call.args)
        engine = self._engine
        path = messages.normal_path(call.path)
        identity = caller.identity
        function = (engine.known if caller.admin else engine.public)(path, *kinds)
        if function is None:
            result = missing_function(messages.shown(path))
        elif door == "query_at_ts":
            if call.ts is None:
                raise bad_request("query_at_ts needs a ts; /api/query_ts gives one")
            result = await engine.query_at(function, args, frames.decode_timestamp(call.ts), identity)
        elif function.kind == "query":
            result = await engine.query(function, args, identity)
        elif function.kind == "mutation":
            result = (await engine.mutation(function, args, identity)).result
        else:
            result = await self._action(function, args, identity)
        return self._encoded(result, call.format in _PLAIN)

    async def _batch(self, calls: Sequence[FunctionCall], caller: Caller) -> bytes:
        """Queries at one timestamp: a failed one is an answer like the others."""
        bound = self._engine.limits.queries_per_batch
        if len(calls) > bound:
            raise LimitExceeded(f"{len(calls)} queries in one request; limits.queries_per_batch is {bound}")
        known = self._engine.known if caller.admin else self._engine.public
        wanted: list[tuple[Function[..., Any], bytes]] = []
        answers: list[Result | None] = []
        for call in calls:
            _check_format(call.format)
            path = messages.normal_path(call.path)
            function = known(path, "query")
            answers.append(missing_function(messages.shown(path)) if function is None else None)
            if function is not None:
                wanted.append((function, _arguments(call.args)))
        results = iter(await self._engine.query_batch(wanted, caller.identity))
        whole = [next(results) if answer is None else answer for answer in answers]
        parts = [self._encoded(result, call.format in _PLAIN) for result, call in zip(whole, calls, strict=True)]
        return b'{"results":[%b]}' % b",".join(parts)

    async def _action(self, function: Function[..., Any], args: bytes, identity: Identity | None) -> Result:
        bound = self._engine.limits.client_actions
        if self._acting >= bound:
            raise Overloaded(f"limits.client_actions = {bound} actions run already; try again later")
        self._acting += 1
        try:
            return await self._engine.action(function, args, identity)
        finally:
            self._acting -= 1

    def _encoded(self, result: Result, plain: bool, *, with_logs: bool = False) -> bytes:
        lines = b""
        if (with_logs or self._with_logs) and result.log_lines:
            lines = b',"logLines":' + frames.log_lines(result)
        failure = result.failure
        if failure is None:
            value = cast(bytes, result.value)
            value = values.to_plain(value) if plain else value
            return b'{"status":"success","value":%b%b}' % (value, lines or b',"logLines":[]')
        data = b""
        if failure.data is not None:
            data = b',"errorData":' + (values.to_plain(failure.data) if plain else failure.data)
        return b'{"status":"error","errorMessage":%b%b%b}' % (_json(failure.message), data, lines)


async def _refuse(send: Send, error: ReflowError, cors: Headers) -> None:
    failed = http_error(error)
    body = _json({"code": failed.short, "message": str(failed)})
    await answer(send, failed.status, [_JSON_TYPE, *cors, *failed.headers], body)


def _cors(headers: dict[bytes, bytes]) -> Headers:
    origin = headers.get(b"origin")
    if origin is None:
        return []
    return [
        (b"access-control-allow-origin", origin),
        (b"access-control-allow-credentials", b"true"),
        (b"vary", b"origin"),
    ]


def _preflight(headers: dict[bytes, bytes]) -> Headers:
    return [
        (b"access-control-allow-methods", b"GET, POST, OPTIONS, PATCH, DELETE, PUT"),
        (b"access-control-allow-headers", headers.get(b"access-control-request-headers", b"*")),
        (b"access-control-max-age", b"86400"),
    ]


def _allow(method: str, *allowed: str) -> None:
    if method not in allowed:
        names = ", ".join(allowed)
        headers = [(b"allow", names.encode())]
        raise HttpError(405, "MethodNotAllowed", f"{method} is not possible here; use {names}", headers)


def _decoded(decode: Callable[[bytes], Any], body: bytes) -> Any:
    try:
        return decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"the body must be a JSON object such as {{path, args, format}}: {error}") from None


def _call_of_address(scope: Scope) -> FunctionCall:
    try:
        fields = parse_qs(scope["query_string"].decode(), strict_parsing=False, max_num_fields=16)
    except ValueError as error:
        raise bad_request(f"the address can't be read: {error}") from None
    if "path" not in fields:
        raise bad_request("the address needs ?path=module:function")
    args = fields.get("args", ["{}"])[0].encode()
    try:
        call = FunctionCall(fields["path"][0], msgspec.json.decode(args, type=Raw))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise bad_request(f"args must be JSON: {error}") from None
    if "format" in fields:
        call.format = fields["format"][0]
    return call


def _arguments(raw: Raw) -> bytes:
    """The arguments object, which may come in an array of one."""
    args = bytes(raw).strip()
    if not args.startswith(b"["):
        return args
    try:
        return bytes(_decode_list(args)[0])
    except msgspec.DecodeError:
        raise bad_request("args must be an object, or an array with one object") from None


def _check_format(format: str) -> None:
    if format not in _ENCODED and format not in _PLAIN:
        raise bad_request(f"format {format[:40]!r} is none of {', '.join((*_ENCODED, *_PLAIN))}", "BadFormat")
