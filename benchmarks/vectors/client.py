"""A worker as its parent sees it: a process that answers one command at a time."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

from .measuring import Measured
from .peer_environment import peer_python
from .peers import PEERS
from .places import CACHE, ROOT

REFLOW = "reflow"
"""The one process that all ways of searching reflow share: only one may open a data directory."""


_CLOSE_SECONDS = 120.0
"""Time for saving what is to be found again, such as the cells of many vectors."""


def command(program: str, data: str) -> list[str]:
    """How the worker of an engine over a data set is started."""
    if program == REFLOW:
        return [sys.executable, "-m", "benchmarks.vectors.reflow_worker", data]
    return [str(peer_python()), "-m", "benchmarks.vectors.worker", program, data]


def run_once(command: Sequence[str]) -> dict[str, float]:
    """Runs a process of this benchmark to its end; the figures that are the last line it prints, if any.

    Raises RuntimeError when it fails.
    """
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
    lines = done.stdout.splitlines()
    return json.loads(lines[-1]) if lines else {}


class Worker:
    """A program that has its index open in a process of its own until `cleanup` ends it."""

    def __init__(self, program: str, data: str, cleanup: ExitStack) -> None:
        self._program = program
        started = command(program, data)
        run_once([*started, "build"])
        self._log = CACHE / f"{program}-{data}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                started, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        cleanup.callback(self._end)
        self.state: dict[str, float] = self._reply()
        """What opening took and what memory it needs."""

    def ask(self, **asked: Any) -> Any:
        """The worker's answer to a command. Raises RuntimeError when it has died."""
        assert self._process.stdin is not None
        print(json.dumps(asked), file=self._process.stdin, flush=True)
        return self._reply()

    def _reply(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self._program} died; its log ends:\n{self._log.read_text(errors='replace')[-2000:]}")
        return json.loads(line)

    def _end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(_CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


@dataclass(frozen=True)
class Engine:
    """One way of searching a worker."""

    name: str
    worker: Worker

    def search(self, case: str, k: int, queries: Sequence[int], seconds: float) -> Measured:
        """Makes searches there; see `measuring.measure`."""
        return self.worker.ask(way=self.name, case=case, k=k, queries=list(queries), seconds=seconds)


def open_engines(names: Sequence[str], data: str, cleanup: ExitStack) -> list[Engine]:
    """Engines by name over a data set, until `cleanup` ends them."""
    workers: dict[str, Worker] = {}
    for name in names:
        program = name if name in PEERS else REFLOW
        if program not in workers:
            workers[program] = Worker(program, data, cleanup)
    return [Engine(name, workers[name if name in PEERS else REFLOW]) for name in names]
