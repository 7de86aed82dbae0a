"""`sources`: texts are added in chunks, and embedded in the background, each chunk's vector under the chunk's id.

A source is `pending` until all its vectors are stored, then `saved`; when embedding fails for good, `failed` with the
reason. A source that was added alone gets an action of its own; those that come in batches are embedded in turn by one
action that schedules its successor, so that a large import never holds up what a person adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing

import numpy as np

import reflow as rf
from playground import counters
from playground.lib import embeddings
from playground.rows import ChunkRow, NewChunk, NewSource, SourceRow, with_first_chunks, with_sources
from playground.schema import Chunk, Comparison, Model, Source

RETRY = rf.Retry(attempts=5, first=1.0, factor=2.0, longest=30.0)
"""How often, and how patiently, embedding is tried before a source is failed."""

BATCH = 512
"""Chunks that one action of the turn embeds."""

RESET_BATCH = 2000
"""Chunks whose vectors one transaction removes when the model has changed."""

sources = rf.Module("sources", rename="camel")


# Adding and deleting


@sources.mutation
async def add(ctx: rf.MutationCtx, name: str, chunks: list[NewChunk]) -> None:
    """Stores a text and has it embedded once this commits."""
    source = await insert(ctx, Source(name=name, chunk_ids=[], chunk_count=0), chunks)
    await _embed_alone(ctx, source)


@sources.mutation
async def add_batch(ctx: rf.MutationCtx, batch: list[NewSource]) -> None:
    """Stores several texts; one action embeds them in turn."""
    for new in batch:
        await insert(ctx, Source(name=new.name, chunk_ids=[], chunk_count=0, bulk=True), new.chunks)
    await embed_in_turn(ctx)


async def insert(ctx: rf.MutationCtx, source: Source, chunks: Sequence[NewChunk | Chunk]) -> rf.Id[Source]:
    """Stores a source with its chunks, which refer to each other. Without chunks it is saved at once."""
    source.chunk_count = len(chunks)
    if not chunks:
        source.saved, source.state = True, "saved"
    id = await ctx.db.insert(source)
    ids = await ctx.db.insert_many(
        Chunk(
            text=chunk.text,
            source_id=id,
            chunk_index=index,
            lines=chunk.lines,
            name=getattr(chunk, "name", None),
            file=getattr(chunk, "file", None),
        )
        for index, chunk in enumerate(chunks)
    )
    await ctx.db.patch(id, chunk_ids=ids)
    await counters.count(ctx, total=len(ids), sources=1)
    return id


@sources.mutation
async def delete_source(ctx: rf.MutationCtx, id: rf.Id[Source]) -> None:
    """Deletes a source with its chunks, their vectors and the comparisons of these, all in one transaction."""
    source = await ctx.db.get(id)
    if source is not None:
        await remove(ctx, source)


async def remove(ctx: rf.MutationCtx, source: Source) -> None:
    """Deletes a source and everything that hangs on it."""
    for chunk in source.chunk_ids:
        of_chunk = ctx.db.query(Comparison).using(Comparison.by_target, target=chunk)
        await ctx.db.delete_many([comparison.id for comparison in await of_chunk.collect()])
    await ctx.db.delete_many(source.chunk_ids)
    await ctx.db.delete(source.id)
    missing = source.chunk_count - source.embedded
    await counters.count(
        ctx,
        total=-source.chunk_count,
        embedded=-source.embedded,
        failed=-missing if source.state == "failed" else 0,
        sources=-1,
    )


# Reading


@sources.query
async def paginate(ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions) -> rf.Page[SourceRow]:
    """Sources, newest first, each with the text of its first chunk."""
    page = await ctx.db.query(Source).order("desc").paginate(pagination_opts)
    return page.with_items(await with_first_chunks(ctx.db, page.page))


@sources.query
async def paginate_chunks(ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions) -> rf.Page[ChunkRow]:
    """All chunks, oldest first, each with the name of its source."""
    page = await ctx.db.query(Chunk).paginate(pagination_opts)
    return page.with_items(await with_sources(ctx.db, [(chunk, None) for chunk in page.page]))


@sources.query
async def get_chunk(ctx: rf.QueryCtx, id: rf.Id[Chunk]) -> Chunk:
    """One chunk. Raises ApplicationError when there is none."""
    chunk = await ctx.db.get(id)
    if chunk is None:
        raise rf.ApplicationError("This chunk does not exist (any more)")
    return chunk


# Embedding


class Piece(rf.Object):
    """A chunk to be embedded."""

    id: rf.Id[Chunk]
    text: str


class Work(rf.Object, rename="camel"):
    """What an action is to embed, of which sources; `last_try` when it will not be tried again."""

    pieces: list[Piece]
    sources: list[rf.Id[Source]]
    last_try: bool


class Embedding(rf.Object):
    """A chunk's vector (float32 as bytes) and tokens."""

    chunk: rf.Id[Chunk]
    vector: bytes
    tokens: int


