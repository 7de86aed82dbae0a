"""The vector store inside an ordinary program: `open_vectors` runs an engine in a thread of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from typing import Any, Self, TypeVar, cast

from numpy.typing import ArrayLike

from reflow.app import App, Durability
from reflow.backend import Backend
from reflow.engine.engine import Engine
from reflow.engine.record_store import StoredIndex
from reflow.engine.records import Records
from reflow.engine.transaction import EngineTransaction
from reflow.errors import StoreClosed, VectorIndexExists
from reflow.limits import DEFAULT, Limits
from reflow.vectors import (
    IdPage,
    Index,
    IndexInfo,
    IndexStats,
    Metric,
    NamespaceInfo,
    NamespacePage,
    QueryResult,
    Record,
    RecordLike,
    RecordPage,
    SparseValues,
)

T = TypeVar("T")


def open_vectors(
    data: str | Path | None, *, durability: Durability = "full", limits: Limits = DEFAULT
) -> EmbeddedVectors:
    """The vector store in a data directory, for scripts, notebooks and programs without an app; None: in memory.

        with reflow.open_vectors("vectors") as vectors:
            notes = vectors.create_index("notes", dims=3)
            notes.upsert([("a", [0.1, 0.2, 0.3], {"year": 2024})])
            notes.query(vector=[0.1, 0.2, 0.3], top_k=1, filter={"year": {"$gte": 2020}})

    The directory is one of an app or of `reflow vectors serve`, while neither has it open. What a call has written
    when it returns is durable, also where a program ends without closing. Raises StorageError, such as DirectoryInUse.
    """
    app = App(modules=[], limits=limits, environment={})
    return EmbeddedVectors(partial(app.open, data, durability=durability) if data is not None else app.in_memory)


class EmbeddedVectors:
    """A running vector store; made by `open_vectors`, closed by `close` or at the end of a `with` block.

    Any thread may call it, and any event loop: its methods block, those of `index.aio` are awaited.
    """

    def __init__(self, opened: Callable[[], AbstractAsyncContextManager[Backend]]) -> None:
        self._opened = opened
        self._started: Future[_Running] = Future()
        self._turn = Lock()  # nothing is asked of the event loop once it is told to stop
        self._closed = False
        self._thread = Thread(target=self._live, name="reflow-vectors", daemon=True)
        self._thread.start()
        try:
            self._running = self._started.result()
        except BaseException:
            self._thread.join()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops the store once the calls that run are done. Closing twice is fine."""
        with self._turn:
            if not self._closed:
                self._closed = True
                self._running.loop.call_soon_threadsafe(self._running.stop.set)
        self._thread.join()

    # Indexes

    def index(self, name: str) -> EmbeddedIndex:
        """The index of that name. Whether it exists shows when it is used."""
        return EmbeddedIndex(self, name)

    def create_index(
        self, name: str, *, dims: int | None, metric: Metric = "cosine", tags: Mapping[str, str] | None = None
    ) -> EmbeddedIndex:
        """The index of that name, which is made where it is missing. `dims` None: for sparse vectors ("dotproduct").

        Raises VectorIndexExists when it is there with other dims or another metric, InvalidValue and LimitExceeded.
        """

        async def make(tx: EngineTransaction) -> IndexInfo:
            records = Records(tx)
            return await records.describe_index(name) or await records.create_index(
                name, dims=dims, metric=metric, tags=tags
            )

        made = self.run(lambda engine: engine.transact(make))
        if (made.dims, made.metric) != (dims, metric):
            raise VectorIndexExists(
                f"vector index {name!r} exists with dims={made.dims} and metric={made.metric!r}, not dims={dims} and"
                f" metric={metric!r}: use it as it is, or choose another name"
            )
        return self.index(name)

    def list_indexes(self) -> list[IndexInfo]:
        """All indexes, in order of their names."""

        async def read(engine: Engine) -> list[IndexInfo]:
            async with engine.reading() as tx:
                return await Records(tx).list_indexes()

        return self.run(read)

    def delete_index(self, name: str) -> None:
        """Removes an index with its records. Raises NoVectorIndex, VectorIndexProtected."""
        self.run(lambda engine: engine.transact(lambda tx: Records(tx).delete_index(name)))

    # Its thread

    def submit(self, work: Callable[[Engine], Awaitable[T]]) -> Future[T]:
        """Runs a coroutine on the store's event loop. Raises StoreClosed."""
        with self._turn:
            if self._closed:
                raise StoreClosed("this vector store is closed: open it again with reflow.open_vectors")
            return asyncio.run_coroutine_threadsafe(self._running.call(work), self._running.loop)

    def run(self, work: Callable[[Engine], Awaitable[T]]) -> T:
        """The same, and waits for its result. Raises what the coroutine does, and StoreClosed."""
        return self.submit(work).result()

    async def reach(self, work: Callable[[Engine], Awaitable[T]]) -> T:
        """The same for who is on an event loop. On the store's own it goes on also while the store closes."""
        if asyncio.get_running_loop() is self._running.loop:
            return await work(self._running.engine)
        return await asyncio.wrap_future(self.submit(work))

    def _live(self) -> None:
        asyncio.run(self._life())

    async def _life(self) -> None:
        try:
            async with self._opened() as backend:
                running = _Running(backend.engine)
                self._started.set_result(running)
                await running.stop.wait()
                await asyncio.gather(*running.calls, return_exceptions=True)
        except BaseException as error:
            if self._started.done():
                raise
            self._started.set_exception(error)  # told by who waits for the start


