"""A process that ends itself (SIGKILL) at a chosen moment of a commit, seen through SQLite's own file calls."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from typing import Any

import apsw


def say(line: str) -> None:
    """One line to the parent, in one write: what was said was said, whatever happens next."""
    os.write(1, line.encode() + b"\n")


class Fate:
    """Kills the process when a moment comes for the n-th time while it is armed."""

    def __init__(
        self, moment: str, times: int, *, armed: bool = True, last_words: Callable[[str], None] | None = None
    ) -> None:
        self.moment = moment
        self.times = times
        self.armed = armed
        self._last_words = last_words

    def comes(self, moment: str) -> None:
        """A moment of a commit has come."""
        if self.armed and moment == self.moment:
            self.times -= 1
            if self.times == 0:
                if self._last_words is not None:
                    self._last_words(f"dies {moment}")
                os.kill(os.getpid(), signal.SIGKILL)


class FatefulFile(apsw.VFSFile):
    """A database file whose write-ahead log meets its fate between two writes, before or after a sync."""

    def __init__(self, name: Any, flags: list[int], fate: Fate) -> None:
        super().__init__("", name, flags)
        self._fate = fate if flags[0] & apsw.SQLITE_OPEN_WAL else Fate("never", 0)

    def xWrite(self, data: bytes, offset: int) -> None:
        self._fate.comes("writing")
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._fate.comes("written")
        super().xSync(flags)
        self._fate.comes("synced")


class FatefulVFS(apsw.VFS):
    """SQLite's file system with a fateful write-ahead log; its name is "fateful"."""

    def __init__(self, fate: Fate) -> None:
        super().__init__("fateful", "")
        self._fate = fate

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return FatefulFile(name, flags, self._fate)
