"""`Sources`: what is added, replaced and deleted, and what can be seen of it."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Any

import reflow as rf
from reflow.errors import ApplicationError, FetchError
from reflow.rag.part import Part
from reflow.rag.reading.addresses import parse
from reflow.rag.reading.kinds import suffix_of
from reflow.rag.sources.attributes import About, describe, said_in
from reflow.rag.sources.contents import PieceInput, content_of, content_of_pieces, cut, kind_by_names, structured
from reflow.rag.sources.intake import AGAIN, Intake
from reflow.rag.sources.local_files import LocalFiles
from reflow.rag.sources.source_queries import SourceQueries
from reflow.rag.sources.states import HALTED, fail, retry, stop
from reflow.rag.sources.versions import Versions, pieces_of
from reflow.rag.sources.views import Added
from reflow.rag.tables import FilterValue, Kind, Source, Version

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

Reader = rf.QueryCtx | rf.MutationCtx


class Sources(Part):
    """What is added, replaced and deleted, and what can be seen of it.

    Every function can be awaited in a function of your own, as a part of its transaction:
    `await corpus.sources.put(ctx, "notes/1", text)`.
    """

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "sources")
        self.versions_of = Versions(corpus)
        self.intake = Intake(corpus)
        self.put = self.mutation("put", self._put)
        self.put_pieces = self.mutation("put_pieces", self._put_pieces)
        self.put_file = self.mutation("put_file", self._put_file)
        self.put_url = self.mutation("put_url", self._put_url)
        self.upload_url = self.mutation("upload_url", self._upload_url)
        self.update = self.mutation("update", self._update)
        self.remove = self.mutation("remove", self._remove)
        self.remove_key = self.mutation("remove_key", self._remove_key)
        self.retry = self.mutation("retry", self._retry)
        self.retry_all = self.mutation("retry_all", self._retry_all)
        self.stop = self.mutation("stop", self._stop)
        queries = SourceQueries(corpus, self)
        self.list = self.query("list", queries.page)
        self.get = self.query("get", queries.get)
        self.by_key = self.query("by_key", queries.by_key)
        self.totals = self.query("totals", queries.totals)
        self.versions = self.query("versions", queries.versions)
        self.blocks = self.query("blocks", queries.blocks)
        self.chunks = self.query("chunks", queries.chunks)
        self.chunk = self.query("chunk", queries.chunk)
        self.neighbours = self.query("neighbours", queries.neighbours)
        self.errand = self.background_query("errand", self.intake.errand)
        self.kept_text = self.background_query("kept_text", self.intake.kept)
        self.taken = self.background_mutation("taken", self.intake.take)
        self.read_next = self.background_mutation("read_next", self.intake.next)
        self.read_failed = self.background_mutation("read_failed", self.intake.give_up)
        self.read_again = self.background_mutation("read_again", self.intake.again)
        self.read = self.background_action("read", self.intake.read, retry=AGAIN)
        # Paths of this machine are no business of clients, in a public corpus neither.
        files = LocalFiles(corpus)
        self.add_path = self.module.internal_action(name="add_path")(files.add_path)
        self.sync_folder = self.module.internal_action(name="sync_folder")(files.sync_folder)
        self.sync_files = self.module.internal_action(name="sync_files")(files.sync_files)
        self.known_files = self.module.internal_query(name="known_files")(files.known)
        self.of_path = self.module.internal_query(name="of_path")(files.of_path)

    # Adding

    async def _put(
        self,
        ctx: rf.MutationCtx,
        key: str,
        text: str,
        name: str | None = None,
        kind: Kind | None = None,
        category: str | None = None,
        importance: float | None = None,
        summary: str | None = None,
        fields: dict[str, FilterValue] | None = None,
        origin: str | None = None,
        bulk: bool = False,
    ) -> Added:
        """Adds a text under a key, or puts it in the place of the one that is there.

        What is not given stays as it was. A text that the source has already changes nothing. The new one is searched
        as soon as each of its parts has its vector; until then the former one is. `kind` is by default what `key` or
        `name` say by their suffix. `bulk`: it comes with many others, and what a person adds goes first.

        Raises ApplicationError for what can't be taken in.
        """
        about = About(name, category, importance, summary, fields, origin)
        found = await self.of_key(ctx, key)
        title = name or (key if found is None else found.name)
        known = self._kind_of(found, key, name, kind)
        digest = self.digest(known, text)
        if found is not None and _is_there(found, digest):
            return _added(await describe(ctx, self.corpus, found, about), changed=False)
        later = known == "html" or len(text) > self.corpus.limits.source_inline_chars
        read = None if later else structured(text, known, key if suffix_of(key) else title)
        content = None if read is None else content_of(read, cut(self.corpus, read), title)
        self.versions_of.check(key, text, None if content is None else content.cuts)
        source = await self._described(ctx, found, key, known, about)
        version = await self.versions_of.begin(ctx, source, known, digest, bulk=bulk)
        if content is None:
            await self.versions_of.keep(ctx, source, version, text)
            await self._read_later(ctx, version)
        else:
            await self.versions_of.take(ctx, await self.row(ctx, source.id), version, content)
        return _added(await self.row(ctx, source.id), changed=True)

    async def _put_pieces(
        self,
        ctx: rf.MutationCtx,
        key: str,
        pieces: list[PieceInput],
        text: str | None = None,
        name: str | None = None,
        kind: Kind | None = None,
        category: str | None = None,
        importance: float | None = None,
        summary: str | None = None,
        fields: dict[str, FilterValue] | None = None,
        origin: str | None = None,
        bulk: bool = False,
    ) -> Added:
        """Like `put`, for what is cut already, such as the docstrings of a module: each piece becomes a chunk.

        `text` is what is shown as the source's text and what the pieces' lines count in; without it and without lines
        the pieces are put one below the other.
        """
        about = About(name, category, importance, summary, fields, origin)
        found = await self.of_key(ctx, key)
        title = name or (key if found is None else found.name)
        known = self._kind_of(found, key, name, kind)
        content = content_of_pieces(pieces, text, known, title)
        digest = self.digest(
            known, text or "", *(f"{piece.name}\0{piece.first_line}\0{piece.text}" for piece in pieces)
        )
        if found is not None and _is_there(found, digest):
            return _added(await describe(ctx, self.corpus, found, about), changed=False)
        self.versions_of.check(key, content.text, content.cuts)
        source = await self._described(ctx, found, key, known, about)
        version = await self.versions_of.begin(ctx, source, known, digest, bulk=bulk)
        await self.versions_of.take(ctx, await self.row(ctx, source.id), version, content)
        return _added(await self.row(ctx, source.id), changed=True)

    async def _put_file(
        self,
        ctx: rf.MutationCtx,
        file: str,
        key: str | None = None,
        name: str | None = None,
        category: str | None = None,
        importance: float | None = None,
        summary: str | None = None,
        fields: dict[str, FilterValue] | None = None,
        origin: str | None = None,
        bulk: bool = False,
    ) -> Added:
        """Adds a file that was uploaded, under a key (default: its name), or replaces the source that is there.

        From then on the file belongs to the source and goes with it; one whose content is there already goes at once.
        """
        about = About(name, category, importance, summary, fields, origin)
        id = ctx.db.normalize_id(rf.File, file)
        stored = None if id is None else await ctx.storage.metadata(id)
        if stored is None:
            raise ApplicationError(f"{file[:80]!r} is no uploaded file: upload it first, and give its storageId")
        key = key or name or stored.id
        found = await self.of_key(ctx, key)
        known = kind_by_names(name or key)
        digest = self.digest("file", name or key, stored.sha256)
        if found is not None and _is_there(found, digest):
            await self.versions_of.release(ctx, stored.id)
            return _added(await describe(ctx, self.corpus, found, about), changed=False)
        source = await self._described(ctx, found, key, known, about)
        version = await self.versions_of.begin(ctx, source, known, digest, file=stored.id, bulk=bulk)
        await self._read_later(ctx, version)
        return _added(await self.row(ctx, source.id), changed=True)

    async def _put_url(
        self,
        ctx: rf.MutationCtx,
        url: str,
        key: str | None = None,
        name: str | None = None,
        category: str | None = None,
        importance: float | None = None,
        summary: str | None = None,
        fields: dict[str, FilterValue] | None = None,
        bulk: bool = False,
    ) -> Added:
        """Adds what is at an address, under a key (default: the address), or looks whether it has changed there."""
        try:
            parse(url, any_port=self.corpus.allow_private)
        except FetchError as error:
            raise ApplicationError(str(error)) from None
        about = About(name, category, importance, summary, fields, url)
        key = key or url
        source = await self._described(ctx, await self.of_key(ctx, key), key, kind_by_names(url), about)
        version = await self.versions_of.begin(ctx, source, kind_by_names(url), "", bulk=bulk)
        await self._read_later(ctx, version)
        return _added(await self.row(ctx, source.id), changed=True)

    async def _upload_url(self, ctx: rf.MutationCtx) -> str:
        """An address that takes one file by POST and answers with its id, for `put_file`."""
        return await ctx.storage.upload_url()

    # Changing and removing

    async def _update(
        self,
        ctx: rf.MutationCtx,
        source: str,
        name: str | None = None,
        category: str | None = None,
        importance: float | None = None,
        summary: str | None = None,
        fields: dict[str, FilterValue] | None = None,
    ) -> None:
        """Changes what is said about a source, for its chunks too; "" takes a category away, or a summary of yours."""
        about = About(name, category, importance, summary, fields)
        await describe(ctx, self.corpus, await self.row(ctx, source), about)

    async def _remove(self, ctx: rf.MutationCtx, source: str) -> None:
        """Deletes a source with all that belongs to it, in one commit."""
        await self.versions_of.clear(ctx, await self.row(ctx, source))

    async def _remove_key(self, ctx: rf.MutationCtx, key: str) -> bool:
        """Deletes the source under a key; false where there is none."""
        source = await self.of_key(ctx, key)
        if source is not None:
            await self.versions_of.clear(ctx, source)
        return source is not None

    async def _retry(self, ctx: rf.MutationCtx, source: str) -> None:
        """Takes up the work on a source that failed or was stopped; what is done is not done again."""
        await retry(ctx, self.corpus, await self.row(ctx, source))

    async def _retry_all(self, ctx: rf.MutationCtx) -> int:
        """Takes up the work on sources that failed. Returns how many: call again while there are some."""
        table = self.corpus.tables.Source
        failed = ctx.db.query(table).using(table.by_state, **self.own(ctx), state="failed")
        rows = await failed.take(self.corpus.limits.sources_per_call)
        return sum([await retry(ctx, self.corpus, row) for row in rows])

    async def _stop(self, ctx: rf.MutationCtx, source: str) -> None:
        """Halts the work on a source until `retry`; what is searched of it stays."""
        await stop(ctx, self.corpus, await self.row(ctx, source))

    # What other parts use

    async def row(self, ctx: Reader, id: str) -> Source:
        """The source of an id. Raises ApplicationError where there is none."""
        return await self.found(ctx, self.corpus.tables.Source, id, "source")

    async def of_key(self, ctx: Reader, key: str) -> Source | None:
        """The source under a key."""
        table = self.corpus.tables.Source
        return await ctx.db.query(table).using(table.by_key, **self.own(ctx), key=key).first()

    async def version_in_work(self, ctx: Reader, source: Source) -> Version | None:
        """The version in the making, else the one that is searched."""
        return await self.versions_of.row(ctx, source, source.version if source.pending is None else source.pending)

    def pieces(self, source: Source) -> Any:
        """The table that holds what of a source is to be embedded: its chunks, or the drafts of a new version."""
        return pieces_of(self.corpus, source)

    async def finish(self, ctx: rf.MutationCtx, source: rf.Id[Any]) -> bool:
        """Ends the work on a source of which no chunk waits for its vector any more; see `Versions.finish`."""
        return await self.versions_of.finish(ctx, source)

    async def fail(self, ctx: rf.MutationCtx, source: rf.Id[Any], reason: str) -> None:
        """Ends the work on a source with a reason. Nothing happens where it is gone or at rest."""
        row = await ctx.db.get(source)
        if isinstance(row, Source):
            await fail(ctx, self.corpus, row, reason)

    # Steps of adding

    def _kind_of(self, found: Source | None, key: str, name: str | None, kind: Kind | None) -> Kind:
        """What a text is: as the caller says, as the names say, or as what it replaces."""
        if kind in ("pdf", "docx"):
            raise ApplicationError(f"a text can't be of kind {kind!r}: upload the file and call putFile")
        known = kind or kind_by_names(key, name or "")
        if known == "text" and kind is None and name is None and found is not None:
            return found.kind if found.kind in ("markdown", "code") else "text"
        return "text" if known in ("pdf", "docx") else known

    async def _described(self, ctx: rf.MutationCtx, found: Source | None, key: str, kind: Kind, about: About) -> Source:
        """The source under a key, a new one where there is none, as the caller describes it."""
        bound = self.corpus.limits.source_key_length
        if not key or len(key) > bound:
            raise ApplicationError(f"a source's key has 1 to limits.source_key_length = {bound} characters")
        if found is None:
            said: dict[str, Any] = {"name": key[-self.corpus.limits.source_name_length :]} | said_in(self.corpus, about)
            made = self.corpus.tables.Source(key=key, kind=kind, state="reading", updated=ctx.now() * 1000, **said)
            found = await self.row(ctx, await ctx.db.insert(made))
        return await describe(ctx, self.corpus, found, about)

    async def _read_later(self, ctx: rf.MutationCtx, version: Version) -> None:
        await ctx.db.patch(version.id, reading="waiting")
        await self.intake.wake(ctx)

    def digest(self, *parts: str) -> str:
        """Names a content together with how it is cut: another way of cutting makes other chunks of it."""
        return sha256("\0".join((self.corpus.cutting, *parts)).encode("utf-8", "surrogatepass")).hexdigest()


def _is_there(source: Source, digest: str) -> bool:
    """Whether a source has a content already, or is about to."""
    return source.content_hash == digest and source.state not in HALTED


def _added(source: Source, *, changed: bool) -> Added:
    version = source.version if source.pending is None else source.pending
    return Added(source=source.id, version=version, changed=changed, state=source.state)
