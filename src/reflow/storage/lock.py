"""One directory, one server: a locked file that says where the server is.

The lock is the kernel's (flock) and ends with the process that holds it, kill -9 included; the file stays.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import Any

import msgspec

from reflow.errors import DirectoryInUse, StorageUnavailable

FILE_NAME = "reflow.lock"

_ATTEMPTS = 20
_PAUSE_SECONDS = 0.005
"""Who only looks holds a shared lock for a moment, and what it looks at may be half written for another one."""


class ServerInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Who holds a data directory. `url` and `token` are None until its server listens, or where none will."""

    pid: int
    url: str | None = None
    token: str | None = None


class DirectoryLock:
    """The right to open a data directory; also a context manager.

    It keeps out other processes and other opens in this one.
    """

    def __init__(self, directory: Path | str) -> None:
        self._directory = Path(directory)
        self._path = self._directory / FILE_NAME
        self._file: int | None = None

    @property
    def directory(self) -> Path:
        """The directory."""
        return self._directory

    def acquire(self) -> None:
        """Takes the lock, creating the directory where it is missing.

        Errors: `DirectoryInUse` names the server that has it; `StorageUnavailable`.
        """
        if self._file is not None:
            return
        try:
            self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            file = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise _unavailable(self._directory, error) from error
        for _ in range(_ATTEMPTS):
            if _locked(file, fcntl.LOCK_EX):
                self._file = file
                os.fchmod(file, 0o600)
                self._write(ServerInfo(pid=os.getpid()))
                return
            time.sleep(_PAUSE_SECONDS)
        os.close(file)
        holder = read(self._directory)
        who = "another process" if holder is None else f"process {holder.pid}"
        where = f", which serves {holder.url}" if holder is not None and holder.url is not None else ""
        raise DirectoryInUse(
            f"The data directory {self._directory} is open in {who}{where}: stop it, ask it, or choose another "
            "directory."
        )

    def publish(self, url: str, token: str) -> None:
        """Says where the server listens, and the token that lets the command line in."""
        if self._file is None:
            raise DirectoryInUse(f"The lock of {self._directory} is not held: call acquire() first.")
        self._write(ServerInfo(pid=os.getpid(), url=url, token=token))

    def release(self) -> None:
        """Gives the directory back. Releasing twice does nothing."""
        file, self._file = self._file, None
        if file is not None:
            os.ftruncate(file, 0)
            os.close(file)

    def _write(self, info: ServerInfo) -> None:
        assert self._file is not None
        text = msgspec.json.encode(info)
        os.pwrite(self._file, text, 0)
        os.ftruncate(self._file, len(text))

    def __enter__(self) -> DirectoryLock:
        self.acquire()
        return self

    def __exit__(self, *_: Any) -> None:
        self.release()


def read(directory: Path | str) -> ServerInfo | None:
    """Who holds the directory now; None where nobody does. Errors: `StorageUnavailable`."""
    try:
        file = os.open(Path(directory) / FILE_NAME, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise _unavailable(Path(directory), error) from error
    try:
        for _ in range(_ATTEMPTS):
            if _locked(file, fcntl.LOCK_SH):
                return None
            try:
                return msgspec.json.decode(os.pread(file, 1 << 16, 0), type=ServerInfo)
            except msgspec.DecodeError:
                time.sleep(_PAUSE_SECONDS)
    finally:
        os.close(file)
    raise StorageUnavailable(f"{Path(directory) / FILE_NAME} is locked by a program that is not reflow.")


def _locked(file: int, kind: int) -> bool:
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _unavailable(directory: Path, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(
        f"The data directory {directory} can't be used ({error.strerror or error}): check its owner and permissions, "
        "or choose another directory."
    )
