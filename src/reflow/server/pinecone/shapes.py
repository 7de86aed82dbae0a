"""Bodies of the data plane, in its own words: what comes in, and what goes out."""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import UNSET, Struct, UnsetType

from reflow.vectors import Match, Record, SparseValues

DEFAULT_NAMESPACE = "__default__"


class WireSparse(Struct, gc=False):
    """A sparse vector."""

    indices: list[int]
    values: list[float]


class WireVector(Struct, rename="camel"):
    """A record to be stored."""

    id: str
    values: list[float] | None = None
    sparse_values: WireSparse | None = None
    metadata: dict[str, Any] | None = None


class Upsert(Struct, rename="camel"):
    """`/vectors/upsert`"""

    vectors: list[WireVector]
    namespace: str | None = None


class Query(Struct, rename="camel"):
    """`/query`"""

    top_k: int
    namespace: str | None = None
    vector: list[float] | None = None
    id: str | None = None
    sparse_vector: WireSparse | None = None
    filter: dict[str, Any] | None = None
    include_values: bool = False
    include_metadata: bool = False
    scan_factor: float | None = None
    max_candidates: int | None = None


class FetchByMetadata(Struct, rename="camel"):
    """`/vectors/fetch_by_metadata`"""

    filter: dict[str, Any] | None = None
    namespace: str | None = None
    limit: int | None = None
    pagination_token: str | None = None


class Delete(Struct, rename="camel"):
    """`/vectors/delete`"""

    ids: list[str] | None = None
    delete_all: bool | None = None
    filter: dict[str, Any] | None = None
    namespace: str | None = None


class Update(Struct, rename="camel"):
    """`/vectors/update`"""

    id: str | None = None
    values: list[float] | None = None
    sparse_values: WireSparse | None = None
    set_metadata: dict[str, Any] | None = None
    filter: dict[str, Any] | None = None
    dry_run: bool | None = None
    namespace: str | None = None


class DescribeStats(Struct):
    """`/describe_index_stats`"""

    filter: dict[str, Any] | None = None


decode_upsert = msgspec.json.Decoder(Upsert).decode
decode_query = msgspec.json.Decoder(Query).decode
decode_fetch_by_metadata = msgspec.json.Decoder(FetchByMetadata).decode
decode_delete = msgspec.json.Decoder(Delete).decode
decode_update = msgspec.json.Decoder(Update).decode
decode_stats = msgspec.json.Decoder(DescribeStats).decode


class ToldVector(Struct, rename="camel"):
    """A record as it is given out. What it does not have is left out: clients take null for a mistake."""

    id: str
    values: list[float] | UnsetType = UNSET
    sparse_values: SparseValues | UnsetType = UNSET
    metadata: dict[str, Any] | UnsetType = UNSET
    score: float | UnsetType = UNSET


def told(record: Record) -> ToldVector:
    """A record as it is given out."""
    return ToldVector(record.id, _or_unset(record.values), _or_unset(record.sparse_values), record.metadata or UNSET)


def told_match(match: Match) -> ToldVector:
    """A match as it is given out."""
    shown = told(match)
    shown.score = match.score
    return shown


def told_stored(record: Record) -> ToldVector:
    """A record that was fetched. Older clients want it to have values, if only none."""
    shown = told(record)
    if shown.values is UNSET:
        shown.values = []
    return shown


def sparse(given: WireSparse | None) -> SparseValues | None:
    """A sparse vector as the store takes it."""
    return None if given is None else SparseValues(indices=given.indices, values=given.values)


def inner(namespace: str | None) -> str:
    """A namespace as the store names it."""
    return "" if namespace is None or namespace == DEFAULT_NAMESPACE else namespace


def outer(namespace: str) -> str:
    """A namespace as clients name it where it stands for itself."""
    return namespace or DEFAULT_NAMESPACE


def usage(units: int = 1) -> dict[str, int]:
    """What the cloud would count. Nothing is billed here."""
    return {"readUnits": units}


def _or_unset(value: Any) -> Any:
    return UNSET if value is None else value
