"""Whose turn it is: the texts of a corpus that are to be embedded next.

What a person adds comes first, the newest before others, and no source takes a whole turn while others wait; a part of
each turn goes to what waits longest and to imports of many, so that these end, too.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from typing import TYPE_CHECKING, Any

import reflow as rf
from reflow.rag.costs.spending import Refusal
from reflow.rag.ingestion.cache import digest_of, text_hash
from reflow.rag.tables import OWNER, Chunk, Draft, Source, Version

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


Reader = rf.QueryCtx | rf.MutationCtx


class Item(rf.Object, frozen=True):
    """A text to embed: of a chunk, of a draft, or of a source's summary, told by the table that `id` is of."""

    id: str
    hash: str
    text: str
    source: str


class Held(rf.Object):
    """A version that a budget keeps from going on."""

    version: str
    refusal: Refusal


class Turn(rf.Object):
    """What is to be done next. `known` are those of the items whose vectors are in the cache. `stale`: other models'
    vectors are wanted now than those that were asked for."""

    items: list[Item]
    known: list[str]
    held: list[Held]
    stale: bool = False


class Turns:
    """Chooses, within one transaction that only reads."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._tables = corpus.tables

    async def next(
        self,
        ctx: Reader,
        models: Sequence[rf.Model],
        busy: Collection[str],
        most: int,
        now: float,
    ) -> Turn:
        """At most `most` texts that are due at `now` (milliseconds since 1970), without those whose hash is in `busy`.

        With the corpus's cache, texts whose vectors of all `models` are there are marked as known.
        """
        choice = _Choice(self._corpus, ctx, set(busy), most)
        await choice.summaries(now, max(1, most // 4))
        most_versions = most + len(busy)
        newest = await self._due(ctx, now, bulk=False, newest=True).take(most_versions)
        oldest = await self._due(ctx, now, bulk=False, newest=False).take(most_versions)
        imports = await self._due(ctx, now, bulk=True, newest=False).take(most_versions)
        await choice.pieces(newest, each=max(1, most // 2), until=most - most // 4)
        await choice.pieces(oldest, each=max(1, most // 8), until=most - most // 8)
        await choice.pieces(imports, each=most, until=most)
        await choice.pieces(newest, each=most, until=most)
        known: list[str] = []
        if self._corpus.cache:
            known = [item.id for item in choice.items if await self._is_known(ctx, models, item)]
        return Turn(items=choice.items, known=known, held=choice.held)

    def _due(self, ctx: Reader, now: float, *, bulk: bool, newest: bool) -> rf.Query[Version]:
        table = self._tables.Version
        found = ctx.db.query(table).using(table.by_turn, state="embedding", bulk=bulk).lte(now)
        return found.order("desc") if newest else found

    async def _is_known(self, ctx: Reader, models: Sequence[rf.Model], item: Item) -> bool:
        table = self._tables.Cached
        for model in models:
            digest = digest_of(model, "document", item.hash)
            if await ctx.db.query(table).using(table.by_digest, digest=digest).first() is None:
                return False
        return True

    async def following(self, ctx: rf.MutationCtx, now: float) -> float | None:
        """When there is something to do after `now`, in milliseconds since 1970; None: never, as things are."""
        version, source = self._tables.Version, self._tables.Source
        times: list[float] = []
        for bulk in (False, True):
            later = ctx.db.query(version).using(version.by_turn, state="embedding", bulk=bulk).gt(now)
            if (found := await later.first()) is not None and found.next_try is not None:
                times.append(found.next_try)
        waiting = ctx.db.query(source).using(source.by_summary, summary_embedded=False).gt(now)
        if (about := await waiting.first()) is not None and about.summary_due is not None:
            times.append(about.summary_due)
        return min(times, default=None)

    async def due(self, ctx: rf.MutationCtx, now: float, most: int) -> list[Version]:
        """Versions that are in work and due, at most `most` of each sort."""
        return [
            version
            for bulk in (False, True)
            for version in await self._due(ctx, now, bulk=bulk, newest=False).take(most)
        ]


class _Choice:
    """A turn while it is being chosen."""

    def __init__(self, corpus: Corpus, ctx: Reader, busy: set[str], most: int) -> None:
        self._corpus = corpus
        self._ctx = ctx
        self._busy = busy
        self._most = most
        self._chosen: set[str] = set()
        self._refusals: dict[str, Refusal | None] = {}
        self.items: list[Item] = []
        self.held: list[Held] = []

    async def summaries(self, now: float, until: int) -> None:
        """Takes summaries whose vectors are wanted."""
        table = self._corpus.tables.Source
        due = self._ctx.db.query(table).using(table.by_summary, summary_embedded=False).lte(now)
        async for source in due:
            if len(self.items) >= until:
                return
            if source.summary is not None and await self._refusal(source) is None:
                self._add(source.id, summary_hash(source), source.summary, source.id)

    async def pieces(self, versions: Sequence[Version], *, each: int, until: int) -> None:
        """Takes texts of versions in turn, `each` of one at most, until there are so many."""
        for version in versions:
            if len(self.items) >= until:
                return
            source = await self._ctx.db.get(version.source)
            if source is None or any(held.version == version.id for held in self.held):
                continue
            refusal = await self._refusal(source)
            if refusal is not None:
                self.held.append(Held(version=version.id, refusal=refusal))
                continue
            wanted = min(each, until - len(self.items))
            async for piece in pieces_to_embed(self._corpus, self._ctx, source, version):
                wanted -= self._add(piece.id, piece.hash, piece.text, source.id)
                if wanted <= 0:
                    break

    def _add(self, id: str, hash: str, text: str, source: str) -> bool:
        if id in self._chosen or hash in self._busy:
            return False
        self._chosen.add(id)
        self.items.append(Item(id=id, hash=hash, text=text, source=source))
        return True

    async def _refusal(self, source: Source) -> Refusal | None:
        """What the ledger says to work for a source: asked once for each owner."""
        owner = getattr(source, OWNER, "")
        if owner not in self._refusals:
            model = self._corpus.embedder.id
            self._refusals[owner] = await self._corpus.ledger.refusal(self._ctx, "embed", row=source, model=model)
        return self._refusals[owner]


async def pieces_to_embed(
    corpus: Corpus, ctx: Reader, source: Source, version: Version
) -> AsyncIterator[Chunk | Draft]:
    """The chunks or drafts of a version that have no vector yet and may get one, in their order."""
    table: Any = corpus.sources.pieces(source)
    rows = ctx.db.query(table).using(table.by_embedded, embedded=False, source=source.id)
    async for piece in rows.filter(lambda piece: piece.version == version.number and piece.error is None):
        yield piece


def summary_hash(source: Source) -> str:
    """Names a summary by its content."""
    return text_hash(source.summary or "")
