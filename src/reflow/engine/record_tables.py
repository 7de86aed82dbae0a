"""The system tables of free-standing vector indexes.

All records of all indexes are rows of one table; the vectors of an index are a generation of that table's vector index,
under the index's number. So a new index or namespace changes no schema, and history, read sets, live queries and
durability are those of documents.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from reflow.engine.documents import IndexCodec, TableCodec
from reflow.limits import Limits
from reflow.schema import Index, Table, TableSpec, VectorIndex, missing, spec_of
from reflow.search.metric import Metric, Place
from reflow.search.sparse import Sparse
from reflow.vectors import SparseValues

if TYPE_CHECKING:
    from reflow.engine.transaction import EngineTransaction as Writing


class RecordVectorsCodec(IndexCodec):
    """The vector index of the records: each says itself to which set of vectors and namespace it belongs."""

    def place(self, document: RecordRow | None) -> Place:
        """The vectors of the record's index; those of no index where there is no record."""
        return self.number, 0 if document is None else document.index

    def space(self, document: RecordRow) -> int:
        """The number of its namespace."""
        return document.space

    def sparse(self, document: RecordRow) -> Sparse | None:
        """Its sparse vector."""
        found = document.sparse
        if found is None:
            return None
        return Sparse(np.array(found.indices, dtype=np.uint32), np.array(found.values, dtype=np.float32))

    def metadata(self, document: RecordRow) -> dict[str, Any]:
        """What filters can ask of it: all of its metadata."""
        return document.metadata


class VectorIndexRow(Table, table="_vector_indexes", system=True):
    """A free-standing index. `number` is never used again; `dims` 0 means that it is sparse."""

    name: str
    number: int
    dims: int
    metric: Metric
    deletion_protection: bool = False
    tags: dict[str, str]
    about: dict[str, Any]
    """What a Pinecone client said of it that changes nothing for its vectors: cloud, schema, embedding."""

    by_name = Index("name")


class NamespaceRow(Table, table="_namespaces", system=True):
    """A namespace of an index. Its number changes when all its records are deleted at once."""

    index: int
    name: str
    number: int

    by_name = Index("index", "name")


class RecordRow(Table, table="_records", system=True):
    """A record: `index` and `space` are the numbers of its index and namespace, `key` is the caller's id.

    It is found by these alone, so it is stored without an id and a time of its own.
    """

    index: int
    space: int
    key: str
    metadata: dict[str, Any]
    sparse: SparseValues | None = missing()

    by_key = Index("index", "space", "key")
    vectors = VectorIndex(dims=1)  # in truth each free-standing index has its own length and metric


class PurgeRow(Table, table="_purges", system=True):
    """Records that nobody can find any more: those of a namespace's former number or, without `space`, of an index.

    They are removed in the background. `since` is in milliseconds since 1970.
    """

    index: int
    space: int | None = missing()
    since: float


INDEXES = spec_of(VectorIndexRow)
NAMESPACES = spec_of(NamespaceRow)
RECORDS = spec_of(RecordRow)
PURGES = spec_of(PurgeRow)

TABLES: tuple[TableSpec, ...] = (INDEXES, NAMESPACES, RECORDS, PURGES)
NAMED = (INDEXES, NAMESPACES)
"""The tables whose rows are found by name."""


class RecordCodec(TableCodec):
    """The table of the records."""

    def __init__(self, spec: TableSpec, number: int, numbers: Mapping[str, int], limits: Limits) -> None:
        super().__init__(spec, number, numbers, limits)
        found = RecordVectorsCodec(RecordRow.vectors, numbers["vectors"], spec)
        self.vectors = (found,)
        self.by_name[found.name] = found
        # Written by `encode_record`: names in metadata are free, and a text that holds `"$` is no special form.
        self._decode = self._decode_stored = msgspec.json.Decoder(RecordRow).decode


def codec_type(spec: TableSpec) -> type[TableCodec]:
    """The class that knows how a table's documents are stored."""
    return RecordCodec if spec is RECORDS else TableCodec


encode_record = msgspec.json.Encoder().encode
"""The bytes of a `RecordRow`: checked metadata hold nothing that needs Convex's encoding."""


class RecordKeys:
    """The records that a transaction has written, by index, namespace and id; found anew after foreign writes."""

    def __init__(self) -> None:
        self._version = -1
        self._seqs: dict[tuple[int, int, str], int] = {}

    def of(self, tx: Writing) -> dict[tuple[int, int, str], int]:
        """Sequence numbers of the pending records, removed ones included."""
        if self._version != tx.version:
            table = tx.host.catalog.codec(RECORDS).number
            self._seqs = {}
            for (number, seq), write in tx.pending.items():
                if number == table:
                    row: RecordRow = write.document
                    self._seqs[row.index, row.space, row.key] = seq
            self._version = tx.version
        return self._seqs

    def note(self, tx: Writing, key: tuple[int, int, str], seq: int) -> None:
        """Learns of the transaction's latest write."""
        if self._version == tx.version - 1:
            self._seqs[key] = seq
            self._version = tx.version

    def follow(self, tx: Writing) -> None:
        """Learns that the transaction's latest write concerns no id."""
        if self._version == tx.version - 1:
            self._version = tx.version


class NameCache:
    """Rows of indexes and namespaces by key, None where there is no row, as all states since a timestamp have them."""

    def __init__(self, bound: int) -> None:
        self._bound = bound
        self._since = 0
        self._rows: dict[bytes, Table | None] = {}

    def changed(self, ts: int) -> None:
        """Says that the commit at `ts` changes some of the rows."""
        self._since = max(self._since, ts)
        self._rows.clear()

    def forget(self) -> None:
        """Says that commits were taken back: what was learned from them is not so."""
        self._rows.clear()

    def find(self, key: bytes, ts: int) -> tuple[Table | None] | None:
        """The row under a key at `ts`; None where that is not known."""
        if ts < self._since or key not in self._rows:
            return None
        return (self._rows[key],)

    def learn(self, key: bytes, ts: int, row: Table | None) -> None:
        """Keeps what was read at `ts`."""
        if ts >= self._since:
            if len(self._rows) >= self._bound:
                self._rows.clear()
            self._rows[key] = row
