"""Vectors by what they were made of, so that no text is embedded twice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

import reflow as rf
from reflow.rag.embedders.base import Kind
from reflow.rag.tables import Cached

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

_DAY_MS = 86_400_000.0


def text_hash(text: str) -> str:
    """Names a text by its content: 64 hexadecimal digits."""
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def digest_of(model: rf.Model, kind: Kind, hash: str) -> str:
    """Names the vector that `model` makes of a text: equal for equal vectors only."""
    parts = (model.embedder, model.revision, str(model.dims), str(model.normalized), kind, hash)
    return sha256("\0".join(parts).encode("utf-8", "surrogatepass")).hexdigest()


class Cache:
    """The cached vectors of a corpus: of all its owners together, since equal texts have equal vectors."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._table = corpus.tables.Cached

    async def get(self, ctx: rf.MutationCtx, models: Sequence[rf.Model], hash: str) -> list[rf.Embedding] | None:
        """What each model makes of a document's text; None unless all of that is here. Notes that it was of use."""
        found: list[rf.Embedding] = []
        for model in models:
            row = await self._row(ctx, digest_of(model, "document", hash))
            if row is None:
                return None
            if row.used < _today(ctx):
                await ctx.db.patch(row.id, used=_today(ctx))
            found.append(rf.Embedding(data=row.vector, model=model))
        return found

    async def put(self, ctx: rf.MutationCtx, made: Iterable[tuple[str, Sequence[rf.Embedding]]]) -> None:
        """Keeps what was made of documents' texts, given by their hashes.

        It is not looked up once more whether one of them is here already: whoever embeds has done so, and no text is
        under way twice. A second row of the same would be in nobody's way.
        """
        vectors = {
            digest_of(embedding.model, "document", hash): embedding.data
            for hash, embeddings in made
            for embedding in embeddings
        }
        today = _today(ctx)
        await ctx.db.insert_many(
            self._table(digest=digest, vector=vector, used=today) for digest, vector in vectors.items()
        )

    async def prune(self, ctx: rf.MutationCtx) -> bool:
        """Removes some of those that were of no use for longest, where there are too many; True while there are."""
        limits = self._corpus.limits
        excess = await ctx.db.query(self._table).count() - limits.cached_vectors
        if excess <= 0:
            return False
        oldest = ctx.db.query(self._table).using(self._table.by_use)
        part = await oldest.take(min(excess, limits.cached_vectors_pruned))
        await ctx.db.delete_many(row.id for row in part)
        return excess > len(part)

    async def _row(self, ctx: rf.MutationCtx, digest: str) -> Cached | None:
        return await ctx.db.query(self._table).using(self._table.by_digest, digest=digest).first()


def _today(ctx: rf.MutationCtx) -> float:
    """To the day, so that vectors in daily use are not written each time."""
    return ctx.now() * 1000 // _DAY_MS * _DAY_MS
