"""Blobs in an object store: S3 and what speaks its protocol, Google Cloud Storage, Azure. Needs `reflow[s3]`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from reflow.errors import DefinitionError, MissingExtra, StorageUnavailable
from reflow.limits import DEFAULT, Limits
from reflow.storage.blobs import BlobReader, checked_key, missing_blob

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "gs", "az")

_ATTEMPTS = 5
_TOLD_LENGTH = 1000
"""Characters of a store's own error that are told."""


class ObjectBlobs:
    """Blobs below an address such as "s3://bucket/prefix".

    Who may do so says the process's environment, with the variables that the provider's own tools read, such as
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL.
    """

    def __init__(self, url: str, limits: Limits = DEFAULT) -> None:
        """Raises MissingExtra, DefinitionError; it connects to nothing yet."""
        try:
            import obstore
            from obstore.exceptions import BaseError
        except ImportError:
            raise MissingExtra(
                f"files at {url} need the package obstore: install reflow[s3], or have them in a directory"
            ) from None
        self._obstore = obstore
        self._errors = (BaseError, OSError, ValueError)
        self._url = url
        self._part = limits.file_part_bytes
        self._fetch = limits.file_fetch_bytes
        self._store = self._connected(limits)

    def _connected(self, limits: Limits) -> ObjectStore:
        scheme = urlsplit(self._url).scheme
        if scheme not in SCHEMES:
            names = ", ".join(f"{name}://" for name in SCHEMES)
            raise DefinitionError(f"files can't be at {self._url!r}: give a directory, or an address with {names}")
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or ""
        pause = timedelta(seconds=limits.file_store_seconds)
        config: Any = {"disable_bulk_delete": True} if scheme == "s3" else None  # which not all that speak S3 have
        try:
            return self._obstore.store.from_url(
                self._url,
                config=config,
                client_options={"allow_http": endpoint.startswith("http://"), "timeout": pause},
                retry_config={"max_retries": _ATTEMPTS, "retry_timeout": pause},
            )
        except self._errors as error:
            raise DefinitionError(f"files can't be at {self._url!r}: {error}") from None

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """See `Blobs`. A process that is killed meanwhile leaves parts which only the store's own rule removes."""
        feed = _Feed(pieces)
        task = asyncio.ensure_future(self._put(checked_key(key), feed))
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError:
            # The client library takes back what it has sent when its source fails, not when it is cancelled.
            feed.stop()
            await asyncio.gather(task, return_exceptions=True)
            raise
        except self._errors as error:
            if feed.raised is not None:
                raise feed.raised from None
            raise self._unavailable(error) from error

    async def _put(self, key: str, feed: _Feed) -> None:
        """In one request where it is small, else in parts."""
        async for piece in feed:
            feed.head += piece
            if len(feed.head) > self._part:
                break
        else:
            await self._obstore.put_async(self._store, key, bytes(feed.head), use_multipart=False)
            return
        await self._obstore.put_async(self._store, key, feed.whole(), chunk_size=self._part, max_concurrency=1)

    async def open(self, key: str, start: int, stop: int) -> BlobReader:
        """See `Blobs`."""
        reader = _ObjectReader(self, key, start, stop)
        await reader.fill()
        return reader

    async def fetch(self, key: str, start: int, stop: int) -> bytes:
        """The next bytes of a blob that one request fetches. Raises StorageError."""
        checked_key(key)
        try:
            return bytes(
                await self._obstore.get_range_async(self._store, key, start=start, end=min(stop, start + self._fetch))
            )
        except FileNotFoundError:
            raise missing_blob(key, self._url) from None
        except self._errors as error:
            raise self._unavailable(error) from error

    async def delete(self, key: str) -> None:
        """See `Blobs`."""
        checked_key(key)
        try:
            await self._obstore.delete_async(self._store, key)
        except FileNotFoundError:
            return
        except self._errors as error:
            raise self._unavailable(error) from error

    async def close(self) -> None:
        """See `Blobs`."""

    def _unavailable(self, error: Exception) -> StorageUnavailable:
        said = " ".join(str(error).partition("Debug source")[0].split())[:_TOLD_LENGTH]
        return StorageUnavailable(f"The files at {self._url} can't be read or written: {said}")


class _ObjectReader:
    """Reads a part of a blob, with a request for each piece: who takes it slowly keeps no connection to the store."""

    def __init__(self, blobs: ObjectBlobs, key: str, start: int, stop: int) -> None:
        self._blobs = blobs
        self._key = key
        self._at = start
        self._stop = stop
        self._ready = b""

    async def fill(self) -> None:
        """Fetches what comes next."""
        if self._at < self._stop:
            self._ready = await self._blobs.fetch(self._key, self._at, self._stop)
            self._at += len(self._ready)

    async def read(self) -> bytes:
        if not self._ready:
            await self.fill()
        ready, self._ready = self._ready, b""
        return ready

    async def close(self) -> None:
        self._ready = b""


class _Feed:
    """Pieces on their way to the store, which can be stopped."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._next: asyncio.Future[bytes | None] | None = None
        self._stopped = False
        self.head = bytearray()
        """What was taken to see whether there is more than one part."""
        self.raised: Exception | None = None
        """What the pieces' source has raised."""

    def stop(self) -> None:
        """Makes whoever takes pieces fail."""
        self._stopped = True
        if self._next is not None:
            self._next.cancel()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        self._next = asyncio.ensure_future(anext(self._pieces, None))
        try:
            if self._stopped:
                self._next.cancel()
            piece = await self._next
        except asyncio.CancelledError:
            raise InterruptedError("the file is not wanted any more") from None
        except Exception as error:
            self.raised = error
            raise
        if piece is None:
            raise StopAsyncIteration
        return piece

    async def whole(self) -> AsyncIterator[bytes]:
        """All pieces, those that were taken already included."""
        yield bytes(self.head)
        self.head.clear()
        async for piece in self:
            yield piece
