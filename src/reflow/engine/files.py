"""Files: their rows, and the way of their bytes between whoever brings or takes them and the blob store.

Every blob has a row before its first byte is written, so that a crash leaves nothing unknown: a row that says "writing"
in a process that does not write it, and one that says "deleted", are collected, first the bytes, then the row.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import logging
import uuid
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

from reflow.database import Bound, RangeRequest
from reflow.engine.commit import first_of
from reflow.engine.reads import ReadSet
from reflow.engine.transaction import EngineTransaction
from reflow.errors import (
    AuthenticationError,
    DocumentNotFound,
    InvalidId,
    InvalidValue,
    LimitExceeded,
    Overloaded,
    ReflowError,
    StorageError,
)
from reflow.files import File, FileData
from reflow.schema import Id, Index, Table, missing, spec_of
from reflow.storage.blobs import Blobs

if TYPE_CHECKING:
    from reflow.engine.engine import Engine

LOG = logging.getLogger("reflow.files")

PATH = "/api/storage/"
"""Where files are, by key."""
UPLOAD_PATH = "/api/storage/upload"

_TOLD_EXPIRED_MS = 24 * 3600e3
"""How long it is known of an address for an upload that it has expired."""

_THREAD_BYTES = 64 << 10
"""From here on a digest is made beside the event loop."""

BlobState = Literal["writing", "kept", "deleted"]


class Blob(Table, table="_blobs", system=True):
    """What is in the blob store under a key, or may be. The key is the capability that addresses of files contain: it
    is no part of the file's own row, which applications hand out."""

    key: str
    state: BlobState
    file: Id[File] | None = missing()

    by_key = Index("key")
    by_file = Index("file")
    by_state = Index("state")


class UploadUrl(Table, table="_uploads", system=True):
    """An address that takes one file, until `expires` (milliseconds since 1970). Its token is known to its holder only:
    `token` is the token's SHA-256."""

    token: str
    expires: float

    by_token = Index("token")
    by_expires = Index("expires")


TABLES = tuple(spec_of(table) for table in (File, Blob, UploadUrl))


class FilesInTransaction:
    """The files as one transaction sees and changes them."""

    def __init__(self, files: Files, tx: EngineTransaction) -> None:
        self._files = files
        self._tx = tx

    async def url(self, id: str) -> str | None:
        """The address of a file, None when there is none."""
        blob = await self._blob(id)
        return None if blob is None else f"{self._files.origin}{PATH}{blob.key}"

    async def metadata(self, id: str) -> File | None:
        """The row of a file, None when there is none."""
        self._check(id)
        return (await self._tx.get([id]))[0]

    async def upload_url(self) -> str:
        """An address for one upload, good once this transaction has committed."""
        self._tx.check_writable()
        token = self._files.new_token()
        expires = self._files.now_ms() + self._tx.host.limits.upload_url_seconds * 1000
        row = UploadUrl(token=_hidden(token), expires=expires)
        with self._tx.as_system():
            await self._tx.insert(spec_of(UploadUrl), [row], [None])
        return f"{self._files.origin}{UPLOAD_PATH}?token={token}"

    async def delete(self, id: str) -> None:
        """Removes a file's row and leaves its bytes to the collector. Raises DocumentNotFound."""
        self._tx.check_writable()
        blob = await self._blob(id)
        if blob is None:
            raise DocumentNotFound(f"can't delete file {id!r}: it does not exist")
        with self._tx.as_system():
            await self._tx.delete([id])
            await self._tx.patch(blob.id, {"state": "deleted"})

    async def _blob(self, id: str) -> Blob | None:
        self._check(id)
        blob = await _blob_by(self._tx, Blob.by_file, file=id)
        return None if blob is None or blob.state != "kept" else blob

    def _check(self, id: str) -> None:
        """Raises InvalidId for what is no id of a file."""
        self._tx.check_open()
        codec, _ = self._tx.host.catalog.locate(id)
        if codec.spec is not spec_of(File):
            raise InvalidId(f"{id!r} is the id of a document of {codec.name!r}, not of a file")


