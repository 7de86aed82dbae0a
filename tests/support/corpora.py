"""Corpora for tests: a small one, an embedder that can be held up, and what must be true of the rows at any time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import numpy as np

import reflow as rf
from reflow.errors import ProviderError
from reflow.rag.chunking import chunk
from reflow.rag.corpus import Corpus
from reflow.rag.embedders.base import Kind, Vectors
from reflow.rag.reading import read_text
from reflow.rag.tables import OWNER
from reflow.testing.embedder import HashingEmbedder

DIMS = 16
CHUNK_CHARS = 60


class GatedEmbedder(HashingEmbedder):
    """Answers at once, or while it is held only when it is told to. Texts in `refused` it never takes."""

    def __init__(self, dims: int = DIMS) -> None:
        super().__init__(dims)
        self.refused: set[str] = set()
        self._held = False
        self._waiting: list[asyncio.Event] = []

    def hold(self) -> None:
        """From now on calls wait."""
        self._held = True

    def step(self) -> None:
        """The calls that wait are answered."""
        waiting, self._waiting = self._waiting, []
        for event in waiting:
            event.set()

    def release(self) -> None:
        """All calls are answered again."""
        self._held = False
        self.step()

    async def asked(self) -> None:
        """Returns once a call waits."""
        while not self._waiting:
            await asyncio.sleep(0.001)

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        """Unit vectors, shape (texts, dims)."""
        if self._held:
            event = asyncio.Event()
            self._waiting.append(event)
            await event.wait()
        if refused := self.refused.intersection(texts):
            raise ProviderError(f"no such texts: {sorted(refused)}", "refused", input_refused=True)
        return await super().embed(texts, kind)

    @property
    def embedded(self) -> Counter[str]:
        """How often each text of a document was embedded."""
        return Counter(text for texts, kind in self.calls if kind == "document" for text in texts)


def small(embedder: HashingEmbedder | None = None, **options: Any) -> Corpus:
    """A public corpus with short chunks."""
    options = {"chunk_chars": CHUNK_CHARS, "overlap": 0, "public": True} | options
    return Corpus("docs", embedder=embedder or GatedEmbedder(), **options)


@asynccontextmanager
async def running(corpus: Corpus, *modules: rf.Module, data: Any = None) -> AsyncIterator[rf.Backend]:
    """An application with the corpus, in memory or in a directory."""
    app = rf.App(modules=modules, components=[corpus], data=data)
    async with app.in_memory() if data is None else app.open() as backend:
        yield backend


def paragraphs(*words: str) -> str:
    """A text whose paragraphs are chunks of their own in a small corpus."""
    return "\n\n".join(f"The paragraph about {word}, long enough to be one." for word in words)


def texts_of(corpus: Corpus, text: str, name: str = "x") -> list[str]:
    """The texts of the chunks that the corpus makes of a text."""
    return [one.text for one in chunk(read_text(text, name), max_chars=corpus.chunk_chars, overlap=corpus.overlap)]


ALL = rf.PaginationOptions(num_items=1000)


async def chunks(backend: rf.Backend, corpus: Corpus, source: str) -> list[Any]:
    """The chunks of a source."""
    return (await backend.query(corpus.sources.chunks, source=source, pagination_opts=ALL)).page


class Audit:
    """Reads all rows of a corpus in one transaction."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        self.module = rf.Module("audit")
        self.faults = self.module.internal_query(name="faults", owners="all")(self._faults)
        self.rows = self.module.internal_query(name="rows", owners="all")(self._rows)

    async def _rows(self, ctx: rf.QueryCtx) -> dict[str, int]:
        """How many rows the tables have that belong to sources."""
        tables = self.corpus.tables
        own = {
            "sources": tables.Source,
            "versions": tables.Version,
            "blocks": tables.TextBlock,
            "chunks": tables.Chunk,
            "drafts": tables.Draft,
            "files": rf.File,
        }
        return {name: await ctx.db.query(table).count() for name, table in own.items()}

    async def _faults(self, ctx: rf.QueryCtx, settled: bool) -> list[str]:
        """What is not as it must be: at any time, and where all work is done."""
        tables, faults = self.corpus.tables, list[str]()
        sources = {row.id: row for row in await ctx.db.query(tables.Source).collect()}
        for name, table in (
            ("version", tables.Version),
            ("block", tables.TextBlock),
            ("chunk", tables.Chunk),
            ("draft", tables.Draft),
        ):
            for row in await ctx.db.query(table).collect():
                if row.source not in sources:
                    faults.append(f"{name} {row.id} is left of a source that is gone")
                elif getattr(row, OWNER, None) != getattr(sources[row.source], OWNER, None):
                    faults.append(f"{name} {row.id} has another owner than its source")
        for source in sources.values():
            faults += await self._of_source(ctx, source, settled)
        keys = Counter((source.key, getattr(source, OWNER, "")) for source in sources.values())
        return faults + [f"{key} is there {count} times" for key, count in keys.items() if count > 1]

    async def _of_source(self, ctx: rf.QueryCtx, source: Any, settled: bool) -> list[str]:
        tables, of = self.corpus.tables, self.corpus.sources.versions_of
        faults: list[str] = []

        def expect(good: object, what: str) -> None:
            if not good:
                faults.append(f"{source.key} ({source.state}, {source.version}, {source.pending}): {what}")

        versions = {row.number: row for row in await of.all(ctx, source)}
        chunks, drafts = await of.chunks(ctx, source).collect(), await of.drafts(ctx, source).collect()
        in_work = await self.corpus.sources.version_in_work(ctx, source)
        expect([one.number for one in chunks] == list(range(len(chunks))), "its chunks are not numbered in order")
        expect(len({one.version for one in chunks}) <= 1, "its chunks are of several versions")
        for one in chunks:
            await self._check_chunk(ctx, one, expect)
        if source.version:
            served = versions.get(source.version)
            expect(
                served is not None and all(chunk.version == source.version for chunk in chunks), "not what is served"
            )
            expect(source.chunk_count == len(chunks), "its count of chunks is wrong")
            working = source.pending is None and source.state in ("embedding", "stopped", "failed")
            expect(working or all(one.embedded or one.error for one in chunks), "served without vectors")
            expect(served is not None and (working or served.state == "ready"), "the served version is not ready")
        else:
            expect(not drafts, "drafts beside nothing")
        expect(not drafts or source.pending is not None, "drafts of nothing")
        expect(all(draft.version == source.pending for draft in drafts), "drafts of another version")
        expect(source.pending is None or source.pending in versions, "its pending version is gone")
        expect(source.state not in ("reading", "embedding") or in_work is not None, "work on nothing")
        if in_work is not None and source.state in ("reading", "embedding", "stopped"):
            expect(in_work.state == source.state, f"its version is {in_work.state}")
        working = [row.number for row in versions.values() if row.state in ("reading", "embedding")]
        expect(not working or (in_work is not None and working == [in_work.number]), f"versions {working} in work")
        replaced = [row for row in versions.values() if row.state == "replaced"]
        expect(len(replaced) <= self.corpus.keep_versions, f"{len(replaced)} versions are kept")
        blocks = await ctx.db.query(tables.TextBlock).using(tables.TextBlock.by_version, source=source.id).collect()
        expect({block.version for block in blocks} <= versions.keys(), "text of versions that are gone")
        if settled:
            expect(source.state not in ("reading", "embedding"), "it is still in work")
            expect(
                source.state != "ready" or (source.pending is None and not drafts), "ready, and something is pending"
            )
            expect(source.summary_embedded, "its summary still has no vector")
        return faults

    async def _check_chunk(self, ctx: rf.QueryCtx, chunk: Any, expect: Any) -> None:
        vector = await ctx.db.vector(self.corpus.tables.Chunk.meaning, chunk.id)
        expect((vector is not None) == chunk.embedded, f"chunk {chunk.number} says {chunk.embedded} of its vector")
        if vector is not None:
            wanted = HashingEmbedder(self.corpus.embedder.dims)
            (right,) = await _at_once(wanted.embed([chunk.text]))
            expect(np.allclose(vector, right, atol=1e-6), f"chunk {chunk.number} has the vector of another text")


async def _at_once(made: Any) -> Any:
    """The result of a coroutine that awaits nothing: queries may await only `ctx`."""
    try:
        made.send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("it waits for something")
