"""Rows as one caller sees them: a transaction in which those of other owners do not exist.

This stands between a function's context and its transaction. A context has its own for its whole life, so a nested
function that sees all owners leaves nothing behind that would have to be switched back. Every document is looked at
before it is handed out, and before any of the function's own code (a filter) sees it; that indexes are narrowed to the
owner besides only makes it fast.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from msgspec.structs import replace
from numpy import float32
from numpy.typing import NDArray

from reflow.auth import Identity
from reflow.database import RangeRequest, Scan, Transaction, Vectors
from reflow.engine.documents import TableCodec, document_id
from reflow.engine.generations import Generations
from reflow.engine.pagination import Allowance
from reflow.engine.transaction import EngineTransaction, missing_document
from reflow.errors import DocumentNotFound, NotTheOwner
from reflow.generations import Embedded, Embedding, Generation, GenerationsInside, Model
from reflow.hits import Conditions, Explanation, Hit, HybridHit, HybridRequest
from reflow.owners import Owner, Owners
from reflow.pages import Page, PaginationOptions
from reflow.schema import Index, TableSpec, TextIndex, VectorIndex
from reflow.storage.base import TOP

Caller = Callable[[], Identity | None]
"""Tells who calls; a shared query then learns that its result is not for everybody."""

_NOBODYS_PAGES = bytes(8)
"""The mark of the cursors of pages without anything: no other query takes them."""


class NoRows:
    """A range in which there is nothing for this caller."""

    async def take(self, count: int | None) -> list[Any]:
        """Nothing."""
        return []


class OwnedTransaction:
    """A `reflow.database.Transaction` in which a caller sees and writes only rows of their own, and unowned tables.

    Of reflow's own tables, which tell of everybody's work, it shows only rows with an owner.
    """

    def __init__(self, tx: EngineTransaction, caller: Caller) -> None:
        self._tx = tx
        self._caller = caller

    # Whose a row is

    def _reads(self, codec: TableCodec) -> Callable[[Any], bool]:
        """Tells which documents of a table the caller may see."""
        rule, owner_of = codec.spec.owner, codec.owner_of
        if rule is None or owner_of is None:
            return _nothing if _is_guarded(codec.spec) else _everything
        owner = rule.of(self._caller())
        if owner is None:
            return _nothing
        return lambda document: owner_of(document) == owner

    def _writes(self, spec: TableSpec, rule: Owner) -> str:
        """Who the caller is to a table. Raises AuthenticationRequired."""
        return rule.required(self._caller(), f"a document of table {spec.name!r}")

    async def _has(self, codec: TableCodec, seq: int, id: str) -> bool:
        """Whether there is a document with this very id that the caller may see."""
        tx = self._tx
        tx.check_open()
        sees = self._reads(codec)
        tx.reads.points.add((codec.number, seq))
        write = tx.pending.get((codec.number, seq))
        raw = write.raw if write is not None else await tx.wait(tx.snapshot.get(codec.number, seq))
        return raw is not None and document_id(raw) == id and sees(codec.decode(raw))

    # Reading

    async def get(self, ids: Sequence[str]) -> list[Any]:
        """Documents by id, None for each that is not there or another owner's."""
        self._tx.check_open()
        codecs = [self._tx.host.catalog.locate(id)[0] for id in ids]
        sees = {codec.number: self._reads(codec) for codec in codecs}
        documents = await self._tx.get(ids)
        return [
            document if document is not None and sees[codec.number](document) else None
            for codec, document in zip(codecs, documents, strict=True)
        ]

    def _range(self, request: RangeRequest) -> RangeRequest | None:
        """A range without what is other owners'; None where nothing is left."""
        rule = request.table.owner
        if rule is None:
            return None if _is_guarded(request.table) else request
        owner = rule.of(self._caller())
        if owner is None or request.equal.get(rule.field, owner) != owner:
            return None
        index = request.index or _index_by_owner(request.table, rule)
        bare = not request.equal and request.lower is None and request.upper is None
        if index is not None and index.fields[0] == rule.field and bare:
            request = replace(request, index=index, equal={rule.field: owner})
        return replace(request, own=self._reads(self._tx.host.catalog.codec(request.table)))

    def scan(self, request: RangeRequest) -> Scan:
        """Starts reading a range."""
        self._tx.check_open()
        wanted = self._range(request)
        return NoRows() if wanted is None else self._tx.scan(wanted)

    async def count(self, request: RangeRequest) -> int:
        """The number of the caller's documents in a range; an index that starts with the owner saves reading them."""
        self._tx.check_open()
        wanted = self._range(request)
        if wanted is None:
            return 0
        rule = request.table.owner
        exact = rule is not None and rule.field in wanted.equal and wanted.filter is None
        return await self._tx.count(replace(wanted, own=None) if exact else wanted)

    async def paginate(self, request: RangeRequest, options: PaginationOptions) -> Page[Any]:
        """One page of the caller's documents."""
        self._tx.check_open()
        wanted = self._range(request)
        return self._no_page(options) if wanted is None else await self._tx.paginate(wanted, options)

    def _no_page(self, options: PaginationOptions) -> Page[Any]:
        return Allowance(self._tx, options).page([], _NOBODYS_PAGES, TOP)

    async def vector(self, index: VectorIndex, id: str) -> NDArray[float32] | None:
        """A document's vector; None for a document that the caller may not see."""
        codec, _, seq = self._tx.locate_vector(index, id)
        if _is_guarded(codec.spec) and not await self._has(codec, seq, id):
            return None
        return await self._tx.vector(index, id)

    def normalize_id(self, spec: TableSpec, text: str) -> str | None:
        """`text` when it is an id of the table."""
        return self._tx.normalize_id(spec, text)

    # Searching

    def _search(self, index: Index, conditions: Conditions) -> tuple[Conditions | None, Callable[[Any], bool]]:
        """Conditions that only the caller's documents satisfy, None where there are none; and which documents are."""
        self._tx.check_open()
        codec, _ = self._tx.host.catalog.index(index)
        rule = codec.spec.owner
        if rule is None and not _is_guarded(codec.spec):
            return conditions, _everything
        owner = None if rule is None else rule.of(self._caller())
        if rule is None or owner is None:
            return None, _nothing
        return replace(conditions, owner=(rule.field, owner)), self._reads(codec)

    async def nearest(
        self,
        index: VectorIndex,
        vector: Embedded,
        limit: int,
        conditions: Conditions,
        *,
        approximate: bool = False,
    ) -> list[Hit[Any]]:
        """The most similar of the caller's documents."""
        wanted, sees = self._search(index, conditions)
        if wanted is None:
            return []
        hits = await self._tx.nearest(index, vector, limit, wanted, approximate=approximate)
        return [hit for hit in hits if sees(hit.doc)]

    async def search_text(self, index: TextIndex, text: str, limit: int, conditions: Conditions) -> list[Hit[Any]]:
        """The best of the caller's documents for words."""
        wanted, sees = self._search(index, conditions)
        if wanted is None:
            return []
        return [hit for hit in await self._tx.search_text(index, text, limit, wanted) if sees(hit.doc)]

    async def search_page(
        self, index: TextIndex, text: str, options: PaginationOptions, conditions: Conditions
    ) -> Page[Hit[Any]]:
        """One page of the same."""
        wanted, sees = self._search(index, conditions)
        if wanted is None:
            return self._no_page(options)
        page = await self._tx.search_page(index, text, options, wanted)
        return page.with_items([hit for hit in page.page if sees(hit.doc)])

    async def hybrid(
        self, indexes: tuple[VectorIndex, TextIndex], vector: Embedded, text: str, request: HybridRequest
    ) -> list[HybridHit[Any]]:
        """The best of the caller's documents by both."""
        wanted, sees = self._search(indexes[0], request.conditions)
        if wanted is None:
            return []
        hits = await self._tx.hybrid(indexes, vector, text, replace(request, conditions=wanted))
        return [hit for hit in hits if sees(hit.doc)]

    async def explain(
        self, indexes: tuple[VectorIndex, TextIndex], vector: Embedded, text: str, request: HybridRequest
    ) -> Explanation[Any]:
        """The same with reasons; what was left out is the caller's too."""
        wanted, sees = self._search(indexes[0], request.conditions)
        if wanted is None:
            return Explanation(hits=[], left_out=[])
        found = await self._tx.explain(indexes, vector, text, replace(request, conditions=wanted))
        return Explanation(
            hits=[hit for hit in found.hits if sees(hit.doc)],
            left_out=[one for one in found.left_out if sees(one.doc)],
        )

    # Writing

    async def insert(self, spec: TableSpec, documents: Sequence[Any], vectors: Sequence[Vectors | None]) -> list[str]:
        """Buffers new documents, which are the caller's. Raises NotTheOwner for those said to be another's."""
        self._tx.check_writable()
        if spec.owner is not None:
            owner = self._writes(spec, spec.owner)
            documents = [_given_to(spec, spec.owner, owner, document) for document in documents]
        return await self._tx.insert(spec, documents, vectors)

    async def _existing(self, id: str, verb: str) -> TableSpec:
        """The table of a document that the caller may see. Raises DocumentNotFound, as for one that is not there."""
        self._tx.check_writable()
        codec, seq = self._tx.host.catalog.locate(id)
        if _is_guarded(codec.spec):
            if codec.spec.owner is not None and codec.name[0] != "_":
                self._writes(codec.spec, codec.spec.owner)
            if not await self._has(codec, seq, id):
                raise missing_document(codec, id, verb)
        return codec.spec

    async def patch(self, id: str, changes: Mapping[str, Any]) -> None:
        """Buffers changed fields of a document of the caller's, which it stays."""
        spec = await self._existing(id, "patch")
        if spec.owner is not None and spec.owner.field in changes:
            _check_same(spec, spec.owner, self._writes(spec, spec.owner), changes[spec.owner.field])
        await self._tx.patch(id, changes)

    async def replace(self, id: str, document: Any) -> None:
        """Buffers another document of the caller's under the same id."""
        spec = await self._existing(id, "replace")
        if spec.owner is not None:
            document = _given_to(spec, spec.owner, self._writes(spec, spec.owner), document)
        await self._tx.replace(id, document)

    async def delete(self, ids: Sequence[str]) -> None:
        """Buffers the removal of documents of the caller's."""
        for id in ids:
            await self._existing(id, "delete")
            await self._tx.delete((id,))

    async def set_vector(self, index: VectorIndex, id: str, vector: Embedded | None) -> None:
        """Buffers the vector of a document of the caller's; None removes it, where there is one."""
        self._tx.check_writable()
        codec, _, seq = self._tx.locate_vector(index, id)
        if codec.spec.owner is not None:
            self._writes(codec.spec, codec.spec.owner)
        if _is_guarded(codec.spec) and not await self._has(codec, seq, id):
            if vector is None:
                return
            raise missing_document(codec, id, "set the vector of")
        await self._tx.set_vector(index, id, vector)


