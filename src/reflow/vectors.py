"""Free-standing vector indexes: records with ids of the application's choosing, apart from playground.

The shape is Pinecone's, so that the store built into reflow and a remote one can take each other's place: both are a
`Store` of `Index`es. Vectors and metadata go in as Python values; what comes out can be returned to clients as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

import msgspec
from numpy.typing import ArrayLike

from reflow.errors import DefinitionError, InvalidValue
from reflow.limits import DEFAULT
from reflow.owners import Owner
from reflow.schema import METRICS, Metric, Object, missing

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,43}[a-z0-9])?")


class Vectors:
    """Declares a free-standing index: `memories = rf.Vectors("memories", dims=384)` in a module of the app.

    It is made when the app is deployed, and used as `ctx.vectors.index(memories)`. With `sparse=True` instead of `dims`
    it holds sparse vectors only. `metric` is how vectors are compared: "cosine" (the default), "dotproduct" (the
    default and only one where they are sparse) or "euclidean". With `owner=True` each caller has a namespace of their
    own, which the default namespace stands for; with `owner=rf.Owner(claim="org_id")` each tenant.
    """

    def __init__(
        self,
        name: str,
        *,
        dims: int | None = None,
        metric: Metric | None = None,
        sparse: bool = False,
        owner: bool | Owner = False,
    ) -> None:
        if (dims is None) != sparse:
            raise DefinitionError(f"vector index {name!r} needs either dims=... or sparse=True")
        if not isinstance(owner, bool | Owner):  # pyright: ignore[reportUnnecessaryIsInstance] - see owners.rule_of
            raise DefinitionError(
                f"vector index {name!r}: owner= takes True (a namespace for each user) or rf.Owner(claim=...), "
                f"got {owner!r:.100}"
            )
        if isinstance(owner, Owner) and owner.field:
            raise DefinitionError(f"vector index {name!r} has no field {owner.field!r}: write rf.Owner(claim=...)")
        self.name = name
        self.owner = (owner if isinstance(owner, Owner) else Owner()) if owner else None
        """Whose a namespace is; None where namespaces are the application's business."""
        self.dims = dims
        self.metric: Metric = metric or ("dotproduct" if sparse else "cosine")
        try:
            check_definition(name, dims, self.metric)
        except InvalidValue as error:
            raise DefinitionError(str(error)) from None

    def __repr__(self) -> str:
        about = "sparse=True" if self.dims is None else f"dims={self.dims}, metric={self.metric!r}"
        whose = "" if self.owner is None else f", owner={self.owner!r}"
        return f"Vectors({self.name!r}, {about}{whose})"


def check_definition(name: object, dims: object, metric: object) -> None:
    """Refuses what can't be an index, by Pinecone's rules; `dims` None: sparse. Raises InvalidValue."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InvalidValue(
            f"{name!r:.100} can't name a vector index: use 1 to 45 lower-case letters, digits and dashes, with a "
            "letter or digit at both ends"
        )
    if dims is None:
        if metric != "dotproduct":
            raise InvalidValue(
                f'vector index {name!r} is sparse, so its metric must be "dotproduct", got {metric!r:.100}'
            )
        return
    if not isinstance(dims, int) or isinstance(dims, bool) or not 1 <= dims <= DEFAULT.vector_dims:
        raise InvalidValue(f"vector index {name!r}: dims must be 1 to {DEFAULT.vector_dims}, got {dims!r:.100}")
    if metric not in METRICS:
        raise InvalidValue(f"vector index {name!r}: metric must be one of {', '.join(METRICS)}, got {metric!r:.100}")


def name_of(index: str | Vectors) -> str:
    """The name of an index, however it is referred to."""
    return index.name if isinstance(index, Vectors) else index


class SparseValues(Object):
    """A vector given by its non-zero entries: `values[n]` stands at `indices[n]`, a whole number below 2**32."""

    indices: list[int]
    values: list[float]


class Record(Object, rename="camel"):
    """An entry of an index: a dense vector of the index's length, a sparse one, or both, and flat metadata.

    Metadata are strings, numbers, booleans and lists of strings under names that do not start with `$`.
    """

    id: str
    values: list[float] | None = missing()
    sparse_values: SparseValues | None = missing()
    metadata: dict[str, Any] = msgspec.field(default_factory=dict[str, Any])


RecordLike = Record | tuple[str, ArrayLike] | tuple[str, ArrayLike, Mapping[str, Any]] | Mapping[str, Any]
"""What `upsert` takes: records, (id, values), (id, values, metadata), or mappings with a record's fields."""


class Match(Record, rename="camel"):
    """A record that a query found. Higher scores are better, but for "euclidean": there it is the squared distance."""

    score: float


class QueryResult(Object):
    """What a query found, best first. Values and metadata are there where they were asked for."""

    matches: list[Match]
    namespace: str


