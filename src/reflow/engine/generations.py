"""Generations inside a transaction: whose vectors a search compares, where a write goes, how one takes over.

Which generations there are belongs to the read set of everything that depends on it, so a flip wakes the searches and
no transaction mixes two states. How far one is filled is read by those who ask for it only: filling wakes no search.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from reflow import values
from reflow.database import RangeRequest
from reflow.engine.documents import FIRST_GENERATION, IndexCodec, TableCodec
from reflow.engine.scan import Scan
from reflow.errors import DefinitionError, GenerationMismatch, InvalidValue, LimitExceeded
from reflow.generations import Embedded, Embedding, Generation, GenerationState, Model
from reflow.limits import DEFAULT
from reflow.schema import VectorIndex, spec_of
from reflow.search.metric import Place, Vector, checked

if TYPE_CHECKING:
    from reflow.engine.transaction import EngineTransaction

_STATES = 0
"""The point of read sets, among an index's sequence numbers, that stands for which generations it has."""


def unnamed(dims: int) -> Model:
    """The model of bare arrays."""
    return Model(embedder="", dims=dims, normalized=False)


def model_of(embedded: Embedded, dims: int) -> Model:
    """Whose a vector is."""
    return embedded.model if isinstance(embedded, Embedding) else unnamed(dims)


