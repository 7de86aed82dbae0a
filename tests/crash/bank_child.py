"""Processes for test_kill: an application under load that kills itself (SIGKILL) inside a COMMIT, or waits for it.

Each line "<moment> <n> <acknowledged>" on stdin forks a process that works until, after that many acknowledged
mutations, the moment of a commit comes for the n-th time. What they say: "opened <pid>", "ack <n>" for each mutation,
"ship <n>" from the scheduled action, "dies <moment>", and in the end "ended <signal>".
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import signal
import sys
from typing import Any

import apsw

from reflow.storage.lock import DirectoryLock
from reflow.storage.sqlite import SqliteStorage
from reflow.values import encode
from tests.crash import bank
from tests.crash.bank import app, say, transfer

CLIENTS = 12
ACCOUNTS = 8


class Fate:
    """Kills the process when a moment comes for the n-th time after it was armed."""

    def __init__(self, moment: str, times: int) -> None:
        self.moment = moment
        self.times = times
        self.armed = False

    def comes(self, moment: str) -> None:
        if self.armed and moment == self.moment:
            self.times -= 1
            if self.times == 0:
                say(f"dies {moment}")
                os.kill(os.getpid(), signal.SIGKILL)


class FatefulFile(apsw.VFSFile):
    """A write-ahead log that meets its fate between two writes, before or after a sync."""

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
    def __init__(self, fate: Fate) -> None:
        super().__init__("fateful", "")
        self._fate = fate

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        return FatefulFile(name, flags, self._fate)


async def main(directory: str, first: int, moment: str, times: int, acknowledged: int) -> None:
    fate = Fate(moment, times)
    vfs = FatefulVFS(fate)
    bank.ship_out = say
    numbers = itertools.count(first)
    done = 0
    with DirectoryLock(directory):
        storage = SqliteStorage(directory, on_commit=fate.comes, vfs="fateful", limits=app.limits)
        engine = app.engine(storage)
        await engine.start()

        async def client() -> None:
            nonlocal done
            while vfs:
                n = next(numbers)
                source, target = random.sample(range(ACCOUNTS), 2)
                args = encode({"n": n, "source": source, "target": target})
                outcome = await engine.mutation(transfer, args, request=("session", n))
                say(f"ack {n}" if outcome.result.value == b"%d" % n else f"wrong {outcome}")
                done += 1
                fate.armed = done >= acknowledged

        say(f"opened {os.getpid()}")
        await asyncio.gather(*(client() for _ in range(CLIENTS)))


def serve(directory: str) -> None:
    for line in sys.stdin:
        moment, times, acknowledged, first = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(main(directory, int(first), moment, int(times), int(acknowledged)))
        _, status = os.waitpid(child, 0)
        say(f"ended {os.WTERMSIG(status)}")


if __name__ == "__main__":
    serve(sys.argv[1])
