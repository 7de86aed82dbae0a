"""Many texts through an embedder that takes some at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import numpy as np

from reflow.errors import InvalidValue
from reflow.rag.embedders.base import BatchEmbedder, Kind, Vectors


def estimated_tokens(text: str) -> int:
    """About as many tokens as models count, rather more: three bytes of UTF-8 make one.

    English has four characters to a token, code three, Chinese and Japanese one of three bytes.
    """
    return (len(text.encode("utf-8", "surrogatepass")) + 2) // 3


def cut(embedder: BatchEmbedder, texts: Sequence[str]) -> Iterator[range]:
    """The numbers of the texts of each request, in order; a text above the token bound has one for itself."""
    most = embedder.max_batch_tokens
    start, tokens = 0, 0
    for number, text in enumerate(texts):
        size = embedder.count_tokens(text) if most is not None else 0
        full = number - start >= embedder.max_batch or (most is not None and tokens + size > most)
        if number > start and full:
            yield range(start, number)
            start, tokens = number, 0
        tokens += size
    if start < len(texts):
        yield range(start, len(texts))


async def embed_all(embedder: BatchEmbedder, texts: Sequence[str], kind: Kind) -> Vectors:
    """One vector per text, in as many requests as that takes, some of them side by side.

    The first request that fails ends the others and is raised.
    """
    if isinstance(texts, str):
        raise InvalidValue("embed() takes a list of texts, got a single string: put it into a list")
    parts = list(cut(embedder, texts))
    found: list[Vectors] = [np.empty((0, 0), np.float32)] * len(parts)
    todo = enumerate(parts)

    async def work() -> None:
        for number, part in todo:
            found[number] = (await embedder.embed_batch([texts[at] for at in part], kind)).vectors

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(embedder.concurrency, len(parts))):
                group.create_task(work())
    except BaseExceptionGroup as failures:
        raise failures.exceptions[0] from None
    return np.concatenate(found) if found else np.empty((0, embedder.dims), np.float32)
