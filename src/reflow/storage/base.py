"""What the engine asks of a storage: current tables, an undo log, one group of commits at a time.

A storage knows bytes, not documents. A document is addressed by its table number and its *sequence number*, a
63-bit integer that grows with the time of insertion, so that new rows append. An index row is an order-preserving
binary key that ends in the 8 big-endian bytes of the document's sequence number, so keys are unique.

The table itself is the index of creation order: an index number equal to the table number means "the documents by
sequence number", its keys are the bare 8 bytes.

Ranges are half open, `lower <= key < upper`; `b""` is below and `TOP` above every key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, Protocol

import msgspec

TOP = b"\xff"
"""Above every key: no encoded field and no sequence number starts with this byte."""


_LAST = (1 << 63) - 1


def sequence_key(seq: int) -> bytes:
    """The key of a document in its table's creation order; also the tail of every index key."""
    return seq.to_bytes(8, "big")


def sequence_bounds(lower: bytes, upper: bytes) -> tuple[int, int]:
    """The first and the last sequence number whose key is in the half-open range; first > last where it is empty."""
    return _first_from(lower), _first_from(upper) - 1


def _first_from(bound: bytes) -> int:
    first = int.from_bytes(bound[:8].ljust(8, b"\x00"), "big") + (len(bound) > 8)
    return min(first, _LAST)


class Row(NamedTuple):
    """One document met by a scan."""

    key: bytes
    seq: int
    value: bytes


class IndexWrite(NamedTuple):
    """An index row that goes, comes or both. An unchanged key writes no row and makes no IndexWrite.

    Removing a row that is not there, or adding one that is, changes nothing: a backfill may not have come so far yet.
    """

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    remove: bytes | None
    add: bytes | None


class TextWrite(NamedTuple):
    """The tokens of one text field, already normalised and separated by single spaces; None removes the entry.

    A token holds no space, no control character and no upper-case ASCII letter; else it is free.
    """

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    tokens: str | None


class VectorWrite(NamedTuple):
    """A float32 vector as little-endian bytes; None removes it."""

    index: int  # pyright: ignore[reportIncompatibleMethodOverride]
    generation: int
    seq: int
    vector: bytes | None


class Write(msgspec.Struct, frozen=True, gc=False):
    """One document's change: `before` is None for an insert, `value` is None for a delete."""

    table: int
    seq: int
    value: bytes | None
    before: bytes | None
    index: Sequence[IndexWrite] = ()
    text: Sequence[TextWrite] = ()


class Request(msgspec.Struct, frozen=True, gc=False):
    """The stored answer of a client's mutation, so that a replay is answered and not run again.

    `ts` is that of the batch which carries it. A second answer to the same request is refused,
    or, when the first one is old, forgotten: the first stays.
    """

    session: str
    request: int
    ts: int
    result: bytes


@dataclass(slots=True)
class Batch:
    """All that one mutation writes, at its own commit timestamp, which is above every earlier one."""

    ts: int
    writes: list[Write] = field(default_factory=list[Write])
    vectors: list[VectorWrite] = field(default_factory=list[VectorWrite])
    request: Request | None = None
    described: list[tuple[int, int, int]] = field(default_factory=list[tuple[int, int, int]])
    """(index, generation, sequence number) of documents whose metadata, sparse vector or namespace changed in a vector
    index while their dense vector stayed. They are in the documents, so the log of changed vectors alone notes them."""


class Undo(NamedTuple):
    """The state of one document before a commit: what reads at an older timestamp put back."""

    ts: int
    table: int
    seq: int
    before: bytes | None


class TextHit(NamedTuple):
    """A document that matches a text query; a higher score is better."""

    seq: int
    score: float


@dataclass(frozen=True, slots=True)
class TextStats:
    """The corpus numbers that BM25 needs, so that documents not yet stored can be scored alike."""

    documents: int
    average_length: float
    matches: tuple[int, ...]
    """Per query term, the number of documents that hold it."""


class TextTerm(NamedTuple):
    """A normalised term; with `prefix` every token that starts with it matches."""

    term: str
    prefix: bool = False


