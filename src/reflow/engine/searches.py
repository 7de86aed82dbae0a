"""Vector searches inside a transaction: the snapshot's hits and the transaction's own writes together."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from reflow.engine.conditions import wanted
from reflow.engine.documents import IndexCodec, TableCodec, VectorEntry
from reflow.engine.generations import Generations
from reflow.errors import InvalidValue, LimitExceeded
from reflow.generations import Embedded
from reflow.hits import Conditions, Hit
from reflow.schema import VectorIndex
from reflow.search.metric import Metric, Place, VectorQuery, found_score
from reflow.search.standing import KEPT, VectorRead

if TYPE_CHECKING:
    from reflow.engine.transaction import EngineTransaction

Ranking = list[tuple[float, int]]
"""(score, sequence number), best first."""


async def nearest(
    tx: EngineTransaction,
    index: VectorIndex,
    vector: Embedded,
    limit: int,
    conditions: Conditions,
    *,
    approximate: bool = False,
) -> list[Hit[Any]]:
    """The documents with the most similar vectors. Raises InvalidValue, InvalidFilter, LimitExceeded."""
    codec, found = tx.host.catalog.index(index)
    count = checked_limit(limit, tx.host.limits.nearest, "limits.nearest")
    place, numbers = await Generations(tx).chosen(index, vector)
    query = VectorQuery(count, numbers, filter=wanted(found, conditions))
    if approximate:
        ranking = await tx.wait(tx.host.vectors.search(place, query, tx.snapshot.ts, approximate=True))
    else:
        ranking = await best_vectors(tx, codec, found, place, query)
    documents = await load(tx, codec, [seq for _, seq in ranking])
    return [Hit(doc=documents[seq], score=score) for score, seq in ranking]


def checked_limit(limit: object, bound: int, name: str) -> int:
    """A search's `limit` as a number. Raises InvalidValue for what is none, LimitExceeded for one out of bounds."""
    try:
        count = operator.index(limit)  # pyright: ignore[reportArgumentType]
    except TypeError:
        raise InvalidValue(f"a search's limit must be a whole number of hits, got {limit!r}") from None
    if not 1 <= count <= bound:
        raise LimitExceeded(f"a search's limit must be 1 to {bound} ({name}), got {count}")
    return count


async def best_vectors(
    tx: EngineTransaction, codec: TableCodec, index: IndexCodec, place: Place, query: VectorQuery
) -> Ranking:
    """(score, sequence number) of the best documents of a namespace, own writes included; it joins the read set."""
    own = _own_entries(tx, codec, index, place)
    found, complete = await _stored_hits(tx, place, query, len(own))
    metric = tx.host.vectors.metric(place)  # asked for only now: a place of the past may be known no more
    if own:
        found = [hit for hit in found if hit[1] not in own]
        for seq, entry in own.items():
            score = _own_score(tx, metric, place, seq, entry, query)
            if score is not None:
                found.append((score, seq))
        found.sort(key=lambda hit: (-hit[0], hit[1]))
    tx.reads.points.update((place[0], seq) for _, seq in found[: query.limit])
    add_search(tx)
    tx.reads.vectors.append(VectorRead(place, metric, query, tx.snapshot.ts, found, complete))
    return found[: query.limit]


async def _stored_hits(tx: EngineTransaction, place: Place, query: VectorQuery, own: int) -> tuple[Ranking, bool]:
    """At least the best of the snapshot, as many more as this transaction may shadow, and whether they are all."""
    ts = tx.snapshot.ts
    if tx.standing is None:
        depth = query.limit + own
    else:
        known = tx.standing(place, query, ts)
        if known is not None:
            return known
        depth = KEPT * query.limit
    found = await tx.wait(tx.host.vectors.search(place, replace(query, limit=depth), ts))
    return found, len(found) < depth


def add_search(tx: EngineTransaction) -> None:
    """Counts a search against the limit of the read set. Raises LimitExceeded."""
    bound = tx.host.limits.searches_read
    if len(tx.reads.vectors) + len(tx.reads.texts) >= bound:
        raise LimitExceeded(
            f"one function made more than limits.searches_read = {bound} searches; split the work into several"
        )


def _own_entries(
    tx: EngineTransaction, codec: TableCodec, index: IndexCodec, place: Place
) -> dict[int, VectorEntry | None]:
    """What this transaction may have changed in a place; None where it has removed the document."""
    own: dict[int, VectorEntry | None] = {}
    for (number, seq), write in tx.pending.items():
        if number != codec.number or (write.raw is None and write.before is None):
            continue
        if place in index.places(write.former if write.raw is None else write.document):
            own[seq] = None if write.raw is None else index.entry(write.document)
    for (where, seq), vector in tx.pending_vectors.items():
        if where == place and (codec.number, seq) not in tx.pending:
            own[seq] = None if vector.vector is None else index.entry(vector.document)
    return own


def _own_score(
    tx: EngineTransaction, metric: Metric, place: Place, seq: int, entry: VectorEntry | None, query: VectorQuery
) -> float | None:
    """The score of a document that this transaction may have changed; None where the search does not find it."""
    if entry is None or entry.space != query.space:
        return None
    if query.filter is not None and not query.filter.matches(entry.metadata):
        return None
    vector = tx.vector_at(place, seq, entry.space)
    return found_score(metric, vector, entry.sparse, query)


async def load(tx: EngineTransaction, codec: TableCodec, seqs: Sequence[int]) -> dict[int, Any]:
    """Documents by sequence number. Every hit can be loaded: it comes from this very snapshot."""
    stored = [seq for seq in seqs if (codec.number, seq) not in tx.pending]
    values = await tx.wait(tx.snapshot.get_many(codec.number, stored)) if stored else []
    raws = dict(zip(stored, values, strict=True))
    documents: dict[int, Any] = {}
    for seq in seqs:
        tx.reads.points.add((codec.number, seq))
        write = tx.pending.get((codec.number, seq))
        raw = raws[seq] if write is None else write.raw
        tx.count_read(raw)
        if raw is not None:
            documents[seq] = codec.decode(raw)
    return documents
