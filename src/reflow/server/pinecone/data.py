"""Vectors: upsert, query, fetch, update, delete, list and numbers of one index."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from reflow.engine.engine import Engine
from reflow.server.pinecone.errors import invalid, not_found
from reflow.server.pinecone.indexes import Indexes
from reflow.server.pinecone.requests import (
    EMPTY,
    Reply,
    Request,
    Routes,
    released,
    reply,
    reply_by_id,
    too_large,
    written,
)
from reflow.server.pinecone.shapes import (
    Update,
    decode_delete,
    decode_fetch_by_metadata,
    decode_query,
    decode_stats,
    decode_update,
    decode_upsert,
    inner,
    outer,
    sparse,
    told_match,
    told_stored,
    usage,
)
from reflow.vectors import Index, Record

_NUMBER_BYTES = 20
"""Of one number of a vector, written down."""

_SHORTEST_NUMBER_BYTES = len("0.0,")

_LARGE_BYTES = 1 << 18
"""Others have the event loop once a body of this size was read."""


def data_routes(engine: Engine, indexes: Indexes) -> Routes:
    """What an index's host answers about vectors."""
    data = _Data(engine, indexes)
    return {
        "vectors/upsert": {"POST": data.upsert},
        "query": {"POST": data.query},
        "vectors/fetch": {"GET": data.fetch},
        "vectors/fetch_by_metadata": {"POST": data.fetch_by_metadata},
        "vectors/update": {"POST": data.update},
        "vectors/delete": {"POST": data.delete},
        "vectors/list": {"GET": data.list_ids},
        "describe_index_stats": {"POST": data.stats, "GET": data.stats},
    }


