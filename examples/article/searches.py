"""`searches`: questions are stored, embedded in the background, and answered by live queries.

With vectors inside, what a search shows is found anew whenever something changes: from the question's stored vector and
its words, never from the hits of an earlier run. So a search that is used again is never stale. With vectors in a
remote store, what it shows by meaning is what its last run has found; one that is used again runs again when vectors
came or went since.
"""

from __future__ import annotations

import time

import numpy as np

import reflow as rf
from article import counters
from article.jobs import is_last_try
from article.lib import embeddings
from article.rows import ChunkRow, ResultRow, result_row, source_names, with_sources
from article.schema import Answered, Chunk, Related, Search
from article.stores import store_of

RETRY = rf.Retry(attempts=3, first=0.5, factor=2.0, longest=5.0)
"""Somebody is waiting for the answer."""

CANDIDATES = 50
"""Hits of either kind that the hybrid ranking chooses from, at least."""

MOST = 100
"""Largest number of results that a search can ask for."""

searches = rf.Module("searches", rename="camel")


class Results(rf.Object):
    """What `searches:results` shows. `fresh` is False when another model made the vector: then only words count."""

    status: Answered
    error: str | None
    hybrid: list[ResultRow]
    semantic: list[ResultRow]
    words: list[ResultRow]
    fresh: bool


class Found(rf.Object, rename="camel"):
    """What one run of a search has to store: the question's vector (float32 as bytes), hits, times in milliseconds."""

    vector: bytes
    model: str
    related_chunks: list[Related]
    as_of: int | None
    input_tokens: int
    embedding_ms: float
    query_ms: float


# Asking


@searches.mutation
async def upsert(ctx: rf.MutationCtx, input: str, count: int = 10) -> rf.Id[Search]:
    """The id of a search for `input` with at least `count` results: an earlier one, or a new one that starts now."""
    _check_count(count)
    if not input.strip():
        raise rf.ApplicationError("An empty search finds nothing: ask for something")
    found = await ctx.db.query(Search).using(Search.by_input, input=input).gte(count).first()
    if found is None:
        id = await ctx.db.insert(Search(input=input, count=count))
        await _start(ctx, id)
        return id
    outdated = found.model != await counters.model(ctx.db) or await store_of(ctx).is_outdated(ctx.db, found)
    if found.state == "failed" or (found.state == "ready" and outdated):
        ctx.log(f"search {found.id} is run again")
        await _start(ctx, found.id)
    else:
        ctx.log(f"search {found.id} is re-used")
    return found.id


async def _start(ctx: rf.MutationCtx, id: rf.Id[Search]) -> None:
    job = await ctx.scheduler.run_after(0, run, search_id=id)
    await ctx.db.patch(id, state="pending", error=rf.UNSET, job=job)


def _check_count(count: int) -> None:
    if not 1 <= count <= MOST:
        raise rf.ApplicationError(f"A search gives 1 to {MOST} results, not {count}")


# Running


@searches.action
async def search(ctx: rf.ActionCtx, input: str, top_k: int, search_id: rf.Id[Search] | None = None) -> list[Related]:
    """The chunks nearest to `input`. With `search_id` that search is updated; without it nothing is stored."""
    _check_count(top_k)
    return await _find(ctx, input, top_k, search_id)


@searches.internal_action(retry=RETRY)
async def run(ctx: rf.ActionCtx, search_id: rf.Id[Search]) -> None:
    """Runs a stored search. When the last try fails, the search says why."""
    found, last_try = await ctx.run_query(to_run, search_id=search_id)
    if found is None:
        return
    try:
        await _find(ctx, found.input, found.count, search_id)
    except Exception as error:
        if not last_try:
            raise
        ctx.log(f"the search failed for good: {error!r}", level="ERROR")
        await ctx.run_mutation(fail, search_id=search_id, error=str(error) or type(error).__name__)


async def _find(ctx: rf.ActionCtx, input: str, top_k: int, search_id: rf.Id[Search] | None) -> list[Related]:
    model = await embeddings.model()
    embedded = await embeddings.embed_question(input)
    vector = embedded.vectors[0]
    started = time.perf_counter()
    answer = await store_of(ctx).nearest(ctx, vector, top_k)
    query_ms = (time.perf_counter() - started) * 1000
    if search_id is not None:
        found = Found(
            vector=vector.astype("<f4").tobytes(),
            model=model,
            related_chunks=answer.related,
            as_of=answer.as_of,
            input_tokens=sum(embedded.tokens),
            embedding_ms=embedded.milliseconds,
            query_ms=query_ms,
        )
        started = time.perf_counter()
        await store_of(ctx).remember(ctx, search_id, input, vector)
        await ctx.run_mutation(save, search_id=search_id, found=found)
        saved_ms = (time.perf_counter() - started) * 1000
        await ctx.run_mutation(patch, search_id=search_id, save_search_ms=saved_ms)
    return answer.related


