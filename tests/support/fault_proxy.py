"""An HTTP proxy that answers as the cloud does on its bad days.

It stands between a client and a server, request by request: it may refuse one, keep it waiting, pass it on and lose
the answer, or put something else in the answer's place. It follows a script, or chances and a seed.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from random import Random
from typing import Literal

Fault = Literal[
    "busy",  # 429 with Retry-After, not passed on
    "busy_later",  # 429 with a Retry-After that is too long to wait for, not passed on
    "down",  # 503, not passed on
    "hangs",  # no answer, not passed on
    "lost",  # passed on, then the connection ends without an answer
    "late",  # passed on, then no answer
    "cut",  # passed on, then the connection ends in the middle of the answer
    "garbage",  # passed on, then a page that is no JSON
    "strange",  # passed on, then JSON of another shape
]
FAULTS: tuple[Fault, ...] = ("busy", "down", "hangs", "lost", "late", "cut", "garbage", "strange")

_BUSY_PAGE = b"Too many requests"
_DOWN_PAGE = b"upstream connect error or disconnect/reset before headers"
_GARBAGE_PAGE = b"<html><body>Welcome to this hotel's network</body></html>"
_STRANGE_BODY = b"[1, 2, 3]"


@dataclass(frozen=True, kw_only=True)
class _Message:
    """The first line, headers and body of a request or an answer."""

    head: bytes
    body: bytes

    @property
    def path(self) -> str:
        return self.head.split(b" ", 2)[1].decode("latin-1").partition("?")[0]


class FaultProxy:
    """Made by `fault_proxy`. `script` goes first, fault by fault (None: pass on); then `chances` decide.

    `paths` counts what was asked for by the last part of the path, `met` the faults.
    """

    def __init__(self, target: int, seed: int, chances: Mapping[Fault, float]) -> None:
        self.script: deque[Fault | None] = deque()
        self.chances: Mapping[Fault, float] = chances
        self.paths: Counter[str] = Counter()
        self.met: Counter[Fault] = Counter()
        self.heads: list[bytes] = []
        self.retry_after = "0"
        self.port = 0
        self._target = target
        self._random = Random(seed)
        self._ended = asyncio.Event()
        self._open: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    def next(self, *faults: Fault | None, times: int = 1) -> None:
        """What the coming requests meet."""
        self.script.extend(faults * times)

    async def start(self) -> asyncio.Server:
        """Listens on a free port."""
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def stop(self, server: asyncio.Server) -> None:
        """Ends all connections."""
        server.close()
        self._ended.set()
        for task in [*self._open]:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                while (request := await _read(reader)) is not None:
                    if not await self._serve(request, writer, *there):
                        break
            finally:
                there[1].close()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # either end may go at any time; the other one notices by itself
        except asyncio.CancelledError:
            pass  # only `stop` cancels, and then waits for nothing else
        finally:
            writer.close()
            self._open.discard(task)

    async def _serve(
        self,
        request: _Message,
        client: asyncio.StreamWriter,
        answers: asyncio.StreamReader,
        server: asyncio.StreamWriter,
    ) -> bool:
        """Answers one request. False ends the connection."""
        self.paths[request.path.rsplit("/", 1)[-1]] += 1
        self.heads.append(request.head)
        fault = self._fault()
        if fault is not None:
            self.met[fault] += 1
        if fault in ("busy", "busy_later"):
            after = "86400" if fault == "busy_later" else self.retry_after
            client.write(_answer("429 Too Many Requests", _BUSY_PAGE, "text/plain", f"retry-after: {after}\r\n"))
        elif fault == "down":
            client.write(_answer("503 Service Unavailable", _DOWN_PAGE, "text/plain"))
        elif fault == "hangs":
            await self._ended.wait()
            return False
        else:
            server.write(request.head + request.body)
            answer = await _read(answers)
            if answer is None or fault == "lost":
                return False
            if fault == "late":
                await self._ended.wait()
                return False
            if fault == "cut":
                client.write(answer.head + answer.body[: len(answer.body) // 2])
                await client.drain()
                return False
            if fault == "garbage":
                client.write(_answer("200 OK", _GARBAGE_PAGE, "text/html"))
            elif fault == "strange":
                client.write(_answer("200 OK", _STRANGE_BODY, "application/json"))
            else:
                client.write(answer.head + answer.body)
        await client.drain()
        return True

    def _fault(self) -> Fault | None:
        if self.script:
            return self.script.popleft()
        drawn = self._random.random()
        for fault, chance in self.chances.items():
            drawn -= chance
            if drawn < 0:
                return fault
        return None


async def _read(reader: asyncio.StreamReader) -> _Message | None:
    """The next message; None at the end of the stream."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as end:
        if end.partial:
            raise
        return None
    length = 0
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        assert name.lower() != b"transfer-encoding", "this proxy knows messages with a length only"
        if name.lower() == b"content-length":
            length = int(value)
    return _Message(head=head, body=await reader.readexactly(length))


def _answer(status: str, body: bytes, kind: str, more: str = "") -> bytes:
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def evenly(chance: float, faults: Iterable[Fault] = FAULTS) -> dict[Fault, float]:
    """The same chance for each of the faults, `chance` together."""
    kinds = tuple(faults)
    return {fault: chance / len(kinds) for fault in kinds}


@asynccontextmanager
async def fault_proxy(
    target: int, *, seed: int = 0, chances: Mapping[Fault, float] | None = None
) -> AsyncGenerator[FaultProxy, None]:
    """A proxy before the server on port `target`, until the context ends."""
    proxy = FaultProxy(target, seed, chances or {})
    server = await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop(server)
