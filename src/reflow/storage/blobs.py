"""Where the bytes of files are: a directory, or memory; `reflow.storage.object_blobs` has object stores.

A blob is written whole or not at all, and never changes. Its key is a UUID, which is all that ever becomes part of a
path.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, TypeVar

from reflow.errors import InvalidId, StorageUnavailable
from reflow.limits import DEFAULT, Limits

T = TypeVar("T")

_KEY = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_PARTIAL = ".part"


def is_key(text: str) -> bool:
    """Whether a text can be a blob's key: a UUID in its one spelling."""
    return _KEY.fullmatch(text) is not None


def checked_key(text: str) -> str:
    """A key, fit to be part of a path. Raises InvalidId."""
    if not is_key(text):
        raise InvalidId(f"{text[:50]!r} is no key of a file")
    return text


class BlobReader(Protocol):
    """Reads a part of a blob, from its start to its end."""

    async def read(self) -> bytes:
        """The next bytes, none at the end. Raises StorageError."""
        ...

    async def close(self) -> None:
        """Ends the reading, wherever it is."""
        ...


class Blobs(Protocol):
    """What stores the bytes of files."""

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """Stores a blob; it is durable on return. What `pieces` raises is raised, and nothing is left.

        Raises StorageError. After a crash there may be a part, which `delete` removes.
        """
        ...

    async def open(self, key: str, start: int, stop: int) -> BlobReader:
        """Begins to read the bytes from `start` up to `stop`. Raises StorageError, also where there is no blob."""
        ...

    async def delete(self, key: str) -> None:
        """Removes a blob, or what there is of it. Raises StorageError."""
        ...

    async def close(self) -> None:
        """Ends all work."""
        ...


class MemoryBlobs:
    """Blobs of an application that keeps nothing; the twin of `DirectoryBlobs`."""

    def __init__(self, limits: Limits = DEFAULT) -> None:
        self.blobs: dict[str, bytes] = {}
        self._chunk = limits.file_chunk_bytes

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """See `Blobs`."""
        self.blobs[checked_key(key)] = b"".join([piece async for piece in pieces])

    async def open(self, key: str, start: int, stop: int) -> BlobReader:
        """See `Blobs`."""
        blob = self.blobs.get(checked_key(key))
        if blob is None:
            raise missing_blob(key, "memory")
        return _MemoryReader(blob[start:stop], self._chunk)

    async def delete(self, key: str) -> None:
        """See `Blobs`."""
        self.blobs.pop(checked_key(key), None)

    async def close(self) -> None:
        """See `Blobs`."""


class _MemoryReader:
    """Reads from memory."""

    def __init__(self, blob: bytes, chunk: int) -> None:
        self._blob = blob
        self._chunk = chunk
        self._at = 0

    async def read(self) -> bytes:
        found = self._blob[self._at : self._at + self._chunk]
        self._at += len(found)
        return found

    async def close(self) -> None:
        self._blob = b""


class DirectoryBlobs:
    """Blobs as files of a directory, which is made when the first one comes.

    A blob is written beside its name, brought to the disk, renamed, and the directory is brought to the disk: what
    stands under a blob's name is whole, through kill -9 and power loss.
    """

    def __init__(self, directory: Path | str, limits: Limits = DEFAULT) -> None:
        self._directory = Path(directory)
        self._chunk = limits.file_chunk_bytes
        self._pool = ThreadPoolExecutor(limits.file_threads, thread_name_prefix="reflow-files")

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        """See `Blobs`."""
        path = self._path(key)
        partial = path.with_name(path.name + _PARTIAL)
        file = await self._open(lambda: self._create(partial))
        try:
            async for piece in pieces:
                await self._in_thread(lambda piece=piece: _write(file, piece))
            await self._in_thread(lambda: self._finish(file, partial, path))
        except BaseException:
            await self._in_thread(lambda: partial.unlink(missing_ok=True))
            raise
        finally:
            os.close(file)

    def _create(self, partial: Path) -> int:
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        return os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def _finish(self, file: int, partial: Path, path: Path) -> None:
        os.fsync(file)
        partial.rename(path)
        self._sync()

    def _sync(self) -> None:
        """Brings the names in the directory to the disk."""
        directory = os.open(self._directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    async def open(self, key: str, start: int, stop: int) -> BlobReader:
        """See `Blobs`."""
        path = self._path(key)
        file = await self._open(lambda: _opened(path))
        if file is None:
            raise missing_blob(key, str(self._directory))
        return _FileReader(file, start, stop, self._chunk, self._in_thread)

    async def delete(self, key: str) -> None:
        """See `Blobs`."""
        path = self._path(key)
        await self._in_thread(lambda: self._delete(path))

    def _delete(self, path: Path) -> None:
        try:
            path.with_name(path.name + _PARTIAL).unlink(missing_ok=True)
            path.unlink()
        except FileNotFoundError:
            return
        self._sync()

    async def close(self) -> None:
        """See `Blobs`."""
        self._pool.shutdown()

    def _path(self, key: str) -> Path:
        return self._directory / checked_key(key)

    async def _open(self, work: Callable[[], T]) -> T:
        """Opens a file beside the event loop, and closes it again where nobody wants it any more."""
        opened: list[T] = []
        try:
            await self._in_thread(lambda: opened.append(work()))
        except BaseException:
            for file in opened:
                if isinstance(file, int):
                    os.close(file)
            raise
        return opened[0]

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Does something to the disk beside the event loop. Raises StorageUnavailable.

        Whoever is cancelled waits for it all the same: the file it is about must not be closed before.
        """
        future = asyncio.get_running_loop().run_in_executor(self._pool, work)
        try:
            return await asyncio.shield(future)
        except asyncio.CancelledError:
            while not future.done():
                try:
                    await asyncio.wait([future])
                except asyncio.CancelledError:
                    continue
            raise
        except OSError as error:
            raise StorageUnavailable(
                f"The files in {self._directory} can't be read or written ({error.strerror or error}): check the "
                "disk's room and the directory's permissions."
            ) from error


class _FileReader:
    """Reads a part of a file."""

    def __init__(self, file: int, start: int, stop: int, chunk: int, in_thread: _InThread) -> None:
        self._file = file
        self._at = start
        self._stop = stop
        self._chunk = chunk
        self._in_thread = in_thread

    async def read(self) -> bytes:
        size, at = min(self._chunk, self._stop - self._at), self._at
        if size <= 0:
            return b""
        found = await self._in_thread(lambda: os.pread(self._file, size, at))
        if not found:
            raise StorageUnavailable(f"A file ends at byte {at}, where it should go on to {self._stop}.")
        self._at += len(found)
        return found

    async def close(self) -> None:
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)


class _InThread(Protocol):
    """Does something beside the event loop."""

    async def __call__(self, work: Callable[[], T], /) -> T: ...


def _opened(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None


def _write(file: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(file, left) :]


def missing_blob(key: str, where: str) -> StorageUnavailable:
    """The error for a file that has a row and no bytes."""
    return StorageUnavailable(f"The bytes of file {key} are not in {where}: somebody has removed them.")
