"""The commit road: one turn at a time, groups of mutations that share one COMMIT, then publication.

Strictly alternating: while a group runs nothing commits, while COMMIT runs no mutation does. Everything that derives
from a group (write log, vectors, cache, scheduler) is provisional until COMMIT has returned.
"""

from __future__ import annotations

import asyncio
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from reflow.engine.transaction import Effects
from reflow.engine.write_log import Commit, WriteLog
from reflow.errors import Overloaded, ReflowError, StorageError
from reflow.limits import Limits
from reflow.search.metric import in_turns
from reflow.search.vector import VectorStore
from reflow.storage.base import Snapshot, Storage

LOG = logging.getLogger("reflow.engine")

_GATHER_SHARE = 0.25
"""The part of a COMMIT's time that the next group may be put off for company."""

_COMPANY_SHARE = 0.8
"""The part of the expected company that is enough."""


class Clock(Protocol):
    """Where the engine's time comes from."""

    def now_ns(self) -> int:
        """Nanoseconds since 1970."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Returns after that time, or a little later."""
        ...


async def first_of(*awaitables: Awaitable[object]) -> None:
    """Returns when one of them is done; the others are cancelled."""
    tasks = [asyncio.ensure_future(awaitable) for awaitable in awaitables]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()


@dataclass(slots=True)
class Step:
    """What one job left to be done after the group's COMMIT: to tell somebody."""

    done: Callable[[int, ReflowError | None], None]
    """Called with the commit timestamp once the group is durable, or with the error that undid it."""


class Company:
    """Lets answers leave and their clients come back, so that these share the next COMMIT.

    It costs the same for one as for many. Without this, who was just answered would always find the next COMMIT gone,
    and the clients would fall into two halves that wait for each other. The wait is a small share of what COMMIT
    takes, and ends as soon as nearly as many have come as are expected.
    """

    def __init__(self, limits: Limits) -> None:
        self._longest = limits.gather_seconds
        self._expected = 0
        self._complete: asyncio.Event = asyncio.Event()

    def come(self, waiting: int) -> None:
        """Says that so many are there by now."""
        if self._expected and waiting >= self._expected:
            self._complete.set()

    def wait_no_more(self) -> None:
        """Ends the wait."""
        self._complete.set()

    async def gather(self, expected: int, seconds: float) -> None:
        """Waits for that many; `seconds` is what the last COMMIT took."""
        self._expected = math.ceil(expected * _COMPANY_SHARE)
        self._complete.clear()
        pause = min(seconds * _GATHER_SHARE, self._longest)
        timer = asyncio.get_running_loop().call_later(pause, self._complete.set)
        await self._complete.wait()
        timer.cancel()
        self._expected = 0


Job = Callable[[], Awaitable[Step]]
"""Runs in the turn: reads the head, may apply one batch through `Committer.apply`."""


