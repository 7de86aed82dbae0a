"""Documents between their typed form and the bytes that a storage keeps: encoding, checks, index keys."""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from functools import partial
from operator import attrgetter
from typing import Annotated, Any, NamedTuple, Union, cast, get_args, get_origin, get_type_hints

import msgspec
from msgspec import UNSET

from reflow import values
from reflow.errors import InvalidId, InvalidValue
from reflow.ids import parse_id
from reflow.keys import MISSING, encode_part
from reflow.limits import Limits
from reflow.owners import Owner
from reflow.schema import CREATED_FIELD, ID_FIELD, IdOf, Index, TableSpec, TextIndex, VectorIndex, measured_field
from reflow.search.metric import Place
from reflow.search.sparse import Sparse
from reflow.search.standing_text import TextEntry
from reflow.storage.base import sequence_key

FIRST_GENERATION = 1
"""The generation of vectors that an index starts with."""

IdCheck = Callable[[object, str], None]
"""Called with the target of an `Id[...]` annotation and the text found there; raises InvalidId."""

IdWalk = Callable[[Any, IdCheck], None]


class Key(msgspec.Struct, frozen=True, gc=False):
    """A document's key in a range index. `ends` are the lengths of its prefixes: no field, one field, and so on."""

    full: bytes
    ends: tuple[int, ...]


