"""What a chat model says, read ahead of what is written: each time all of it that has gathered."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing, asynccontextmanager

from reflow.rag.answers.chat import Parts, Usage


class Feed:
    """The pieces of one stream. `usage` is known once `take` has given None."""

    def __init__(self, size: int) -> None:
        self._pieces: asyncio.Queue[str | None] = asyncio.Queue(size)
        self._ended = False
        self.usage = Usage()

    async def read(self, parts: Parts) -> None:
        """Reads the stream to its end. Raises what it raises."""
        try:
            async with aclosing(parts) as stream:
                async for part in stream:
                    if isinstance(part, Usage):
                        self.usage = part
                    elif part:
                        await self._pieces.put(part)
        finally:
            self._ended = True
            if self._pieces.empty():
                self._pieces.put_nowait(None)  # wakes who waits for more

    async def take(self, seconds: float) -> str | None:
        """All that has come, after a wait for the first piece of it; "" if none came in time, None at the end."""
        if self._ended and self._pieces.empty():
            return None
        try:
            async with asyncio.timeout(seconds):
                found = [await self._pieces.get()]
        except TimeoutError:
            return ""
        while not self._pieces.empty():
            found.append(self._pieces.get_nowait())
        text = "".join(piece for piece in found if piece is not None)
        return text or None


@asynccontextmanager
async def reading(parts: Parts, size: int) -> AsyncGenerator[tuple[Feed, asyncio.Task[None]], None]:
    """A feed and the task that fills it, which ends with the block: the stream is closed then.

    Awaiting the task after `take` has given None raises what the stream has raised.
    """
    feed = Feed(size)
    task = asyncio.create_task(feed.read(parts))
    try:
        yield feed, task
    finally:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()  # it is told by who awaits the task, or was of no use any more
