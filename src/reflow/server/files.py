"""The HTTP side of files: one address that takes an upload, and one for each file, with ranges and digests.

An address is a capability: whoever knows it may use it, whatever else is in the request. Both kinds stream.
"""

from __future__ import annotations

import asyncio
import base64
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any, cast
from urllib.parse import parse_qs

import msgspec
from starlette.types import Message, Receive, Scope, Send

from reflow.engine.engine import Engine
from reflow.engine.files import PATH, UPLOAD_PATH, StoredFile
from reflow.errors import DocumentNotFound, InvalidValue, LimitExceeded, Overloaded, ReflowError
from reflow.files import checked_content_type, digest_of
from reflow.server.http_errors import Headers, HttpError, bad_request, http_error
from reflow.storage.blobs import is_key

LOG = logging.getLogger("reflow.server")

_CACHED = (b"cache-control", b"private, max-age=2592000")
_EXPOSED = (
    b"access-control-expose-headers",
    b"accept-ranges, content-disposition, content-length, content-range, digest, etag",
)
_RANGE = re.compile(r"bytes=(\d*)-(\d*)", re.ASCII | re.IGNORECASE)
_ANY = "application/octet-stream"

# What a browser shows without running anything of it. The rest is saved: a page or a drawing that somebody uploaded
# must not run scripts as a page of this server.
_SHOWN = re.compile(r"(audio|video)/[\w.+-]+|image/(?!svg)[\w.+-]+|text/plain|application/pdf", re.ASCII)


Refuse = Callable[[Scope, Send, ReflowError], Awaitable[None]]
"""Answers a request with an error."""


