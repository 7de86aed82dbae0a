"""Records on their way to a remote store: checked before anything is sent, and cut into requests that fit."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from reflow.errors import InvalidValue
from reflow.limits import Limits
from reflow.search.filters import check_metadata
from reflow.search.records import checked_id, parts_of, sparse_of
from reflow.vectors import RecordLike

Wire = dict[str, Any]
"""A record as Pinecone's SDK takes it: id, values (an array until it is sent), sparse_values, metadata."""

_NUMBER_BYTES = 25
"""Longest JSON of a number in a vector with its comma, such as `-1.2345678901234567e-05,`."""
_FRAME_BYTES = 100
"""JSON of a record's field names and brackets, at most."""
_TURN = 256
"""Records that are checked in one go."""


async def wire_records(vectors: Iterable[RecordLike]) -> list[Wire]:
    """Records, checked, with pauses in which others get their turn.

    Raises InvalidValue, naming the first that is wrong, and for an id given twice.
    """
    records: list[Wire] = []
    seen: set[str] = set()
    for number, given in enumerate(vectors):
        record = wire_record(given, number)
        if record["id"] in seen:
            raise InvalidValue(f"the id {record['id']!r} is given twice in one upsert: which record is meant?")
        seen.add(record["id"])
        records.append(record)
        if number % _TURN == _TURN - 1:
            await asyncio.sleep(0)
    return records


def wire_record(given: RecordLike, number: int = 0) -> Wire:
    """One record, checked; `number` is its place among others, for the error."""
    id, values, sparse, metadata = parts_of(given, number)
    try:
        record: Wire = {"id": checked_id(id)}
        if values is not None:
            record["values"] = checked_vector(values)
        if sparse is not None:
            record["sparse_values"] = wire_sparse(sparse)
        if values is None and sparse is None:
            raise InvalidValue("it has neither values nor sparse_values")
        checked = check_metadata({} if metadata is None else metadata)
    except InvalidValue as error:
        raise InvalidValue(f"record {number} ({id!r:.60}): {error}") from None
    if checked:
        record["metadata"] = checked
    return record


def checked_vector(values: ArrayLike) -> NDArray[np.float32]:
    """A dense vector. Raises InvalidValue for other shapes, and for values that JSON can't carry."""
    try:
        with np.errstate(over="ignore"):  # what overflows becomes infinite and is refused as such
            array = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"a vector is a list of numbers: {error}") from None
    if array.ndim != 1 or not array.size:
        raise InvalidValue(f"a vector has one dimension and at least one value, got the shape {array.shape}")
    if not np.isfinite(array).all():
        raise InvalidValue("a vector's values must be finite 32-bit floats: no NaN, no infinity")
    return array


def wire_sparse(given: object) -> dict[str, Any]:
    """A sparse vector ready to be sent. Raises InvalidValue."""
    sparse = sparse_of(given)
    return {"indices": sparse.indices.tolist(), "values": sparse.values.tolist()}


def batches(records: Iterable[Wire], limits: Limits) -> Iterator[list[Wire]]:
    """Records in groups that one request can carry; a single one that is too large is a group of its own."""
    batch: list[Wire] = []
    size = 0
    for record in records:
        bytes_ = _size(record)
        if batch and (len(batch) >= limits.remote_batch_records or size + bytes_ > limits.remote_batch_bytes):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += bytes_
    if batch:
        yield batch


def sendable(batch: Iterable[Wire]) -> list[Wire]:
    """Records with their vectors as lists, which take ten times the memory of arrays."""
    return [{**record, "values": record["values"].tolist()} if "values" in record else record for record in batch]


def _size(record: Wire) -> int:
    """Bytes of JSON, at most. Numbers are counted at their longest: to encode them twice would cost more."""
    numbers = len(record.get("values", ()))
    sparse = record.get("sparse_values")
    if sparse is not None:
        numbers += 2 * len(sparse["values"])
    metadata = msgspec.json.encode(record.get("metadata", {}))
    # An ASCII id and metadata can grow where quotes and control characters are escaped; msgspec escapes them alike.
    return _FRAME_BYTES + len(msgspec.json.encode(record["id"])) + len(metadata) + _NUMBER_BYTES * numbers