def same_metadata(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether filters see no difference: 1 and 1.0 are one number, 1 and True are two values."""
    if one != other:
        return False
    return all((type(value) is bool) is (type(other[name]) is bool) for name, value in one.items())


class VectorEntry(NamedTuple):
    """What a vector index keeps of a document beside its dense vector."""

    space: int
    sparse: Sparse | None
    metadata: dict[str, Any]

    def same(self, other: VectorEntry) -> bool:
        """Whether no search could tell them apart."""
        return (
            self.space == other.space and self.sparse == other.sparse and same_metadata(self.metadata, other.metadata)
        )


class IndexCodec:
    """One index of a table, ready to compute keys and parts from playground.

    A subclass may decide by each document where its vector belongs (its place never changes) and what goes with it.
    """

    def __init__(self, index: Index, number: int, spec: TableSpec) -> None:
        self.index = index
        self.number = number
        self.name = index.name
        self.fields = index.fields
        self.generations: tuple[int, ...] = (FIRST_GENERATION,)
        """All generations in which documents may have vectors; `reflow.engine.generations` says what each is for."""
        self._getters = tuple(field_getter(spec, field) for field in index.fields)
        filters = index.filters if isinstance(index, TextIndex | VectorIndex) else ()
        self.filters = {name: _filter_getter(spec, name) for name in filters}
        if isinstance(index, TextIndex):  # its text is read anyway, so that its length comes with it
            self.filters.setdefault(f"len({self.fields[0]})", _length_getter(spec, self.fields[0]))

    def key(self, document: Any, tail: bytes) -> Key:
        """The range key of a document; `tail` is the key of its sequence number."""
        if len(self._getters) == 1:
            part = encode_part(self._getters[0](document))
            return Key(part + tail, (0, len(part)))
        full = b""
        ends = [0]
        for getter in self._getters:
            full += encode_part(getter(document))
            ends.append(len(full))
        return Key(full + tail, tuple(ends))

    def text(self, document: Any) -> TextEntry | None:
        """What a text index holds for a document, None when its field holds no text."""
        value = self._getters[0](document)
        return TextEntry(value, document, self.metadata) if isinstance(value, str) else None

    def metadata(self, document: Any) -> dict[str, Any]:
        """What filters can ask of a document: the filter fields that it has, by name."""
        found = {name: getter(document) for name, getter in self.filters.items()}
        return {name: comparable(value) for name, value in found.items() if value is not MISSING}

    def place(self, document: Any) -> Place:
        """The set of vectors that a document's vector belongs to, where it has only one."""
        return self.number, self.generations[0]

    def places(self, document: Any) -> tuple[Place, ...]:
        """The sets of vectors in which a document may have one: as many as there are generations."""
        if len(self.generations) == 1:
            return (self.place(document),)
        return tuple((self.number, generation) for generation in self.generations)

    def space(self, document: Any) -> int:
        """The number of the namespace within the place."""
        return 0

    def sparse(self, document: Any) -> Sparse | None:
        """The sparse vector that a document holds."""
        return None

    def entry(self, document: Any) -> VectorEntry:
        """What the index keeps of a document."""
        return VectorEntry(self.space(document), self.sparse(document), self.metadata(document))


def comparable(value: Any) -> Any:
    """A field's value as filters compare it; what their language lacks becomes a text that equals only itself."""
    if isinstance(value, Enum):
        value = value.value
    if isinstance(value, str):
        return _own(value)
    if value is None or (isinstance(value, bool | int | float) and not isinstance(value, values.Int64)):
        return value
    if isinstance(value, list) and all(isinstance(item, str) for item in cast("list[Any]", value)):
        return [_own(item) for item in cast("list[str]", value)]
    return _spelled(cast(object, value))


def _own(text: str) -> str:
    """A text as it is, unless it could be taken for what stands for another value."""
    return text if text[:1] != "\0" else _spelled(text)


def _spelled(value: object) -> str:
    return f"\0{encode_part(value).hex()}"


def _filter_getter(spec: TableSpec, name: str) -> Callable[[Any], Any]:
    """Reads what a filter is about: a field, or the number of characters of one."""
    field = measured_field(name)
    return field_getter(spec, name) if field is None else _length_getter(spec, field)


def _length_getter(spec: TableSpec, field: str) -> Callable[[Any], Any]:
    """Reads the number of characters of a text field; MISSING where the field holds no text."""
    read = field_getter(spec, field)
    return lambda document: len(value) if isinstance(value := read(document), str) else MISSING


def field_getter(spec: TableSpec, field: str) -> Callable[[Any], Any]:
    """Reads a field (with dots: of an object inside) from a document; MISSING where it is absent."""
    first, *rest = field.split(".")
    if spec.document is not None and not rest:
        read = attrgetter(first)
        if first not in spec.absent:
            return read
        return lambda document: MISSING if (value := read(document)) is None else value

    def walk(document: Any) -> Any:
        value: Any = document
        for name in (first, *rest):
            if isinstance(value, dict):
                value = cast("dict[str, Any]", value).get(name, MISSING)
            else:
                value = getattr(value, name, MISSING)
            if value is MISSING:
                return MISSING
        return MISSING if value is None and first in spec.absent and not rest else value

    return walk


class TableCodec:
    """A table as the engine works with it: its number, its indexes, its documents from and to bytes."""

    def __init__(self, spec: TableSpec, number: int, numbers: Mapping[str, int], limits: Limits) -> None:
        self.spec = spec
        self.name = spec.name
        self.number = number
        self.ranges = tuple(IndexCodec(index, numbers[name], spec) for name, index in spec.indexes.items())
        self.texts = tuple(IndexCodec(index, numbers[name], spec) for name, index in spec.searches.items())
        self.vectors = tuple(IndexCodec(index, numbers[name], spec) for name, index in spec.vectors.items())
        self.by_name = {codec.name: codec for codec in (*self.ranges, *self.texts, *self.vectors)}
        self.owner_of = None if spec.owner is None else field_getter(spec, spec.owner.field)
        """Reads whose a document is, where that matters."""
        self._limits = limits
        self._largest = limits.document_bytes if spec.name[0] != "_" else limits.arguments_bytes
        self._stored = {stored: python for python, stored in spec.fields.items()}
        if spec.document is None:
            self._decode: Callable[[bytes], Any] = values.decode
            self._decode_stored: Callable[[bytes], Any] = partial(values.decode, trusted=True)
            self._walk: IdWalk | None = None
        else:
            self._decode = values.decoder_for(spec.document)
            self._decode_stored = values.decoder_for(spec.document, trusted=True)
            self._walk = id_walk(spec.document)

    def decode(self, raw: bytes) -> Any:
        """A fresh document from stored bytes."""
        return self._decode_stored(raw)

    def verify(self, raw: bytes) -> Any:
        """A document of another version's bytes. Raises InvalidValue where they do not fit this table."""
        return self._decode(raw)

    def new(self, document: Any, id: str, created: float, check: IdCheck) -> tuple[bytes, Any]:
        """Bytes and a checked copy of a document about to be inserted, which gets its id and time."""
        if self.spec.document is None:
            if not isinstance(document, Mapping):
                raise InvalidValue(f"collection {self.name!r} holds dicts, not {type(document).__name__}")
            given = cast("Mapping[str, Any]", document).items()
            fields = {name: value for name, value in given if name not in (ID_FIELD, CREATED_FIELD)}
            for name in fields:
                if name[:1] == "_":
                    raise InvalidValue(f"a document of {self.name!r} can't have the field {name!r}: _ is for reflow's")
            return self._checked({CREATED_FIELD: created, ID_FIELD: id, **fields}, check, self.spec.owner)
        if type(document) is not self.spec.document:
            raise InvalidValue(
                f"table {self.name!r} holds {self.spec.document.__name__}, not {type(document).__name__}"
            )
        setattr(document, ID_FIELD, id)
        setattr(document, CREATED_FIELD, created)
        return self._checked(document, check, self.spec.owner)

    def patched(self, raw: bytes, changes: Mapping[str, Any], check: IdCheck) -> tuple[bytes, Any]:
        """Bytes and a checked copy of a stored document with some fields changed. UNSET removes a field."""
        document = self._decode_stored(raw)
        for name, value in changes.items():
            if self.spec.document is None:
                patch_dict(self.name, document, name, value)
            elif name not in self.spec.fields:
                raise InvalidValue(f"table {self.name!r} has no field {name!r}; it has {sorted(self.spec.fields)}")
            elif value is not UNSET:
                setattr(document, name, value)
            elif name in self.spec.absent:
                setattr(document, name, None)
            else:
                raise InvalidValue(f"{self.name}.{name} can't be removed: its default is not rf.missing()")
        rule = self.spec.owner
        return self._checked(document, check, rule if rule is not None and rule.field in changes else None)

    def replaced(self, raw: bytes, document: Any, check: IdCheck) -> tuple[bytes, Any]:
        """Bytes and a checked copy of `document` under the id and time of the stored one."""
        old = self._decode_stored(raw)
        if self.spec.document is None:
            return self.new(document, old[ID_FIELD], old[CREATED_FIELD], check)
        return self.new(document, old._id, old._creationTime, check)

    def rewritten(self, fields: Mapping[str, Any], check: IdCheck) -> tuple[bytes, Any]:
        """Bytes and a checked copy of a document given by its stored names. Raises InvalidValue."""
        raw = values.encode(fields)
        try:
            document = self._decode(raw)
        except InvalidValue as error:
            raise type(error)(f"a document of table {self.name!r} does not fit: {error}") from None
        return self._checked(document, check, self.spec.owner)

    def _checked(self, document: Any, check: IdCheck, owner: Owner | None = None) -> tuple[bytes, Any]:
        """`owner`: the document must have one; that of older rows may still be missing."""
        try:
            raw = values.encode(document)
            copy = self._decode(raw)
            if b"." in raw:
                raw = values.encode(copy)  # 1.0 given for an int is stored as 1
            if self._walk is not None:
                self._walk(copy, check)
        except InvalidValue as error:
            raise type(error)(f"a document of table {self.name!r} does not fit: {error}") from None
        if owner is not None and self.owner_of is not None and self.name[0] != "_":
            found = self.owner_of(copy)
            if not isinstance(found, str) or not found:
                raise InvalidValue(
                    f"a document of table {self.name!r} would be nobody's: a function for all owners gives "
                    f"{owner.field!r} a value, others leave it to insert"
                )
        if len(raw) > self._largest:
            raise InvalidValue(
                f"a document of table {self.name!r} has {len(raw)} bytes; limits.document_bytes allows "
                f"{self._largest}. Split it, or keep large content in files"
            )
        return raw, copy

    def keys_of(self, document: Any, seq: int) -> tuple[Key, ...]:
        """The document's keys in the range indexes, in their order."""
        if not self.ranges:
            return ()
        tail = sequence_key(seq)
        keys = tuple([codec.key(document, tail) for codec in self.ranges])
        longest = self._limits.index_key_bytes
        for codec, key in zip(self.ranges, keys, strict=True):
            if len(key.full) > longest:
                raise InvalidValue(
                    f"{codec.index!r} would hold a key of {len(key.full)} bytes; limits.index_key_bytes is {longest}: "
                    "index something shorter, such as a digest, or use a text index"
                )
        return keys


def patch_dict(table: str, document: dict[str, Any], name: str, value: Any) -> None:
    """Sets a field of a plain document; UNSET removes it. Raises InvalidValue for reflow's own."""
    if name[:1] == "_":
        raise InvalidValue(f"{table}.{name} is set by reflow and can't be patched")
    if value is UNSET:
        document.pop(name, None)
    else:
        document[name] = value


def document_id(raw: bytes) -> str:
    """The id inside a stored document, without decoding the rest."""
    return _ID_ONLY.decode(raw).id


class _IdOnly(msgspec.Struct):
    id: str = msgspec.field(name=ID_FIELD, default="")  # records of vector indexes are stored without one


_ID_ONLY = msgspec.json.Decoder(_IdOnly)


# Ids inside typed values

_walks: dict[Any, IdWalk | None] = {}


def id_walk(tp: Any) -> IdWalk | None:
    """A function that finds every `Id[...]` inside values of a type; None when there can't be any."""
    try:
        if tp in _walks:
            return _walks[tp]
    except TypeError:
        return _build_walk(tp)
    _walks[tp] = lambda value, check: walk(value, check) if (walk := _walks[tp]) is not None else None
    _walks[tp] = _build_walk(tp)
    return _walks[tp]


def _build_walk(tp: Any) -> IdWalk | None:
    origin, args = get_origin(tp), get_args(tp)
    if origin is Annotated:
        for mark in args[1:]:
            if isinstance(mark, IdOf):
                return _check_here(mark.target)
        return id_walk(args[0])
    if origin in (Union, types.UnionType):
        return _any_of(args)
    if origin in (list, set, frozenset, tuple):
        inner = [walk for arg in args if arg is not Ellipsis and (walk := id_walk(arg)) is not None]
        return _each(inner[0], lambda value: value) if inner else None
    if origin is dict:
        walk = id_walk(args[1])
        return _each(walk, lambda value: value.values()) if walk else None
    struct = origin or tp
    if isinstance(struct, type) and issubclass(struct, msgspec.Struct):
        return _fields(struct)
    return None


def _check_here(target: object) -> IdWalk:
    def here(value: Any, check: IdCheck) -> None:
        if isinstance(value, str):
            check(target, value)

    return here


def _any_of(args: Iterable[Any]) -> IdWalk | None:
    members = list(args)
    if str in members:
        return None
    walks = [(arg if isinstance(arg, type) else None, walk) for arg in members if (walk := id_walk(arg)) is not None]
    if not walks:
        return None

    def any_of(value: Any, check: IdCheck) -> None:
        for kind, walk in walks:
            if value is not None and (kind is None or isinstance(value, kind)):
                walk(value, check)

    return any_of


def _each(walk: IdWalk, items: Callable[[Any], Iterable[Any]]) -> IdWalk:
    def each(value: Any, check: IdCheck) -> None:
        if isinstance(value, list | set | frozenset | tuple | dict):
            for item in items(value):
                walk(item, check)

    return each


def _fields(struct: type[msgspec.Struct]) -> IdWalk | None:
    hints = get_type_hints(struct, include_extras=True)
    walks = [(name, walk) for name in struct.__struct_fields__ if (walk := id_walk(hints.get(name))) is not None]
    if not walks:
        return None

    def fields(value: Any, check: IdCheck) -> None:
        for name, walk in walks:
            found = getattr(value, name)
            if found is not None:
                walk(found, check)

    return fields


def target_name(target: object, classes: Mapping[str, str]) -> str | None:
    """The table name behind `Id[target]`; None for `Id[Any]`. Class names are looked up in `classes`."""
    if target is Any:
        return None
    spec = getattr(target, "table_spec", None)
    if isinstance(spec, TableSpec):
        return spec.name
    name = getattr(target, "__forward_arg__", target)
    return classes.get(cast(str, name), cast(str, name))


def parse_for(table: str, number: int | None, text: str, names: Mapping[int, str]) -> int:
    """The sequence number of an id that must belong to a table. Raises InvalidId naming both tables."""
    parsed = parse_id(text)
    if parsed.table != number:
        other = names.get(parsed.table)
        owner = f"table {other!r}" if other else "no table of this app"
        raise InvalidId(f"{text!r} is an id of {owner}, expected one of table {table!r}")
    return parsed.seq
