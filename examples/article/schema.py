"""What the playground stores: sources, their chunks, searches and comparisons, and how far indexing is."""

from __future__ import annotations

from typing import Any, Literal

import reflow as rf

DIMS = 384
"""Length of the vectors, which the embedder in use must give."""

State = Literal["pending", "saved", "failed"]
"""Of a source: its vectors are being made, are all stored, or could not be made."""

Answered = Literal["pending", "ready", "failed"]
"""Of a search or comparison."""


class Base(rf.Table, rename="camel"):
    """Stored and sent in camelCase."""


class Lines(rf.Object):
    """The lines a text was found in, from 1, both ends included. Pasted text counts its own lines."""

    from_: int
    to: int


class Related(rf.Object):
    """A hit as a search or comparison remembers it: a chunk's id and cosine similarity."""

    id: rf.Id[Chunk]
    score: float | None = rf.missing()


class Source(Base, table="sources"):
    """A text that was added: pasted, or a file of the corpus."""

    name: str
    chunk_ids: list[rf.Id[Chunk]]
    chunk_count: int
    saved: bool = False
    """All vectors are stored."""
    state: State = "pending"
    error: str | None = rf.missing()
    """Why `state` is failed."""
    embedded: int = 0
    """Chunks that have a vector."""
    total_tokens: int | None = rf.missing()
    embedding_ms: float | None = rf.missing()
    bulk: bool = False
    """Embedded in turn with other sources rather than by an action of its own."""
    job: rf.Id[rf.Scheduled] | None = rf.missing()
    """The action of its own."""
    key: str | None = rf.missing()
    """What identifies a source of the corpus."""
    content_hash: str | None = rf.missing()
    """Changes when a source of the corpus does."""

    by_key = rf.Index("key")
    by_state = rf.Index("state", "bulk")


class Chunk(Base, table="chunks"):
    """A piece of a source; its vector is in `meaning` under the chunk's own id."""

    text: str
    source_id: rf.Id[Source]
    chunk_index: int
    """Its place in the source, from 0."""
    lines: Lines
    tokens: int | None = rf.missing()
    name: str | None = rf.missing()
    """What it describes, such as `shutil.copytree`."""
    file: str | None = rf.missing()

    words = rf.TextIndex("text", filters=("source_id",))
    meaning = rf.VectorIndex(dims=DIMS, filters=("source_id",))


class Search(Base, table="searches"):
    """A question; its vector is in `meaning`, so that its results can be found anew at any time."""

    input: str
    count: int
    state: Answered = "pending"
    error: str | None = rf.missing()
    model: str | None = rf.missing()
    """Which model made its vector."""
    related_chunks: list[Related] | None = rf.missing()
    """What its last run found. With vectors inside, what is shown comes from the vector, not from here."""
    as_of: int | None = rf.missing()
    """`Counters.changes` when a remote store was asked."""
    input_tokens: int | None = rf.missing()
    embedding_ms: float | None = rf.missing()
    query_ms: float | None = rf.missing()
    save_search_ms: float | None = rf.missing()
    job: rf.Id[rf.Scheduled] | None = rf.missing()

    by_input = rf.Index("input", "count")
    meaning = rf.VectorIndex(dims=DIMS)


class Comparison(Base, table="comparisons"):
    """A wish to see what is nearest to a chunk."""

    target: rf.Id[Chunk]
    count: int
    related_chunks: list[Related] | None = rf.missing()
    error: str | None = rf.missing()
    """Why its last run found nothing."""
    as_of: int | None = rf.missing()
    """`Counters.changes` when a remote store was asked."""
    query_ms: float | None = rf.missing()
    job: rf.Id[rf.Scheduled] | None = rf.missing()

    by_target = rf.Index("target", "count")


class Counters(Base, table="counters"):
    """How far embedding is: one document, updated by every transaction that changes what it counts."""

    total: int = 0
    """Chunks."""
    embedded: int = 0
    failed: int = 0
    sources: int = 0
    job: rf.Id[Any] | None = None
    """The action that embeds sources in turn."""
    listing: bool = False
    """More of the corpus is to come."""
    fingerprint: str | None = None
    """Of the corpus that is stored in full."""
    started_at: float | None = None
    """When the last indexing of the corpus began, and ended; milliseconds since 1970."""
    finished_at: float | None = None
    run_embedded: int = 0
    """Chunks embedded since `started_at`."""
    updated_at: float | None = None
    """When chunks were last embedded."""
    changes: int = 0
    """How often vectors came or went."""
    reconciliation: rf.Id[Any] | None = None
    """The action that next compares a remote store with the documents."""


class Model(Base, table="models"):
    """Which model made the stored vectors: one document, apart from the counters, which change all the time."""

    name: str
    store: str = "inside"
    """Which store has them."""
