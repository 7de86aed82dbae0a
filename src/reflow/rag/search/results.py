"""What searches show: chunks with their sources, and passages that put neighbours together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

import reflow as rf
from reflow.rag.search.queries import Mode, Options
from reflow.rag.tables import Chunk, Kind, Source


class ResultRow(rf.Object, rename="camel"):
    """A chunk that a search found, with its source.

    `score` is a cosine (dense), BM25 (text), 0 to 1 (hybrid) or the reranker's, times the source's importance; `bar`
    is its share of the best one's, 0 to 1. `dense` and `words` are its places in the two rankings. `passage` is the
    place among the result's passages of the one that has it.
    """

    _id: str
    source: str
    source_key: str
    source_name: str
    version: int
    number: int
    text: str
    name: str | None
    headings: list[str]
    kind: Kind
    category: str | None
    page: int | None
    first_line: int
    last_line: int
    start: int | None
    end: int | None
    embedded: bool
    importance: float
    score: float
    bar: float
    dense: rf.Leg
    words: rf.Leg
    rerank: float | None = rf.missing()
    passage: int | None = rf.missing()

    @property
    def id(self) -> str:
        """The chunk's id."""
        return self._id


class Passage(rf.Object, rename="camel"):
    """Hits of one source with their neighbours, as one text in which nothing is repeated."""

    source: str
    source_key: str
    source_name: str
    version: int
    text: str
    first_line: int
    last_line: int
    start: int | None
    end: int | None
    page: int | None
    headings: list[str]
    chunks: list[str]
    """Ids of all its chunks, in order."""
    hits: list[str]
    """Ids of those that were found, the best first."""
    score: float
    """The best one's."""


class Found(rf.Object, rename="camel"):
    """The results of a search at one moment, the best first. `passages` are there where neighbours were asked for."""

    rows: list[ResultRow]
    passages: list[Passage] = msgspec.field(default_factory=list[Passage])
    note: str | None = rf.missing()
    """What a reader should know, such as that only words counted."""
    narrowed: list[str] | None = rf.missing()
    """Sources' names or categories that the search was narrowed to."""
    stale: bool = False
    """What was reranked has changed since: run the search again."""


class LeftOut(rf.Object):
    """A chunk that either ranking would have brought up and the results lack; `why` tells the reason."""

    row: ResultRow
    why: str


class Explained(rf.Object, rename="camel"):
    """Results with reasons: `dense.why` and `words.why` tell why a chunk is not in that ranking."""

    rows: list[ResultRow]
    left_out: list[LeftOut]
    mode: Mode
    """By what it was searched for in the end."""
    note: str | None = rf.missing()
    narrowed: list[str] | None = rf.missing()


class Candidate(rf.Object):
    """A chunk that is to be reranked."""

    chunk: str
    hash: str
    text: str


class Hit(msgspec.Struct, kw_only=True):
    """A chunk on its way to a row."""

    chunk: Chunk
    unweighed: float
    dense: rf.Leg
    words: rf.Leg
    weight: float = 1.0
    rerank: float | None = None

    @property
    def score(self) -> float:
        """What it is ranked by. A weight makes what is like the question more or less so, and does not touch what is
        unlike it."""
        own = self.unweighed if self.rerank is None else self.rerank
        return own * self.weight if own > 0 else own


def rows_of(hits: Sequence[Hit], sources: Mapping[str, Source]) -> list[ResultRow]:
    """The hits as rows. A chunk is deleted together with its source, so all of these are there."""
    judged = [hit.score for hit in hits if hit.rerank is not None]
    best = max(judged or [hit.score for hit in hits], default=0.0)
    rows = [_row(hit, sources[hit.chunk.source], best) for hit in hits]
    for hit, row in zip(hits, rows, strict=True):
        if judged and hit.rerank is None:
            row.bar = 0.0  # its score is of another kind
    return rows


