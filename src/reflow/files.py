"""`ctx.storage`: files beside the documents, known by ids and reached by addresses that nobody can guess."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol, TypeVar

from reflow.errors import InvalidValue
from reflow.limits import DEFAULT
from reflow.schema import Id, Table, missing

R = TypeVar("R")

_DIGEST_BYTES = 32
_CONTENT_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+[ -~]*")

FileData = bytes | bytearray | memoryview | Path | AsyncIterable[bytes]
"""What a file can be stored from: its bytes, the path of a file on this machine, or bytes as they come."""


class File(Table, table="_storage", rename="camel", system=True):
    """A stored file: a row of the table `_storage`, which queries can read like any other.

    The file's id is `id`; the bytes themselves never change. `sha256` is base64, as in Convex.
    """

    sha256: str
    size: int
    """Bytes."""
    content_type: str | None = missing()

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the file's bytes, as 32 bytes."""
        return base64.b64decode(self.sha256)


def digest_of(text: str | bytes) -> bytes:
    """A SHA-256 given as 32 bytes, 64 hexadecimal digits or base64. Raises InvalidValue."""
    if isinstance(text, bytes):
        found = text
    else:
        try:
            found = bytes.fromhex(text) if len(text) == 2 * _DIGEST_BYTES else base64.b64decode(text, validate=True)
        except (ValueError, binascii.Error):
            found = b""
    if len(found) != _DIGEST_BYTES:
        raise InvalidValue("a sha256 is 32 bytes, or a text of 64 hexadecimal digits or of base64")
    return found


def checked_content_type(text: str) -> str:
    """A media type that can stand in a header, such as "image/png". Raises InvalidValue."""
    if len(text) > DEFAULT.content_type_length or _CONTENT_TYPE.fullmatch(text) is None:
        raise InvalidValue(
            f"{text[:80]!r} is no content type: give one such as 'image/png', of at most "
            f"limits.content_type_length = {DEFAULT.content_type_length} characters"
        )
    return text


class Download(Protocol):
    """Bytes of a stored file, read while it is iterated over, once; `read()` gives them in one piece.

    Raises DocumentNotFound when the file is deleted meanwhile, StorageError when its bytes can't be read.
    """

    @property
    def file(self) -> File:
        """What is known of the file."""
        ...

    def __aiter__(self) -> AsyncIterator[bytes]: ...

    async def read(self) -> bytes:
        """All bytes asked for. They must fit in memory."""
        ...


class FilesInside(Protocol):
    """What the engine's side offers in one transaction."""

    async def url(self, id: str) -> str | None: ...
    async def metadata(self, id: str) -> File | None: ...
    async def upload_url(self) -> str: ...
    async def delete(self, id: str) -> None: ...


class FilesOutside(Protocol):
    """What the engine's side offers beside transactions."""

    async def store_data(self, data: FileData, content_type: str | None, sha256: bytes | None) -> str: ...
    async def download(self, id: str, start: int, stop: int | None) -> Download | None: ...


class FilesRun(Protocol):
    """A run of a function, which knows what transaction a call belongs to."""

    async def files(self, work: Callable[[FilesInside], Awaitable[R]], *, writes: bool = True) -> R: ...


class FilesActionRun(FilesRun, Protocol):
    """A run of an action."""

    def file_store(self) -> FilesOutside: ...


class FileReader:
    """`ctx.storage` in a query: what it gives is live."""

    def __init__(self, run: FilesRun) -> None:
        self._run = run

    async def url(self, id: Id[File]) -> str | None:
        """The address where anybody who knows it can get the file, None when there is no such file (any more).

        It begins with the setting REFLOW_URL, or with the server's own address. Raises InvalidId.
        """
        return await self._run.files(lambda inside: inside.url(id), writes=False)

    async def metadata(self, id: Id[File]) -> File | None:
        """Size, digest and content type, None when there is no such file (any more). Raises InvalidId."""
        return await self._run.files(lambda inside: inside.metadata(id), writes=False)


class FileWriter(FileReader):
    """`ctx.storage` in a mutation."""

    async def upload_url(self) -> str:
        """An address that takes one file by POST, for `limits.upload_url_seconds`, once this mutation has committed.

        Its answer is `{"storageId": ...}`, the file's id.
        """
        return await self._run.files(lambda inside: inside.upload_url())

    async def delete(self, id: Id[File]) -> None:
        """Deletes a file with this mutation's commit; from then on its address is not found, and soon its bytes are
        removed. Raises DocumentNotFound, InvalidId."""
        await self._run.files(lambda inside: inside.delete(id))


class FileStore(FileWriter):
    """`ctx.storage` in an action, where each call is a transaction of its own."""

    def __init__(self, run: FilesActionRun) -> None:
        super().__init__(run)
        self._action = run

    async def store(
        self, data: FileData, *, content_type: str | None = None, sha256: str | bytes | None = None
    ) -> Id[File]:
        """Stores a file and returns its id once its bytes are durable. What comes piece by piece is never held whole.

        With `sha256` (32 bytes, hexadecimal or base64) the bytes are checked. Whatever is raised, by `data` too,
        leaves nothing behind: InvalidValue for a wrong digest, LimitExceeded above `limits.file_bytes`, Overloaded,
        StorageError.
        """
        wanted = None if sha256 is None else digest_of(sha256)
        kind = None if content_type is None else checked_content_type(content_type)
        id: Any = await self._action.file_store().store_data(data, kind, wanted)
        return id

    async def get(self, id: Id[File], *, start: int = 0, stop: int | None = None) -> Download | None:
        """The bytes of a file, or those from `start` up to `stop` (not included); None when there is no such file.

        Raises InvalidId, and InvalidValue for a range that is none.
        """
        if start < 0 or (stop is not None and stop < start):
            raise InvalidValue(f"bytes {start} to {stop} are no range")
        return await self._action.file_store().download(id, start, stop)
