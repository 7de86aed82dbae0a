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
import sys

from reflow.storage.lock import DirectoryLock
from reflow.storage.sqlite import SqliteStorage
from reflow.values import encode
from tests.crash import bank
from tests.crash.bank import app, transfer
from tests.crash.fate import Fate, FatefulVFS, say

CLIENTS = 12
ACCOUNTS = 8


async def main(directory: str, first: int, moment: str, times: int, acknowledged: int) -> None:
    fate = Fate(moment, times, armed=False, last_words=say)
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
