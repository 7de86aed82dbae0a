"""Rewriting a question before it is embedded: a chat model puts it otherwise, or makes up an answer to look for.

Hypothetical answers: Gao, Ma, Lin and Callan, "Precise Zero-Shot Dense Retrieval without Relevance Labels" (2022).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import reflow as rf
from reflow.errors import ProviderError
from reflow.rag.answers.chat import Chat, Chooser, Message, chosen, complete
from reflow.rag.embedders.base import Kind

LONGEST = 2000
"""Characters of what a question may become."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Transformed:
    """What is embedded in a question's place, and what it took. `kind` "document" embeds it as an answer."""

    text: str
    kind: Kind = "query"
    model: str = ""
    """Of the chat, for the ledger; empty where there was none."""
    tokens_in: int = 0
    tokens_out: int = 0
    ms: float = 0.0


Transform = Callable[[rf.ActionCtx, str], Awaitable[Transformed]]
"""Changes what is embedded. The words that are searched for stay as they were typed."""

REWRITE = """\
Rewrite the user's question as one that a search engine finds the answer to: spell out what it means, resolve \
abbreviations, leave out politeness. Answer with the rewritten question only, in the question's language."""

HYPOTHETICAL = """\
Write a short passage, as it might stand in a text that answers the user's question. Where you don't know the answer, \
make one up: it is only used to find the real one. Answer with the passage only, in the question's language."""


def rewrite(chat: Chat | Chooser, instruction: str = REWRITE) -> Transform:
    """Has a chat model put the question in words that are easier to find."""
    return _asking(chat, instruction, "query")


def hypothetical(chat: Chat | Chooser, instruction: str = HYPOTHETICAL) -> Transform:
    """Has a chat model make up an answer: real answers are nearer to it than to the question."""
    return _asking(chat, instruction, "document")


def _asking(source: Chat | Chooser, instruction: str, kind: Kind) -> Transform:
    async def transform(ctx: rf.ActionCtx, text: str) -> Transformed:
        chat = chosen(source, ctx)
        if chat is None:
            raise ProviderError(
                "there is no chat model to rewrite the question with: set one, or leave transform out", "settings"
            )
        messages = [Message(role="system", content=instruction), Message(role="user", content=text)]
        said = await complete(chat, messages, longest=LONGEST)
        if not said.text.strip():
            raise ProviderError(f"{chat.id} made nothing of the question", "garbage", retryable=True)
        return Transformed(
            text=said.text.strip(),
            kind=kind,
            model=said.model,
            tokens_in=said.tokens_in,
            tokens_out=said.tokens_out,
            ms=said.ms,
        )

    return transform
