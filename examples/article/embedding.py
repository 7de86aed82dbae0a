"""`embedding`: what has no vector gets one, in the background, until a source is saved, or failed with the reason.

A source that was added alone gets an action of its own; those that come in batches are embedded in turn by one action
that schedules its successor, so that a large import never holds up what a person adds.
"""

from __future__ import annotations

from contextlib import aclosing

import reflow as rf
from article import counters, progress
from article.jobs import is_alive, is_last_try
from article.lib import embeddings
from article.schema import Model, Source
from article.stores import Embedded, Piece, store_of

RETRY = rf.Retry(attempts=5, first=1.0, factor=2.0, longest=30.0)
"""How often, and how patiently, embedding is tried before a source is failed."""

BATCH = 512
"""Chunks that one action of the turn embeds."""

RESET_BATCH = 2000
"""Chunks that one transaction opens for another model."""

embedding = rf.Module("embedding", rename="camel")


class Work(rf.Object, rename="camel"):
    """What an action is to embed, of which sources; `last_try` when it will not be tried again."""

    pieces: list[Piece]
    sources: list[rf.Id[Source]]
    last_try: bool


@embedding.internal_action(retry=RETRY)
async def add_embedding(ctx: rf.ActionCtx, source: rf.Id[Source]) -> None:
    """Embeds what has no vector yet of one source, however often it is called."""
    while True:
        work = await ctx.run_query(work_of, source=source)
        if not work.pieces or not await _embed(ctx, work):
            return


@embedding.internal_action(retry=RETRY)
async def add_embedding_batch(ctx: rf.ActionCtx) -> None:
    """Embeds the next chunks of the sources that wait their turn, and schedules itself for those after them."""
    work = await ctx.run_query(work_in_turn)
    if work.pieces:
        await _embed(ctx, work)
    await ctx.run_mutation(pass_on)


async def _embed(ctx: rf.ActionCtx, work: Work) -> bool:
    """Embeds and saves, slice by slice. When the last try fails, says so in the sources and returns False."""
    try:
        model = await embeddings.model()
        async with aclosing(embeddings.embed_documents([piece.text for piece in work.pieces])) as slices:
            async for done in slices:
                embedded = Embedded(
                    pieces=work.pieces[done.first : done.first + len(done.vectors)],
                    vectors=done.vectors,
                    tokens=done.tokens,
                    model=model,
                    milliseconds=done.milliseconds,
                )
                await store_of(ctx).save(ctx, embedded)
    except Exception as error:
        if not work.last_try:
            raise
        ctx.log(f"embedding failed for good: {error!r}", level="ERROR")
        await ctx.run_mutation(fail, ids=work.sources, error=str(error) or type(error).__name__)
        return False
    return True


@embedding.internal_query
async def work_of(ctx: rf.QueryCtx, source: rf.Id[Source]) -> Work:
    """The next chunks of one source that have no vector."""
    found = await ctx.db.get(source)
    if found is None or found.state == "saved":
        return Work(pieces=[], sources=[], last_try=True)
    last_try = await is_last_try(ctx.db, found.job, RETRY)
    return Work(pieces=await _missing(ctx, found, BATCH), sources=[source], last_try=last_try)


@embedding.internal_query
async def work_in_turn(ctx: rf.QueryCtx) -> Work:
    """The next chunks without a vector of the sources that wait their turn, oldest first."""
    pieces: list[Piece] = []
    ids: list[rf.Id[Source]] = []
    async for source in _waiting(ctx.db):
        pieces += await _missing(ctx, source, BATCH - len(pieces))
        ids.append(source.id)
        if len(pieces) >= BATCH:
            break
    last_try = await is_last_try(ctx.db, (await counters.read(ctx.db)).job, RETRY)
    return Work(pieces=pieces, sources=ids, last_try=last_try)


def _waiting(db: rf.DatabaseReader) -> rf.Query[Source]:
    return db.query(Source).using(Source.by_state, state="pending", bulk=True)


async def _missing(ctx: rf.QueryCtx, source: Source, limit: int) -> list[Piece]:
    chunks = await ctx.db.get_many(await store_of(ctx).missing(ctx.db, source, limit))
    return [Piece(id=chunk.id, source_id=source.id, text=chunk.text) for chunk in chunks if chunk is not None]


@embedding.internal_mutation
async def fail(ctx: rf.MutationCtx, ids: list[rf.Id[Source]], error: str) -> None:
    """Says why these sources have no vectors."""
    for source in await ctx.db.get_many(ids):
        if source is not None and source.state == "pending":
            await ctx.db.patch(source.id, state="failed", error=error)
            await counters.count(ctx, failed=source.chunk_count - source.embedded)


async def reopen(ctx: rf.MutationCtx, source: Source) -> None:
    """A failed source is pending again."""
    await ctx.db.patch(source.id, state="pending", error=rf.UNSET)
    await counters.count(ctx, failed=source.embedded - source.chunk_count)


# Who embeds


async def embed_alone(ctx: rf.MutationCtx, id: rf.Id[Source]) -> None:
    """Starts an action for one source."""
    job = await ctx.scheduler.run_after(0, add_embedding, source=id)
    await ctx.db.patch(id, job=job, bulk=False)


async def embed_in_turn(ctx: rf.MutationCtx) -> None:
    """Starts the action that embeds in turn, unless it is on its way."""
    if await _waiting(ctx.db).first() is not None and not await is_alive(ctx.db, (await counters.read(ctx.db)).job):
        await counters.update(ctx, job=await ctx.scheduler.run_after(0, add_embedding_batch))


@embedding.internal_mutation
async def pass_on(ctx: rf.MutationCtx) -> None:
    """Ends one action of the turn: the next one follows while sources wait."""
    more = await _waiting(ctx.db).first() is not None
    await counters.update(ctx, job=await ctx.scheduler.run_after(0, add_embedding_batch) if more else None)


# After a restart


@embedding.internal_mutation
async def resume(ctx: rf.MutationCtx) -> None:
    """Takes up sources whose action ended without a word, such as by a crash in its last try."""
    async for source in ctx.db.query(Source).using(Source.by_state, state="pending", bulk=False):
        if not await is_alive(ctx.db, source.job):
            await embed_alone(ctx, source.id)
    await embed_in_turn(ctx)


@embedding.internal_mutation
async def adopt(ctx: rf.MutationCtx, model: str) -> bool:
    """Makes `model` the one of all vectors, in the store that is set now.

    Vectors of another model, or elsewhere, are made anew: some of them are given up by each call, until it gives True.
    """
    store = store_of(ctx)
    known = await ctx.db.query(Model).first()
    if known is not None and (known.name, known.store) == (model, store.name):
        return True
    given_up = 0
    if known is not None:
        for source in await ctx.db.query(Source).filter(lambda source: source.embedded > 0).collect():
            if given_up >= RESET_BATCH:
                return False
            await store.discard(ctx, source)
            await progress.start_anew(ctx, source)
            given_up += source.chunk_count
        await ctx.db.delete(known.id)
    await ctx.db.insert(Model(name=model, store=store.name))
    return True
