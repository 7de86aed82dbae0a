"""What puts texts into words: chat models, whichever they are, and what is asked of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from inspect import isasyncgen
from time import perf_counter
from typing import Literal, Protocol, cast

import reflow as rf

Role = Literal["system", "user", "assistant"]


class Message(rf.Object):
    """One message of a conversation with a model."""

    role: Role
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What a model has counted: tokens of what it was asked, and of what it said.

    `cut` tells why the text ends before it is complete, such as "length".
    """

    tokens_in: int = 0
    tokens_out: int = 0
    cut: str | None = None


Parts = AsyncGenerator[str | Usage, None]
"""Pieces of a text as they come, and the usage, mostly at the end. To close it ends the work at the provider."""


class Chat(Protocol):
    """A model that answers."""

    @property
    def id(self) -> str:
        """The model's name, as the ledger has it."""
        ...

    def stream(self, messages: Sequence[Message]) -> Parts:
        """The answer, piece by piece. One try: raises ProviderError where the provider fails, at once or midway."""
        ...


Chooser = Callable[["rf.QueryCtx | rf.MutationCtx | rf.ActionCtx"], "Chat | None"]
"""Which model it is, by the deployment's variables."""


def chosen(chat: Chat | Chooser | None, ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx) -> Chat | None:
    """The model itself, with its key from the variables where it takes it from there."""
    found = chat(ctx) if callable(chat) else chat
    configured = getattr(found, "configured", None)
    return found if configured is None else configured(ctx.env)


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """An answer as a whole, and what it took."""

    text: str
    model: str
    tokens_in: int
    tokens_out: int
    ms: float


async def complete(chat: Chat, messages: Sequence[Message], *, longest: int = 20_000) -> Completion:
    """What a model answers, cut after `longest` characters. Where it counts no tokens, they are estimated."""
    started = perf_counter()
    parts: list[str] = []
    usage = Usage()
    async with aclosing(chat.stream(messages)) as stream:
        async for part in stream:
            if isinstance(part, Usage):
                usage = part
                continue
            parts.append(part)
            longest -= len(part)
            if longest < 0:
                parts[-1] = part[:longest]
                break
    text = "".join(parts)
    return Completion(
        text=text,
        model=chat.id,
        tokens_in=usage.tokens_in or tokens_of_messages(messages),
        tokens_out=usage.tokens_out or tokens_of(text),
        ms=(perf_counter() - started) * 1000,
    )


Answering = Callable[[Sequence[Message]], "Parts | Awaitable[str]"]


class FunctionChat:
    """Any function as a model: an async generator of texts (and a `Usage`), or a coroutine that returns one text."""

    def __init__(self, function: Answering, *, id: str) -> None:
        self.id = id
        self._function = function

    async def stream(self, messages: Sequence[Message]) -> Parts:
        """What the function gives."""
        given = self._function(messages)
        if not isasyncgen(given):
            yield await cast("Awaitable[str]", given)
            return
        async with aclosing(cast("Parts", given)) as parts:
            async for part in parts:
                yield part


def tokens_of(text: str) -> int:
    """About how many tokens a text is for most models, rather more than fewer.

    Four letters of ASCII make a token, and each other letter counts as one: models count differently, and only what
    they report is billed.
    """
    plain = sum(map(str.isascii, text)) if not text.isascii() else len(text)
    return -(-plain // 4) + len(text) - plain


def tokens_of_messages(messages: Sequence[Message]) -> int:
    """About how many tokens a conversation is, with what marks each message."""
    return sum(tokens_of(message.content) + 4 for message in messages)
