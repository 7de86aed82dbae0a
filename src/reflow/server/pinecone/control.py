"""The control plane: indexes are made, listed, described, configured and deleted."""

from __future__ import annotations

import re
from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from reflow.engine.engine import Engine
from reflow.engine.records import Records
from reflow.engine.transaction import EngineTransaction
from reflow.schema import METRICS, Metric
from reflow.server.pinecone.errors import Refused, invalid, not_found, unimplemented
from reflow.server.pinecone.index_model import DENSE, SPARSE, index_model
from reflow.server.pinecone.indexes import Indexes
from reflow.server.pinecone.inference import Inference
from reflow.server.pinecone.requests import Reply, Request, Routes, reply
from reflow.vectors import IndexInfo

_TAG = re.compile(r"[A-Za-z0-9_-]{1,80}")
_TAGS = 20
_TAG_LENGTH = 120
_TYPES = {DENSE: "dense_vector", SPARSE: "sparse_vector"}
_PROTECTION = {"enabled": True, "disabled": False}
_CLOUD, _REGION = "aws", "us-east-1"


class CreateIndex(Struct):
    """`POST /indexes`, in its older form (dimension, metric, spec) and its newer one (schema, deployment)."""

    name: str | None = None
    dimension: int | None = None
    metric: str | None = None
    vector_type: str | None = None
    spec: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None
    deployment: dict[str, Any] | None = None
    read_capacity: dict[str, Any] | None = None
    deletion_protection: str | None = None
    tags: dict[str, str] | None = None


class Embedding(Struct, omit_defaults=True):
    """The embedder of an index and the field that it reads."""

    model: str
    field_map: dict[str, str]
    metric: str | None = None
    dimension: int | None = None
    read_parameters: dict[str, Any] | None = None
    write_parameters: dict[str, Any] | None = None


class CreateForModel(Struct):
    """`POST /indexes/create-for-model`"""

    name: str
    embed: Embedding
    cloud: str = _CLOUD
    region: str = _REGION
    schema: dict[str, Any] | None = None
    read_capacity: dict[str, Any] | None = None
    deletion_protection: str | None = None
    tags: dict[str, str] | None = None


class Configure(Struct):
    """`PATCH /indexes/{name}`. What concerns machines is taken and has no effect."""

    deletion_protection: str | None = None
    tags: dict[str, str] | None = None
    embed: dict[str, Any] | UnsetType = UNSET
    read_capacity: dict[str, Any] | None = None
    deployment: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None
    spec: dict[str, Any] | None = None


_decode_create = msgspec.json.Decoder(CreateIndex).decode
_decode_for_model = msgspec.json.Decoder(CreateForModel).decode
_decode_configure = msgspec.json.Decoder(Configure).decode


def control_routes(engine: Engine, indexes: Indexes, inference: Inference) -> Routes:
    """What the control plane's host answers about indexes, and about what this server has none of."""
    control = _Control(engine, indexes, inference)
    copies = "backups and collections are not served here: copy the data directory of the stopped server instead"
    no_copies, unknown_copy = _empty("data"), _unknown("backup, collection or job of that name")
    refused = _refuses(copies)
    return {
        "indexes": {"GET": control.list_all, "POST": control.create},
        "indexes/create-for-model": {"POST": control.create_for_model},
        "indexes/*": {"GET": control.describe, "PATCH": control.configure, "DELETE": control.delete},
        "indexes/*/backups": {"GET": no_copies, "POST": refused},
        "indexes/*/backup-schedules": {"GET": no_copies, "POST": refused},
        "collections": {"GET": _empty("collections"), "POST": refused},
        "collections/*": {"GET": unknown_copy, "DELETE": unknown_copy},
        "backups": {"GET": no_copies},
        "backups/*": {"GET": unknown_copy, "DELETE": unknown_copy},
        "backups/*/create-index": {"POST": unknown_copy},
        "restore-jobs": {"GET": no_copies},
        "restore-jobs/*": {"GET": unknown_copy},
        "backup-schedules/*": {"GET": unknown_copy, "PATCH": unknown_copy, "DELETE": unknown_copy},
        "backup-schedules/*/history": {"GET": unknown_copy},
    }


