"""Free-standing vector indexes whose namespaces have owners: a caller's own stands in for the default one.

This works the same over the built-in store and a remote one, since it only chooses namespaces.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from numpy.typing import ArrayLike

from reflow.engine.owners import Caller
from reflow.engine.record_store import VectorStores
from reflow.errors import NotTheOwner
from reflow.owners import Owner, Owners, namespace_of
from reflow.vectors import (
    IdPage,
    Index,
    IndexStats,
    NamespaceInfo,
    NamespacePage,
    QueryResult,
    Record,
    RecordLike,
    RecordPage,
    SparseValues,
    Store,
    Vectors,
    name_of,
)

_DEFAULT = ("", "__default__")


def own_store(stores: VectorStores, inside: Store, owners: Owners, caller: Caller) -> Store:
    """The store `inside` for a function that works with the namespaces of these owners."""
    return inside if owners == "all" else OwnedStore(inside, stores.declared, caller)


class OwnedStore:
    """A `reflow.vectors.Store` for a function that works with its caller's namespaces only."""

    def __init__(self, store: Store, declared: Mapping[str, Vectors], caller: Caller) -> None:
        self._store = store
        self._declared = declared
        self._caller = caller

    def index(self, index: str | Vectors) -> Index:
        """An index by its declaration or name. What the app declares of an index counts, however it is referred to."""
        found = self._store.index(index)
        declared = self._declared.get(name_of(index), index)
        for one in (declared, index):
            if isinstance(one, Vectors) and one.owner is not None:
                return OwnedIndex(found, one, one.owner, self._caller)
        return found


class OwnedIndex:
    """A `reflow.vectors.Index`, which see, of which a caller sees and writes one namespace.

    Every method takes the default namespace, or the caller's own by the name of its owner. Raises NotTheOwner for
    another, also where it does not exist, and AuthenticationRequired where nobody is there to write as.
    """

    def __init__(self, index: Index, declared: Vectors, rule: Owner, caller: Caller) -> None:
        self._index = index
        self._declared = declared
        self._rule = rule
        self._caller = caller

    @property
    def name(self) -> str:
        """The index's name."""
        return self._index.name

    # The namespace

    def _check(self, namespace: object, owner: str | None) -> None:
        if namespace not in _DEFAULT and (owner is None or namespace != owner):
            raise NotTheOwner(
                f"vector index {self.name!r} has a namespace for each owner, and a function sees its caller's: leave "
                'namespace out. Only an internal function with owners="all" names one'
            )

    def _readable(self, namespace: object) -> str | None:
        """The caller's namespace, None where they can have none."""
        owner = self._rule.of(self._caller())
        self._check(namespace, owner)
        return None if owner is None else namespace_of(owner)

    def _writable(self, namespace: object) -> str:
        """The same. Raises AuthenticationRequired in place of None."""
        owner = self._rule.required(self._caller(), f"vector index {self.name!r}")
        self._check(namespace, owner)
        return namespace_of(owner)

    # Reading

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
        """The caller's records most similar to a vector, a sparse vector, both together, or a record's vector."""
        own = self._readable(namespace)
        if own is None:
            return QueryResult(matches=[], namespace=namespace)
        result = await self._index.query(
            vector=vector,
            id=id,
            sparse_vector=sparse_vector,
            top_k=top_k,
            namespace=own,
            filter=filter,
            include_values=include_values,
            include_metadata=include_metadata,
        )
        return QueryResult(matches=result.matches, namespace=namespace)

    async def fetch(self, ids: Iterable[str], *, namespace: str = "") -> dict[str, Record]:
        """The caller's records by id."""
        own = self._readable(namespace)
        return {} if own is None else await self._index.fetch(ids, namespace=own)

    async def fetch_by_metadata(
        self, filter: Mapping[str, Any], *, namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> RecordPage:
        """The caller's records whose metadata pass a filter, page by page."""
        own = self._readable(namespace)
        if own is None:
            return RecordPage(records=[], next=None)
        return await self._index.fetch_by_metadata(
            filter, namespace=own, limit=limit, pagination_token=pagination_token
        )

    async def list(
        self, *, prefix: str = "", namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> IdPage:
        """The caller's ids that start with `prefix`, page by page."""
        own = self._readable(namespace)
        if own is None:
            return IdPage(ids=[], next=None)
        return await self._index.list(prefix=prefix, namespace=own, limit=limit, pagination_token=pagination_token)

    async def stats(self) -> IndexStats:
        """Numbers of the caller's namespace."""
        info = await self.describe_namespace("")
        counts = {} if info is None else {"": info.records}
        dims, metric = self._declared.dims, self._declared.metric
        return IndexStats(dims=dims, metric=metric, records=sum(counts.values()), namespaces=counts)

    async def list_namespaces(
        self, *, prefix: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> NamespacePage:
        """The caller's namespace, as the default one."""
        info = None if prefix or pagination_token else await self.describe_namespace("")
        return NamespacePage(namespaces=[] if info is None else [info], next=None)

    async def describe_namespace(self, name: str) -> NamespaceInfo | None:
        """The caller's namespace, None as long as there is none."""
        own = self._readable(name)
        info = None if own is None else await self._index.describe_namespace(own)
        return None if info is None else NamespaceInfo(name="", records=info.records)

    # Writing

    async def upsert(self, vectors: Iterable[RecordLike], *, namespace: str = "") -> int:
        """Stores records as the caller's."""
        return await self._index.upsert(vectors, namespace=self._writable(namespace))

    async def update(
        self,
        id: str,
        *,
        values: ArrayLike | None = None,
        sparse_values: SparseValues | None = None,
        set_metadata: Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> None:
        """Changes parts of a record of the caller's."""
        own = self._writable(namespace)
        await self._index.update(
            id, values=values, sparse_values=sparse_values, set_metadata=set_metadata, namespace=own
        )

    async def update_by_filter(
        self,
        filter: Mapping[str, Any],
        *,
        set_metadata: Mapping[str, Any],
        namespace: str = "",
        dry_run: bool = False,
    ) -> int:
        """Adds or replaces metadata of the caller's records that pass a filter."""
        own = self._writable(namespace)
        return await self._index.update_by_filter(filter, set_metadata=set_metadata, namespace=own, dry_run=dry_run)

    async def delete(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        delete_all: bool = False,
        namespace: str = "",
    ) -> None:
        """Removes records of the caller's."""
        own = self._writable(namespace)
        await self._index.delete(ids, filter=filter, delete_all=delete_all, namespace=own)

    async def create_namespace(self, name: str) -> None:
        """Makes the caller's namespace."""
        await self._index.create_namespace(self._writable(name))

    async def delete_namespace(self, name: str) -> None:
        """Removes the caller's namespace with its records."""
        await self._index.delete_namespace(self._writable(name))

    async def settled(self, *, namespace: str = "") -> None:
        """Returns once queries see what was written."""
        own = self._readable(namespace)
        if own is not None:
            await self._index.settled(namespace=own)