@sources.internal_action(retry=RETRY)
async def add_embedding(ctx: rf.ActionCtx, source: rf.Id[Source]) -> None:
    """Embeds what has no vector yet of one source, however often it is called."""
    while True:
        work = await ctx.run_query(work_of, source=source)
        if not work.pieces or not await _embed(ctx, work):
            return


@sources.internal_action(retry=RETRY)
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
                pieces = work.pieces[done.first : done.first + len(done.vectors)]
                vectors = [
                    Embedding(chunk=piece.id, vector=vector.astype("<f4").tobytes(), tokens=tokens)
                    for piece, vector, tokens in zip(pieces, done.vectors, done.tokens, strict=True)
                ]
                await ctx.run_mutation(save_vectors, vectors=vectors, model=model, milliseconds=done.milliseconds)
    except Exception as error:
        if not work.last_try:
            raise
        ctx.log(f"embedding failed for good: {error!r}", level="ERROR")
        await ctx.run_mutation(fail, ids=work.sources, error=str(error) or type(error).__name__)
        return False
    return True


@sources.internal_query
async def work_of(ctx: rf.QueryCtx, source: rf.Id[Source]) -> Work:
    """The next chunks of one source that have no vector."""
    found = await ctx.db.get(source)
    if found is None or found.state == "saved":
        return Work(pieces=[], sources=[], last_try=True)
    return Work(pieces=await _missing(ctx, found, BATCH), sources=[source], last_try=await _is_last_try(ctx, found.job))


@sources.internal_query
async def work_in_turn(ctx: rf.QueryCtx) -> Work:
    """The next chunks without a vector of the sources that wait their turn, oldest first."""
    pieces: list[Piece] = []
    ids: list[rf.Id[Source]] = []
    async for source in _waiting(ctx.db):
        pieces += await _missing(ctx, source, BATCH - len(pieces))
        ids.append(source.id)
        if len(pieces) >= BATCH:
            break
    return Work(pieces=pieces, sources=ids, last_try=await _is_last_try(ctx, (await counters.read(ctx.db)).job))


def _waiting(db: rf.DatabaseReader) -> rf.Query[Source]:
    return db.query(Source).using(Source.by_state, state="pending", bulk=True)


async def _missing(ctx: rf.QueryCtx, source: Source, limit: int) -> list[Piece]:
    """Chunks without a vector. They are embedded in order, so the search starts behind those that have one."""
    ids = [*source.chunk_ids[source.embedded :], *source.chunk_ids[: source.embedded]]
    wanted: list[rf.Id[Chunk]] = []
    for id in ids:
        if len(wanted) == limit:
            break
        if await ctx.db.vector(Chunk.meaning, id) is None:
            wanted.append(id)
    chunks = await ctx.db.get_many(wanted)
    return [Piece(id=chunk.id, text=chunk.text) for chunk in chunks if chunk is not None]


async def _is_last_try(ctx: rf.QueryCtx, job: rf.Id[rf.Scheduled] | None) -> bool:
    row = None if job is None else await ctx.db.get(job)
    return row is None or row.attempt >= RETRY.attempts


@sources.internal_mutation
async def save_vectors(ctx: rf.MutationCtx, vectors: list[Embedding], model: str, milliseconds: float) -> None:
    """Stores vectors of chunks that are still there and have none. A source with its last vector is saved."""
    known = await counters.model(ctx.db)
    if known is None:
        await ctx.db.insert(Model(name=model))
    elif known != model:
        raise rf.ApplicationError(f"The stored vectors are of {known}, the embedder is {model}: restart the server")
    chunks = await ctx.db.get_many([embedding.chunk for embedding in vectors])
    tokens: dict[rf.Id[Source], list[int]] = {}
    for chunk, embedding in zip(chunks, vectors, strict=True):
        if chunk is None or await ctx.db.vector(Chunk.meaning, chunk.id) is not None:
            continue
        await ctx.db.set_vector(Chunk.meaning, chunk.id, np.frombuffer(embedding.vector, "<f4"))
        tokens.setdefault(chunk.source_id, []).append(embedding.tokens)
    stored = sum(map(len, tokens.values()))
    for id, counts in tokens.items():
        await _advance(ctx, id, counts, milliseconds * len(counts) / len(vectors))
    await counters.count(ctx, embedded=stored, run=stored)


