"""The sync protocol: one client's socket, from its Connect to its end."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from typing import Any, Protocol

from reflow import values
from reflow.auth import Identity
from reflow.engine.engine import Engine
from reflow.engine.live import AddQuery, Change, ProtocolError, Version, missing_function
from reflow.engine.mutations import Call, Outcome
from reflow.engine.outcomes import Failure, Result
from reflow.errors import (
    AuthenticationError,
    InvalidValue,
    LimitExceeded,
    Overloaded,
    ProviderUnavailable,
    ReflowError,
    StorageError,
)
from reflow.functions import Function
from reflow.server import frames, messages
from reflow.server.auth import ANYBODY, FUTURE, Caller, Credentials, Verifier
from reflow.server.frames import Frame, Transitions
from reflow.server.messages import Action, Authenticate, Connect, ModifyQuerySet, Mutation, arguments, normal_path

LOG = logging.getLogger("reflow.server")

FATAL, GONE, INTERNAL, RESTART, AGAIN = 1008, 1000, 1011, 1012, 1013
_REASON_BYTES = 123
_LONGEST_SLEEP_SECONDS = 30.0
"""The machine may sleep while a timer runs, and its clock may be set."""


class Wire(Protocol):
    """The transport of one websocket."""

    def ready(self) -> bool:
        """False while too much is unsent; `SyncSocket.drained` is called afterwards."""
        ...

    @property
    def raw(self) -> Callable[[bytes], object] | None:
        """The shortest way out for a finished frame, open until `lost` is called; None where each needs a look."""
        ...

    def write_one(self, frame: Frame) -> None:
        """Sends a frame."""
        ...

    def write(self, frames: Sequence[Frame]) -> None:
        """Sends frames in one go."""
        ...

    def hold(self, stopped: bool) -> None:
        """Stops reading from the client, or goes on."""
        ...

    def close(self, code: int, reason: str) -> None:
        """Sends what is unsent and a close frame; nothing is received from then on."""
        ...


class SyncDoor:
    """What all sockets of an app share."""

    def __init__(self, engine: Engine, verifier: Verifier, *, with_logs: bool = False) -> None:
        self.engine = engine
        self.verifier = verifier
        self.with_logs = with_logs
        self.transitions = Transitions(with_logs, engine.limits.chunk_bytes)
        self.sockets: set[SyncSocket] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.asked = 0
        """Bytes of arguments whose calls are not answered yet, of all sockets."""
        self._pinging: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to send Pings, and to forget transitions after each round."""
        self.engine.hub.after_round = self.transitions.clear
        self._pinging = asyncio.create_task(self._ping(), name="reflow-pings")

    async def close(self) -> None:
        """Closes all sockets so that their clients come back, and cancels their actions."""
        for socket in list(self.sockets):
            socket.end(RESTART, "the server is shutting down")
        tasks = [*self.tasks, *([self._pinging] if self._pinging is not None else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ping(self) -> None:
        """Clients take 30 to 60 seconds of silence for a dead server."""
        ticks, limits = 4, self.engine.limits
        pause = limits.ping_seconds / ticks
        waited, strangers = 0.0, set[SyncSocket]()
        while True:
            await asyncio.sleep(pause)
            self._tick(ticks)
            waited += pause
            if waited >= limits.pong_seconds:
                waited, strangers = 0.0, self._dismiss(strangers)

    def _tick(self, ticks: int) -> None:
        """Pings those who have heard nothing for so many ticks."""
        for socket in list(self.sockets):
            socket.silence += 1
            if socket.silence >= ticks:
                socket.ping()

    def _dismiss(self, strangers: set[SyncSocket]) -> set[SyncSocket]:
        """Closes those of the strangers that have not introduced themselves yet; whoever is one now."""
        for socket in strangers:
            if socket.session is None:
                socket.end(GONE, "no Connect came")
        return {socket for socket in self.sockets if socket.session is None}


class SyncSocket:
    """One client. `text`, `binary`, `drained` and `lost` are called by the transport."""

    __slots__ = (
        *("_door", "_engine", "_held", "_loop", "_mutating", "_acting", "_pending", "_wire", "closed", "connection"),
        *("session", "silence", "_turn", "_queue", "ready", "_raw", "_transitions", "_came_back", "_asked"),
        *("_caller", "_chunked", "_expiry", "_find"),
    )

    def __init__(self, door: SyncDoor, wire: Wire, *, chunked: bool = False) -> None:
        """`chunked`: the client understands large transitions in chunks."""
        self._door = door
        self._chunked = chunked
        self._engine = door.engine
        self._wire = wire
        self.ready = wire.ready
        """Whether the transport takes another transition."""
        self._raw = wire.raw
        self._loop = asyncio.get_running_loop()
        self._transitions = door.transitions
        self.connection = door.engine.hub.connect(self)
        self.session: str | None = None
        self._came_back = False
        """Only a client that was here before can ask for a mutation that has run already."""
        self.silence = 0
        self.closed = False
        self._pending: list[Frame] = []
        self._mutating = 0
        self._acting = 0
        self._asked = 0
        """Bytes of arguments whose calls are not answered yet. Too many, and nothing more is read meanwhile."""
        self._held: deque[bytes] | None = None
        """Messages that wait until a token is verified, or a timestamp reached."""
        self._caller = ANYBODY
        self._find = door.engine.public
        """How functions are found: for administrators internal ones too."""
        self._expiry: asyncio.TimerHandle | None = None
        self._turn = False
        self._queue: deque[Call] | None = None
        """Where the storage runs mutations side by side: those that wait for the socket's former one."""
        door.sockets.add(self)

    # What the transport says

    def text(self, raw: bytes) -> None:
        """A message of the client."""
        if self.closed:
            return
        if self._held is not None:
            self._held.append(raw)
            self._pace()
            return
        try:
            self._take(raw)
        except ProtocolError as error:
            self.refuse(str(error))
        except LimitExceeded as error:
            self.refuse(f"{error.code}: {error}")
        except Exception as error:
            LOG.exception("a client's message could not be handled; its connection is closed")
            self.fail(f"InternalServerError: {type(error).__name__}")

    def binary(self) -> None:
        """A binary frame came."""
        if not self.closed:
            self.refuse("BadMessage: binary frames are not part of the sync protocol; send JSON text")

    def drained(self) -> None:
        """The transport takes frames again."""
        if not self.closed:
            self.connection.wake()

    def lost(self) -> None:
        """The client is gone; also said by who has ended the socket."""
        self.closed = True
        self.connection.close()
        self._pending.clear()
        self._held = None
        self._door.asked -= sum(len(call.args) for call in self._queue or ())
        self._queue = None
        self._watch_expiry(FUTURE)
        self._door.sockets.discard(self)

    # What the hub says

    def transition(self, start: Version, end: Version, changes: Sequence[Change]) -> None:
        """Sends a transition, together with what waits already."""
        transitions = self._transitions
        if changes is transitions.latest:
            frame = transitions.latest_frame
        else:
            frame = transitions.frame(start, end, changes)
            if len(frame.raw) > transitions.whole_bytes:
                return self._send_large(frame)
        self.silence = 0
        if self._pending:
            waiting, self._pending = self._pending, []
            waiting.append(frame)
            self._wire.write(waiting)
        elif self._raw is not None:
            try:
                self._raw(frame.raw)
            except RuntimeError:  # uvloop: the transport has just failed, and is about to say so
                self.lost()
        else:
            self._wire.write_one(frame)

    def _send_large(self, frame: Frame) -> None:
        """Sends a transition after what waits already. JavaScript clients take a minute without a whole message for a
        dead server, and on a slow line a large one takes longer."""
        self._flush()
        self.silence = 0
        for part in frame.chunks(self._transitions.whole_bytes) if self._chunked else (frame,):
            self._wire.write_one(part)

    def fail(self, reason: str) -> None:
        """Closes the socket because of a fault of the server; the client will come back."""
        self.end(INTERNAL, reason)

    # What leaves

    def send(self, frame: Frame) -> None:
        """Sends a frame with whatever else is ready in this turn of the loop."""
        if not self._pending:
            self._loop.call_soon(self._flush)
        self._pending.append(frame)

    def _flush(self) -> None:
        if self._pending and not self.closed:
            waiting, self._pending = self._pending, []
            self.silence = 0
            self._wire.write(waiting)

    def ping(self) -> None:
        """Shows that the server is there."""
        if self._wire.ready():
            self.send(frames.PING)

    def refuse(self, message: str) -> None:
        """The client broke the protocol: it is told so, and the socket closed."""
        self.send(frames.fatal_error(message))
        self.end(FATAL, message.partition(":")[0])

    def end(self, code: int, reason: str) -> None:
        """Sends what is unsent and closes the socket."""
        if self.closed:
            return
        self._flush()
        self.lost()
        self._wire.close(code, reason.encode()[:_REASON_BYTES].decode(errors="ignore"))

    # Messages

    def _take(self, raw: bytes) -> None:
        message = messages.decode(raw)
        kind = type(message)
        if self.session is None:
            if kind is not Connect:
                raise ProtocolError(f"BadMessage: the first message must be Connect, not {kind.__name__}")
            return self._connect(message)  # pyright: ignore[reportArgumentType]
        if kind is Mutation:
            self._mutate(message)  # pyright: ignore[reportArgumentType]
        elif kind is ModifyQuerySet:
            self._modify(message)  # pyright: ignore[reportArgumentType]
        elif kind is Action:
            self._call_action(message)  # pyright: ignore[reportArgumentType]
        elif kind is Authenticate:
            self._authenticate(message)  # pyright: ignore[reportArgumentType]
        elif kind is Connect:
            raise ProtocolError("BadMessage: a second Connect on the same socket")

    def _connect(self, message: Connect) -> None:
        self.session = message.session_id
        self._came_back = message.connection_count > 0
        if message.max_observed_timestamp is None:
            return
        try:
            seen = frames.decode_timestamp(message.max_observed_timestamp)
        except ReflowError as error:
            raise ProtocolError(f"BadMessage: maxObservedTimestamp: {error}") from None
        if seen > self._engine.committer.published:
            self._hold(self._reach(seen))

    async def _reach(self, ts: int) -> None:
        """Takes the server past a timestamp that the client saw before the server lost some of its data.

        Otherwise time would go backwards for the client.
        """
        if ts > self._engine.clock.now_ns():
            return self.fail(
                "InternalServerError: maxObservedTimestamp is in the future; is this the server that it came from?"
            )
        await self._engine.reach(ts)

    def _modify(self, message: ModifyQuerySet) -> None:
        added: list[AddQuery] = []
        removed: list[int] = []
        for change in message.modifications:
            if isinstance(change, messages.Remove):
                removed.append(change.query_id)
                continue
            path = normal_path(change.udf_path, change.component_path)
            function = self._find(path, "query")
            args = arguments(change.args)
            refusal = None if function is None else _refusal(path, args)
            if refusal is not None:
                function = None
            added.append(AddQuery(change.query_id, messages.shown(path), function, args, change.journal, refusal))
        self.connection.modify(message.base_version, message.new_version, added, removed)

    def _mutate(self, message: Mutation) -> None:
        limits = self._engine.limits
        if self._mutating >= limits.mutations_per_socket:
            text = f"more than limits.mutations_per_socket = {limits.mutations_per_socket} mutations wait already"
            return self._answer(message.request_id, _overloaded(text), 0)
        path = normal_path(message.udf_path, message.component_path)
        function = self._find(path, "mutation")
        if function is None:
            return self._answer(message.request_id, missing_function(messages.shown(path)), 0)
        request = message.request_id
        key = (self.session or "", request)
        args = arguments(message.args)
        if self._door.asked + len(args) > limits.waiting_bytes:
            return self._answer(request, _too_much(limits.waiting_bytes), 0)
        done = partial(self._mutated, request, len(args))
        self._mutating += 1
        self._ask(len(args))
        call = Call(function, args, self.connection.identity, key, done, self._came_back)
        if self._turn:
            self._queue = self._queue or deque()
            self._queue.append(call)
        else:
            self._submit(call)

    def _submit(self, call: Call) -> None:
        self._turn = self._engine.storage.concurrent
        try:
            self._engine.submit(call)
        except StorageError:
            # Shutting down. No answer: the client asks again after it has come back.
            self.end(RESTART, "the server is shutting down")
        except ReflowError as error:
            call.done(Outcome(Result(None, Failure(str(error), code=error.code)), 0, error))

    def _mutated(self, request_id: int, size: int, outcome: Outcome) -> None:
        """Called with the publication, before any transition can show what the mutation did."""
        self._mutating -= 1
        self._ask(-size)
        self._turn = False
        if self.closed:
            return
        self._answer(request_id, outcome.result, outcome.ts)
        if self._queue:
            self._loop.call_soon(self._next)

    def _answer(self, request_id: int, result: Result, ts: int) -> None:
        # The hub learns of it first, so that its transition leaves in the same write, right after the response. A
        # failure changes nothing, but the Python client tells its caller only when a transition has come.
        self.connection.owe()
        lines = frames.log_lines(result) if self._door.with_logs else b"[]"
        self.send(frames.response(b"Mutation", request_id, result, ts, lines))

    def _next(self) -> None:
        if self._queue and not self._turn:
            self._submit(self._queue.popleft())

    def _call_action(self, message: Action) -> None:
        limits = self._engine.limits
        if self._acting >= limits.actions_per_socket:
            text = f"more than limits.actions_per_socket = {limits.actions_per_socket} actions run already"
            return self.send(frames.response(b"Action", message.request_id, _overloaded(text), None))
        if len(self._door.tasks) >= limits.client_actions:
            text = f"limits.client_actions = {limits.client_actions} actions run already; try again later"
            return self.send(frames.response(b"Action", message.request_id, _overloaded(text), None))
        path = normal_path(message.udf_path, message.component_path)
        function = self._find(path, "action")
        if function is None:
            missing = missing_function(messages.shown(path))
            return self.send(frames.response(b"Action", message.request_id, missing, None))
        args = arguments(message.args)
        if self._door.asked + len(args) > limits.waiting_bytes:
            overloaded = _too_much(limits.waiting_bytes)
            return self.send(frames.response(b"Action", message.request_id, overloaded, None))
        self._acting += 1
        self._ask(len(args))
        self._spawn(self._act(message.request_id, function, args, self.connection.identity))

    async def _act(self, request_id: int, function: Function[..., Any], args: bytes, identity: Identity | None) -> None:
        try:
            result = await self._engine.action(function, args, identity)
        finally:
            self._acting -= 1
            self._ask(-len(args))
        if not self.closed:
            lines = frames.log_lines(result) if self._door.with_logs else b"[]"
            self.send(frames.response(b"Action", request_id, result, None, lines))

    # Who is asking

    def _authenticate(self, message: Authenticate) -> None:
        base, kind = message.base_version, message.token_type
        if kind == "None":
            self._let_in(base, ANYBODY)
        elif kind == "User":
            self._hold(self._verify(base, Credentials(kind=kind, value=message.value)))
        elif kind == "Admin":
            self._hold(self._verify(base, Credentials(kind=kind, value=message.value, acting_as=message.identity)))
        else:
            raise ProtocolError(f"BadMessage: tokenType {kind[:40]!r}: User, Admin or None is meant")

    async def _verify(self, base: int, shown: Credentials) -> None:
        try:
            caller = await self._door.verifier.verify(shown)
        except AuthenticationError as error:
            return self._auth_error(str(error), base, attempted=True)
        except ProviderUnavailable as error:
            # The token may be right. A client that is closed like this comes back and shows it again.
            return self.end(AGAIN, f"{error.code}: {error}")
        if self.closed:
            return
        try:
            self._let_in(base, caller)
        except ProtocolError as error:
            self.refuse(str(error))

    def _let_in(self, base: int, caller: Caller) -> None:
        """From now on this caller asks. Raises ProtocolError."""
        self.connection.authenticate(base, caller.identity)
        was_admin, self._caller = self._caller.admin, caller
        if caller.admin != was_admin:
            self._find = self._engine.known if caller.admin else self._engine.public
            self.connection.find_again(lambda path: self._find(path, "query"))
        self._watch_expiry(caller.expires)

    def _watch_expiry(self, expires: float) -> None:
        """Ends the session when its token ends, by the clock of the wall: a machine may sleep."""
        if self._expiry is not None:
            self._expiry.cancel()
            self._expiry = None
        if expires == FUTURE:
            return
        left = expires - self._engine.clock.now_ns() / 1e9
        if left <= 0:
            return self._auth_error("TokenExpired: the token has expired", self.connection.identity_version)
        self._expiry = self._loop.call_later(min(left, _LONGEST_SLEEP_SECONDS), self._watch_expiry, expires)

    def _auth_error(self, text: str, base: int, *, attempted: bool = False) -> None:
        """Tells that nobody is signed in any more, and closes: the client comes back with a new token or without."""
        self.send(frames.auth_error(text, base, attempted=attempted))
        self.end(GONE, "AuthError")

    # Work that later messages have to wait for

    def _ask(self, size: int) -> None:
        bound = self._engine.limits.socket_buffer_bytes
        self._door.asked += size
        before, self._asked = self._asked, self._asked + size
        if (before > bound) != (self._asked > bound):
            self._pace()

    def _pace(self) -> None:
        """Who waits for answers, or for a token to be verified, is not read from."""
        waits = self._held is not None or self._asked > self._engine.limits.socket_buffer_bytes
        self._wire.hold(waits)

    def _hold(self, work: Coroutine[Any, Any, None]) -> None:
        self._held = deque()
        self._spawn(self._held_back(work))

    async def _held_back(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except Exception as error:
            LOG.exception("a connection is closed")
            self.fail(f"InternalServerError: {type(error).__name__}")
        held, self._held = self._held, None
        while held and not self.closed:
            if self._held is not None:
                self._held.extend(held)
                return
            self.text(held.popleft())
        self._pace()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._door.tasks.add(task)
        task.add_done_callback(self._door.tasks.discard)


def _overloaded(text: str) -> Result:
    return Result(None, Failure(f"{Overloaded.code}: {text}", code=Overloaded.code))


def _too_much(bound: int) -> Result:
    return _overloaded(f"calls of limits.waiting_bytes = {bound} bytes wait already; try again later")


def _refusal(path: str, args: bytes) -> Result | None:
    """Why arguments can't even be looked up: what passed for JSON at first sight is none."""
    try:
        values.canonical(args)
    except InvalidValue as error:
        return Result(None, Failure(f"ArgumentValidationError: {path}: {error}", code="ArgumentValidationError"))
    return None
