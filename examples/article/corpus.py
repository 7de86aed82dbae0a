"""`corpus`: many texts brought in and kept in step with where they come from, such as a folder of files.

Every text is a source with a `key` and a `content_hash`. Bringing the corpus in again changes only what has changed,
so it can be stopped at any point and started anew.
"""

from __future__ import annotations

import reflow as rf
from article import counters
from article.embedding import embed_in_turn, reopen
from article.rows import NewChunk
from article.schema import Source
from article.sources import insert, remove

PAGE = 500
"""Sources listed at once."""

corpus = rf.Module("corpus", rename="camel")


class Progress(rf.Object, rename="camel"):
    """How far embedding is, in chunks; `rate` is chunks per second. Times are milliseconds since 1970."""

    total: int
    embedded: int
    failed: int
    pending: int
    sources: int
    started_at: float | None
    finished_at: float | None
    rate: float | None


class Entry(NewChunk):
    """A chunk of a text of the corpus: what it describes, and the file it is from."""

    name: str | None = rf.missing()
    file: str | None = rf.missing()


class CorpusSource(rf.Object):
    """A text of the corpus."""

    key: str
    name: str
    content_hash: str
    entries: list[Entry]


class Known(rf.Object):
    """A text of the corpus that is stored."""

    key: str
    content_hash: str


@corpus.query
async def progress(ctx: rf.QueryCtx) -> Progress:
    """How far embedding is. Reads one document."""
    now = await counters.read(ctx.db)
    seconds = 0.0
    if now.started_at is not None:
        until = now.finished_at if now.finished_at is not None else now.updated_at or now.started_at
        seconds = (until - now.started_at) / 1000
    return Progress(
        total=now.total,
        embedded=now.embedded,
        failed=now.failed,
        pending=now.total - now.embedded - now.failed,
        sources=now.sources,
        started_at=now.started_at,
        finished_at=now.finished_at,
        rate=now.run_embedded / seconds if seconds > 0 else None,
    )


@corpus.internal_query
async def known(ctx: rf.QueryCtx, after: str = "") -> list[Known]:
    """The texts of the corpus that are stored, by key, from the first one behind `after`."""
    found = await ctx.db.query(Source).using(Source.by_key).gt(after).take(PAGE)
    return [Known(key=source.key or "", content_hash=source.content_hash or "") for source in found]


@corpus.internal_mutation
async def begin(ctx: rf.MutationCtx, fingerprint: str) -> bool:
    """More is to come, unless the corpus with this fingerprint is stored: then it returns True.

    What failed before is tried again; a run that was cut short goes on, its clock from now.
    """
    now = await counters.read(ctx.db)
    if now.started_at is not None and now.finished_at is None:
        await counters.update(ctx, started_at=ctx.now() * 1000, run_embedded=0)
    await counters.update(ctx, listing=True, fingerprint=now.fingerprint if now.fingerprint == fingerprint else None)
    for source in await ctx.db.query(Source).using(Source.by_state, state="failed", bulk=True).collect():
        await _open_run(ctx)
        await reopen(ctx, source)
    await embed_in_turn(ctx)
    return now.fingerprint == fingerprint


@corpus.internal_mutation
async def put(ctx: rf.MutationCtx, batch: list[CorpusSource]) -> None:
    """Stores texts, each in place of what is stored under its key, and has them embedded in turn."""
    await _open_run(ctx)
    for text in batch:
        await _remove_key(ctx, text.key)
        source = Source(
            name=text.name, chunk_ids=[], chunk_count=0, bulk=True, key=text.key, content_hash=text.content_hash
        )
        await insert(ctx, source, text.entries)
    await embed_in_turn(ctx)


async def _open_run(ctx: rf.MutationCtx) -> None:
    now = await counters.read(ctx.db)
    if now.started_at is None or now.finished_at is not None:
        await counters.update(ctx, started_at=ctx.now() * 1000, finished_at=None, run_embedded=0)


@corpus.internal_mutation
async def drop(ctx: rf.MutationCtx, keys: list[str]) -> None:
    """Deletes texts that the corpus does not have any more."""
    for key in keys:
        await _remove_key(ctx, key)


async def _remove_key(ctx: rf.MutationCtx, key: str) -> None:
    for source in await ctx.db.query(Source).using(Source.by_key, key=key).collect():
        await remove(ctx, source)


@corpus.internal_mutation
async def end(ctx: rf.MutationCtx, fingerprint: str) -> None:
    """Nothing more is to come: the corpus with this fingerprint is stored."""
    now = await counters.update(ctx, listing=False, fingerprint=fingerprint)
    if now.started_at is None:
        await counters.update(ctx, started_at=ctx.now() * 1000)
    await counters.count(ctx)
