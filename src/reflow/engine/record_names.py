"""Names of free-standing indexes and their namespaces, and the numbers under which their records are."""

from __future__ import annotations

from typing import cast

from reflow.database import Bound, RangeRequest
from reflow.engine.record_tables import INDEXES, NAMESPACES, PURGES, NamespaceRow, PurgeRow, VectorIndexRow
from reflow.engine.scan import KeyRange, Scan
from reflow.engine.transaction import EngineTransaction
from reflow.errors import LimitExceeded, NoVectorIndex
from reflow.keys import encode_part
from reflow.schema import Table, TableSpec
from reflow.storage.base import TOP

_ABOVE_ASCII = "\x80"


def new_number(tx: EngineTransaction) -> int:
    """A number that was never given to an index or namespace, and never will be again.

    It is the microsecond of a sequence number, so that it is exact in JSON.
    """
    return tx.host.new_seq() >> 12


async def add_row(tx: EngineTransaction, spec: TableSpec, row: Table) -> None:
    """Inserts a row of one of reflow's own tables."""
    with tx.as_system():
        await tx.insert(spec, (row,), (None,))


async def find_index(tx: EngineTransaction, name: str) -> VectorIndexRow | None:
    """The index of that name; it joins the read set, also where there is none."""
    return cast("VectorIndexRow | None", await _find(tx, INDEXES, encode_part(name)))


async def existing_index(tx: EngineTransaction, name: str) -> VectorIndexRow:
    """The index of that name. Raises NoVectorIndex."""
    row = await find_index(tx, name)
    if row is None:
        raise NoVectorIndex(
            f"there is no vector index {name!r}: declare it with rf.Vectors({name!r}, dims=...) in a module of the "
            "app, or create it through the Pinecone API"
        )
    return row


async def all_indexes(tx: EngineTransaction) -> list[VectorIndexRow]:
    """All indexes, in order of their names."""
    return await tx.scan(RangeRequest(table=INDEXES, index=VectorIndexRow.by_name, equal={})).take(None)


async def find_namespace(tx: EngineTransaction, index: int, name: str) -> NamespaceRow | None:
    """The namespace of that name; it joins the read set, also where there is none."""
    return cast("NamespaceRow | None", await _find(tx, NAMESPACES, encode_part(index) + encode_part(name)))


async def _find(tx: EngineTransaction, spec: TableSpec, prefix: bytes) -> Table | None:
    """The only row under a key. Every call on an index asks for two of these, so they are remembered."""
    tx.check_open()
    codec = tx.host.catalog.codec(spec)
    keys = KeyRange(codec, 0, prefix, prefix, prefix + TOP, False)
    if codec.number in tx.tables_written:
        rows: list[Table] = await Scan(tx, keys).take(1)
        return rows[0] if rows else None
    tx.reads.add_range(keys.index, prefix, keys.lower, keys.upper)
    names, ts, name = tx.host.names, tx.snapshot.ts, codec.number.to_bytes(4, "big") + prefix
    known = names.find(name, ts)
    if known is not None:
        return known[0]
    found = await tx.wait(tx.snapshot.scan(codec.number, keys.index, keys.lower, keys.upper, limit=1))
    row: Table | None = codec.decode(found[0].value) if found else None
    names.learn(name, ts, row)
    return row


async def namespaces(
    tx: EngineTransaction, index: int, prefix: str = "", after: str | None = None, count: int | None = None
) -> list[NamespaceRow]:
    """The namespaces of an index whose name starts with `prefix`, in order of their names, behind the name `after`."""
    start = Bound(value=prefix, inclusive=True)
    if after is not None and after >= prefix:
        start = Bound(value=after, inclusive=False)
    request = RangeRequest(
        table=NAMESPACES,
        index=NamespaceRow.by_name,
        equal={"index": index},
        lower=start,
        upper=Bound(value=prefix + _ABOVE_ASCII, inclusive=False),
    )
    return await tx.scan(request).take(count)


async def count_namespaces(tx: EngineTransaction, index: int) -> int:
    """How many namespaces an index has."""
    return await tx.count(RangeRequest(table=NAMESPACES, index=NamespaceRow.by_name, equal={"index": index}))


async def make_namespace(tx: EngineTransaction, index: VectorIndexRow, name: str) -> int:
    """The number of a namespace, which is made where it is missing. Raises LimitExceeded."""
    row = await find_namespace(tx, index.number, name)
    if row is not None:
        return row.number
    most = tx.host.limits.namespaces_per_index
    if await count_namespaces(tx, index.number) >= most:
        raise LimitExceeded(f"vector index {index.name!r} has limits.namespaces_per_index = {most} namespaces already")
    number = new_number(tx)
    await add_row(tx, NAMESPACES, NamespaceRow(index=index.number, name=name, number=number))
    return number


async def empty_namespace(tx: EngineTransaction, row: NamespaceRow) -> None:
    """Removes all records of a namespace: under its new number there are none."""
    with tx.as_system():
        await tx.patch(row.id, {"number": new_number(tx)})
    await leave_to_purge(tx, row.index, row.number)


async def drop_namespace(tx: EngineTransaction, row: NamespaceRow) -> None:
    """Removes a namespace with its records."""
    with tx.as_system():
        await tx.delete([row.id])
    await leave_to_purge(tx, row.index, row.number)


async def leave_to_purge(tx: EngineTransaction, index: int, space: int | None = None) -> None:
    """Has records that nobody finds any more removed in the background: of a namespace's number, or of an index."""
    since = new_number(tx) / 1000
    await add_row(tx, PURGES, PurgeRow(index=index, space=space, since=since))
