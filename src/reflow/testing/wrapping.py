"""A storage around a storage, with one place where every call passes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from reflow.storage.base import (
    Batch,
    IndexWrite,
    Request,
    Row,
    Snapshot,
    Storage,
    TextHit,
    TextStats,
    TextTerm,
    TextWrite,
    Undo,
)

T = TypeVar("T")


class WrappedStorage:
    """Hands every call to `inner` through `around`, which a subclass overrides. See `reflow.storage.base.Storage`."""

    def __init__(self, inner: Storage) -> None:
        self.inner = inner
        self.concurrent = inner.concurrent
        self.files = inner.files

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        """Makes one call. `operation` is the method's name, of the storage or of a snapshot ("snapshot.get")."""
        return await call()

    async def open(self) -> int:
        return await self.around("open", self.inner.open)

    async def snapshot(self) -> Snapshot:
        return WrappedSnapshot(self, await self.around("snapshot", self.inner.snapshot))

    async def head(self) -> Snapshot:
        return WrappedSnapshot(self, await self.around("head", self.inner.head))

    async def apply(self, batch: Batch) -> None:
        await self.around("apply", lambda: self.inner.apply(batch))

    async def commit(self) -> None:
        await self.around("commit", self.inner.commit)

    async def rollback(self) -> None:
        await self.around("rollback", self.inner.rollback)

    async def read_meta(self) -> dict[str, bytes]:
        return await self.around("read_meta", self.inner.read_meta)

    async def write_meta(self, key: str, value: bytes | None) -> None:
        await self.around("write_meta", lambda: self.inner.write_meta(key, value))

    async def create_table(self, table: int) -> None:
        await self.around("create_table", lambda: self.inner.create_table(table))

    async def create_index(self, index: int, table: int, kind: str) -> None:
        await self.around("create_index", lambda: self.inner.create_index(index, table, kind))

    async def drop_index(self, index: int, table: int, kind: str) -> None:
        await self.around("drop_index", lambda: self.inner.drop_index(index, table, kind))

    async def drop_table(self, table: int) -> None:
        await self.around("drop_table", lambda: self.inner.drop_table(table))

    async def put_index_rows(
        self, table: int, rows: Sequence[tuple[int, Sequence[IndexWrite], Sequence[TextWrite]]]
    ) -> None:
        await self.around("put_index_rows", lambda: self.inner.put_index_rows(table, rows))

    async def forget_vector_log(self, index: int, generation: int, until: int) -> None:
        await self.around("forget_vector_log", lambda: self.inner.forget_vector_log(index, generation, until))

    async def prune(self, *, undo_before: int, requests_before: int) -> bool:
        return await self.around(
            "prune", lambda: self.inner.prune(undo_before=undo_before, requests_before=requests_before)
        )

    async def close(self) -> None:
        await self.around("close", self.inner.close)


class WrappedSnapshot:
    """A snapshot whose calls pass the storage's `around`. See `reflow.storage.base.Snapshot`."""

    def __init__(self, storage: WrappedStorage, inner: Snapshot) -> None:
        self.ts = inner.ts
        self._around = storage.around
        self._inner = inner

    async def get(self, table: int, seq: int) -> bytes | None:
        return await self._around("snapshot.get", lambda: self._inner.get(table, seq))

    async def get_many(self, table: int, seqs: Sequence[int]) -> list[bytes | None]:
        return await self._around("snapshot.get_many", lambda: self._inner.get_many(table, seqs))

    async def scan(
        self, table: int, index: int, lower: bytes, upper: bytes, *, reverse: bool = False, limit: int
    ) -> list[Row]:
        return await self._around(
            "snapshot.scan", lambda: self._inner.scan(table, index, lower, upper, reverse=reverse, limit=limit)
        )

    async def count(self, table: int, index: int, lower: bytes, upper: bytes) -> int:
        return await self._around("snapshot.count", lambda: self._inner.count(table, index, lower, upper))

    async def search_text(self, index: int, terms: Sequence[TextTerm], *, limit: int, offset: int = 0) -> list[TextHit]:
        return await self._around(
            "snapshot.search_text", lambda: self._inner.search_text(index, terms, limit=limit, offset=offset)
        )

    async def text_stats(self, index: int, terms: Sequence[TextTerm]) -> TextStats:
        return await self._around("snapshot.text_stats", lambda: self._inner.text_stats(index, terms))

    async def vectors(self, index: int, generation: int, *, after: int = 0, limit: int) -> list[tuple[int, bytes]]:
        return await self._around(
            "snapshot.vectors", lambda: self._inner.vectors(index, generation, after=after, limit=limit)
        )

    async def vector(self, index: int, generation: int, seq: int) -> bytes | None:
        return await self._around("snapshot.vector", lambda: self._inner.vector(index, generation, seq))

    async def vector_log(self, index: int, generation: int, *, after: int) -> list[int]:
        return await self._around("snapshot.vector_log", lambda: self._inner.vector_log(index, generation, after=after))

    async def request(self, session: str, request: int) -> Request | None:
        return await self._around("snapshot.request", lambda: self._inner.request(session, request))

    async def undo(self, after: int) -> list[Undo]:
        return await self._around("snapshot.undo", lambda: self._inner.undo(after))

    async def horizon(self) -> int:
        return await self._around("snapshot.horizon", self._inner.horizon)

    async def close(self) -> None:
        await self._around("snapshot.close", self._inner.close)
