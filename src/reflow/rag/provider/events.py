"""Server-sent events, as streamed answers come: bytes in, the texts of the events out.

Source: WHATWG HTML, "Server-sent events". Only `data` fields matter here.
"""

from __future__ import annotations

from collections.abc import Iterator

from reflow.rag.provider.failures import Garbage


class EventReader:
    """Reads a stream that arrives in pieces cut anywhere, within characters too."""

    def __init__(self, most_bytes: int) -> None:
        """An event may have so many bytes."""
        self._most = most_bytes
        self._rest = b""
        self._lines: list[str] = []
        self._size = 0

    def feed(self, piece: bytes) -> Iterator[str]:
        """The data of the events that are complete with this piece. Raises Garbage."""
        *lines, self._rest = (self._rest + piece).split(b"\n")
        for line in lines:
            yield from self._line(line.removesuffix(b"\r"))
        if len(self._rest) + self._size > self._most:
            raise Garbage(f"an event of more than {self._most} bytes (limits.model_event_bytes)")

    def end(self) -> Iterator[str]:
        """What was complete but for the empty line after it, which some servers leave out at the end."""
        if self._rest:
            yield from self._line(self._rest.removesuffix(b"\r"))
        yield from self._line(b"")

    def _line(self, line: bytes) -> Iterator[str]:
        if not line:
            if self._lines:
                yield "\n".join(self._lines)
            self._lines, self._size = [], 0
            return
        name, _, value = line.partition(b":")
        if name != b"data":
            return
        self._size += len(line)
        try:
            self._lines.append(value.removeprefix(b" ").decode())
        except UnicodeDecodeError:
            raise Garbage("an event that is no UTF-8") from None
