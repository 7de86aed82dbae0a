"""reflow as a server under test: `reflow serve benchmarks/app.py` in a process of its own."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

from .peer import Seen
from .process import Process
from .sync_client import HttpDoor, ReflowCaller, SyncSocket

APP = Path(__file__).with_name("app.py")


class Reflow:
    """A running reflow server seen through one of its doors."""

    def __init__(self, name: str, process: Process, port: int, *, over_http: bool = False) -> None:
        self.name = name
        self.process = process
        self._port = port
        self._over_http = over_http

    def through_http(self) -> Reflow:
        """The same server, called over the HTTP function API."""
        return Reflow(f"{self.name}_http", self.process, self._port, over_http=True)

    async def connect(self) -> ReflowCaller:
        """A new client connection."""
        door = HttpDoor() if self._over_http else SyncSocket()
        await door.open(self._port)
        return ReflowCaller(door)

    async def subscribe(self, counter: str, seen: Seen) -> SyncSocket:
        """A new socket subscribed to one counter."""
        socket = SyncSocket(seen)
        await socket.open(self._port)
        await socket.query(b"bench:watch", b'{"id":"%s"}' % counter.encode())
        return socket


def start_reflow(directory: Path, durability: str, cleanup: ExitStack) -> Reflow:
    """Serve the benchmark's app from an empty directory, `durable` or `relaxed`, until `cleanup` ends it."""
    data = directory / f"reflow-{durability}"
    command = [sys.executable, "-m", "reflow.cli", "serve", str(APP), "--port", "0", "--data", str(data)]
    if durability != "durable":
        command += ["--durability", durability]
    process = Process(command, directory / f"reflow-{durability}.log")
    cleanup.callback(process.stop)
    return Reflow(f"reflow_{durability}", process, process.wait_for_port())
