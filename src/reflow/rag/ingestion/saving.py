"""What came of embedding, written down: vectors, or why there are none. Each call is part of one transaction.

A row that was changed or deleted since its text was read is passed over: its vector would be of another text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import reflow as rf
from reflow.rag.costs.spending import Entry, apportion
from reflow.rag.ingestion.cache import Cache
from reflow.rag.ingestion.models import Choice, Models
from reflow.rag.ingestion.turns import Held, Item, summary_hash
from reflow.rag.tables import Chunk, Draft, Source, Version

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

Row = Chunk | Draft | Source


class Made(rf.Object):
    """What the models made of one text: a vector of each, as float32 numbers, little-endian; `size` in tokens as the
    embedder counts them, to divide what the provider counted."""

    item: Item
    vectors: list[bytes]
    size: int


class Effort(rf.Object):
    """What a batch took. `milliseconds` is time in the model, or in requests for it."""

    tokens: int = 0
    milliseconds: float = 0.0
    retries: int = 0


class Fault(rf.Object):
    """Why a batch failed. `pause` is what the provider asked for, in seconds."""

    message: str
    retryable: bool
    pause: float | None = None


class Saving:
    """Writes to the rows that have a text to embed, to their versions, to the cache and to the ledger."""

    def __init__(self, corpus: Corpus, cache: Cache, models: Models) -> None:
        self._corpus = corpus
        self._models = models
        self._tables = corpus.tables
        self._cache = cache

    async def made(self, ctx: rf.MutationCtx, choice: Choice, made: Sequence[Made], effort: Effort) -> None:
        """Stores new vectors, one per model and text."""
        embeddings = [
            [rf.Embedding(data=data, model=model) for data, model in zip(one.vectors, choice.models, strict=True)]
            for one in made
        ]
        rows = await self._rows(ctx, [one.item for one in made])
        sizes: Counter[str] = Counter()
        for one, row, vectors in zip(made, rows, embeddings, strict=True):
            if row is not None:
                await self._set(ctx, row, vectors, choice)
            sizes[one.item.source] += one.size
        if self._corpus.cache:
            await self._cache.put(ctx, ((one.item.hash, pair) for one, pair in zip(made, embeddings, strict=True)))
        await self._note(ctx, sizes, choice.models[0], effort)

    async def known(self, ctx: rf.MutationCtx, choice: Choice, items: Sequence[Item]) -> None:
        """Stores vectors that are in the cache."""
        found: Counter[str] = Counter()
        for item, row in zip(items, await self._rows(ctx, items), strict=True):
            vectors = None if row is None else await self._cache.get(ctx, choice.models, item.hash)
            if row is not None and vectors is not None:
                await self._set(ctx, row, vectors, choice)
                found[item.source] += 1
        for id, count in found.items():
            if (version := await self._version(ctx, id)) is not None:
                await ctx.db.patch(version.id, cached=version.cached + count, model=choice.models[0].embedder)
            await self._corpus.sources.finish(ctx, rf.Id(id))

    async def refused(self, ctx: rf.MutationCtx, items: Sequence[Item], message: str) -> list[str]:
        """The embedder takes no such text: its chunk has no vector, and says why. A source with too many of them is
        failed; returns those."""
        given_up: list[str] = []
        for row in await self._rows(ctx, items):
            if isinstance(row, Source):
                await ctx.db.patch(row.id, summary_embedded=True, summary_due=rf.UNSET)
            elif row is not None and await self._refuse(ctx, row, message):
                given_up.append(row.source)
        return given_up

    async def _refuse(self, ctx: rf.MutationCtx, row: Chunk | Draft, message: str) -> bool:
        await ctx.db.patch(row.id, error=message)
        table: Any = type(row)
        lacking = ctx.db.query(table).using(table.by_embedded, embedded=False, source=row.source)
        refused = await lacking.filter(lambda piece: piece.error is not None).take(
            self._corpus.limits.embedding_failures
        )
        if len(refused) == self._corpus.limits.embedding_failures:
            reason = f"the embedder refused {len(refused)} of its chunks, chunk {row.number + 1} with: {message}"
            await self._corpus.sources.fail(ctx, row.source, reason)
            return True
        await self._corpus.sources.finish(ctx, row.source)
        return False

    async def failed(self, ctx: rf.MutationCtx, items: Sequence[Item], fault: Fault) -> None:
        """A batch failed: its sources are tried again later, or are failed where that makes no sense any more."""
        for row in await self._rows(ctx, items):
            if isinstance(row, Source):
                pause = self._corpus.pace.longest_pause if fault.pause is None else fault.pause
                await ctx.db.patch(row.id, summary_due=(ctx.now() + pause) * 1000)
        for id in {item.source: None for item in items}:
            version = await self._version(ctx, id)
            if version is not None:
                await self._failed(ctx, rf.Id(id), version, fault)

    async def _failed(self, ctx: rf.MutationCtx, source: rf.Id[Any], version: Version, fault: Fault) -> None:
        now, pace = ctx.now() * 1000, self._corpus.pace
        since = now if version.failing_since is None else version.failing_since
        # A pause that the provider asked for is no failure to embed, however often it comes.
        if not fault.retryable or (fault.pause is None and now - since > pace.patience * 1000):
            tries = version.attempts + 1
            more = f" ({tries} tries in {(now - since) / 1000:.0f} s)" if fault.retryable else ""
            await self._corpus.sources.fail(ctx, source, fault.message + more)
            return
        if version.next_try is not None and version.next_try > now:
            return  # another batch that was under way has said so already
        attempts = version.attempts + 1
        pause = fault.pause
        if pause is None:
            pause = min(pace.first_pause * 2.0 ** min(attempts - 1, 32), pace.longest_pause)
            pause *= 1 + 0.25 * ctx.random.random()
        await ctx.db.patch(
            version.id,
            attempts=attempts,
            failing_since=since,
            next_try=now + pause * 1000,
            error=fault.message,
        )

    async def held(self, ctx: rf.MutationCtx, held: Sequence[Held]) -> None:
        """Versions that a budget holds up say so, and are looked at again a while later."""
        until = (ctx.now() + self._corpus.limits.budget_check_seconds) * 1000
        for one in held:
            version = await ctx.db.get(rf.Id[Any](one.version))
            if isinstance(version, Version) and version.state == "embedding":
                due = until if one.refusal.until is None else min(until, one.refusal.until * 1000)
                await ctx.db.patch(version.id, next_try=due, error=one.refusal.reason)

    async def refilled(self, ctx: rf.MutationCtx, model: str, sizes: Mapping[str, int], effort: Effort) -> None:
        """Writes to the ledger what vectors of another model took; `sizes` are characters of each source's texts."""
        entries = await self._entries(ctx, sizes, model, effort)
        await self._corpus.ledger.record(ctx, *entries)

    # Rows

    async def _rows(self, ctx: rf.MutationCtx, items: Sequence[Item]) -> list[Row | None]:
        """The rows that the items are of, None for each that is another one now."""
        rows: list[Any] = await ctx.db.get_many([rf.Id[Any](item.id) for item in items])
        return [row if _is_meant(row, item) else None for row, item in zip(rows, items, strict=True)]

    async def reopen(self, ctx: rf.MutationCtx, model: rf.Model, after: str | None) -> str | None:
        """Drafts of the first source behind `after` that have no vector of `model` are embedded anew. Returns that
        source, None where there is none any more."""
        table = self._tables.Draft
        drafts = ctx.db.query(table).using(table.by_source)
        first = await (drafts if after is None else drafts.gt(after)).first()
        if first is None:
            return None
        for row in await ctx.db.query(table).using(table.by_source, source=first.source).collect():
            if row.embedded and row.chunk is None and all(one.model != model for one in row.vectors or ()):
                await ctx.db.patch(row.id, embedded=False, vectors=rf.UNSET)
        return first.source

    async def _set(self, ctx: rf.MutationCtx, row: Row, vectors: list[rf.Embedding], choice: Choice) -> None:
        if isinstance(row, Draft):
            # A search by a model that came into use since the run began could not find it: another run embeds it.
            if not await self._models.is_stale(ctx, choice):
                await ctx.db.patch(row.id, vectors=vectors, embedded=True)
        elif isinstance(row, Chunk):
            await ctx.db.set_vector(self._tables.Chunk.meaning, row.id, vectors)
            await ctx.db.patch(row.id, embedded=True)
        else:
            await ctx.db.set_vector(self._tables.Source.meaning, row.id, vectors)
            await ctx.db.patch(row.id, summary_embedded=True, summary_due=rf.UNSET)

    async def _note(self, ctx: rf.MutationCtx, sizes: Mapping[str, int], model: rf.Model, effort: Effort) -> None:
        """Divides the effort among the sources, writes it to their versions and the ledger, and ends what is done."""
        entries = await self._entries(ctx, sizes, model.embedder, effort)
        for entry in entries:
            if entry.row is not None:
                await self._advance(ctx, entry.row.id, entry)
                await self._corpus.sources.finish(ctx, entry.row.id)
        await self._corpus.ledger.record(ctx, *entries)

    async def _entries(self, ctx: rf.MutationCtx, sizes: Mapping[str, int], model: str, effort: Effort) -> list[Entry]:
        """One request for several sources as entries of the ledger. Sources that are gone have none."""
        tokens = apportion(effort.tokens, list(sizes.values()))
        times = apportion(round(effort.milliseconds * 1000), list(sizes.values()))
        rows: list[Any] = await ctx.db.get_many([rf.Id[Any](id) for id in sizes])
        return [
            Entry(
                work="embed",
                model=model,
                row=row,
                tokens_in=tokens[place],
                ms=times[place] / 1000,
                retries=effort.retries if place == 0 else 0,
                calls=1 if place == 0 else 0,
            )
            for place, row in enumerate(rows)
            if row is not None
        ]

    async def _advance(self, ctx: rf.MutationCtx, id: str, entry: Entry) -> None:
        version = await self._version(ctx, id)
        if version is None:
            return
        again: dict[str, Any] = {}
        if version.attempts or version.next_try is not None:
            again = {"attempts": 0, "next_try": rf.UNSET, "failing_since": rf.UNSET, "error": rf.UNSET}
        await ctx.db.patch(
            version.id,
            model=entry.model,
            tokens=version.tokens + entry.tokens_in,
            embedding_ms=version.embedding_ms + entry.ms,
            retries=version.retries + entry.retries,
            cost=version.cost + (self._corpus.ledger.cost(entry) or 0.0),
            **again,
        )

    async def _version(self, ctx: rf.MutationCtx, source: str) -> Version | None:
        """The version of a source that is being embedded."""
        found = await ctx.db.get(rf.Id[Any](source))
        if not isinstance(found, Source):
            return None
        version = await self._corpus.sources.version_in_work(ctx, found)
        return version if version is not None and version.state == "embedding" else None


def _is_meant(row: Row | None, item: Item) -> bool:
    if row is None:
        return False
    if isinstance(row, Source):
        return not row.summary_embedded and summary_hash(row) == item.hash
    return not row.embedded and row.hash == item.hash
