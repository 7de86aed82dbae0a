"""Free-standing vector indexes from outside of functions: each call is a transaction of its own, or several."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import ArrayLike

from reflow.engine.record_index import RecordIndex, Selection
from reflow.engine.record_upserts import Upserts
from reflow.engine.records import Records
from reflow.errors import DefinitionError
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
    Vectors,
    name_of,
)

if TYPE_CHECKING:
    from reflow.engine.engine import Engine
    from reflow.stores.pinecone import RemoteStore

T = TypeVar("T")


URL_SETTING = "REFLOW_VECTORS_URL"
"""The setting that says where free-standing indexes live: not set, here; else at a Pinecone or another reflow."""


class VectorStores:
    """The `reflow.vectors.Store` of actions: built in, or remote where the settings say so."""

    def __init__(self, engine: Engine, declared: Iterable[Vectors]) -> None:
        self._engine = engine
        self.upserts = Upserts(engine)
        """What brings upserts from outside of functions to the built-in store."""
        self.declared: dict[str, Vectors] = {}
        for index in declared:
            other = self.declared.setdefault(index.name, index)
            if (other.dims, other.metric, other.owner) != (index.dims, index.metric, index.owner):
                raise DefinitionError(f"vector index {index.name!r} is declared twice, as {other!r} and as {index!r}")
        self.owned = any(index.owner is not None for index in self.declared.values())
        """Whether namespaces of declared indexes have owners."""
        self._remote: RemoteStore | None = None

    @property
    def url(self) -> str:
        """Where the remote store is; empty when the store is built in."""
        return self._engine.environment.get(URL_SETTING, "").strip()

    def index(self, index: str | Vectors) -> Index:
        """An index by its declaration or name. A declared one is made where the remote store lacks it.

        Raises VectorStoreError for settings that can't work, MissingExtra without Pinecone's SDK.
        """
        name = name_of(index)
        if not self.url:
            return StoredIndex(self._engine, name)
        if self._remote is None:
            from reflow.stores.pinecone import open_store

            engine = self._engine
            self._remote = open_store(
                self.url, engine.environment, engine.limits, clock=engine.clock, entropy=engine.entropy
            )
        return self._remote.index(index if isinstance(index, Vectors) else self.declared.get(name, name))

    async def declare(self) -> None:
        """Makes the declared indexes of the built-in store. Raises SchemaError."""
        if self.declared and not self.url:
            await self._engine.transact(lambda tx: Records(tx).declare(self.declared.values()))

    async def close(self) -> None:
        """Ends the connections to a remote store."""
        remote, self._remote = self._remote, None
        if remote is not None:
            await remote.close()


class StoredIndex:
    """A `reflow.vectors.Index`, which see. A write has returned when it is durable; queries may be approximate.

    What a filter changes or deletes goes in bounded batches, each a transaction: whoever reads meanwhile sees a part.
    Everything else is one transaction.
    """

    def __init__(self, engine: Engine, name: str) -> None:
        self._engine = engine
        self._name = name

    @property
    def name(self) -> str:
        """The index's name."""
        return self._name

    @asynccontextmanager
    async def _reading(self) -> AsyncGenerator[RecordIndex, None]:
        async with self._engine.reading() as tx:
            yield RecordIndex(tx, self._name, approximate=True)

    async def _write(self, work: Callable[[RecordIndex], Awaitable[T]]) -> T:
        return await self._engine.transact(lambda tx: work(RecordIndex(tx, self._name)))

    async def upsert(self, vectors: Iterable[RecordLike], *, namespace: str = "") -> int:
        """Stores records, all of them or none."""
        return await self._engine.stores.upserts.upsert(self._name, list(vectors), namespace)

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
        async with self._reading() as index:
            return await index.query(
                vector=vector,
                id=id,
                sparse_vector=sparse_vector,
                top_k=top_k,
                namespace=namespace,
                filter=filter,
                include_values=include_values,
                include_metadata=include_metadata,
            )

    async def fetch(self, ids: Iterable[str], *, namespace: str = "") -> dict[str, Record]:
        """Records by id; those that do not exist are left out."""
        async with self._reading() as index:
            return await index.fetch(ids, namespace=namespace)

    async def fetch_by_metadata(
        self, filter: Mapping[str, Any], *, namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> RecordPage:
        """Records whose metadata pass a filter, page by page."""
        async with self._reading() as index:
            return await index.fetch_by_metadata(
                filter, namespace=namespace, limit=limit, pagination_token=pagination_token
            )

    async def update(
        self,
        id: str,
        *,
        values: ArrayLike | None = None,
        sparse_values: SparseValues | None = None,
        set_metadata: Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> None:
        """Changes parts of a record; nothing happens when there is none."""
        await self._write(
            lambda index: index.update(
                id, values=values, sparse_values=sparse_values, set_metadata=set_metadata, namespace=namespace
            )
        )

    async def update_by_filter(
        self,
        filter: Mapping[str, Any],
        *,
        set_metadata: Mapping[str, Any],
        namespace: str = "",
        dry_run: bool = False,
    ) -> int:
        """Adds or replaces metadata of all records that pass a filter, in batches. Returns how many pass."""
        chosen = Selection.of(filter, namespace, "Update with empty metadata filter is not allowed", set_metadata)
        if dry_run:
            async with self._reading() as index:
                return (await index.change(chosen, dry_run=True)).passed
        return await self._change(chosen)

    async def delete(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        delete_all: bool = False,
        namespace: str = "",
    ) -> None:
        """Removes records: by id or all of a namespace at once, by a filter in batches."""
        if filter is not None and ids is None and not delete_all:
            await self._change(Selection.of(filter, namespace, "Delete with empty metadata filter is not allowed"))
            return
        keys = None if ids is None else list(ids)
        await self._write(lambda index: index.delete(keys, filter=filter, delete_all=delete_all, namespace=namespace))

    async def _change(self, chosen: Selection) -> int:
        """Changes what a filter passes, batch after batch."""
        most = self._engine.limits.records_per_batch
        total = 0
        while True:
            done = await self._write(partial(RecordIndex.change, selection=chosen, most=most))
            total += done.passed
            if done.after is None:
                return total
            chosen = chosen._replace(after=done.after)

    async def list(
        self, *, prefix: str = "", namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> IdPage:
        """Ids that start with `prefix`, in order of their bytes."""
        async with self._reading() as index:
            return await index.list(prefix=prefix, namespace=namespace, limit=limit, pagination_token=pagination_token)

    async def stats(self) -> IndexStats:
        """Numbers of the whole index."""
        async with self._reading() as index:
            return await index.stats()

    async def list_namespaces(
        self, *, prefix: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> NamespacePage:
        """Namespaces whose names start with `prefix`, in order of their names."""
        async with self._reading() as index:
            return await index.list_namespaces(prefix=prefix, limit=limit, pagination_token=pagination_token)

    async def describe_namespace(self, name: str) -> NamespaceInfo | None:
        """One namespace, None when there is none of that name."""
        async with self._reading() as index:
            return await index.describe_namespace(name)

    async def create_namespace(self, name: str) -> None:
        """Makes an empty namespace; nothing happens when it is there."""
        await self._write(lambda index: index.create_namespace(name))

    async def delete_namespace(self, name: str) -> None:
        """Removes a namespace with its records."""
        await self._write(lambda index: index.delete_namespace(name))

    async def settled(self, *, namespace: str = "") -> None:
        """Returns at once: what is written is seen."""
