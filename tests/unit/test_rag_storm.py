"""Sources through a provider that speaks OpenAI's wire format and misbehaves in every way it can."""

from __future__ import annotations

import asyncio
import random

import numpy as np
import pytest

from reflow.rag.corpus import Corpus
from reflow.rag.embedders.openai import OpenAICompatible
from reflow.rag.ingestion.jobs import Pace
from tests.support import arun
from tests.support.model_provider import ModelProvider, Storm, model_provider
from tests.support.rag_stored import Stored

CONCURRENCY = 3
SOURCES = 40


def corpus_for(provider: ModelProvider) -> Corpus:
    embedder = OpenAICompatible(
        "test-embed", base_url=provider.url, api_key=provider.key, dims=provider.dims, max_batch=8,
        concurrency=CONCURRENCY,
    )  # fmt: skip
    return Corpus(
        "docs",
        embedder=embedder,
        splitter=lambda text: text.split("\n\n"),
        pace=Pace(first_pause=0.05, longest_pause=0.5, patience=60),
    )


def text_of(number: int) -> str:
    """Some paragraphs; a few of them are in all texts, and some texts have one that the provider refuses."""
    parts = [f"text {number} says {part}" for part in range(5)]
    parts.append("what all of them say")
    if number % 10 == 3:
        parts.insert(2, f"poison of {number}")
    return "\n\n".join(parts)


@pytest.mark.timeout(180)
def test_every_source_ends_saved_or_failed_with_the_reason() -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")

    async def main(provider: ModelProvider) -> None:
        corpus = corpus_for(provider)
        stored = Stored(corpus)
        async with stored.app.in_memory() as backend:
            for number in range(SOURCES):
                await backend.mutation(corpus.sources.put, key=f"key {number:02}", text=text_of(number))
            async with asyncio.timeout(150):
                while (await backend.query(corpus.jobs.status)).state != "idle":
                    await asyncio.sleep(0.05)
            sources, chunks = await stored.all(backend)
        for number, source in enumerate(sources):
            if number % 10 == 3:
                assert source.state == "failed"
                assert source.error is not None
                assert source.error.startswith("chunk 3: ")
            else:
                assert (source.state, source.error) == ("ready", None)
        assert len(chunks) == 6 * SOURCES + 4
        for chunk in chunks:
            if "poison" in chunk.text:
                assert chunk.vector is None
            else:
                assert chunk.vector is not None
                assert np.allclose(np.frombuffer(chunk.vector, "<f4"), provider.vector(chunk.text), atol=1e-6)
        assert provider.most_in_flight <= CONCURRENCY
        twice = {text: count for text, count in provider.delivered.items() if count > 1}
        assert not twice, "embedded again although the vector had arrived"
        faults = [call.fault for call in provider.calls if call.fault is not None]
        print(f"{len(provider.calls)} requests, {len(faults)} of them with a fault, {len(set(faults))} sorts")
        assert len(faults) > 10

    with model_provider(storm=Storm(seed=seed, rate=0.35), wait_seconds=0.01) as provider:
        provider.refused.add("poison")
        arun(main(provider))


def test_the_wrong_key_is_told_and_the_right_one_goes_on() -> None:
    async def main(provider: ModelProvider) -> None:
        corpus = corpus_for(provider)
        provider.key = "another"
        stored = Stored(corpus)
        async with stored.app.in_memory() as backend:
            added = await backend.mutation(corpus.sources.put, key="key a", text="one")
            async with asyncio.timeout(30):
                while (view := await backend.query(corpus.sources.get, source=added.source)) and view.state != "failed":
                    await asyncio.sleep(0.02)
            assert view is not None
            assert view.error is not None
            assert "key" in view.error
            assert "sk-test" not in view.error
            assert len(provider.calls) == 1
            provider.key = "sk-test-0123456789abcdef"
            await backend.mutation(corpus.sources.retry, source=added.source)
            async with asyncio.timeout(30):
                while (view := await backend.query(corpus.sources.get, source=added.source)) and view.state != "ready":
                    await asyncio.sleep(0.02)

    with model_provider() as provider:
        arun(main(provider))