class Snapshot(Protocol):
    """A stable view of the state at `ts`. Close it soon: it may hold back the cleaning of a log.

    Every method raises StorageError where the data can't be read; other snapshots are not touched by it.
    """

    @property
    def ts(self) -> int:
        """The timestamp of the last commit that is seen; 0 before the first one."""
        ...

    async def get(self, table: int, seq: int) -> bytes | None:
        """One document; None where there is none."""
        ...

    async def get_many(self, table: int, seqs: Sequence[int]) -> list[bytes | None]:
        """The documents in the order asked for, None where there is none."""
        ...

    async def scan(
        self, table: int, index: int, lower: bytes, upper: bytes, *, reverse: bool = False, limit: int
    ) -> list[Row]:
        """At most `limit` rows of the range in key order (`reverse`: from the upper end down), with documents."""
        ...

    async def count(self, table: int, index: int, lower: bytes, upper: bytes) -> int:
        """The number of rows in a range, without reading the documents."""
        ...

    async def search_text(self, index: int, terms: Sequence[TextTerm], *, limit: int, offset: int = 0) -> list[TextHit]:
        """Documents that hold any of the terms, by BM25 (k1 = 1.2, b = 0.75), ties by newest first."""
        ...

    async def text_stats(self, index: int, terms: Sequence[TextTerm]) -> TextStats:
        """The numbers behind the scores of `search_text`."""
        ...

    async def vectors(self, index: int, generation: int, *, after: int = 0, limit: int) -> list[tuple[int, bytes]]:
        """(sequence number, vector) pairs in order of sequence number, from the first one above `after`."""
        ...

    async def vector(self, index: int, generation: int, seq: int) -> bytes | None:
        """One document's vector; None where it has none in that generation."""
        ...

    async def vector_log(self, index: int, generation: int, *, after: int) -> list[int]:
        """The documents whose vector, or what belongs to it, changed after that timestamp: their sequence numbers, in
        order. Complete down to what `Storage.forget_vector_log` has removed."""
        ...

    async def request(self, session: str, request: int) -> Request | None:
        """The stored answer; None where none was given, or it is kept no longer."""
        ...

    async def undo(self, after: int) -> list[Undo]:
        """What commits with a timestamp above `after` replaced, oldest first. Complete only down to `horizon()`."""
        ...

    async def horizon(self) -> int:
        """Reads at this timestamp or a later one can be answered."""
        ...

    async def close(self) -> None:
        """Gives the view back. Closing twice does nothing."""
        ...


class Storage(Protocol):
    """One group of commits is open at a time: apply()*, then commit() or rollback().

    An applied batch is seen by head() at once and by snapshot() after commit(). commit() returns when the group is
    durable to the degree that was chosen at opening; when it raises a StorageError, nothing of the group is stored
    and the next group may begin. Whoever is cancelled in commit() gets the cancellation when the commit has ended,
    and is not told how.
    """

    concurrent: bool
    """True where reads may suspend: the engine then runs mutations optimistically, else one after another."""

    files: Path | None
    """A directory for files that are derived from the data, to be made by who uses it; None where nothing is kept."""

    async def open(self) -> int:
        """Creates or checks the data; returns the timestamp of the last commit (0 when there was none)."""
        ...

    async def snapshot(self) -> Snapshot:
        """The last committed state."""
        ...

    async def head(self) -> Snapshot:
        """The committed state with what the open group has applied so far. Only the holder of the turn may ask."""
        ...

    async def apply(self, batch: Batch) -> None:
        """Adds a batch to the open group, whole or (when it raises) not at all."""
        ...

    async def commit(self) -> None:
        """Makes the open group durable and seen. Without an open group nothing happens."""
        ...

    async def rollback(self) -> None:
        """Drops the open group. Without one nothing happens."""
        ...

    async def read_meta(self) -> dict[str, bytes]:
        """Small named values outside of time, as last committed: the catalog, the schema's fingerprint."""
        ...

    async def write_meta(self, key: str, value: bytes | None) -> None:
        """Joins the open group; None removes the key."""
        ...

    async def create_table(self, table: int) -> None:
        """Joins the open group, like the three below. Creating what is there changes nothing."""
        ...

    async def create_index(self, index: int, table: int, kind: str) -> None:
        """`kind` is "range", "text" or "vector". The index starts empty."""
        ...

    async def drop_index(self, index: int, table: int, kind: str) -> None:
        """Dropping what is not there changes nothing."""
        ...

    async def drop_table(self, table: int) -> None:
        """Drops the documents, not the indexes. The undo log keeps what it has of them."""
        ...

    async def put_index_rows(
        self, table: int, rows: Sequence[tuple[int, Sequence[IndexWrite], Sequence[TextWrite]]]
    ) -> None:
        """Backfill: index rows of documents that are there already, as (sequence number, rows, texts)."""
        ...

    async def forget_vector_log(self, index: int, generation: int, until: int) -> None:
        """Joins the open group: forgets which vectors changed up to that timestamp."""
        ...

    async def prune(self, *, undo_before: int, requests_before: int) -> bool:
        """Joins the open group: forgets undo rows with ts <= undo_before (the newest one always stays, it holds the
        timestamp) and stored answers older than requests_before, at most `limits.prune_rows` of each, the oldest
        first. True where more is left to forget: ask again in a later group."""
        ...

    async def close(self) -> None:
        """Drops an open group and gives everything back. Closing twice does nothing; open() works again."""
        ...
