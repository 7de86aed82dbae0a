"""A LlamaIndex vector store over a free-standing vector index. Needs the extra `reflow[llamaindex]`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import islice
from math import sqrt
from typing import Any, cast

from reflow.adapters.metadata import filterable
from reflow.embedded import EmbeddedIndex
from reflow.errors import InvalidValue, MissingExtra
from reflow.limits import DEFAULT
from reflow.vectors import Index, Match, Metric, Record, SparseValues

try:
    from llama_index.core.bridge.pydantic import PrivateAttr
    from llama_index.core.indices.query.embedding_utils import (
        get_top_k_mmr_embeddings,  # pyright: ignore[reportUnknownVariableType]
    )
    from llama_index.core.schema import BaseNode, MetadataMode
    from llama_index.core.vector_stores.types import (
        BasePydanticVectorStore,
        MetadataFilters,
        VectorStoreQuery,
        VectorStoreQueryMode,
        VectorStoreQueryResult,
    )
    from llama_index.core.vector_stores.utils import (
        metadata_dict_to_node,  # pyright: ignore[reportUnknownVariableType]
        node_to_metadata_dict,
    )
except ImportError as error:
    raise MissingExtra("reflow.adapters.llamaindex needs LlamaIndex: install `reflow[llamaindex]`") from error

from reflow.adapters.llamaindex_filters import OPAQUE, Wanted, wanted

SparseEncoder = Callable[[Sequence[str]], Sequence[SparseValues]]
"""Turns texts into sparse vectors, such as weighted words."""

_NODE_ID = "_node_id"
_CONTENT = "_node_content"
_MMR_CANDIDATES = 4
"""How many times as many candidates as wanted nodes the mode MMR chooses from, where none are asked for."""


class ReflowVectorStore(BasePydanticVectorStore):
    """Nodes in a namespace of an index, text and metadata included; what is added replaces what has the same node id.

    Query modes: DEFAULT and MMR; with `sparse` also SPARSE and HYBRID, in an index whose metric is "dotproduct".
    Metadata filters: all operators, nested as you like; see `llamaindex_filters` for what costs a look at each node.
    A node has up to 40,960 bytes with text and metadata.
    """

    stores_text: bool = True
    flat_metadata: bool = False
    namespace: str = ""

    _index: EmbeddedIndex = PrivateAttr()
    _sparse: SparseEncoder | None = PrivateAttr()
    _metric: Metric | None = PrivateAttr(default=None)

    def __init__(self, index: EmbeddedIndex, *, namespace: str = "", sparse: SparseEncoder | None = None) -> None:
        """`sparse` makes the sparse vectors of nodes and of questions."""
        super().__init__(namespace=namespace)  # pyright: ignore[reportCallIssue]
        self._index = index
        self._sparse = sparse

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows it."""
        return "ReflowVectorStore"

    @property
    def client(self) -> EmbeddedIndex:
        """The index."""
        return self._index

    # Writing

    def add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """Stores nodes with their embeddings. Returns their ids."""
        records = self._records(nodes)
        self._index.upsert(records, namespace=self.namespace)
        return [node.node_id for node in nodes]

    async def async_add(self, nodes: Sequence[BaseNode], **kwargs: Any) -> list[str]:
        """The same from a coroutine."""
        records = self._records(nodes)
        await self._index.aio.upsert(records, namespace=self.namespace)
        return [node.node_id for node in nodes]

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Removes the nodes of a document."""
        self._index.delete(filter=_of_documents([ref_doc_id]), namespace=self.namespace)

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """The same from a coroutine."""
        await self._index.aio.delete(filter=_of_documents([ref_doc_id]), namespace=self.namespace)

    def delete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """Removes nodes by id, by filters, or those that have one of the ids and pass. With neither, none."""
        self._index.call(lambda index: self._delete(index, node_ids, filters))

    async def adelete_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None, **delete_kwargs: Any
    ) -> None:
        """The same from a coroutine."""
        await self._delete(self._index.aio, node_ids, filters)

    def clear(self) -> None:
        """Removes all nodes of the namespace."""
        self._index.delete(delete_all=True, namespace=self.namespace)

    async def aclear(self) -> None:
        """The same from a coroutine."""
        await self._index.aio.delete(delete_all=True, namespace=self.namespace)

    # Reading

    def get_nodes(self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None) -> list[BaseNode]:
        """Nodes by id, in the order of the ids, by filters, or by both; with neither, all."""
        return self._index.call(lambda index: self._get(index, node_ids, filters))

    async def aget_nodes(
        self, node_ids: list[str] | None = None, filters: MetadataFilters | None = None
    ) -> list[BaseNode]:
        """The same from a coroutine."""
        return await self._get(self._index.aio, node_ids, filters)

    def query(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The nodes most similar to a question, best first. Raises InvalidValue for a mode that is not offered."""
        return self._index.call(lambda index: self._query(index, query, kwargs))

    async def aquery(self, query: VectorStoreQuery, **kwargs: Any) -> VectorStoreQueryResult:
        """The same from a coroutine."""
        return await self._query(self._index.aio, query, kwargs)

    # Nodes and records

    def _records(self, nodes: Sequence[BaseNode]) -> list[dict[str, Any]]:
        records = {node.node_id: node_record(node) for node in nodes}  # of several with one id the last counts
        if self._sparse is not None and nodes:
            latest = {node.node_id: node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes}
            for record, values in zip(records.values(), self._sparse(list(latest.values())), strict=True):
                record["sparse_values"] = values
        return list(records.values())

    # Which records

    async def _delete(self, index: Index, node_ids: list[str] | None, filters: MetadataFilters | None) -> None:
        asked = wanted(filters)
        if node_ids is not None or asked.check is not None:
            await index.delete(await self._ids(index, node_ids, asked), namespace=self.namespace)
        elif asked.filter is not None:
            await index.delete(filter=asked.filter, namespace=self.namespace)

    async def _get(self, index: Index, node_ids: list[str] | None, filters: MetadataFilters | None) -> list[BaseNode]:
        asked = wanted(filters)
        if node_ids is None:
            return [_node(record) for record in await self._matching(index, asked)]
        kept = node_ids if filters is None else await self._ids(index, node_ids, asked)
        found = await index.fetch(kept, namespace=self.namespace)
        return [_node(found[id]) for id in kept if id in found]

    async def _ids(self, index: Index, node_ids: list[str] | None, asked: Wanted) -> list[str]:
        """The ids of the records that are asked for, of `node_ids` where they are given."""
        if asked.filter is None and asked.check is None:
            return node_ids or []
        passed = [record.id for record in await self._matching(index, asked)]
        if node_ids is None:
            return passed
        allowed = set(passed)
        return [id for id in node_ids if id in allowed]

    async def _matching(self, index: Index, asked: Wanted) -> list[Record]:
        """All records that are asked for."""
        filter = asked.filter or {_CONTENT: {"$exists": True}}
        found: list[Record] = []
        token: str | None = None
        while True:
            page = await index.fetch_by_metadata(
                filter, namespace=self.namespace, limit=DEFAULT.records_per_turn, pagination_token=token
            )
            found += [record for record in page.records if asked.check is None or _passes(record, asked)]
            token = page.next
            if token is None:
                return found

    # Questions

    async def _query(self, index: Index, query: VectorStoreQuery, options: Mapping[str, Any]) -> VectorStoreQueryResult:
        asked = wanted(query.filters)
        if query.doc_ids is not None:
            asked = asked.both(_of_documents(query.doc_ids))
        if query.mode == VectorStoreQueryMode.MMR:
            return await self._different(index, query, asked, options)
        vector, sparse = self._vectors(query)
        top_k = (query.hybrid_top_k if query.mode == VectorStoreQueryMode.HYBRID else None) or query.similarity_top_k
        matches = await self._nearest(index, query, asked, vector, sparse, top_k)
        return await self._told(index, matches)

    def _vectors(self, query: VectorStoreQuery) -> tuple[list[float] | None, SparseValues | None]:
        """What is asked with; `alpha` weighs the dense vector, 1 - `alpha` the sparse one."""
        if query.mode == VectorStoreQueryMode.DEFAULT:
            return _embedding(query), None
        if query.mode not in (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.HYBRID):
            raise InvalidValue(
                f"ReflowVectorStore does not offer the query mode {query.mode.value!r}: it has default, mmr, sparse and"
                " hybrid"
            )
        if self._sparse is None or query.query_str is None:
            raise InvalidValue(
                f"the query mode {query.mode.value!r} needs the question's text, and a store made with `sparse=`"
            )
        sparse = self._sparse([query.query_str])[0]
        if query.mode == VectorStoreQueryMode.SPARSE:
            return None, sparse
        dense = _embedding(query)
        if query.alpha is None:
            return dense, sparse
        weighed = [value * (1 - query.alpha) for value in sparse.values]
        return [value * query.alpha for value in dense], SparseValues(indices=sparse.indices, values=weighed)

    async def _nearest(
        self,
        index: Index,
        query: VectorStoreQuery,
        asked: Wanted,
        vector: list[float] | None,
        sparse: SparseValues | None,
        top_k: int,
        values: bool = False,
    ) -> list[Match]:
        """The best records that pass; where they are told by id, the best of each lot of ids."""
        lots: Iterable[dict[str, Any] | None] = [asked.filter]
        if query.node_ids is not None or asked.check is not None:
            lots = [_of_nodes(lot) for lot in _lots(await self._ids(index, query.node_ids, asked))]
        matches: list[Match] = []
        for filter in lots:
            found = await index.query(
                vector=vector,
                sparse_vector=sparse,
                top_k=top_k,
                namespace=self.namespace,
                filter=filter,
                include_values=values,
                include_metadata=True,
            )
            matches += found.matches
        nearest_first = await self._metric_of(index) == "euclidean"
        return sorted(matches, key=lambda match: match.score if nearest_first else -match.score)[:top_k]

    async def _different(
        self, index: Index, query: VectorStoreQuery, asked: Wanted, options: Mapping[str, Any]
    ) -> VectorStoreQueryResult:
        """Nodes that are near the question and far from each other."""
        vector, top_k = _embedding(query), query.similarity_top_k
        candidates = int(options.get("mmr_prefetch_k") or top_k * options.get("mmr_prefetch_factor", _MMR_CANDIDATES))
        candidates = min(max(candidates, top_k), DEFAULT.records_per_query)
        matches = await self._nearest(index, query, asked, vector, None, candidates, values=True)
        threshold = query.mmr_threshold if query.mmr_threshold is not None else options.get("mmr_threshold")
        similarities, places = cast(
            "tuple[list[float], list[int]]",
            get_top_k_mmr_embeddings(
                vector,
                [cast("list[float]", match.values) for match in matches],
                similarity_top_k=top_k,
                embedding_ids=list(range(len(matches))),
                mmr_threshold=threshold,
            ),
        )
        chosen = [matches[place] for place in places]
        return VectorStoreQueryResult(
            nodes=[_node(match) for match in chosen], similarities=similarities, ids=[match.id for match in chosen]
        )

    async def _told(self, index: Index, matches: list[Match]) -> VectorStoreQueryResult:
        scores = [match.score for match in matches]
        if await self._metric_of(index) == "euclidean":
            scores = [1 / (1 + sqrt(squared)) for squared in scores]
        return VectorStoreQueryResult(
            nodes=[_node(match) for match in matches], similarities=scores, ids=[match.id for match in matches]
        )

    async def _metric_of(self, index: Index) -> Metric:
        if self._metric is None:
            self._metric = (await index.stats()).metric
        return self._metric


