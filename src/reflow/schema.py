"""Tables, objects and indexes: what an application stores, as typed classes.

A table is a msgspec Struct. The name under which a field is stored is the name that clients see; Python's name is a
view of it, fixed per class by `rename`.
"""

from __future__ import annotations

import keyword
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any, Generic, Literal, Self, TypeVar, cast, dataclass_transform, get_args

import msgspec
from msgspec import UNSET, UnsetType

from reflow.errors import DefinitionError
from reflow.limits import DEFAULT
from reflow.owners import Owner, OwnerField, rule_of

T = TypeVar("T")

ID_FIELD = "_id"
CREATED_FIELD = "_creationTime"
Metric = Literal["cosine", "dotproduct", "euclidean"]
"""How vectors are compared."""

METRICS: tuple[Metric, ...] = get_args(Metric)

INDEX_FIELDS = 16
FILTER_FIELDS = 16


class IdOf:
    """Marks a string annotation as the id of a table: a table class, a collection, or either's name."""

    __slots__ = ("target",)

    def __init__(self, target: object) -> None:
        self.target = target


if TYPE_CHECKING:

    class Id(str, Generic[T]):
        """The id of a document of table `T`: a string everywhere, checked against the table where it enters."""

else:

    class Id:
        """The id of a document of table `T`: a string everywhere, checked against the table where it enters."""

        def __class_getitem__(cls, target: object) -> Any:
            return Annotated[str, IdOf(target)]

        def __new__(cls, text: str) -> str:
            return text


def camel(name: str) -> str:
    """`source_id` becomes `sourceId`; a trailing underscore, there to avoid a keyword, goes; `_id` stays."""
    if name in (ID_FIELD, CREATED_FIELD):
        return name
    head, *rest = name.rstrip("_").split("_") if name.strip("_") else [name]
    return head + "".join(part[:1].upper() + part[1:] for part in rest)


def plain(name: str) -> str:
    """Python's own name; only the underscore that avoids a keyword goes (`from_` is stored as `from`)."""
    stripped = name[:-1]
    return stripped if name.endswith("_") and keyword.iskeyword(stripped) else name


RENAMES: Mapping[str, Callable[[str], str]] = {"camel": camel, "none": plain}


def renamer(rename: str | None) -> Callable[[str], str]:
    """The function behind a `rename` setting. Raises DefinitionError for an unknown one."""
    try:
        return RENAMES[rename or "none"]
    except KeyError:
        raise DefinitionError(f"rename={rename!r} is unknown; use one of {sorted(RENAMES)}") from None


def missing() -> Any:
    """Default of a field that may be absent: `None` in Python, not there at all (rather than null) on the wire."""
    return _MISSING


class _Missing:
    """The type of `missing()`'s marker; the metaclass replaces it by a default of None that is not written."""


_MISSING = _Missing()
_FIELD = type(cast(object, msgspec.field()))


class Index:
    """A range index over one or more fields, in Convex's order; creation time breaks ties.

    The fields are named as in Python; a dot reaches into an object (`"state.kind"`). An index serves equality on a
    prefix of its fields and then one range.
    """

    kind = "range"

    def __init__(self, *fields: str) -> None:
        if not 1 <= len(fields) <= INDEX_FIELDS or len(set(fields)) != len(fields):
            raise DefinitionError(f"an index takes 1 to {INDEX_FIELDS} different fields, got {fields!r}")
        self.fields = fields
        self.name = ""
        self.table: Tabular | None = None

    @property
    def all_fields(self) -> tuple[str, ...]:
        """Every field that the index looks at."""
        return self.fields

    @property
    def settings(self) -> dict[str, Any]:
        """What makes two definitions different: a change rebuilds the index."""
        return {"kind": self.kind, "fields": list(self.fields)}

    def belong(self, owner: Owner) -> None:
        """Prepares for a table whose rows have owners: searches are filtered by them."""

    def bind(self, table: Tabular, name: str) -> None:
        """Gives the index its name and table; called once, when the table is defined."""
        if self.table is not None:
            raise DefinitionError(f"index {name!r} of {table!r} is already {self!r}; define one Index per table")
        self.name, self.table = name, table

    def __repr__(self) -> str:
        owner = spec_of(self.table).name if self.table is not None else "?"
        return f"{owner}.{self.name or '?'}"