class OwnedGenerations:
    """The generations of vector indexes, for a function that works with its caller's rows only.

    A generation is filled with everybody's rows: of an owned table's index only the list is for all to see.
    """

    def __init__(self, generations: Generations, tx: EngineTransaction) -> None:
        self._generations = generations
        self._tx = tx

    def _checked(self, index: VectorIndex) -> Generations:
        codec, _ = self._tx.host.catalog.index(index)
        if codec.spec.owner is not None:
            raise NotTheOwner(
                f"a generation of {index!r} is made of the rows of all owners: work on it in an internal function with "
                'owners="all"'
            )
        return self._generations

    async def list(self, index: VectorIndex) -> list[Generation]:
        """The generations of an index."""
        return await self._generations.list(index)

    async def adopt(self, index: VectorIndex, model: Model) -> Generation:
        """Says which model made the vectors."""
        return await self._checked(index).adopt(index, model)

    async def start(self, index: VectorIndex, model: Model) -> Generation:
        """Begins a generation."""
        return await self._checked(index).start(index, model)

    async def documents_lacking(self, index: VectorIndex, number: int, limit: int) -> list[Any]:
        """Documents without a vector in a generation."""
        return await self._checked(index).documents_lacking(index, number, limit)

    async def put(self, index: VectorIndex, number: int, vectors: Iterable[tuple[Any, Embedding]]) -> int:
        """Fills a generation."""
        return await self._checked(index).put(index, number, vectors)

    async def flip(self, index: VectorIndex, number: int, now: float) -> None:
        """Makes a generation the active one."""
        await self._checked(index).flip(index, number, now)

    async def vacuum(self, index: VectorIndex, number: int) -> bool:
        """Removes some of a generation."""
        return await self._checked(index).vacuum(index, number)


