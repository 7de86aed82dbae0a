"""One watcher of an answer, as a page is one: it follows the pages of its text on a socket of its own."""

from __future__ import annotations

import asyncio
import json
import time
import uuid

import msgspec

from benchmarks.client import ClientError, WebSocket
from benchmarks.sync_client import SYNC_PATH, Message, Version


class Span(msgspec.Struct):
    """A piece of text."""

    text: str


class Block(msgspec.Struct):
    """A block of an answer."""

    number: int
    spans: list[Span]


class Page(msgspec.Struct):
    """A page of blocks."""

    blocks: list[Block]
    full: bool


class View(msgspec.Struct):
    """An answer, as far as we look."""

    state: str


_message = msgspec.json.Decoder(Message)
_page = msgspec.json.Decoder(Page)
_view = msgspec.json.Decoder(View)
_STATE = 0
"""The query id of the answer itself; those of its pages are 1 + page."""


class Watcher:
    """Notes when each word has come. A page is asked for as soon as the one before it is full, and one ahead."""

    def __init__(self, port: int, answer: str) -> None:
        self._port = port
        self._answer = answer
        self._pages: dict[int, Page] = {}
        self._asked = 0
        self._changes = 0
        self._version = Version()
        self._state = ""
        self._socket: WebSocket | None = None
        self.seen: dict[int, float] = {}
        """The moment (monotonic) at which each word was here, by its number."""
        self.said: dict[int, float] = {}
        """The moment at which the model had said it."""
        self.bytes = 0
        self.ended = asyncio.Event()

    @property
    def text(self) -> str:
        """What has come so far."""
        pages = [self._pages[page] for page in sorted(self._pages)]
        return "".join(span.text for page in pages for block in page.blocks for span in block.spans)

    async def open(self) -> None:
        """Connects and subscribes to what is not complete here: all of it, or what is missing after a lost socket."""
        self._version = Version()
        self._socket = WebSocket(self._on_text)
        await self._socket.open("127.0.0.1", self._port)
        await self._socket.handshake(SYNC_PATH)
        hello = {
            "type": "Connect", "sessionId": str(uuid.uuid4()), "connectionCount": 0,
            "lastCloseReason": "InitialConnect", "clientTs": time.time() * 1000,
        }  # fmt: skip
        self._socket.send_text(json.dumps(hello).encode())
        full = sum(page.full for page in self._pages.values())
        adds = [self._add(_STATE, "get"), *(self._add(1 + page, "blocks", page=page) for page in (full, full + 1))]
        self._asked = full + 2
        self._changes = 0
        self._modify(adds)

    def lose(self) -> None:
        """Drops the socket without a word."""
        assert self._socket is not None
        self.bytes += self._socket.bytes_received
        self._socket.close()

    def _add(self, query: int, function: str, **more: int) -> dict[str, object]:
        args = [{"answer": self._answer, **more}]
        return {"type": "Add", "queryId": query, "udfPath": f"docs/answers:{function}", "args": args}

    def _modify(self, adds: list[dict[str, object]]) -> None:
        assert self._socket is not None
        before, self._changes = self._changes, self._changes + 1
        change = {"type": "ModifyQuerySet", "baseVersion": before, "newVersion": before + 1, "modifications": adds}
        self._socket.send_text(json.dumps(change).encode())

    def _on_text(self, text: bytes) -> None:
        now = time.monotonic()
        message = _message.decode(text)
        if message.type == "Ping":
            return
        if message.type != "Transition" or message.startVersion != self._version or message.endVersion is None:
            raise ClientError(text.decode()[:500])
        self._version = message.endVersion
        for part in message.modifications:
            if part.type != "QueryUpdated":
                raise ClientError(part.errorMessage)
            if part.queryId == _STATE:
                self._state = _view.decode(part.value).state
            else:
                self._take(part.queryId - 1, _page.decode(part.value), now)
        last = max(self._pages, default=0)
        if self._state in ("done", "failed", "stopped") and last in self._pages and not self._pages[last].full:
            self.ended.set()

    def _take(self, page: int, found: Page, now: float) -> None:
        before = len(self._pages[page].blocks) if page in self._pages else 0
        self._pages[page] = found
        for block in found.blocks[before:]:
            for word in "".join(span.text for span in block.spans).split():
                number, _, said = word.partition("@")
                self.seen[int(number)] = now
                self.said[int(number)] = float(said)
        if found.full and page + 2 == self._asked:
            self._modify([self._add(1 + self._asked, "blocks", page=self._asked)])
            self._asked += 1
