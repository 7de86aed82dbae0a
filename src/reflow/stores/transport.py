"""The transport under Pinecone's SDK: one request per call, and what the SDK does not tell of the answers."""

from __future__ import annotations

import logging
from typing import Any

import httpx
import msgspec

from reflow.stores.attempts import Passing
from reflow.stores.positions import POSITIONS

LOG = logging.getLogger("reflow.stores")

_WRITTEN = ("x-pinecone-request-lsn", "x-pinecone-lsn-committed")
_INDEXED = ("x-pinecone-max-indexed-lsn", "x-pinecone-lsn-reconciled")

_CHECKED_BYTES = 1 << 10
"""Answers up to this size are read as a whole; the SDK looks at the longer ones itself."""


class PlainTransport(httpx.AsyncBaseTransport):
    """Makes each request once. An answer that is no JSON object is none of the store's; it never reaches the SDK,
    which does not look at the answers to deletes and updates."""

    def __init__(self, inner: httpx.AsyncBaseTransport) -> None:
        self._inner = inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """The store's answer. Raises Passing for one that isn't the store's."""
        response = await self._inner.handle_async_request(request)
        response.request = request
        if response.is_success:
            try:
                body = await response.aread()
            finally:
                await response.aclose()
            if body and not _is_object(body):
                raise Passing(f"answered {len(body)} bytes that are no JSON object")
            _note(response.headers)
        return response

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._inner.aclose()


def make_plain(client: Any) -> None:
    """Puts a PlainTransport in the place of the SDK's own transport, which tries again by itself.

    `client` is an AsyncIndex or an AsyncPinecone. The SDK has no setting for this; where its inside has changed, its
    own tries, which are bounded too, come on top of ours, and `settled` has nothing to go by.
    """
    try:
        http = client._http._ensure_client()
        http._transport = PlainTransport(http._transport._transport)
    except AttributeError as error:
        LOG.warning("this version of the pinecone package goes on trying by itself: %s", error)


def _is_object(body: bytes) -> bool:
    if len(body) > _CHECKED_BYTES:
        return body[:1] == b"{" and body.rstrip()[-1:] == b"}"
    try:
        return isinstance(msgspec.json.decode(body), dict)
    except msgspec.DecodeError:
        return False


def _note(headers: httpx.Headers) -> None:
    positions = POSITIONS.get()
    if positions is not None:
        positions.written = _first_number(headers, _WRITTEN)
        positions.indexed = _first_number(headers, _INDEXED)


def _first_number(headers: httpx.Headers, names: tuple[str, ...]) -> int | None:
    found = (headers.get(name, "") for name in names)
    return next((int(text) for text in found if text.isascii() and text.isdigit()), None)
