"""An index as clients read it: one object that has the fields of every version of the API."""

from __future__ import annotations

from typing import Any, cast

from reflow.vectors import IndexInfo

DENSE, SPARSE = "_values", "_sparse_values"
"""The names that a schema gives the vectors of the Vectors API."""

_CAPACITY = {"mode": "OnDemand", "status": {"state": "Ready", "current_replicas": None, "current_shards": None}}
_MANAGED = {"deployment_type": "managed", "cloud": "aws", "region": "us-east-1"}


def index_model(info: IndexInfo, base: str) -> dict[str, Any]:
    """What `GET /indexes/{name}` tells; its host is a path below `base`, with the scheme, so that no client has to
    guess it."""
    spec, deployment = _places(info.about)
    dense = info.dims is not None
    told: dict[str, Any] = {
        "name": info.name,
        "host": f"{base}/i/{info.name}",
        "status": {"ready": True, "state": "Ready"},
        "deletion_protection": "enabled" if info.deletion_protection else "disabled",
        "tags": info.tags or None,
        "metric": info.metric,
        "vector_type": "dense" if dense else "sparse",
        "spec": spec,
        "deployment": deployment,
        "read_capacity": _CAPACITY,
        "schema": {"fields": _fields(info)},
    }
    if dense:
        told["dimension"] = info.dims
    embed = embedding_of(info)
    if embed is not None:
        told["embed"] = {**embed, "metric": info.metric, "dimension": info.dims, "vector_type": "dense"}
    return told


def embedding_of(info: IndexInfo) -> dict[str, Any] | None:
    """The embedder's settings of an integrated index: `model` and `field_map`."""
    return cast("dict[str, Any] | None", info.about.get("embed"))


def _fields(info: IndexInfo) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if info.dims is not None:
        fields[DENSE] = {
            "type": "dense_vector", "dimension": info.dims, "metric": info.metric, "description": None,
        }  # fmt: skip
    embed = embedding_of(info)
    if embed is not None:
        field = {"type": "semantic_text", "model": embed["model"], "metric": info.metric, "dimension": info.dims}
        parameters = {name: embed[name] for name in ("read_parameters", "write_parameters") if name in embed}
        fields[embed["field_map"]["text"]] = {**field, **parameters}
    else:
        fields[SPARSE] = {"type": "sparse_vector", "description": None}
    return fields


def _places(about: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Where the index is said to run, in the older words and the newer ones: what its creator has said."""
    deployment = cast("dict[str, Any] | None", about.get("deployment"))
    spec = cast("dict[str, Any] | None", about.get("spec"))
    if deployment is None:
        serverless = (spec or {}).get("serverless")
        deployment = _MANAGED if not isinstance(serverless, dict) else {**_MANAGED, **_place(serverless)}
    return {"serverless": {**_place({**_MANAGED, **deployment}), "read_capacity": _CAPACITY}}, deployment


def _place(told: Any) -> dict[str, Any]:
    return {name: told[name] for name in ("cloud", "region") if isinstance(told.get(name), str)}
