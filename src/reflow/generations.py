"""Generations of a vector index: which model made its vectors, and how one model takes another's place.

Vectors of two models can't be compared, so each model has a generation of its own, and every vector says whose it is:
an `Embedding` by its `model`; a bare array counts as made by a model without a name. A search reads one generation,
that of its own vector.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Literal, Protocol, Self, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from reflow.errors import InvalidValue
from reflow.owners import Owners
from reflow.schema import Index, Object, Table, VectorIndex, missing


class Model(Object, frozen=True):
    """What makes vectors comparable: two are when all of this is equal.

    `revision` changes whenever the same text would get another vector; `chunker` names how texts were cut, where a
    change of it asks for new vectors too.
    """

    embedder: str
    dims: int
    revision: str = ""
    normalized: bool = True
    chunker: str = ""

    def __str__(self) -> str:
        parts = (self.embedder or "a model without a name", self.revision and f"@{self.revision}", f" ({self.dims})")
        length = "" if self.normalized or not self.embedder else ", not normalized"
        return "".join(parts) + length + (f", chunks {self.chunker}" if self.chunker else "")


class Embedding(Object):
    """A vector together with its model; `data` are its float32 numbers, little-endian. It can be sent like any value.

    `Embedding.of(array, model)` makes one, `array` gives the numbers, shape (dims,).
    """

    data: bytes
    model: Model

    @classmethod
    def of(cls, vector: ArrayLike, model: Model) -> Self:
        """An embedding of an array of shape (dims,). Raises InvalidValue when the model makes other vectors."""
        try:
            with np.errstate(over="ignore"):  # what overflows becomes infinite, which no index takes
                array = np.asarray(vector, dtype="<f4")
        except (TypeError, ValueError, OverflowError) as error:
            raise InvalidValue(f"{model} makes vectors of {model.dims} numbers: {error}") from None
        if array.shape != (model.dims,):
            raise InvalidValue(f"{model} makes vectors of {model.dims} numbers, got the shape {array.shape}")
        return cls(data=array.tobytes(), model=model)

    @property
    def array(self) -> NDArray[np.float32]:
        """The numbers, shape (dims,). Raises InvalidValue for data of another length than the model's."""
        if len(self.data) != 4 * self.model.dims:
            raise InvalidValue(f"{self.model} makes vectors of {4 * self.model.dims} bytes, got {len(self.data)}")
        return np.frombuffer(self.data, dtype="<f4")


Embedded = ArrayLike | Embedding | Sequence[Embedding]
"""What goes into a vector index or asks it: an array, an embedding, or one embedding for each model in use."""

R = TypeVar("R")

GenerationState = Literal["active", "filling", "retired", "vacuuming"]
"""Searches use the active one. One that is filling is not complete; a retired one was active and still gets writes."""


class Generation(Table, table="_generations", system=True):
    """One model's vectors in one index; times are milliseconds since 1970.

    Rows of the table `_generations`: a query that reads them is live, so it shows progress. As of the last `put`,
    `filled` of `total` documents have theirs.
    """

    index: int
    name: str
    """Table and index, such as "chunks.meaning"."""
    number: int
    model: Model
    state: GenerationState
    filled: int = 0
    total: int = 0
    flipped: float | None = missing()
    """When it last became the active one."""

    by_index = Index("index", "number")


class GenerationsInside(Protocol):
    """What the engine's side offers in one transaction."""

    async def list(self, index: VectorIndex) -> list[Generation]: ...
    async def adopt(self, index: VectorIndex, model: Model) -> Generation: ...
    async def start(self, index: VectorIndex, model: Model) -> Generation: ...
    async def documents_lacking(self, index: VectorIndex, number: int, limit: int) -> list[Any]: ...
    async def put(self, index: VectorIndex, number: int, vectors: Iterable[tuple[Any, Embedding]]) -> int: ...
    async def flip(self, index: VectorIndex, number: int, now: float) -> None: ...
    async def vacuum(self, index: VectorIndex, number: int) -> bool: ...


class GenerationsRun(Protocol):
    """A run of a function, which knows what transaction a call belongs to."""

    def now(self, every: float | None) -> float: ...
    async def generations(
        self, work: Callable[[GenerationsInside], Awaitable[R]], owners: Owners, *, writes: bool = True
    ) -> R: ...


class Generations:
    """`ctx.generations`: the generations of vector indexes. In an action each call is a transaction of its own.

    Queries can list and see what is lacking. `reflow.rag.reembed` does the usual course of things: start, put, flip.
    """

    def __init__(self, run: GenerationsRun, owners: Owners = "caller") -> None:
        self._run = run
        self._owners: Owners = owners

    async def _inside(self, work: Callable[[GenerationsInside], Awaitable[R]], *, writes: bool = True) -> R:
        return await self._run.generations(work, self._owners, writes=writes)

    async def list(self, index: VectorIndex) -> list[Generation]:
        """The generations of an index, oldest first; none where its vectors never had a model with a name."""
        return await self._inside(lambda inside: inside.list(index), writes=False)

    async def adopt(self, index: VectorIndex, model: Model) -> Generation:
        """Says which model made the vectors that an index holds without a name. Raises GenerationMismatch."""
        return await self._inside(lambda inside: inside.adopt(index, model))

    async def start(self, index: VectorIndex, model: Model) -> Generation:
        """Begins to fill a generation for another model, of any dims; gives the one of that model if there is one.
        In an index without vectors the new one is active at once.

        From now on a document's vector is wanted for each model; one that is not given is what the generation lacks.
        """
        return await self._inside(lambda inside: inside.start(index, model))

    async def lacking(self, index: VectorIndex, number: int, *, limit: int = 1000) -> list[Any]:
        """Documents that can be found by the active generation and have no vector in this one."""
        return await self._inside(lambda inside: inside.documents_lacking(index, number, limit), writes=False)

    async def put(self, index: VectorIndex, number: int, vectors: Iterable[tuple[Any, Embedding]]) -> int:
        """Fills a generation with (document, its embedding) each, and writes down how far it is.

        A document that was changed or deleted after it was read is left out. Returns how many were put.
        """
        given = list(vectors)
        return await self._inside(lambda inside: inside.put(index, number, given))

    async def flip(self, index: VectorIndex, number: int) -> None:
        """Makes a generation the one that searches use, in one commit; flipping to the former one takes it back.

        Raises GenerationMismatch while documents lack their vector in it.
        """
        now = self._run.now(None) * 1000
        await self._inside(lambda inside: inside.flip(index, number, now))

    async def vacuum(self, index: VectorIndex, number: int) -> bool:
        """Removes a part of a generation that is not the active one; True while more is left: call again.

        From the first call on the generation can't be used any more.
        """
        return await self._inside(lambda inside: inside.vacuum(index, number))