def _each(embedded: Embedded) -> list[Embedded]:
    """The vectors of one document or question: one for each model."""
    if isinstance(embedded, list | tuple) and embedded and isinstance(embedded[0], Embedding):
        given = list(cast("Sequence[object]", embedded))
        if not all(isinstance(one, Embedding) for one in given):
            raise InvalidValue("a list holds either the numbers of one vector or embeddings, not both")
        return cast("list[Embedded]", given)
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
        return await self._tx.scan(self._request(self._codecs(index)[1])).take(None)

    def _codecs(self, index: VectorIndex) -> tuple[TableCodec, IndexCodec]:
        """The table and codec of a vector index. Raises DefinitionError for another kind of index."""
        codec, found = self._tx.host.catalog.index(index)
        if found.index.kind != "vector":
            raise DefinitionError(f"{index!r} is no vector index, so it has no generations")
        return codec, found

    async def _rows(self, found: IndexCodec) -> list[Generation]:
        """Which generations there are, for what does not depend on how far they are filled."""
        self._tx.reads.points.add((found.number, _STATES))
        known = self._tx.generations.get(found.number)
        if known is None:
            known = []
            if found.number in self._tx.host.catalog.generational:
                known = await Scan(self._tx, self._tx.key_range(self._request(found)), recorded=False).take(None)
            self._tx.generations[found.number] = known
        return known

    def _changed(self, number: int) -> None:
        """Says that an index has other generations now, or in other states."""
        self._tx.generations.pop(number, None)
        self._tx.touched.add((number, _STATES))

    async def active(self, index: VectorIndex) -> tuple[Place, Model]:
        """The generation that searches use."""
        _, found = self._codecs(index)
        for row in await self._rows(found):
            if row.state == "active":
                return (found.number, row.number), row.model
        return (found.number, FIRST_GENERATION), unnamed(index.dims)

    # Searches and writes

    async def chosen(self, index: VectorIndex, embedded: Embedded) -> tuple[Place, Vector]:
        """Where a search looks and with which of its vectors: the active generation, else one that is still complete.

        An index that never had vectors answers every model. Raises GenerationMismatch when no complete generation is
        of a given one.
        """
        _, found = self._codecs(index)
        rows = await self._rows(found)
        given = _each(embedded)
        first = given[0]
        if not rows and isinstance(first, Embedding) and first.model.dims == index.dims and self._is_empty(found):
            return (found.number, FIRST_GENERATION), _numbers(index, first, first.model)
        complete = sorted((row for row in rows if row.state in ("active", "retired")), key=lambda row: row.state)
        models = [(row.number, row.model) for row in complete] or [(FIRST_GENERATION, unnamed(index.dims))]
        for number, model in models:
            for one in given:
                if self._is_of(one, model):
                    return (found.number, number), _numbers(index, one, model)
        raise GenerationMismatch(_mismatch(index, given, [model for _, model in models], "searched with"))

    async def spread(self, index: VectorIndex, embedded: Embedded) -> Mapping[Place, Vector | None]:
        """Where a document's new vector goes: into the generation of its model. The others lose theirs, which would
        be of another text, until they get their own. An index without vectors takes on the first model.

        Of several embeddings those of no generation are left out: it may have gone since they were made. Raises
        GenerationMismatch when that are all.
        """
        _, found = self._codecs(index)
        rows = [row for row in await self._rows(found) if row.state != "vacuuming"]
        given = _each(embedded)
        if not rows and isinstance(given[0], Embedding):
            if not self._is_empty(found):
                raise GenerationMismatch(_mismatch(index, given, [unnamed(index.dims)], "given"))
            rows = [await self.adopt(index, given[0].model)]
        if not rows:
            return {(found.number, FIRST_GENERATION): _numbers(index, embedded, unnamed(index.dims))}
        placed: dict[Place, Vector | None] = {}
        for row in rows:
            here = [one for one in given if self._is_of(one, row.model)]
            if len(here) > 1:
                raise InvalidValue(f"{index!r} was given {len(here)} vectors of {row.model} for one document")
            placed[found.number, row.number] = _numbers(index, here[0], row.model) if here else None
        if all(vector is None for vector in placed.values()):
            raise GenerationMismatch(_mismatch(index, given, [row.model for row in rows], "given"))
        return placed

    def _is_empty(self, found: IndexCodec) -> bool:
        """Whether an index without rows has no vectors."""
        place = (found.number, FIRST_GENERATION)
        self._tx.reads.whole.add(found.number)
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
        _check_model(model)
        codec, found = self._codecs(index)
        rows = await self._rows(found)
        same = next((row for row in rows if row.model == model and row.state != "vacuuming"), None)
        if same is not None:
            return same
        nameless = next((row for row in rows if row.model == unnamed(row.model.dims)), None)
        if rows and nameless is None:
            raise GenerationMismatch(
                f"{index!r} holds vectors of {' and '.join(str(row.model) for row in rows)}, so they can't be said to "
                f"be of {model}: start a generation for it"
            )
        dims = index.dims if nameless is None else nameless.model.dims
        if model.dims != dims:
            raise GenerationMismatch(f"{index!r} holds vectors of {dims} numbers, {model} makes others")
        if nameless is None:
            return await self._insert(codec, found, index, FIRST_GENERATION, model, "active")
        await self._patch(nameless, model=model)
        return await self._row(index, nameless.number)

    async def start(self, index: VectorIndex, model: Model) -> Generation:
        """Begins a generation for another model, to be filled; the one of that model when there is one already.

        An index without vectors has nothing to be filled with: the new generation is the active one at once.
        """
        self._tx.check_writable()
        _check_model(model)
        codec, found = self._codecs(index)
        rows = await self._rows(found)
        for row in rows:
            if row.model == model and row.state != "vacuuming":
                return row
        bound = self._tx.host.limits.generations
        if len(rows) >= bound:
            raise LimitExceeded(f"{index!r} has limits.generations = {bound} generations: vacuum one first")
        first = not rows and self._is_empty(found)
        if first and model.dims == index.dims:
            return await self.adopt(index, model)
        if not rows and not first:
            await self._insert(codec, found, index, FIRST_GENERATION, unnamed(index.dims), "active")
        # A number is given out once while the engine runs, whatever becomes of this transaction: its place exists from
        # now on, with the dims of this model.
        number = max(found.generations) + 1
        shape = self._tx.host.catalog.shape(codec, found)
        self._tx.host.vectors.create((found.number, number), model.dims, index.metric, shape)
        found.generations = (*found.generations, number)
        return await self._insert(codec, found, index, number, model, "active" if first else "filling")

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
        self._changed(found.number)
        return await self._row(index, number)

    async def _patch(self, row: Generation, **changes: Any) -> None:
        """Another state, or another name of the model."""
        with self._tx.as_system():
            await self._tx.patch(row.id, changes)
        self._changed(row.index)

    async def _row(self, index: VectorIndex, number: int) -> Generation:
        """One generation. Raises GenerationMismatch when there is none of this number."""
        rows = await self._rows(self._codecs(index)[1])
        for row in rows:
            if row.number == number:
                return row
        raise GenerationMismatch(f"{index!r} has no generation {number}; it has {[row.number for row in rows]}")

    async def _usable_row(self, index: VectorIndex, number: int) -> Generation:
        """The same. Raises GenerationMismatch also for one that is being removed."""
        row = await self._row(index, number)
        if row.state == "vacuuming":
            raise GenerationMismatch(f"generation {number} of {index!r} is being removed: start one for {row.model}")
        return row

    async def _lacking(self, index: VectorIndex, number: int) -> list[int]:
        """Sequence numbers of the documents that have a vector in the active generation and none in this one."""
        tx, (codec, found) = self._tx, self._codecs(index)
        row = await self._row(index, number)
        active, _ = await self.active(index)
        place = (row.index, number)
        tx.reads.whole.add(found.number)
        stored = await tx.wait(tx.host.vectors.lacking(active, place, tx.snapshot.ts))
        own = {seq for where, seq in tx.pending_vectors if where in (active, place)}
        own.update(seq for table, seq in tx.pending if table == codec.number)
        if not own:
            return stored
        lack = {seq for seq in own if self._has(codec, active, seq) and not self._has(codec, place, seq)}
        return sorted(lack.union(stored).difference(own - lack))

    def _has(self, codec: TableCodec, place: Place, seq: int) -> bool:
        """Whether a document has a vector in a place, own writes included."""
        write = self._tx.pending.get((codec.number, seq))
        return (write is None or write.raw is not None) and self._tx.vector_at(place, seq) is not None

    async def documents_lacking(self, index: VectorIndex, number: int, limit: int) -> list[Any]:
        """Documents that can be found by the active generation and have no vector in this one, at most `limit`."""
        codec, _ = self._codecs(index)
        seqs = (await self._lacking(index, number))[: max(0, limit)]
        self._tx.reads.points.update((codec.number, seq) for seq in seqs)
        stored = await self._tx.wait(self._tx.snapshot.get_many(codec.number, seqs))
        own = [self._tx.pending.get((codec.number, seq)) for seq in seqs]
        present = [raw if write is None else write.raw for raw, write in zip(stored, own, strict=True)]
        return [codec.decode(raw) for raw in present if raw is not None]

    async def put(self, index: VectorIndex, number: int, vectors: Iterable[tuple[Any, Embedding]]) -> int:
        """Fills a generation with (document as it was embedded, embedding) each. Returns how many were put.

        A document that has changed or gone since then is left out: its embedding would be of another text.
        """
        self._tx.check_writable()
        row = await self._usable_row(index, number)
        place = (row.index, number)
        stored = 0
        for before, embedding in vectors:
            if not self._is_of(embedding, row.model):
                raise GenerationMismatch(_mismatch(index, [embedding], [row.model], "filled with"))
            id = cast("str", cast("dict[str, Any]", before)["_id"] if isinstance(before, dict) else before.id)
            codec, found, seq = self._tx.locate_vector(index, id)
            document = (await self._tx.get([id]))[0]
            # Compared as they are stored, since NaN does not equal itself.
            if document is None or values.encode(document) != values.encode(cast("object", before)):
                continue
            self._tx.put_vector(found, codec, seq, place, _numbers(index, embedding, row.model), document)
            stored += 1
        await self._note(index, row)
        return stored

    async def _note(self, index: VectorIndex, row: Generation) -> None:
        """Writes down how many documents have their vector, for those who watch."""
        active, _ = await self.active(index)
        with self._tx.as_system():
            await self._tx.patch(row.id, {"filled": self._count((row.index, row.number)), "total": self._count(active)})

    def _count(self, place: Place) -> int:
        """The vectors of a place, with those that this transaction adds or removes."""
        tx, vectors, ts = self._tx, self._tx.host.vectors, self._tx.snapshot.ts
        own = [(seq, own.vector) for (where, seq), own in tx.pending_vectors.items() if where == place]
        more = sum((vector is not None) - (vectors.vector(place, seq, ts) is not None) for seq, vector in own)
        return vectors.count(place, ts) + more

    async def flip(self, index: VectorIndex, number: int, now: float) -> None:
        """Makes a generation the active one; the former stays, and gets what is written. `now` in milliseconds.

        Raises GenerationMismatch while documents lack their vector in it, or when it is being removed.
        """
        self._tx.check_writable()
        row = await self._usable_row(index, number)
        if row.state == "active":
            return
        lacking = await self._lacking(index, number)
        if lacking:
            raise GenerationMismatch(
                f"generation {number} of {index!r} lacks the vectors of {len(lacking)} documents: fill it first"
            )
        for other in await self._rows(self._codecs(index)[1]):
            if other.state == "active":
                await self._patch(other, state="retired")
        await self._patch(row, state="active", flipped=now)

    async def vacuum(self, index: VectorIndex, number: int) -> bool:
        """Removes some of a generation's vectors, at last the generation; True while there is more to do.

        From the first call on nobody can use it. Raises DefinitionError for the active one.
        """
        self._tx.check_writable()
        row = await self._row(index, number)
        if row.state == "active":
            raise DefinitionError(f"generation {number} of {index!r} is the one that searches use: flip to another")
        if row.state != "vacuuming":
            await self._patch(row, state="vacuuming")
            return True
        codec, found = self._codecs(index)
        place, limit = (row.index, number), self._tx.host.limits.vacuum_rows
        own = {seq for (where, seq), own in self._tx.pending_vectors.items() if where == place and own.vector is None}
        stored = await self._tx.wait(self._tx.snapshot.vectors(*place, limit=limit + len(own)))
        left = [seq for seq, _ in stored if seq not in own][:limit]
        for seq in left:
            self._tx.put_vector(found, codec, seq, place, None, None)
        if len(left) < limit:
            with self._tx.as_system():
                await self._tx.delete([row.id])
            self._changed(row.index)
        return len(left) == limit


