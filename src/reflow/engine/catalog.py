"""The catalog: which tables and indexes there are, under which numbers, and how a new schema is brought in."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import msgspec

from reflow import values
from reflow.engine.documents import FIRST_GENERATION, IndexCodec, TableCodec, parse_for, target_name
from reflow.engine.record_tables import INDEXES, RecordVectorsCodec, codec_type
from reflow.engine.vector_files import Loader, forget_file, named_files, shape_of
from reflow.errors import DefinitionError, InvalidId, InvalidValue, Misfit, NoVectorIndex, SchemaError
from reflow.generations import Generation
from reflow.ids import is_id, parse_id
from reflow.limits import Limits
from reflow.schema import Index, Table, TableSpec, VectorIndex, spec_of
from reflow.search.metric import Metric, Place
from reflow.search.vector import VectorStore
from reflow.storage.base import TOP, IndexWrite, Snapshot, Storage, TextWrite

META_KEY = "catalog"
FIRST_TABLE = 10_001
FIRST_INDEX = 1_000_001
_LAST_SEQUENCE = (1 << 63) - 1
_UNSETTLED = "unsettled"
"""The shape of a table whose documents were changed while no schema was enforced."""

Progress = Callable[[str, int], None]
"""Told a table's name and how many of its documents were looked at."""


class StoredIndex(msgspec.Struct):
    """An index as the storage has it."""

    number: int
    settings: dict[str, Any]


class StoredTable(msgspec.Struct):
    """A table as the storage has it; `shape` is a fingerprint of its document type."""

    number: int
    shape: str
    indexes: dict[str, StoredIndex]


class Stored(msgspec.Struct):
    """All numbers that were ever given out, and what they mean now."""

    tables: dict[str, StoredTable] = msgspec.field(default_factory=dict[str, StoredTable])
    next_table: int = FIRST_TABLE
    next_index: int = FIRST_INDEX


@dataclass(slots=True)
class Change:
    """What deploying a schema does to one table."""

    codec: TableCodec
    validate: bool
    create: bool
    build: list[IndexCodec]
    drop: list[tuple[int, str]]
    resized: list[tuple[str, int, int]]
    """Vector indexes whose dims changed: name, former number, former dims."""
    unsettled: bool
    """Whether documents were changed while no schema was enforced."""


