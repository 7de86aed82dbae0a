"""A small corpus that answers, with a model whose words a test lets go one by one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import reflow as rf
from reflow.rag.answers.answer_views import AnswerView
from reflow.rag.answers.chat import Chat, Chooser, Message, Parts, Usage
from reflow.rag.corpus import Corpus
from reflow.testing import HashingEmbedder

QUICK = rf.Limits(
    answer_write_seconds=0.005,
    answer_look_seconds=0.02,
    answer_pause_seconds=0.3,
    answer_patience_seconds=20.0,
    answer_page_blocks=4,
    model_first_pause_seconds=0.01,
    model_pause_seconds=0.3,
    model_silent_seconds=0.3,
)

ANSWER_TABLES = ("Thread", "Answer", "AnswerBlock", "AnswerRecord")
TREES = "Files have names.\n\nA directory tree is copied by copytree, links included."
OLD = "Old files are removed at night.\n\nNobody misses them."
TREE_QUESTION = "How is a directory tree copied?"


class Script:
    """A model that says what it is told to: `say` gives words, `end` ends the answer, `fail` raises.

    `asked` has the messages of each call; `open` counts the streams that are not closed.
    """

    id = "scripted"

    def __init__(self) -> None:
        self.asked: list[list[Message]] = []
        self.open = 0
        self._words: asyncio.Queue[str | Usage | Exception | None] = asyncio.Queue()

    def say(self, *words: str) -> None:
        for word in words:
            self._words.put_nowait(word)

    def end(self, usage: Usage | None = None) -> None:
        if usage is not None:
            self._words.put_nowait(usage)
        self._words.put_nowait(None)

    def fail(self, error: Exception) -> None:
        self._words.put_nowait(error)

    async def stream(self, messages: Sequence[Message]) -> Parts:
        self.asked.append(list(messages))
        self.open += 1
        try:
            while (word := await self._words.get()) is not None:
                if isinstance(word, Exception):
                    raise word
                yield word
        finally:
            self.open -= 1


@dataclass
class Asking:
    """A running application with one corpus."""

    backend: rf.Backend
    corpus: Corpus

    async def ask(self, question: str = TREE_QUESTION, **more: Any) -> str:
        return await self.backend.mutation(self.corpus.answers.ask, question, **more)

    async def get(self, answer: str) -> AnswerView:
        return await self.backend.query(self.corpus.answers.get, answer)

    async def text(self, answer: str) -> str:
        return await self.backend.query(self.corpus.answers.text, answer)

    async def when(self, answer: str, found: Callable[[AnswerView], bool]) -> AnswerView:
        """The answer as soon as it is as wanted."""
        async for view in self.backend.watch(self.corpus.answers.get, answer):
            if found(view):
                return view
        raise AssertionError

    async def until(self, answer: str, *states: str) -> AnswerView:
        """The answer as soon as it is in one of these states."""
        return await self.when(answer, lambda view: view.state in states)

    async def says(self, answer: str, words: str) -> None:
        """Returns as soon as the answer has these words."""
        async for text in self.backend.watch(self.corpus.answers.text, answer):
            if words in text:
                return

    async def ended(self, answer: str) -> AnswerView:
        return await self.until(answer, "done", "failed", "stopped")

    async def rows(self) -> dict[str, int]:
        """Rows of the answers' tables that have any."""
        counts: dict[str, int] = await self.backend.query("rows:count")
        return {name: counts[name] for name in ANSWER_TABLES if counts[name]}

    async def entries(self, answer: str) -> list[tuple[str, str, int, int]]:
        """What the ledger has for an answer: work, model, tokens in and out; oldest first."""
        page = await self.backend.query(
            self.corpus.ledger.entries, subject=answer, pagination_opts=rf.PaginationOptions(num_items=50)
        )
        return [(one.work, one.model, one.tokens_in, one.tokens_out) for one in reversed(page.page)]


@asynccontextmanager
async def asking(
    chat: Chat | Chooser | None = None, *, limits: rf.Limits = QUICK, **options: Any
) -> AsyncGenerator[Asking, None]:
    """The application in memory, with two sources."""
    environment: dict[str, str] = options.pop("environment", {})
    module = rf.Module("rows")

    @module.internal_query(owners="all")
    async def count(ctx: rf.QueryCtx) -> dict[str, int]:
        """How many rows each table has."""
        return {table.__name__: await ctx.db.query(table).count() for table in corpus.tables}

    corpus = Corpus("docs", embedder=HashingEmbedder(), public=True, chat=chat, limits=limits, **options)
    app = rf.App(modules=[module], components=[corpus], limits=limits, environment=environment)
    async with app.in_memory() as backend:
        if corpus.owner is None:
            await backend.mutation(corpus.sources.put, key="trees", text=TREES)
            await backend.mutation(corpus.sources.put, key="old", text=OLD)
            await backend.settled()
        yield Asking(backend, corpus)