@searches.internal_query
async def to_run(ctx: rf.QueryCtx, search_id: rf.Id[Search]) -> tuple[Search | None, bool]:
    """The search, None when it is gone, and whether this try of running it is the last one."""
    found = await ctx.db.get(search_id)
    return found, await is_last_try(ctx.db, None if found is None else found.job, RETRY)


@searches.internal_mutation
async def save(ctx: rf.MutationCtx, search_id: rf.Id[Search], found: Found) -> None:
    """Stores what a run has found: the vector, the hits and what it took."""
    if await ctx.db.get(search_id) is None:
        return
    await ctx.db.set_vector(Search.meaning, search_id, np.frombuffer(found.vector, "<f4"))
    await ctx.db.patch(
        search_id,
        state="ready",
        error=rf.UNSET,
        model=found.model,
        related_chunks=found.related_chunks,
        as_of=found.as_of,
        input_tokens=found.input_tokens,
        embedding_ms=found.embedding_ms,
        query_ms=found.query_ms,
    )


@searches.internal_mutation
async def patch(ctx: rf.MutationCtx, search_id: rf.Id[Search], save_search_ms: float) -> None:
    """Notes how long it took to store a search's results."""
    if await ctx.db.get(search_id) is not None:
        await ctx.db.patch(search_id, save_search_ms=save_search_ms)


@searches.internal_mutation
async def fail(ctx: rf.MutationCtx, search_id: rf.Id[Search], error: str) -> None:
    """Says why a search has no results."""
    found = await ctx.db.get(search_id)
    if found is not None and found.state == "pending":
        await ctx.db.patch(search_id, state="failed", error=error)


# Results


@searches.query
async def semantic_search(ctx: rf.QueryCtx, search_id: rf.Id[Search]) -> list[ChunkRow] | None:
    """The chunks nearest to a search; None until its first run is over. Raises for an unknown search."""
    found = await ctx.db.get(search_id)
    if found is None:
        raise rf.ApplicationError(f"Unknown search {search_id}")
    hits = await store_of(ctx).results(ctx.db, found, found.count)
    return None if hits is None else await with_sources(ctx.db, [(hit.doc, hit.score) for hit in hits])


@searches.query
async def word_search(ctx: rf.QueryCtx, input: str, count: int = 10) -> list[ChunkRow]:
    """The chunks with the words of `input`, best first, as of now; without scores."""
    _check_count(count)
    hits = await ctx.db.search(Chunk.words, input, limit=count)
    return await with_sources(ctx.db, [(hit.doc, None) for hit in hits])


@searches.query
async def results(ctx: rf.QueryCtx, search_id: rf.Id[Search]) -> Results | None:
    """A search by meaning, by words, and by both together, as of now; None for an unknown search."""
    found = await ctx.db.get(search_id)
    if found is None:
        return None
    size = max(found.count, CANDIDATES)
    fresh = found.model is None or found.model == await counters.model(ctx.db)
    near = await store_of(ctx).results(ctx.db, found, size) if fresh else None
    dense = near or []
    text = await ctx.db.search(Chunk.words, found.input, limit=size)
    waits = found.state == "pending" and near is None
    hybrid = [] if waits else hybrid_ranking(dense, text, found.count)
    lists = [hybrid, _scores(dense)[: found.count], _scores(text)[: found.count]]
    chunks: dict[str, Chunk] = {hit.doc.id: hit.doc for hit in (*dense, *text)}
    names = await source_names(ctx.db, [chunks[id] for ranking in lists for id, _ in ranking])
    rows = [[result_row(chunks[id], names[chunks[id].source_id], score) for id, score in ranking] for ranking in lists]
    return Results(status=found.state, error=found.error, hybrid=rows[0], semantic=rows[1], words=rows[2], fresh=fresh)


def hybrid_ranking(dense: list[rf.Hit[Chunk]], text: list[rf.Hit[Chunk]], limit: int) -> list[tuple[str, float]]:
    """The page's default ranking: meaning and words together, as (chunk id, score from 0 to 1).

    Of chunks that describe the same thing, such as the parts of a long docstring, the best one stands for all.
    """
    described: dict[str, tuple[str | None, str | None]] = {
        hit.doc.id: (hit.doc.file, hit.doc.name) for hit in (*dense, *text) if hit.doc.name is not None
    }
    best: list[tuple[str, float]] = []
    seen: set[object] = set()
    for id, score in rf.fuse(_scores(dense), _scores(text)):
        thing = described.get(id, id)
        if thing not in seen:
            seen.add(thing)
            best.append((id, score))
    return best[:limit]


def _scores(hits: list[rf.Hit[Chunk]]) -> list[tuple[str, float]]:
    return [(hit.doc.id, hit.score) for hit in hits]


@searches.query
async def paginate(ctx: rf.QueryCtx, pagination_opts: rf.PaginationOptions) -> rf.Page[Search]:
    """Searches, newest first."""
    return await ctx.db.query(Search).order("desc").paginate(pagination_opts)
