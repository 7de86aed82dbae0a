"""Pinecone's SDK: brought in when it is first needed, its errors turned into ours."""

from __future__ import annotations

import asyncio
import importlib
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from reflow.errors import InvalidValue, MissingExtra, ReflowError, VectorStoreError
from reflow.limits import Limits
from reflow.stores.attempts import Passing

if TYPE_CHECKING:
    import pinecone
    from pinecone import AsyncIndex, AsyncPinecone

URL_SETTING = "REFLOW_VECTORS_URL"
KEY_SETTING = "PINECONE_API_KEY"

_TOLD = 500
"""Characters of a store's own message that ours repeat."""
_LATER = frozenset({408, 425, 429})

_PATIENCE = 4
"""How much longer than we ourselves the package waits for an answer."""


class Missing(Exception):
    """The store knows no index or namespace of that name."""


class Exists(Exception):
    """The store has something of that name already."""


@dataclass(frozen=True, slots=True)
class Account:
    """A store and the key to it. The key is in no text that this class makes, whatever the store answers."""

    url: str
    key: str

    @property
    def origin(self) -> str:
        """Where the store is, without user, password and path."""
        parts = urlsplit(self.url)
        port = f":{parts.port}" if parts.port else ""
        return f"{parts.scheme}://{parts.hostname}{port}"

    def __repr__(self) -> str:
        return f"Account({self.origin!r})"

    def told(self, text: object) -> str:
        """What somebody said, fit for an error message."""
        return str(text).replace(self.key, "***")[:_TOLD]


async def load() -> ModuleType:
    """The package `pinecone`. Raises MissingExtra without it."""
    try:
        return await asyncio.to_thread(importlib.import_module, "pinecone")
    except ImportError:
        raise MissingExtra(
            f"{URL_SETTING} names a remote vector store, which needs the pinecone package: "
            'pip install "reflow[pinecone]"'
        ) from None


async def control_plane(account: Account, limits: Limits) -> AsyncPinecone:
    """A client of the store's control plane."""
    sdk = await load()
    transport = importlib.import_module("reflow.stores.transport")
    client: AsyncPinecone = sdk.AsyncPinecone(
        api_key=account.key, host=account.url, timeout=_PATIENCE * limits.remote_request_seconds, source_tag="reflow"
    )
    transport.make_plain(client)
    return client


async def data_plane(account: Account, host: str, limits: Limits) -> AsyncIndex:
    """A client of one index."""
    sdk = await load()
    transport = importlib.import_module("reflow.stores.transport")
    client: AsyncIndex = sdk.AsyncIndex(
        host=host,
        api_key=account.key,
        timeout=_PATIENCE * limits.remote_request_seconds,
        source_tag="reflow",
        connection_pool_maxsize=2 * limits.remote_requests,
    )
    transport.make_plain(client)
    return client


def translated(error: Exception, account: Account, what: str) -> Exception:
    """What a failed request means: Passing, Missing, Exists, or what the caller gets.

    `what` says what was asked for, such as "an upsert into index 'memories'". An exception of no known class is what
    the SDK stumbles over when an answer has the right form and the wrong content.
    """
    import pinecone

    origin = account.origin
    if isinstance(error, ReflowError | Missing | Exists):
        return error
    if isinstance(error, Passing):
        return Passing(f"{origin} {error}, asked for {what}: is {URL_SETTING} right?", kind=VectorStoreError)
    if isinstance(error, TimeoutError):
        return Passing(f"{origin} did not answer {what} in time (limits.remote_request_seconds)")
    if isinstance(error, pinecone.PineconeConnectionError):
        return Passing(f"{origin} can't be reached for {what}: {account.told(error)}", unreachable=True)
    if isinstance(error, pinecone.ApiError):
        return _answered(error, account, what)
    if isinstance(error, pinecone.PineconeError) and not isinstance(error, pinecone.ResponseParsingError):
        return InvalidValue(f"{what} can't be asked for: {account.told(error)}")
    said = account.told(f"{type(error).__name__}: {error}")
    return Passing(f"{origin} answered {what} with what can't be read ({said})", kind=VectorStoreError)


def _answered(error: pinecone.ApiError, account: Account, what: str) -> Exception:
    """The meaning of an HTTP error."""
    status, said = error.status_code, account.told(error.message or error.reason or "no reason given")
    origin = account.origin
    if status in _LATER or status >= 500:
        retry_after = _seconds((error.headers or {}).get("retry-after", ""))
        return Passing(f"{origin} answered {what} with {status}: {said}", retry_after=retry_after)
    if status == 401:
        return VectorStoreError(f"{origin} does not accept the key in {KEY_SETTING}: {said}")
    if status in (402, 403):
        return VectorStoreError(f"{origin} does not allow {what} ({status}): {said}")
    if status == 404:
        return Missing(said)
    if status == 409:
        return Exists(said)
    if status in (400, 413, 422):
        return InvalidValue(f"{origin} refuses {what}: {said}")
    return VectorStoreError(f"{origin} answered {what} with {status}: {said}")


def _seconds(text: str) -> float | None:
    """A Retry-After header given in seconds; one that is a date is left to our own pauses."""
    try:
        seconds = float(text)
    except ValueError:
        return None
    return seconds if seconds >= 0 else None


def checked_account(url: str, key: str) -> Account:
    """The store at a URL. Raises VectorStoreError naming the setting that is wrong."""
    address = url.strip().rstrip("/")
    try:
        parts = urlsplit(address)
        fits = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise VectorStoreError(
            f"{URL_SETTING} is no address of a vector store: give one such as https://api.pinecone.io or "
            "http://127.0.0.1:5080, or remove it to use the store that is built in"
        )
    key = key.strip()
    if not key:
        raise VectorStoreError(f"{URL_SETTING} is set and {KEY_SETTING} is not: the store at {address} wants a key")
    if not key.isascii() or not key.isprintable() or " " in key:
        raise VectorStoreError(
            f"{KEY_SETTING} holds characters that no key has: was it copied in full, and nothing else?"
        )
    return Account(address, key)