class TextIndex(Index):
    """A full-text index over one string field: BM25, words stemmed for English, the last word also as a prefix.

    `filters` are the fields that a search can put conditions on; `"len(text)"` stands for the number of characters of
    the field `text`.
    """

    kind = "text"

    def __init__(self, field: str, *, filters: tuple[str, ...] = ()) -> None:
        super().__init__(field)
        self.filters = _checked_filters(filters)

    def belong(self, owner: Owner) -> None:
        """The owner can be a condition."""
        self.filters = _with_owner(self.filters, owner)

    @property
    def all_fields(self) -> tuple[str, ...]:
        """The text field and those of the filters."""
        return (*self.fields, *(measured_field(name) or name for name in self.filters))

    @property
    def settings(self) -> dict[str, Any]:
        """What makes two definitions different: a change rebuilds the index."""
        return super().settings | {"filters": list(self.filters)}


class VectorIndex(Index):
    """A vector index: one float32 vector of `dims` numbers per document.

    `metric` is how they are compared: "cosine" (similarity, -1 to 1), "dotproduct", or "euclidean" (a hit's score is
    then minus the squared distance, so that higher is better). The vectors belong to the index, not to the document:
    see `ctx.db.insert(..., vectors=...)` and `ctx.db.set_vector`. `filters` are the fields that a search can put
    conditions on; `"len(text)"` stands for the number of characters of the field `text`.
    """

    kind = "vector"

    def __init__(self, *, dims: int, metric: Metric = "cosine", filters: tuple[str, ...] = ()) -> None:
        if not 1 <= dims <= DEFAULT.vector_dims:
            raise DefinitionError(f"dims must be 1 to {DEFAULT.vector_dims}, got {dims}")
        if metric not in METRICS:
            raise DefinitionError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
        super().__init__("_")
        self.fields = ()
        self.dims = dims
        self.metric: Metric = metric
        self.filters = _checked_filters(filters)

    def belong(self, owner: Owner) -> None:
        """The owner can be a condition."""
        self.filters = _with_owner(self.filters, owner)

    @property
    def all_fields(self) -> tuple[str, ...]:
        """The fields of the filters: the vectors themselves are no field."""
        return tuple(measured_field(name) or name for name in self.filters)

    @property
    def settings(self) -> dict[str, Any]:
        """What makes two definitions different. Filters are looked up in the documents, vectors are kept as they were
        given: filters and metric may change freely."""
        return {"kind": self.kind, "dims": self.dims}


def _checked_filters(filters: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(filters, str):
        raise DefinitionError(f'filters takes a tuple of field names: filters=("{filters}",)')
    if len(filters) > FILTER_FIELDS:
        raise DefinitionError(f"an index takes at most {FILTER_FIELDS} filter fields, got {len(filters)}")
    if len(set(filters)) != len(filters):
        raise DefinitionError(f"an index takes different filter fields, got {filters!r}")
    return tuple(filters)


def _with_owner(filters: tuple[str, ...], owner: Owner) -> tuple[str, ...]:
    return filters if owner.field in filters else (*filters, owner.field)


def measured_field(name: str) -> str | None:
    """The field whose length a virtual filter such as `"len(text)"` is about; None for the name of a plain field."""
    return name[4:-1] if name.startswith("len(") and name.endswith(")") else None


class TableSpec:
    """What the engine needs to know of a table: its name, document type, fields and indexes.

    `fields` maps Python names to stored names. `document` is None for a schemaless collection, `owner` where everybody
    may see every row.
    """

    __slots__ = ("absent", "document", "fields", "indexes", "name", "owner", "searches", "vectors")

    def __init__(
        self,
        name: str,
        document: type[Table] | None,
        fields: Mapping[str, str],
        absent: frozenset[str],
        indexes: Mapping[str, Index],
        owner: Owner | None = None,
    ) -> None:
        self.name = name
        self.owner = owner
        self.document = document
        self.fields = fields
        self.absent = absent
        self.indexes = {key: index for key, index in indexes.items() if index.kind == "range"}
        self.searches = {key: index for key, index in indexes.items() if isinstance(index, TextIndex)}
        self.vectors = {key: index for key, index in indexes.items() if isinstance(index, VectorIndex)}

    @property
    def all_indexes(self) -> Iterator[Index]:
        """Range, text and vector indexes."""
        yield from self.indexes.values()
        yield from self.searches.values()
        yield from self.vectors.values()


class ObjectMeta(msgspec.StructMeta):
    """Settings that all stored classes share: keyword arguments, no unknown fields, renamed and absent fields.

    `owner` is inherited: what is once somebody's can't be everybody's by a subclass that forgets it. `system` is for
    reflow's own tables, whose names start with an underscore.
    """

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        table: str | None = None,
        rename: str | None = None,
        owner: str | Owner | None = None,
        system: bool = False,
        **options: Any,
    ) -> type:
        inherited = next((base.__rename__ for base in bases if isinstance(base, ObjectMeta)), None)
        chosen = rename if rename is not None else inherited
        renamer(chosen)
        indexes = {key: value for key, value in namespace.items() if isinstance(value, Index)}
        own = [key for key, value in namespace.items() if isinstance(value, OwnerField)]
        namespace.update(dict.fromkeys(own, ""))
        absent = _rewrite_defaults(namespace)
        inherited_fields = [field for base in bases for field in getattr(base, "__struct_fields__", ())]
        _check_distinct(name, [*inherited_fields, *namespace.get("__annotations__", ())], renamer(chosen))
        options = {"kw_only": True, "forbid_unknown_fields": True, "omit_defaults": True} | options
        cls = cast(Any, super().__new__(mcls, name, bases, namespace, rename=renamer(chosen), **options))
        cls.__rename__ = chosen
        cls.__absent__ = absent.union(*(base.__absent__ for base in bases if isinstance(base, ObjectMeta)))
        rules = [base.__owner__ for base in bases if isinstance(base, ObjectMeta)]
        cls.__owner__ = rule_of(owner, name) or next((rule for rule in rules if rule is not None), None)
        cls.__owner_fields__ = frozenset(own).union(
            *(base.__owner_fields__ for base in bases if isinstance(base, ObjectMeta))
        )
        _check_field_names(cls)
        if issubclass(cls, globals().get("Table", ())):
            _define_table(cls, table, indexes, system)
        elif table is not None or indexes or cls.__owner__ is not None or own:
            raise DefinitionError(f"{name} is no rf.Table: table=, owner= and indexes belong to tables")
        return cls

    __rename__: str | None
    __absent__: frozenset[str]
    __owner__: Owner | None
    __owner_fields__: frozenset[str]

    @property
    def table_spec(cls) -> TableSpec:
        """The table's description. Raises DefinitionError for a class without `table=`."""
        spec = cls.__dict__.get("__spec__")
        if spec is None:
            raise DefinitionError(f'{cls.__name__} names no table: write class {cls.__name__}(..., table="...")')
        return spec