class Catalog:
    """The tables of a running app by name and by number."""

    def __init__(self, specs: Iterable[TableSpec], limits: Limits) -> None:
        self.specs: dict[str, TableSpec] = {}
        for spec in specs:
            if self.specs.setdefault(spec.name, spec) is not spec:
                raise DefinitionError(f"table {spec.name!r} is defined twice")
        self.owned = any(spec.owner is not None and spec.name[0] != "_" for spec in self.specs.values())
        """Whether rows of the app's tables have owners."""
        self._classes = {spec.document.__name__: spec.name for spec in self.specs.values() if spec.document is not None}
        self._limits = limits
        self.tables: dict[str, TableCodec] = {}
        self.numbers: dict[int, TableCodec] = {}
        self._names: dict[int, str] = {}
        self.generational: set[int] = set()
        """Numbers of the vector indexes whose generations have rows, or may have."""
        self.stored_indexes: frozenset[int] = frozenset()
        """Numbers of all indexes that the storage has, also of tables that this app does not use."""
        self._defined: dict[str, TableCodec] = {}
        self.created: frozenset[str] = frozenset()
        """The tables that the last deploy has made."""

    # Look-ups

    def codec(self, spec: TableSpec) -> TableCodec:
        """The table of a spec. Raises DefinitionError when the app does not have it."""
        codec = self.tables.get(spec.name)
        if codec is None or codec.spec is not spec:
            raise DefinitionError(
                f"table {spec.name!r} is not part of this app: give App a module or tables that use it"
            )
        return codec

    def index(self, index: Index) -> tuple[TableCodec, IndexCodec]:
        """The table and codec of an index object."""
        table = getattr(index.table, "table_spec", None)
        if not isinstance(table, TableSpec):
            raise NoVectorIndex(f"{index!r} belongs to no table: define it inside a table class")
        codec = self.codec(table)
        return codec, codec.by_name[index.name]

    def locate(self, text: str) -> tuple[TableCodec, int]:
        """The table and sequence number of a document id. Raises InvalidId."""
        parsed = parse_id(text)
        codec = self.numbers.get(parsed.table)
        if codec is None or parsed.seq > _LAST_SEQUENCE:
            raise InvalidId(f"{text!r} is an id of no table of this app")
        return codec, parsed.seq

    def check_id(self, target: object, text: str) -> None:
        """Refuses a text that is no id of the target of an `Id[...]` annotation. Raises InvalidId."""
        name = target_name(target, self._classes)
        if name is None:
            parse_id(text)
            return
        codec = self.tables.get(name)
        if codec is None:
            raise InvalidId(f"Id[{name!r}] names no table of this app")
        parse_for(name, codec.number, text, self._names)

    def normalize(self, spec: TableSpec, text: str) -> str | None:
        """`text` when it is an id of the table, else None."""
        if not is_id(text):
            return None
        return text if parse_id(text).table == self.codec(spec).number else None

    # Deploying

    async def deploy(self, storage: Storage, progress: Progress | None = None, *, raw: bool = False) -> bool:
        """Makes the storage fit this schema, in its open group; returns whether anything was written.

        Documents are looked at only where a table's shape changed. Raises SchemaError, naming the first document that
        does not fit; the caller then rolls back. `raw`: an application's tables stay as they are stored, and are known
        as collections without indexes.
        """
        meta = await storage.read_meta()
        stored = msgspec.json.decode(meta[META_KEY], type=Stored) if META_KEY in meta else Stored()
        generations = await stored_rows(storage, Generation, self._limits, stored)
        specs = [spec for spec in self.specs.values() if not raw or spec.name[0] == "_"]
        changes = [self._plan(spec, stored, generations) for spec in specs]
        self.created = frozenset(change.codec.name for change in changes if change.create)
        self.stored_indexes = frozenset(i.number for table in stored.tables.values() for i in table.indexes.values())
        for change in changes:
            self.tables[change.codec.name] = change.codec
            self.numbers[change.codec.number] = change.codec
        if raw:
            self._know_raw(stored)
        self._names = {table.number: name for name, table in stored.tables.items()}
        encoded = msgspec.json.encode(stored, order="sorted")
        if encoded == meta.get(META_KEY):
            return False
        for change in changes:
            await self._check_dims(change, generations, await storage.head())
            await self._carry_out(change, storage, progress)
        await storage.write_meta(META_KEY, encoded)
        return True

    def _know_raw(self, stored: Stored) -> None:
        for name, table in stored.tables.items():
            if name[0] != "_":
                spec = TableSpec(name, None, {}, frozenset(), {})
                self.tables[name] = self.numbers[table.number] = TableCodec(spec, table.number, {}, self._limits)

    def defined(self, spec: TableSpec, number: int) -> TableCodec:
        """A table as the application defines it, to check documents with while they are known as dicts."""
        codec = self._defined.get(spec.name)
        if codec is None:
            codec = TableCodec(spec, number, {index.name: 0 for index in spec.all_indexes}, self._limits)
            self._defined[spec.name] = codec
        return codec

    async def unsettle(self, storage: Storage, spec: TableSpec) -> None:
        """Notes, in the storage's open group, that documents of a table are changed while no schema is enforced.

        So whatever is deployed next looks at all of them, and at nothing that was made of them before.
        """
        meta = await storage.read_meta()
        stored = msgspec.json.decode(meta[META_KEY], type=Stored)
        table = stored.tables.get(spec.name)
        if table is None or table.shape == _UNSETTLED:
            return
        table.shape = _UNSETTLED
        await storage.write_meta(META_KEY, msgspec.json.encode(stored, order="sorted"))
        numbers = {index.number for index in table.indexes.values()}
        for index, generation in named_files(meta):
            if index in numbers:
                await forget_file(storage, (index, generation))

    def _plan(self, spec: TableSpec, stored: Stored, generations: Sequence[Generation]) -> Change:
        shape = fingerprint(spec)
        table = stored.tables.get(spec.name)
        create = table is None
        if table is None:
            table = StoredTable(stored.next_table, shape, {})
            stored.tables[spec.name] = table
            stored.next_table += 1
        reshaped, unsettled = table.shape != shape, table.shape == _UNSETTLED
        table.shape = shape
        drop: list[tuple[int, str]] = []
        resized: list[tuple[str, int, int]] = []
        fresh: set[str] = set()
        wanted = {index.name: index for index in spec.all_indexes}
        for name in list(table.indexes):
            index = wanted.get(name)
            old = table.indexes[name]
            if isinstance(index, VectorIndex) and any(_has_dims(row, old, index) for row in generations):
                old.settings = index.settings
            if index is None or index.settings != old.settings or (reshaped and index.kind != "vector"):
                drop.append((old.number, old.settings["kind"]))
                if index is not None and old.settings["kind"] == index.kind == "vector":
                    resized.append((name, old.number, old.settings["dims"]))
                del table.indexes[name]
        for name, index in wanted.items():
            if name not in table.indexes:
                table.indexes[name] = StoredIndex(stored.next_index, index.settings)
                stored.next_index += 1
                fresh.add(name)
        numbers = {name: i.number for name, i in table.indexes.items()}
        codec = codec_type(spec)(spec, table.number, numbers, self._limits)
        build = [codec.by_name[name] for name in fresh]
        return Change(codec, reshaped and not create, create, build, drop, resized, unsettled)

    async def _carry_out(self, change: Change, storage: Storage, progress: Progress | None) -> None:
        codec = change.codec
        if change.create:
            await storage.create_table(codec.number)
        for number, kind in change.drop:
            await storage.drop_index(number, codec.number, kind)
        for index in change.build:
            await storage.create_index(index.number, codec.number, index.index.kind)
        built = [index for index in change.build if index.index.kind != "vector"]
        if change.create or not (change.validate or built):
            return
        seen = 0
        head = await storage.head()
        async for page in pages(head, codec.number, self._limits.scan_page):
            rows = [_index_rows(codec, built, seq, self._fitting(codec, value)) for seq, value in page]
            if built:
                await storage.put_index_rows(codec.number, rows)
            seen += len(page)
            if progress is not None:
                progress(codec.name, seen)
        ts = head.ts
        await head.close()
        if change.unsettled:  # what documents were before does not fit
            while await storage.prune(undo_before=ts, requests_before=0):
                continue

    async def _check_dims(self, change: Change, generations: Sequence[Generation], head: Snapshot) -> None:
        """Vectors of other dimensions are worth too much to be dropped by the way."""
        for name, number, dims in change.resized:
            places = [row.number for row in generations if row.index == number] or [FIRST_GENERATION]
            if any([await head.vectors(number, place, limit=1) for place in places]):
                raise SchemaError(
                    f"vector index {change.codec.name}.{name} holds vectors of {dims} numbers and is now defined with "
                    "other dims. Nothing was changed. Fill a generation with the new vectors and flip to it, then the "
                    "definition can follow; or define an index of another name for them: the old ones go when their "
                    "index is removed from the table"
                )

    def _fitting(self, codec: TableCodec, value: bytes) -> Any:
        try:
            return codec.verify(value)
        except InvalidValue as error:
            found = msgspec.json.decode(value).get("_id")
            raise Misfit(
                f"the schema does not fit what is stored: document {found} of table {codec.name!r}: {error}. "
                "Nothing was changed.",
                codec.name,
            ) from None

    def shape(self, codec: TableCodec, index: IndexCodec) -> str:
        """Stands for how the metadata of a vector index are made of documents; every place is created with it."""
        return shape_of(index, fingerprint(codec.spec))

    async def load_vectors(self, snapshot: Snapshot, store: VectorStore) -> None:
        """Brings the stored vectors into memory."""
        for codec in self.tables.values():
            for index in codec.vectors:
                for place, dims, metric in await self._places(snapshot, index):
                    store.create(place, dims, metric, self.shape(codec, index))
                    await Loader(snapshot, store, codec, index, self._limits.load_page).load(place, dims)

    async def _places(self, snapshot: Snapshot, index: IndexCodec) -> list[tuple[Place, int, Metric]]:
        """The sets of vectors under an index, each with its dims (0: sparse vectors only) and metric."""
        if isinstance(index, RecordVectorsCodec):
            rows = pages(snapshot, self.codec(INDEXES).number, self._limits.scan_page)
            found = [self.codec(INDEXES).decode(raw) async for page in rows for _, raw in page]
            return [((index.number, row.number), row.dims, row.metric) for row in found]
        assert isinstance(index.index, VectorIndex)
        table = index.index
        rows = [row for row in await self._generations(snapshot) if row.index == index.number]
        if not rows:
            return [((index.number, FIRST_GENERATION), table.dims, table.metric)]
        index.generations = tuple(row.number for row in rows)
        self.generational.add(index.number)
        return [((index.number, row.number), row.model.dims, table.metric) for row in rows]

    async def _generations(self, snapshot: Snapshot) -> list[Generation]:
        codec = self.codec(spec_of(Generation))
        rows = pages(snapshot, codec.number, self._limits.scan_page)
        return [codec.decode(raw) async for page in rows for _, raw in page]