class FileDoor:
    """Answers what is below `/api/storage/`."""

    def __init__(self, engine: Engine, refuse: Refuse) -> None:
        self._engine = engine
        self._refuse = refuse
        self._sending = 0

    async def __call__(self, path: str, scope: Scope, cors: Headers, receive: Receive, send: Send) -> None:
        """Answers a request for `path`. `cors` are headers that belong to every answer."""
        headers = dict(cast(Headers, scope["headers"]))
        try:
            if path == UPLOAD_PATH:
                _allow(scope, "POST")
                id = await self._upload(scope, headers, receive)
            else:
                _allow(scope, "GET", "HEAD")
                await self._serve(path, scope, headers, cors, receive, send)
                return
        except ReflowError as error:
            # Not here: what was raised would know this frame, and the frame it, until the next look for cycles.
            await self._refused(error, scope, receive, send)
            return
        body = msgspec.json.encode({"storageId": id})
        length = (b"content-length", b"%d" % len(body))
        await send(_start(200, [(b"content-type", b"application/json"), length, *cors]))
        await send({"type": "http.response.body", "body": body})

    async def _refused(self, error: ReflowError, scope: Scope, receive: Receive, send: Send) -> None:
        failed = http_error(error)
        if scope["method"] == "POST":
            # The rest of the body is not wanted, but a sender that is cut off may never see the answer.
            failed.headers.append((b"connection", b"close"))
            send = self._lingering(receive, send)
        await self._refuse(scope, send, failed)

    # Up

    async def _upload(self, scope: Scope, headers: dict[bytes, bytes], receive: Receive) -> str:
        """Stores the body; returns the file's id."""
        limits = self._engine.limits
        token = _token(scope)
        declared = headers.get(b"content-length", b"")
        if declared.isdigit() and int(declared) > limits.file_bytes:
            raise LimitExceeded(f"a file can't be larger than limits.file_bytes = {limits.file_bytes}")
        content_type = headers.get(b"content-type")
        return await self._engine.files.store(
            self._body(receive),
            content_type=None if content_type is None else checked_content_type(content_type.decode("latin-1")),
            sha256=_declared_digest(headers),
            token=token,
        )

    async def _body(self, receive: Receive) -> AsyncIterator[bytes]:
        """What the client sends, as it comes. Raises HttpError when it stops in between."""
        limits = self._engine.limits
        time = asyncio.get_running_loop().time
        end = time() + limits.upload_seconds
        more = True
        while more:
            try:
                async with asyncio.timeout(limits.file_idle_seconds):
                    message = await receive()
            except TimeoutError:
                text = f"nothing came for limits.file_idle_seconds = {limits.file_idle_seconds:g}: nothing was stored"
                raise HttpError(408, "UploadTimeout", text) from None
            if message["type"] == "http.disconnect":
                raise bad_request("the client left before its file was complete", "ClientDisconnected")
            if time() > end:
                text = f"the upload took longer than limits.upload_seconds = {limits.upload_seconds:g}"
                raise HttpError(408, "UploadTimeout", text)
            more = bool(message.get("more_body"))
            yield message.get("body", b"")

    def _lingering(self, receive: Receive, send: Send) -> Send:
        """A `send` that has the client's remaining bytes read, within bounds, before an answer ends."""
        limits = self._engine.limits

        async def lingering(message: Message) -> None:
            if message["type"] != "http.response.body":
                await send(message)
                return
            await send({**message, "more_body": True})
            left, more = limits.body_bytes, True
            try:
                async with asyncio.timeout(limits.file_idle_seconds):
                    while more and left > 0:
                        rest = await receive()
                        left -= len(rest.get("body", b""))
                        more = bool(rest.get("more_body"))
            except TimeoutError:
                pass
            await send({"type": "http.response.body", "body": b""})

        return lingering

    # Down

    async def _serve(
        self, path: str, scope: Scope, headers: dict[bytes, bytes], cors: Headers, receive: Receive, send: Send
    ) -> None:
        """Sends a file, or a part of it."""
        key = path.removeprefix(PATH)
        stored = await self._engine.files.find(key) if is_key(key) else None
        if stored is None:
            raise _not_found()
        tag = f'"{stored.file.digest.hex()}"'
        # Without an origin the answer still depends on it: it is kept, and may be asked for by a script next time.
        origin = [*cors, _EXPOSED] if cors else [(b"vary", b"origin")]
        always = [*origin, (b"etag", tag.encode()), _CACHED, (b"accept-ranges", b"bytes")]
        if _names(headers.get(b"if-none-match"), tag):
            await send(_start(304, always))
            await send({"type": "http.response.body", "body": b""})
            return
        size = stored.file.size
        asked = None
        if scope["method"] == "GET" and headers.get(b"if-range", tag.encode()) == tag.encode():
            asked = _asked_range(headers.get(b"range"), size)
        start, stop = asked or (0, size)
        status = 200 if asked is None else 206
        found = [*always, *_about(stored, asked), (b"content-length", b"%d" % (stop - start))]
        if scope["method"] == "HEAD":
            await send(_start(status, found))
            await send({"type": "http.response.body", "body": b""})
            return
        bound = self._engine.limits.downloads
        if self._sending >= bound:
            raise Overloaded(f"limits.downloads = {bound} files are being sent already; try again later")
        self._sending += 1
        chunks = self._engine.files.chunks(stored, start, stop)
        try:
            try:
                first = await anext(chunks, b"")  # before the status: there may be an error to tell
            except DocumentNotFound:
                raise _not_found() from None
            await send(_start(status, found))
            try:
                await self._send(first, chunks, receive, send)
            except (ReflowError, TimeoutError) as error:
                # What can't be completed is cut off: the client sees that it has not got all of it.
                LOG.warning("sending a file ended early: %s", str(error) or "the client took nothing for too long")
        finally:
            self._sending -= 1
            await chunks.aclose()

    async def _send(self, first: bytes, chunks: AsyncGenerator[bytes, None], receive: Receive, send: Send) -> None:
        """Sends what comes, as fast as the client takes it, until it leaves."""
        limits = self._engine.limits
        size = limits.file_chunk_bytes
        gone = asyncio.ensure_future(_departure(receive))
        try:
            chunk = first
            while chunk:
                for at in range(0, len(chunk), size):
                    if gone.done():
                        return
                    async with asyncio.timeout(limits.file_idle_seconds):
                        await send({"type": "http.response.body", "body": chunk[at : at + size], "more_body": True})
                chunk = await anext(chunks, b"")
            await send({"type": "http.response.body", "body": b""})
        finally:
            gone.cancel()


