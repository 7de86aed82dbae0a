"""The command line in tests: inside this process, or as a process of its own."""

from __future__ import annotations

import gc
import logging
import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from reflow import cli
from tests.support import ROOT

PATIENCE_SECONDS = 60
COMMAND = [sys.executable, "-m", "reflow.cli"]


@dataclass(frozen=True)
class Said:
    """How a command ended and what it printed."""

    status: int
    out: str
    err: str


class Here:
    """Runs commands inside this process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __call__(self, *args: str | Path) -> Said:
        """Runs `reflow ARGS`."""
        self._monkeypatch.setattr(sys, "argv", ["reflow", *map(str, args)])
        status = 0
        with _process_kept():
            try:
                cli.main()
            except SystemExit as end:
                status = end.code if isinstance(end.code, int) else 1
        out, err = self._capsys.readouterr()
        return Said(status, out, err)


@contextmanager
def _process_kept() -> Iterator[None]:
    """Undoes what a command sets for its whole process."""
    logger = logging.getLogger("reflow")
    kept = (logger.handlers[:], logger.level, logger.propagate, gc.get_threshold(), warnings.formatwarning)
    path = sys.path[:]
    modules = set(sys.modules)
    try:
        yield
    finally:
        sys.path[:] = path
        for name in ("app", "reflow_app_app"):  # what the command knows a user's app.py by
            if name not in modules:
                sys.modules.pop(name, None)
        logger.handlers[:], logger.level, logger.propagate = kept[0], kept[1], kept[2]
        gc.set_threshold(*kept[3])
        gc.unfreeze()
        logging.captureWarnings(False)
        logging.getLogger("py.warnings").handlers.clear()
        warnings.formatwarning = kept[4]


def environment() -> dict[str, str]:
    """Of a process of its own: plain output in wide lines."""
    return {**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "200", "PYTHONPATH": str(ROOT)}


def reflow(*args: str | Path, cwd: Path | None = None) -> Said:
    """Runs `reflow ARGS` in a process of its own."""
    done = subprocess.run(
        [*COMMAND, *map(str, args)], cwd=cwd, env=environment(), capture_output=True, text=True, check=False,
        timeout=PATIENCE_SECONDS,
    )  # fmt: skip
    return Said(done.returncode, done.stdout, done.stderr)


class Running:
    """A command that runs until it is stopped; output and errors in one."""

    def __init__(self, args: Sequence[str | Path], cwd: Path | None) -> None:
        self.process = subprocess.Popen(
            [*COMMAND, *map(str, args)], cwd=cwd, env=environment(), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self.process.stdout or ():
            self._lines.put(line)
        self._lines.put(None)

    def until(self, pattern: str) -> re.Match[str]:
        """The first match in a line that is still to come."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while (left := deadline - time.monotonic()) > 0:
            try:
                line = self._lines.get(timeout=left)
            except queue.Empty:
                break
            if line is None:
                self._lines.put(None)  # for `stop`, which reads up to the end
                break
            self.said.append(line)
            if found := re.search(pattern, line):
                return found
        raise AssertionError(f"no line matches {pattern!r}:\n{''.join(self.said)}")

    def stop(self) -> int:
        """Interrupts it as Ctrl+C does, and gives its status."""
        self.process.send_signal(signal.SIGINT)
        try:
            status = self.process.wait(timeout=PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise
        finally:
            self._reader.join()
            if self.process.stdout is not None:
                self.process.stdout.close()
        while (line := self._lines.get()) is not None:
            self.said.append(line)
        return status


@contextmanager
def running(*args: str | Path, cwd: Path | None = None) -> Iterator[Running]:
    """Runs `reflow ARGS` while the context is open."""
    command = Running(args, cwd)
    try:
        yield command
    finally:
        if command.process.returncode is None:
            command.stop()
