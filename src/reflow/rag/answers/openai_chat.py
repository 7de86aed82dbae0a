"""Chat models behind OpenAI's wire format: OpenAI, Ollama, vLLM, LM Studio and many others; or through its SDK."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping, Sequence
from copy import copy
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import msgspec

import reflow as rf
from reflow.errors import MissingExtra, ProviderBusy, ProviderError, ProviderReason
from reflow.limits import DEFAULT, Limits
from reflow.rag.answers.chat import Chat, Message, Parts, Usage
from reflow.rag.provider.endpoint import Endpoint

if TYPE_CHECKING:
    from openai import APIError, AsyncOpenAI

OPENAI_URL = "https://api.openai.com/v1"
_END = "[DONE]"


class OpenAIChat:
    """A model behind POST `base_url`/chat/completions.

    `api_key` or the variable OPENAI_API_KEY (`variable`) holds the key; other addresses than OpenAI's need none unless
    one is named. `options` go into the request as they are: `{"temperature": 0.2, "max_completion_tokens": 800}`.
    `concurrency` bounds the answers in the making at once, for all users of the address and key in the process.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str = OPENAI_URL,
        api_key: rf.Secret | str | None = None,
        variable: str | None = None,
        options: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        """Raises InvalidValue for an address that can't be one."""
        if variable is None and base_url.rstrip("/") == OPENAI_URL:
            variable = "OPENAI_API_KEY"
        self.id = model
        self._options = dict(options or {})
        self._endpoint = Endpoint(
            base_url.rstrip("/") + "/chat/completions",
            api_key,
            provider=urlsplit(base_url).netloc or base_url,
            variable=variable,
            concurrency=concurrency,
            limits=limits,
        )

    def __repr__(self) -> str:
        return f"OpenAIChat({self.id!r}, {self._endpoint!r})"

    @property
    def needs(self) -> tuple[str, ...]:
        """The variable that has to hold the key, where none was given."""
        return self._endpoint.needs

    def configured(self, variables: Mapping[str, str]) -> OpenAIChat:
        """This model with the key from variables, such as `ctx.env`."""
        other = copy(self)
        other._endpoint = self._endpoint.configured(variables)
        return other

    async def stream(self, messages: Sequence[Message]) -> Parts:
        """The answer, piece by piece. Asks again until one begins; raises ProviderError, ProviderBusy."""
        body = {
            **self._options,
            "model": self.id,
            "messages": [{"role": message.role, "content": message.content} for message in messages],
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        async with self._endpoint.stream(body) as events:
            async for part in read_events(events):
                yield part


async def read_events(events: AsyncIterator[str]) -> Parts:
    """The texts of a stream's events, then the usage. Raises ProviderError where it is garbage, breaks off or is
    empty."""
    said = False
    finish: str | None = None
    usage = _Usage()
    async for data in events:
        if data.strip() == _END:
            finish = finish or "stop"
            break
        event = _read(data)
        usage = event.usage or usage
        for choice in event.choices[:1]:
            finish = choice.finish_reason or finish
            if choice.delta is not None and choice.delta.content:
                said = True
                yield choice.delta.content
    if not said:
        raise ProviderError("the answer has no words in it", "garbage", retryable=True)
    if finish is None:
        raise ProviderError("the answer broke off in the middle", "broken", retryable=True)
    yield usage.counted(finish)


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def counted(self, finish: str) -> Usage:
        cut = None if finish in ("stop", "end_turn", "eos") else finish
        return Usage(tokens_in=max(0, self.prompt_tokens), tokens_out=max(0, self.completion_tokens), cut=cut)


class _Fault(msgspec.Struct):
    code: str | int | None = None
    type: str | None = None


class _Event(msgspec.Struct):
    choices: list[_Choice] = msgspec.field(default_factory=list[_Choice])
    usage: _Usage | None = None
    error: _Fault | str | None = None


def _read(data: str) -> _Event:
    try:
        event = msgspec.json.decode(data, type=_Event)
    except (msgspec.DecodeError, RecursionError):
        raise ProviderError(
            "the answer broke off: something came that can't be read", "garbage", retryable=True
        ) from None
    if event.error is not None:
        code = "" if isinstance(event.error, str) else str(event.error.code or event.error.type or "")
        # Only a plain code: what providers say in words may quote the key.
        named = f" ({code})" if re.fullmatch(r"\w{1,60}", code) else ""
        raise ProviderError(f"the answer broke off: the provider reports an error{named}", "broken", retryable=True)
    return event


# OpenAI's own SDK


class SdkChat:
    """A model through OpenAI's official SDK: `SdkChat(openai.AsyncOpenAI(...), "model")`, or another client of the same
    shape, such as `AsyncAzureOpenAI`. The client is made with `max_retries=0` or tries again by itself."""

    def __init__(self, client: AsyncOpenAI, model: str, *, options: Mapping[str, Any] | None = None) -> None:
        """Raises MissingExtra."""
        try:
            import openai  # noqa: F401  # pyright: ignore[reportUnusedImport]
        except ImportError:
            raise MissingExtra("SdkChat needs OpenAI's SDK: pip install 'reflow[openai]'") from None
        self.id = model
        self._client = client
        self._options = dict(options or {})

    async def stream(self, messages: Sequence[Message]) -> Parts:
        """The answer, piece by piece. Raises ProviderError."""
        import openai

        sent = [{"role": message.role, "content": message.content} for message in messages]
        begun = False
        try:
            stream = await self._client.chat.completions.create(
                model=self.id,
                messages=cast(Any, sent),
                stream=True,
                stream_options={"include_usage": True},
                **self._options,
            )
            begun = True
            async with stream:
                async for part in read_events(chunk.model_dump_json() async for chunk in stream):
                    yield part
        except openai.APIError as error:
            raise _translated(error, begun) from None
        except ValueError:  # the SDK lets it through when an event is no JSON
            raise ProviderError(
                "the answer broke off: something came that can't be read", "garbage", retryable=True
            ) from None


_REASONS: Mapping[int, tuple[ProviderReason, bool]] = {
    400: ("refused", False),
    401: ("key", False),
    403: ("key", False),
    404: ("missing", False),
    408: ("busy", True),
    409: ("busy", True),
    413: ("refused", False),
    422: ("refused", False),
    429: ("busy", True),
}


def _translated(error: APIError, begun: bool) -> ProviderError:
    """What an error of the SDK means, in an answer that had `begun` or not. Its text may quote the key, so it is not
    repeated."""
    import openai

    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        reason, retryable = _REASONS.get(status, ("busy" if status >= 500 else "settings", status >= 500))
        if error.code == "insufficient_quota":
            reason, retryable = "quota", False
        asked = _seconds(error.response.headers) if retryable else None
        text = f"the model's provider answered with HTTP {status} ({type(error).__name__})"
        if asked is not None:
            return ProviderBusy(f"{text} and asks to wait {asked:g} s", asked, status=status)
        return ProviderError(text, reason, retryable=retryable, input_refused=reason == "refused", status=status)
    reason = "broken" if begun else "unreachable"
    return ProviderError(f"the model's provider broke off ({type(error).__name__})", reason, retryable=True)


def _seconds(headers: Mapping[str, str]) -> float | None:
    from time import time

    from reflow.rag.provider.retry_after import retry_after

    return retry_after({name.lower(): text for name, text in headers.items()}, time())


# From settings


class ChatSettings(rf.Settings, prefix="CHAT_"):
    """The chat model of a deployment: CHAT_MODEL, CHAT_URL (OpenAI's address by default) and CHAT_KEY."""

    model: str | None = None
    url: str | None = None
    key: rf.Secret | None = None


def configured_chat(ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx) -> Chat | None:
    """The chat model that the deployment's variables name, None where CHAT_MODEL is not set: `Corpus(chat=...)`.

    In a query it is live: the answer's model is there as soon as the variable is.
    """
    settings = ctx.settings(ChatSettings)
    if not settings.model:
        return None
    if settings.url is None:
        return OpenAIChat(settings.model, api_key=settings.key).configured(ctx.env)
    return OpenAIChat(settings.model, base_url=settings.url, api_key=settings.key)
