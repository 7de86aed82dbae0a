"""A base in a file, from which it is read page by page as searches need it.

The file is derived from the storage, which knows its name: when anything about it does not fit, it is not used and the
rows are read from the storage anew. It is written under another name, brought to the disk and renamed, so that under
its name it is whole.

Layout: the arrays one after the other, each at a multiple of 64 bytes; then a msgpack header that says where they are;
then 24 bytes: the length and the CRC-32 of the header, and a mark.
"""

from __future__ import annotations

import hashlib
import logging
import math
import mmap
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from reflow.search.columns import Columns
from reflow.search.metric import Metric, Place
from reflow.search.postings import Postings
from reflow.search.segment import FOREVER, Arrays, Base

LOG = logging.getLogger("reflow.search")

FORMAT = 1
SUFFIX = ".rows"
UNFINISHED = ".rows.new"

ARRAYS = ("vectors", "codes", "bounds", "seqs", "spaces")
"""The arrays of a segment that a file holds as they are."""

_MARK = b"rflwrows"
_END = struct.Struct("<QQ8s")
_ALIGNMENT = 64
_NAME_BYTES = 16
_CHECKED_BYTES = 1 << 20
"""Of a longer array only so many bytes at both ends are checked at opening."""

Blocks = Iterator[NDArray[Any]]
"""An array in pieces."""


class Section(msgspec.Struct, array_like=True):
    """Where an array is."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    content: int
    """CRC-32 of the whole array: part of the file's name."""
    checksum: int = 0
    """CRC-32 of what is looked at when the file is opened."""


class Header(msgspec.Struct):
    """What a file says of itself."""

    format: int
    place: Place
    dims: int
    metric: Metric
    shape: str
    """What the metadata were made of; see `VectorStore.create`."""
    ts: int
    """All changes up to this timestamp are in the file, none after it."""
    columns: bytes = b""
    postings: bytes = b""
    sections: list[Section] = msgspec.field(default_factory=list[Section])


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Header).decode


def stem(place: Place) -> str:
    """How the names of a place's files begin."""
    return f"{place[0]}-{place[1]}"


class Writer:
    """Writes one file. `finish` gives it its name; whoever does not get there calls `discard`."""

    def __init__(self, directory: Path, header: Header) -> None:
        self._directory = directory
        self._header = header
        self._unfinished = directory / f"{stem(header.place)}{UNFINISHED}"
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file: Any = self._unfinished.open("wb")

    def add(self, name: str, dtype: Any, shape: tuple[int, ...], blocks: Blocks) -> None:
        """Writes an array from its pieces."""
        self._file.write(bytes(-self._file.tell() % _ALIGNMENT))
        offset = self._file.tell()
        content = 0
        for block in map(np.ascontiguousarray, blocks):
            content = zlib.crc32(block.data.cast("B") if block.size else b"", content)
            self._file.write(block)
        self._header.sections.append(Section(name, np.dtype(dtype).str, shape, offset, content))

    def _add_all(self, name: str, arrays: Sequence[NDArray[Any]]) -> None:
        for number, array in enumerate(arrays):
            self.add(f"{name}{number}", array.dtype, array.shape, iter((array,)))

    def finish(self, columns: Columns, postings: Postings) -> Path:
        """Adds the metadata and brings the file to the disk under its name, which stands for all that is in it."""
        header = self._header
        header.columns, arrays = columns.dump()
        self._add_all("column", arrays)
        header.postings, arrays = postings.dump()
        self._add_all("posting", arrays)
        self._file.flush()
        with self._unfinished.open("rb") as written, mmap.mmap(written.fileno(), 0, access=mmap.ACCESS_READ) as content:
            for section in header.sections:
                section.checksum = _checksum(content, section)
        encoded = _encode(header)
        self._file.write(encoded)
        self._file.write(_END.pack(len(encoded), zlib.crc32(encoded), _MARK))
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        name = hashlib.blake2b(encoded, digest_size=_NAME_BYTES).hexdigest()
        path = self._directory / f"{stem(header.place)}-{name}{SUFFIX}"
        os.replace(self._unfinished, path)
        folder = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return path

    def discard(self) -> None:
        """Removes what was written."""
        self._file.close()
        self._unfinished.unlink(missing_ok=True)


