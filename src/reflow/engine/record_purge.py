"""Removes records that nobody can find any more: bounded batches, each a transaction."""

from __future__ import annotations

from reflow.database import RangeRequest
from reflow.engine.record_tables import NAMESPACES, PURGES, RECORDS, NamespaceRow, PurgeRow
from reflow.engine.transaction import EngineTransaction, Pending
from reflow.keys import encode_part
from reflow.schema import Table
from reflow.storage.base import TOP


async def purge_some(tx: EngineTransaction, now: float) -> bool:
    """Removes some of what is left to purge; True where there is more to remove now. `now` in milliseconds.

    The vectors of an index stay known, without any, as long as reads at a time before its deletion are possible.
    """
    rows: list[PurgeRow] = await tx.scan(RangeRequest(table=PURGES, equal={})).take(None)
    for row in rows:
        if await _remove_records(tx, row):
            return True
        if row.space is None:
            named = RangeRequest(table=NAMESPACES, index=NamespaceRow.by_name, equal={"index": row.index})
            if await _remove(tx, await tx.scan(named).take(tx.host.limits.records_per_batch)):
                return True
            if now - row.since < tx.host.limits.retention_seconds * 1000:
                continue
            tx.host.vectors.drop((tx.host.catalog.codec(RECORDS).vectors[0].number, row.index))
        return await _remove(tx, [row])
    return False


async def _remove_records(tx: EngineTransaction, row: PurgeRow) -> bool:
    """Removes some records of a namespace's number, or of an index; whether there were any."""
    codec = tx.host.catalog.codec(RECORDS)
    by_key = codec.ranges[0]
    prefix = encode_part(row.index) + (b"" if row.space is None else encode_part(row.space))
    tx.reads.add_range(by_key.number, prefix, prefix, prefix + TOP)
    limit = tx.host.limits.records_per_batch
    found = await tx.wait(tx.snapshot.scan(codec.number, by_key.number, prefix, prefix + TOP, limit=limit))
    with tx.as_system():
        for stored in found:
            record = codec.decode(stored.value)
            former = (stored.value, record, codec.keys_of(record, stored.seq))
            tx.put(Pending(codec, stored.seq, None, record, (), *former))
    return bool(found)


async def _remove(tx: EngineTransaction, rows: list[NamespaceRow] | list[PurgeRow]) -> bool:
    """Removes rows of reflow's own tables; whether there were any."""
    found: list[Table] = list(rows)
    with tx.as_system():
        await tx.delete([row.id for row in found])
    return bool(found)
