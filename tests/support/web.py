"""A web server that does what it is told on the wire, for fetching: raw answers, delays, streams without end."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field

Answer = bytes | Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass
class Web:
    """Answers by path; `asked` holds the heads of all requests."""

    answers: dict[str, Answer]
    port: int = 0
    asked: list[str] = field(default_factory=list)

    def url(self, path: str = "/", host: str = "127.0.0.1", scheme: str = "http") -> str:
        """An address of this server."""
        return f"{scheme}://{host}:{self.port}{path}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        with suppress(ConnectionError, asyncio.IncompleteReadError, ssl.SSLError), ending(writer):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            self.asked.append(head)
            answer = self.answers.get(head.split(" ")[1], answering(b"nothing here", status=404))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)
            writer.close()
            await writer.wait_closed()


@contextmanager
def ending(writer: asyncio.StreamWriter) -> Generator[None]:
    """Ends a connection in any case, also when the server is stopped."""
    try:
        yield
    finally:
        writer.transport.abort()


def answering(body: bytes, *headers: str, status: int = 200) -> bytes:
    """A whole answer."""
    head = [f"HTTP/1.1 {status} Status", f"content-length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def leading_to(location: str, status: int = 302) -> bytes:
    """A redirect."""
    return answering(b"", f"location: {location}", status=status)


async def silent(writer: asyncio.StreamWriter) -> None:
    """Takes the request and says nothing."""
    await asyncio.sleep(30)


def streaming(chunk: bytes, pause: float, *headers: str) -> Answer:
    """The same chunk again and again, without end."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write("\r\n".join(["HTTP/1.1 200 OK", *headers]).encode() + b"\r\n\r\n")
        while True:
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(pause)

    return answer


@asynccontextmanager
async def web(answers: dict[str, Answer], tls: ssl.SSLContext | None = None) -> AsyncGenerator[Web]:
    """Serves until the context ends."""
    made = Web(answers)
    connections: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(made.serve(reader, writer))
        connections.add(task)
        task.add_done_callback(connections.discard)

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    made.port = server.sockets[0].getsockname()[1]
    try:
        yield made
    finally:
        server.close()
        for task in list(connections):
            task.cancel()
        await asyncio.gather(*connections, return_exceptions=True)
        await asyncio.sleep(0)  # connections end in the loop's next turn
