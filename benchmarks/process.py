"""A server under test as a child process: started, watched (CPU, memory) and stopped."""

from __future__ import annotations

import os
import re
import subprocess
import time
from pathlib import Path

_URL = re.compile(r"http://127\.0\.0\.1:(\d+)")
_SCHEDULER_CLOCK = 2
"""The kernel's per-process clock that counts scheduled nanoseconds, of all threads, ended ones included."""


class Process:
    """A child process whose output goes to a file. CPU and memory figures need Linux."""

    def __init__(self, command: list[str], log: Path, *, cwd: Path | None = None) -> None:
        self.command = command
        self.log = log
        with log.open("wb") as output:
            self._child = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=cwd
            )

    @property
    def pid(self) -> int:
        """The process id."""
        return self._child.pid

    def wait_for_port(self, seconds: float = 20.0) -> int:
        """The port of the first `http://127.0.0.1:PORT` the process prints.

        Raises RuntimeError with the end of its output if it ends or stays silent.
        """
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self._child.poll() is None:
            found = _URL.search(self.log.read_text(errors="replace"))
            if found:
                return int(found.group(1))
            time.sleep(0.02)
        tail = self.log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{self.command[0]} printed no address within {seconds:.0f} s; its output ends:\n{tail}")

    def cpu_seconds(self) -> float:
        """CPU time the process has used so far, user and system, all threads, in nanosecond resolution."""
        return time.clock_gettime((~self.pid << 3) | _SCHEDULER_CLOCK)

    def resident_mb(self) -> float:
        """Resident memory in MB (10^6 bytes)."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def stop(self) -> None:
        """End the process: ask first, insist after five seconds."""
        self._child.terminate()
        try:
            self._child.wait(5)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def machine_busy_seconds() -> float:
    """CPU seconds all processes of the machine have used since boot, without idle, iowait and steal."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    ticks = sum(int(fields[i]) for i in (0, 1, 2, 5, 6))
    return ticks / os.sysconf("SC_CLK_TCK")
