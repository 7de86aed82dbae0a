"""Servers for tests: in a thread of this process, or in a process of their own."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import reflow as rf
from reflow.server.serve import Serving, run, serving
from tests.support import ROOT, T


@dataclass(frozen=True, kw_only=True)
class Threaded:
    """A server in another thread; `call` runs a coroutine on its loop and returns the result."""

    serving: Serving
    loop: asyncio.AbstractEventLoop

    @property
    def url(self) -> str:
        """Where it listens."""
        return self.serving.url

    def call(self, work: Callable[[Serving], Awaitable[T]]) -> T:
        """The result of `work(serving)`, run in the server's thread."""

        async def main() -> T:
            return await work(self.serving)

        return asyncio.run_coroutine_threadsafe(main(), self.loop).result(30)


@contextmanager
def in_thread(app: rf.App, data: Path, *, with_logs: bool = False) -> Generator[Threaded, None, None]:
    """Serves `app` from a thread until the context ends."""
    started: SimpleQueue[Threaded | BaseException] = SimpleQueue()
    stopping: list[Callable[[], object]] = []

    async def main() -> None:
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()
        stopping.append(lambda: loop.call_soon_threadsafe(ended.set))
        async with serving(app, port=0, data=data, durability="relaxed", with_logs=with_logs) as server:
            started.put(Threaded(serving=server, loop=loop))
            await ended.wait()

    def thread() -> None:
        try:
            run(main())
        except BaseException as error:
            started.put(error)

    worker = threading.Thread(target=thread)
    worker.start()
    found = started.get()
    if isinstance(found, BaseException):
        worker.join()
        raise found
    try:
        yield found
    finally:
        stopping[0]()
        worker.join(30)
        assert not worker.is_alive(), "the server does not stop"


class ServerProcess:
    """The app under test, or another one that is a module of its own, in a process of its own."""

    def __init__(self, data: Path, module: str = "tests.support.app_under_test") -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, str(data)],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(["src", "."])},
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url, "the server printed no address"

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.url.rpartition(":")[2])

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._process.poll() is None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it with a signal; its exit status."""
        self._process.send_signal(number)
        status = self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()
        return status


@contextmanager
def in_process(data: Path, module: str = "tests.support.app_under_test") -> Generator[ServerProcess, None, None]:
    """The app under test, or another one, in a process of its own, until the context ends."""
    server = ServerProcess(data, module)
    try:
        yield server
    finally:
        server.stop()


@contextmanager
def turn_taken(threaded: Threaded) -> Generator[None, None, None]:
    """Inside, one has the turn of the commits and another waits for it: `limits.queued_mutations` = 1 is used up."""
    ended = asyncio.Event()

    async def occupy(serving: Serving) -> list[asyncio.Task[None]]:
        engine, begun = serving.backend.engine, asyncio.Event()

        async def stay(_: object) -> None:
            begun.set()
            await ended.wait()

        tasks = [asyncio.create_task(engine.transact(stay))]
        await begun.wait()
        tasks.append(asyncio.create_task(engine.transact(stay)))
        await asyncio.sleep(0)
        return tasks

    async def leave(_: Serving) -> None:
        ended.set()
        await asyncio.gather(*tasks)

    tasks = threaded.call(occupy)
    yield
    threaded.call(leave)
