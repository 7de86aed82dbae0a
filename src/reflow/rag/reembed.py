"""Another model for a vector index, without a pause: fill a second generation, then flip to it.

Built on `ctx.generations`, like an application's own code could be. Every step is a transaction and repeating one
changes nothing, so a run that was cut short is simply run again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from reflow import ActionCtx, Embedding, Generation, Model, Table, VectorIndex
from reflow.errors import GenerationMismatch
from reflow.rag.embedders.base import Embedded, Embedder, Kind, batching

T = TypeVar("T", bound=Table)

READ_AHEAD = 1000
"""Documents that are looked up at once."""


class Progress(NamedTuple):
    """How far a generation is, in documents."""

    filled: int
    total: int


def model_of(embedder: Embedder, chunker: str = "") -> Model:
    """The model that an embedder's vectors are of."""
    return Model(
        embedder=embedder.id,
        revision=embedder.revision,
        dims=embedder.dims,
        normalized=embedder.normalized,
        chunker=chunker,
    )


async def embed_for(
    ctx: ActionCtx,
    index: VectorIndex,
    embedders: Sequence[Embedder],
    texts: Sequence[str],
    kind: Kind,
    *,
    chunker: str = "",
) -> list[list[Embedding]]:
    """Per text, one embedding for each generation of the index, so that writes and searches hold before and after a
    flip. `embedders` are those the application has; an index without generations takes the first one.

    Raises GenerationMismatch when none of them made the vectors in use.
    """
    in_use = [row.model for row in await ctx.generations.list(index) if row.state != "vacuuming"]
    wanted = [one for one in embedders if model_of(one, chunker) in in_use] if in_use else list(embedders[:1])
    if not wanted:
        raise GenerationMismatch(
            f"{index!r} holds vectors of {' and '.join(map(str, in_use))}, and no embedder for that model was given"
        )
    embeddings: list[list[Embedding]] = [[] for _ in texts]
    for embedder in wanted:
        model = model_of(embedder, chunker)
        for found, vector in zip(embeddings, await embedder.embed(texts, kind), strict=True):
            found.append(Embedding.of(vector, model))
    return embeddings


async def reembed(
    ctx: ActionCtx,
    index: VectorIndex,
    embedder: Embedder,
    text: Callable[[Any], str],
    *,
    chunker: str = "",
    batch: int = 64,
    flip: bool = True,
    progress: Callable[[Progress], None] | None = None,
    spent: Callable[[Sequence[Any], Embedded], Awaitable[None]] | None = None,
) -> Generation:
    """Gives every document of an index that has a vector one of `embedder`'s, then makes those the ones in use.

    `text` says what of a document is embedded. Searches go on with the former vectors meanwhile, and what is written
    meanwhile is taken along. The rows of `rf.Generation` tell live how far it is, and so does `progress`; `spent` is
    told what each batch of documents took. Returns the
    generation; the former one stays until `ctx.generations.vacuum`, so `ctx.generations.flip` can go back.
    """
    row = await ctx.generations.start(index, model_of(embedder, chunker))
    while True:
        while documents := await ctx.generations.lacking(index, row.number, limit=READ_AHEAD):
            for start in range(0, len(documents), batch):
                part = documents[start : start + batch]
                made = await batching(embedder).embed_batch([text(document) for document in part], "document")
                vectors = zip(part, made.vectors, strict=True)
                pairs = [(one, Embedding.of(vector, row.model)) for one, vector in vectors]
                await ctx.generations.put(index, row.number, pairs)
                if spent is not None:
                    await spent(part, made)
                if progress is not None:
                    progress(await _progress(ctx, index, row.number))
        if not flip:
            return await _row(ctx, index, row.number)
        try:
            await ctx.generations.flip(index, row.number)
        except GenerationMismatch:
            # Somebody wrote between the last look and the flip: what came in is embedded, too.
            if not await ctx.generations.lacking(index, row.number, limit=1):
                raise
            continue
        return await _row(ctx, index, row.number)


async def _row(ctx: ActionCtx, index: VectorIndex, number: int) -> Generation:
    return next(row for row in await ctx.generations.list(index) if row.number == number)


async def _progress(ctx: ActionCtx, index: VectorIndex, number: int) -> Progress:
    row = await _row(ctx, index, number)
    return Progress(row.filled, row.total)
