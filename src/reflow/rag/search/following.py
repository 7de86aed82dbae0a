"""Stored searches follow the chunks to another model: their questions are embedded anew, in the background."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import reflow as rf
from reflow.rag.ingestion.models import Models
from reflow.rag.part import Part
from reflow.rag.tables import Search

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

RETRY = rf.Retry(attempts=10, first=1.0, factor=2.0, longest=300.0)
_BATCH = 64
"""Questions of one round."""


class Old(rf.Object):
    """A stored search that is to be embedded again: what of it, as what, and the embeddings that it has."""

    search: str
    run: int
    text: str
    kind: Literal["query", "document"]
    embeddings: list[rf.Embedding]


class Round(rf.Object):
    """Some of the stored searches; `cursor` is where the next round begins, None after the last."""

    searches: list[Old]
    cursor: str | None


class Following:
    """What brings the questions of stored searches to the models that the chunks have."""

    def __init__(self, part: Part, corpus: Corpus) -> None:
        self._corpus = corpus
        self._models = Models(corpus)
        self.follow = part.background_action("follow", self._follow, retry=RETRY)
        self.round = part.background_query("followRound", self._round)
        self.refit = part.background_mutation("refit", self._refit)

    async def _follow(self, ctx: rf.ActionCtx) -> None:
        """Every step is a transaction, and repeating one changes nothing."""
        index = self._corpus.tables.Search.meaning
        makers = await self._models.wanted(ctx)
        models = makers.choice.models
        for model in models:
            await ctx.generations.start(index, model)
        cursor: str | None = None
        while True:
            found = await ctx.run_query(self.round, cursor)
            for kind in ("query", "document"):
                olds = [old for old in found.searches if old.kind == kind]
                for embedder, model in zip(makers.embedders, models, strict=True):
                    lacking = [old for old in olds if model not in [one.model for one in old.embeddings]]
                    for start in range(0, len(lacking), embedder.max_batch):
                        part = lacking[start : start + embedder.max_batch]
                        vectors = (await embedder.embed_batch([old.text for old in part], kind)).vectors
                        for old, vector in zip(part, vectors, strict=True):
                            old.embeddings.append(rf.Embedding.of(vector, model))
            await ctx.run_mutation(self.refit, found.searches, models)
            if found.cursor is None:
                break
            cursor = found.cursor
        await self._change_over(ctx, models)

    async def _change_over(self, ctx: rf.ActionCtx, models: list[rf.Model]) -> None:
        """Searches are found by the model that the chunks are found by, and vectors of former ones go."""
        index, tables = self._corpus.tables.Search.meaning, self._corpus.tables
        chunks = await ctx.generations.list(tables.Chunk.meaning)
        active = next((row.model for row in chunks if row.state == "active"), models[0])
        rows = await ctx.generations.list(index)
        for row in rows:
            if row.model == active:
                await ctx.generations.flip(index, row.number)
        for row in rows:
            if row.model not in models:
                while await ctx.generations.vacuum(index, row.number):
                    continue

    async def _round(self, ctx: rf.QueryCtx, cursor: str | None) -> Round:
        query = ctx.db.query(self._corpus.tables.Search)
        page = await query.paginate(rf.PaginationOptions(num_items=_BATCH, cursor=cursor))
        searches = [_old(row) for row in page.page if row.question is not None and row.question.embeddings]
        return Round(searches=searches, cursor=None if page.is_done else page.continue_cursor)

    async def _refit(self, ctx: rf.MutationCtx, olds: list[Old], models: list[rf.Model]) -> None:
        """Stores the new embeddings, unless a search was run again meanwhile. Those of models gone by go."""
        index = self._corpus.tables.Search.meaning
        for old in olds:
            row: Search | None = await ctx.db.get(rf.Id(old.search))
            if row is None or row.question is None or row.run != old.run:
                continue
            row.question.embeddings = [one for one in old.embeddings if one.model in models]
            await ctx.db.patch(row.id, question=row.question)
            await ctx.db.set_vector(index, row.id, row.question.embeddings)


def _old(row: Search) -> Old:
    assert row.question is not None
    return Old(
        search=row.id,
        run=row.run,
        text=row.asked or row.input,
        kind=row.asked_as,
        embeddings=row.question.embeddings,
    )
