"""Files and folders of the machine where the application runs: they become sources, and follow what changes there.

Only the application and who has its admin key may do this: a path names any file that the process can read.
"""

from __future__ import annotations

import asyncio
import base64
import os
from collections.abc import AsyncGenerator, Awaitable, Iterable, Mapping, Sequence
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import msgspec

import reflow as rf
from reflow.errors import ApplicationError, ReflowError
from reflow.rag.reading import Text, folders, kind_of, read
from reflow.rag.sources.views import Added
from reflow.rag.tables import FilterValue, Kind, SourceState

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

_AS_TEXT = ("text", "markdown", "code")


class Known(rf.Object, rename="camel"):
    """A source that came from a file. `origin` is the file's path."""

    source: str
    key: str
    origin: str
    content_hash: str
    state: SourceState


class Problem(rf.Object):
    """A file that could not be taken in, and why."""

    path: str
    error: str


class Synced(rf.Object, rename="camel"):
    """What came of a folder: how many sources, and the ids of those that were added or changed."""

    added: int = 0
    changed: int = 0
    removed: int = 0
    unchanged: int = 0
    sources: list[str] = msgspec.field(default_factory=list[str])
    problems: list[Problem] = msgspec.field(default_factory=list[Problem])


class Call(Protocol):
    """Calls "part:function" of a corpus, wherever it is served, with and for plain JSON."""

    def __call__(self, function: str, /, **args: Any) -> Awaitable[Any]: ...


class _Read(NamedTuple):
    """A file as it is on disk. `text` is there where it is text already; all else goes to the file storage."""

    data: bytes
    kind: Kind
    text: Text | None


class _About(msgspec.Struct, frozen=True):
    category: str | None
    importance: float | None
    fields: dict[str, FilterValue] | None
    bulk: bool = False


