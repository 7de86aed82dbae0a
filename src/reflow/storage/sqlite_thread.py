"""One thread that waits for the disk, so that the event loop does not."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class CommitThread:
    """Runs jobs one after another. A hand-over costs about half of what the default executor takes."""

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Job | None] = SimpleQueue()
        # A daemon: a process that ends without close() must not hang, and a COMMIT cut short is as safe as a kill.
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], T]) -> T:
        """The result of `job`, run in the thread. A caller that is cancelled still waits until the job is done."""
        loop = asyncio.get_running_loop()
        done: asyncio.Future[T] = loop.create_future()
        self._jobs.put(_Job(job, loop, done))
        try:
            return await asyncio.shield(done)
        except asyncio.CancelledError:
            await _settled(done)
            raise

    def stop(self) -> None:
        """Ends the thread after the jobs that are waiting."""
        self._jobs.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job


class _Job:
    """A function to call and the future that waits for it."""

    __slots__ = ("_done", "_function", "_loop")

    def __init__(self, function: Callable[[], Any], loop: asyncio.AbstractEventLoop, done: asyncio.Future[Any]) -> None:
        self._function = function
        self._loop = loop
        self._done = done

    def __call__(self) -> None:
        result: Any = None
        error: BaseException | None = None
        try:
            result = self._function()
        except BaseException as raised:
            error = raised
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._resolve, result, error)

    def _resolve(self, result: Any, error: BaseException | None) -> None:
        if error is None:
            self._done.set_result(result)
        else:
            self._done.set_exception(error)


async def _settled(done: asyncio.Future[Any]) -> None:
    """Waits for the end of a job through any number of cancellations; its outcome is the canceller's loss."""
    while not done.done():
        try:
            await asyncio.shield(done)
        except asyncio.CancelledError:
            continue
        except BaseException:
            return
    if not done.cancelled():
        done.exception()
