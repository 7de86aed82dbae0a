"""`read_apart`: reading in a process of its own, which can be ended when a file takes too long or too much memory.

A file of others may be made to keep its reader busy for ever, to fill the memory or to make a parser in C fail. Then
only that process ends, which holds no keys: it gets nothing of the environment but what Python needs.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from reflow.errors import MissingExtra, Overloaded, UnreadableSource
from reflow.limits import DEFAULT, Limits
from reflow.rag.reading import worker
from reflow.rag.reading.kinds import kind_of
from reflow.rag.reading.reader import check_size, read
from reflow.rag.reading.text import Text

_KEPT = ("PATH", "PYTHONPATH", "PYTHONHOME", "LANG", "LC_ALL", "LC_CTYPE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR")
_IN_PLACE = frozenset(("text", "markdown", "code"))
# A reader needs a few modules of this package. Importing the package itself would bring all of it: four times as long
# to start, and twice the memory. So its folders stand in for it.
_START = """
import sys, types
idle_seconds, *folders = sys.argv[1:]
for name, folder in zip(("reflow", "reflow.rag"), folders):
    package = types.ModuleType(name)
    package.__path__ = [folder]
    sys.modules[name] = package
from reflow.rag.reading.worker import main
main(float(idle_seconds))
"""
_PARENTS = Path(__file__).parents
_FOLDERS = (str(_PARENTS[2]), str(_PARENTS[1]))
_ROOM = 64 << 20
"""Bytes that an answer may have beside its text: titles and offsets of headings."""


async def read_apart(data: bytes, name: str, content_type: str | None = None, *, limits: Limits = DEFAULT) -> Text:
    """Reads a source as `read` does, and gives up when it takes longer than limits.reading_seconds.

    Only short plain text is read in this process. Cancelling the call ends the work.

    Raises what `read` raises; UnreadableSource("too_slow") when the time is up, UnreadableSource("too_large") when
    limits.reading_memory_bytes do not suffice, and Overloaded while limits.reading_waiting other sources wait.
    """
    check_size(len(data), name, limits)
    if len(data) <= limits.reading_inline_bytes and kind_of(data, name, content_type) in _IN_PLACE:
        return read(data, name, content_type, limits=limits)
    return await _readers.read(worker.Request(data, name, content_type, limits))


class _Job:
    """One source on its way through the readers."""

    def __init__(self, request: worker.Request) -> None:
        self.request = request
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self.ended: str | None = None
        """Why its process was ended, if it was: "too_slow" or "cancelled"."""

    def runs_in(self, process: subprocess.Popen[bytes] | None) -> bool:
        """Takes or leaves a process; False where the job was ended before."""
        with self._lock:
            self._process = process
            return self.ended is None

    def end(self, why: str) -> None:
        """Ends the job, and its process with it."""
        with self._lock:
            if self.ended is None:
                self.ended = why
                if self._process is not None:
                    self._process.kill()


class _Readers:
    """The threads that talk to reading processes; each has one, started when it is needed."""

    def __init__(self, processes: int) -> None:
        self._pool = ThreadPoolExecutor(processes, thread_name_prefix="reflow-reading")
        self._own = threading.local()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._waiting = 0

    async def read(self, request: worker.Request) -> Text:
        """What a process makes of a source."""
        if self._waiting >= request.limits.reading_waiting:
            raise Overloaded(f"limits.reading_waiting = {request.limits.reading_waiting} sources wait to be read")
        job = _Job(request)
        self._waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._run, job)
        except asyncio.CancelledError:
            job.end("cancelled")
            raise
        finally:
            self._waiting -= 1

    def _run(self, job: _Job) -> Text:
        """Asks this thread's process, once more where it had just ended for want of work."""
        code = 0
        for _ in range(2):
            process = self._own_process(job.request.limits)
            reply = self._asked(process, job)
            if reply is not None:
                if job.ended is not None:  # too late: the process is going, and must not be asked again
                    self._ended(process)
                return _text_of(reply)
            code = self._ended(process)
            if job.ended is not None or code != 0:
                break
        raise self._failure(job, code)

    def _asked(self, process: subprocess.Popen[bytes], job: _Job) -> worker.Reply | None:
        """The answer of a process; None where it ended without one."""
        limits = job.request.limits
        alarm = threading.Timer(limits.reading_seconds, job.end, ["too_slow"])
        alarm.daemon = True
        alarm.start()
        try:
            if not job.runs_in(process):
                return None
            with suppress(BrokenPipeError, ConnectionResetError):  # it ended: then there is no answer either
                worker.send(cast(BinaryIO, process.stdin), job.request)
            body = worker.receive(cast(BinaryIO, process.stdout), 4 * limits.text_chars + _ROOM)
            return None if body is None else msgspec.msgpack.decode(body, type=worker.Reply)
        except msgspec.DecodeError:
            return None
        finally:
            alarm.cancel()
            job.runs_in(None)

    def _own_process(self, limits: Limits) -> subprocess.Popen[bytes]:
        process = cast("subprocess.Popen[bytes] | None", getattr(self._own, "process", None))
        if process is not None and process.poll() is None:
            return process
        if process is not None:
            self._ended(process)
        # -P: a folder that happens to be the current one brings no modules.
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", _START, str(limits.reading_idle_seconds), *_FOLDERS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={name: os.environ[name] for name in _KEPT if name in os.environ},
        )
        self._processes.add(process)
        self._own.process = process
        return process

    def _ended(self, process: subprocess.Popen[bytes]) -> int:
        """The exit code of a process that gave no answer; one that still runs is ended."""
        with suppress(OSError):  # what it did not take of the last request
            cast(BinaryIO, process.stdin).close()
        cast(BinaryIO, process.stdout).close()
        try:
            code = process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            process.kill()
            code = process.wait()
        self._processes.discard(process)
        return code

    def close(self) -> None:
        """Ends all processes, with this one."""
        for process in list(self._processes):
            process.kill()
            self._ended(process)

    def _failure(self, job: _Job, code: int) -> UnreadableSource:
        name, limits = job.request.name, job.request.limits
        if job.ended == "too_slow":
            return UnreadableSource(
                "too_slow", f"{name} takes longer to read than limits.reading_seconds = {limits.reading_seconds:g}"
            )
        bound = f"limits.reading_memory_bytes = {limits.reading_memory_bytes}"
        return UnreadableSource(
            "broken",
            f"{name} makes its reader fail (exit code {code}): it is damaged, or needs more memory than {bound}",
        )


def _text_of(reply: worker.Reply) -> Text:
    if reply.text is not None:
        return reply.text
    refusal = reply.refusal or worker.Refusal("broken", "the reader gave no answer")
    if refusal.reason == "missing":
        raise MissingExtra(refusal.message)
    raise UnreadableSource(refusal.reason, refusal.message)


_readers = _Readers(DEFAULT.reading_processes)
atexit.register(_readers.close)