class _Control:
    """The handlers."""

    def __init__(self, engine: Engine, indexes: Indexes, inference: Inference) -> None:
        self._engine = engine
        self._indexes = indexes
        self._inference = inference

    async def list_all(self, request: Request) -> Reply:
        """Every index, those of tables included."""
        async with self._engine.reading() as tx:
            found = [*await Records(tx).list_indexes(), *await self._indexes.tables.infos(tx)]
        infos = sorted(found, key=lambda info: info.name)
        return reply({"indexes": [index_model(info, request.base) for info in infos]})

    async def describe(self, request: Request) -> Reply:
        """One index."""
        info = await self._indexes.info(request.names[0])
        return reply(index_model(info, request.base))

    async def create(self, request: Request) -> Reply:
        """Makes an index; it is ready at once."""
        body = request.decoded(_decode_create)
        shape = _from_schema(body.schema) if body.schema is not None else _from_fields(body)
        about = {
            name: value
            for name in ("spec", "deployment", "read_capacity")
            if (value := getattr(body, name)) is not None
        }
        name = body.name if body.name is not None else f"index-{self._engine.entropy.random_bytes(5).hex()}"
        return await self._make(request, name, shape, body, about)

    async def create_for_model(self, request: Request) -> Reply:
        """Makes an index that embeds texts by itself."""
        body = request.decoded(_decode_for_model)
        embed = body.embed
        embedder = await self._inference.named(embed.model)
        if embed.dimension not in (None, embedder.dims):
            raise invalid(f"{embedder.id} gives vectors of dimension {embedder.dims}, got {embed.dimension}")
        if list(embed.field_map) != ["text"] or not embed.field_map["text"]:
            raise invalid('field_map must name the field that is embedded, like {"text": "chunk_text"}')
        deployment = {"deployment_type": "managed", "cloud": body.cloud, "region": body.region}
        about = {"deployment": deployment, "embed": msgspec.to_builtins(embed)}
        return await self._make(request, body.name, (embedder.dims, _metric(embed.metric)), body, about)

    async def _make(
        self,
        request: Request,
        name: str,
        shape: tuple[int | None, Metric],
        body: CreateIndex | CreateForModel,
        about: dict[str, Any],
    ) -> Reply:
        dims, metric = shape
        protected = _protection(body.deletion_protection)
        tags = _checked_tags(body.tags or {})
        if self._indexes.tables.has(name):
            raise Refused("ALREADY_EXISTS", f"the index {name} exists already: it is that of a table")
        info = await self._engine.transact(
            lambda tx: Records(tx).create_index(
                name, dims=dims, metric=metric, deletion_protection=protected, tags=tags, about=about
            )
        )
        return reply(index_model(info, request.base), 201)

    async def configure(self, request: Request) -> Reply:
        """Changes tags and protection."""
        body = request.decoded(_decode_configure)
        name = request.names[0]
        self._indexes.tables.refuse_change(name)
        if body.embed is not UNSET:
            raise unimplemented("an index gets its embedder when it is made: POST /indexes/create-for-model")
        protected = None if body.deletion_protection is None else _protection(body.deletion_protection)

        async def work(tx: EngineTransaction) -> IndexInfo:
            info = await Records(tx).configure_index(name, deletion_protection=protected, tags=body.tags)
            _checked_tags(info.tags)
            return info

        return reply(index_model(await self._engine.transact(work), request.base), 202)

    async def delete(self, request: Request) -> Reply:
        """Removes an index with all its records; it is gone at once."""
        await self._indexes.delete(request.names[0])
        return Reply(202, b"")


def _from_fields(body: CreateIndex) -> tuple[int | None, Metric]:
    """Dimension (None: sparse) and metric of the older form."""
    if body.vector_type == "sparse":
        if body.dimension is not None:
            raise invalid("dimension must not be given for a sparse index")
        return None, _metric(body.metric or "dotproduct")
    if body.vector_type not in (None, "dense"):
        raise invalid("vector_type must be 'dense' or 'sparse'")
    return _dimension(body.dimension), _metric(body.metric)


class _Field(Struct):
    """A field of a schema."""

    type: str
    dimension: int | None = None
    metric: str | None = None


def _from_schema(schema: dict[str, Any]) -> tuple[int | None, Metric]:
    """Dimension (None: sparse) and metric of the newer form, as clients translate the older one into it."""
    fields: object = schema.get("fields")
    try:
        found = msgspec.convert(fields, dict[str, _Field])
    except msgspec.ValidationError as error:
        raise invalid(f"the schema does not fit: {error}") from None
    if not found or not found.keys() <= _TYPES.keys():
        raise unimplemented(
            f"the schema must have the fields {DENSE!r} or {SPARSE!r} and no other: only indexes of the Vectors API "
            "are served here (create_index with dimension and metric makes one), not those of the Documents API"
        )
    for name, field in found.items():
        if field.type != _TYPES[name]:
            raise invalid(f"the schema's field {name!r} must be a {_TYPES[name]}")
    dense = found.get(DENSE)
    return (None, "dotproduct") if dense is None else (_dimension(dense.dimension), _metric(dense.metric))


def _dimension(given: int | None) -> int:
    if given is None:
        raise invalid("dimension is required for a dense index")
    return given


def _metric(given: str | None) -> Metric:
    for metric in METRICS:
        if metric == (given or "cosine"):
            return metric
    raise invalid(f"metric must be one of {', '.join(METRICS)}")


def _checked_tags(tags: dict[str, str]) -> dict[str, str]:
    wrong = [name for name, value in tags.items() if not _TAG.fullmatch(name) or len(value) > _TAG_LENGTH]
    if wrong or len(tags) > _TAGS:
        raise invalid(
            f"an index has up to {_TAGS} tags, their names 1 to 80 characters of A-Z, a-z, 0-9, '_' and '-', their "
            f"values up to {_TAG_LENGTH} characters"
        )
    return tags


def _protection(text: str | None) -> bool:
    if text is None:
        return False
    if text not in _PROTECTION:
        raise invalid("deletion_protection must be 'enabled' or 'disabled'")
    return _PROTECTION[text]


def _empty(name: str) -> Any:
    async def handler(_request: Request) -> Reply:
        return reply({name: []})

    return handler


def _unknown(what: str) -> Any:
    async def handler(_request: Request) -> Reply:
        raise not_found(f"there is no {what}")

    return handler


def _refuses(message: str) -> Any:
    async def handler(_request: Request) -> Reply:
        raise unimplemented(message)

    return handler
