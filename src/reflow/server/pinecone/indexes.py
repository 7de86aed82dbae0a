"""The indexes behind the API: free-standing ones, which can be written, and those of tables, which can be read."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeAlias, TypeVar

from reflow.engine.engine import Engine
from reflow.engine.record_index import RecordIndex
from reflow.engine.record_store import StoredIndex
from reflow.engine.records import Records
from reflow.server.pinecone.errors import Refused, not_found
from reflow.server.pinecone.tables import TableIndex, TableIndexes
from reflow.vectors import Index, IndexInfo, Record

T = TypeVar("T")

Readable: TypeAlias = RecordIndex | TableIndex
"""What reads an index."""


class Indexes:
    """Opens indexes by name."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.tables = TableIndexes(engine)

    @asynccontextmanager
    async def reading(self, name: str) -> AsyncGenerator[Readable, None]:
        """An index as it is now. Nobody is told when it changes, so an approximate answer will do. Raises Refused."""
        async with self._engine.reading() as tx:
            yield await self.tables.index(tx, name) or RecordIndex(tx, name, approximate=True)

    async def write(self, name: str, work: Callable[[Index], Awaitable[T]]) -> T:
        """Runs `work` in a transaction of its own; returns once it is durable. Raises Refused."""
        self.tables.refuse_change(name)
        return await self._engine.transact(lambda tx: work(Records(tx).index(name)))

    async def upsert(self, name: str, records: Sequence[Record], namespace: str) -> int:
        """Stores records, all or none; returns how many, once they are durable. Raises Refused."""
        self.tables.refuse_change(name)
        return await self._engine.stores.upserts.upsert(name, records, namespace)

    def in_batches(self, name: str) -> StoredIndex:
        """An index for changes that concern any number of records. Raises Refused."""
        self.tables.refuse_change(name)
        return StoredIndex(self._engine, name)

    async def delete(self, name: str) -> None:
        """Removes an index with all its records. Raises Refused."""
        self.tables.refuse_change(name)
        await self._engine.transact(lambda tx: Records(tx).delete_index(name))
        self._engine.stores.upserts.forget(name)

    async def info(self, name: str) -> IndexInfo:
        """What is known of an index. Raises Refused."""
        async with self._engine.reading() as tx:
            found = await self.tables.info(tx, name) or await Records(tx).describe_index(name)
        if found is None:
            raise missing_index(name)
        return found


def missing_index(name: str) -> Refused:
    """There is no index of that name."""
    return not_found(f"Resource {name[:100]} not found")
