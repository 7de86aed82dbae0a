"""Brings a corpus into a running playground: what is new or changed comes in, what is gone goes, the rest stays.

Every step is a transaction and repeating one changes nothing, so this can be killed at any point and run again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

from article import corpus as functions
from article import embedding, reconcile
from article.corpora import Corpus
from article.corpus import CorpusSource
from article.lib import embeddings
from reflow import Backend

PUT_CHUNKS = 256
"""Chunks stored by one transaction, unless a single text has more."""

DROP_SOURCES = 64
"""Texts deleted by one transaction."""


async def prepare(backend: Backend) -> None:
    """Loads the model and takes up what an earlier run has left. Raises MissingExtra without `reflow[local]`."""
    model = await embeddings.model()
    while not await backend.mutation(embedding.adopt, model=model):
        pass
    await backend.mutation(embedding.resume)
    await backend.mutation(reconcile.start)


async def bring_in(backend: Backend, corpus: Corpus) -> None:
    """Makes what is stored equal to `corpus`; returns once all is stored, before all is embedded."""
    await prepare(backend)
    fingerprint = await asyncio.to_thread(corpus.fingerprint)
    unchanged = await backend.mutation(functions.begin, fingerprint=fingerprint)
    if not unchanged:
        await _bring_in(backend, corpus)
    await backend.mutation(functions.end, fingerprint=fingerprint)


async def _bring_in(backend: Backend, corpus: Corpus) -> None:
    stored = await _stored(backend)
    listed: set[str] = set()
    texts = corpus.texts()
    limit = 1
    while batch := await asyncio.to_thread(_next_batch, texts, limit):
        listed.update(text.key for text in batch)
        changed = [text for text in batch if stored.get(text.key) != text.content_hash]
        if changed:
            await backend.mutation(functions.put, batch=changed)
        # The first batch is small, so that embedding starts at once.
        limit = PUT_CHUNKS
    gone = sorted(stored.keys() - listed)
    for start in range(0, len(gone), DROP_SOURCES):
        await backend.mutation(functions.drop, keys=gone[start : start + DROP_SOURCES])


def _next_batch(texts: Iterator[CorpusSource], limit: int) -> list[CorpusSource]:
    batch: list[CorpusSource] = []
    size = 0
    for text in texts:
        batch.append(text)
        size += len(text.entries)
        if size >= limit:
            break
    return batch


async def _stored(backend: Backend) -> dict[str, str]:
    """The content hashes of the corpus's texts that are stored, by key."""
    stored: dict[str, str] = {}
    after = ""
    while page := await backend.query(functions.known, after=after):
        stored.update((text.key, text.content_hash) for text in page)
        after = page[-1].key
    return stored


async def embedded(backend: Backend) -> functions.Progress:
    """Returns once nothing waits to be embedded: all is embedded or failed."""
    async for progress in backend.watch(functions.progress):
        if progress.pending == 0:
            return progress
    raise AssertionError("a live query does not end")
