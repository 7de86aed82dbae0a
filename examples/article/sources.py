"""`sources`: texts are added in chunks, and embedded in the background, each chunk's vector under the chunk's id.

A source is `pending` until all its vectors are stored, then `saved`; when embedding fails for good, `failed` with the
reason.
"""

from __future__ import annotations

from collections.abc import Sequence

import reflow as rf
from article import counters
from article.embedding import embed_alone, embed_in_turn, reopen
from article.reconcile import keep_planned
from article.rows import ChunkRow, NewChunk, NewSource, SourceRow, with_first_chunks, with_sources
from article.schema import Chunk, Comparison, Source
from article.stores import store_of

sources = rf.Module("sources", rename="camel")


# Adding and deleting


@sources.mutation
async def add(ctx: rf.MutationCtx, name: str, chunks: list[NewChunk]) -> None:
    """Stores a text and has it embedded once this commits."""
    source = await insert(ctx, Source(name=name, chunk_ids=[], chunk_count=0), chunks)
    await embed_alone(ctx, source)


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
    await keep_planned(ctx)
    return id


@sources.mutation
async def delete_source(ctx: rf.MutationCtx, id: rf.Id[Source]) -> None:
    """Deletes a source with its chunks, their vectors and the comparisons of these.

    One transaction does it; vectors in a remote store follow right after it.
    """
    source = await ctx.db.get(id)
    if source is not None:
        await remove(ctx, source)


async def remove(ctx: rf.MutationCtx, source: Source) -> None:
    """Deletes a source and everything that hangs on it."""
    for chunk in source.chunk_ids:
        of_chunk = ctx.db.query(Comparison).using(Comparison.by_target, target=chunk)
        await ctx.db.delete_many([comparison.id for comparison in await of_chunk.collect()])
    await store_of(ctx).mark_deleted(ctx, source.chunk_ids)
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


@sources.mutation
async def retry(ctx: rf.MutationCtx, id: rf.Id[Source]) -> None:
    """Tries again to embed a failed source."""
    source = await ctx.db.get(id)
    if source is None:
        raise rf.ApplicationError("This source does not exist (any more)")
    if source.state == "failed":
        await reopen(ctx, source)
        await embed_alone(ctx, id)


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
