"""Prompts: a template with a question, what was found and what was said before, cut to the template's budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

import reflow as rf
from reflow.rag.answers.chat import Message, tokens_of, tokens_of_messages
from reflow.rag.answers.templates import Template, render

HISTORY_SHARE = 3
"""What was said before gets at most one third of the budget: an answer is made of sources first."""

LEAST_PASSAGE = 60
"""Tokens below which a passage is rather left out than cut."""

_CUT = " […]"


class Passage(rf.Object, rename="camel"):
    """A part of a source that an answer may be made of. Lines count from 1, `start` and `end` are in characters of the
    version's text."""

    number: int
    """As in "[1]"."""
    chunk: str
    source: str
    key: str
    name: str
    version: int
    first_line: int
    last_line: int
    start: int | None = rf.missing()
    end: int | None = rf.missing()
    page: int | None = rf.missing()
    headings: list[str] = msgspec.field(default_factory=list[str])
    score: float = 0.0
    text: str | None = rf.missing()


class Turn(rf.Object):
    """A question before, and its answer."""

    question: str
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """What is sent, and what of it is of which passage: those from 1 to `used`; the ones after were left out."""

    messages: list[Message]
    passages: list[Passage]
    used: int
    tokens: int

    @classmethod
    def empty(cls, passages: list[Passage]) -> Prompt:
        """No prompt: no model is asked."""
        return cls(messages=[], passages=passages, used=0, tokens=0)


class PromptTooLong(rf.ReflowError):
    """The question and the template alone are as long as the template's budget."""

    code = "PromptTooLong"


def compose(template: Template, question: str, passages: Sequence[Passage], turns: Sequence[Turn] = ()) -> Prompt:
    """A prompt within the budget. Passages are taken in order, and those that do not fit are left out; the first one is
    cut where it has to be. They are numbered anew, those that were taken first. Raises PromptTooLong, Misfit."""
    bare = tokens_of_messages(_rendered(template, question, (), ""))
    room = template.token_budget - bare
    if room < (LEAST_PASSAGE if passages else 0):
        raise PromptTooLong(
            f"the question and template {template.name!r} are about {bare} tokens, and its budget is "
            f"{template.token_budget}: ask a shorter question, or give the template a larger budget"
        )
    history = history_of(turns, room // HISTORY_SHARE)
    room -= tokens_of(history)
    taken: list[Passage] = []
    left: list[Passage] = []
    for passage in passages:
        text = _fitting(passage, room, cut=not taken)
        if text is None:
            left.append(passage)
            continue
        taken.append(msgspec.structs.replace(passage, text=text))
        room -= _length(taken[-1])
    numbered = [msgspec.structs.replace(one, number=number) for number, one in enumerate([*taken, *left], 1)]
    messages = _rendered(template, question, numbered[: len(taken)], history)
    return Prompt(messages=messages, passages=numbered, used=len(taken), tokens=tokens_of_messages(messages))


def history_of(turns: Sequence[Turn], room: int) -> str:
    """What was said before, the latest of it that fits into `room` tokens."""
    said: list[str] = []
    for turn in reversed(turns):
        text = f"Question: {turn.question}\nAnswer: {turn.answer}\n"
        room -= tokens_of(text)
        if room < 0:
            break
        said.insert(0, text)
    return "\n".join(["Before this:\n", *said]) if said else ""


def place_of(passage: Passage) -> str:
    """Where a passage is from, in words."""
    lines = f"line {passage.first_line}"
    if passage.last_line != passage.first_line:
        lines = f"lines {passage.first_line}-{passage.last_line}"
    page = "" if passage.page is None else f"page {passage.page}, "
    return " > ".join([f"{passage.name} ({page}{lines})", *passage.headings])


def _rendered(template: Template, question: str, passages: Sequence[Passage], history: str) -> list[Message]:
    sources = "\n\n".join(map(_as_source, passages))
    values: Mapping[str, str] = {"question": question, "sources": sources, "history": history}
    return render(template, values)


def _as_source(passage: Passage) -> str:
    return f"[{passage.number}] {place_of(passage)}\n{passage.text or ''}"


def _length(passage: Passage) -> int:
    return tokens_of(_as_source(passage)) + 1


def _fitting(passage: Passage, room: int, *, cut: bool) -> str | None:
    """As much of a passage's text as there is room for: all of it, or with `cut` its beginning; else None."""
    text = passage.text or ""
    over = _length(passage) - room
    if over <= 0:
        return text
    heading = _length(msgspec.structs.replace(passage, text=_CUT))
    if not cut or room - heading < LEAST_PASSAGE // 2:
        return None
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        if tokens_of(text[:middle]) <= room - heading:
            low = middle
        else:
            high = middle - 1
    return text[:low].rstrip() + _CUT