async def _advance(ctx: rf.MutationCtx, id: rf.Id[Source], tokens: list[int], milliseconds: float) -> None:
    """Notes new vectors in their source."""
    source = await ctx.db.get(id)
    if source is None:
        return
    embedded = source.embedded + len(tokens)
    await ctx.db.patch(
        id,
        embedded=embedded,
        total_tokens=(source.total_tokens or 0) + sum(tokens),
        embedding_ms=(source.embedding_ms or 0) + milliseconds,
    )
    if source.state == "failed":
        await counters.count(ctx, failed=-len(tokens))
    if embedded == source.chunk_count:
        await ctx.db.patch(id, saved=True, state="saved", error=rf.UNSET)


@sources.internal_mutation
async def fail(ctx: rf.MutationCtx, ids: list[rf.Id[Source]], error: str) -> None:
    """Says why these sources have no vectors."""
    for source in await ctx.db.get_many(ids):
        if source is not None and source.state == "pending":
            await ctx.db.patch(source.id, state="failed", error=error)
            await counters.count(ctx, failed=source.chunk_count - source.embedded)


@sources.mutation
async def retry(ctx: rf.MutationCtx, id: rf.Id[Source]) -> None:
    """Tries again to embed a failed source."""
    source = await ctx.db.get(id)
    if source is None:
        raise rf.ApplicationError("This source does not exist (any more)")
    if source.state == "failed":
        await reopen(ctx, source)
        await _embed_alone(ctx, id)


async def reopen(ctx: rf.MutationCtx, source: Source) -> None:
    """A failed source is pending again."""
    await ctx.db.patch(source.id, state="pending", error=rf.UNSET)
    await counters.count(ctx, failed=source.embedded - source.chunk_count)


# Who embeds


async def _embed_alone(ctx: rf.MutationCtx, id: rf.Id[Source]) -> None:
    job = await ctx.scheduler.run_after(0, add_embedding, source=id)
    await ctx.db.patch(id, job=job, bulk=False)


async def embed_in_turn(ctx: rf.MutationCtx) -> None:
    """Starts the action that embeds in turn, unless it is on its way."""
    if await _waiting(ctx.db).first() is not None and not await _is_alive(ctx, (await counters.read(ctx.db)).job):
        await counters.update(ctx, job=await ctx.scheduler.run_after(0, add_embedding_batch))


@sources.internal_mutation
async def pass_on(ctx: rf.MutationCtx) -> None:
    """Ends one action of the turn: the next one follows while sources wait."""
    more = await _waiting(ctx.db).first() is not None
    await counters.update(ctx, job=await ctx.scheduler.run_after(0, add_embedding_batch) if more else None)


async def _is_alive(ctx: rf.MutationCtx, job: rf.Id[rf.Scheduled] | None) -> bool:
    row = None if job is None else await ctx.db.get(job)
    return row is not None and row.state.kind in ("pending", "inProgress")


# After a restart


@sources.internal_mutation
async def resume(ctx: rf.MutationCtx) -> None:
    """Takes up sources whose action ended without a word, such as by a crash in its last try."""
    async for source in ctx.db.query(Source).using(Source.by_state, state="pending", bulk=False):
        if not await _is_alive(ctx, source.job):
            await _embed_alone(ctx, source.id)
    await embed_in_turn(ctx)


@sources.internal_mutation
async def adopt(ctx: rf.MutationCtx, model: str) -> bool:
    """Makes `model` the one of all vectors; those of another model are removed, some per call, until True."""
    known = await ctx.db.query(Model).first()
    if known is not None and known.name == model:
        return True
    removed = 0
    if known is not None:
        for source in await ctx.db.query(Source).filter(lambda source: source.embedded > 0).collect():
            if removed >= RESET_BATCH:
                return False
            await _forget_vectors(ctx, source)
            removed += source.chunk_count
        await ctx.db.delete(known.id)
    await ctx.db.insert(Model(name=model))
    return True


async def _forget_vectors(ctx: rf.MutationCtx, source: Source) -> None:
    for chunk in source.chunk_ids:
        await ctx.db.delete_vector(Chunk.meaning, chunk)
    await counters.count(ctx, embedded=-source.embedded, failed=source.embedded if source.state == "failed" else 0)
    await ctx.db.patch(
        source.id,
        embedded=0,
        total_tokens=rf.UNSET,
        embedding_ms=rf.UNSET,
        bulk=True,
        saved=False,
        state="failed" if source.state == "failed" else "pending",
    )
