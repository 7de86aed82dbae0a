"""What the playground asks of the place where its vectors are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

import reflow as rf
from article.schema import Chunk, Comparison, Related, Search, Source

Vector = NDArray[np.float32]


class Piece(rf.Object, rename="camel"):
    """A chunk to be embedded."""

    id: rf.Id[Chunk]
    source_id: rf.Id[Source]
    text: str


@dataclass(frozen=True, kw_only=True)
class Embedded:
    """Pieces with their vectors, shape (pieces, dims), the tokens of each, and which model took how long."""

    pieces: Sequence[Piece]
    vectors: Vector
    tokens: Sequence[int]
    model: str
    milliseconds: float


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The chunks nearest to something, best first. `as_of` is `Counters.changes` then, where that is worth knowing."""

    related: list[Related]
    as_of: int | None = None


class Store(Protocol):
    """A place for the vectors of chunks and searches."""

    @property
    def name(self) -> str:
        """Vectors in a store of another name are not found again."""
        ...

    @property
    def drifts(self) -> bool:
        """Whether documents and vectors can come apart, so that they have to be compared now and then."""
        ...

    # For mutations

    async def mark_deleted(self, ctx: rf.MutationCtx, chunks: Sequence[rf.Id[Chunk]]) -> None:
        """These chunks' documents go with this transaction: so must their vectors, with it or soon after."""
        ...

    async def discard(self, ctx: rf.MutationCtx, source: Source) -> None:
        """The vectors of this source will be made anew."""
        ...

    # For queries and mutations

    async def missing(self, db: rf.DatabaseReader, source: Source, limit: int) -> list[rf.Id[Chunk]]:
        """The next chunks of a source that have no vector."""
        ...

    async def results(self, db: rf.DatabaseReader, search: Search, limit: int) -> list[rf.Hit[Chunk]] | None:
        """What a search shows by meaning; None while there is nothing to go by."""
        ...

    async def neighbours(self, db: rf.DatabaseReader, comparison: Comparison) -> list[rf.Hit[Chunk]] | None:
        """What a comparison shows, without its target; None while there is nothing to go by."""
        ...

    async def is_outdated(self, db: rf.DatabaseReader, asked: Search | Comparison) -> bool:
        """Whether asking again may give another answer than the stored one."""
        ...

    # For actions

    async def save(self, ctx: rf.ActionCtx, embedded: Embedded) -> None:
        """Stores vectors of chunks that are still there, and notes them in their sources."""
        ...

    async def nearest(self, ctx: rf.ActionCtx, vector: Vector, limit: int) -> Answer:
        """The chunks nearest to a vector."""
        ...

    async def like(self, ctx: rf.ActionCtx, chunk: rf.Id[Chunk], limit: int) -> Answer:
        """The chunks nearest to a chunk, which is not among them."""
        ...

    async def remember(self, ctx: rf.ActionCtx, search: rf.Id[Search], input: str, vector: Vector) -> None:
        """Makes a search one that can itself be searched for."""
        ...
