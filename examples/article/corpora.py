"""Where texts come from: the standard library of this machine, or a folder of files."""

from __future__ import annotations

import hashlib
import logging
import os
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Protocol

import playground
from article.corpus import CorpusSource, Entry
from article.schema import Lines
from playground.docstrings import Entry as Documented
from playground.docstrings import read_docstrings
from playground.layout import chunks_of_entry
from playground.stdlib import read_library
from reflow.rag.chunking import split

LOG = logging.getLogger("reflow.playground")

_READERS = (
    Path(__file__),
    *(Path(playground.__file__).with_name(name) for name in ("docstrings.py", "layout.py", "stdlib.py")),
)
"""The code that turns files into chunks. When it changes, the same files are read again; equal chunks stay."""

TEXT_SUFFIXES = frozenset({".md", ".rst", ".txt"})

SOURCE_CHUNKS = 8000
"""Chunks of one source at most: a document holds their ids."""

_NOT_THE_LIBRARY = frozenset({"site-packages", "dist-packages", "test", "tests"})

FILE_BYTES = 16 << 20
"""Larger files are left out."""


class Corpus(Protocol):
    """Texts to bring in."""

    @property
    def description(self) -> str:
        """What it is, for people."""
        ...

    def fingerprint(self) -> str:
        """Changes when a text may have changed. Cheap: no file is read."""
        ...

    def texts(self) -> Iterator[CorpusSource]:
        """All texts. May take its time: it is run in a thread."""
        ...


class StandardLibrary:
    """The docstrings of the Python standard library on this machine, one source per file."""

    description = f"the docstrings of Python {sys.version_info.major}.{sys.version_info.minor}'s standard library"

    def __init__(self) -> None:
        self._root = Path(sysconfig.get_paths()["stdlib"])

    def fingerprint(self) -> str:
        """Changes with the Python that runs."""
        files = _files(self._root, frozenset({".py"}), skipped=_NOT_THE_LIBRARY)
        return _fingerprint("library", sys.version, self._root, files)

    def texts(self) -> Iterator[CorpusSource]:
        """One source per file with docstrings, the most looked for first."""
        for file, found in groupby(read_library(self._root), key=lambda item: item.file):
            name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            yield from _source(file, name, [entry for item in found for entry in _entries(item.entry, file)])


class Folder:
    """The text and Python files of a folder and the folders in it, one source per file."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @property
    def description(self) -> str:
        """The folder's path."""
        return str(self.root)

    def fingerprint(self) -> str:
        """Changes when a file does."""
        return _fingerprint("folder", "", self.root, self.files())

    def files(self) -> list[Path]:
        """What is read of the folder."""
        return _files(self.root, TEXT_SUFFIXES | {".py"})

    def texts(self) -> Iterator[CorpusSource]:
        """One source per file with text in it, in order of their paths. A file that can't be read is left out."""
        for path in self.files():
            file = path.relative_to(self.root).as_posix()
            try:
                if path.stat().st_size > FILE_BYTES:
                    LOG.warning("%s is left out: it is larger than %d MB", file, FILE_BYTES >> 20)
                    continue
                text = path.read_text("utf-8")
            except (OSError, UnicodeDecodeError) as error:
                LOG.warning("%s is left out: %s", file, error)
                continue
            name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
            yield from _source(file, name if path.suffix == ".py" else file, list(_chunks(text, name, file)))


def _chunks(text: str, name: str, file: str) -> Iterator[Entry]:
    """The docstrings of a Python file; any other text in pieces."""
    if file.endswith(".py"):
        try:
            entries = read_docstrings(text, name)
        except SyntaxError as error:
            LOG.warning("%s is left out: %s", file, error)
            return
        for entry in entries:
            yield from _entries(entry, file)
        return
    for chunk in split(text):
        yield Entry(text=chunk.text, lines=Lines(from_=chunk.first_line, to=chunk.last_line), name=file, file=file)


def _entries(documented: Documented, file: str) -> Iterator[Entry]:
    for chunk in chunks_of_entry(documented):
        lines = Lines(from_=chunk.first_line, to=chunk.last_line)
        yield Entry(text=chunk.text, lines=lines, name=chunk.name or None, file=file)


def _source(key: str, name: str, entries: list[Entry]) -> Iterator[CorpusSource]:
    """A source, unless there is nothing in it or too much."""
    if len(entries) > SOURCE_CHUNKS:
        LOG.warning("%s is left out: %d chunks are more than %d", key, len(entries), SOURCE_CHUNKS)
    elif entries:
        yield CorpusSource(key=key, name=name, content_hash=_content_hash(entries), entries=entries)


def _content_hash(entries: Iterable[Entry]) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for entry in entries:
        parts = (entry.name, entry.file, entry.lines.from_, entry.lines.to, entry.text)
        digest.update("\0".join(map(str, parts)).encode("utf-8", "surrogatepass") + b"\0\0")
    return digest.hexdigest()


def _files(root: Path, suffixes: frozenset[str], skipped: frozenset[str] = frozenset()) -> list[Path]:
    """Files below `root`, sorted; hidden ones, caches and `skipped` folders left out."""
    found: list[Path] = []
    for folder, folders, files in os.walk(root):
        folders[:] = [n for n in folders if not n.startswith(".") and n != "__pycache__" and n not in skipped]
        found += [Path(folder, name) for name in files if Path(name).suffix in suffixes and not name.startswith(".")]
    return sorted(found)


def _fingerprint(kind: str, version: str, root: Path, files: Iterable[Path]) -> str:
    digest = hashlib.blake2b(f"{kind}\0{version}\0{root}".encode(), digest_size=16)
    for reader in _READERS:
        digest.update(reader.read_bytes())
    for path in files:
        try:
            state = path.stat()
        except OSError:
            continue
        digest.update(f"{path.relative_to(root)}\0{state.st_size}\0{state.st_mtime_ns}\0".encode("utf-8", "replace"))
    return digest.hexdigest()
