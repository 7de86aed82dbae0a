"""Finding chunks, in one transaction: everything a search shows is of one moment, and live in a query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec.structs import replace

import reflow as rf
from reflow.errors import GenerationMismatch
from reflow.limits import Limits
from reflow.rag.search.queries import Mode, Options, Question
from reflow.rag.search.results import Candidate, Explained, Found, Hit, LeftOut, passages_of, rows_of, sources_of
from reflow.rag.tables import Chunk, Reranked, Source, Tables

OTHER_MODEL = "the question's vector is of another model than the chunks': run the search again"
NO_VECTOR = "the question has no vector"


class Retrieval:
    """One search in one transaction.

    Scores are multiplied by the importance of the chunk's source before the best are chosen. By meaning alone and by
    words alone that is exact, as far as `limits.nearest` hits reach; a hybrid score depends on the candidates that it
    is made of, and importance moves hits among those (`limits.search_candidates` of either kind, at least).

    `within` are conditions that the caller of the search has no say in: whose rows, where background work searches.
    """

    def __init__(
        self,
        db: rf.DatabaseReader,
        tables: Tables,
        question: Question,
        options: Options,
        *,
        limits: Limits,
        within: Mapping[str, Any],
    ) -> None:
        self._db = db
        self._tables = tables
        self._question = question
        self._options = options
        self._limits = limits
        self._within: dict[str, Any] = dict(within)
        self._mode: Mode = options.mode
        self._equal: dict[str, Any] = dict(within)
        self._notes: list[str] = []
        self._narrowed: list[str] | None = None
        self._sources: dict[str, Source] = {}
        if options.sources is not None:
            self._equal["source"] = options.sources

    # What callers ask for

    async def found(self, reranked: Sequence[Reranked] | None = None) -> Found:
        """The best chunks. With `reranked` in that order: those that came since follow, and the result is stale."""
        await self._begin()
        options, stale = self._options, False
        if reranked is None:
            hits = await self._best(options.limit)
        else:
            hits = await self._best(self._depth)
            stale = {(hit.chunk.id, hit.chunk.hash) for hit in hits} != {(one.chunk, one.hash) for one in reranked}
            hits = _reordered(hits, reranked)[: options.limit]
        await self._load_sources(hits)
        rows = rows_of(hits, self._sources)
        around = options.before + options.after > 0
        return Found(
            rows=rows,
            passages=await passages_of(self._db, self._tables.Chunk, rows, options) if around else [],
            note="; ".join(self._notes) or None,
            narrowed=self._narrowed,
            stale=stale,
        )

    async def candidates(self) -> list[Candidate]:
        """What there is to rerank, the best first."""
        await self._begin()
        hits = await self._best(self._depth)
        return [Candidate(chunk=hit.chunk.id, hash=hit.chunk.hash, text=hit.chunk.text) for hit in hits]

    @property
    def _depth(self) -> int:
        return max(self._options.limit, self._limits.search_candidates)

    async def explained(self) -> Explained:
        """The best chunks and what is not among them, with reasons."""
        await self._begin()
        hits = await self._best(self._options.limit)
        reasoned = {hit.chunk.id: (hit, why) for hit, why in await self._with_reasons()}
        shown = {hit.chunk.id for hit in hits}
        rows = [replace(hit, **_legs(reasoned[hit.chunk.id][0])) if hit.chunk.id in reasoned else hit for hit in hits]
        others = [(hit, why) for hit, why in reasoned.values() if hit.chunk.id not in shown]
        ranked = await self._weighed([hit for hit, why in others if why is None])
        left_out = [(hit, _below(rank, hit, len(hits))) for rank, hit in enumerate(ranked, len(hits) + 1)]
        left_out += [(hit, why) for hit, why in others if why is not None]
        await self._load_sources([*rows, *(hit for hit, _ in left_out)])
        left_rows = rows_of([hit for hit, _ in left_out], self._sources)
        return Explained(
            rows=rows_of(rows, self._sources),
            left_out=[LeftOut(row=row, why=why) for row, (_, why) in zip(left_rows, left_out, strict=True)],
            mode=self._mode,
            note="; ".join(self._notes) or None,
            narrowed=self._narrowed,
        )

    # Where to search

    async def _begin(self) -> None:
        if not self._question.embeddings and self._mode != "text":
            self._without_vector(NO_VECTOR)
        if self._options.narrow is not None and self._narrowed is None:
            await self._narrow(self._options.narrow.by, self._options.narrow.to)

    def _without_vector(self, why: str) -> None:
        """By words only, where words count; else nothing can be found."""
        if self._options.mode == "hybrid":
            self._mode = "text"
            self._notes.append(f"by words only: {why}")
        else:
            self._notes.append(f"nothing can be found by meaning: {why}")

    async def _narrow(self, by: str, count: int) -> None:
        """Keeps to the sources nearest to the question, or to their categories."""
        table = self._tables.Source
        known = {name: part for name, part in (self._options.conditions or {}).items() if name in table.meaning.filters}
        near: list[rf.Hit[Source]] = []
        if self._question.embeddings:
            try:
                near = await self._db.nearest(
                    table.meaning, self._question.embeddings, limit=count, filter=known or None, **self._within
                )
            except GenerationMismatch:
                self._notes.append(f"not narrowed: {OTHER_MODEL}")
                return
        sources = [hit.doc for hit in near]
        if by == "source" and sources:
            self._equal["source"] = [source.id for source in sources]
            self._narrowed = [source.name for source in sources]
            return
        categories = list(dict.fromkeys(source.category for source in sources if source.category is not None))
        if by == "category" and categories:
            self._equal["category"] = categories
            self._narrowed = categories
            return
        lacking = "a summary with a vector" if not sources else "a category"
        self._notes.append(f"not narrowed: no source near the question has {lacking}")

    # Rankings

    async def _best(self, count: int) -> list[Hit]:
        """The best hits after weighing, at most `count`."""
        heaviest = await self._heaviest()
        if heaviest is None:
            return await self._ranked(count)
        most = min(self._limits.nearest, self._limits.text_hits)
        depth = min(most, max(count, self._limits.search_candidates))
        while True:
            ranked = await self._ranked(depth)
            weighed = await self._weighed(ranked)
            over = len(ranked) < depth or depth == most or self._mode == "hybrid"
            # What was not looked at has at most the last one's score, weighed with the largest weight.
            if over or weighed[count - 1].score >= max(0.0, ranked[-1].unweighed) * heaviest:
                return weighed[:count]
            depth = min(most, 4 * depth)

    async def _heaviest(self) -> float | None:
        """The largest importance of a source; None where all have the same weight of 1."""
        table = self._tables.Source
        query = self._db.query(table).using(table.by_importance, **self._within)
        lightest, heaviest = await query.first(), await query.order("desc").first()
        if lightest is None or heaviest is None or lightest.importance == heaviest.importance == 1.0:
            return None
        return heaviest.importance

    async def _weighed(self, hits: Sequence[Hit]) -> list[Hit]:
        """The hits by score times importance."""
        await self._load_sources(hits)
        weighed = [replace(hit, weight=self._sources[hit.chunk.source].importance) for hit in hits]
        return sorted(weighed, key=lambda hit: -hit.score)

    async def _ranked(self, limit: int) -> list[Hit]:
        """The best hits by their own scores."""
        try:
            if self._mode == "dense":
                return await self._by_meaning(limit)
            if self._mode == "hybrid":
                return await self._by_both(limit)
        except GenerationMismatch:
            self._without_vector(OTHER_MODEL)
            if self._mode != "text":
                return []
        return await self._by_words(limit)

    @property
    def _conditions(self) -> dict[str, Any]:
        return {"filter": self._options.conditions, "min_length": self._options.min_length, **self._equal}

    async def _by_meaning(self, limit: int) -> list[Hit]:
        if not self._question.embeddings:
            return []
        index = self._tables.Chunk.meaning
        found = await self._db.nearest(index, self._question.embeddings, limit=limit, **self._conditions)
        legs = [rf.Leg(rank=rank, score=hit.score) for rank, hit in enumerate(found, 1)]
        return [
            Hit(chunk=hit.doc, unweighed=hit.score, dense=leg, words=rf.Leg())
            for hit, leg in zip(found, legs, strict=True)
        ]

    async def _by_words(self, limit: int) -> list[Hit]:
        found = await self._db.search(self._tables.Chunk.words, self._question.text, limit=limit, **self._conditions)
        legs = [rf.Leg(rank=rank, score=hit.score) for rank, hit in enumerate(found, 1)]
        return [
            Hit(chunk=hit.doc, unweighed=hit.score, dense=rf.Leg(), words=leg)
            for hit, leg in zip(found, legs, strict=True)
        ]

    async def _by_both(self, limit: int) -> list[Hit]:
        table, options = self._tables.Chunk, self._options
        found: list[rf.HybridHit[Any]] = await self._db.hybrid(
            table.meaning,
            table.words,
            self._question.embeddings,
            self._question.text,
            limit=limit,
            weight=options.weight,
            method=options.method,
            explain=False,
            **self._conditions,
        )
        return [_hit(one) for one in found]

    # Reasons

    async def _with_reasons(self) -> list[tuple[Hit, str | None]]:
        """Hits, and what else either ranking would have brought up; of the latter why it is not among the hits."""
        if self._mode != "text" and self._question.embeddings:
            try:
                return await self._reasons_of_both()
            except GenerationMismatch:
                self._without_vector(OTHER_MODEL)
        if self._mode != "text":
            return []
        hits = await self._by_words(self._depth)
        seen = {hit.chunk.id for hit in hits}
        free = await self._db.search(self._tables.Chunk.words, self._question.text, limit=self._depth, **self._within)
        others = [
            Hit(chunk=hit.doc, unweighed=hit.score, dense=rf.Leg(), words=rf.Leg(score=hit.score))
            for hit in free
            if hit.doc.id not in seen
        ]
        return [*((hit, None) for hit in hits), *((hit, "filtered out") for hit in others)]

    async def _reasons_of_both(self) -> list[tuple[Hit, str | None]]:
        table, options = self._tables.Chunk, self._options
        told = await self._db.hybrid(
            table.meaning,
            table.words,
            self._question.embeddings,
            self._question.text,
            limit=self._depth,
            weight=1.0 if self._mode == "dense" else options.weight,
            method=options.method,
            explain=True,
            **self._conditions,
        )
        found: list[tuple[Hit, str | None]] = []
        for one in told.hits:
            if self._mode == "hybrid":
                found.append((_hit(one), None))
            else:  # by meaning alone, what only the words brought up is no hit
                score = one.dense.score or 0.0
                found.append((replace(_hit(one), unweighed=score), one.dense.why))
        for one in told.left_out:
            hit = Hit(chunk=one.doc, unweighed=0.0, dense=one.dense, words=one.text)
            found.append((hit, one.why))
        return found

    async def _load_sources(self, hits: Sequence[Hit]) -> None:
        unknown = [hit.chunk for hit in hits if hit.chunk.source not in self._sources]
        self._sources |= await sources_of(self._db, unknown)


def _hit(found: rf.HybridHit[Chunk]) -> Hit:
    return Hit(chunk=found.doc, unweighed=found.score, dense=found.dense, words=found.text)


def _legs(hit: Hit) -> dict[str, rf.Leg]:
    return {"dense": hit.dense, "words": hit.words}


def _below(rank: int, hit: Hit, limit: int) -> str:
    return f"rank {rank} with a score of {hit.score:.4g}; the limit is {limit}"


def _reordered(hits: Sequence[Hit], reranked: Sequence[Reranked]) -> list[Hit]:
    """Hits in the reranker's order; those that it has not seen come last, in their own order."""
    scores = {(one.chunk, one.hash): one.score for one in reranked}
    judged = [replace(hit, rerank=scores.get((hit.chunk.id, hit.chunk.hash))) for hit in hits]
    return sorted(judged, key=lambda hit: (hit.rerank is None, -hit.score if hit.rerank is not None else 0.0))
