"""The files of a folder that can become sources, and which of them change.

Left out is what nobody wrote to be read: hidden files and folders, what a .gitignore names, installed packages,
backups of editors, empty files. Symbolic links are not followed: a folder gives away nothing but itself, and its links
can't make it endless.

In a watched folder counts what is there, not what happened: whenever the system tells of something, files are compared
with how they were. So it does not matter in which steps an editor saves, or whether the system tells everything.
"""

from __future__ import annotations

import asyncio
import os
import stat
import threading
from collections.abc import AsyncGenerator, Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING

from watchfiles import watch as system_watch

from reflow.errors import LimitExceeded, MissingExtra, ReflowError, UnreadableSource
from reflow.limits import DEFAULT, Limits
from reflow.rag.reading.kinds import SUFFIXES, TEXT_NAMES, suffix_of
from reflow.rag.reading.reader import check_size

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_NOT_OURS = frozenset(("node_modules", "__pycache__", "site-packages", "bower_components"))
_IGNORE_FILE = ".gitignore"
_ENVIRONMENT_MARK = "pyvenv.cfg"
_READ_BYTES = 1 << 20
_TICK_MILLISECONDS = 200
"""How often a watched folder is seen to though nothing happened."""

_Rules = Sequence[tuple[str, "GitIgnoreSpec"]]
"""The .gitignore files that hold for a folder: where each stands ("" or "a/b/"), and what it says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file of a folder: `key` is its path in the folder, with "/" between the parts on every system."""

    key: str
    path: Path
    size: int
    modified_ns: int


def walk(folder: Path, *, suffixes: Collection[str] = SUFFIXES, limits: Limits = DEFAULT) -> Iterator[File]:
    """The files below a folder that can be read, in order of their keys' parts; `suffixes` are those to look for.

    Touches the disk: call it in a thread. Raises UnreadableSource where the folder is not there or can't be listed,
    LimitExceeded above limits.folder_files, and MissingExtra for a .gitignore without `reflow[documents]`.
    """
    pending: list[tuple[str, _Rules]] = [("", ())]
    count = 0
    while pending:
        below, rules = pending.pop()
        entries = _entries(folder, below)
        names = {entry.name for entry in entries}
        if _ENVIRONMENT_MARK in names and below:
            continue
        if _IGNORE_FILE in names:
            rules = [*rules, (below, _rules_of(folder / below / _IGNORE_FILE))]
        folders: list[tuple[str, _Rules]] = []
        for entry in entries:
            key = below + entry.name
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in _NOT_OURS and not _ignored(key + "/", rules):
                    folders.append((key + "/", rules))
                continue
            file = _file_of(entry, key, suffixes)
            if file is None or _ignored(key, rules):
                continue
            count += 1
            if count > limits.folder_files:
                raise LimitExceeded(
                    f"{folder} has more than limits.folder_files = {limits.folder_files} files that can be read: name"
                    " folders inside of it, or what to leave out in a .gitignore"
                )
            yield file
        pending += reversed(folders)