def _not_found() -> HttpError:
    kept = [(b"cache-control", b"no-store")]
    return HttpError(404, "FileNotFound", "there is no file at this address, or it was deleted", kept)


def _start(status: int, headers: Headers) -> dict[str, Any]:
    return {"type": "http.response.start", "status": status, "headers": headers}


def _allow(scope: Scope, *allowed: str) -> None:
    if scope["method"] not in allowed:
        names = ", ".join(allowed)
        text = f"{scope['method']} is not possible here; use {names}"
        raise HttpError(405, "MethodNotAllowed", text, [(b"allow", names.encode())])


def _token(scope: Scope) -> str:
    """The token in an upload's address. Raises HttpError."""
    try:
        given = parse_qs(scope["query_string"].decode(), max_num_fields=16).get("token", [""])[0]
    except ValueError:
        given = ""
    if not given:
        raise HttpError(401, "StorageTokenInvalid", "the address has no ?token=...: a mutation makes one that has")
    return given


def _declared_digest(headers: dict[bytes, bytes]) -> bytes | None:
    """The SHA-256 that a `Digest` header says the body has; other digests are not looked at. Raises InvalidValue."""
    for part in headers.get(b"digest", b"").decode("latin-1").split(","):
        name, _, value = part.strip().partition("=")
        if name.lower() == "sha-256":
            try:
                return digest_of(base64.b64decode(value, validate=True))
            except ValueError:
                raise InvalidValue("the Digest header must be sha-256=<32 bytes as base64>") from None
    return None


def _names(header: bytes | None, tag: str) -> bool:
    """Whether an If-None-Match header names an entity."""
    if header is None:
        return False
    tags = [part.strip().removeprefix("W/") for part in header.decode("latin-1").split(",")]
    return tag in tags or "*" in tags


def _asked_range(header: bytes | None, size: int) -> tuple[int, int] | None:
    """The part (start, stop) that a Range header asks for; None for all, also where it asks for several parts, or for
    what can't be read. Raises HttpError for a part beyond the end."""
    found = None if header is None else _RANGE.fullmatch(header.decode("latin-1").strip())
    if found is None:
        return None
    first, last = found.groups()
    if len(first) > 18 or len(last) > 18 or not (first or last) or (first and last and int(last) < int(first)):
        return None
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), size if not last else min(size, int(last) + 1)
    if start >= stop:
        text = f"the file has {size} bytes; no byte of it is in the range that was asked for"
        raise HttpError(416, "RangeNotSatisfiable", text, [(b"content-range", b"bytes */%d" % size)])
    return start, stop


def _about(stored: StoredFile, asked: tuple[int, int] | None) -> Headers:
    """Headers that tell what the bytes are, and what a browser may do with them."""
    kind = stored.file.content_type or _ANY
    found = [(b"content-type", kind.encode()), (b"x-content-type-options", b"nosniff")]
    if _SHOWN.fullmatch(kind.partition(";")[0].strip().lower()) is None:
        found += [(b"content-disposition", b"attachment"), (b"content-security-policy", b"sandbox")]
    if asked is None:
        found.append((b"digest", b"sha-256=" + stored.file.sha256.encode()))
    else:
        found.append((b"content-range", b"bytes %d-%d/%d" % (asked[0], asked[1] - 1, stored.file.size)))
    return found


async def _departure(receive: Receive) -> None:
    """Returns when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        continue
