"""Generations inside a transaction: whose vectors a search compares, where a write goes, how one takes over.

Which generations there are belongs to the read set of everything that depends on it, so a flip wakes the searches and
no transaction mixes two states.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from reflow.database import RangeRequest
from reflow.engine.documents import FIRST_GENERATION, IndexCodec, TableCodec
from reflow.errors import DefinitionError, GenerationMismatch, InvalidValue
from reflow.generations import Embedded, Embedding, Generation, GenerationState, Model
from reflow.schema import VectorIndex, spec_of
from reflow.search.metric import Place, Vector, checked

if TYPE_CHECKING:
    from reflow.engine.transaction import EngineTransaction


def unnamed(dims: int) -> Model:
    """The model of bare arrays."""
    return Model(embedder="", dims=dims, normalized=False)


def model_of(embedded: Embedded, dims: int) -> Model:
    """Whose a vector is."""
    return embedded.model if isinstance(embedded, Embedding) else unnamed(dims)


def _each(embedded: Embedded) -> list[Embedded]:
    """The vectors of one document or question: one for each model."""
    if isinstance(embedded, list | tuple) and embedded and isinstance(embedded[0], Embedding):
        return list(cast("Sequence[Embedding]", embedded))
    return [embedded]


class Generations:
    """The generations of vector indexes, as one transaction sees and changes them."""

    def __init__(self, tx: EngineTransaction) -> None:
        self._tx = tx

    # What there is

    def _request(self, found: IndexCodec) -> RangeRequest:
        return RangeRequest(table=spec_of(Generation), index=Generation.by_index, equal={"index": found.number})

    async def list(self, index: VectorIndex) -> list[Generation]:
        """The generations of an index, oldest first. One that was never named, and is alone, has no row."""
        return await self._rows(self._tx.host.catalog.index(index)[1])

    async def _rows(self, found: IndexCodec) -> list[Generation]:
        known = self._tx.generations.get(found.number)
        if known is None:
            request = self._request(found)
            if found.number in self._tx.host.catalog.generational:
                known = await self._tx.scan(request).take(None)
            else:
                # Nothing to find, yet a first row must be noticed.
                keys = self._tx.key_range(request)
                self._tx.reads.add_range(keys.index, keys.prefix, keys.lower, keys.upper)
                known = []
            self._tx.generations[found.number] = known
        return known

    async def active(self, index: VectorIndex) -> tuple[Place, Model]:
        """The generation that searches use."""
        _, found = self._tx.host.catalog.index(index)
        for row in await self._rows(found):
            if row.state == "active":
                return (found.number, row.number), row.model
        return (found.number, FIRST_GENERATION), unnamed(index.dims)

    # Searches and writes

    async def chosen(self, index: VectorIndex, embedded: Embedded) -> tuple[Place, Vector]:
        """Where a search looks and with which of its vectors: the active generation, else one that is still complete.

        Raises GenerationMismatch when no complete generation is of a given model.
        """
        _, found = self._tx.host.catalog.index(index)
        rows = await self._rows(found)
        given = _each(embedded)
        complete = sorted((row for row in rows if row.state in ("active", "retired")), key=lambda row: row.state)
        models = [(row.number, row.model) for row in complete] or [(FIRST_GENERATION, unnamed(index.dims))]
        for number, model in models:
            for one in given:
                if self._is_of(one, model):
                    return (found.number, number), _numbers(index, one, model)
        raise GenerationMismatch(_mismatch(index, given, [model for _, model in models], "searched with"))

    async def spread(self, index: VectorIndex, embedded: Embedded) -> Mapping[Place, Vector | None]:
        """Where a document's new vector goes: into the generation of its model. The others lose theirs, which would
        be of another text, until they get their own. An index without vectors takes on the model.

        Raises GenerationMismatch for a vector of a model that no generation is of.
        """
        _, found = self._tx.host.catalog.index(index)
        rows = [row for row in await self._rows(found) if row.state != "vacuuming"]
        given = _each(embedded)
        if not rows:
            model = model_of(given[0], index.dims)
            if isinstance(given[0], Embedding):
                if not self._is_empty((found.number, FIRST_GENERATION)):
                    raise GenerationMismatch(_mismatch(index, given, [unnamed(index.dims)], "given"))
                await self.adopt(index, model)
            return {(found.number, FIRST_GENERATION): _numbers(index, given[0], model)}
        placed: dict[Place, Vector | None] = {}
        used = 0
        for row in rows:
            here = next((one for one in given if self._is_of(one, row.model)), None)
            used += here is not None
            placed[found.number, row.number] = None if here is None else _numbers(index, here, row.model)
        if used < len(given):
            raise GenerationMismatch(_mismatch(index, given, [row.model for row in rows], "given"))
        return placed

    def _is_empty(self, place: Place) -> bool:
        self._tx.reads.whole.add(place[0])
        if any(where == place for where, _ in self._tx.pending_vectors):
            return False
        return not self._tx.host.vectors.count(place, self._tx.snapshot.ts)

    @staticmethod
    def _is_of(embedded: Embedded, model: Model) -> bool:
        if isinstance(embedded, Embedding):
            return embedded.model == model
        return not model.embedder

    async def places(self, found: IndexCodec) -> Sequence[Place]:
        """Every place where a document of this index may have a vector."""
        return [(found.number, row.number) for row in await self._rows(found)] or [(found.number, FIRST_GENERATION)]

    # Changes

    async def adopt(self, index: VectorIndex, model: Model) -> Generation:
        """Says which model made the vectors of an index that had no name for it. Raises GenerationMismatch."""
        self._tx.check_writable()
        codec, found = self._tx.host.catalog.index(index)
        rows = await self._rows(found)
        if rows:
            if rows[0].model == model:
                return rows[0]
            raise GenerationMismatch(
                f"{index!r} holds vectors of {rows[0].model}, so they can't be said to be of {model}: start a "
                "generation for it"
            )
        if model.dims != index.dims:
            raise GenerationMismatch(f"{index!r} holds vectors of {index.dims} numbers, {model} makes others")
        return await self._insert(codec, found, index, FIRST_GENERATION, model, "active")

    async def start(self, index: VectorIndex, model: Model) -> Generation:
        """Begins a generation for another model, to be filled; the one of that model when there is one already."""
        self._tx.check_writable()
        codec, found = self._tx.host.catalog.index(index)
        rows = await self._rows(found)
        for row in rows:
            if row.model == model and row.state != "vacuuming":
                return row
        if not rows:
            rows = [await self._insert(codec, found, index, FIRST_GENERATION, unnamed(index.dims), "active")]
        number = rows[-1].number + 1
        self._tx.host.vectors.create((found.number, number), model.dims, index.metric)
        found.generations = (*found.generations, number)
        return await self._insert(codec, found, index, number, model, "filling")

    async def _insert(
        self,
        codec: TableCodec,
        found: IndexCodec,
        index: VectorIndex,
        number: int,
        model: Model,
        state: GenerationState,
    ) -> Generation:
        place = (found.number, number)
        self._tx.host.catalog.generational.add(found.number)
        filled = self._tx.host.vectors.count(place, self._tx.snapshot.ts)
        row = Generation(
            index=found.number,
            name=f"{codec.name}.{index.name}",
            number=number,
            model=model,
            state=state,
            filled=filled,
            total=filled,
        )
        with self._tx.as_system():
            await self._tx.insert(spec_of(Generation), [row], [None])
        self._tx.generations.pop(found.number, None)
        return (await self._rows(found))[-1]

    async def _patch(self, row: Generation, **changes: Any) -> None:
        with self._tx.as_system():
            await self._tx.patch(row.id, changes)
        self._tx.generations.pop(row.index, None)

    async def row(self, index: VectorIndex, number: int) -> Generation:
        """One generation. Raises GenerationMismatch when there is none of this number."""
        rows = await self.list(index)
        for row in rows:
            if row.number == number:
                return row
        raise GenerationMismatch(f"{index!r} has no generation {number}; it has {[row.number for row in rows]}")

    async def lacking(self, index: VectorIndex, number: int) -> list[int]:
        """Sequence numbers of the documents that have a vector in the active generation and none in this one."""
        row = await self.row(index, number)
        active, _ = await self.active(index)
        place = (row.index, number)
        self._tx.reads.whole.add(row.index)
        return await self._tx.wait(self._tx.host.vectors.lacking(active, place, self._tx.snapshot.ts))

    async def documents_lacking(self, index: VectorIndex, number: int, limit: int) -> list[Any]:
        """The documents behind `lacking`, at most `limit`."""
        codec, _ = self._tx.host.catalog.index(index)
        seqs = (await self.lacking(index, number))[:limit]
        found = await self._tx.wait(self._tx.snapshot.get_many(codec.number, seqs))
        return [codec.decode(raw) for raw in found if raw is not None]

    async def put(self, index: VectorIndex, number: int, vectors: Iterable[tuple[Any, Embedding]]) -> int:
        """Fills a generation with (document as it was embedded, embedding) each. Returns how many were put.

        A document that has changed or gone since then is left out: its embedding would be of another text.
        """
        self._tx.check_writable()
        row = await self.row(index, number)
        codec, found = self._tx.host.catalog.index(index)
        place = (found.number, number)
        stored = 0
        for before, embedding in vectors:
            if embedding.model != row.model:
                raise GenerationMismatch(_mismatch(index, [embedding], [row.model], "filled with"))
            id = cast(str, before["_id"] if isinstance(before, dict) else before.id)
            document = (await self._tx.get([id]))[0]
            if document is None or document != before:
                continue
            _, seq = self._tx.host.catalog.locate(id)
            stored += self._tx.host.vectors.vector(place, seq, self._tx.snapshot.ts) is None
            self._tx.put_vector(found, codec, seq, place, _numbers(index, embedding, row.model), document)
        await self._note(index, row, stored)
        return stored

    async def _note(self, index: VectorIndex, row: Generation, stored: int) -> None:
        """Writes down how many documents have their vector, for those who watch."""
        count, ts = self._tx.host.vectors.count, self._tx.snapshot.ts
        active, _ = await self.active(index)
        await self._patch(row, filled=count((row.index, row.number), ts) + stored, total=count(active, ts))

    async def flip(self, index: VectorIndex, number: int, now: float) -> None:
        """Makes a generation the active one; the former stays, and gets what is written. `now` in milliseconds.

        Raises GenerationMismatch while documents lack their vector in it, or when it is being removed.
        """
        self._tx.check_writable()
        row = await self.row(index, number)
        if row.state == "active":
            return
        if row.state == "vacuuming":
            raise GenerationMismatch(f"generation {number} of {index!r} is being removed: start one for {row.model}")
        lacking = await self.lacking(index, number)
        if lacking:
            raise GenerationMismatch(
                f"generation {number} of {index!r} lacks the vectors of {len(lacking)} documents: fill it first"
            )
        for other in await self.list(index):
            if other.state == "active":
                await self._patch(other, state="retired")
        await self._patch(row, state="active", flipped=now)

    async def vacuum(self, index: VectorIndex, number: int) -> bool:
        """Removes some of a generation's vectors, at last the generation; True while there is more to do.

        From the first call on nobody can use it. Raises DefinitionError for the active one.
        """
        self._tx.check_writable()
        row = await self.row(index, number)
        if row.state == "active":
            raise DefinitionError(f"generation {number} of {index!r} is the one that searches use: flip to another")
        if row.state != "vacuuming":
            await self._patch(row, state="vacuuming")
            return True
        codec, found = self._tx.host.catalog.index(index)
        place, limit = (row.index, number), self._tx.host.limits.vacuum_rows
        stored = await self._tx.wait(self._tx.snapshot.vectors(*place, limit=limit))
        for seq, _ in stored:
            self._tx.put_vector(found, codec, seq, place, None, None)
        if len(stored) < limit:
            with self._tx.as_system():
                await self._tx.delete([row.id])
            self._tx.generations.pop(row.index, None)
        return len(stored) == limit


def _numbers(index: VectorIndex, embedded: Embedded, model: Model) -> Vector:
    array = embedded.array if isinstance(embedded, Embedding) else embedded
    if isinstance(array, list | tuple) and array and isinstance(array[0], Embedding):
        raise InvalidValue(f"{index!r} takes either bare arrays or embeddings, not both in one list")
    return checked(cast(Any, array), model.dims, repr(index), index.metric)


def _mismatch(index: VectorIndex, given: Sequence[Embedded], models: Sequence[Model], verb: str) -> str:
    theirs = ", ".join(sorted({str(model_of(one, index.dims)) for one in given}))
    ours = " and ".join(map(str, models)) or "none"
    return (
        f"{index!r} was {verb} a vector of {theirs}, and its vectors in use are of {ours}: vectors of different models "
        "can't be compared. Embed with that model, say whose the vector is with rf.Embedding.of(array, model), or "
        "start a generation for the new model"
    )


async def load(tx: EngineTransaction) -> list[Generation]:
    """All generations of all indexes."""
    rows: list[Generation] = await tx.scan(RangeRequest(table=spec_of(Generation), equal={})).take(None)
    return rows
