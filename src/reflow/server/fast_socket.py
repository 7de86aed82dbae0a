"""uvicorn's websocket protocol with a short way in and out: finished frames leave, plain text frames come in.

The version of uvicorn is pinned, because this is a subclass of one of its protocols.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any, Protocol, cast

from uvicorn.config import Config
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from uvicorn.server import ServerState
from websockets.extensions.permessage_deflate import PerMessageDeflate, ServerPerMessageDeflateFactory
from websockets.server import ServerProtocol

from reflow.limits import Limits
from reflow.server.frames import FRAGMENT_BYTES, Frame

try:
    from websockets.speedups import apply_mask
except ImportError:  # a platform without the compiled helper
    from websockets.utils import apply_mask

EXTENSION = "reflow.raw_frames"
"""The key of the ASGI scope's extensions under which an app finds its FastSocket."""

_PLAIN_TEXT = 0x81
_CONTROL = 0x08
_FINAL = 0x80
_DEFLATE = ServerPerMessageDeflateFactory(server_no_context_takeover=True, client_no_context_takeover=True)
_LOG = logging.getLogger("uvicorn.error")


class Receiver(Protocol):
    """What takes the messages of a socket."""

    def text(self, raw: bytes) -> None: ...
    def binary(self) -> None: ...
    def drained(self) -> None: ...
    def lost(self) -> None: ...


class _LastEvent:
    """In the place of a queue: holds one event, the end, and one who waits for it. The receiver learns it at once."""

    __slots__ = ("_event", "_receiver", "_waiter")

    def __init__(self, receiver: Receiver) -> None:
        self._receiver: Receiver | None = receiver
        self._event: Any = None
        self._waiter: asyncio.Future[None] | None = None

    def put_nowait(self, event: Any) -> None:
        """Takes an event; the first one counts."""
        if self._event is None:
            self._event = event
            if self._receiver is not None:
                self._receiver.lost()
            if self._waiter is not None and not self._waiter.done():
                self._waiter.set_result(None)

    def forget(self) -> None:
        """The receiver has learnt the end."""
        self._receiver = None

    def empty(self) -> bool:
        """There is never a second event."""
        return True

    async def get(self) -> Any:
        """The event, once there is one."""
        if self._event is None:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        return self._event


class _Writable:
    """In the place of an event: `send` is used for the handshake only, and needs not wait."""

    async def wait(self) -> None:
        """Returns at once."""

    def set(self) -> None:
        """Nobody waits."""

    def clear(self) -> None:
        """Nobody waits."""


_WRITABLE = _Writable()


