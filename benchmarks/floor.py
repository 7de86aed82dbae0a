"""The floor of a fan-out: a bare `socket.send` loop over 1,000 connections, with frames of the size reflow sent.

Run as a program it is that server: no framework, no event loop, one `send` per subscriber and update.
"""

from __future__ import annotations

import argparse
import socket
import sys
from contextlib import ExitStack
from pathlib import Path

from .audience import Audience
from .client import Connection, FrameReader
from .fanout import Broadcast
from .peer import Pace
from .process import Process

_DIGITS = 12
_ROOT = Path(__file__).parent.parent


class FloorSubscriber:
    """One connection that receives frames; the same reader that reflow's subscribers use, without a handshake."""

    def __init__(self, audience: Audience, number: int) -> None:
        seen = audience.member(number)
        self._reader = FrameReader(lambda text: seen(int(text[:_DIGITS])))

    async def open(self, port: int) -> None:
        """Connect."""
        await self._reader.open("127.0.0.1", port)

    def received(self) -> tuple[int, int]:
        """Frames and bytes received."""
        return self._reader.texts_received, self._reader.bytes_received

    def close(self) -> None:
        """Drop the connection."""
        self._reader.close()


async def start_floor(directory: Path, pace: Pace, frame_bytes: int, cleanup: ExitStack) -> Broadcast:
    """The bare loop with its subscribers connected, for frames of `frame_bytes` in all; `cleanup` ends it."""
    size = ["--size", str(frame_bytes), "--subscribers", str(pace.subscribers)]
    process = Process([sys.executable, "-m", "benchmarks.floor", *size], directory / "floor.log", cwd=_ROOT)
    cleanup.callback(process.stop)
    port = process.wait_for_port()
    control = Connection()
    await control.open("127.0.0.1", port)
    audience = Audience(pace.subscribers)
    subscribers = [FloorSubscriber(audience, number) for number in range(pace.subscribers)]
    for subscriber in subscribers:
        await subscriber.open(port)

    async def publish() -> None:
        control.write(b"!")

    broadcast = Broadcast("floor", process, audience, subscribers, publish)
    await broadcast.update()
    return broadcast


def frame(value: int, size: int) -> bytes:
    """A server's websocket text frame of `size` bytes in all, whose text starts with `value`."""
    header = 2 if size - 2 < 126 else 4
    payload = f"{value:0{_DIGITS}d}".encode().ljust(size - header, b".")
    length = bytes((len(payload),)) if header == 2 else bytes((126,)) + len(payload).to_bytes(2, "big")
    return b"\x81" + length + payload


def serve(size: int, subscribers: int) -> None:
    """Accept one control connection and the subscribers; then every byte of control is one update to all of them."""
    with socket.create_server(("127.0.0.1", 0), backlog=subscribers) as listener:
        print(f"http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        control = listener.accept()[0]
        sockets = [listener.accept()[0] for _ in range(subscribers)]
    for connection in sockets:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    value = 0
    while commands := control.recv(64):
        for _ in commands:
            value += 1
            update = frame(value, size)
            for connection in sockets:
                connection.send(update)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--subscribers", type=int, required=True)
    options = parser.parse_args()
    serve(options.size, options.subscribers)
