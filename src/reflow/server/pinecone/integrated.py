"""Indexes with an embedder of their own: records go in as texts, and are asked with texts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import msgspec
import numpy as np
from msgspec import Struct

from reflow.engine.engine import Engine
from reflow.server.pinecone.errors import invalid, unimplemented
from reflow.server.pinecone.index_model import embedding_of
from reflow.server.pinecone.indexes import Indexes
from reflow.server.pinecone.inference import Inference, no_reranker
from reflow.server.pinecone.requests import Reply, Request, Routes, reply
from reflow.server.pinecone.shapes import inner
from reflow.vectors import Match, Record, SparseValues


class SearchVector(Struct):
    """The vector of a search."""

    values: list[float] | None = None
    sparse_values: list[float] | None = None
    sparse_indices: list[int] | None = None


class SearchQuery(Struct):
    """What is searched for."""

    top_k: int
    inputs: dict[str, Any] | None = None
    vector: SearchVector | None = None
    id: str | None = None
    filter: dict[str, Any] | None = None
    match_terms: dict[str, Any] | None = None


class Search(Struct):
    """`/records/namespaces/{namespace}/search`"""

    query: SearchQuery
    fields: list[str] | None = None
    rerank: dict[str, Any] | None = None


_decode_search = msgspec.json.Decoder(Search).decode
_decode_line = msgspec.json.Decoder(dict[str, Any]).decode


def integrated_routes(engine: Engine, indexes: Indexes, inference: Inference) -> Routes:
    """What an index's host answers about records of texts."""
    integrated = _Integrated(engine, indexes, inference)
    return {
        "records/namespaces/*/upsert": {"POST": integrated.upsert},
        "records/namespaces/*/search": {"POST": integrated.search},
    }


class _Integrated:
    """The handlers."""

    def __init__(self, engine: Engine, indexes: Indexes, inference: Inference) -> None:
        self._indexes = indexes
        self._inference = inference
        self._limits = engine.limits

    async def upsert(self, request: Request) -> Reply:
        """Embeds records and stores them, all or none. A record's fields are its metadata, the text included."""
        model, field = await self._settings(request.index)
        lines = [line for line in request.body.splitlines() if line.strip()]
        if not 1 <= len(lines) <= self._limits.texts_per_request:
            raise invalid(f"a batch has 1 to {self._limits.texts_per_request} records, got {len(lines)}")
        found = [_read_line(number, line, field) for number, line in enumerate(lines, 1)]
        texts = [text for _, text, _ in found]
        vectors, _ = await self._inference.vectors(model, texts, "document")
        records = [
            Record(id=id, values=vector, metadata=metadata)
            for (id, _, metadata), vector in zip(found, vectors.tolist(), strict=True)
        ]
        await self._indexes.upsert(request.index, records, inner(request.names[0]))
        return Reply(201, b"")

    async def search(self, request: Request) -> Reply:
        """The records nearest to a text, a vector, or another record."""
        body = request.decoded(_decode_search)
        query = body.query
        if body.rerank is not None:
            raise no_reranker()
        if query.match_terms is not None:
            raise unimplemented("match_terms is for sparse models, and none is served here: leave it out")
        if sum(given is not None for given in (query.inputs, query.vector, query.id)) != 1:
            raise invalid("a search needs one of inputs, vector and id")
        vector, tokens = await self._vector(request.index, query)
        async with self._indexes.reading(request.index) as index:
            result = await index.query(
                vector=vector,
                id=query.id,
                sparse_vector=_sparse(query.vector),
                top_k=query.top_k,
                namespace=inner(request.names[0]),
                filter=query.filter,
                include_metadata=True,
            )
        usage = {"read_units": 1, "embed_total_tokens": tokens}
        return reply({"result": {"hits": [_hit(match, body.fields) for match in result.matches]}, "usage": usage})

    async def _settings(self, name: str) -> tuple[str, str]:
        """The model of an index, and the field whose texts it reads."""
        embed = embedding_of(await self._indexes.info(name))
        if embed is None:
            raise invalid(
                f"the index {name} has no embedder, so it takes no texts: make one with create-for-model, or upsert "
                "and query vectors"
            )
        return embed["model"], embed["field_map"]["text"]

    async def _vector(self, name: str, query: SearchQuery) -> tuple[Sequence[float] | None, int]:
        """The dense vector of a query, and the tokens that were embedded for it."""
        if query.vector is not None:
            return query.vector.values or None, 0
        if query.inputs is None:
            return None, 0
        model, _ = await self._settings(name)
        text = query.inputs.get("text")
        if not isinstance(text, str):
            raise invalid("inputs must have a 'text'")
        vectors, tokens = await self._inference.vectors(model, [text], "query")
        return cast("list[float]", np.asarray(vectors[0]).tolist()), tokens


def _read_line(number: int, line: bytes, field: str) -> tuple[str, str, dict[str, Any]]:
    """The id, the text and the fields of a record. Raises Refused."""
    try:
        record = _decode_line(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise invalid(f"line {number} is no JSON object: {error}") from None
    ids = [record.pop(name) for name in ("_id", "id") if name in record]
    if len(ids) != 1 or not isinstance(ids[0], str):
        raise invalid(f"line {number}: a record needs one id, a text named '_id' or 'id'")
    text = record.get(field)
    if not isinstance(text, str):
        raise invalid(f"line {number}: record {ids[0][:100]!r} has no text in the field {field!r}, which is embedded")
    return ids[0], text, record


def _sparse(vector: SearchVector | None) -> SparseValues | None:
    if vector is None or (vector.sparse_indices is None and vector.sparse_values is None):
        return None
    return SparseValues(indices=vector.sparse_indices or [], values=vector.sparse_values or [])


def _hit(match: Match, fields: list[str] | None) -> dict[str, Any]:
    shown = match.metadata or {}
    if fields is not None and "*" not in fields:
        shown = {name: shown[name] for name in fields if name in shown}
    return {"_id": match.id, "_score": match.score, "fields": shown}
