"""Hybrid searches inside a transaction: candidates by meaning and by words, one ranking, and the reasons for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

from reflow.engine.conditions import owned, parts, wanted
from reflow.engine.documents import IndexCodec, TableCodec
from reflow.engine.generations import Generations
from reflow.engine.searches import Ranking, best_vectors, checked_limit, load
from reflow.engine.text_searches import best_texts, checked_terms, frequencies
from reflow.errors import DefinitionError, InvalidValue
from reflow.generations import Embedded
from reflow.hits import Conditions, Explanation, HybridHit, HybridRequest, LeftOut, Leg, Method
from reflow.schema import TextIndex, VectorIndex
from reflow.search.filters import Filter
from reflow.search.hybrid import fuse
from reflow.search.metric import Place, Vector, VectorQuery
from reflow.storage.base import TextTerm

if TYPE_CHECKING:
    from reflow.engine.transaction import EngineTransaction

METHODS: tuple[Method, ...] = get_args(Method)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Hybrid:
    """A hybrid search that was looked at and found valid."""

    tx: EngineTransaction
    codec: TableCodec
    vectors: IndexCodec
    texts: IndexCodec
    place: Place
    vector: Vector
    terms: list[TextTerm]
    limit: int
    candidates: int

    async def dense(self, filter: Filter | None) -> Ranking:
        """Candidates by meaning."""
        query = VectorQuery(self.candidates, self.vector, filter=filter)
        return await best_vectors(self.tx, self.codec, self.vectors, self.place, query)

    async def text(self, filter: Filter | None) -> Ranking:
        """Candidates by words."""
        return await best_texts(self.tx, self.codec, self.texts, self.terms, self.candidates, filter)


async def _read(
    tx: EngineTransaction,
    indexes: tuple[VectorIndex, TextIndex],
    vector: Embedded,
    text: str,
    request: HybridRequest,
) -> _Hybrid:
    codec, vectors = tx.host.catalog.index(indexes[0])
    other, texts = tx.host.catalog.index(indexes[1])
    if codec is not other:
        raise DefinitionError(f"a hybrid search is about one table: {indexes[0]!r} and {indexes[1]!r} are of two")
    if not 0 <= request.weight <= 1:
        raise InvalidValue(f"weight is the share of the vectors in a hybrid search, 0 to 1; got {request.weight!r}")
    if request.method not in METHODS:
        raise InvalidValue(f"method is one of {', '.join(METHODS)}; got {request.method!r}")
    limits = tx.host.limits
    limit = checked_limit(request.limit, min(limits.nearest, limits.text_hits), "limits.nearest, limits.text_hits")
    place, numbers = await Generations(tx).chosen(indexes[0], vector)
    return _Hybrid(
        tx=tx,
        codec=codec,
        vectors=vectors,
        texts=texts,
        place=place,
        vector=numbers,
        terms=checked_terms(indexes[1], text),
        limit=limit,
        candidates=max(limit, min(limits.hybrid_candidates, limits.nearest, limits.text_hits)),
    )


async def hybrid(
    tx: EngineTransaction,
    indexes: tuple[VectorIndex, TextIndex],
    vector: Embedded,
    text: str,
    request: HybridRequest,
) -> list[HybridHit[Any]]:
    """The best documents of both rankings together. Raises InvalidValue, InvalidFilter, LimitExceeded."""
    asked = await _read(tx, indexes, vector, text, request)
    dense = await asked.dense(wanted(asked.vectors, request.conditions))
    words = await asked.text(wanted(asked.texts, request.conditions))
    ranking = _fused(dense, words, request)[: asked.limit]
    documents = await load(tx, asked.codec, [seq for seq, _ in ranking])
    legs = _Legs(dense), _Legs(words)
    return [
        HybridHit(doc=documents[seq], score=score, dense=legs[0].leg(seq), text=legs[1].leg(seq))
        for seq, score in ranking
    ]


async def explain(
    tx: EngineTransaction,
    indexes: tuple[VectorIndex, TextIndex],
    vector: Embedded,
    text: str,
    request: HybridRequest,
) -> Explanation[Any]:
    """The same, with what either ranking would have brought up besides, and why it is not among the hits."""
    asked = await _read(tx, indexes, vector, text, request)
    dense = await asked.dense(wanted(asked.vectors, request.conditions))
    words = await asked.text(wanted(asked.texts, request.conditions))
    ranking = _fused(dense, words, request)
    own = owned(request.conditions)
    free = dict.fromkeys(seq for _, seq in [*await asked.dense(own), *await asked.text(own)])
    filtered = [seq for seq in free if seq not in dict(ranking)]
    documents = await load(tx, asked.codec, [*(seq for seq, _ in ranking), *filtered])
    reasons = _Reasons(asked, request.conditions, _Legs(dense), _Legs(words))
    hits: list[HybridHit[Any]] = []
    left_out: list[LeftOut[Any]] = []
    for rank, (seq, score) in enumerate(ranking, 1):
        legs = reasons.legs(seq, documents[seq])
        if rank <= asked.limit:
            hits.append(HybridHit(doc=documents[seq], score=score, dense=legs[0], text=legs[1]))
        else:
            why = f"rank {rank} of the fused ranking with a score of {score:.4g}; the limit is {asked.limit}"
            left_out.append(LeftOut(doc=documents[seq], why=why, dense=legs[0], text=legs[1]))
    for seq in filtered:
        why = reasons.filtered(documents[seq])
        legs = reasons.legs(seq, documents[seq])
        left_out.append(LeftOut(doc=documents[seq], why=why, dense=legs[0], text=legs[1]))
    return Explanation(hits=hits, left_out=left_out)


def _fused(dense: Ranking, words: Ranking, request: HybridRequest) -> list[tuple[int, float]]:
    by_id = [[(seq, score) for score, seq in ranking] for ranking in (dense, words)]
    return fuse(*by_id, weight=request.weight, method=request.method)


class _Legs:
    """The places of documents in one ranking."""

    def __init__(self, ranking: Ranking) -> None:
        self._places = {seq: Leg(rank=rank, score=score) for rank, (score, seq) in enumerate(ranking, 1)}

    def leg(self, seq: int) -> Leg:
        """A document's place; an empty one where it has none."""
        return self._places.get(seq) or Leg()


class _Reasons:
    """Why documents are where they are."""

    def __init__(self, asked: _Hybrid, conditions: Conditions, dense: _Legs, text: _Legs) -> None:
        self._asked = asked
        self._dense = dense
        self._text = text
        self._conditions = [
            (index, name, filter) for index in (asked.vectors, asked.texts) for name, filter in parts(index, conditions)
        ]

    def filtered(self, document: Any) -> str:
        """Which conditions a document fails."""
        failed = {
            name: None for index, name, filter in self._conditions if not filter.matches(index.metadata(document))
        }
        return f"filtered out by {', '.join(failed)}"

    def legs(self, seq: int, document: Any) -> tuple[Leg, Leg]:
        """A document's places in both rankings, or why it has none."""
        asked = self._asked
        dense, text = self._dense.leg(seq), self._text.leg(seq)
        passes = all(filter.matches(index.metadata(document)) for index, _, filter in self._conditions)
        below = f"below rank {asked.candidates}" if passes else "filtered out"
        if dense.rank is None:
            there = asked.tx.vector_at(asked.place, seq) is not None
            dense = Leg(why=below if there else f"no vector in {asked.vectors.index!r}")
        if text.rank is None:
            shared = any(frequencies(asked.texts.text(document), asked.terms))
            text = Leg(why=below if shared else "none of the words")
        return dense, text
