"""A process that adds, replaces and deletes sources until it is killed, and says what was acknowledged."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import reflow as rf
from reflow.rag.corpus import Corpus
from reflow.rag.embedders.base import Kind, Vectors
from reflow.testing.embedder import HashingEmbedder
from tests.support.corpora import Audit, paragraphs, small

KEYS = 4
uploads = rf.Module("uploads")


@uploads.action
async def upload(ctx: rf.ActionCtx, data: bytes) -> rf.Id[rf.File]:
    return await ctx.storage.store(data)


class SlowEmbedder(HashingEmbedder):
    """Takes some time, so that a process is often killed while it embeds."""

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        """Unit vectors, shape (texts, dims)."""
        await asyncio.sleep(0.004)
        return await super().embed(texts, kind)


def corpus_of() -> tuple[Corpus, rf.App, Audit]:
    """The application, the same in each process."""
    corpus = small(SlowEmbedder(16), cache=False, limits=rf.Limits(source_inline_chars=150))
    checks = Audit(corpus)
    return corpus, rf.App(modules=[uploads, checks.module], components=[corpus]), checks


def key_of(number: int) -> str:
    """Which source a step is about."""
    return f"k{number * 7 % KEYS}"


def text_of(number: int) -> str | None:
    """What a step puts there; None: it deletes."""
    if number % 9 == 8:
        return None
    return paragraphs(*(f"step {number // 3 * (place % 2)} {place}" for place in range(1 + number % 5)))


async def step(backend: rf.Backend, corpus: Corpus, number: int) -> None:
    """One step: a text, a long text or a file is put, or a source deleted."""
    key, text = key_of(number), text_of(number)
    if text is None:
        await backend.mutation(corpus.sources.remove_key, key=key)
    elif number % 3 == 1:
        file = await backend.action(upload, data=text.encode())
        await backend.mutation(corpus.sources.put_file, file=file, key=key, name="a.txt")
    else:
        await backend.mutation(corpus.sources.put, key=key, text=text)


async def main(directory: Path, first: int) -> None:
    corpus, app, _ = corpus_of()
    async with app.open(directory) as backend:
        print("opened", flush=True)
        for number in count(first):
            await step(backend, corpus, number)
            print(number, flush=True)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
