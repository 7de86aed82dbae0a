"""A real `reflow demo --article` process for the tests."""

from __future__ import annotations

import os
import queue
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_SECONDS = 60
ADDRESS = re.compile(r"http://[\w.]+:\d+")


@contextmanager
def running_demo(data: Path, corpus: Path, port: int = 0) -> Iterator[str]:
    """Start the application over `corpus`, on a free port for 0; yield its address, and stop it at the end."""
    command = [str(Path(sys.executable).with_name("reflow")), "demo", "--article", "--no-open", "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--data", str(data), "--corpus", str(corpus)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", "COLUMNS": "200"},
    )
    lines: queue.Queue[str | None] = queue.Queue()
    reader = threading.Thread(target=_read, args=(process, lines), daemon=True)
    reader.start()
    try:
        yield _address(lines)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise
        finally:
            reader.join()
            if process.stdout is not None:
                process.stdout.close()


def _read(process: subprocess.Popen[str], lines: queue.Queue[str | None]) -> None:
    """Hand over what the process prints, line by line, then None."""
    for line in process.stdout or ():
        lines.put(line)
    lines.put(None)


def _address(lines: queue.Queue[str | None]) -> str:
    """Return the first address the process prints."""
    said: list[str] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (left := deadline - time.monotonic()) > 0:
        try:
            line = lines.get(timeout=left)
        except queue.Empty:
            break
        if line is None:
            break
        said.append(line)
        if found := ADDRESS.search(line):
            return found.group()
    raise AssertionError("reflow demo printed no address:\n" + "".join(said))
