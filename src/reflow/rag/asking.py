"""Making a question ready: rewriting it, embedding it, and putting what it finds in a reranker's order."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import reflow as rf
from reflow.errors import GenerationMismatch
from reflow.rag.embedders.base import batching
from reflow.rag.queries import Asked, Options, Question, Spent
from reflow.rag.reembed import model_of
from reflow.rag.rerank import Reranker
from reflow.rag.results import Candidate
from reflow.rag.tables import Reranked
from reflow.rag.transform import Transform, Transformed

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """What searches of a corpus can do besides: `transforms` by the names that options use, and a `reranker`."""

    transforms: Mapping[str, Transform] = field(default_factory=dict[str, Transform])
    reranker: Reranker | None = None


async def ask(corpus: Corpus, ctx: rf.ActionCtx, text: str, options: Options) -> Asked:
    """A question with its vectors, one for each model in use that the corpus has an embedder for.

    Raises ProviderError, and GenerationMismatch where the corpus has no embedder for the model in use.
    """
    if not options.needs_vector:
        return Asked(question=Question(text=text), text=text)
    changed = Transformed(text=text)
    spent: list[Spent] = []
    if options.transform is not None:
        changed = await corpus.search.transforms[options.transform](text)
        if changed.model:
            spent.append(
                Spent(
                    work="rewrite",
                    model=changed.model,
                    tokens_in=changed.tokens_in,
                    tokens_out=changed.tokens_out,
                    ms=changed.ms,
                )
            )
    embedding, cost = await _embed(corpus, ctx, changed)
    return Asked(question=Question(text=text, embeddings=[embedding]), text=changed.text, spent=[*spent, cost])


async def _embed(corpus: Corpus, ctx: rf.ActionCtx, asked: Transformed) -> tuple[rf.Embedding, Spent]:
    index = corpus.tables.Chunk.meaning
    embedder = batching(corpus.embedder).configured(ctx.env)
    model = await asyncio.to_thread(model_of, embedder)  # the first time it is loaded
    in_use = [row.model for row in await ctx.generations.list(index) if row.state != "vacuuming"]
    if in_use and model not in in_use:
        raise GenerationMismatch(
            f"{index!r} holds vectors of {' and '.join(map(str, in_use))}, and the corpus embeds with {model}: embed "
            "its sources anew (`reflow reembed`), or give the corpus the embedder that they were made with"
        )
    done = await embedder.embed_batch([asked.text], asked.kind)
    spent = Spent(
        work="search", model=model.embedder, tokens_in=done.tokens, ms=done.milliseconds, retries=done.retries
    )
    return rf.Embedding.of(done.vectors[0], model), spent


async def judge(
    reranker: Reranker, question: str, candidates: Sequence[Candidate]
) -> tuple[list[Reranked], Spent | None]:
    """What a reranker makes of the candidates. Raises ProviderError."""
    if not candidates:
        return [], None
    judged = await reranker.rerank(question, [one.text for one in candidates])
    scores = [
        Reranked(chunk=one.chunk, hash=one.hash, score=score)
        for one, score in zip(candidates, judged.scores, strict=True)
    ]
    spent = Spent(
        work="rerank",
        model=reranker.id,
        tokens_in=judged.tokens,
        ms=judged.milliseconds,
        retries=judged.retries,
    )
    return scores, spent