R = TypeVar("R", bound=Table)


async def stored_rows(storage: Storage, table: type[R], limits: Limits, stored: Stored | None = None) -> list[R]:
    """The rows of a system table, before any table is known."""
    if stored is None:
        meta = await storage.read_meta()
        stored = msgspec.json.decode(meta[META_KEY], type=Stored) if META_KEY in meta else Stored()
    known = stored.tables.get(spec_of(table).name)
    if known is None:
        return []
    decode = values.decoder_for(table, trusted=True)
    head = await storage.head()
    rows = [decode(raw) async for page in pages(head, known.number, limits.scan_page) for _, raw in page]
    await head.close()
    return rows


def _has_dims(row: Generation, stored: StoredIndex, index: VectorIndex) -> bool:
    """Whether a row says that the vectors in use of a stored index have the dims of a definition."""
    return row.index == stored.number and row.state == "active" and row.model.dims == index.dims


async def pages(snapshot: Snapshot, table: int, size: int) -> AsyncGenerator[list[tuple[int, bytes]], None]:
    """The documents of a table as lists of (sequence number, bytes)."""
    lower = b""
    while rows := await snapshot.scan(table, table, lower, TOP, limit=size):
        yield [(row.seq, row.value) for row in rows]
        lower = rows[-1].key + b"\x00"


