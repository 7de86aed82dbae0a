"""Making a question ready: rewriting it, embedding it, and putting what it finds in a reranker's order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import reflow as rf
from reflow.errors import ReflowError
from reflow.rag.embedders.base import BatchEmbedder, Kind
from reflow.rag.ingestion.models import Models
from reflow.rag.search.queries import Asked, Options, Question, Spent
from reflow.rag.search.rerank import Reranker
from reflow.rag.search.results import Candidate
from reflow.rag.search.transform import Transform, Transformed, hypothetical, rewrite
from reflow.rag.tables import Reranked

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchSettings:
    """What searches of a corpus can do besides: `transforms` by the names that options use, and a `reranker`.

    A corpus with a chat model has the transforms "rewrite" and "hypothetical" by itself.
    """

    transforms: Mapping[str, Transform] = field(default_factory=dict[str, Transform])
    reranker: Reranker | None = None


def transforms_of(corpus: Corpus, ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx) -> Mapping[str, Transform]:
    """The transformations that there are now. Raises what is wrong with the settings of the chat model."""
    if corpus.chat is None or corpus.chat_for(ctx) is None:
        return corpus.search.transforms
    return {"rewrite": rewrite(corpus.chat), "hypothetical": hypothetical(corpus.chat), **corpus.search.transforms}


async def ask(corpus: Corpus, ctx: rf.ActionCtx, text: str, options: Options, spent: list[Spent]) -> Asked:
    """A question with its vectors, one for each model in use that the corpus has an embedder for.

    What it takes is added to `spent` as it goes: what was done before it fails is paid for, too. Raises ProviderError,
    and GenerationMismatch where the corpus has no embedder for a model in use.
    """
    if not options.needs_vector:
        return Asked(question=Question(text=text), text=text)
    changed = Transformed(text=text)
    if options.transform is not None:
        changed = await _transform(corpus, ctx, options.transform)(ctx, text)
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
    makers = await Models(corpus).wanted(ctx)
    embeddings: list[rf.Embedding] = []
    for embedder, model in zip(makers.embedders, makers.choice.models, strict=True):
        embedding, cost = await embed(embedder, model, changed.text, changed.kind)
        embeddings.append(embedding)
        spent.append(cost)
    question = Question(text=text, embeddings=embeddings)
    return Asked(question=question, text=changed.text, kind=changed.kind, spent=list(spent))


def _transform(corpus: Corpus, ctx: rf.ActionCtx, name: str) -> Transform:
    found = transforms_of(corpus, ctx).get(name)
    if found is None:
        raise ReflowError(f"the transformation {name!r} is not there any more: choose another one, or none")
    return found


async def embed(embedder: BatchEmbedder, model: rf.Model, text: str, kind: Kind) -> tuple[rf.Embedding, Spent]:
    """A text's vector, and what it took. Raises ProviderError."""
    done = await embedder.embed_batch([text], kind)
    spent = Spent(
        work="search", model=model.embedder, tokens_in=done.tokens, ms=done.milliseconds, retries=done.retries
    )
    return rf.Embedding.of(done.vectors[0], model), spent


async def judge(
    ctx: rf.ActionCtx, reranker: Reranker, question: str, candidates: Sequence[Candidate], spent: list[Spent]
) -> list[Reranked]:
    """What a reranker makes of the candidates. What it takes is added to `spent`. Raises ProviderError."""
    if not candidates:
        return []
    judged = await reranker.configured(ctx.env).rerank(question, [one.text for one in candidates])
    spent.append(
        Spent(
            work="rerank",
            model=reranker.id,
            tokens_in=judged.tokens,
            ms=judged.milliseconds,
            retries=judged.retries,
        )
    )
    return [
        Reranked(chunk=one.chunk, hash=one.hash, score=score)
        for one, score in zip(candidates, judged.scores, strict=True)
    ]