class StoredFile:
    """A file that was there at a timestamp, and what says that it still is."""

    def __init__(self, file: File, key: str, reads: ReadSet, ts: int) -> None:
        self.file = file
        self.key = key
        self.reads = reads
        self.ts = ts


class Files:
    """All files of an application."""

    def __init__(self, engine: Engine, blobs: Blobs, origin: str) -> None:
        """`origin` is what addresses begin with; empty: they begin with a slash, until `serve_at` is told better."""
        self._engine = engine
        self._blobs = blobs
        self.origin = origin.rstrip("/")
        self._writing: set[str] = set()
        """Keys that this process is writing."""
        self._wake = asyncio.Event()
        self._collector: asyncio.Task[None] | None = None

    def serve_at(self, url: str) -> None:
        """Says where the server listens, for an application that was not told under which address it is reached."""
        self.origin = self.origin or url

    def start(self) -> None:
        """Begins to collect."""
        self._collector = asyncio.create_task(self._collect_forever(), name="reflow-files")

    async def close(self) -> None:
        """Stops collecting and closes the blob store."""
        if self._collector is not None:
            self._collector.cancel()
            await asyncio.gather(self._collector, return_exceptions=True)
        await self._blobs.close()

    def now_ms(self) -> float:
        """Milliseconds since 1970."""
        return self._engine.clock.now_ns() / 1e6

    def new_token(self) -> str:
        """What nobody can guess, fit to stand in an address."""
        return base64.urlsafe_b64encode(self._engine.entropy.random_bytes(24)).decode()

    # Storing

    async def store(
        self,
        pieces: AsyncIterable[bytes],
        *,
        content_type: str | None = None,
        sha256: bytes | None = None,
        token: str | None = None,
    ) -> str:
        """Stores a file as its bytes come, and returns its id once they are durable.

        `token` is that of an address for uploads, which is used up. Whatever is raised leaves nothing: what `pieces`
        raises, AuthenticationError for the token, InvalidValue for another digest than `sha256`, LimitExceeded,
        Overloaded, StorageError.
        """
        if token is not None:
            await self._check_token(token)
        bound = self._engine.limits.uploads
        if len(self._writing) >= bound:
            raise Overloaded(f"limits.uploads = {bound} files are being stored already; try again later")
        key = str(uuid.UUID(bytes=self._engine.entropy.random_bytes(16), version=4))
        self._writing.add(key)
        try:
            await self._engine.transact(lambda tx: self._begin(tx, key))
            intake = _Intake(self._engine.limits.file_bytes)
            await self._blobs.put(key, intake.measured(_gathered(pieces, self._engine.limits.file_chunk_bytes)))
            intake.check(sha256)
            file = intake.file(content_type)
            return await self._engine.transact(lambda tx: self._keep(tx, key, file, token))
        except BaseException:
            self._wake.set()
            raise
        finally:
            self._writing.discard(key)

    async def _check_token(self, token: str) -> None:
        async with self._engine.reading() as tx:
            if (await self._ticket(tx, token)).expires <= self.now_ms():
                raise AuthenticationError("StorageTokenExpired: this upload address has expired; ask for another one")

    async def _begin(self, tx: EngineTransaction, key: str) -> None:
        with tx.as_system():
            await tx.insert(spec_of(Blob), [Blob(key=key, state="writing")], [None])

    async def _ticket(self, tx: EngineTransaction, token: str) -> UploadUrl:
        found: list[UploadUrl] = await tx.scan(_equal(UploadUrl.by_token, token=_hidden(token))).take(1)
        if not found:
            raise AuthenticationError(
                "StorageTokenInvalid: this upload address is unknown, or was used already: ask for another one"
            )
        return found[0]

    async def _keep(self, tx: EngineTransaction, key: str, file: File, token: str | None) -> str:
        """The blob becomes a file, and the upload's address is used up, in one commit."""
        blob = await _blob_by(tx, Blob.by_key, key=key)
        if blob is None or blob.state != "writing":
            raise StorageError(f"the file {key} was given up before it was complete")
        with tx.as_system():
            if token is not None:
                await tx.delete([(await self._ticket(tx, token)).id])
            [id] = await tx.insert(spec_of(File), [file], [None])
            await tx.patch(blob.id, {"state": "kept", "file": id})
        return id

    async def store_data(self, data: FileData, content_type: str | None, sha256: bytes | None) -> str:
        """Stores a file from what an action has; see `store`."""
        chunk = self._engine.limits.file_chunk_bytes
        return await self.store(_pieces_of(data, chunk), content_type=content_type, sha256=sha256)

    # Reading

    async def find(self, key: str) -> StoredFile | None:
        """The file of a key as of now, None when there is none."""
        async with self._engine.reading() as tx:
            blob = await _blob_by(tx, Blob.by_key, key=key)
            if blob is None or blob.state != "kept":
                return None
            file = cast("File | None", (await tx.get([str(blob.file)]))[0])
            return None if file is None else StoredFile(file, key, tx.reads, tx.snapshot.ts)

    async def chunks(self, stored: StoredFile, start: int, stop: int) -> AsyncGenerator[bytes, None]:
        """The bytes of a file from `start` up to `stop`, as long as it is there.

        Raises DocumentNotFound when it is deleted meanwhile, StorageError.
        """
        if start >= stop:
            return
        try:
            reader = await self._blobs.open(stored.key, start, stop)
            try:
                while chunk := await reader.read():
                    await self._check_there(stored)
                    yield chunk
            finally:
                await reader.close()
        except StorageError:
            await self._check_there(stored)  # its bytes may be missing because it was deleted
            raise

    async def _check_there(self, stored: StoredFile) -> None:
        """Raises DocumentNotFound for a file that was deleted. Only commits since the last look are looked at."""
        committer = self._engine.committer
        published = committer.published
        if published != stored.ts and committer.log.changed_since(stored.ts, stored.reads):
            found = await self.find(stored.key)
            if found is None:
                raise DocumentNotFound(f"file {stored.file.id!r} was deleted while it was read")
            stored.reads, stored.ts = found.reads, found.ts
        else:
            stored.ts = published

    async def download(self, id: str, start: int, stop: int | None) -> FileDownload | None:
        """The bytes of a file for an action."""
        async with self._engine.reading() as tx:
            if await FilesInTransaction(self, tx).metadata(id) is None:
                return None
            blob = cast(Blob, await _blob_by(tx, Blob.by_file, file=id))
        stored = await self.find(blob.key)
        return None if stored is None else FileDownload(self, stored, start, stop)

    # Collecting

    async def _collect_forever(self) -> None:
        while True:
            self._wake.clear()
            try:
                await self.collect()
            except ReflowError as error:
                LOG.error("files that are gone can't be removed yet: %s", error)
            except Exception:
                LOG.exception("the collector of files goes on after an error")
            pause = self._engine.clock.sleep(self._engine.limits.prune_interval_seconds)
            await first_of(pause, self._wake.wait())

    async def collect(self) -> None:
        """Removes the bytes of deleted files and of uploads that ended too early, and addresses that were not used.

        Raises StorageError; what is left then is collected later.
        """
        bound = self._engine.limits.files_collected
        if await self._any_dead():
            while await self._engine.transact(self._give_up) == bound:
                continue
        while condemned := await self._condemned(bound):
            for blob in condemned:
                await self._blobs.delete(blob.key)
            await self._engine.transact(lambda tx, condemned=condemned: self._forget(tx, condemned))
        if await self._any_expired():
            while await self._engine.transact(self._drop_expired) == bound:
                continue

    async def _any_dead(self) -> bool:
        async with self._engine.reading() as tx:
            return bool(await self._dead(tx))

    async def _dead(self, tx: EngineTransaction) -> list[Blob]:
        """Uploads whose end nobody will bring about."""
        writing: list[Blob] = await tx.scan(_equal(Blob.by_state, state="writing")).take(None)
        return [blob for blob in writing if blob.key not in self._writing]

    async def _give_up(self, tx: EngineTransaction) -> int:
        """From here on they are as good as deleted, whoever might still want to keep them."""
        dead = (await self._dead(tx))[: self._engine.limits.files_collected]
        with tx.as_system():
            for blob in dead:
                await tx.patch(blob.id, {"state": "deleted"})
        return len(dead)

    async def _condemned(self, bound: int) -> list[Blob]:
        async with self._engine.reading() as tx:
            return await tx.scan(_equal(Blob.by_state, state="deleted")).take(bound)

    async def _forget(self, tx: EngineTransaction, condemned: list[Blob]) -> None:
        there = await tx.get([blob.id for blob in condemned])  # another collection may have been as far
        with tx.as_system():
            await tx.delete([blob.id for blob in there if blob is not None])

    def _expired(self) -> RangeRequest:
        before = Bound(value=self.now_ms() - _TOLD_EXPIRED_MS, inclusive=False)
        return RangeRequest(table=spec_of(UploadUrl), index=UploadUrl.by_expires, equal={}, upper=before)

    async def _any_expired(self) -> bool:
        async with self._engine.reading() as tx:
            return await tx.count(self._expired()) > 0

    async def _drop_expired(self, tx: EngineTransaction) -> int:
        old: list[UploadUrl] = await tx.scan(self._expired()).take(self._engine.limits.files_collected)
        with tx.as_system():
            await tx.delete([row.id for row in old])
        return len(old)


