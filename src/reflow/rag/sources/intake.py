"""`Intake`: reads what was added as a file, an address or a long text, and cuts it, beside all transactions.

A version that is to be read waits for its turn in its own row, so that nothing is forgotten when the server stops; at
most `limits.sources_read` of a corpus are read at the same time.
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

import reflow as rf
from reflow.errors import CallFailed, DocumentNotFound, ReflowError, StorageError
from reflow.rag.chunking import Chunk as Part
from reflow.rag.reading import Text, read_apart
from reflow.rag.reading.fetching import fetch
from reflow.rag.reading.reader import check_size
from reflow.rag.sources import texts
from reflow.rag.sources.contents import Content, Cut, cut, structured
from reflow.rag.sources.states import fail
from reflow.rag.sources.summaries import summary_of
from reflow.rag.tables import Kind, Source, Version

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

AGAIN = rf.Retry(attempts=1_000_000, first=1.0, factor=2.0, longest=60.0)
"""A server that was killed reads on when it is back; what is wrong with a source itself ends its reading."""


class Errand(rf.Object):
    """What is to be read: `file` and `url`, else the text that is kept in blocks. `name` tells the kind."""

    name: str
    kind: Kind
    file: str | None = None
    content_type: str | None = None
    url: str | None = None


class Place(rf.Object):
    """Where a chunk is in its text; see `Piece`."""

    start: int
    end: int
    first_line: int
    last_line: int
    page: int | None = None
    headings: list[str] = msgspec.field(default_factory=list[str])


class Reading(rf.Object):
    """A text that was read. `text` is None where the blocks hold it already, `digest` where it is known already."""

    kind: Kind
    places: list[Place]
    summary: str
    text: str | None = None
    title: str | None = None
    pages: list[int] | None = None
    digest: str | None = None


class Intake:
    """The reading of a corpus's sources; `Sources` registers its functions."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._tables = corpus.tables
        self._limits = corpus.limits

    async def wake(self, ctx: rf.MutationCtx) -> None:
        """Sees to it that the versions that wait are read once this transaction has committed."""
        await ctx.run_mutation(self._corpus.sources.read_next)

    # In transactions

    async def next(self, ctx: rf.MutationCtx) -> None:
        """Begins to read what waits, while there is room: what a person added last comes first, imports behind."""
        table = self._tables.Version
        versions = ctx.db.query(table)
        room = self._limits.sources_read - await versions.using(table.by_reading, reading="running").count()
        waiting = versions.using(table.by_reading, reading="waiting", bulk=False).order("desc")
        while room > 0:
            version = await waiting.first()
            version = version or await versions.using(table.by_reading, reading="waiting", bulk=True).first()
            if version is None:
                return
            await ctx.db.patch(version.id, reading="running")
            await ctx.scheduler.run_after(0, self._corpus.sources.read, version=version.id)
            room -= 1

    async def errand(self, ctx: rf.QueryCtx, version: str) -> Errand | None:
        """What is to be read of a version; None where that is not wanted any more."""
        found = await self._wanted(ctx, version)
        if found is None:
            return None
        source, row = found
        if row.file is not None:
            file = await ctx.storage.metadata(row.file)
            content_type = None if file is None else file.content_type
            return Errand(name=source.name, kind=row.kind, file=row.file, content_type=content_type)
        url = None if row.characters else source.origin
        return Errand(name=source.name, kind=row.kind, url=url)

    async def kept(self, ctx: rf.QueryCtx, version: str) -> str:
        """The text that is kept of a version."""
        found = await self._wanted(ctx, version)
        return "" if found is None else await texts.load(ctx, self._tables, found[0].id, found[1].number)

    async def take(self, ctx: rf.MutationCtx, version: str, reading: Reading) -> None:
        """Takes in what was read of a version."""
        found = await self._wanted(ctx, version)
        if found is not None:
            source, row = found
            await ctx.db.patch(row.id, reading=rf.UNSET)
            await self._take(ctx, source, row, reading)
        await self.next(ctx)

    async def _take(self, ctx: rf.MutationCtx, source: Source, version: Version, reading: Reading) -> None:
        versions = self._corpus.sources.versions_of
        if reading.digest is not None and await versions.unchanged(ctx, source, version, reading.digest):
            return
        text = reading.text
        if text is None:
            text = await texts.load(ctx, self._tables, source.id, version.number)
        content = Content(
            text=text,
            kind=reading.kind,
            cuts=[Cut(text=text[one.start : one.end], **msgspec.structs.asdict(one)) for one in reading.places],
            summary=reading.summary,
            title=reading.title,
            pages=reading.pages or (),
            kept=reading.text is None,
            digest=reading.digest,
        )
        await versions.take(ctx, source, version, content)

    async def give_up(
        self, ctx: rf.MutationCtx, version: str, reason: str, retryable: bool, asked: float | None
    ) -> None:
        """A version could not be read. Where that may change by itself, it is tried again some times, after the pause
        that was asked for (in seconds) if that is longer."""
        found = await self._wanted(ctx, version)
        if found is not None:
            source, row = found
            attempts = row.attempts + 1
            if retryable and attempts < self._limits.source_read_attempts:
                pause = max(asked or 0.0, self._limits.source_read_pause_seconds * 4.0 ** (attempts - 1))
                at = ctx.now() + pause * (1 + 0.25 * ctx.random.random())
                await ctx.db.patch(row.id, reading=rf.UNSET, attempts=attempts, next_try=at * 1000, error=reason)
                await ctx.scheduler.run_at(at, self._corpus.sources.read_again, version=version)
            else:
                await fail(ctx, self._corpus, source, reason)
        await self.next(ctx)

    async def again(self, ctx: rf.MutationCtx, version: str) -> None:
        """The pause after a failed try is over."""
        found = await self._wanted(ctx, version)
        if found is not None and found[1].reading is None:
            await ctx.db.patch(found[1].id, reading="waiting", next_try=rf.UNSET)
            await self.next(ctx)

    async def _wanted(self, ctx: rf.QueryCtx | rf.MutationCtx, version: str) -> tuple[Source, Version] | None:
        """The rows of a version that is to be read, unless it was replaced, stopped or deleted meanwhile."""
        row = await ctx.db.get(rf.Id[Version](version))
        source: Any = None if row is None else await ctx.db.get(row.source)
        if row is None or source is None or row.state != "reading" or source.pending != row.number:
            return None
        return source, row

    # Beside transactions

    async def read(self, ctx: rf.ActionCtx, version: str) -> None:
        """Reads a version and cuts it. Every end of it is a transaction that begins with the next one."""
        sources = self._corpus.sources
        errand = await ctx.run_query(sources.errand, version=version)
        if errand is None:
            await ctx.run_mutation(sources.read_next)
            return
        try:
            reading = await self._read(ctx, version, errand)
            await ctx.run_mutation(sources.taken, version=version, reading=reading)
        except Exception as error:
            # Whatever it is, it must not leave the source in reading for ever.
            ctx.log(f"{errand.name} could not be read:", repr(error), level="WARN")
            known = isinstance(error, ReflowError) and not isinstance(error, CallFailed | StorageError)
            reason = str(error) if known else f"{type(error).__name__}: {error}"
            retryable = bool(getattr(error, "retryable", not known))
            asked = getattr(error, "retry_after", None)
            await ctx.run_mutation(
                sources.read_failed, version=version, reason=reason, retryable=retryable, asked=asked
            )

    async def _read(self, ctx: rf.ActionCtx, version: str, errand: Errand) -> Reading:
        digest: str | None = None
        raw: str | None = None
        if errand.file is not None:
            data = await self._bytes(ctx, errand.file, errand.name)
            text = await self._understood(data, errand.name, errand.content_type)
        elif errand.url is not None:
            fetched = await fetch(errand.url, limits=self._limits, allow_private=self._corpus.allow_private)
            digest = sha256(f"{self._corpus.cutting}\0".encode() + fetched.data).hexdigest()
            text = await self._understood(fetched.data, fetched.url, fetched.content_type)
        else:
            raw = await ctx.run_query(self._corpus.sources.kept_text, version=version)
            if errand.kind == "html":
                text = await self._understood(raw.encode(), errand.name, "text/html; charset=utf-8")
            else:
                text = await asyncio.to_thread(structured, raw, errand.kind, errand.name)
        versions = self._corpus.sources.versions_of
        versions.check_length(errand.name, text.text)
        parts = await asyncio.to_thread(cut, self._corpus, text)
        versions.check(errand.name, text.text, parts)
        return Reading(
            kind=text.kind,
            places=[place(part) for part in parts],
            summary=summary_of(text, errand.name),
            text=None if text.text == raw else text.text,
            title=text.title,
            pages=list(text.pages) or None,
            digest=digest,
        )

    async def _understood(self, data: bytes, name: str, content_type: str | None) -> Text:
        return await read_apart(data, name, content_type, limits=self._limits)

    async def _bytes(self, ctx: rf.ActionCtx, file: str, name: str) -> bytes:
        download = await ctx.storage.get(rf.Id(file))
        if download is None:
            raise DocumentNotFound("the file was deleted before it was read: add it again")
        check_size(download.file.size, name, self._limits)
        return await download.read()


def place(part: Part) -> Place:
    """Where a chunk is."""
    return Place(
        start=part.start,
        end=part.end,
        first_line=part.first_line,
        last_line=part.last_line,
        page=part.page,
        headings=list(part.headings),
    )