def _rewrite_defaults(namespace: dict[str, Any]) -> frozenset[str]:
    """Makes msgspec write every default but `missing()`'s: it leaves out what *is* the default object.

    So a plain default becomes a factory of that value, and `missing()` becomes None. Returns the latter's names.
    """
    absent: set[str] = set()
    for name in namespace.get("__annotations__", {}):
        if name not in namespace or name in (ID_FIELD, CREATED_FIELD):
            continue
        value = namespace[name]
        if isinstance(value, _FIELD):
            namespace[name] = _written(cast(Any, value))
            continue
        if isinstance(value, _Missing):
            namespace[name] = None
            absent.add(name)
        elif isinstance(value, list | dict | set | bytearray):
            if value:
                raise DefinitionError(f"the default of {name!r} is shared by all documents: it must be empty")
            namespace[name] = msgspec.field(default_factory=_factory(type(cast(object, value))))
        else:
            namespace[name] = msgspec.field(default_factory=_constant(value))
    return frozenset(absent)


def _written(field: Any) -> Any:
    """The same `msgspec.field`, with a default that msgspec can't tell from another value."""
    if field.default is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=_constant(field.default), name=field.name)
    if field.default_factory is not msgspec.NODEFAULT:
        return msgspec.field(default_factory=_factory(field.default_factory), name=field.name)
    return field


def _factory(kind: Callable[[], object]) -> Callable[[], object]:
    return lambda: kind()


def _constant(value: object) -> Callable[[], object]:
    return lambda: value


def _check_distinct(name: str, fields: list[str], rename: Callable[[str], str]) -> None:
    seen: dict[str, str] = {}
    for field in fields:
        other = seen.setdefault(rename(field), field)
        if other != field:
            raise DefinitionError(f"{name}: fields {other!r} and {field!r} are both stored as {rename(field)!r}")


def _check_field_names(cls: Any) -> None:
    for python, stored in zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True):
        if python in (ID_FIELD, CREATED_FIELD):
            continue
        if stored.startswith(("_", "$")) or not stored.isascii() or not stored.isprintable():
            raise DefinitionError(f"{cls.__name__}: a field can't be stored as {stored!r}; names start with a letter")


def _define_table(cls: Any, table: str | None, indexes: dict[str, Index], system: bool) -> None:
    if table is None:
        if indexes:
            raise DefinitionError(f"{cls.__name__} has indexes but no table name: add table=")
        return
    check_table_name(table[1:] if system else table)
    fields = {
        python: stored
        for python, stored in zip(cls.__struct_fields__, cls.__struct_encode_fields__, strict=True)
        if python not in (ID_FIELD, CREATED_FIELD)
    }
    for name in ("id", "created"):
        if name in fields:
            raise DefinitionError(f"{cls.__name__}: {name!r} is there on every document; name the field otherwise")
    owner = _checked_owner(cls, fields)
    for name, index in indexes.items():
        if owner is not None:
            index.belong(owner)
        for field in index.all_fields:
            if field.partition(".")[0] not in fields:
                raise DefinitionError(
                    f"{cls.__name__}.{name} indexes {field!r}, which is no field of {table!r}; it has {sorted(fields)}"
                )
        index.bind(cls, name)
    cls.__spec__ = TableSpec(table, cls, fields, cls.__absent__, indexes, owner)