class RecordPage(Object):
    """Some of the records that match; `next` is the token of the following page, None after the last."""

    records: list[Record]
    next: str | None


class IdPage(Object):
    """Some of a namespace's ids, in order of their bytes; `next` is the token of the following page."""

    ids: list[str]
    next: str | None


class NamespaceInfo(Object):
    """A namespace and how many records it has. The default namespace is named ""."""

    name: str
    records: int


class NamespacePage(Object):
    """Some of an index's namespaces, in order of their names; `next` is the token of the following page."""

    namespaces: list[NamespaceInfo]
    next: str | None


class IndexStats(Object):
    """An index as a whole: its length (None: sparse), how it compares, and records by namespace."""

    dims: int | None
    metric: Metric
    records: int
    namespaces: dict[str, int]


class IndexReader(Protocol):
    """What queries can do with a free-standing index. An unknown namespace is an empty one.

    Raises InvalidValue for what can't be asked, NoVectorIndex when the index is not there, and, where the store is
    remote, VectorStoreError.
    """

    @property
    def name(self) -> str:
        """The index's name."""
        ...

    async def query(
        self,
        *,
        vector: ArrayLike | None = None,
        id: str | None = None,
        sparse_vector: SparseValues | None = None,
        top_k: int = 10,
        namespace: str = "",
        filter: Mapping[str, Any] | None = None,
        include_values: bool = False,
        include_metadata: bool = False,
    ) -> QueryResult:
        """The records most similar to a vector, a sparse vector, both together, or the vector of the record `id`."""
        ...

    async def fetch(self, ids: Iterable[str], *, namespace: str = "") -> dict[str, Record]:
        """Records by id; those that do not exist are left out."""
        ...

    async def fetch_by_metadata(
        self, filter: Mapping[str, Any], *, namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> RecordPage:
        """Records whose metadata pass a filter, page by page, in an order of the store's own."""
        ...

    async def list(
        self, *, prefix: str = "", namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> IdPage:
        """Ids that start with `prefix`, page by page."""
        ...

    async def stats(self) -> IndexStats:
        """Numbers of the whole index."""
        ...

    async def list_namespaces(
        self, *, prefix: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> NamespacePage:
        """Namespaces whose names start with `prefix`, page by page."""
        ...

    async def describe_namespace(self, name: str) -> NamespaceInfo | None:
        """One namespace, None when there is none of that name."""
        ...


class Index(IndexReader, Protocol):
    """A free-standing index. Built in: transactional in mutations, live in queries. Remote: from actions only.

    Raises InvalidValue for what can't be stored.
    """

    async def upsert(self, vectors: Iterable[RecordLike], *, namespace: str = "") -> int:
        """Stores records, each in place of one with the same id. Returns how many."""
        ...

    async def update(
        self,
        id: str,
        *,
        values: ArrayLike | None = None,
        sparse_values: SparseValues | None = None,
        set_metadata: Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> None:
        """Changes parts of a record; `set_metadata` adds or replaces keys. Nothing happens when there is no record."""
        ...

    async def update_by_filter(
        self,
        filter: Mapping[str, Any],
        *,
        set_metadata: Mapping[str, Any],
        namespace: str = "",
        dry_run: bool = False,
    ) -> int:
        """Adds or replaces metadata of all records that pass a filter. Returns how many pass."""
        ...

    async def delete(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        delete_all: bool = False,
        namespace: str = "",
    ) -> None:
        """Removes records: by id, by a filter, or all of a namespace. What does not exist is no error."""
        ...

    async def create_namespace(self, name: str) -> None:
        """Makes an empty namespace. `upsert` makes those that are missing by itself."""
        ...

    async def delete_namespace(self, name: str) -> None:
        """Removes a namespace with its records. What does not exist is no error."""
        ...

    async def settled(self, *, namespace: str = "") -> None:
        """Returns once queries see what this index was told here to write; in the built-in store that is at once."""
        ...


class StoreReader(Protocol):
    """Where free-standing indexes live, for queries."""

    def index(self, index: str | Vectors) -> IndexReader:
        """An index by its declaration or name. Whether it exists shows when it is used."""
        ...


class Store(Protocol):
    """Where free-standing indexes live."""

    def index(self, index: str | Vectors) -> Index:
        """An index by its declaration or name. Whether it exists shows when it is used."""
        ...


class IndexInfo(Object):
    """A free-standing index as it was made. `created` is in milliseconds since 1970."""

    name: str
    dims: int | None
    """Numbers of a vector; None: sparse."""
    metric: Metric
    deletion_protection: bool
    tags: dict[str, str]
    about: dict[str, Any]
    """What else a Pinecone client said of it: cloud, region, schema, embedding."""
    created: float
