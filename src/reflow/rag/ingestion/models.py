"""Which models' vectors a corpus holds, and the embedders that make them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple

import reflow as rf
from reflow.errors import ApplicationError, GenerationMismatch
from reflow.rag.embedders.base import BatchEmbedder, Embedder, batching
from reflow.rag.reembed import model_of

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class Choice(rf.Object):
    """The models whose vectors are written, and the others that embedders are there for."""

    models: list[rf.Model]
    others: list[rf.Model]


class Makers(NamedTuple):
    """Embedders, ready to be asked, one for each model of the choice."""

    embedders: list[BatchEmbedder]
    choice: Choice


class Models:
    """The models of a corpus's chunks. While one takes another's place, vectors of both are written."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus

    async def wanted(self, ctx: rf.ActionCtx) -> Makers:
        """The embedders whose vectors are to be written; loads those that are models on this machine.

        Raises GenerationMismatch when no embedder of the corpus makes vectors of a model that is in use.
        """
        there = [batching(embedder).configured(ctx.env) for embedder in self._corpus.embedders]
        models = [await asyncio.to_thread(model_of, embedder) for embedder in there]  # the first access loads the model
        in_use = await self.in_use(ctx) or models[:1]
        written = [number for number, model in enumerate(models) if model in in_use]
        if not written:
            raise GenerationMismatch(
                f"corpus {self._corpus.name!r} holds vectors of {' and '.join(map(str, in_use))}, and its embedder is "
                f"{models[0]}: write Corpus(embedder=<the one before>, others=[<this one>]) and change over with "
                "`reflow reembed`"
            )
        choice = Choice(
            models=[models[number] for number in written],
            others=[model for model in models if model not in in_use],
        )
        return Makers([there[number] for number in written], choice)

    def named(self, id: str) -> Embedder:
        """The embedder of that id. Raises ApplicationError, naming those there are."""
        for embedder in self._corpus.embedders:
            if embedder.id == id:
                return embedder
        there = ", ".join(embedder.id for embedder in self._corpus.embedders)
        raise ApplicationError(
            f"corpus {self._corpus.name!r} has no embedder {id!r}, it has {there}: add it with Corpus(others=[...])"
        )

    async def in_use(self, ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx) -> list[rf.Model]:
        """Models whose vectors are searched, or will be."""
        rows = await ctx.generations.list(self._corpus.tables.Chunk.meaning)
        return [row.model for row in rows if row.state != "vacuuming"]

    async def is_stale(self, ctx: rf.QueryCtx | rf.MutationCtx, choice: Choice) -> bool:
        """Whether another of the models has come into use since the choice was made."""
        return any(model in choice.others for model in await self.in_use(ctx))
