"""The sync protocol over any ASGI server: what `fast_socket` does where there is no short way to the transport."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from reflow.limits import Limits
from reflow.server.frames import Frame
from reflow.server.http_api import Receive, Send
from reflow.server.sync import SyncDoor, SyncSocket


class AsgiWire:
    """A websocket behind ASGI's `send`. Frames wait in a bounded queue while the server awaits the transport."""

    raw = None

    def __init__(self, send: Send, limits: Limits) -> None:
        self._send = send
        self._bound = limits.socket_buffer_bytes
        self._queue: deque[Frame] = deque()
        self._unsent = 0
        self._news = asyncio.Event()
        self._readable = asyncio.Event()
        self._readable.set()
        self._held = False
        self._closing: tuple[int, str] | None = None
        self.socket: SyncSocket | None = None

    def ready(self) -> bool:
        """False while too much is unsent."""
        return self._unsent <= self._bound

    def write_one(self, frame: Frame) -> None:
        """Sends a frame."""
        self.write((frame,))

    def write(self, frames: Sequence[Frame]) -> None:
        """Queues frames."""
        if self._closing is None:
            self._queue.extend(frames)
            self._unsent += sum(map(len, frames))
            self._pace()
            self._news.set()

    def hold(self, stopped: bool) -> None:
        """Stops reading from the client, or goes on."""
        self._held = stopped
        self._pace()

    def close(self, code: int, reason: str) -> None:
        """Closes the websocket once everything is sent."""
        if self._closing is None:
            self._closing = (code, reason)
            self._news.set()

    def _pace(self) -> None:
        if self._held or not self.ready():
            self._readable.clear()
        else:
            self._readable.set()

    async def writing(self) -> None:
        """Sends what is queued, until the socket is closed."""
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queue:
                frame = self._queue.popleft()
                await self._send({"type": "websocket.send", "text": frame.text})
                was_ready = self.ready()
                self._unsent -= len(frame)
                if self.ready() and not was_ready and self.socket is not None:
                    self._pace()
                    self.socket.drained()
            if self._closing is not None:
                code, reason = self._closing
                await self._send({"type": "websocket.close", "code": code, "reason": reason})
                return

    async def reading(self, receive: Receive) -> None:
        """Hands messages to the socket, until the client leaves."""
        assert self.socket is not None
        while True:
            await self._readable.wait()
            message = await receive()
            if message["type"] == "websocket.disconnect":
                return
            text = message.get("text")
            if text is None:
                self.socket.binary()
            else:
                self.socket.text(text.encode(errors="surrogatepass"))


async def serve_socket(door: SyncDoor, receive: Receive, send: Send, *, chunked: bool = False) -> None:
    """Runs one accepted websocket to its end; `chunked` as SyncSocket has it."""
    wire = AsgiWire(send, door.engine.limits)
    wire.socket = socket = SyncSocket(door, wire, chunked=chunked)
    tasks = [asyncio.create_task(wire.writing()), asyncio.create_task(wire.reading(receive))]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        socket.lost()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        # A server says by an OSError that the client has gone.
        error = task.exception()
        if error is not None and not isinstance(error, OSError):
            raise error
