"""Requests to a real server that fails in every way a provider does."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import traceback
from collections.abc import Generator
from random import Random
from typing import Any

import pytest

import reflow as rf
from reflow.errors import InvalidValue, ProviderBusy, ProviderError, ProviderReason
from reflow.limits import Limits
from reflow.rag.provider import Endpoint, Garbage, connections
from tests.support import arun
from tests.support.model_faults import REFUSALS
from tests.support.model_provider import Fault, ModelProvider, Storm, model_provider

QUICK = Limits(model_first_pause_seconds=0.002)
BODY = {"model": "test", "input": ["one", "two"]}
CHAT = {"model": "test", "stream": True, "messages": [{"role": "user", "content": "eins zwei dräi vier"}]}


@pytest.fixture
def provider() -> Generator[ModelProvider, None, None]:
    with model_provider(wait_seconds=0.005) as found:
        yield found


def endpoint(provider: ModelProvider, path: str = "embeddings", **options: Any) -> Endpoint:
    options = {"provider": "Test", "limits": QUICK, "rng": Random(1), **options}
    return Endpoint(f"{provider.url}/{path}", rf.Secret(provider.key), **options)


def read(body: bytes) -> int:
    """How many vectors there are."""
    try:
        return len(json.loads(body)["data"])
    except (ValueError, KeyError, TypeError) as error:
        raise Garbage(f"nonsense ({type(error).__name__})") from None


# --- Tries ---------------------------------------------------------------------------------------------------------


PASSING: tuple[Fault, ...] = (
    "429-ms", "429-float", "429-bare", "429-garbage", "429-past", "408", "409", "500", "502", "503", "reset", "cut",
    "reset-after", "not-json", "wrong-shape", "array", "null",
)  # fmt: skip


@pytest.mark.parametrize("fault", PASSING)
def test_a_passing_fault_is_tried_again(provider: ModelProvider, fault: Fault) -> None:
    provider.next(fault)
    answered = arun(endpoint(provider).post(BODY, read))
    assert (answered.value, answered.retries) == (2, 1)
    assert [call.fault for call in provider.calls] == [fault, None]
    assert all(call.authorized for call in provider.calls)


@pytest.mark.parametrize("fault", ["429-seconds", "429-date", "503-seconds"])
def test_a_pause_in_whole_seconds_is_kept(provider: ModelProvider, fault: Fault) -> None:
    provider.wait_seconds = 1
    provider.next(fault)
    answered = arun(endpoint(provider).post(BODY, read))
    assert answered.retries == 1
    first, second = provider.calls
    assert first.ended is not None
    # A date is whole: of a second it leaves between nothing and all.
    assert fault == "429-date" or second.started - first.ended >= 1


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("400", "refused"), ("401", "key"), ("403", "key"), ("404", "missing"), ("413", "refused"), ("422", "refused"),
        ("quota", "quota"), ("429-final", "busy"), ("500-final", "busy"), ("redirect", "settings"),
    ],
)  # fmt: skip
def test_a_lasting_fault_is_not_tried_again(provider: ModelProvider, fault: Fault, reason: ProviderReason) -> None:
    provider.next(fault)
    with pytest.raises(ProviderError, match=r"^Test ") as caught:
        arun(endpoint(provider).post(BODY, read))
    assert (caught.value.reason, caught.value.retryable) == (reason, False)
    assert caught.value.input_refused is (reason == "refused")
    assert len(provider.calls) == 1


def test_every_refusal_is_covered_here() -> None:
    others = {"429-seconds", "429-date", "503-seconds", "429-long", "quota", "429-final", "500-final", "redirect"}
    assert {*PASSING, *others, "400", "401", "403", "404", "413", "422"} >= {*REFUSALS}


@pytest.mark.parametrize(
    ("fault", "reason"),
    [("500", "busy"), ("429-bare", "busy"), ("reset", "broken"), ("cut", "broken"), ("not-json", "garbage")],
)
def test_tries_end(provider: ModelProvider, fault: Fault, reason: ProviderReason) -> None:
    provider.next(fault, fault, fault, fault, fault, fault)
    with pytest.raises(ProviderError, match="tried 5 times") as caught:
        arun(endpoint(provider).post(BODY, read))
    assert (caught.value.reason, caught.value.retryable) == (reason, True)
    assert not isinstance(caught.value, ProviderBusy)
    assert len(provider.calls) == QUICK.model_attempts


def test_a_long_pause_is_not_waited_for(provider: ModelProvider) -> None:
    async def main() -> None:
        one = endpoint(provider)
        provider.next("429-long")
        with pytest.raises(ProviderBusy, match="asks for a pause") as caught:
            await one.post(BODY, read)
        assert 3600 <= caught.value.seconds <= 3600 * 1.25
        assert isinstance(caught.value, rf.RetryAfter)
        # It holds for all who have this key, whichever address they use, and for nobody else.
        with pytest.raises(ProviderBusy) as other:
            await endpoint(provider, "chat/completions").post(CHAT, read)
        assert 3500 < other.value.seconds <= 3600 * 1.25
        assert len(provider.calls) == 1
        with pytest.raises(ProviderError) as stranger:
            await one.with_key("another").post(BODY, read)
        assert stranger.value.reason == "key"

    arun(main())


def test_a_pause_beyond_belief_is_cut(provider: ModelProvider) -> None:
    provider.next("429-long")
    believing = endpoint(provider, limits=Limits(model_retry_after_seconds=60))
    with pytest.raises(ProviderBusy) as caught:
        arun(believing.post(BODY, read))
    assert 60 <= caught.value.seconds <= 75


def test_pauses_together_are_bounded(provider: ModelProvider) -> None:
    provider.wait_seconds = 0.05
    provider.next("429-ms", "429-ms", "429-ms")
    with pytest.raises(ProviderBusy, match="tried 2 times") as caught:
        arun(endpoint(provider, limits=Limits(model_pause_seconds=0.08)).post(BODY, read))
    assert 0.05 <= caught.value.seconds <= 0.0625


def test_a_request_without_an_answer_ends(provider: ModelProvider) -> None:
    provider.next("hang", "hang", "hang")
    limits = Limits(model_request_seconds=0.05, model_attempts=2, model_first_pause_seconds=0.001)
    with pytest.raises(ProviderError, match="did not answer in time; tried 2 times") as caught:
        arun(endpoint(provider, limits=limits).post(BODY, read))
    assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)


def test_a_reply_without_end_is_not_kept(provider: ModelProvider) -> None:
    provider.next("huge")
    limits = Limits(model_reply_bytes=1 << 20, model_attempts=1)
    with pytest.raises(ProviderError, match="model_reply_bytes") as caught:
        arun(endpoint(provider, limits=limits).post(BODY, read))
    assert caught.value.reason == "garbage"
    assert provider.calls[0].left or provider.calls[0].status == 200


def test_nobody_at_the_address() -> None:
    with model_provider() as gone:
        pass
    limits = Limits(model_attempts=2, model_first_pause_seconds=0.001)
    with pytest.raises(ProviderError, match="can't be reached at 127") as caught:
        arun(endpoint(gone, limits=limits).post(BODY, read))
    assert (caught.value.reason, caught.value.retryable) == ("unreachable", True)


def test_a_text_that_can_not_be_sent(provider: ModelProvider) -> None:
    with pytest.raises(ProviderError, match="surrogate") as caught:
        arun(endpoint(provider).post({"input": ["\ud800"]}, read))
    assert caught.value.input_refused
    assert not provider.calls


# --- Turns ---------------------------------------------------------------------------------------------------------


def test_never_more_requests_than_allowed_through_a_storm(provider: ModelProvider) -> None:
    provider.storm = Storm(seed=7, rate=0.4, faults=["429-ms", "500", "reset", "cut", "slow", "not-json", "429-past"])
    provider.slow_seconds = 0.01

    async def main() -> None:
        one = endpoint(provider, concurrency=3, limits=Limits(model_first_pause_seconds=0.001, model_attempts=20))
        two = endpoint(provider, concurrency=5, limits=Limits(model_first_pause_seconds=0.001, model_attempts=20))
        bodies = [{"model": "test", "input": [f"text {number}"]} for number in range(60)]
        found = await asyncio.gather(*(each.post(body, read) for body in bodies for each in (one, two)))
        assert [answered.value for answered in found] == [1] * 120
        assert one.stats == two.stats, "users of one address and key share their turns"
        assert one.stats.most_in_flight == 3
        assert one.stats.requests == len(provider.calls) == 120 + sum(answered.retries for answered in found)
        assert (one.stats.in_flight, one.stats.waiting) == (0, 0)

    arun(main())
    assert provider.most_in_flight <= 3


def test_cancelled_requests_give_back_their_turns_and_connections(provider: ModelProvider) -> None:
    provider.storm = Storm(seed=3, rate=0.5, faults=["429-ms", "reset", "cut", "slow", "hang"])
    provider.slow_seconds = provider.seconds = 0.002
    rng = Random(5)

    async def main() -> None:
        one = endpoint(provider, concurrency=4)
        for _ in range(12):
            bodies = [{"model": "test", "input": [f"text {rng.random()}"]} for _ in range(12)]
            tasks = [asyncio.create_task(one.post(body, read)) for body in bodies]
            await asyncio.sleep(rng.random() / 20)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            assert (one.stats.in_flight, one.stats.waiting) == (0, 0)
        assert one.stats.most_in_flight <= 4
        provider.storm = None
        found = await asyncio.gather(*(one.post(BODY, read) for _ in range(20)))
        assert [answered.value for answered in found] == [2] * 20

    arun(main())


def test_urgent_requests_go_first(provider: ModelProvider) -> None:
    provider.seconds = 0.02

    async def main() -> None:
        one = endpoint(provider, concurrency=1)
        await one.post({"model": "test", "input": ["warm"]}, read)
        usual = [asyncio.create_task(one.post({"model": "test", "input": [f"d{n}"]}, read)) for n in range(3)]
        await asyncio.sleep(0)
        urgent = asyncio.create_task(one.post({"model": "test", "input": ["q"]}, read, urgent=True))
        await asyncio.gather(*usual, urgent)

    arun(main())
    assert [call.texts[0] for call in provider.calls] == ["warm", "d0", "q", "d1", "d2"]


def test_one_callers_pause_holds_for_all(provider: ModelProvider) -> None:
    provider.wait_seconds = 0.3

    async def main() -> None:
        one = endpoint(provider, concurrency=2)
        provider.next("429-ms")
        first = asyncio.create_task(one.post(BODY, read))
        while one.stats.throttled == 0:
            await asyncio.sleep(0.001)
        await asyncio.gather(first, *(one.post(BODY, read) for _ in range(5)))

    arun(main())
    refused, *others = provider.calls
    assert refused.ended is not None
    assert min(call.started for call in others) - refused.ended >= 0.29


# --- Keys ----------------------------------------------------------------------------------------------------------


def told(error: BaseException) -> str:
    """What a report of an error shows that goes as far as showing the variables of our functions."""
    report = traceback.TracebackException.from_exception(error, capture_locals=True)
    ours = [frame.locals for frame in report.stack if "/reflow/" in frame.filename]
    assert ours
    return f"{error} {error!r} {error.__cause__} {ours}"


def test_nothing_shows_the_key(
    provider: ModelProvider, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    errors: list[ProviderError] = []
    # No pause is worth waiting for here.
    one = endpoint(provider, limits=Limits(model_first_pause_seconds=1e-6, model_pause_seconds=1e-3))
    wrong = one.with_key(rf.Secret("sk-other-9876543210"))

    async def main() -> None:
        for fault in (*REFUSALS, "reset", "cut", "not-json", None):
            for each in (one, wrong):
                provider.next(fault)
                try:
                    await each.post(BODY, read)
                except ProviderError as error:
                    errors.append(error)
                assert each._limiter is not None
                each._limiter.pauses._until = 0

    arun(main())
    printed = capsys.readouterr()
    shown = [repr(one), str(one), repr(vars(one)), repr(wrong), caplog.text, printed.out, printed.err]
    text = "\n".join([*shown, *map(told, errors)])
    assert "does not accept the key" in text, "the wrong key was refused, so there was something to quote"
    for key in (provider.key, "sk-other-9876543210"):
        assert key not in text
        assert key[:10] not in text


def test_a_key_comes_from_variables(provider: ModelProvider, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        bare = Endpoint(f"{provider.url}/embeddings", provider="Test", variable="TEST_KEY", limits=QUICK)
        assert bare.needs == ("TEST_KEY",)
        with pytest.raises(ProviderError, match="set TEST_KEY") as caught:
            await bare.post(BODY, read)
        assert (caught.value.reason, caught.value.retryable) == ("key", False)
        assert not provider.calls
        assert bare.configured({"OTHER": "x"}) is bare
        assert bare.configured({"TEST_KEY": " "}) is bare
        ready = bare.configured({"TEST_KEY": f" {provider.key}\n"})
        assert ready.needs == ()
        assert ready.configured({"TEST_KEY": "another"}) is ready
        assert (await ready.post(BODY, read)).value == 2
        assert bare.configured({"TEST_KEY": provider.key}) is ready, "its turns and pauses go on"
        assert bare.stats == ready.stats
        assert bare.stats.requests == 1
        assert bare.configured({"TEST_KEY": "another"}) is not ready
        monkeypatch.setenv("TEST_KEY", provider.key)
        assert (await bare.post(BODY, read)).value == 2
        # The process's own key does not stand in the way of one that is given later.
        with pytest.raises(ProviderError, match="does not accept"):
            await bare.configured({"TEST_KEY": "another"}).post(BODY, read)

    arun(main())


def test_a_key_is_sent_in_the_header_that_is_asked_for(provider: ModelProvider) -> None:
    one = endpoint(provider, key_header="api-key", headers={"x-team": "search"})
    with pytest.raises(ProviderError, match="does not accept the key"):
        arun(one.post(BODY, read))
    headers = provider.calls[0].headers
    assert headers["api-key"] == provider.key
    assert headers["x-team"] == "search"
    assert "authorization" not in headers


def test_without_a_key_none_is_sent(provider: ModelProvider) -> None:
    with pytest.raises(ProviderError):
        arun(Endpoint(f"{provider.url}/embeddings", provider="Test").post(BODY, read))
    assert "authorization" not in provider.calls[0].headers


@pytest.mark.parametrize("key", ["sk-with\nline", "sk with blank", "sk-ümlaut", "sk-\x00"])
def test_a_key_that_fits_in_no_header(key: str) -> None:
    with pytest.raises(ProviderError, match="copy it again") as caught:
        Endpoint("https://host.example/v1", rf.Secret(key), provider="Test")
    assert key not in told(caught.value)
    assert repr(key)[1:-1] not in told(caught.value)


@pytest.mark.parametrize(
    "url",
    [
        "", "host/v1", "ftp://host/v1", "https://", "https://user:pass@host/v1", "https://host/v1?key=1",
        "https://h/v1#x", "https://[::1", "https://host:99999/v1", "https://ho st/v1", "sk-abcdefghijkl",
    ],
)  # fmt: skip
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(InvalidValue, match="address of a provider") as caught:
        Endpoint(url, provider="Test")
    if len(url) > 8:
        assert url not in str(caught.value), "somebody may have put the key there"


def test_concurrency_is_at_least_one() -> None:
    with pytest.raises(InvalidValue, match="concurrency"):
        Endpoint("https://host.example/v1", provider="Test", concurrency=0)


# --- Streams -------------------------------------------------------------------------------------------------------


async def events_of(one: Endpoint) -> list[Any]:
    found: list[Any] = []
    async with one.stream(CHAT) as events:
        async for data in events:
            found.append(data if data == "[DONE]" else json.loads(data))
    return found


def words_of(events: list[Any]) -> str:
    deltas = [event["choices"][0]["delta"] for event in events if event != "[DONE]" and event["choices"]]
    return "".join(delta.get("content", "") for delta in deltas)


@pytest.mark.parametrize("fault", [None, "stream-split", "429-ms", "500", "reset"])
def test_a_stream_arrives_whole(provider: ModelProvider, fault: Fault | None) -> None:
    provider.next(fault)
    events = arun(events_of(endpoint(provider, "chat/completions")))
    assert words_of(events) == "eins zwei dräi vier"
    assert events[-1] == "[DONE]"
    assert len(provider.calls) == (1 if fault in (None, "stream-split") else 2)


def test_a_stream_that_breaks_says_so_and_is_not_begun_again(provider: ModelProvider) -> None:
    provider.next("stream-cut")
    found: list[str] = []

    async def listen(one: Endpoint) -> None:
        async with one.stream(CHAT) as events:
            async for data in events:
                found.append(data)

    async def main() -> None:
        one = endpoint(provider, "chat/completions")
        with pytest.raises(ProviderError, match="broke off") as caught:
            await listen(one)
        assert (caught.value.reason, caught.value.retryable) == ("broken", True)
        assert one.stats.in_flight == 0

    arun(main())
    assert len(found) == 2
    assert len(provider.calls) == 1


def test_a_stream_that_falls_silent_ends(provider: ModelProvider) -> None:
    provider.next("stream-stall")
    with pytest.raises(ProviderError, match="in time") as caught:
        arun(events_of(endpoint(provider, "chat/completions", limits=Limits(model_silent_seconds=0.05))))
    assert caught.value.reason == "unreachable"


def test_a_stream_without_end_ends(provider: ModelProvider) -> None:
    provider.answer = lambda _: "word " * 10_000
    provider.token_seconds = 0.001
    with pytest.raises(ProviderError, match="in time"):
        arun(events_of(endpoint(provider, "chat/completions", limits=Limits(model_stream_seconds=0.1))))


def test_a_stream_is_bounded_in_bytes(provider: ModelProvider) -> None:
    provider.answer = lambda _: "word " * 10_000
    with pytest.raises(ProviderError, match="model_reply_bytes"):
        arun(events_of(endpoint(provider, "chat/completions", limits=Limits(model_reply_bytes=50_000))))
    provider.answer = lambda _: "w" * 300_000
    with pytest.raises(ProviderError, match="model_event_bytes"):
        arun(events_of(endpoint(provider, "chat/completions", limits=Limits(model_event_bytes=50_000))))


def test_leaving_a_stream_stops_the_provider(provider: ModelProvider) -> None:
    provider.answer = lambda _: "word " * 10_000
    provider.token_seconds = 0.001

    async def main() -> None:
        one = endpoint(provider, "chat/completions", concurrency=1)
        async with one.stream(CHAT) as events:
            async for _ in events:
                break
            assert one.stats.in_flight == 1
        assert one.stats.in_flight == 0
        task = asyncio.create_task(events_of(one))
        while len(provider.calls) < 2:
            await asyncio.sleep(0.001)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert one.stats.in_flight == 0
        while not all(call.left for call in provider.calls):
            await asyncio.sleep(0.001)

    arun(main())


def test_an_error_of_the_caller_stays_its_own(provider: ModelProvider) -> None:
    async def main() -> None:
        one = endpoint(provider, "chat/completions")
        with pytest.raises(TimeoutError, match="mine"):
            async with one.stream(CHAT):
                raise TimeoutError("mine")
        assert one.stats.in_flight == 0

    arun(main())


# --- The client ----------------------------------------------------------------------------------------------------


def test_connections_are_kept_and_end_with_the_loop(provider: ModelProvider) -> None:
    async def main() -> None:
        one = endpoint(provider)
        for _ in range(3):
            await one.post(BODY, read)
        assert await connections.client(QUICK) is await connections.client(QUICK)
        assert asyncio.get_running_loop() in connections._HELD

    before = len(connections._HELD)
    arun(main())
    arun(main())
    gc.collect()  # a connection that was left open would warn, and warnings are errors
    assert len(connections._HELD) == before
    assert len(provider.calls) == 6
