"""The process for test_rag_kill: adds sources, replaces some, and embeds them through a provider elsewhere."""

from __future__ import annotations

import asyncio
import sys

from reflow.rag.corpus import Corpus
from reflow.rag.embedders.openai import OpenAICompatible
from reflow.rag.ingestion.jobs import Pace
from tests.crash.fate import say
from tests.support.model_provider import KEY
from tests.support.rag_stored import Stored

SOURCES = 24
DIMS = 32
BATCH = 6
CONCURRENCY = 3


def stored_in(url: str) -> tuple[Corpus, Stored]:
    """A corpus whose chunks are paragraphs, behind the provider at an address."""
    embedder = OpenAICompatible(
        "test-embed", base_url=url, api_key=KEY, dims=DIMS, max_batch=BATCH, concurrency=CONCURRENCY
    )
    pace = Pace(first_pause=0.05, longest_pause=0.2)
    corpus = Corpus("docs", embedder=embedder, splitter=lambda text: text.split("\n\n"), pace=pace)
    return corpus, Stored(corpus)


def text_of(number: int, version: int) -> str:
    """Paragraphs; half of them are the same in both versions, one is in all texts."""
    parts = [f"text {number} part {part} version {version if part % 2 else 0}" for part in range(12)]
    return "\n\n".join([*parts, "what all of them say"])


async def main(directory: str, url: str) -> None:
    corpus, stored = stored_in(url)
    async with stored.app.open(directory) as backend:
        say("opened")
        for version in (1, 2):
            for number in range(SOURCES):
                key = f"key {number:02}"
                found = await backend.query(corpus.sources.by_key, key=key)
                if version == 2 or found is None:  # the first version must not come back after the second
                    await backend.mutation(corpus.sources.put, key=key, text=text_of(number, version))
                await asyncio.sleep(0.01)
        while (await backend.query(corpus.jobs.status)).state != "idle":
            await asyncio.sleep(0.02)
        say("done")


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2]))
