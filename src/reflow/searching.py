"""Searches as functions call them: by vector, by words, and by both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol, overload

from reflow.generations import Embedded
from reflow.hits import DENSE_WEIGHT, Conditions, Explanation, Hit, HybridHit, HybridRequest, Method
from reflow.pages import Page, PaginationOptions
from reflow.schema import TextIndex, VectorIndex


class SearchRun(Protocol):
    """What searches need of the engine."""

    async def nearest(
        self, index: VectorIndex, vector: Embedded, limit: int, conditions: Conditions
    ) -> list[Hit[Any]]: ...
    async def search_text(self, index: TextIndex, text: str, limit: int, conditions: Conditions) -> list[Hit[Any]]: ...
    async def search_page(
        self, index: TextIndex, text: str, options: PaginationOptions, conditions: Conditions
    ) -> Page[Hit[Any]]: ...
    async def hybrid(
        self, indexes: tuple[VectorIndex, TextIndex], vector: Embedded, text: str, request: HybridRequest
    ) -> list[HybridHit[Any]]: ...
    async def explain(
        self, indexes: tuple[VectorIndex, TextIndex], vector: Embedded, text: str, request: HybridRequest
    ) -> Explanation[Any]: ...


class Searching:
    """The searches of one transaction, or (in an action) each on a snapshot of its own."""

    def __init__(self, searches: SearchRun) -> None:
        self._searches = searches

    async def nearest(
        self,
        index: VectorIndex,
        vector: Embedded,
        *,
        limit: int = 10,
        filter: Mapping[str, Any] | None = None,
        min_length: int | None = None,
        **equal: Any,
    ) -> list[Hit[Any]]:
        """The documents whose vectors are most similar to `vector` (shape (dims,)), by the index's metric, best first.

        Exact, and of one timestamp; inside a transaction that is its own, with its own writes. There are fewer than
        `limit` hits only when fewer documents satisfy the conditions on the index's filter fields: `filter` in the
        language of metadata filters (`{"year": {"$gte": 2020}, "$or": [...]}`), further keywords as equalities, where
        a list means any of its values, and `min_length` characters of the field that the index filters by
        `"len(field)"`. Raises InvalidValue for what is no vector of this index, InvalidFilter for conditions that
        don't fit.
        """
        return await self._searches.nearest(index, vector, limit, _conditions(filter, min_length, equal))

    async def search(
        self,
        index: TextIndex,
        text: str,
        *,
        limit: int = 10,
        filter: Mapping[str, Any] | None = None,
        min_length: int | None = None,
        **equal: Any,
    ) -> list[Hit[Any]]:
        """The documents that hold any word of `text` (the last one also as a prefix), by BM25, best first.

        The conditions are those of `nearest`; `min_length` is about the field that the index searches.
        """
        return await self._searches.search_text(index, text, limit, _conditions(filter, min_length, equal))

    async def search_page(
        self,
        index: TextIndex,
        text: str,
        options: PaginationOptions,
        *,
        filter: Mapping[str, Any] | None = None,
        min_length: int | None = None,
        **equal: Any,
    ) -> Page[Hit[Any]]:
        """One page of `search`. In a live query a page keeps its ends, as scores: it grows and shrinks with its hits.

        Scores move a little with every change of the whole corpus, and all live pages follow each: otherwise a hit
        could be in two of them, or in none.
        """
        return await self._searches.search_page(index, text, options, _conditions(filter, min_length, equal))

    @overload
    async def hybrid(
        self,
        vector_index: VectorIndex,
        text_index: TextIndex,
        vector: Embedded,
        text: str,
        *,
        limit: int = 10,
        weight: float = DENSE_WEIGHT,
        method: Method = "minmax",
        filter: Mapping[str, Any] | None = None,
        min_length: int | None = None,
        explain: Literal[False] = False,
        **equal: Any,
    ) -> list[HybridHit[Any]]: ...
    @overload
    async def hybrid(
        self,
        vector_index: VectorIndex,
        text_index: TextIndex,
        vector: Embedded,
        text: str,
        *,
        limit: int = 10,
        weight: float = DENSE_WEIGHT,
        method: Method = "minmax",
        filter: Mapping[str, Any] | None = None,
        min_length: int | None = None,
        explain: Literal[True],
        **equal: Any,
    ) -> Explanation[Any]: ...
    async def hybrid(
        self,
        vector_index: VectorIndex,
        text_index: TextIndex,
        vector: Embedded,
        text: str,
        *,
        limit: int = 10,
        weight: float = DENSE_WEIGHT,
        method: Method = "minmax",
        filter: Mapping[str, Any] | None = None,
        min_length: int | None = None,
        explain: bool = False,
        **equal: Any,
    ) -> list[HybridHit[Any]] | Explanation[Any]:
        """The best documents by meaning and by words together, of one table, best first.

        Both searches bring up candidates under the same conditions (see `nearest`; both indexes need the filter
        fields). `method` "minmax" adds up their scores, each ranking's moved to 0..1, with `weight` (0 to 1) as the
        share of the vectors; "rrf" looks at ranks alone. `explain=True` also tells what was left out, and why.
        """
        request = HybridRequest(
            limit=limit, weight=weight, method=method, conditions=_conditions(filter, min_length, equal)
        )
        indexes = (vector_index, text_index)
        if explain:
            return await self._searches.explain(indexes, vector, text, request)
        return await self._searches.hybrid(indexes, vector, text, request)


def _conditions(filter: Mapping[str, Any] | None, min_length: int | None, equal: Mapping[str, Any]) -> Conditions:
    return Conditions(filter=filter, min_length=min_length, equal=equal)