class LocalFiles:
    """The handlers of the functions about paths that `Sources` registers."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self._limits = corpus.limits

    async def known(self, ctx: rf.QueryCtx, folder: str, after: str) -> list[Known]:
        """Sources from files below a folder, in order of their paths, beginning after one."""
        table, own = self._corpus.tables.Source, self._corpus.sources.own(ctx)
        end = folder + chr(ord(os.sep) + 1)  # the first text behind all that begin with the folder
        below = ctx.db.query(table).using(table.by_origin, **own).gt(after or folder + os.sep).lt(end)
        return [
            Known(source=row.id, key=row.key, origin=row.origin or "", content_hash=row.content_hash, state=row.state)
            for row in await below.take(self._limits.known_files)
        ]

    async def add_path(
        self,
        ctx: rf.ActionCtx,
        path: str,
        key: str | None = None,
        name: str | None = None,
        category: str | None = None,
        importance: float | None = None,
        fields: dict[str, FilterValue] | None = None,
    ) -> Added:
        """Adds a file of this machine, under a key (default: its name). Raises ApplicationError."""
        file = Path(path)
        try:
            found = await asyncio.to_thread(self._read, file)
            return await self._put(ctx, file, key or file.name, name, found, _About(category, importance, fields))
        except (ReflowError, OSError) as error:
            raise ApplicationError(str(error)) from error

    async def sync_folder(
        self,
        ctx: rf.ActionCtx,
        path: str,
        prefix: str | None = None,
        category: str | None = None,
        importance: float | None = None,
        fields: dict[str, FilterValue] | None = None,
        remove: bool = True,
    ) -> Synced:
        """Makes the sources equal to the files below a folder: what is new or changed comes in, what is gone goes.

        Their keys are `prefix` (default: the folder's name) and the path in the folder.
        """
        folder = await asyncio.to_thread(_folder, path)
        files = await asyncio.to_thread(lambda: [file.key for file in folders.walk(folder, limits=self._limits)])
        known = await self._all_known(ctx, folder)
        gone = known.keys() - {str(folder / file) for file in files} if remove else set[str]()
        about = _About(category, importance, fields, bulk=len(files) > self._limits.sources_bulk)
        return await self._sync(ctx, folder, prefix, files, [known[path] for path in sorted(gone)], known, about)

    async def sync_files(
        self,
        ctx: rf.ActionCtx,
        path: str,
        files: list[str],
        prefix: str | None = None,
        category: str | None = None,
        importance: float | None = None,
        fields: dict[str, FilterValue] | None = None,
    ) -> Synced:
        """The same for some files of a folder, by their paths in it: those that changed."""
        folder = await asyncio.to_thread(_folder, path)
        there = await asyncio.to_thread(lambda: [file for file in files if (folder / file).is_file()])
        known: dict[str, Known] = {}
        for file in files:
            origin = str(folder / file)
            for row in await ctx.run_query(self._corpus.sources.of_path, path=origin):
                known[row.origin] = row
        left = {str(folder / file) for file in there}
        gone = [row for origin, row in known.items() if origin not in left]
        about = _About(category, importance, fields, bulk=len(files) > self._limits.sources_bulk)
        return await self._sync(ctx, folder, prefix, there, gone, known, about)

    async def of_path(self, ctx: rf.QueryCtx, path: str) -> list[Known]:
        """The sources from a file, or from the files below what was a folder."""
        table, own = self._corpus.tables.Source, self._corpus.sources.own(ctx)
        row = await ctx.db.query(table).using(table.by_origin, **own, origin=path).first()
        if row is None:
            return await self.known(ctx, path, "")
        state, digest = row.state, row.content_hash
        return [Known(source=row.id, key=row.key, origin=path, content_hash=digest, state=state)]

    # Steps

    async def _all_known(self, ctx: rf.ActionCtx, folder: Path) -> dict[str, Known]:
        known: dict[str, Known] = {}
        after = ""
        while page := await ctx.run_query(self._corpus.sources.known_files, folder=str(folder), after=after):
            known.update((row.origin, row) for row in page)
            after = page[-1].origin
        return known

    async def _sync(
        self,
        ctx: rf.ActionCtx,
        folder: Path,
        prefix: str | None,
        files: Sequence[str],
        gone: Iterable[Known],
        known: Mapping[str, Known],
        about: _About,
    ) -> Synced:
        result = Synced()
        for row in gone:
            result.removed += await ctx.run_mutation(self._corpus.sources.remove_key, key=row.key)
        room = asyncio.Semaphore(self._limits.files_at_once)
        head = folder.name if prefix is None else prefix.rstrip("/")

        async def bring(file: str) -> None:
            async with room:
                row = known.get(str(folder / file))
                key = row.key if row is not None else f"{head}/{file}" if head else file
                await self._bring(ctx, folder / file, key, row, about, result)

        async with asyncio.TaskGroup() as group:
            for file in files:
                group.create_task(bring(file))
        return result

    async def _bring(
        self, ctx: rf.ActionCtx, path: Path, key: str, known: Known | None, about: _About, result: Synced
    ) -> None:
        """Brings one file in, unless its source has this content."""
        try:
            found = await asyncio.to_thread(self._read, path)
            if known is not None and known.state != "failed" and known.content_hash == self._digest(path, found):
                if (about.category, about.importance, about.fields) != (None, None, None):
                    await self._describe(ctx, known.source, about)
                result.unchanged += 1
                return
            if known is None:
                key = await self._free(ctx, key, path)
            added = await self._put(ctx, path, key, None, found, about)
        except (ReflowError, OSError) as error:
            result.problems.append(Problem(path=str(path), error=str(error)))
            return
        if not added.changed:
            result.unchanged += 1
            return
        result.sources.append(added.source)
        if known is None:
            result.added += 1
        else:
            result.changed += 1

    async def _describe(self, ctx: rf.ActionCtx, source: str, about: _About) -> None:
        await ctx.run_mutation(
            self._corpus.sources.update,
            source=source,
            category=about.category,
            importance=about.importance,
            fields=about.fields,
        )

    async def _free(self, ctx: rf.ActionCtx, key: str, path: Path) -> str:
        """The key, or the whole path where a source from elsewhere has that key."""
        other = await ctx.run_query(self._corpus.sources.by_key, key=key)
        return key if other is None or other.origin in (None, str(path)) else str(path)

    def _read(self, path: Path) -> _Read:
        data = folders.read_file(path, limits=self._limits)
        kind = kind_of(data, path.name)
        return _Read(data, kind, read(data, path.name, limits=self._limits) if kind in _AS_TEXT else None)

    def _digest(self, path: Path, found: _Read) -> str:
        sources = self._corpus.sources
        if found.text is not None:
            return sources.digest(found.text.kind, found.text.text)
        return sources.digest("file", path.name, base64.b64encode(sha256(found.data).digest()).decode())

    async def _put(
        self, ctx: rf.ActionCtx, path: Path, key: str, name: str | None, found: _Read, about: _About
    ) -> Added:
        sources = self._corpus.sources
        said: dict[str, Any] = {"origin": str(path), **msgspec.structs.asdict(about)}
        if found.text is not None:
            text, kind = found.text.text, found.text.kind
            return await ctx.run_mutation(sources.put, key=key, text=text, kind=kind, name=name, **said)
        file = await ctx.storage.store(found.data)
        return await ctx.run_mutation(sources.put_file, file=file, key=key, name=name or path.name, **said)


async def watch_folder(call: Call, folder: Path, **about: Any) -> AsyncGenerator[Synced, None]:
    """Keeps the sources of a corpus equal to the files below a folder, until it is closed: what came of the folder as
    it is, then of each change. `about`: arguments of `sync_folder`."""
    known = False
    async with aclosing(folders.watch(folder)) as watched:
        async for changes in watched:
            if known:
                files = [change.key for change in changes]
                found = await call("sources:syncFiles", path=str(folder), files=files, **about)
            else:
                found = await call("sources:syncFolder", path=str(folder), **about)
                known = True
            yield found if isinstance(found, Synced) else msgspec.convert(found, Synced)


def _folder(path: str) -> Path:
    folder = Path(path).expanduser().resolve()
    if not folder.is_dir():
        raise ApplicationError(f"there is no folder {path}")
    return folder
