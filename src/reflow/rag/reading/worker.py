"""The process that reads what others made, started by `read_apart`.

It takes requests on its standard input and answers on its standard output, one at a time; a message is its length in
eight bytes and then MessagePack. It ends when its input does, so it never outlives who started it, and by itself when
nobody asked for long.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import msgspec

from reflow.errors import MissingExtra, UnreadableSource
from reflow.limits import Limits
from reflow.rag.reading.reader import read
from reflow.rag.reading.text import Text

HEADER = 8


class Request(msgspec.Struct, frozen=True):
    """A source to read."""

    data: bytes
    name: str
    content_type: str | None
    limits: Limits


class Refusal(msgspec.Struct, frozen=True):
    """Why there is no text: `reason` as in UnreadableSource, or "missing" for an extra that is not installed."""

    reason: str
    message: str


class Reply(msgspec.Struct, frozen=True):
    """Either a text or a refusal."""

    text: Text | None = None
    refusal: Refusal | None = None


def send(pipe: BinaryIO, message: Request | Reply) -> None:
    """Writes a message."""
    body = msgspec.msgpack.encode(message)
    pipe.write(len(body).to_bytes(HEADER, "big"))
    pipe.write(body)
    pipe.flush()


def receive(pipe: BinaryIO, longest: int) -> bytes | None:
    """The next message; None where the pipe ends, or where the message would be longer than it may be."""
    header = pipe.read(HEADER)
    size = int.from_bytes(header, "big")
    if len(header) < HEADER or size > longest:
        return None
    body = pipe.read(size)
    return body if len(body) == size else None


def _answer(request: Request) -> Reply:
    try:
        return Reply(text=read(request.data, request.name, request.content_type, limits=request.limits))
    except UnreadableSource as error:
        return Reply(refusal=Refusal(error.reason, str(error)))
    except MissingExtra as error:
        return Reply(refusal=Refusal("missing", str(error)))
    except RecursionError:
        return Reply(refusal=Refusal("broken", f"{request.name} is nested too deeply to be read"))
    except MemoryError:
        bound = request.limits.reading_memory_bytes
        why = f"{request.name} needs more memory to be read than limits.reading_memory_bytes = {bound}"
        return Reply(refusal=Refusal("too_large", why))
    except Exception as error:  # whatever a file that is none makes of a parser that believes it
        why = f"{request.name} can't be read, it seems to be damaged ({type(error).__name__}: {error})"
        return Reply(refusal=Refusal("broken", why))


@contextmanager
def _bounded_memory(more_bytes: int) -> Generator[None]:
    """Lets this process take so much memory beyond what it has now. Only where the system can (Linux)."""
    try:
        import resource

        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    except (ImportError, OSError):
        yield
        return
    before = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * os.sysconf("SC_PAGE_SIZE") + more_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, before)


def main(idle_seconds: float) -> None:
    """Reads until nobody asks for so long, or nobody can any more."""
    requests, answers = sys.stdin.buffer, os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what a library prints is no answer
    while True:
        alarm = threading.Timer(idle_seconds, os._exit, [0])
        alarm.daemon = True
        alarm.start()
        body = receive(requests, sys.maxsize)
        alarm.cancel()
        if body is None:
            return
        request = msgspec.msgpack.decode(body, type=Request)
        with _bounded_memory(request.limits.reading_memory_bytes):
            reply = _answer(request)
        send(answers, reply)
        del body, request, reply
