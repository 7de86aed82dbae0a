"""Questions that refer to what was said before, made into ones that can be searched for."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reflow.rag.answers.chat import Message
from reflow.rag.answers.extractive import words_of
from reflow.rag.answers.prompts import HISTORY_SHARE, Turn, history_of
from reflow.rag.answers.templates import Template, render

_REFERS = re.compile(
    r"\b(it|its|they|them|their|this|that|these|those|he|him|his|she|her|hers|one|ones|same|former|latter|else|instead"
    r"|also|too|more|another|other|others)\b|^\s*(and|but|or|so|then|what about|how about|why)\b",
    re.IGNORECASE,
)
_FEW_WORDS = 2


def joined(question: str, turns: Sequence[Turn]) -> str:
    """The question to search for where no chat model can say: with the one before, if it seems to refer to it.

    It seems so where it has few words of its own, or one such as "it".
    """
    if not turns or not (_REFERS.search(question) or len(words_of(question)) < _FEW_WORDS):
        return question
    return f"{turns[-1].question} {question}"


def condensing(template: Template, question: str, turns: Sequence[Turn]) -> list[Message]:
    """What a chat model is asked to make the question one that can be understood by itself."""
    room = template.token_budget // HISTORY_SHARE
    return render(template, {"question": question, "history": history_of(turns, room)})


def condensed(said: str, question: str, longest: int) -> str:
    """What a chat model made of the question; the question itself where it said nothing, or rather too much."""
    line = " ".join(said.split()).strip("\"'“”")
    return line if 0 < len(line) <= longest else question
