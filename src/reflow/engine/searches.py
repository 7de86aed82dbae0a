"""Vector and text searches inside a transaction: the snapshot's hits and the transaction's own writes together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, cast

from numpy.typing import ArrayLike

from reflow.database import Hit
from reflow.engine.catalog import GENERATION
from reflow.engine.documents import IndexCodec, TableCodec, comparable
from reflow.errors import DefinitionError, LimitExceeded
from reflow.schema import TextIndex, VectorIndex
from reflow.search import bm25
from reflow.search.filters import Filter, equals
from reflow.search.metric import Place, VectorQuery, checked, score
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
    wanted = _wanted(found, filters)
    query = checked(vector, index.dims, repr(index))
    place = (found.number, GENERATION)
    tx.reads.whole.add(found.number)
    own = _own_writes(tx, codec, place)
    asked = VectorQuery(limit + len(own), query, filter=wanted)
    hits = await tx.wait(tx.host.vectors.search(place, asked, tx.snapshot.ts))
    ranked = [(score, seq) for score, seq in hits if seq not in own]
    for seq, write in own.items():
        here = tx.stored_vector(found, seq)
        if here is not None and _passes(tx, found, place, seq, write, wanted):
            ranked.append((score("cosine", here, query), seq))
    ranked.sort(key=lambda hit: (-hit[0], hit[1]))
    return await _load(tx, codec, ranked[:limit])


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
            words = None if write.raw is None else found.text(write.document)
            counts = _frequencies(words, terms)
            if any(counts) and words and (wanted is None or wanted.matches(found.metadata(write.document))):
                ranked.append((bm25.score(counts, words.count(" ") + 1, stats), seq))
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


def _own_writes(tx: EngineTransaction, codec: TableCodec, place: Place) -> dict[int, Pending | None]:
    """Documents whose vector or metadata this transaction may have changed."""
    own: dict[int, Pending | None] = {seq: w for (number, seq), w in tx.pending.items() if number == codec.number}
    for where, seq in tx.pending_vectors:
        if where == place:
            own.setdefault(seq, None)
    return own


def _passes(
    tx: EngineTransaction, index: IndexCodec, place: Place, seq: int, write: Pending | None, wanted: Filter | None
) -> bool:
    if write is not None and write.raw is None:
        return False
    if wanted is None:
        return True
    return wanted.matches(
        index.metadata(write.document) if write is not None else tx.pending_vectors[place, seq].metadata
    )


def _frequencies(words: str | None, terms: list[TextTerm]) -> list[int]:
    """How often each query term occurs among a document's tokens."""
    if not words:
        return [0] * len(terms)
    counts = Counter(words.split(" "))
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
