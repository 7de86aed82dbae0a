"""What searches give, and the conditions that they are given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Generic, Literal

import msgspec
from typing_extensions import TypeVar

from reflow.schema import Object, missing

D = TypeVar("D", default=Any)

Method = Literal["minmax", "rrf"]
"""How a hybrid search makes one ranking out of two."""

DENSE_WEIGHT = 0.75
"""Share of the vector hits in a fused score; questions in natural language share few words with their answers."""


class Hit(Object, Generic[D]):
    """A document that a search found; a higher score is better (the vector index's metric, or BM25 for text)."""

    doc: D
    score: float


class Leg(Object):
    """A document in one of the two rankings behind a hybrid search: the first has rank 1.

    Where it is not among the candidates, `rank` and `score` are absent and, with `explain`, `why` tells the reason.
    """

    rank: int | None = missing()
    score: float | None = missing()
    why: str | None = missing()


class HybridHit(Object, Generic[D]):
    """A document that a hybrid search found: its fused score, 1 at best, and its place in each of the rankings."""

    doc: D
    score: float
    dense: Leg
    text: Leg


class LeftOut(Object, Generic[D]):
    """A document that either ranking would have brought up and the result lacks; `why` tells the reason."""

    doc: D
    why: str
    dense: Leg
    text: Leg


class Explanation(Object, Generic[D], rename="camel"):
    """A hybrid search with its reasons: the hits, and what was left out, in the order of the rankings."""

    hits: list[HybridHit[D]]
    left_out: list[LeftOut[D]]


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """What a search's documents must satisfy, as the caller put it: all three of them."""

    filter: Mapping[str, Any] | None = None
    """In the language of metadata filters, on the index's filter fields."""
    min_length: int | None = None
    """Characters of the text."""
    equal: Mapping[str, Any]
    """Values by filter field; a list means any of them."""
    owner: tuple[str, str] | None = None
    """The field that holds a document's owner, and the only one to search for. No reason names it: what fails it does
    not exist for the caller."""


class HybridRequest(msgspec.Struct, frozen=True, kw_only=True):
    """How a hybrid search makes its ranking."""

    limit: int
    weight: float
    method: Method
    conditions: Conditions
