"""Answers as they are shown: where what they cite is now, pages of their text, and what they were made with."""

from __future__ import annotations

from typing import Any

import msgspec

import reflow as rf
from reflow.rag.answers.chat import Message
from reflow.rag.answers.citations import Span
from reflow.rag.answers.prompts import Passage
from reflow.rag.search.queries import Options
from reflow.rag.tables import Answer, AnswerKind, AnswerState, Tables


class Place(rf.Object, rename="camel"):
    """Where a chunk is in the version of its source that is searched now."""

    version: int
    first_line: int
    last_line: int


class PassageView(Passage):
    """A passage with what has become of it: `current` is absent where its text is not in the source any more, `gone`
    tells that the source is deleted. The version that is cited has its lines as long as it is kept."""

    current: Place | None = rf.missing()
    gone: bool | None = rf.missing()


class AnswerRow(rf.Object, rename="camel"):
    """An answer in a list; see the table `Answer`."""

    _id: str
    _creationTime: float
    question: str
    options: Options
    template: str
    number: int
    state: AnswerState
    asked: float
    attempts: int
    """Times that it was begun."""
    retries: int
    characters: int
    cited: list[int]
    tokens_in: int
    tokens_out: int
    thread: str | None = rf.missing()
    next_try: float | None = rf.missing()
    error: str | None = rf.missing()
    note: str | None = rf.missing()
    searched: str | None = rf.missing()
    kind: AnswerKind | None = rf.missing()
    model: str | None = rf.missing()
    cost: float | None = rf.missing()
    condense_ms: float | None = rf.missing()
    search_ms: float | None = rf.missing()
    first_token_ms: float | None = rf.missing()
    total_ms: float | None = rf.missing()


class AnswerView(AnswerRow):
    """An answer with the passages that it is made of. Those after the first `used` did not fit into the prompt."""

    passages: list[PassageView] = msgspec.field(default_factory=list[PassageView])
    used: int = 0


class BlockView(rf.Object):
    """A piece of an answer's text."""

    number: int
    spans: list[Span]


class BlockPage(rf.Object):
    """Blocks that follow one another. A full page never changes again, unless the answer is written anew."""

    blocks: list[BlockView]
    full: bool


class Inspection(rf.Object, rename="camel"):
    """What a model is sent, or was, and what it is made of. Passages after the first `used` were left out."""

    messages: list[Message]
    passages: list[Passage]
    used: int
    tokens: int
    """Estimated."""
    budget: int
    searched: str
    """The question as it was searched for."""


_SAME = tuple(name for name in AnswerRow.__struct_fields__ if name in Answer.__struct_fields__)


def row_of(answer: Answer) -> AnswerRow:
    """An answer in a list."""
    return AnswerRow(**_fields(answer))


async def view_of(ctx: rf.QueryCtx, tables: Tables, answer: Answer) -> AnswerView:
    """An answer with where its passages are now."""
    passages = [await _passage(ctx, tables, passage) for passage in answer.passages]
    return AnswerView(**_fields(answer), passages=passages, used=answer.used)


def _fields(answer: Answer) -> dict[str, Any]:
    return {name: getattr(answer, name) for name in _SAME} | {"attempts": answer.run}


async def _passage(ctx: rf.QueryCtx, tables: Tables, passage: Passage) -> PassageView:
    same = {name: getattr(passage, name) for name in Passage.__struct_fields__}
    chunk = await _row(ctx, tables.Chunk, passage.chunk)
    if chunk is not None:
        place = Place(version=chunk.version, first_line=chunk.first_line, last_line=chunk.last_line)
        return PassageView(**same, current=place)
    gone = await _row(ctx, tables.Source, passage.source) is None
    return PassageView(**same, gone=gone or None)


async def _row(ctx: rf.QueryCtx, table: Any, id: str) -> Any:
    known = ctx.db.normalize_id(table, id)
    return None if known is None else await ctx.db.get(known)
