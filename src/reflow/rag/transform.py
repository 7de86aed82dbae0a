"""Rewriting a question before it is embedded: a chat model puts it otherwise, or makes up an answer to look for.

Hypothetical answers: Gao, Ma, Lin and Callan, "Precise Zero-Shot Dense Retrieval without Relevance Labels" (2022).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import reflow as rf
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


Transform = Callable[[rf.ActionCtx, str], Awaitable[Transformed]]
"""Changes what is embedded. The words that are searched for stay as they were typed."""

ChatSource = Chat | Callable[[rf.ActionCtx], Chat | None]
"""A model, or what finds it among the deployment's variables."""

REWRITE = """\
Rewrite the user's question as one that a search engine finds the answer to: spell out what it means, resolve \
abbreviations, leave out politeness. Answer with the rewritten question only, in the question's language."""

HYPOTHETICAL = """\
Write a short passage, as it might stand in a text that answers the user's question. Where you don't know the answer, \
make one up: it is only used to find the real one. Answer with the passage only, in the question's language."""


def rewrite(chat: ChatSource, instruction: str = REWRITE) -> Transform:
    """Has a chat model put the question in words that are easier to find."""
    return _asking(chat, instruction, "query")


def hypothetical(chat: ChatSource, instruction: str = HYPOTHETICAL) -> Transform:
    """Has a chat model make up an answer: real answers are nearer to it than to the question."""
    return _asking(chat, instruction, "document")


def _asking(source: ChatSource, instruction: str, kind: Kind) -> Transform:
    async def transform(ctx: rf.ActionCtx, text: str) -> Transformed:
        chat = _chat_of(source, ctx)
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


def _chat_of(source: ChatSource, ctx: rf.ActionCtx) -> Chat:
    if hasattr(source, "stream"):
        return cast(Chat, source)
    chat = cast("Callable[[rf.ActionCtx], Chat | None]", source)(ctx)
    if chat is None:
        raise ProviderError(
            "there is no chat model to rewrite the question with: set one, or leave transform out", "settings"
        )
    return chat