def _index_rows(
    codec: TableCodec, indexes: Sequence[IndexCodec], seq: int, document: Any
) -> tuple[int, list[IndexWrite], list[TextWrite]]:
    tail = seq.to_bytes(8, "big")
    ranges = [
        IndexWrite(index.number, None, index.key(document, tail).full)
        for index in indexes
        if index.index.kind == "range"
    ]
    texts = [
        TextWrite(i.number, (entry := i.text(document)) and entry.tokens) for i in indexes if i.index.kind == "text"
    ]
    return seq, ranges, texts


def fingerprint(spec: TableSpec) -> str:
    """Changes whenever stored documents might no longer fit, or would be seen differently: fields, types, defaults."""
    if spec.document is None:
        return "any"
    schema = _undescribed(msgspec.json.schema(spec.document, schema_hook=lambda custom: {"type": custom.__name__}))
    defaults = {
        name: repr(default()) if callable(default) else repr(default)
        for name, default in zip(
            reversed(spec.document.__struct_fields__), reversed(_defaults(spec.document)), strict=False
        )
    }
    text = msgspec.json.encode([schema, sorted(defaults.items()), sorted(spec.absent)], order="sorted")
    return hashlib.sha256(text).hexdigest()[:32]


def _undescribed(schema: Any) -> Any:
    """A JSON schema without its descriptions: a docstring concerns no document."""
    if isinstance(schema, dict):
        parts = cast("dict[str, Any]", schema).items()
        return {name: _undescribed(part) for name, part in parts if name != "description" or not isinstance(part, str)}
    return [_undescribed(part) for part in cast("list[Any]", schema)] if isinstance(schema, list) else schema


def _defaults(document: Any) -> list[Any]:
    """Defaults as msgspec keeps them; a factory is called for its value."""
    return [getattr(default, "factory", default) for default in document.__struct_defaults__]
