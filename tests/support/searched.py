"""A corpus whose chunks a test writes by itself, with vectors of its own choosing: what searches find is then known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import reflow as rf
from reflow.rag.corpus import Corpus
from reflow.rag.reembed import model_of
from reflow.testing.embedder import HashingEmbedder

DIMS = 512


def corpus_of(name: str = "docs", **options: Any) -> Corpus:
    """A corpus with public functions and an embedder that counts words."""
    return Corpus(name, **({"embedder": HashingEmbedder(DIMS), "public": True} | options))


def app_of(corpus: Corpus, *modules: rf.Module) -> rf.App:
    """An application with the corpus and `tests:add`, `tests:change` and `tests:drop` that write its chunks."""
    writer = Writer(corpus)
    return rf.App(modules=[writer.module, *modules], components=[corpus], limits=corpus.limits)


class Writer:
    """Writes sources and chunks without the work in the background that makes them."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self.module = rf.Module("tests")
        self.module.mutation(self.add)
        self.module.mutation(self.change)
        self.module.mutation(self.drop)
        self.module.action(self.add_embedded)
        self._insert = self.module.mutation(name="insert")(self.insert)

    async def add(self, ctx: rf.MutationCtx, key: str, texts: list[str], fields: dict[str, Any] | None = None) -> str:
        """A source with chunks that have no vectors yet."""
        return await self.insert(ctx, key, texts, fields or {}, None)

    async def add_embedded(
        self, ctx: rf.ActionCtx, key: str, texts: list[str], fields: dict[str, Any] | None = None
    ) -> str:
        """A source with chunks that have vectors. A summary in `fields` is embedded, too."""
        fields = fields or {}
        embedder = self._corpus.embedder
        model = model_of(embedder)
        summary = fields.get("summary")
        vectors = await embedder.embed([*texts, *([summary] if summary else [])], "document")
        embeddings = [rf.Embedding.of(vector, model) for vector in vectors]
        return await ctx.run_mutation(self._insert, key, texts, fields, embeddings)

    async def insert(
        self,
        ctx: rf.MutationCtx,
        key: str,
        texts: list[str],
        fields: dict[str, Any],
        embeddings: list[rf.Embedding] | None,
    ) -> str:
        tables = self._corpus.tables
        own: dict[str, Any] = {name: value for name, value in fields.items() if name in self._corpus.filters}
        own |= {name: fields[name] for name in ("category", "kind") if name in fields}
        source = tables.Source(
            key=key,
            name=fields.get("name", key.title()),
            state="ready",
            version=1,
            chunk_count=len(texts),
            importance=fields.get("importance", 1.0),
            summary=fields.get("summary"),
            **{"kind": "text", **own},
        )
        made = list(embeddings or [])
        summary = {tables.Source.meaning: made.pop()} if len(made) > len(texts) else None
        id = await ctx.db.insert(source, vectors=summary)
        rows: list[Any] = []
        start, line = 0, 1
        for number, text in enumerate(texts):
            last = line + text.count("\n")
            rows.append(
                tables.Chunk(
                    source=id,
                    version=1,
                    number=number,
                    text=text,
                    hash=f"hash of {text}",
                    first_line=line,
                    last_line=last,
                    start=start,
                    end=start + len(text),
                    embedded=embeddings is not None,
                    **own,
                )
            )
            start, line = start + len(text) + 1, last + 1
        vectors = None if embeddings is None else [{tables.Chunk.meaning: one} for one in made]
        await ctx.db.insert_many(rows, vectors=vectors)
        return id

    async def change(self, ctx: rf.MutationCtx, id: str, fields: dict[str, Any]) -> None:
        """Changes fields of a source or chunk."""
        await ctx.db.patch(rf.Id(id), **fields)

    async def drop(self, ctx: rf.MutationCtx, key: str) -> None:
        """Deletes a source with its chunks."""
        tables = self._corpus.tables
        source = await ctx.db.query(tables.Source).using(tables.Source.by_key, key=key).first()
        assert source is not None
        chunks = await ctx.db.query(tables.Chunk).using(tables.Chunk.by_source, source=source.id).collect()
        await ctx.db.delete_many([chunk.id for chunk in chunks])
        await ctx.db.delete(source.id)


def names(rows: Sequence[Any]) -> list[str]:
    """The texts of rows, in order."""
    return [row.text for row in rows]
