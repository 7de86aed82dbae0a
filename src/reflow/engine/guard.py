"""The purity guard: queries and mutations await only `ctx`, touch nothing outside, and end.

A guard against accidents, not a sandbox: C extensions and deliberate tricks get past it.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
import types
from collections.abc import Coroutine, Generator
from contextvars import ContextVar
from ctypes import c_ulong, py_object, pythonapi
from types import FrameType
from typing import Any, Protocol, TypeVar

from reflow.errors import FunctionTimeout, PurityError
from reflow.limits import Limits

T = TypeVar("T")

ADVICE = "Only an action may do that: schedule one with ctx.scheduler.run_after"


class Waits(Protocol):
    """A transaction tells by `waiting` whether the storage is awaited rather than something foreign."""

    waiting: int


_violations: ContextVar[list[PurityError] | None] = ContextVar("reflow_violations", default=None)
"""A list while a query or mutation runs; the first violation wins, also where a handler swallowed it."""


@types.coroutine
def drive(coroutine: Coroutine[Any, Any, T], waits: Waits, watchdog: Watchdog) -> Generator[Any, Any, T]:
    """Runs a handler's coroutine to its end. A foreign awaitable raises PurityError where it is awaited.

    The watchdog looks at each stretch between two waits by itself.
    """
    violations: list[PurityError] = []
    token = _violations.set(violations)
    error: BaseException | None = None
    sent: Any = None
    try:
        while True:
            try:
                watchdog.enter()
                try:
                    step = coroutine.send(sent) if error is None else coroutine.throw(error)
                finally:
                    watchdog.leave()
            except FunctionTimeout:
                watchdog.leave()  # the interrupt may have come within the first one
                raise
            except StopIteration as stop:
                if violations:
                    raise violations[0] from None
                return stop.value
            except Exception as raised:
                if violations and raised is not violations[0]:
                    raise violations[0] from raised
                raise
            sent, error = None, None
            if waits.waiting:
                try:
                    sent = yield step
                except BaseException as thrown:
                    error = thrown
            else:
                error = _refuse(step)
                violations.append(error)
    finally:
        _violations.reset(token)
        coroutine.close()


def _refuse(step: Any) -> PurityError:
    """The error for a foreign awaitable, which is cancelled where that is possible."""
    name = "asyncio.sleep(0) or another bare yield" if step is None else type(step).__name__
    if asyncio.isfuture(step):
        step._asyncio_future_blocking = False  # it was about to be awaited by a task and is not any more
        step.cancel()
        name = f"{type(step).__name__} (asyncio.sleep, a socket, a lock, asyncio.gather, ...)"
    return PurityError(
        f"a query or mutation awaited {name}; it may await only ctx. {ADVICE}, and use ctx.gather, get_many or "
        "insert_many in place of asyncio.gather"
    )


# Side effects, seen through audit events (https://peps.python.org/pep-0578/)

_REFUSED_EVENTS = frozenset(
    """
    socket.connect socket.bind socket.sendto socket.sendmsg socket.getaddrinfo socket.gethostbyname socket.gethostbyaddr
    subprocess.Popen os.system os.posix_spawn os.exec os.fork os.forkpty os.remove os.rename os.mkdir os.rmdir
    os.truncate os.link os.symlink os.putenv os.unsetenv os.chmod os.chown shutil.rmtree shutil.copyfile shutil.move
    shutil.copytree sqlite3.connect urllib.Request http.client.connect smtplib.connect ftplib.connect
    tempfile.mkstemp tempfile.mkdtemp _thread.start_new_thread _thread.start_joinable_thread
    """.split()
)
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_EXEMPT_FRAMES = ("<frozen importlib", os.sep + "logging" + os.sep + "__init__.py")
"""Imports may write .pyc files, log handlers their logs."""


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if event != "open" and event not in _REFUSED_EVENTS:
        return
    violations = _violations.get()
    if violations is None:
        return
    if event == "open" and (not (args[2] or 0) & _WRITING or args[0] == os.devnull):
        return
    if _exempt(sys._getframe()):  # pyright: ignore[reportPrivateUsage]
        return
    what = f"opened {args[0]!r} for writing" if event == "open" else f"did {event}"
    error = PurityError(f"a query or mutation {what}. {ADVICE}")
    violations.append(error)
    raise error


def _exempt(frame: FrameType | None) -> bool:
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_EXEMPT_FRAMES[0]) or name.endswith(_EXEMPT_FRAMES[1]):
            return True
        frame = frame.f_back
    return False


_installed = False


def install_audit_hook() -> None:
    """Starts refusing side effects in queries and mutations. A hook can't be removed, so there is one per process."""
    global _installed
    if not _installed:
        _installed = True
        sys.addaudithook(_audit)


# Endless functions


class Watchdog:
    """Interrupts a query or mutation that holds the event loop for too long.

    A thread looks at the running function every tenth of its limit and, when the time is up, has the interpreter raise
    FunctionTimeout in the event loop's thread. Processor time counts where the platform tells it of other threads, so
    that a busy machine is not mistaken for an endless loop; wall time has a limit of its own.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._turn = threading.Lock()
        self._turns = 0
        self._running = 0
        """The number of the running stretch, 0 where nothing runs."""
        self._seen = (0, 0.0, 0.0)
        """The stretch that the thread saw last, and the times when it first did."""
        self._raised = False
        self._thread_id = 0
        self._clock_id: int | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Watches the functions of the calling thread from now on."""
        self._thread_id = threading.get_ident()
        if hasattr(time, "pthread_getcpuclockid"):
            self._clock_id = time.pthread_getcpuclockid(self._thread_id)
        self._thread = threading.Thread(target=self._watch, name="reflow-watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Ends the watching."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def enter(self) -> None:
        """A function starts or goes on."""
        self._turns += 1
        self._running = self._turns

    def leave(self) -> None:
        """The function ended or waits. An interrupt that came too late is taken back."""
        with self._turn:
            self._running = 0
            if self._raised:
                self._raised = False
                pythonapi.PyThreadState_SetAsyncExc(c_ulong(self._thread_id), None)

    def _cpu(self) -> float:
        return 0.0 if self._clock_id is None else time.clock_gettime(self._clock_id)

    def _watch(self) -> None:
        limits = self._limits
        pause = min(limits.function_cpu_seconds, limits.function_wall_seconds) / 10
        while not self._stop.wait(pause):
            running = self._running
            if running == 0:
                continue
            if running != self._seen[0]:
                self._seen = (running, time.monotonic(), self._cpu())
                continue
            with self._turn:
                if self._running == running and self._overdue():
                    self._raised = True
                    pythonapi.PyThreadState_SetAsyncExc(c_ulong(self._thread_id), py_object(FunctionTimeout))

    def _overdue(self) -> bool:
        _, wall, cpu = self._seen
        used = self._cpu() - cpu
        return used > self._limits.function_cpu_seconds or time.monotonic() - wall > self._limits.function_wall_seconds