def node_record(node: BaseNode) -> dict[str, Any]:
    """What the index keeps of a node: all of it as JSON, and beside it what filters can name."""
    kept = node_to_metadata_dict(node, flat_metadata=False)
    flat = filterable(kept)
    opaque = [key for key, value in kept.items() if key not in flat and value is not None and value != []]
    if opaque:
        flat[OPAQUE] = opaque
    return {"id": node.node_id, "values": node.get_embedding(), "metadata": {**flat, _NODE_ID: node.node_id}}


def _node(record: Record) -> BaseNode:
    return metadata_dict_to_node(record.metadata)


def _passes(record: Record, asked: Wanted) -> bool:
    assert asked.check is not None
    whole = json.loads(record.metadata[_CONTENT])["metadata"]
    return asked.check(record.metadata, {**record.metadata, **whole})


def _embedding(query: VectorStoreQuery) -> list[float]:
    if query.query_embedding is None:
        raise InvalidValue(f"the query mode {query.mode.value!r} needs the question's embedding")
    return query.query_embedding


def _of_documents(ids: Sequence[str]) -> dict[str, Any]:
    return {"ref_doc_id": {"$in": list(ids)}}


def _of_nodes(ids: Sequence[str]) -> dict[str, Any]:
    return {_NODE_ID: {"$in": list(ids)}}


def _lots(ids: Iterable[str]) -> Iterable[list[str]]:
    """Ids in lists that one filter may have."""
    left = iter(ids)
    while lot := list(islice(left, DEFAULT.filter_operands)):
        yield lot
