"""Rewriting a question before it is embedded: a chat model puts it otherwise, or makes up an answer to look for.

Hypothetical answers: Gao, Ma, Lin and Callan, "Precise Zero-Shot Dense Retrieval without Relevance Labels" (2022).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from reflow.errors import ProviderError
from reflow.rag.chat import Chat, Message, complete
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


Transform = Callable[[str], Awaitable[Transformed]]
"""Its words are still searched for as they were typed."""

REWRITE = """\
Rewrite the user's question as one that a search engine finds the answer to: spell out what it means, resolve \
abbreviations, leave out politeness. Answer with the rewritten question only, in the question's language."""

HYPOTHETICAL = """\
Write a short passage, as it might stand in a text that answers the user's question. Where you don't know the answer, \
make one up: it is only used to find the real one. Answer with the passage only, in the question's language."""


def rewrite(chat: Chat, instruction: str = REWRITE) -> Transform:
    """Has a chat model put the question in words that are easier to find."""
    return _asking(chat, instruction, "query")


def hypothetical(chat: Chat, instruction: str = HYPOTHETICAL) -> Transform:
    """Has a chat model make up an answer: real answers are nearer to it than to the question."""
    return _asking(chat, instruction, "document")


def _asking(chat: Chat, instruction: str, kind: Kind) -> Transform:
    async def transform(text: str) -> Transformed:
        messages = [Message(role="system", content=instruction), Message(role="user", content=text)]
        said = await complete(chat, messages, longest=LONGEST)
        if not said.text.strip():
            raise ProviderError(
                f"{chat.id} answered nothing to the question it was to rewrite", "garbage", retryable=True
            )
        return Transformed(
            text=said.text.strip(),
            kind=kind,
            model=said.model,
            tokens_in=said.tokens_in,
            tokens_out=said.tokens_out,
            ms=said.ms,
        )

    return transform