class Committer:
    """Owns the turn, the timestamps and the open group."""

    def __init__(
        self,
        storage: Storage,
        clock: Clock,
        limits: Limits,
        vectors: VectorStore,
        publish: Callable[[list[Commit]], None],
        drop: Callable[[], None],
    ) -> None:
        """`publish` is told what became durable, `drop` that a group failed."""
        self._storage = storage
        self._clock = clock
        self._limits = limits
        self._vectors = vectors
        self._publish = publish
        self._drop = drop
        self.log = WriteLog(limits.write_log_commits, limits.write_log_search_bytes)
        self._places = asyncio.Semaphore(limits.snapshots_open)
        self.published = 0
        """The timestamp that queries see."""
        self.applied = 0
        """The newest timestamp given out; at least `published`."""
        self.epoch = 0
        """Grows when a group fails, so that nobody commits what was read from it."""
        self.group: list[Commit] = []
        """What the open group has applied so far."""
        self._joined = False
        self._spoiled: StorageError | None = None
        """Why the open group must not be committed."""
        self._queue: deque[Job] = deque()
        self._wake: asyncio.Event = asyncio.Event()
        self._published: asyncio.Event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False
        self._at_work = False
        self._company = Company(limits)
        self._commit_seconds = 0.0

    async def settled(self) -> None:
        """Returns once nothing is queued or being committed. For tests."""
        while self._queue or self._at_work:
            await asyncio.sleep(0)

    def start(self, ts: int) -> None:
        """Goes on from the storage's last timestamp."""
        self.published = self.applied = self.log.start = ts
        self._task = asyncio.create_task(self._run(), name="reflow-committer")

    async def close(self) -> None:
        """Finishes what is queued, then stops."""
        self._closing = True
        self._wake.set()
        self._company.wait_no_more()
        if self._task is not None:
            await self._task

    def submit(self, job: Job) -> None:
        """Queues a job for its turn, first come, first served. Raises Overloaded when too many wait."""
        if self._closing:
            raise StorageError("the server is shutting down")
        self.check_room(len(self._queue))
        self._queue.append(job)
        self._wake.set()
        self._company.come(len(self._queue))

    def check_room(self, waiting: int) -> None:
        """Raises Overloaded where that many mutations wait already."""
        if waiting >= self._limits.queued_mutations:
            raise Overloaded(
                f"TooManyConcurrentRequests: limits.queued_mutations = {self._limits.queued_mutations} mutations wait "
                "already; try again later"
            )

    def next_ts(self) -> int:
        """A timestamp above all earlier ones: the clock's, unless that stands still or goes back."""
        return max(self.applied + 1, self._clock.now_ns())

    async def head(self) -> Snapshot:
        """The state that the next mutation sees. Only in the turn."""
        return await self._storage.head()

    async def apply(self, effects: Effects) -> None:
        """Adds a batch to the open group. Raises StorageError; then nothing of the batch will be durable: either it is
        not in the group, or the group is dropped."""
        await self._storage.apply(effects.batch)
        ts = effects.batch.ts
        self.applied = ts
        self.group.append(Commit(ts, effects.touched))
        try:
            for changes in in_turns(effects.changes, self._limits):
                self._vectors.apply(ts, changes)
                if len(changes) < len(effects.changes):
                    await asyncio.sleep(0)
        except Exception as error:
            LOG.exception("vectors could not follow what is stored")
            self._spoiled = StorageError(f"vectors could not follow a commit: {type(error).__name__}: {error}")
            raise self._spoiled from error

    def join(self) -> None:
        """Says that the storage's open group holds something besides applied batches, so that it must be committed."""
        self._joined = True

    async def snapshot(self) -> Snapshot:
        """The published state; `give_back` ends it. Waits where `limits.snapshots_open` are in use, and where the
        storage is between COMMIT and publication."""
        await self._places.acquire()
        try:
            return await self._published_snapshot()
        except BaseException:
            self._places.release()
            raise

    async def give_back(self, snapshot: Snapshot) -> None:
        """Closes what `snapshot` gave."""
        try:
            await snapshot.close()
        finally:
            self._places.release()

    async def _published_snapshot(self) -> Snapshot:
        while True:
            snapshot = await self._storage.snapshot()
            if snapshot.ts == self.published:
                return snapshot
            await snapshot.close()
            await self._published.wait()

    async def _run(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                # Everybody whose message arrived in this very turn of the loop joins the group.
                await asyncio.sleep(0)
            self._at_work = True
            answered = await self._run_group()
            self._at_work = False
            expected = min(len(self._queue) + answered, self._limits.group_size)
            await self._company.gather(expected, self._commit_seconds)

    async def _run_group(self) -> int:
        """Runs what waits, commits it, and tells everybody; returns how many."""
        self.group, self._joined, self._spoiled = [], False, None
        steps: list[Step] = []
        while self._queue and len(steps) < self._limits.group_size:
            steps.append(await self._queue.popleft()())
        error = await self._commit() if self.group or self._joined else None
        for step in steps:
            try:
                step.done(self.published, error)
            except Exception:
                LOG.exception("the end of a mutation could not be told")
        return len(steps)

    async def _commit(self) -> ReflowError | None:
        """Makes the group durable and publishes it; else drops all of it and gives the reason."""
        self._published.clear()
        began = self._clock.now_ns()
        try:
            if self._spoiled is not None:
                await self._storage.rollback()
                raise self._spoiled
            await self._storage.commit()
            self._commit_seconds = max(0.0, (self._clock.now_ns() - began) / 1e9)
        except Exception as error:
            self._vectors.rollback(self.published)
            self.applied = self.published
            self.epoch += 1
            self._drop()
            LOG.error("a group of %d commits was dropped: %s", len(self.group), error)
            self._published.set()
            if isinstance(error, StorageError):
                return error
            return StorageError(f"the group of commits could not be stored: {type(error).__name__}: {error}")
        self.published = self.applied
        self.log.append(self.group)
        try:
            self._publish(self.group)
        except Exception:
            LOG.exception(
                "a group of %d commits is durable, but not all that derives from it could follow", len(self.group)
            )
        self._published.set()
        return None
