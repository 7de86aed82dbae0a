"""Processes for test_crons_kill: crons and scheduled work that end themselves (SIGKILL) in the midst of it.

Each line "<moment> <n> <orders> <first>" on stdin forks a process that works until, after that many acknowledged
orders, the moment of a commit comes for the n-th time. They say "ack <n>" for each order, what the actions say, "dies
<moment>", and in the end "ended <signal>".
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import sys

from reflow.storage.lock import DirectoryLock
from reflow.storage.sqlite import SqliteStorage
from reflow.values import encode
from tests.crash import timed
from tests.crash.fate import Fate, FatefulVFS, say
from tests.crash.timed import FastClock, app, order

PAUSE_SECONDS = 0.004


async def main(directory: str, start: int, moment: str, times: int, orders: int, first: int) -> None:
    fate = Fate(moment, times, armed=False, last_words=say)
    vfs = FatefulVFS(fate)
    timed.say = say
    with DirectoryLock(directory):
        storage = SqliteStorage(directory, on_commit=fate.comes, vfs="fateful", limits=app.limits)
        engine = app.engine(storage, clock=FastClock(start), log_errors=False)
        await engine.start()
        for done, n in enumerate(itertools.count(first)):
            fate.armed = done >= orders
            outcome = await engine.mutation(order, encode({"n": n}))
            say(f"ack {n}" if outcome.result.value == b"%d" % n else f"wrong {outcome} {vfs}")
            await asyncio.sleep(PAUSE_SECONDS)


def serve(directory: str, start: int) -> None:
    for line in sys.stdin:
        moment, times, orders, first = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(main(directory, start, moment, int(times), int(orders), int(first)))
        _, status = os.waitpid(child, 0)
        say(f"ended {os.WTERMSIG(status)}")


if __name__ == "__main__":
    logging.disable()  # crons that fail are meant to
    serve(sys.argv[1], int(sys.argv[2]))
