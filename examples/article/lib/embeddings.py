"""`lib/embeddings`: texts to vectors, through one embedder that the whole application shares.

The embedder is a local model unless `use` says otherwise, as tests do.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import reflow as rf
from reflow.rag.embedders.base import Embedder, Vectors
from reflow.rag.embedders.local import LocalEmbedder

SLICE = 128
"""Texts embedded, and then saved, at once: small enough for results to come in every second, large enough that live
queries do not run for every few vectors."""

embeddings = rf.Module("lib/embeddings", rename="camel")


@embeddings.query
async def env_check(ctx: rf.QueryCtx) -> dict[str, bool]:
    """For each setting that is needed whether it is there. A model on this machine needs none."""
    return {}


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """What came of a slice of texts: vectors of shape (texts, dims), tokens of each text, milliseconds it took."""

    first: int
    vectors: Vectors
    tokens: Sequence[int]
    milliseconds: float


class _Shared:
    """The embedder in use and its name, each made when first asked for."""

    embedder: Embedder | None = None
    model: str | None = None


def use(embedder: Embedder | None) -> None:
    """Makes `embedder` the application's; None: a local model again, loaded when it is needed."""
    _Shared.embedder, _Shared.model = embedder, None


def close() -> None:
    """Ends the threads of a local model."""
    if isinstance(_Shared.embedder, LocalEmbedder):
        _Shared.embedder.close()
    use(None)


def embedder() -> Embedder:
    """The application's embedder."""
    if _Shared.embedder is None:
        _Shared.embedder = LocalEmbedder()
    return _Shared.embedder


async def model() -> str:
    """Names the model. Vectors of different models can't be compared. Raises MissingExtra without `reflow[local]`."""
    if _Shared.model is None:
        used = embedder()
        revision = await asyncio.to_thread(lambda: used.revision)  # the first access loads the model
        _Shared.model = f"{used.id}@{revision}"
    return _Shared.model


async def embed_question(text: str) -> Embedded:
    """The vector of a question. It overtakes documents where the embedder can."""
    started = time.perf_counter()
    line = _one_line(text)
    vectors = await embedder().embed([line], "query")
    return Embedded(first=0, vectors=vectors, tokens=_tokens([line]), milliseconds=_since(started))


async def embed_document(text: str) -> Vectors:
    """The vector of one text, shape (dims,)."""
    return (await embedder().embed([_one_line(text)], "document"))[0]


async def embed_documents(texts: Sequence[str]) -> AsyncGenerator[Embedded, None]:
    """The vectors of texts, slice by slice; while one slice is being saved the next one is already embedded."""
    starts = [*range(0, len(texts), SLICE), len(texts)]
    ahead: asyncio.Task[Embedded] | None = None
    try:
        for start, end in pairwise(starts):
            task = asyncio.create_task(_embed_slice(start, texts[start:end]))
            ahead, current = task, ahead
            if current is not None:
                yield await current
        if ahead is not None:
            yield await ahead
    finally:
        if ahead is not None:
            ahead.cancel()
            await asyncio.gather(ahead, return_exceptions=True)


async def _embed_slice(first: int, texts: Sequence[str]) -> Embedded:
    started = time.perf_counter()
    lines = [_one_line(text) for text in texts]
    vectors = await embedder().embed(lines, "document")
    return Embedded(first=first, vectors=vectors, tokens=_tokens(lines), milliseconds=_since(started))


def _tokens(texts: Sequence[str]) -> list[int]:
    count = embedder().count_tokens
    return [count(text) for text in texts]


def _one_line(text: str) -> str:
    """Line breaks mean nothing to a model, and some models read them badly."""
    return text.replace("\n", " ")


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1000
