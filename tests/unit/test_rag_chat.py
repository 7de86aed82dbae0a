"""Chat models over the wire: what comes, what it took, and what each fault becomes."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import aclosing

import openai
import pytest

from reflow import Secret
from reflow.errors import ProviderBusy, ProviderError
from reflow.limits import Limits
from reflow.rag.answers.chat import Chat, FunctionChat, Message, Parts, Usage, complete
from reflow.rag.answers.openai_chat import OpenAIChat, SdkChat
from tests.support import arun
from tests.support.model_provider import Fault, ModelProvider, model_provider

QUICK = Limits(
    model_first_pause_seconds=0.01, model_pause_seconds=0.5, model_silent_seconds=0.3, model_request_seconds=1.0
)
ASKED = [Message(role="system", content="Be brief."), Message(role="user", content="one two [1] three\nfour")]

Make = Callable[[ModelProvider], Chat]


def endpoint(provider: ModelProvider) -> Chat:
    return OpenAIChat("test-chat", base_url=provider.url, api_key=provider.key, limits=QUICK)


class Sdk:
    """SdkChat with a client for each call, closed with the event loop of the test."""

    id = "test-chat"

    def __init__(self, provider: ModelProvider, key: str = "") -> None:
        self._url, self._key = provider.url, key or provider.key

    async def stream(self, messages: Sequence[Message]) -> Parts:
        client = openai.AsyncOpenAI(base_url=self._url, api_key=self._key, max_retries=0, timeout=0.3)
        async with client, aclosing(SdkChat(client, self.id).stream(messages)) as stream:
            async for part in stream:
                yield part


@pytest.fixture
def provider() -> Generator[ModelProvider, None, None]:
    with model_provider() as made:
        yield made


@pytest.fixture(params=[endpoint, Sdk])
def chat(request: pytest.FixtureRequest, provider: ModelProvider) -> Chat:
    make: Make = request.param
    return make(provider)


async def parts_of(chat: Chat, asked: Sequence[Message] = ASKED) -> list[str | Usage]:
    async with aclosing(chat.stream(asked)) as stream:
        return [part async for part in stream]


def failing(chat: Chat) -> tuple[ProviderError, list[str]]:
    """How a stream fails, and what it said before."""
    said: list[str] = []

    async def main() -> None:
        async with aclosing(chat.stream(ASKED)) as stream:
            async for part in stream:
                assert isinstance(part, str)
                said.append(part)

    with pytest.raises(ProviderError) as caught:
        arun(main())
    return caught.value, said


def test_an_answer_comes_in_pieces_and_then_its_usage(chat: Chat, provider: ModelProvider) -> None:
    *words, usage = arun(parts_of(chat))
    assert words == ["one ", "two ", "[1] ", "three\n", "four"]
    assert usage == Usage(tokens_in=10, tokens_out=5)
    (call,) = provider.calls
    assert call.authorized
    assert call.body["stream"] is True
    assert call.body["messages"] == [
        {"role": "system", "content": "Be brief."}, {"role": "user", "content": "one two [1] three\nfour"},
    ]  # fmt: skip


def test_bytes_may_be_cut_anywhere(chat: Chat, provider: ModelProvider) -> None:
    provider.next("stream-split")
    assert "".join(part for part in arun(parts_of(chat)) if isinstance(part, str)) == ASKED[1].content


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("stream-cut", "broken"), ("stream-error", "broken"), ("stream-garbage", "garbage"), ("stream-stall", "")],
)
def test_half_a_stream_is_an_error_that_says_so(chat: Chat, provider: ModelProvider, fault: Fault, reason: str) -> None:
    provider.next(fault)
    error, said = failing(chat)
    assert said == ["one ", "two "]
    assert error.retryable
    assert not reason or error.reason == reason
    assert len(provider.calls) == 1


def test_a_stream_without_words_is_garbage(chat: Chat, provider: ModelProvider) -> None:
    provider.next("stream-empty")
    error, _ = failing(chat)
    assert (error.reason, error.retryable, str(error)) == ("garbage", True, "the answer has no words in it")


@pytest.mark.parametrize(
    ("fault", "reason", "retryable"),
    [("quota", "quota", False), ("401", "key", False), ("404", "missing", False), ("400", "refused", False)],
)
def test_what_will_not_pass_is_told_apart(
    chat: Chat, provider: ModelProvider, fault: Fault, reason: str, retryable: bool
) -> None:
    provider.next(fault)
    error, said = failing(chat)
    assert (error.reason, error.retryable, said, len(provider.calls)) == (reason, retryable, [], 1)


def test_a_long_pause_is_raised_and_not_waited_for(chat: Chat, provider: ModelProvider) -> None:
    provider.next("429-long")
    error, _ = failing(chat)
    assert isinstance(error, ProviderBusy)
    assert error.seconds >= 3600


def test_what_may_pass_is_tried_again_before_the_answer_begins(provider: ModelProvider) -> None:
    provider.next("429-ms", "500", "reset")
    assert len(arun(parts_of(endpoint(provider)))) == 6
    assert len(provider.calls) == 4


def test_who_stops_listening_closes_the_stream(chat: Chat, provider: ModelProvider) -> None:
    provider.token_seconds = 0.02
    provider.answer = lambda messages: "word " * 1000

    async def main() -> None:
        async with aclosing(chat.stream(ASKED)) as stream:
            async for _ in stream:
                break

    arun(main())
    while provider.in_flight:
        pass
    assert provider.calls[0].left


def test_an_answer_that_was_cut_says_why(provider: ModelProvider) -> None:
    chat = OpenAIChat("test-chat", base_url=provider.url, api_key=provider.key, options={"max_tokens": 2})
    assert arun(parts_of(chat)) == ["one ", "two ", Usage(tokens_in=10, tokens_out=2, cut="length")]


def test_no_key_is_shown(provider: ModelProvider) -> None:
    wrong = "sk-secret-99887766554433"
    for chat in (
        OpenAIChat("test-chat", base_url=provider.url, api_key=Secret(wrong)),
        Sdk(provider, wrong),
    ):
        error, _ = failing(chat)
        assert error.reason == "key"
        assert wrong not in f"{error} {error!r} {chat!r} {error.__cause__}"


def test_a_missing_key_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    error, _ = failing(OpenAIChat("gpt"))
    assert (error.reason, "OPENAI_API_KEY" in str(error)) == ("key", True)


def test_any_function_can_be_a_model() -> None:
    async def streamed(messages: Sequence[Message]) -> Parts:
        yield "a "
        yield messages[-1].content
        yield Usage(tokens_in=7, tokens_out=3)

    async def whole(messages: Sequence[Message]) -> str:
        return "all at once"

    found = arun(complete(FunctionChat(streamed, id="mine"), ASKED[:1]))
    assert (found.text, found.model, found.tokens_in, found.tokens_out) == ("a Be brief.", "mine", 7, 3)
    found = arun(complete(FunctionChat(whole, id="mine"), ASKED[:1]))
    assert (found.text, found.tokens_in, found.tokens_out) == ("all at once", 7, 3)


def test_a_completion_has_an_end() -> None:
    async def endless(messages: Sequence[Message]) -> Parts:
        while True:
            yield "word "

    assert arun(complete(FunctionChat(endless, id="mine"), ASKED, longest=12)).text == "word word wo"