def _row(hit: Hit, source: Source, best: float) -> ResultRow:
    chunk = hit.chunk
    return ResultRow(
        _id=chunk.id,
        source=source.id,
        source_key=source.key,
        source_name=source.name,
        version=chunk.version,
        number=chunk.number,
        text=chunk.text,
        name=chunk.name,
        headings=chunk.headings,
        kind=chunk.kind,
        category=chunk.category,
        page=chunk.page,
        first_line=chunk.first_line,
        last_line=chunk.last_line,
        start=chunk.start,
        end=chunk.end,
        embedded=chunk.embedded,
        importance=source.importance,
        score=hit.score,
        bar=min(1.0, max(0.0, hit.score / best)) if best > 0 else 0.0,
        dense=hit.dense,
        words=hit.words,
        rerank=hit.rerank,
    )


async def sources_of(db: rf.DatabaseReader, chunks: Iterable[Chunk]) -> dict[str, Source]:
    """The sources of some chunks, by id."""
    wanted: list[rf.Id[Any]] = list(dict.fromkeys(chunk.source for chunk in chunks))
    found = await db.get_many(wanted)
    return {id: source for id, source in zip(wanted, found, strict=True) if source is not None}


# Passages


async def passages_of(
    db: rf.DatabaseReader, table: type[Chunk], rows: Sequence[ResultRow], options: Options
) -> list[Passage]:
    """The rows with the chunks around them; windows that touch become one. Notes in the rows which has them."""
    windows: dict[str, list[ResultRow]] = {}
    for row in rows:
        windows.setdefault(row.source, []).append(row)
    found: list[Passage] = []
    for own in windows.values():
        for group in _touching(own, options):
            numbers = [row.number for row in group]
            lower, upper = min(numbers) - options.before, max(numbers) + options.after
            query = db.query(table).using(table.by_source, source=group[0].source).gte(max(0, lower)).lte(upper)
            found.append(_passage(group, await query.collect()))
    found.sort(key=lambda passage: -passage.score)
    for place, passage in enumerate(found):
        for row in rows:
            if row.id in passage.hits:
                row.passage = place
    return found


def _touching(rows: Sequence[ResultRow], options: Options) -> list[list[ResultRow]]:
    """The rows of one source in groups whose windows overlap or follow one another; the best of a group first."""
    groups: list[list[ResultRow]] = []
    end = -1
    for row in sorted(rows, key=lambda row: row.number):
        if not groups or row.number - options.before > end + 1:
            groups.append([])
        groups[-1].append(row)
        end = row.number + options.after
    return [sorted(group, key=lambda row: -row.score) for group in groups]


def _passage(group: Sequence[ResultRow], chunks: Sequence[Chunk]) -> Passage:
    best, first, last = group[0], chunks[0], chunks[-1]
    return Passage(
        source=best.source,
        source_key=best.source_key,
        source_name=best.source_name,
        version=best.version,
        text=joined(chunks),
        first_line=first.first_line,
        last_line=max(chunk.last_line for chunk in chunks),
        start=first.start,
        end=last.end,
        page=first.page,
        headings=first.headings,
        chunks=[chunk.id for chunk in chunks],
        hits=[row.id for row in group],
        score=best.score,
    )


def joined(chunks: Sequence[Chunk]) -> str:
    """The text of chunks that follow one another, without what an earlier one has already.

    Between chunks there may be white space that neither has: a blank line stands for more than one line's end.
    """
    parts: list[str] = []
    end: int | None = None
    line = 0
    for chunk in chunks:
        text = chunk.text
        if parts:
            if end is None or chunk.start is None:
                parts.append("\n\n")
            elif chunk.start >= end:
                gap = min(2, chunk.first_line - line)
                parts.append("\n" * gap if gap > 0 else " " * (chunk.start > end))
            else:
                text = text[end - chunk.start :]
        parts.append(text)
        end = chunk.end if end is None or chunk.end is None else max(end, chunk.end)
        line = max(line, chunk.last_line)
    return "".join(parts)