class FastSocket(WebSocketsSansIOProtocol):
    """Passed to uvicorn as `ws=`. An app that finds it in its scope calls `attach` before it accepts.

    From then on the receiver gets the messages as they arrive, and `receive()` reports only the end. A socket that
    nobody attaches to behaves as uvicorn's own.
    """

    # What every delivery looks at, also where uvicorn's class sets it: with so many attributes each instance would have
    # a dict of its own, which costs memory and time.
    __slots__ = (
        *("_blocked", "_deflates", "_ended", "_fragmented", "_held", "_limits", "_partial", "_receiver", "_wanted"),
        *("close_sent", "disconnected", "handshake_complete", "transport"),
    )

    def __init__(self, config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: Any = None) -> None:
        super().__init__(config, server_state, app_state, _loop)
        # A compression context for each socket would cost more memory than all else together.
        extensions = [_DEFLATE] if config.ws_per_message_deflate else []
        self.conn = ServerProtocol(extensions=extensions, max_size=config.ws_max_size, logger=_LOG)
        self._receiver: Receiver | None = None
        self._limits: Limits | None = None
        self._partial = bytearray()
        self._wanted = 0
        self._fragmented = False
        self._ended = False
        self._held = False
        self._blocked = False
        self._deflates = False

    # What the app asks

    def attach(self, receiver: Receiver, limits: Limits) -> None:
        """Gives the messages to `receiver`, and bounds what may be unsent."""
        self._receiver = receiver
        self._limits = limits
        # Of what is made for ASGI's sake, these weigh most; with a receiver there is only one event to tell, the end.
        self.queue = cast("asyncio.Queue[Any]", _LastEvent(receiver))
        self.writable = cast(asyncio.Event, _WRITABLE)
        high = limits.socket_buffer_bytes
        self.transport.set_write_buffer_limits(high=high, low=high // 4)
        self._deflates = self._may_deflate()

    def _may_deflate(self) -> bool:
        return any(
            isinstance(extension, PerMessageDeflate) and extension.local_max_window_bits == 15
            for extension in self.conn.extensions
        )

    @property
    def raw(self) -> Callable[[bytes], object] | None:
        """The transport's own write, where no frame is ever to be compressed."""
        return None if self._may_deflate() else self.transport.write

    def forget_handshake(self) -> None:
        """Frees the memory of the request's headers, for an app that was given the very scope of this socket."""
        self.request.headers.clear()
        self.response.headers.clear()
        self.scope["headers"] = []

    def ready(self) -> bool:
        """False while too much is unsent."""
        return not self._blocked

    def write_one(self, frame: Frame) -> None:
        """Sends a frame; after the end of the socket nothing happens."""
        self._send(self._picked(frame))

    def write(self, frames: Sequence[Frame]) -> None:
        """Sends frames in one go; after the end of the socket nothing happens."""
        self._send(b"".join([self._picked(frame) for frame in frames]))

    def _send(self, data: bytes) -> None:
        if not (self.disconnected or self.close_sent or self.transport.is_closing()):
            self.transport.write(data)

    def _picked(self, frame: Frame) -> bytes:
        size = len(frame.raw)
        if self._deflates:
            limits = cast(Limits, self._limits)
            if limits.deflate_from_bytes <= size <= limits.deflate_to_bytes:
                return frame.deflated()
        return frame.raw if size <= FRAGMENT_BYTES else frame.fragmented()

    def hold(self, stopped: bool) -> None:
        """Stops reading from the client, or goes on."""
        self._held = stopped
        self._pace()

    def close(self, code: int, reason: str) -> None:
        """Sends a close frame and waits a while for the client's."""
        if self.disconnected or self.close_sent or not self.handshake_complete or self.transport.is_closing():
            return
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.conn.send_close(code, reason)
        self.transport.write(b"".join(self.conn.data_to_send()))
        self.close_sent = True
        self._held = self._blocked = False
        self._pace()
        # A client that reads nothing would keep the transport open until its buffer is empty: for ever.
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.abort)

    # What the transport says

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The HTTP protocol hands over its transport, which may be a wrapped one."""
        super().connection_made(getattr(transport, "inner", transport))

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone. What it is made of would keep itself in memory: cycles are looked for so rarely that a
        connection must not leave any."""
        super().connection_lost(exc)
        self._receiver = None
        if isinstance(self.queue, _LastEvent):
            self.queue.forget()
        self.conn.parser.close()
        if self.handshake_initiated and self.response.status_code == 101:
            cast("dict[str, Any]", self.scope)["extensions"].pop(EXTENSION, None)

    def data_received(self, data: bytes) -> None:
        """Plain text frames go straight to the receiver, all others through the protocol of `websockets`."""
        if self._receiver is None:
            super().data_received(data)
            return
        if self._partial:
            self._partial += data
            if len(self._partial) < self._wanted:
                return
            data = bytes(self._partial)
            self._partial.clear()
        self._wanted = 0
        position, end = 0, len(data)
        while end - position >= 2 and not self._ended:
            size, start = _measure(data, position, end)
            if start == 0:
                break
            if size > self.config.ws_max_size or not data[position + 1] & 0x80:
                # `websockets` sees at the header what is wrong, and closes as it should.
                self._ended = True
                self._feed(data[position:])
                return
            stop = start + size
            if stop > end:
                self._wanted = stop - position
                break
            self._frame(data, position, start, stop)
            position = stop
        if position < end and not self._ended:
            self._partial += memoryview(data)[position:]

    def _frame(self, data: bytes, position: int, start: int, stop: int) -> None:
        first = data[position]
        if first == _PLAIN_TEXT and not self._fragmented and not self.close_sent:
            cast(Receiver, self._receiver).text(apply_mask(data[start:stop], data[start - 4 : start]))
            return
        if not first & _CONTROL:
            self._fragmented = not first & _FINAL
        self._feed(data[position:stop])

    def _feed(self, data: bytes) -> None:
        super().data_received(data)
        if self.conn.parser_exc is not None:
            self._ended = True

    def send_receive_event_to_app(self) -> None:
        """A message that came through `websockets`."""
        if self._receiver is None:
            super().send_receive_event_to_app()
            return
        data = self.frames[0] if len(self.frames) == 1 else b"".join(self.frames)
        self.frames = []
        if self.close_sent:
            return
        if self.curr_msg_data_type == "text":
            self._receiver.text(bytes(data))
        else:
            self._receiver.binary()

    def pause_writing(self) -> None:
        """Too much is unsent."""
        super().pause_writing()
        self._blocked = True
        self._pace()

    def resume_writing(self) -> None:
        """The buffer is nearly empty again."""
        super().resume_writing()
        self._blocked = False
        self._pace()
        if self._receiver is not None:
            self._receiver.drained()

    def _pace(self) -> None:
        """Who takes no answers asks no questions."""
        if self._receiver is None or self.disconnected or self.transport.is_closing():
            return
        paused = self._held or self._blocked
        if paused != self.read_paused:
            self.read_paused = paused
            if paused:
                self.transport.pause_reading()
            else:
                self.transport.resume_reading()

    def keepalive_timeout(self) -> None:
        """The client has not answered a ping: what is unsent will never leave."""
        if self._held:
            # Its answer may be here, and we don't read. Where the client is gone, the kernel finds out by these pings.
            self.pong_timer = self.pending_ping_payload = None
            self.schedule_ping()
            return
        super().keepalive_timeout()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1011})
        self.transport.abort()

    def shutdown(self) -> None:
        """The server stops."""
        super().shutdown()
        self.loop.call_later(1.0, self.transport.abort)

    def handle_connect(self, event: Any) -> None:
        """Offers itself to the app."""
        super().handle_connect(event)
        if self.response.status_code == 101:
            cast("dict[str, Any]", self.scope)["extensions"][EXTENSION] = self


def _measure(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Size of the payload and where it starts; start 0: the header is not complete. An unmasked frame starts early."""
    length = data[position + 1] & 0x7F
    mask = 4 if data[position + 1] & 0x80 else 0
    if length < 126:
        start = position + 2 + mask
    elif length == 126:
        start = position + 4 + mask
        if start <= end:
            length = int.from_bytes(data[position + 2 : position + 4], "big")
    else:
        start = position + 10 + mask
        if start <= end:
            length = int.from_bytes(data[position + 2 : position + 10], "big")
    return (length, start) if start <= end else (0, 0)