class FileDownload:
    """Bytes of a stored file, for an action; see `reflow.files.Download`."""

    def __init__(self, files: Files, stored: StoredFile, start: int, stop: int | None) -> None:
        self._files = files
        self._stored = stored
        self._start = start
        self._stop = stored.file.size if stop is None else min(stop, stored.file.size)

    @property
    def file(self) -> File:
        """What is known of the file."""
        return self._stored.file

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._files.chunks(self._stored, self._start, self._stop)

    async def read(self) -> bytes:
        """All bytes asked for."""
        return b"".join([chunk async for chunk in self])


class _Intake:
    """Counts and digests what goes by."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._hash = hashlib.sha256()

    async def measured(self, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """The same pieces. Raises LimitExceeded."""
        async for piece in pieces:
            self._size += len(piece)
            if self._size > self._most:
                raise LimitExceeded(f"a file can't be larger than limits.file_bytes = {self._most}")
            if len(piece) < _THREAD_BYTES:
                self._hash.update(piece)
            else:
                await asyncio.to_thread(self._hash.update, piece)
            yield piece

    def check(self, wanted: bytes | None) -> None:
        """Raises InvalidValue for another digest."""
        if wanted is not None and wanted != self._hash.digest():
            raise InvalidValue(
                f"the bytes that came have the sha256 {self._hash.hexdigest()}, not {wanted.hex()}: nothing was stored"
            )

    def file(self, content_type: str | None) -> File:
        """The row."""
        digest = base64.b64encode(self._hash.digest()).decode()
        return File(sha256=digest, size=self._size, content_type=content_type)


async def _gathered(pieces: AsyncIterable[bytes], size: int) -> AsyncIterator[bytes]:
    """The same bytes in pieces of about that size: what comes in small ones need not be written in small ones."""
    parts = bytearray()
    async for piece in pieces:
        view = memoryview(piece)
        for at in range(0, len(view), size):
            parts += view[at : at + size]
            if len(parts) >= size:
                yield bytes(parts)
                parts.clear()
    if parts:
        yield bytes(parts)


async def _pieces_of(data: FileData, size: int) -> AsyncIterator[bytes]:
    if isinstance(data, Path):
        file = await asyncio.to_thread(data.open, "rb")
        try:
            while piece := await asyncio.to_thread(file.read, size):
                yield piece
        finally:
            file.close()
    elif isinstance(data, bytes | bytearray | memoryview):
        yield bytes(data)
    else:
        async for piece in data:
            yield piece


def _hidden(token: str) -> str:
    """What is kept of a token: it does not lead back to it."""
    return hashlib.sha256(token.encode()).hexdigest()


def _equal(index: Index, **values: str) -> RangeRequest:
    assert index.table is not None
    return RangeRequest(table=spec_of(index.table), index=index, equal=values)


async def _blob_by(tx: EngineTransaction, index: Index, **values: str) -> Blob | None:
    rows: list[Blob] = await tx.scan(_equal(index, **values)).take(1)
    return rows[0] if rows else None
