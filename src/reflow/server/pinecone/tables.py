"""A table's vector index as clients see it: an index that can be read, and changes with its documents."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import Any, cast

import msgspec

from reflow.engine.documents import IndexCodec, TableCodec
from reflow.engine.engine import Engine
from reflow.engine.generations import Generations
from reflow.engine.transaction import EngineTransaction
from reflow.errors import InvalidId, InvalidValue
from reflow.schema import ID_FIELD, VectorIndex
from reflow.search import filters
from reflow.search.metric import Metric, Place, Vector, VectorQuery, checked, records_per_turn
from reflow.server.pinecone.errors import Refused
from reflow.storage.base import sequence_key
from reflow.vectors import (
    IdPage,
    IndexInfo,
    IndexStats,
    Match,
    NamespaceInfo,
    NamespacePage,
    QueryResult,
    Record,
    RecordPage,
)

_TOP = b"\xff"
_LONGEST_NAME = 45
_LONGEST_TAG = 120
_decode = msgspec.json.Decoder(dict[str, Any]).decode


class TableIndexes:
    """The vector indexes of an app's tables under names that Pinecone allows: `chunks-meaning`.

    A free-standing index of such a name can't be reached through the API.
    """

    def __init__(self, engine: Engine) -> None:
        self._found: dict[str, tuple[TableCodec, IndexCodec]] = {}
        for codec in engine.catalog.tables.values():
            if codec.name.startswith("_"):
                continue
            for index in codec.vectors:
                self._found.setdefault(_public_name(codec.name, index.index.name), (codec, index))

    def has(self, name: str) -> bool:
        """Whether a table has the name."""
        return name in self._found

    async def info(self, tx: EngineTransaction, name: str) -> IndexInfo | None:
        """What is known of an index; None for a name of no table."""
        found = self._found.get(name)
        if found is None:
            return None
        index = cast(VectorIndex, found[1].index)
        _, model = await Generations(tx).active(index)
        tags = {"table": found[0].name[:_LONGEST_TAG]}
        if model.embedder:
            tags["embedder"] = model.embedder[:_LONGEST_TAG]
        return IndexInfo(
            name=name,
            dims=model.dims,
            metric=index.metric,
            deletion_protection=True,
            tags=tags,
            about={},
            created=0.0,
        )

    async def infos(self, tx: EngineTransaction) -> Iterable[IndexInfo]:
        """What is known of all."""
        return [info for name in self._found if (info := await self.info(tx, name)) is not None]

    def refuse_change(self, name: str) -> None:
        """Raises Refused for a name of a table."""
        found = self._found.get(name)
        if found is not None:
            codec, index = found
            raise Refused(
                "FORBIDDEN",
                f"the index {name} can only be read: it is {index.index.name!r} of the table {codec.name!r}, and "
                "changes with that table's documents",
            )

    async def index(self, tx: EngineTransaction, name: str) -> TableIndex | None:
        """An index in a transaction; None for a name of no table."""
        found = self._found.get(name)
        if found is None:
            return None
        place, model = await Generations(tx).active(cast(VectorIndex, found[1].index))
        return TableIndex(tx, *found, place, model.dims)


class TableIndex:
    """Reads the generation in use of a table's vector index: Pinecone's API has no word for another.

    Everything is in the default namespace; a record is a document with a vector, its metadata those of the document's
    fields that Pinecone has types for.
    """

    def __init__(self, tx: EngineTransaction, codec: TableCodec, index: IndexCodec, place: Place, dims: int) -> None:
        self._tx = tx
        self._codec = codec
        self._index = index
        self._metric: Metric = cast(VectorIndex, index.index).metric
        self._place = place
        self._dims = dims
        self._turn = records_per_turn(tx.host.limits, dims)

    async def query(
        self,
        *,
        vector: Any = None,
        id: str | None = None,
        sparse_vector: Any = None,
        top_k: int = 10,
        namespace: str = "",
        filter: Mapping[str, Any] | None = None,
        include_values: bool = False,
        include_metadata: bool = False,
    ) -> QueryResult:
        """The nearest documents."""
        if sparse_vector is not None:
            raise InvalidValue("the index of a table has no sparse vectors")
        most = self._tx.host.limits.records_per_query
        if not 1 <= top_k <= most:
            raise InvalidValue(f"topK must be between 1 and {most}, got {top_k}")
        wanted = self._filter(filter)
        if id is not None:
            vector = self._values(id)
        elif vector is None:
            raise InvalidValue("a query needs a vector or an id")
        if vector is None or namespace:
            return QueryResult(matches=[], namespace=namespace)
        query = VectorQuery(top_k, self._checked(vector), filter=wanted)
        ranked = await self._tx.wait(
            self._tx.host.vectors.search(self._place, query, self._tx.snapshot.ts, approximate=True)
        )
        matches: list[Match] = []
        for start in range(0, len(ranked), self._turn):
            part = ranked[start : start + self._turn]
            raws = await self._tx.wait(self._tx.snapshot.get_many(self._codec.number, [seq for _, seq in part]))
            for (score, seq), raw in zip(part, raws, strict=True):
                document = {} if raw is None else _decode(raw)
                if document:
                    id = cast(str, document[ID_FIELD])
                    values = self._vector(seq) if include_values else None
                    metadata = _metadata(document) if include_metadata else {}
                    matches.append(Match(id=id, score=self._shown_score(score), values=values, metadata=metadata))
            await asyncio.sleep(0)
        return QueryResult(matches=matches, namespace=namespace)

    async def fetch(self, ids: Iterable[str], *, namespace: str = "") -> dict[str, Record]:
        """Documents by id; those without a vector are none of the index."""
        found: dict[str, Record] = {}
        for place, id in enumerate(() if namespace else ids, 1):
            if place % self._turn == 0:
                await asyncio.sleep(0)
            seq = self._seq(id)
            values = None if seq is None else self._vector(seq)
            raw = None if seq is None or values is None else await self._tx.raw(self._codec, seq, id)
            if raw is not None:
                found[id] = Record(id=id, values=values, metadata=_metadata(_decode(raw)))
        return found

    async def fetch_by_metadata(
        self, filter: Mapping[str, Any], *, namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> RecordPage:
        """Documents whose filter fields pass, in order of their ids."""
        wanted = self._filter(filter)
        records: list[Record] = []
        async for id, seq, raw in self._documents(namespace, pagination_token):
            if wanted is not None and not wanted.matches(self._index.metadata(self._codec.decode(raw))):
                continue
            records.append(Record(id=id, values=self._vector(seq), metadata=_metadata(_decode(raw))))
            if len(records) % self._turn == 0:
                await asyncio.sleep(0)
            if len(records) == limit:
                return RecordPage(records=records, next=id)
        return RecordPage(records=records, next=None)

    async def list(
        self, *, prefix: str = "", namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> IdPage:
        """Ids of documents with a vector."""
        ids: list[str] = []
        async for id, _, _ in self._documents(namespace, pagination_token):
            if prefix and not id.startswith(prefix):
                continue
            ids.append(id)
            if len(ids) == limit:
                return IdPage(ids=ids, next=id)
        return IdPage(ids=ids, next=None)

    async def stats(self) -> IndexStats:
        """Numbers of the index."""
        count = self._count()
        return IndexStats(dims=self._dims, metric=self._metric, records=count, namespaces={"": count})

    async def list_namespaces(
        self, *, prefix: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> NamespacePage:
        """The default namespace."""
        own = [] if prefix else [NamespaceInfo(name="", records=self._count())]
        return NamespacePage(namespaces=own, next=None)

    async def count_namespaces(self) -> int:
        """How many namespaces there are."""
        return 1

    async def describe_namespace(self, name: str) -> NamespaceInfo | None:
        """The default namespace; there is no other."""
        return None if name else NamespaceInfo(name="", records=self._count())

    async def _documents(self, namespace: str, after: str | None) -> AsyncGenerator[tuple[str, int, bytes], None]:
        """Id, sequence number and bytes of the documents with a vector, in order of both."""
        if namespace:
            return
        lower = b""
        if after is not None:
            seq = self._seq(after)
            if seq is None:
                raise InvalidValue(f"{after[:100]!r} is no pagination token of this index")
            lower = sequence_key(seq) + b"\x00"
        size = self._tx.host.limits.scan_page
        number = self._codec.number
        while rows := await self._tx.wait(self._tx.snapshot.scan(number, number, lower, _TOP, limit=size)):
            for row in rows:
                if self._tx.vector_at(self._place, row.seq) is not None:
                    yield cast(str, _decode(row.value)[ID_FIELD]), row.seq, row.value
            lower = rows[-1].key + b"\x00"
            await asyncio.sleep(0)  # a long walk lets others go on

    def _filter(self, filter: Mapping[str, Any] | None) -> filters.Filter | None:
        return None if filter is None else filters.parse(filter, fields=self._index.filters)

    def _checked(self, vector: object) -> Vector:
        return checked(vector, self._dims, repr(self._index.index), self._metric)

    def _seq(self, id: str) -> int | None:
        """The sequence number of an id of this table."""
        try:
            codec, seq = self._tx.host.catalog.locate(id)
        except InvalidId:
            return None
        return seq if codec is self._codec else None

    def _values(self, id: str) -> list[float] | None:
        seq = self._seq(id)
        return None if seq is None else self._vector(seq)

    def _vector(self, seq: int) -> list[float] | None:
        vector = self._tx.vector_at(self._place, seq, 0)
        return None if vector is None else cast("list[float]", vector.tolist())

    def _count(self) -> int:
        return self._tx.host.vectors.count(self._place, self._tx.snapshot.ts)

    def _shown_score(self, score: float) -> float:
        """Higher is better inside; clients get a Euclidean distance, squared."""
        return abs(score) if self._metric == "euclidean" else score


def _public_name(table: str, index: str) -> str:
    plain = re.sub(r"[^a-z0-9]+", "-", f"{table}-{index}".lower())
    return plain.strip("-")[:_LONGEST_NAME].rstrip("-")


def _metadata(document: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a document that metadata can hold, under their stored names."""
    return {name: value for name, value in document.items() if name != ID_FIELD and _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, list):
        return all(isinstance(item, str) for item in cast("list[Any]", value))
    return isinstance(value, str | int | float)
