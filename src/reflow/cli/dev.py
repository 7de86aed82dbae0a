"""`reflow dev`: an app while it is being written. A child process serves; a change of the code starts another one."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType
from typing import cast

import typer
from watchfiles import PythonFilter, watch

from reflow.cli.loading import load_app, source_folder
from reflow.cli.output import Interrupted, UsageError, complain, note, show_logs
from reflow.cli.process import run
from reflow.cli.serve import DEFAULT_PORT, Data, Host, Port, Target, announce, until_stopped
from reflow.engine.commit import first_of
from reflow.errors import DefinitionError, SchemaError, SettingsError
from reflow.server import serve as server
from reflow.storage.sqlite_file import FILE_NAME

HELP = """Serve an app and reload it when its code changes.

Function logs are shown as they come; clients reconnect by themselves.

Examples:

  reflow dev app.py
  reflow dev app.py --port 4000 --data /tmp/playing
  reflow dev shop.backend:app
"""

_POLL_MS = 300
_BROKEN = 3
"""Status of a child whose app can't be used as it is: the next change may mend it."""

_STOP_SECONDS = 15.0


def dev(app: Target, host: Host = "127.0.0.1", port: Port = DEFAULT_PORT, data: Data = None) -> None:
    """Serves until Ctrl+C, in a child process that is replaced at each change."""
    folder = source_folder(app)
    command = [sys.executable, "-m", "reflow.cli", "_child", app, "--host", host, "--port", str(port or _free(host))]
    if data is not None:
        command += ["--data", str(data)]
    if Path(app).suffix == ".py" and not Path(app).is_file():
        load_app(app)  # says what is wrong
    signal.signal(signal.SIGTERM, _interrupt)
    child = _Child(command)
    try:
        for changes in watch(
            folder, watch_filter=PythonFilter(), rust_timeout=_POLL_MS, yield_on_timeout=True, raise_interrupt=True
        ):
            if changes:
                names = sorted({Path(path).name for _, path in changes})
                note(f"{', '.join(names[:3])} changed: reloading")
                child.restart()
            elif (status := child.status()) not in (None, 0, _BROKEN):
                raise typer.Exit(status)
            elif status == 0:
                return
    except (KeyboardInterrupt, Interrupted):
        note("stopped")
    finally:
        child.stop()


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise Interrupted


class _Child:
    """The process that serves; it ends when this one does, for its standard input ends then."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process = self._started()

    def _started(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, env={**os.environ, "PYTHONUNBUFFERED": "1"})

    def status(self) -> int | None:
        """None while it runs."""
        return self._process.poll()

    def restart(self) -> None:
        """Ends the process, which gives its directory back, and starts another."""
        self.stop()
        self._process = self._started()

    def stop(self) -> None:
        """Ends the process in peace, or else not."""
        process = self._process
        if process.stdin is not None:
            process.stdin.close()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def child(app: Target, host: Host, port: Port, data: Data = None) -> None:
    """What `reflow dev` starts: serves until standard input ends."""
    show_logs(logging.DEBUG)
    try:
        loaded = load_app(app)

        async def main() -> None:
            while True:
                try:
                    async with server.serving(loaded, host, port, data=data, with_logs=True) as running:
                        announce("dev", running.url, app, loaded, data)
                        await _until_orphaned()
                    return
                except SettingsError as error:
                    complain(error)
                    note("waiting until that is done")
                if not await _until_written(loaded.data if data is None else data):
                    return

        run(main())
    except (DefinitionError, SchemaError, UsageError) as error:
        complain(error)
        note("waiting for a change")
        raise typer.Exit(_BROKEN) from None


async def _until_orphaned() -> None:
    """Returns when the parent closes the pipe to this process, or at a signal."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_reader(0, ended.set)
    try:
        await first_of(ended.wait(), until_stopped())
    finally:
        loop.remove_reader(0)


async def _until_written(directory: Path) -> bool:
    """Returns True once another process has written to the database, such as `reflow env`; False when orphaned."""
    orphaned = asyncio.ensure_future(_until_orphaned())
    before = _stamps(directory)
    while not orphaned.done() and _stamps(directory) == before:
        await asyncio.wait([orphaned], timeout=_POLL_MS / 1000)
    if orphaned.done():
        return False
    orphaned.cancel()
    await asyncio.gather(orphaned, return_exceptions=True)
    return True


def _stamps(directory: Path) -> list[int]:
    """When the files of a database were written."""
    found: list[int] = []
    for name in (FILE_NAME, f"{FILE_NAME}-wal"):
        try:
            found.append((directory / name).stat().st_mtime_ns)
        except FileNotFoundError:
            found.append(0)
    return found


def _free(host: str) -> int:
    """A port that is free, and stays the same through reloads."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.bind((host, 0))
        return cast(int, probe.getsockname()[1])