def read_file(path: Path, *, limits: Limits = DEFAULT) -> bytes:
    """The bytes of a file. Raises UnreadableSource for what is no file, is gone or above limits.source_bytes."""
    # Without O_NONBLOCK, opening a pipe would wait for somebody to write into it.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(path, flags), "rb") as opened:
            found = os.fstat(opened.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise UnreadableSource("unsupported", f"{path} is no file")
            check_size(found.st_size, str(path), limits)
            data = bytearray()
            while chunk := opened.read(_READ_BYTES):
                data += chunk
                check_size(len(data), str(path), limits)  # it may grow meanwhile
    except (FileNotFoundError, NotADirectoryError):
        raise UnreadableSource("gone", f"{path} is not there") from None
    except OSError as error:
        raise UnreadableSource("broken", f"{path} can't be read ({error.strerror})") from None
    return bytes(data)


def _entries(folder: Path, below: str) -> list[os.DirEntry[str]]:
    """What stands in a folder, in order, without what is hidden."""
    try:
        with os.scandir(folder / below) as found:
            return sorted(
                (entry for entry in found if entry.name == _IGNORE_FILE or _is_named(entry.name)),
                key=lambda entry: entry.name,
            )
    except OSError as error:
        if below:
            return []  # a folder inside that is closed to us, or has just gone
        raise UnreadableSource("gone", f"the folder {folder} can't be listed ({error.strerror})") from None


def _is_named(name: str) -> bool:
    """Whether a name is one that people give and that can be stored."""
    if name.startswith((".", "~$", "#")) or name.endswith("~"):
        return False
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False  # bytes that are no text in the file system's encoding
    return True


def _is_wanted(name: str, suffixes: Collection[str]) -> bool:
    """Whether a file of that name can be read, by its suffix or by its whole name."""
    suffix = suffix_of(name)
    return suffix in suffixes or (not suffix and suffixes is SUFFIXES and name.lower() in TEXT_NAMES)


def _file_of(entry: os.DirEntry[str], key: str, suffixes: Collection[str]) -> File | None:
    if not _is_wanted(entry.name, suffixes) or not entry.is_file(follow_symlinks=False):
        return None
    try:
        found = entry.stat(follow_symlinks=False)
    except OSError:
        return None  # it has just gone
    if not found.st_size:
        return None
    return File(key=key, path=Path(entry.path), size=found.st_size, modified_ns=found.st_mtime_ns)


def _rules_of(file: Path) -> GitIgnoreSpec:
    try:
        from pathspec import GitIgnoreSpec
    except ImportError as error:
        raise MissingExtra(f"{file} is heeded with the package pathspec: install `reflow[documents]`") from error
    try:
        return GitIgnoreSpec.from_lines(read_file(file).decode("utf-8", "replace").splitlines())
    except (UnreadableSource, ValueError):
        return GitIgnoreSpec.from_lines([])  # git, too, goes on without one that it can't read


def _ignored(key: str, rules: _Rules) -> bool:
    """Whether the .gitignore files leave a path out: the innermost that says anything of it decides."""
    for below, spec in reversed(rules):
        said = spec.check_file(key[len(below) :]).include
        if said is not None:
            return said
    return False


# Watching


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A file of a watched folder that is new or other than before, or `deleted`."""

    key: str
    path: Path
    deleted: bool


async def watch(
    folder: Path, *, suffixes: Collection[str] = SUFFIXES, limits: Limits = DEFAULT
) -> AsyncGenerator[list[Change]]:
    """Tells which files of a folder change, until it is closed: first all files that there are, then what changes.

    Since the first batch is taken while the folder is watched already, nothing between the two is missed. Changes that
    come while the last batch is worked on are joined, one for each file. A change is told some hundredths of a second
    after the file was written (limits.folder_quiet_seconds).

    Raises what `walk` raises, also when the folder itself goes away: its files then count as unknown, not as deleted.
    """
    watched = _Watched(folder.resolve(), suffixes, limits)
    try:
        while True:
            yield await watched.next()
    finally:
        await watched.close()


class _Watched:
    """A thread that watches, and what it has found that nobody took yet."""

    def __init__(self, folder: Path, suffixes: Collection[str], limits: Limits) -> None:
        self._loop = asyncio.get_running_loop()
        self._found: dict[str, Change] = {}
        self._first = True
        self._error: Exception | None = None
        self._news = asyncio.Event()
        self._stop = threading.Event()
        self._files = _Files(folder, suffixes, limits)
        self._folder, self._limits = folder, limits
        self._thread = threading.Thread(target=self._run, name="reflow-watch", daemon=True)
        self._thread.start()

    async def next(self) -> list[Change]:
        """What changed since the last call."""
        await self._news.wait()
        self._news.clear()
        if self._error is not None:
            raise self._error
        found, self._found = self._found, {}
        return sorted(found.values(), key=lambda change: change.key)

    async def close(self) -> None:
        """Ends the thread."""
        self._stop.set()
        while self._thread.is_alive():
            await asyncio.sleep(0.01)

    def _run(self) -> None:
        limits = self._limits
        try:
            _entries(self._folder, "")  # an error of ours where the folder is not there
            for happened in system_watch(
                self._folder,
                watch_filter=None,
                debounce=int(limits.folder_busy_seconds * 1000),
                step=max(1, int(limits.folder_quiet_seconds * 1000)),
                stop_event=self._stop,
                rust_timeout=_TICK_MILLISECONDS,
                yield_on_timeout=True,
                raise_interrupt=False,
            ):
                changes = self._files.changes({path for _, path in happened})
                if changes or self._first:
                    self._first = False
                    self._tell(changes, None)
        except ReflowError as error:
            self._tell([], error)
        except Exception as error:  # whatever the system has against it: no more watches, no permission
            self._tell([], UnreadableSource("broken", f"the folder {self._folder} can't be watched ({error})"))

    def _tell(self, changes: list[Change], error: Exception | None) -> None:
        def take() -> None:
            self._found.update((change.key, change) for change in changes)
            self._error = error
            self._news.set()

        if not self._stop.is_set():
            self._loop.call_soon_threadsafe(take)


class _Files:
    """The files of a folder as they were when they were last told. Used by one thread."""

    def __init__(self, folder: Path, suffixes: Collection[str], limits: Limits) -> None:
        self._folder, self._suffixes, self._limits = folder, suffixes, limits
        self._known: dict[str, File] = {}
        self._vanished: dict[str, float] = {}  # keys of files that are gone or empty, and since when
        self._next_scan = 0.0

    def changes(self, touched: Collection[str]) -> list[Change]:
        """What is other than before, where `touched` paths are all that the system told."""
        now = monotonic()
        keys = {Path(path).relative_to(self._folder).as_posix() for path in touched}
        relevant = [key for key in keys if self._concerns(key)]
        if self._vanished or now >= self._next_scan or (relevant and not self._known.keys() >= set(relevant)):
            return self._compared(now)
        found = {key: self._look(key) for key in relevant}
        if None in found.values():
            return self._compared(now)
        return self._taken({key: file for key, file in found.items() if file is not None})

    def _concerns(self, key: str) -> bool:
        """Whether what happened at a path may change a file that counts."""
        *above, name = key.split("/")
        if not all(_is_named(part) and part not in _NOT_OURS for part in above):
            return False
        if name == _IGNORE_FILE or key in self._known or key == ".":
            return True
        if not _is_named(name) or name in _NOT_OURS:
            return False
        if _is_wanted(name, self._suffixes) or (self._folder / key).is_dir():
            return True
        return any(known.startswith(f"{key}/") for known in self._known)  # it was a folder

    def _look(self, key: str) -> File | None:
        """A known file as it is now; None where it is gone, empty or something else."""
        path = self._folder / key
        try:
            found = path.lstat()
        except OSError:
            return None
        if not stat.S_ISREG(found.st_mode) or not found.st_size:
            return None
        return File(key=key, path=path, size=found.st_size, modified_ns=found.st_mtime_ns)

    def _compared(self, now: float) -> list[Change]:
        """The whole folder compared. A file that vanished is told when it did not come back at once."""
        found = {file.key: file for file in walk(self._folder, suffixes=self._suffixes, limits=self._limits)}
        self._next_scan = monotonic() + self._limits.folder_rescan_seconds
        vanished = {key: self._vanished.get(key, now) for key in self._known.keys() - found.keys()}
        gone = [key for key, since in vanished.items() if now - since >= self._limits.folder_gone_seconds]
        self._vanished = {key: since for key, since in vanished.items() if key not in gone}
        for key in gone:
            del self._known[key]
        return [Change(key=key, path=self._folder / key, deleted=True) for key in gone] + self._taken(found)

    def _taken(self, found: dict[str, File]) -> list[Change]:
        changed = [file for key, file in found.items() if self._known.get(key) != file]
        self._known.update((file.key, file) for file in changed)
        return [Change(key=file.key, path=file.path, deleted=False) for file in changed]