def own_generations(tx: EngineTransaction, owners: Owners) -> GenerationsInside:
    """The generations for a function that works with the rows of these owners."""
    return Generations(tx) if owners == "all" else OwnedGenerations(Generations(tx), tx)


async def check_scheduled(seen: Transaction, id: str) -> None:
    """Raises DocumentNotFound for a scheduled function that the caller may not see."""
    if isinstance(seen, OwnedTransaction) and (await seen.get((id,)))[0] is None:
        raise DocumentNotFound(f"{id!r} is no scheduled function")


def _is_guarded(spec: TableSpec) -> bool:
    return spec.owner is not None or spec.name[0] == "_"


def _everything(_document: Any) -> bool:
    return True


def _nothing(_document: Any) -> bool:
    return False


def _index_by_owner(spec: TableSpec, rule: Owner) -> Index | None:
    """The index that has each owner's documents in order of creation."""
    return next((index for index in spec.indexes.values() if index.fields == (rule.field,)), None)


def _check_same(spec: TableSpec, rule: Owner, owner: str, given: object) -> None:
    if given != owner:
        raise NotTheOwner(
            f"{spec.name}.{rule.field} is the caller, and can't be set to {given!r:.100}: leave it out. Only an "
            'internal function with owners="all" writes for others'
        )


def _given_to(spec: TableSpec, rule: Owner, owner: str, document: Any) -> Any:
    """A document with its owner filled in. Raises NotTheOwner where it names another."""
    kind = type(cast(object, document))
    fits = issubclass(kind, Mapping) if spec.document is None else kind is spec.document
    if not fits:
        return document  # refused where documents are encoded
    given = document.get(rule.field) if spec.document is None else getattr(document, rule.field)
    if given is not None and given != "":
        _check_same(spec, rule, owner, given)
    elif spec.document is None:
        return {**document, rule.field: owner}
    else:
        setattr(document, rule.field, owner)
    return document
