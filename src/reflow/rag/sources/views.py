"""What clients see of sources, versions and chunks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

import reflow as rf
from reflow.rag.sources.states import Pause, waits
from reflow.rag.tables import Chunk, FilterValue, Kind, Source, SourceState, TextBlock, Version, VersionState


class Added(rf.Object, rename="camel"):
    """What became of an input: `changed` is false where the source had this content already."""

    source: str
    version: int
    changed: bool
    state: SourceState


class Progress(rf.Object, rename="camel"):
    """How far the vectors of a version are, in chunks."""

    embedded: int
    total: int


class SourceView(rf.Object, rename="camel"):
    """A source; see `Source`. `progress` is there while it is not ready and is known how much there is to do.

    `tokens`, `cost` and what follows are of the version in the making, else of the one that is searched.
    """

    id: str
    created: float
    key: str
    name: str
    kind: Kind
    state: SourceState
    version: int
    chunk_count: int
    importance: float
    updated: float
    fields: dict[str, FilterValue] = msgspec.field(default_factory=dict[str, FilterValue])
    origin: str | None = rf.missing()
    pending: int | None = rf.missing()
    category: str | None = rf.missing()
    summary: str | None = rf.missing()
    error: str | None = rf.missing()
    progress: Progress | None = rf.missing()
    characters: int = 0
    tokens: int = 0
    cost: float = 0.0
    attempts: int | None = rf.missing()
    next_try: float | None = rf.missing()


class VersionView(rf.Object, rename="camel"):
    """A version; see `Version`. `file` is the address of the original."""

    number: int
    created: float
    state: VersionState
    kind: Kind
    characters: int
    lines: int
    chunk_count: int
    reused: int
    model: str
    tokens: int
    embedding_ms: float
    cached: int
    retries: int
    cost: float
    attempts: int
    pages: list[int] | None = rf.missing()
    file: str | None = rf.missing()
    next_try: float | None = rf.missing()
    error: str | None = rf.missing()


class BlockView(rf.Object, rename="camel"):
    """A piece of a version's text; `start` counts characters, `first_line` from 1."""

    number: int
    start: int
    first_line: int
    text: str


class ChunkView(rf.Object, rename="camel"):
    """A chunk; see `Chunk`."""

    id: str
    source: str
    source_key: str
    source_name: str
    version: int
    number: int
    text: str
    first_line: int
    last_line: int
    headings: list[str]
    kind: Kind
    embedded: bool
    start: int | None = rf.missing()
    end: int | None = rf.missing()
    page: int | None = rf.missing()
    name: str | None = rf.missing()
    category: str | None = rf.missing()
    error: str | None = rf.missing()
    fields: dict[str, FilterValue] = msgspec.field(default_factory=dict[str, FilterValue])


class Totals(rf.Object, rename="camel"):
    """A corpus in numbers; `waiting` are chunks that still get their vector."""

    sources: int
    chunks: int
    waiting: int
    reading: int
    embedding: int
    ready: int
    failed: int
    stopped: int


def source_view(
    source: Source, filters: Iterable[str], version: Version | None, waiting: int, pause: Pause | None
) -> SourceView:
    """A source with what is known of a version of it, where `waiting` chunks lack their vectors and the provider may
    have asked for a pause."""
    view = _copied(SourceView, source, filters)
    if version is not None:
        view.characters, view.tokens, view.cost = version.characters, version.tokens, version.cost
        if source.state != "ready":
            view.attempts = version.attempts
            view.next_try, why = waits(source, version, pause)
            view.error = source.error or why
            if version.chunk_count:
                view.progress = Progress(embedded=version.chunk_count - waiting, total=version.chunk_count)
    return view


def version_view(version: Version, file: str | None) -> VersionView:
    """A version, with the address of its original."""
    return _copied(VersionView, version, (), file=file)


def block_view(block: TextBlock) -> BlockView:
    """A block of a text."""
    return _copied(BlockView, block, ())


def chunk_view(chunk: Chunk, source: Source, filters: Iterable[str]) -> ChunkView:
    """A chunk with the names of its source."""
    return _copied(ChunkView, chunk, filters, source_key=source.key, source_name=source.name)


def _copied(kind: Any, row: Any, filters: Iterable[str], **given: Any) -> Any:
    """A view with the fields that it shares with a row."""
    names = kind.__struct_fields__
    values = {name: getattr(row, name) for name in names if name not in given and hasattr(row, name)}
    if "fields" in names:
        values["fields"] = {name: value for name in filters if (value := getattr(row, name)) is not None}
    return kind(**values, **given)
