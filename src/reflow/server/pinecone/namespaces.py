"""Namespaces of one index: list, describe, create, delete."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Struct

from reflow.engine.engine import Engine
from reflow.server.pinecone.errors import Refused, invalid, not_found, unimplemented
from reflow.server.pinecone.indexes import Indexes
from reflow.server.pinecone.requests import EMPTY, Reply, Request, Routes, reply
from reflow.server.pinecone.shapes import inner, outer
from reflow.vectors import Index, NamespaceInfo


class CreateNamespace(Struct):
    """`POST /namespaces`"""

    name: str
    schema: dict[str, Any] | None = None


_NUMBERS_ARE_TEXTS = "2026-07"
"""The version from which on 64-bit numbers are sent as texts."""

_decode_create = msgspec.json.Decoder(CreateNamespace).decode


def namespace_routes(engine: Engine, indexes: Indexes) -> Routes:
    """What an index's host answers about namespaces, and about what this server has no part of."""
    namespaces = _Namespaces(engine, indexes)
    return {
        "namespaces": {"GET": namespaces.list_all, "POST": namespaces.create},
        "namespaces/*": {"GET": namespaces.describe, "DELETE": namespaces.delete},
        "namespaces/*/documents/*": {"POST": _documents},
        "bulk/imports": {"GET": namespaces.no_imports, "POST": _import},
        "bulk/imports/*": {"GET": _unknown_import, "DELETE": _unknown_import},
    }


class _Namespaces:
    """The handlers."""

    def __init__(self, engine: Engine, indexes: Indexes) -> None:
        self._indexes = indexes
        self._limits = engine.limits

    async def list_all(self, request: Request) -> Reply:
        """Namespaces in order of their names, page by page."""
        fields = request.fields()
        async with self._indexes.reading(request.index) as index:
            page = await index.list_namespaces(
                prefix=fields.text("prefix") or "",
                limit=fields.limit(self._limits.ids_per_page),
                pagination_token=fields.text("paginationToken", "pagination_token"),
            )
            total = await index.count_namespaces()
        answer: dict[str, Any] = {
            "namespaces": [_told(found, request.version) for found in page.namespaces],
            "total_count": total,
        }
        if page.next is not None:
            answer["pagination"] = {"next": page.next}
        return reply(answer)

    async def describe(self, request: Request) -> Reply:
        """One namespace."""
        async with self._indexes.reading(request.index) as index:
            found = await index.describe_namespace(inner(request.names[0]))
        if found is None:
            raise not_found("Namespace not found")
        return reply(_told(found, request.version))

    async def create(self, request: Request) -> Reply:
        """Makes an empty namespace."""
        body = request.decoded(_decode_create)
        if inner(body.name) == "":
            raise invalid(f"a namespace can't be named {body.name!r}: that is the default one, which needs no creation")

        async def work(index: Index) -> None:
            if await index.describe_namespace(body.name) is not None:
                raise Refused("ALREADY_EXISTS", f"Namespace {body.name} already exists")
            await index.create_namespace(body.name)

        await self._indexes.write(request.index, work)
        told = _told(NamespaceInfo(name=body.name, records=0), request.version)
        return reply(told if body.schema is None else {**told, "schema": body.schema})

    async def delete(self, request: Request) -> Reply:
        """Removes a namespace with its records."""
        name = inner(request.names[0])

        async def work(index: Index) -> None:
            if await index.describe_namespace(name) is None:
                raise not_found("Namespace not found")
            await index.delete_namespace(name)

        await self._indexes.write(request.index, work)
        return EMPTY

    async def no_imports(self, request: Request) -> Reply:
        """The bulk imports: none."""
        async with self._indexes.reading(request.index) as index:
            await index.count_namespaces()  # there must be such an index
        return reply({"data": []})


def _told(found: NamespaceInfo, version: str) -> dict[str, Any]:
    """A namespace as clients of that version read it."""
    texts = version >= _NUMBERS_ARE_TEXTS
    count = str(found.records) if texts else found.records
    return {"name": outer(found.name), "record_count": count, "size_bytes": "0" if texts else 0}


async def _documents(_request: Request) -> Reply:
    raise unimplemented(
        "this index is served through the Vectors API (upsert, query, fetch, …); the Documents API is not served here"
    )


async def _import(_request: Request) -> Reply:
    raise unimplemented("bulk imports are not served here: upsert in batches instead")


async def _unknown_import(request: Request) -> Reply:
    raise not_found(f"there is no import {request.names[0][:100]}")
