"""Processes for test_storage_kill: they commit groups for ever and say which they were told are durable.

Started once with a directory and a durability; each line "<moment> <n>" on stdin forks a process that opens the
storage and works until it kills itself (SIGKILL) at the n-th time that it comes to that moment of a commit. What they
say, one write a line: "opened <ts> <pid>", "begin <ts>" before a COMMIT, "ack <ts>" when commit() has returned, and in
the end "ended <signal>".
"""

from __future__ import annotations

import asyncio
import os
import random
import sys

from reflow.storage.base import Batch, IndexWrite, Request, TextWrite, VectorWrite, Write, sequence_key
from reflow.storage.sqlite import SqliteStorage
from tests.crash.fate import Fate, FatefulVFS, say

TABLE, RANGE, TEXT, VECTOR = 10001, 20001, 20002, 20003
PER_BATCH = 3


def documents(ts: int) -> list[Write]:
    """What the batch of a timestamp inserts; the parent expects all of it or nothing."""
    return [
        Write(
            TABLE,
            seq,
            f"{ts}:{seq}".encode() * 20,
            None,
            [IndexWrite(RANGE, None, sequence_key(seq * 7919 % 100_003) + sequence_key(seq))],
            [TextWrite(TEXT, f"every t{ts} s{seq}")],
        )
        for seq in range(ts * PER_BATCH, ts * PER_BATCH + PER_BATCH)
    ]


def batch(ts: int) -> Batch:
    vectors = [VectorWrite(VECTOR, 1, ts * PER_BATCH, b"\x00" * 64)]
    counter = [Write(TABLE, 1, b"%d" % ts, b"%d" % (ts - 1))]
    return Batch(ts, [*documents(ts), *counter], vectors, Request("session", ts, ts, b"%d" % ts))


async def main(directory: str, durability: str, moment: str, times: int) -> None:
    ts = 0
    fate = Fate(moment, times)

    def on_commit(place: str) -> None:
        if place == "before":
            say(f"begin {ts}")
        fate.comes(place)

    vfs = FatefulVFS(fate)
    storage = SqliteStorage(
        directory, durability="full" if durability == "full" else "relaxed", on_commit=on_commit, vfs="fateful"
    )
    ts = await storage.open()
    if ts == 0:
        await storage.create_table(TABLE)
        await storage.create_index(RANGE, TABLE, "range")
        await storage.create_index(TEXT, TABLE, "text")
        await storage.create_index(VECTOR, TABLE, "vector")
        ts = 1
        await storage.apply(Batch(1, [Write(TABLE, 1, b"1", None)]))
        await storage.commit()
    say(f"opened {ts} {os.getpid()}")
    while vfs:
        for _ in range(random.randint(1, 5)):
            ts += 1
            await storage.apply(batch(ts))
        await storage.commit()
        say(f"ack {ts}")


def serve(directory: str, durability: str) -> None:
    for line in sys.stdin:
        moment, times = line.split()
        child = os.fork()
        if child == 0:
            asyncio.run(main(directory, durability, moment, int(times)))
        _, status = os.waitpid(child, 0)
        say(f"ended {os.WTERMSIG(status)}")


if __name__ == "__main__":
    serve(sys.argv[1], sys.argv[2])
