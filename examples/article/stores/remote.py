"""Vectors in a remote store, under the ids of their documents. Only actions can talk to it, so the two can drift.

A source's vectors are stored first and noted in a transaction afterwards, so a source that is saved has all of them,
and whatever fails in between is simply done again: an upsert under the same id changes nothing. Vectors whose documents
are deleted meanwhile are found by that same transaction and removed. What is left is for `reconcile`: a server that
dies between the two, or a request that arrives late.
"""

from __future__ import annotations

from collections.abc import Sequence

import reflow as rf
from article import counters, progress
from article.lib import embeddings, pinecone
from article.schema import Chunk, Comparison, Related, Search, Source
from article.stores.base import Answer, Embedded, Vector

RETRY = rf.Retry(attempts=10, first=1.0, factor=2.0, longest=300.0)
"""Nobody waits for a deletion, and it should not be given up."""

remote = rf.Module("remote", rename="camel")


class Remote:
    """The store that the settings name."""

    name = "remote"
    drifts = True

    async def mark_deleted(self, ctx: rf.MutationCtx, chunks: Sequence[rf.Id[Chunk]]) -> None:
        """Removes the vectors once the transaction has committed."""
        if chunks:
            await ctx.scheduler.run_after(0, delete_pinecone_vectors, ids=list(chunks))

    async def discard(self, ctx: rf.MutationCtx, source: Source) -> None:
        """Nothing to do: new vectors take the places of old ones, whose ids they have."""

    async def missing(self, db: rf.DatabaseReader, source: Source, limit: int) -> list[rf.Id[Chunk]]:
        """Chunks are embedded, and noted, in order."""
        return source.chunk_ids[source.embedded : source.embedded + limit]

    async def results(self, db: rf.DatabaseReader, search: Search, limit: int) -> list[rf.Hit[Chunk]] | None:
        """What the search's last run has found and is still there."""
        return await _loaded(db, search.related_chunks, min(limit, search.count))

    async def neighbours(self, db: rf.DatabaseReader, comparison: Comparison) -> list[rf.Hit[Chunk]] | None:
        """What the comparison's run has found and is still there."""
        return await _loaded(db, comparison.related_chunks, comparison.count)

    async def is_outdated(self, db: rf.DatabaseReader, asked: Search | Comparison) -> bool:
        """Whether vectors came or went since the store was asked."""
        return asked.as_of != (await counters.read(db)).changes

    async def save(self, ctx: rf.ActionCtx, embedded: Embedded) -> None:
        """Stores the vectors, then says so."""
        await pinecone.upsert_vectors(
            ctx,
            "chunks",
            [
                (piece.id, vector, {"sourceId": piece.source_id, "textLen": len(piece.text)})
                for piece, vector in zip(embedded.pieces, embedded.vectors, strict=True)
            ],
        )
        await ctx.run_mutation(
            mark_saved,
            chunks=[piece.id for piece in embedded.pieces],
            tokens=list(embedded.tokens),
            model=embedded.model,
            milliseconds=embedded.milliseconds,
        )

    async def nearest(self, ctx: rf.ActionCtx, vector: Vector, limit: int) -> Answer:
        """The chunks nearest to a vector, as the store knows them."""
        as_of = await ctx.run_query(changes)
        found = await pinecone.nearest(ctx, "chunks", vector, limit)
        return await _answer(ctx, [(match.id, match.score) for match in found], as_of)

    async def like(self, ctx: rf.ActionCtx, chunk: rf.Id[Chunk], limit: int) -> Answer:
        """The chunks nearest to a chunk, by its vector there, or by its text when that is not there yet."""
        as_of = await ctx.run_query(changes)
        found = await pinecone.nearest_to(ctx, "chunks", chunk, limit + 1)
        if not found and (text := await ctx.run_query(text_of, chunk=chunk)) is not None:
            vector = await embeddings.embed_document(text)
            found = await pinecone.nearest(ctx, "chunks", vector, limit + 1)
        others = [(match.id, match.score) for match in found if match.id != chunk]
        return await _answer(ctx, others[:limit], as_of)

    async def remember(self, ctx: rf.ActionCtx, search: rf.Id[Search], input: str, vector: Vector) -> None:
        """Stores the question's vector too."""
        await pinecone.upsert_vectors(ctx, "searches", [(search, vector, {"input": input})])


async def _loaded(db: rf.DatabaseReader, related: list[Related] | None, limit: int) -> list[rf.Hit[Chunk]] | None:
    """Hits with their documents, as of now. Those that were deleted since are left out."""
    if related is None:
        return None
    chunks = await db.get_many([hit.id for hit in related])
    pairs = zip(chunks, related, strict=True)
    return [rf.Hit(doc=chunk, score=hit.score or 0.0) for chunk, hit in pairs if chunk is not None][:limit]


async def _answer(ctx: rf.ActionCtx, found: list[tuple[str, float]], as_of: int) -> Answer:
    """What was found, without what is no chunk (any more)."""
    gone = set(await ctx.run_query(unknown, ids=[id for id, _ in found]))
    related = [Related(id=rf.Id(id), score=score) for id, score in found if id not in gone]
    return Answer(related=related, as_of=as_of)


@remote.internal_mutation
async def mark_saved(
    ctx: rf.MutationCtx, chunks: list[rf.Id[Chunk]], tokens: list[int], model: str, milliseconds: float
) -> None:
    """Notes stored vectors in their sources. Those of chunks that were deleted meanwhile are removed again."""
    await progress.check_model(ctx, model, Remote.name)
    found = await ctx.db.get_many(chunks)
    await REMOTE.mark_deleted(ctx, [id for id, chunk in zip(chunks, found, strict=True) if chunk is None])
    stored: dict[rf.Id[Source], dict[int, int]] = {}
    for chunk, count in zip(found, tokens, strict=True):
        if chunk is not None:
            stored.setdefault(chunk.source_id, {})[chunk.chunk_index] = count
    total = 0
    for id, by_index in stored.items():
        source = await ctx.db.get(id)
        counts: list[int] = []
        while source is not None and source.embedded + len(counts) in by_index:
            counts.append(by_index[source.embedded + len(counts)])
        await progress.advance(ctx, id, counts, milliseconds * len(counts) / len(chunks))
        total += len(counts)
    await counters.count(ctx, embedded=total, run=total)


@remote.internal_action(retry=RETRY)
async def delete_pinecone_vectors(ctx: rf.ActionCtx, ids: list[str]) -> None:
    """Removes the vectors of chunks that are gone."""
    await pinecone.delete_vectors(ctx, "chunks", ids)


@remote.internal_query
async def changes(ctx: rf.QueryCtx) -> int:
    """How often vectors came or went."""
    return (await counters.read(ctx.db)).changes


@remote.internal_query
async def text_of(ctx: rf.QueryCtx, chunk: rf.Id[Chunk]) -> str | None:
    """The text of a chunk."""
    found = await ctx.db.get(chunk)
    return None if found is None else found.text


@remote.internal_query
async def unknown(ctx: rf.QueryCtx, ids: list[str]) -> list[str]:
    """Which of these are the ids of no chunk."""
    normal = {id: ctx.db.normalize_id(Chunk, id) for id in ids}
    possible: list[rf.Id[Chunk]] = [rf.Id(id) for id in ids if normal[id] == id]
    there = await ctx.db.get_many(possible)
    known = {id for id, chunk in zip(possible, there, strict=True) if chunk is not None}
    return [id for id in ids if id not in known]


REMOTE = Remote()
