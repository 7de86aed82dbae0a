"""Vector and text searches inside a transaction: the snapshot's hits and the transaction's own writes together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import ArrayLike

from reflow.database import Hit
from reflow.engine.documents import IndexCodec, TableCodec, TextEntry, VectorEntry, comparable
from reflow.errors import DefinitionError, LimitExceeded
from reflow.schema import TextIndex, VectorIndex
from reflow.search import bm25
from reflow.search.filters import Filter, equals
from reflow.search.metric import Metric, Place, VectorQuery, found_score
from reflow.search.tokens import query_terms
from reflow.storage.base import TextTerm

if TYPE_CHECKING:
    from reflow.engine.transaction import EngineTransaction, Pending


async def nearest(
    tx: EngineTransaction, index: VectorIndex, vector: ArrayLike, limit: int, filters: Mapping[str, Any]
) -> list[Hit[Any]]:
    """The documents with the most similar vectors. The whole index joins the read set."""
    codec, found = tx.host.catalog.index(index)
    _check_limit(limit, tx.host.limits.nearest, "limits.nearest")
    query = VectorQuery(limit, found.checked(vector, None), filter=_wanted(found, filters))
    return await _load(tx, codec, await best_vectors(tx, codec, found, found.place(None), query))


async def best_vectors(
    tx: EngineTransaction, codec: TableCodec, index: IndexCodec, place: Place, query: VectorQuery
) -> list[tuple[float, int]]:
    """(score, sequence number) of the best documents of a namespace, own writes included; it joins the read set."""
    tx.reads.whole.add(index.number)
    own = _own_entries(tx, codec, index, place)
    asked = replace(query, limit=query.limit + len(own))
    hits = await tx.wait(tx.host.vectors.search(place, asked, tx.snapshot.ts))
    metric = tx.host.vectors.metric(place)
    ranked = [hit for hit in hits if hit[1] not in own]
    for seq, entry in own.items():
        value = _own_score(tx, metric, place, seq, entry, query)
        if value is not None:
            ranked.append((value, seq))
    ranked.sort(key=lambda hit: (-hit[0], hit[1]))
    return ranked[: query.limit]


def _own_entries(
    tx: EngineTransaction, codec: TableCodec, index: IndexCodec, place: Place
) -> dict[int, VectorEntry | None]:
    """What this transaction may have changed in a place; None where it has removed the document."""
    own: dict[int, VectorEntry | None] = {}
    for (number, seq), write in tx.pending.items():
        if number == codec.number and index.place(write.former if write.raw is None else write.document) == place:
            own[seq] = None if write.raw is None else index.entry(write.document)
    for (where, seq), vector in tx.pending_vectors.items():
        if where == place and seq not in own:
            own[seq] = index.entry(vector.document)
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


async def search_text(
    tx: EngineTransaction, index: TextIndex, text: str, limit: int, filters: Mapping[str, Any]
) -> list[Hit[Any]]:
    """The best documents by BM25. The whole index joins the read set."""
    codec, found = tx.host.catalog.index(index)
    _check_limit(limit, tx.host.limits.text_hits, "limits.text_hits")
    wanted = _wanted(found, filters)
    tx.reads.whole.add(found.number)
    terms = query_terms(text)
    if not terms:
        return []
    own = {seq: write for (number, seq), write in tx.pending.items() if number == codec.number}
    ranked: list[tuple[float, int]] = []
    if own:
        stats = await tx.wait(tx.snapshot.text_stats(found.number, terms))
        for seq, write in own.items():
            entry = None if write.raw is None else found.text(write.document)
            counts = _frequencies(entry, terms)
            if entry is not None and any(counts) and (wanted is None or wanted.matches(entry.metadata)):
                ranked.append((bm25.score(counts, entry.tokens.count(" ") + 1, stats), seq))
    ranked += await _stored_hits(tx, codec, found, terms, limit, wanted, own)
    ranked.sort(key=lambda hit: (-hit[0], -hit[1]))
    return await _load(tx, codec, ranked[:limit])


async def _stored_hits(
    tx: EngineTransaction,
    codec: TableCodec,
    index: IndexCodec,
    terms: list[TextTerm],
    limit: int,
    wanted: Filter | None,
    own: Mapping[int, Pending],
) -> list[tuple[float, int]]:
    """The snapshot's best hits that pass the filters, fetched in growing steps until there are enough."""
    passed: list[tuple[float, int]] = []
    offset, size = 0, limit + len(own)
    while True:
        hits = await tx.wait(tx.snapshot.search_text(index.number, terms, limit=size, offset=offset))
        kept = [hit for hit in hits if hit.seq not in own]
        if wanted is not None and kept:
            values = await tx.wait(tx.snapshot.get_many(codec.number, [hit.seq for hit in kept]))
            found = zip(kept, values, strict=True)
            kept = [hit for hit, value in found if value and wanted.matches(index.metadata(codec.decode(value)))]
        passed += [(hit.score, hit.seq) for hit in kept]
        if len(hits) < size or len(passed) >= limit:
            return passed[:limit]
        offset += size
        size = min(4 * size, tx.host.limits.documents_read)


def _check_limit(limit: int, bound: int, name: str) -> None:
    if not 1 <= limit <= bound:
        raise LimitExceeded(f"a search's limit must be 1 to {bound} ({name}), got {limit}")


def _wanted(index: IndexCodec, filters: Mapping[str, Any]) -> Filter | None:
    for name in filters:
        if name not in index.filters:
            raise DefinitionError(
                f"{index.index!r} can't be filtered by {name!r}; its filters are {sorted(index.filters)}"
            )
    conditions: dict[str, Any] = {}
    for name, value in filters.items():
        several = isinstance(value, list | tuple | set)
        conditions[name] = [comparable(item) for item in cast("Iterable[Any]", value)] if several else comparable(value)
    return equals(conditions)


def _frequencies(entry: TextEntry | None, terms: list[TextTerm]) -> list[int]:
    """How often each query term occurs among a document's tokens."""
    if entry is None or not entry.tokens:
        return [0] * len(terms)
    counts = Counter(entry.tokens.split(" "))
    return [
        sum(n for word, n in counts.items() if word.startswith(term.term)) if term.prefix else counts[term.term]
        for term in terms
    ]


async def _load(tx: EngineTransaction, codec: TableCodec, ranked: list[tuple[float, int]]) -> list[Hit[Any]]:
    """The hits with their documents. Every hit can be loaded: it comes from this very snapshot."""
    stored = [seq for _, seq in ranked if (codec.number, seq) not in tx.pending]
    values = await tx.wait(tx.snapshot.get_many(codec.number, stored)) if stored else []
    raws = dict(zip(stored, values, strict=True))
    hits: list[Hit[Any]] = []
    for value, seq in ranked:
        tx.reads.points.add((codec.number, seq))
        write = tx.pending.get((codec.number, seq))
        raw = raws[seq] if write is None else write.raw
        tx.count_read(raw)
        if raw is not None:
            hits.append(Hit(doc=codec.decode(raw), score=value))
    return hits
