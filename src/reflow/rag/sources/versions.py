"""`Versions`: how a new content of a source takes the place of the one before.

A source that is not searched by meaning yet is changed in place. One that is gets drafts beside its chunks; once each
has its vector, one transaction makes them the chunks. A chunk whose text is in both versions stays what it is, with
its id and its vector.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.ingestion.cache import text_hash
from reflow.rag.sources import texts
from reflow.rag.sources.contents import Content
from reflow.rag.sources.summaries import set_summary
from reflow.rag.tables import Chunk, Draft, Kind, Piece, Source, Version

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

T = TypeVar("T")

Reader = rf.QueryCtx | rf.MutationCtx

_FLOAT_BYTES, _BASE64 = 4, 4 / 3
"""What a number of a vector takes, and how much more as it stands in a draft."""


class Versions:
    """The versions of a corpus's sources, from the first line to the last citation."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._tables = corpus.tables
        self._limits = corpus.limits
        self._fields = tuple(name for name in self._tables.Chunk.__struct_fields__ if not name.startswith("_"))
        """Fields that a draft hands on to the chunk it becomes."""

    # What is there

    async def row(self, ctx: Reader, source: Source, number: int | None) -> Version | None:
        """A version of a source."""
        query = ctx.db.query(self._tables.Version)
        return await query.using(self._tables.Version.by_source, source=source.id, number=number).first()

    async def all(self, ctx: Reader, source: Source) -> list[Version]:
        """The versions of a source, newest first."""
        query = ctx.db.query(self._tables.Version).using(self._tables.Version.by_source, source=source.id)
        return await query.order("desc").collect()

    def chunks(self, ctx: Reader, source: Source) -> rf.Query[Chunk]:
        """The chunks of a source in order."""
        return ctx.db.query(self._tables.Chunk).using(self._tables.Chunk.by_source, source=source.id)

    def drafts(self, ctx: Reader, source: Source) -> rf.Query[Draft]:
        """The drafts of a source in order: those of its pending version."""
        return ctx.db.query(self._tables.Draft).using(self._tables.Draft.by_source, source=source.id)

    def without_vector(self, ctx: Reader, source: Source) -> rf.Query[Any]:
        """What of a source lacks its vector: what waits for it, and what will have none and says why."""
        table: Any = pieces_of(self._corpus, source)
        return ctx.db.query(table).using(table.by_embedded, embedded=False, source=source.id)

    # A new version

    async def begin(
        self,
        ctx: rf.MutationCtx,
        source: Source,
        kind: Kind,
        digest: str,
        *,
        file: rf.Id[rf.File] | None = None,
        bulk: bool = False,
    ) -> Version:
        """A new version of a source, which is read next; one that was in the making is given up.

        `digest` is of the content, `bulk` says whether it came with many others.
        """
        number = 1 + max(source.pending or 0, source.version)
        made = await ctx.db.insert(
            self._tables.Version(
                source=source.id,
                number=number,
                state="reading",
                content_hash=digest,
                kind=kind,
                file=file,
                bulk=bulk,
                **self._corpus.owned(source),
            )
        )
        if source.version or source.pending is not None:
            await self._give_up(ctx, source)
        await ctx.db.patch(
            source.id, pending=number, content_hash=digest, state="reading", error=rf.UNSET, updated=ctx.now() * 1000
        )
        return there(await ctx.db.get(made))

    async def unchanged(self, ctx: rf.MutationCtx, source: Source, version: Version, digest: str) -> bool:
        """Whether a version turned out to be what is searched already. Then it is given up."""
        served = await self.row(ctx, source, source.version)
        if served is None or served.content_hash != digest:
            return False
        await self._give_up(ctx, source)
        await ctx.db.patch(source.id, pending=rf.UNSET, content_hash=digest, state="embedding")
        await self.finish(ctx, source.id)
        return True

    def check(self, key: str, text: str, cuts: Sequence[object] | None) -> None:
        """Raises ApplicationError for a text that can't be taken in; `cuts` None: it is not cut yet."""
        try:
            size = len(text.encode())
        except UnicodeEncodeError as error:
            raise ApplicationError(f"{key!r} is no valid text: its character {error.start} is half of one") from None
        if (not text or text.isspace()) if cuts is None else not cuts:
            raise ApplicationError(f"{key!r} holds no text: white space alone can't be searched")
        # One transaction makes a new version what is searched, and reads its vectors for that.
        vectors = _BASE64 * _FLOAT_BYTES * self._corpus.embedder.dims * len(self._corpus.embedders)
        room = int(self._limits.bytes_read / 2 / vectors)
        for name, found, bound, what in (
            ("limits.source_text_bytes =", size, self._limits.source_text_bytes, "bytes of text"),
            ("limits.source_chunks =", len(cuts or ()), self._limits.source_chunks, "chunks"),
            ("half of limits.bytes_read has room for with such long vectors:", len(cuts or ()), room, "chunks"),
        ):
            if found > bound:
                raise ApplicationError(
                    f"{key!r} makes {found} {what}, more than {name} {bound}: split it into several sources"
                )

    def check_length(self, key: str, text: str) -> None:
        """Raises ApplicationError for a text that makes too many chunks however it is cut: cutting it takes long."""
        visible = len(text) - sum(map(text.count, " \t\n\r\f\v"))
        least, bound = -(-visible // self._corpus.chunk_chars), self._limits.source_chunks
        if least > bound and self._corpus.splitter is None:
            raise ApplicationError(
                f"{key!r} makes {least} chunks at least, more than limits.source_chunks = {bound}: split it into "
                "several sources"
            )

    async def keep(self, ctx: rf.MutationCtx, source: Source, version: Version, text: str) -> None:
        """Keeps the text of a version that is cut later."""
        await self._store(ctx, source, version, text)
        await ctx.db.patch(version.id, **_measures(text))

    async def take(self, ctx: rf.MutationCtx, source: Source, version: Version, content: Content) -> None:
        """Takes in the content of the version that `begin` gave, which `check` has found to be good.

        Its parts become chunks, or drafts where another version is searched; where none lacks its vector, they are
        searched at once.
        """
        measures: dict[str, Any] = {}
        if not content.kept:
            if version.size:
                await texts.forget(ctx, self._tables, source.id, version.number)
            await self._store(ctx, source, version, content.text)
            measures = _measures(content.text)
        former = await self.chunks(ctx, source).collect() if source.chunk_count else []
        drafts = self._drafts(source, version, content, former)
        lacking = any(not draft.embedded for draft in drafts)
        if source.version and lacking:
            await ctx.db.insert_many(drafts)
        else:
            await self._place(ctx, former, drafts)
        digest = content.digest or version.content_hash
        await ctx.db.patch(
            version.id,
            state="embedding",
            content_hash=digest,
            kind=content.kind,
            pages=list(content.pages) or rf.UNSET,
            summary=content.summary or rf.UNSET,
            chunk_count=len(drafts),
            reused=sum(draft.chunk is not None for draft in drafts),
            **measures,
        )
        name = content.title if content.title and source.name == source.key else source.name
        shown = {} if source.version else {"chunk_count": len(drafts), "kind": content.kind}
        await ctx.db.patch(
            source.id,
            state="embedding",
            content_hash=digest,
            name=name[: self._limits.source_name_length],
            updated=ctx.now() * 1000,
            **shown,
        )
        if lacking:
            await self._corpus.jobs.wake(ctx)
        else:
            await self.finish(ctx, source.id)

    async def finish(self, ctx: rf.MutationCtx, id: rf.Id[Any]) -> bool:
        """Makes the version in the making the one that is searched, unless something still waits for its vector.

        Cheap where something does. A part that will have none (`error`) is found by words only, and the source is
        failed, with the reason.
        """
        source = await ctx.db.get(id)
        if not isinstance(source, Source) or source.state != "embedding":
            return False
        lacking = self.without_vector(ctx, source)
        if await lacking.filter(_waits).first() is not None:
            return False
        refused = await lacking.first()
        error = rf.UNSET if refused is None else f"chunk {refused.number + 1}: {refused.error}"
        number = source.version if source.pending is None else source.pending
        version = there(await self.row(ctx, source, number))
        if source.pending is not None and not await self._replace(ctx, source):
            return False
        await ctx.db.patch(
            version.id, state="ready", error=error, next_try=rf.UNSET, failing_since=rf.UNSET, attempts=0
        )
        await ctx.db.patch(
            source.id,
            state="ready" if refused is None else "failed",
            error=error,
            updated=ctx.now() * 1000,
            version=number,
            pending=rf.UNSET,
            chunk_count=version.chunk_count,
            kind=version.kind,
        )
        if source.pending is not None and not source.own_summary:
            await set_summary(ctx, self._corpus, source, version.summary, own=False)
        return True

    async def _replace(self, ctx: rf.MutationCtx, source: Source) -> bool:
        """Makes the drafts the chunks, and the version that was searched until now a former one. False where another
        model came into use since some drafts were embedded: they are embedded again."""
        if not source.version:
            return True
        drafts = await self.drafts(ctx, source).collect()
        if drafts:
            if await self._outdated(ctx, drafts):
                await self._corpus.jobs.wake(ctx)
                return False
            await self._place(ctx, await self.chunks(ctx, source).collect(), drafts)
            await ctx.db.delete_many(draft.id for draft in drafts)
        served = there(await self.row(ctx, source, source.version))
        await ctx.db.patch(served.id, state="replaced")
        await self._prune(ctx, source)
        return True

    async def _outdated(self, ctx: rf.MutationCtx, drafts: Sequence[Draft]) -> bool:
        """Whether some drafts have no vector of the model in use; they lose those they have."""
        rows = await ctx.generations.list(self._tables.Chunk.meaning)
        active = next((row.model for row in rows if row.state == "active"), None)
        outdated = [
            draft
            for draft in drafts
            if draft.vectors is not None and active is not None and all(one.model != active for one in draft.vectors)
        ]
        for draft in outdated:
            await ctx.db.patch(draft.id, embedded=False, vectors=rf.UNSET)
        return bool(outdated)

    def _drafts(self, source: Source, version: Version, content: Content, former: Sequence[Chunk]) -> list[Draft]:
        """The parts as rows, each with the former chunk that has the same text."""
        known: defaultdict[str, deque[Chunk]] = defaultdict(deque)
        for chunk in former:
            if chunk.embedded or not source.version:
                known[chunk.hash].append(chunk)
        common: dict[str, Any] = {
            "source": source.id,
            "version": version.number,
            "kind": content.kind,
            **self.repeated(source),
            **self._corpus.owned(source),
        }
        drafts: list[Draft] = []
        for number, cut in enumerate(content.cuts):
            digest = text_hash(cut.text)
            same = known[digest].popleft() if known.get(digest) else None
            drafts.append(
                self._tables.Draft(
                    **common,
                    **msgspec.structs.asdict(cut),
                    number=number,
                    hash=digest,
                    chunk=None if same is None else same.id,
                    embedded=same is not None and same.embedded,
                )
            )
        return drafts

    async def _place(self, ctx: rf.MutationCtx, former: Sequence[Chunk], drafts: Sequence[Draft]) -> None:
        """Makes drafts the chunks of their source."""
        rows = {str(chunk.id): chunk for chunk in former}
        kept = {draft.chunk for draft in drafts}
        await ctx.db.delete_many(chunk.id for chunk in former if chunk.id not in kept)
        fresh: list[Chunk] = []
        vectors: list[dict[rf.VectorIndex, Any] | None] = []
        for draft in drafts:
            fields = {name: getattr(draft, name) for name in self._fields}
            if draft.chunk is None:
                fresh.append(self._tables.Chunk(**fields))
                vectors.append(None if draft.vectors is None else {self._tables.Chunk.meaning: draft.vectors})
                continue
            del fields["embedded"]
            await ctx.db.patch(draft.chunk, **changes(rows[draft.chunk], fields))
        await ctx.db.insert_many(fresh, vectors=vectors)

    # What goes

    async def _prune(self, ctx: rf.MutationCtx, source: Source) -> None:
        """Removes replaced versions but the last ones: citations of these still find their text."""
        room = self._limits.source_text_bytes
        kept = 0
        for version in await self.all(ctx, source):
            if version.state != "replaced":
                continue
            kept, room = kept + 1, room - version.size
            if kept > self._corpus.keep_versions or room < 0:
                await self.drop(ctx, version)

    async def drop(self, ctx: rf.MutationCtx, version: Version) -> None:
        """Removes a version with its text and its file. Its chunks and drafts are not its own."""
        await texts.forget(ctx, self._tables, version.source, version.number)
        await ctx.db.delete(version.id)
        if version.file is not None:
            await self.release(ctx, version.file)

    async def release(self, ctx: rf.MutationCtx, file: rf.Id[rf.File]) -> None:
        """Deletes an original, unless a version has it: the same upload can have been added twice."""
        table = self._tables.Version
        used = await ctx.db.query(table).using(table.by_file, file=file).first()
        if used is None and await ctx.storage.metadata(file) is not None:
            await ctx.storage.delete(file)

    async def clear(self, ctx: rf.MutationCtx, source: Source) -> None:
        """Removes all that belongs to a source."""
        chunks, drafts = await self.chunks(ctx, source).collect(), await self.drafts(ctx, source).collect()
        await ctx.db.delete_many(row.id for row in (*chunks, *drafts))
        for version in await self.all(ctx, source):
            await self.drop(ctx, version)
        await ctx.db.delete(source.id)

    async def _give_up(self, ctx: rf.MutationCtx, source: Source) -> None:
        """The work on a source ends where it is, for another one."""
        drafts = await self.drafts(ctx, source).collect()
        await ctx.db.delete_many(draft.id for draft in drafts)
        if source.version and source.pending is None:
            for chunk in await self.without_vector(ctx, source).filter(_waits).collect():
                await ctx.db.patch(chunk.id, error="it was not embedded before a newer text came")
        served = await self.row(ctx, source, source.version)
        if served is not None and served.state != "ready":
            await ctx.db.patch(served.id, state="ready", next_try=rf.UNSET, failing_since=rf.UNSET)
        pending = None if source.pending is None else await self.row(ctx, source, source.pending)
        if pending is None:
            return
        if source.version or not pending.chunk_count:
            await self.drop(ctx, pending)
        else:
            # Its chunks were found by words already, so it can have been cited.
            await ctx.db.patch(pending.id, state="replaced", reading=rf.UNSET)
            await self._prune(ctx, source)

    # Small things

    async def _store(self, ctx: rf.MutationCtx, source: Source, version: Version, text: str) -> None:
        owned = self._corpus.owned(source)
        await texts.store(ctx, self._tables, version, text, self._limits.source_block_chars, owned)

    def repeated(self, source: Source) -> dict[str, Any]:
        """What a source's chunks repeat, for searches with conditions."""
        return {name: getattr(source, name) for name in ("category", *self._corpus.filters)}


def pieces_of(corpus: Corpus, source: Source) -> type[Chunk] | type[Draft]:
    """The table that holds what of a source is to be embedded."""
    return corpus.tables.Draft if source.version and source.pending is not None else corpus.tables.Chunk


def changes(row: rf.Table, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields that a row does not have so yet, for `patch`; None removes one."""
    return {name: rf.UNSET if value is None else value for name, value in fields.items() if getattr(row, name) != value}


def _measures(text: str) -> dict[str, int]:
    return {"characters": len(text), "size": len(text.encode()), "lines": texts.lines_in(text)}


def _waits(piece: Piece) -> bool:
    return piece.error is None


def there(row: T | None) -> T:
    """A row that was just read or written. Raises ApplicationError where it is gone."""
    if row is None:
        raise ApplicationError("the source was deleted meanwhile: add it again")
    return row
