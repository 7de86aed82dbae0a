"""Searches by words inside a transaction, and their pages."""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from reflow.engine import pagination
from reflow.engine.conditions import wanted
from reflow.engine.documents import IndexCodec, TableCodec
from reflow.engine.searches import Ranking, add_search, checked_limit, load
from reflow.errors import InvalidValue
from reflow.hits import Conditions, Hit
from reflow.pages import Page, PaginationOptions
from reflow.schema import TextIndex
from reflow.search import bm25
from reflow.search.filters import Filter
from reflow.search.standing_text import TextEntry, TextRead
from reflow.search.tokens import query_terms
from reflow.storage.base import TOP, TextTerm

if TYPE_CHECKING:
    from reflow.engine.transaction import EngineTransaction, Pending

_FINGERPRINT_BYTES = 8
_LOADED = 16
"""Documents that are read before it is asked whether their page may grow."""


async def search(
    tx: EngineTransaction, index: TextIndex, text: str, limit: int, conditions: Conditions
) -> list[Hit[Any]]:
    """The best documents by BM25. Raises InvalidFilter, LimitExceeded."""
    codec, found = tx.host.catalog.index(index)
    count = checked_limit(limit, tx.host.limits.text_hits, "limits.text_hits")
    ranking = await best_texts(tx, codec, found, checked_terms(index, text), count, wanted(found, conditions))
    return await _hits(tx, codec, ranking)


async def search_page(
    tx: EngineTransaction, index: TextIndex, text: str, options: PaginationOptions, conditions: Conditions
) -> Page[Hit[Any]]:
    """One page of a search. Its ends are places in the ranking, so that it keeps them while hits come and go.

    Pages of one search must see the same scores, or a hit would be in two of them or in none: live ones follow every
    change of the corpus.
    """
    codec, found = tx.host.catalog.index(index)
    bound = tx.host.limits.text_hits
    if not 1 <= options.num_items <= bound:
        raise InvalidValue(f"numItems must be 1 to {bound} (limits.text_hits), got {options.num_items}")
    terms, filter = checked_terms(index, text), wanted(found, conditions)
    mark = _fingerprint(found, terms, filter)
    allowance = pagination.Allowance(tx, options)
    start = None if options.cursor is None else pagination.decode_cursor(mark, options.cursor)
    end_cursor = options.end_cursor or pagination.journal_end(tx, mark, start, reverse=False)
    if start == TOP:
        return allowance.page([], mark, TOP)
    end = None if end_cursor is None else pagination.decode_cursor(mark, end_cursor)
    most = allowance.rows_left + 1 if end is not None else min(options.num_items, allowance.rows_left)
    ranking = await best_texts(tx, codec, found, terms, most, filter, behind=start, up_to=end, exact=True)
    hits = await _allowed(tx, codec, ranking, allowance)
    cut = len(hits) < len(ranking)
    if end is None:
        end = rank_key(*ranking[len(hits) - 1]) if cut or len(ranking) == most else TOP
        cut = False
    return allowance.page(hits, mark, end, cut=cut)


async def _allowed(
    tx: EngineTransaction, codec: TableCodec, ranking: Ranking, allowance: pagination.Allowance
) -> list[Hit[Any]]:
    """The first hits of a ranking, as many as a page may have."""
    hits: list[Hit[Any]] = []
    for start in range(0, len(ranking), _LOADED):
        part = ranking[start : start + _LOADED]
        before = tx.bytes_read
        loaded = await _hits(tx, codec, part)
        size = (tx.bytes_read - before) // len(part)
        for (score, seq), hit in zip(part, loaded, strict=True):
            hits.append(hit)
            if allowance.spend(rank_key(score, seq), size):
                return hits
    return hits


def checked_terms(index: TextIndex, text: object) -> list[TextTerm]:
    """What to look for. Raises InvalidValue for what is no text."""
    if not isinstance(text, str):
        raise InvalidValue(f"{index!r} is searched for words in a text, got {type(text).__name__}")
    return query_terms(text)


def rank_key(score: float, seq: int) -> bytes:
    """Bytes in the order of the ranking: higher scores first, then newer documents."""
    return bytes(255 - byte for byte in struct.pack(">dQ", score, seq))


def _fingerprint(index: IndexCodec, terms: Sequence[TextTerm], filter: Filter | None) -> bytes:
    """Tells searches apart, so that a cursor of one is refused by another."""
    key = repr((index.number, terms, filter and filter.key)).encode()
    return blake2b(key, digest_size=_FINGERPRINT_BYTES).digest()


