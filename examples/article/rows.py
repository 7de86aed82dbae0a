"""What goes over the wire: stored documents joined with what a list of them shows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import reflow as rf
from article.schema import Chunk, Lines, Source


class NewChunk(rf.Object):
    """A piece of a text to be added."""

    text: str
    lines: Lines


class NewSource(rf.Object):
    """A text to be added."""

    name: str
    chunks: list[NewChunk]


class SourceRow(Source):
    """A source in a list, with the beginning of its text."""

    first_chunk_text: str


class ChunkRow(Chunk):
    """A chunk in a list, with the name of its source; `score` is a cosine similarity where it was searched for."""

    source_name: str
    score: float | None = rf.missing()


class ResultRow(rf.Object, rename="camel"):
    """A hit of a search in all its lists; `score` is 0 to 1 for hybrid, a cosine for semantic, BM25 for words."""

    _id: rf.Id[Chunk]
    text: str
    name: str | None
    file: str | None
    lines: Lines
    chunk_index: int
    source_id: rf.Id[Source]
    source_name: str
    score: float


async def with_first_chunks(db: rf.DatabaseReader, sources: Sequence[Source]) -> list[SourceRow]:
    """Each source with the text of its first chunk, empty where it has none."""
    firsts = await db.get_many([source.chunk_ids[0] for source in sources if source.chunk_ids])
    texts = {chunk.source_id: chunk.text for chunk in firsts if chunk is not None}
    return [SourceRow(**_fields(source), first_chunk_text=texts.get(source.id, "")) for source in sources]


async def with_sources(db: rf.DatabaseReader, hits: Iterable[tuple[Chunk, float | None]]) -> list[ChunkRow]:
    """Each chunk with its score and the name of its source."""
    listed = list(hits)
    names = await source_names(db, [chunk for chunk, _ in listed])
    return [ChunkRow(**_fields(chunk), source_name=names[chunk.source_id], score=score) for chunk, score in listed]


async def source_names(db: rf.DatabaseReader, chunks: Iterable[Chunk]) -> dict[rf.Id[Source], str]:
    """The names of the chunks' sources; a chunk is deleted together with its source, so all are there."""
    wanted = list(dict.fromkeys(chunk.source_id for chunk in chunks))
    found = await db.get_many(wanted)
    return {id: source.name for id, source in zip(wanted, found, strict=True) if source is not None}


def result_row(chunk: Chunk, source_name: str, score: float) -> ResultRow:
    """A chunk as a search shows it."""
    return ResultRow(
        _id=chunk.id,
        text=chunk.text,
        name=chunk.name,
        file=chunk.file,
        lines=chunk.lines,
        chunk_index=chunk.chunk_index,
        source_id=chunk.source_id,
        source_name=source_name,
        score=score,
    )


def _fields(document: rf.Table) -> dict[str, Any]:
    return {name: getattr(document, name) for name in document.__struct_fields__}