def read(path: Path, expected: Header) -> tuple[Base, Header] | None:
    """The base in a file, and its header; None where there is none, or one that is damaged or not as expected.

    The `ts` of what is expected does not matter.
    """
    try:
        with path.open("rb") as file:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        header = _checked(content, expected)
        arrays = {section.name: _array(content, section) for section in header.sections}
        base = _base(header, arrays)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, msgspec.MsgspecError, struct.error) as error:
        LOG.warning("%s is not used, vectors are read from the database: %s", path, error)
        return None
    if hasattr(mmap, "MADV_WILLNEED"):
        codes = next(section for section in header.sections if section.name == "codes")
        start = codes.offset - codes.offset % mmap.PAGESIZE
        content.madvise(mmap.MADV_WILLNEED, start, _bytes(codes) + codes.offset - start)
    return base, header


def _checked(content: mmap.mmap, expected: Header) -> Header:
    """The header of a file. Raises ValueError where the file is not whole, or not the expected one."""
    end = len(content) - _END.size
    if end < 0:
        raise ValueError(f"it has {len(content)} bytes only")
    length, checksum, mark = _END.unpack_from(content, end)
    if mark != _MARK or length > end:
        raise ValueError("it is cut off, or no file of vectors")
    encoded = content[end - length : end]
    if zlib.crc32(encoded) != checksum:
        raise ValueError("its header is damaged")
    header = _decode(encoded)
    for name in ("format", "place", "dims", "metric", "shape"):
        if getattr(header, name) != getattr(expected, name):
            raise ValueError(f"its {name} is {getattr(header, name)!r}, not {getattr(expected, name)!r}")
    for section in header.sections:
        if section.offset + _bytes(section) > end - length or _checksum(content, section) != section.checksum:
            raise ValueError(f"its array {section.name!r} is damaged")
    return header


def _bytes(section: Section) -> int:
    return np.dtype(section.dtype).itemsize * math.prod(section.shape)


def _checksum(content: mmap.mmap, section: Section) -> int:
    start, size = section.offset, _bytes(section)
    if size <= 2 * _CHECKED_BYTES:
        return zlib.crc32(content[start : start + size])
    first = zlib.crc32(content[start : start + _CHECKED_BYTES])
    return zlib.crc32(content[start + size - _CHECKED_BYTES : start + size], first)


def _array(content: mmap.mmap, section: Section) -> NDArray[Any]:
    count = math.prod(section.shape)
    if not count:
        return np.empty(section.shape, dtype=section.dtype)
    # The array keeps the mapping, and with it the file, for as long as anybody reads it.
    return np.frombuffer(content, dtype=section.dtype, count=count, offset=section.offset).reshape(section.shape)


def _base(header: Header, arrays: dict[str, NDArray[Any]]) -> Base:
    """The base of a file: its rows are there since ever, or were over when it was written."""
    ended = arrays["ended"]
    born = np.zeros(len(ended), dtype=np.int64)
    kept = {name: arrays[name] for name in ARRAYS}
    found = Arrays(**kept, born=born, died=np.where(ended, 0, FOREVER))
    columns = Columns.load(header.columns, _numbered(arrays, "column"))
    postings = Postings.load(header.postings, _numbered(arrays, "posting"))
    return Base(header.dims, header.metric, found, columns, postings)


def _numbered(arrays: dict[str, NDArray[Any]], name: str) -> list[NDArray[Any]]:
    count = sum(other.rstrip("0123456789") == name for other in arrays)
    return [arrays[f"{name}{number}"] for number in range(count)]
