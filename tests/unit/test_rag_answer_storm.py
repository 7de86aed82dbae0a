"""Answers through a provider on the network that fails in every way: each of them comes to a clear end."""

from __future__ import annotations

import asyncio

import pytest

import reflow as rf
from reflow.rag.answers.openai_chat import OpenAIChat, configured_chat
from tests.support import arun
from tests.support.answering import QUICK, TREE_QUESTION, asking
from tests.support.model_faults import REFUSALS, Fault, Storm
from tests.support.model_provider import ModelProvider, model_provider

SAID = "By copytree [1], links included [1, 2]. Nothing else is known of it."
STREAM_FAULTS: tuple[Fault, ...] = ("stream-cut", "stream-error", "stream-garbage", "stream-stall", "stream-empty")


def chat(provider: ModelProvider, concurrency: int | None = None) -> OpenAIChat:
    return OpenAIChat("test-chat", base_url=provider.url, api_key=provider.key, limits=QUICK, concurrency=concurrency)


def test_in_a_storm_every_answer_ends_whole_or_with_its_reason() -> None:
    faults: tuple[Fault, ...] = (*REFUSALS, *STREAM_FAULTS, "stream-split", "reset", "reset-after", "cut", "hang")
    limits = rf.Limits(
        answer_write_seconds=0.001, answer_pause_seconds=0.05, answer_patience_seconds=5.0,
        model_first_pause_seconds=0.01, model_pause_seconds=0.2, model_silent_seconds=0.3, model_request_seconds=0.5,
    )  # fmt: skip

    async def main() -> None:
        with model_provider(storm=Storm(seed=7, rate=0.5, faults=faults)) as provider:
            provider.answer = lambda messages: SAID
            model = OpenAIChat("test-chat", base_url=provider.url, api_key=provider.key, limits=limits, concurrency=4)
            async with asking(model, limits=limits) as app:
                ids = [await app.ask(f"How is tree {n} copied?") for n in range(30)]
                views = [await app.ended(id) for id in ids]
                for id, view in zip(ids, views, strict=True):
                    text = await app.text(id)
                    if view.state == "done":
                        assert (text, view.error, view.cited) == (SAID, None, [1, 2])
                    else:
                        assert view.error
                        assert SAID.startswith(text)
                        assert provider.key not in view.error
                await app.backend.settled()
                assert {view.state for view in views} == {"done", "failed"}
                assert provider.most_in_flight <= 4

    arun(main())


@pytest.mark.parametrize("fault", STREAM_FAULTS[:4])
def test_half_a_stream_is_kept_and_told(fault: Fault) -> None:
    async def main() -> None:
        with model_provider() as provider:
            provider.answer = lambda messages: SAID
            async with asking(chat(provider)) as app:
                provider.next(fault)
                id = await app.ask()
                view = await app.ended(id)
                assert view.state == "failed"
                assert (view.error or "").endswith(". What came before is kept: try again.")
                assert await app.text(id) == "By copytree [1], links included [1, "
                assert view.cited == [1]
                await app.backend.mutation(app.corpus.answers.retry, id)
                view = await app.ended(id)
                assert (view.state, view.error, await app.text(id)) == ("done", None, SAID)

    arun(main())


def test_too_many_requests_for_an_hour_is_no_endless_wait() -> None:
    async def main() -> None:
        with model_provider() as provider:
            async with asking(chat(provider)) as app:
                provider.next("429-long")
                view = await app.ended(await app.ask())
                assert view.state == "failed"
                assert "429" in (view.error or "")
                assert "try again later" in (view.error or "")

    arun(main())


def test_a_stop_closes_the_request_to_the_provider() -> None:
    async def main() -> None:
        with model_provider(token_seconds=0.01) as provider:
            provider.answer = lambda messages: "word " * 10_000
            async with asking(chat(provider)) as app:
                id = await app.ask()
                await app.says(id, "word ")
                await app.backend.mutation(app.corpus.answers.stop, id)
                await app.backend.settled()
                while provider.in_flight:
                    await asyncio.sleep(0.01)
                assert provider.calls[0].left

    arun(main())


def test_a_stop_while_the_model_is_silent() -> None:
    async def main() -> None:
        limits = rf.Limits(answer_look_seconds=0.02)
        with model_provider() as provider:
            provider.next("stream-stall")
            async with asking(
                OpenAIChat("test-chat", base_url=provider.url, api_key=provider.key), limits=limits
            ) as app:
                id = await app.ask()
                await app.until(id, "writing")
                await app.backend.mutation(app.corpus.answers.stop, id)
                await app.backend.settled()
                assert (await app.get(id)).state == "stopped"

    arun(main())


def test_a_wrong_key_is_told_without_the_key() -> None:
    async def main() -> None:
        with model_provider() as provider:
            wrong = OpenAIChat("test-chat", base_url=provider.url, api_key="sk-wrong-0123456789")
            async with asking(wrong) as app:
                view = await app.ended(await app.ask())
                assert view.state == "failed"
                assert "does not accept the key" in (view.error or "")
                assert "0123456789" not in (view.error or "")

    arun(main())


def test_the_model_can_be_set_by_variables() -> None:
    async def main() -> None:
        with model_provider() as provider:
            provider.answer = lambda messages: SAID
            variables = {"CHAT_MODEL": "test-chat", "CHAT_URL": provider.url, "CHAT_KEY": provider.key}
            async with asking(configured_chat, environment=variables) as app:
                id = await app.ask()
                view = await app.ended(id)
                assert (view.kind, view.model, await app.text(id)) == ("chat", "test-chat", SAID)
                assert provider.calls[0].authorized
                assert TREE_QUESTION in provider.calls[0].texts[-1]
            async with asking(configured_chat) as app:
                assert (await app.ended(await app.ask())).kind == "extractive"

    arun(main())