async def best_texts(
    tx: EngineTransaction,
    codec: TableCodec,
    index: IndexCodec,
    terms: Sequence[TextTerm],
    limit: int,
    filter: Filter | None,
    *,
    behind: bytes | None = None,
    up_to: bytes | None = None,
    exact: bool = False,
) -> Ranking:
    """(score, sequence number) of the best documents, own writes included; it joins the read set.

    `behind` and `up_to` (inclusive) are ends of a page, as `rank_key` gives them. `exact`: any change of the corpus
    concerns the search.
    """
    if not terms:
        return []
    own = {seq: write for (number, seq), write in tx.pending.items() if number == codec.number}
    counted = terms if own or filter is not None else ()
    stats = await tx.wait(tx.snapshot.text_stats(index.number, counted))
    add_search(tx)
    matches, drift = sum(stats.matches), 0.0 if exact else tx.host.limits.text_drift
    tx.reads.texts.append(
        TextRead(index.number, tuple(terms), filter, stats.documents, stats.average_length, matches, drift)
    )
    ranking: Ranking = []
    for seq, write in own.items():
        entry = None if write.raw is None else index.text(write.document)
        counts = frequencies(entry, terms)
        if entry is not None and any(counts) and (filter is None or filter.matches(entry.metadata)):
            ranking.append((bm25.score(counts, entry.tokens.count(" ") + 1, stats), seq))
    ranking = [hit for hit in ranking if _between(hit, behind, up_to)]
    stored = _Stored(tx, codec, index, terms, filter, own)
    ranking += await stored.hits(limit, behind, up_to)
    ranking.sort(key=lambda hit: (-hit[0], -hit[1]))
    return ranking[:limit]


def _between(hit: tuple[float, int], behind: bytes | None, up_to: bytes | None) -> bool:
    key = rank_key(*hit)
    return (behind is None or key > behind) and (up_to is None or key <= up_to)


class _Stored:
    """The snapshot's hits for some words."""

    def __init__(
        self,
        tx: EngineTransaction,
        codec: TableCodec,
        index: IndexCodec,
        terms: Sequence[TextTerm],
        filter: Filter | None,
        own: Mapping[int, Pending],
    ) -> None:
        self._tx = tx
        self._codec = codec
        self._index = index
        self._terms = terms
        self._filter = filter
        self._own = own

    async def hits(self, limit: int, behind: bytes | None, up_to: bytes | None) -> Ranking:
        """The best ones that pass the filter, fetched in growing steps until there are enough."""
        tx, passed = self._tx, Ranking()
        most = tx.host.limits.documents_read
        # A page with a known end has few hits, however many it may have.
        offset, size = 0, min((limit if up_to is None else tx.host.limits.scan_page) + len(self._own), most)
        while True:
            found = await tx.wait(tx.snapshot.search_text(self._index.number, self._terms, limit=size, offset=offset))
            ranking = [(hit.score, hit.seq) for hit in found if hit.seq not in self._own]
            kept = [hit for hit in ranking if _between(hit, behind, up_to)]
            passed += kept if self._filter is None else await self._passing(kept, self._filter)
            over = bool(ranking) and up_to is not None and rank_key(*ranking[-1]) > up_to
            if len(found) < size or len(passed) >= limit or over:
                return passed[:limit]
            offset += size
            size = min(4 * size, most)

    async def _passing(self, ranking: Ranking, filter: Filter) -> Ranking:
        values = await self._tx.wait(self._tx.snapshot.get_many(self._codec.number, [seq for _, seq in ranking]))
        return [
            hit
            for hit, value in zip(ranking, values, strict=True)
            if value is not None and filter.matches(self._index.metadata(self._codec.decode(value)))
        ]


def frequencies(entry: TextEntry | None, terms: Sequence[TextTerm]) -> list[int]:
    """How often each query term occurs among a document's tokens."""
    if entry is None or not entry.tokens:
        return [0] * len(terms)
    counts = Counter(entry.tokens.split(" "))
    return [
        sum(n for word, n in counts.items() if word.startswith(term.term)) if term.prefix else counts[term.term]
        for term in terms
    ]


async def _hits(tx: EngineTransaction, codec: TableCodec, ranking: Ranking) -> list[Hit[Any]]:
    documents = await load(tx, codec, [seq for _, seq in ranking])
    return [Hit(doc=documents[seq], score=score) for score, seq in ranking]