def _check_model(model: Model) -> None:
    """Raises InvalidValue for what can't be the model of a generation."""
    if not model.embedder:
        raise InvalidValue('a model needs a name: without one, embedder="", it is that of bare arrays')
    if not 1 <= model.dims <= DEFAULT.vector_dims:
        raise InvalidValue(f"the dims of a model must be 1 to {DEFAULT.vector_dims}, got {model.dims}")


def _numbers(index: VectorIndex, embedded: Embedded, model: Model) -> Vector:
    array = embedded.array if isinstance(embedded, Embedding) else embedded
    return checked(cast(Any, array), model.dims, repr(index), index.metric)


def _mismatch(index: VectorIndex, given: Sequence[Embedded], models: Sequence[Model], verb: str) -> str:
    theirs = ", ".join(sorted({str(model_of(one, index.dims)) for one in given}))
    ours = " and ".join(map(str, models)) or "none"
    return (
        f"{index!r} was {verb} a vector of {theirs}, and its vectors in use are of {ours}: vectors of different models "
        "can't be compared. Embed with that model, say whose the vector is with rf.Embedding.of(array, model), or "
        "start a generation for the new model"
    )


async def forget_removed(tx: EngineTransaction) -> None:
    """Deletes the rows of indexes that are gone: their vectors went with them."""
    rows: list[Generation] = await tx.scan(RangeRequest(table=spec_of(Generation), equal={})).take(None)
    with tx.as_system():
        await tx.delete([row.id for row in rows if row.index not in tx.host.catalog.stored_indexes])
