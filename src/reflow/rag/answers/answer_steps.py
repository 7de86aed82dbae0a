"""What the run of an answer and its transactions tell each other."""

from __future__ import annotations

from typing import Literal

import reflow as rf
from reflow.rag.answers.chat import Message
from reflow.rag.answers.citations import Span
from reflow.rag.answers.prompts import Passage, Turn
from reflow.rag.answers.templates import Template
from reflow.rag.search.queries import Options, Spent
from reflow.rag.tables import AnswerKind


class Job(rf.Object):
    """What a run has to write."""

    run: int
    question: str
    options: Options
    chat: bool
    """Whether a chat model words the answer."""
    within: dict[str, str]
    """Whose chunks are searched."""
    template: Template
    condense: Template | None
    turns: list[Turn]
    """What was said before, oldest first."""


class Prepared(rf.Object):
    """What an answer is made of."""

    kind: AnswerKind
    model: str | None
    passages: list[Passage]
    used: int
    messages: list[Message]
    tokens: int
    searched: str
    spent: list[Spent]
    note: str | None
    condense_ms: float | None
    search_ms: float


class Ending(rf.Object):
    """How a run ends, with the last block. Without `spent` what the model took is estimated."""

    state: Literal["done", "failed"]
    number: int
    spans: list[Span]
    error: str | None = None
    note: str | None = None
    spent: Spent | None = None