def _checked_owner(cls: Any, fields: Mapping[str, str]) -> Owner | None:
    """The rule of a table. Raises DefinitionError where it and the fields do not fit."""
    rule: Owner | None = cls.__owner__
    if rule is not None and rule.field not in fields:
        raise DefinitionError(
            f"{cls.__name__} belongs to the owner in {rule.field!r}, which is no field of it: add "
            f"{rule.field}: str = rf.owner()"
        )
    for field in cls.__owner_fields__:
        if rule is None or rule.field != field:
            raise DefinitionError(
                f"{cls.__name__}.{field} is rf.owner(), and the table does not say so: add owner={field!r} to the class"
            )
    return rule


def check_table_name(name: str) -> None:
    """Raises DefinitionError unless `name` is a letter followed by letters, digits and underscores (at most 64)."""
    if not (name.isascii() and name.isidentifier() and name[0].isalpha() and len(name) <= 64):
        raise DefinitionError(f"{name!r} can't name a table: use a letter, then letters, digits and underscores")


@dataclass_transform(kw_only_default=True, field_specifiers=(msgspec.field,))
class _Transform(ObjectMeta):
    """Tells type checkers that stored classes take their fields as keyword arguments."""


class Object(msgspec.Struct, metaclass=_Transform):
    """A structured value inside documents, arguments and results; `rename="camel"` is inherited."""


class Table(Object):
    """Base of all document types. A class with `table="name"` is a table; one without is a base for others.

    `id` and `created` (milliseconds since 1970; on the wire `_id` and `_creationTime`) are there once the document is
    stored; before that they raise AttributeError.
    """

    _creationTime: float | UnsetType = UNSET
    _id: str | UnsetType = UNSET

    @property
    def id(self) -> Id[Self]:
        """The document's id. Raises AttributeError before it is inserted."""
        if self._id is UNSET:
            raise AttributeError(f"this {type(self).__name__} has no id yet: ctx.db.insert gives it one")
        return cast("Id[Self]", self._id)

    @property
    def created(self) -> float:
        """When the document was inserted, in milliseconds since 1970. Raises AttributeError before that."""
        if self._creationTime is UNSET:
            raise AttributeError(f"this {type(self).__name__} is not stored yet: ctx.db.insert sets its time")
        return self._creationTime


class Collection:
    """A schemaless table: its documents are plain dicts with `_id` and `_creationTime`. Made by `collection`."""

    def __init__(self, name: str, indexes: Mapping[str, Index], owner: str | Owner | None = None) -> None:
        check_table_name(name)
        self._name = name
        fields: dict[str, str] = {}
        rule = rule_of(owner, f"collection {name!r}")
        for key, index in indexes.items():
            if rule is not None:
                index.belong(rule)
            index.bind(self, key)
            for field in index.all_fields:
                if field.startswith(("_", "$")) or not field:
                    raise DefinitionError(f"collection {name!r}: a field can't be named {field!r}")
                fields[field] = field
        self.table_spec = TableSpec(name, None, fields, frozenset(), indexes, rule)

    def __getattr__(self, name: str) -> Index:
        spec: TableSpec = self.__dict__.get("table_spec", _NO_SPEC)
        for index in spec.all_indexes:
            if index.name == name:
                return index
        raise AttributeError(f"collection {spec.name!r} has no index {name!r}")

    def __repr__(self) -> str:
        return f"collection({self._name!r})"


_NO_SPEC = TableSpec("?", None, {}, frozenset(), {})


def collection(name: str, *, owner: str | Owner | None = None, **indexes: Index) -> Collection:
    """A schemaless table: `logs = rf.collection("logs", by_level=rf.Index("level"))`.

    `owner` names the field that holds whose a document is; see `Owner`.
    """
    return Collection(name, indexes, owner)


Tabular = type[Table] | Collection
"""What can name a table in an application."""


def spec_of(table: Tabular) -> TableSpec:
    """The description of a table class or collection. Raises DefinitionError for anything else."""
    spec = getattr(table, "table_spec", None)
    if not isinstance(spec, TableSpec):
        raise DefinitionError(f"{table!r} is neither a table class nor a collection")
    return spec