class _Data:
    """The handlers."""

    def __init__(self, engine: Engine, indexes: Indexes) -> None:
        self._indexes = indexes
        self._limits = engine.limits

    async def upsert(self, request: Request) -> Reply:
        """Stores records, all of them or none."""
        body = request.decoded(decode_upsert)
        if len(request.body) > _LARGE_BYTES:
            await asyncio.sleep(0)
        most = self._limits.records_per_upsert
        if len(body.vectors) > most:
            raise invalid(f"Cannot upsert more than {most} vectors in one request, got {len(body.vectors)}")
        records = [
            Record(
                id=vector.id,
                values=vector.values or None,
                sparse_values=sparse(vector.sparse_values),
                metadata=vector.metadata or {},
            )
            for vector in body.vectors
        ]
        count = await self._indexes.upsert(request.index, records, inner(body.namespace))
        return Reply(200, b'{"upsertedCount":%d}' % count)

    async def query(self, request: Request) -> Reply:
        """The records most similar to a vector, a sparse vector, both, or another record."""
        body = request.decoded(decode_query)
        if body.scan_factor is not None or body.max_candidates is not None:
            raise invalid("scanFactor and maxCandidates are settings of dedicated read nodes; this index has none")
        if body.id is not None and (body.vector or body.sparse_vector is not None):
            raise invalid("Provide either 'id' or a vector, not both")
        most = self._limits.pinecone_result_bytes
        async with self._indexes.reading(request.index) as index:
            search = partial(
                index.query,
                vector=body.vector or None,
                id=body.id,
                sparse_vector=sparse(body.sparse_vector),
                top_k=body.top_k,
                namespace=inner(body.namespace),
                filter=body.filter,
            )
            if body.include_values:
                # Millions of numbers are not even read only to be refused.
                fitting = most // (_SHORTEST_NUMBER_BYTES * await self._dims(request.index))
                if body.top_k > fitting and len((await search()).matches) > fitting:
                    raise too_large(most)
            result = await search(include_values=body.include_values, include_metadata=body.include_metadata)
        matches = await written(map(told_match, released(result.matches)), most)
        return reply({"matches": matches, "namespace": body.namespace or "", "usage": usage()})

    async def fetch(self, request: Request) -> Reply:
        """Records by id."""
        fields = request.fields()
        ids, namespace = fields.many("ids"), fields.text("namespace")
        self._check_ids(ids)
        async with self._indexes.reading(request.index) as index:
            found = await index.fetch(ids, namespace=inner(namespace))
        records = list(found.values())
        del found
        return await _by_id(records, {"namespace": namespace or "", "usage": usage()})

    async def fetch_by_metadata(self, request: Request) -> Reply:
        """Records that pass a filter, page by page."""
        body = request.decoded(decode_fetch_by_metadata)
        if not body.filter:
            raise invalid("Empty filter provided for fetch by metadata request")
        limit = self._limits.records_per_page_default if body.limit is None else body.limit
        if not 1 <= limit <= self._limits.records_per_page:
            raise invalid(f"limit must be between 1 and {self._limits.records_per_page}, got {limit}")
        async with self._indexes.reading(request.index) as index:
            # Large vectors come on smaller pages.
            dims = await self._dims(request.index)
            fitting = max(1, self._limits.pinecone_result_bytes // (dims * _NUMBER_BYTES))
            page = await index.fetch_by_metadata(
                body.filter,
                namespace=inner(body.namespace),
                limit=min(limit, fitting),
                pagination_token=body.pagination_token,
            )
        return await _by_id(page.records, _with_next({"namespace": body.namespace or "", "usage": usage()}, page.next))

    async def update(self, request: Request) -> Reply:
        """Changes one record, or the metadata of all that pass a filter."""
        body = request.decoded(decode_update)
        if body.filter is not None:
            return await self._update_by_filter(request.index, body)
        id = body.id
        if id is None:
            raise invalid("Provide either 'id' or 'filter': which records are to be updated?")

        async def work(index: Index) -> None:
            await index.update(
                id,
                values=body.values or None,
                sparse_values=sparse(body.sparse_values),
                set_metadata=body.set_metadata,
                namespace=inner(body.namespace),
            )

        await self._indexes.write(request.index, work)
        return EMPTY

    async def _update_by_filter(self, name: str, body: Update) -> Reply:
        filter, metadata = body.filter, body.set_metadata
        if body.id is not None:
            raise invalid("Provide either 'id' or 'filter', not both")
        if not filter:
            raise invalid("Update with empty metadata filter is not allowed")
        if body.values is not None or body.sparse_values is not None:
            raise invalid("An update by filter can set metadata only, neither values nor sparseValues")
        if metadata is None:
            raise invalid("An update by filter needs setMetadata")
        matched = await self._indexes.in_batches(name).update_by_filter(
            filter, set_metadata=metadata, namespace=inner(body.namespace), dry_run=bool(body.dry_run)
        )
        return reply({"matchedRecords": matched})

    async def delete(self, request: Request) -> Reply:
        """Removes records by id, by a filter, or all of a namespace."""
        body = request.decoded(decode_delete)
        namespace, filter, delete_all = inner(body.namespace), body.filter, bool(body.delete_all)
        if delete_all and (body.ids or filter is not None):
            raise invalid("deleteAll can't be used with ids or filter")
        ids = None if filter is not None or delete_all else body.ids
        if filter is not None and not filter:
            raise invalid("Delete with empty metadata filter is not allowed")
        if ids is not None:
            self._check_ids(ids)
        elif filter is None and not delete_all:
            raise invalid("Provide one of ids, deleteAll and filter: which records are to be deleted?")

        if filter is not None:
            index = self._indexes.in_batches(request.index)
            await _require(index, namespace)
            await index.delete(filter=filter, namespace=namespace)
            return EMPTY

        async def work(index: Index) -> None:
            await _require(index, namespace)
            await index.delete(ids, delete_all=delete_all, namespace=namespace)

        await self._indexes.write(request.index, work)
        return EMPTY

    async def list_ids(self, request: Request) -> Reply:
        """Ids in order of their bytes, page by page."""
        fields = request.fields()
        namespace = fields.text("namespace")
        async with self._indexes.reading(request.index) as index:
            page = await index.list(
                prefix=fields.text("prefix") or "",
                namespace=inner(namespace),
                limit=fields.limit(self._limits.ids_per_page),
                pagination_token=fields.text("paginationToken", "pagination_token"),
            )
        answer = {"vectors": [{"id": id} for id in page.ids], "namespace": namespace or "", "usage": usage()}
        return reply(_with_next(answer, page.next))

    async def stats(self, request: Request) -> Reply:
        """Numbers of the index and its namespaces."""
        if request.body and request.decoded(decode_stats).filter:
            raise invalid("Filtered describe_index_stats is not supported: count with an update by filter and dryRun")
        async with self._indexes.reading(request.index) as index:
            stats = await index.stats()
        answer: dict[str, Any] = {
            "namespaces": {outer(name): {"vectorCount": count} for name, count in stats.namespaces.items()},
            "indexFullness": 0,
            "totalVectorCount": stats.records,
            "metric": stats.metric,
            "vectorType": "sparse" if stats.dims is None else "dense",
        }
        if stats.dims is not None:
            answer["dimension"] = stats.dims
        return reply(answer)

    async def _dims(self, name: str) -> int:
        """Numbers of a record's dense vector, at least one."""
        return (await self._indexes.info(name)).dims or 1

    def _check_ids(self, ids: list[str]) -> None:
        most = self._limits.records_per_upsert
        if not 1 <= len(ids) <= most:
            raise invalid(f"Provide between 1 and {most} ids, got {len(ids)}")


async def _by_id(records: list[Record], rest: dict[str, Any]) -> Reply:
    """An answer that has records by id, and what follows them."""
    fields = ((record.id, told_stored(record)) for record in released(records))
    return await reply_by_id("vectors", fields, rest)


async def _require(index: Index, namespace: str) -> None:
    """Raises Refused where there is no such namespace."""
    if await index.describe_namespace(namespace) is None:
        raise not_found("Namespace not found")


def _with_next(answer: dict[str, Any], token: str | None) -> dict[str, Any]:
    """An answer that says how to go on, where there is more."""
    return answer if token is None else {**answer, "pagination": {"next": token}}