class _Running:
    """What lives on the event loop."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.loop = asyncio.get_running_loop()
        self.stop = asyncio.Event()
        self.calls: set[asyncio.Task[Any]] = set()

    async def call(self, work: Callable[[Engine], Awaitable[T]]) -> T:
        task = cast("asyncio.Task[T]", asyncio.current_task())
        self.calls.add(task)
        try:
            return await work(self.engine)
        finally:
            self.calls.discard(task)


class _Calls:
    """An index whose calls are awaited on any event loop and run on the store's."""

    def __init__(self, vectors: EmbeddedVectors, name: str) -> None:
        self._vectors = vectors
        self.name = name

    def __getattr__(self, method: str) -> Callable[..., Awaitable[Any]]:
        def call(*args: Any, **kwargs: Any) -> Awaitable[Any]:
            return self._vectors.reach(lambda engine: getattr(StoredIndex(engine, self.name), method)(*args, **kwargs))

        return call


class EmbeddedIndex:
    """A free-standing index with methods that block; `aio` has the same ones to be awaited, on any event loop."""

    def __init__(self, vectors: EmbeddedVectors, name: str) -> None:
        self.vectors = vectors
        self.name = name
        self.aio = cast(Index, _Calls(vectors, name))

    def call(self, work: Callable[[Index], Awaitable[T]]) -> T:
        """The result of a coroutine that uses the index; it runs on the store's event loop."""
        return self.vectors.run(lambda _: work(self.aio))

    def upsert(self, vectors: Iterable[RecordLike], *, namespace: str = "") -> int:
        """Stores records, all of them or none, each in place of one with the same id. Returns how many."""
        return self.call(lambda index: index.upsert(vectors, namespace=namespace))

    def query(
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
        return self.call(
            lambda index: index.query(
                vector=vector,
                id=id,
                sparse_vector=sparse_vector,
                top_k=top_k,
                namespace=namespace,
                filter=filter,
                include_values=include_values,
                include_metadata=include_metadata,
            )
        )

    def fetch(self, ids: Iterable[str], *, namespace: str = "") -> dict[str, Record]:
        """Records by id; those that do not exist are left out."""
        return self.call(lambda index: index.fetch(ids, namespace=namespace))

    def fetch_by_metadata(
        self, filter: Mapping[str, Any], *, namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> RecordPage:
        """Records whose metadata pass a filter, in order of their ids."""
        return self.call(
            lambda index: index.fetch_by_metadata(
                filter, namespace=namespace, limit=limit, pagination_token=pagination_token
            )
        )

    def update(
        self,
        id: str,
        *,
        values: ArrayLike | None = None,
        sparse_values: SparseValues | None = None,
        set_metadata: Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> None:
        """Changes parts of a record; `set_metadata` adds or replaces keys. Nothing happens when there is no record."""
        return self.call(
            lambda index: index.update(
                id, values=values, sparse_values=sparse_values, set_metadata=set_metadata, namespace=namespace
            )
        )

    def update_by_filter(
        self,
        filter: Mapping[str, Any],
        *,
        set_metadata: Mapping[str, Any],
        namespace: str = "",
        dry_run: bool = False,
    ) -> int:
        """Adds or replaces metadata of all records that pass a filter. Returns how many pass."""
        return self.call(
            lambda index: index.update_by_filter(
                filter, set_metadata=set_metadata, namespace=namespace, dry_run=dry_run
            )
        )

    def delete(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        delete_all: bool = False,
        namespace: str = "",
    ) -> None:
        """Removes records: by id, by a filter, or all of a namespace. What does not exist is no error."""
        return self.call(lambda index: index.delete(ids, filter=filter, delete_all=delete_all, namespace=namespace))

    def list(
        self, *, prefix: str = "", namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> IdPage:
        """Ids that start with `prefix`, page by page."""
        return self.call(
            lambda index: index.list(prefix=prefix, namespace=namespace, limit=limit, pagination_token=pagination_token)
        )

    def stats(self) -> IndexStats:
        """Numbers of the whole index."""
        return self.call(lambda index: index.stats())

    def list_namespaces(
        self, *, prefix: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> NamespacePage:
        """Namespaces whose names start with `prefix`, page by page."""
        return self.call(
            lambda index: index.list_namespaces(prefix=prefix, limit=limit, pagination_token=pagination_token)
        )

    def describe_namespace(self, name: str) -> NamespaceInfo | None:
        """One namespace, None when there is none of that name."""
        return self.call(lambda index: index.describe_namespace(name))

    def create_namespace(self, name: str) -> None:
        """Makes an empty namespace. `upsert` makes those that are missing by itself."""
        return self.call(lambda index: index.create_namespace(name))

    def delete_namespace(self, name: str) -> None:
        """Removes a namespace with its records. What does not exist is no error."""
        return self.call(lambda index: index.delete_namespace(name))
