"""The state at an older timestamp: the present one, with what later commits replaced put back."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import Any

from reflow.engine.catalog import Catalog
from reflow.engine.documents import TableCodec
from reflow.errors import OutOfRetention, ReflowError
from reflow.storage.base import Request, Row, Snapshot, TextHit, TextStats, TextTerm, sequence_key


class HistorySnapshot:
    """A snapshot of the past. Text searches are answered only at the present."""

    def __init__(self, base: Snapshot, catalog: Catalog, ts: int, former: dict[tuple[int, int], bytes | None]) -> None:
        self._base = base
        self._catalog = catalog
        self._ts = ts
        self._former = former

    @classmethod
    async def open(cls, base: Snapshot, catalog: Catalog, ts: int) -> HistorySnapshot:
        """The state at `ts`, which must not be older than the kept history. Raises OutOfRetention."""
        horizon = await base.horizon()
        if ts < horizon:
            raise OutOfRetention(
                f"OutOfRetention: timestamp {ts} is older than the kept history, which starts at {horizon} "
                "(limits.retention_seconds)"
            )
        former: dict[tuple[int, int], bytes | None] = {}
        for undo in await base.undo(ts):
            former.setdefault((undo.table, undo.seq), undo.before)
        return cls(base, catalog, ts, former)

    @property
    def ts(self) -> int:
        return self._ts

    async def get(self, table: int, seq: int) -> bytes | None:
        if (table, seq) in self._former:
            return self._former[table, seq]
        return await self._base.get(table, seq)

    async def get_many(self, table: int, seqs: Sequence[int]) -> list[bytes | None]:
        present = await self._base.get_many(table, seqs)
        return [self._former.get((table, seq), value) for seq, value in zip(seqs, present, strict=True)]

    async def scan(
        self, table: int, index: int, lower: bytes, upper: bytes, *, reverse: bool = False, limit: int
    ) -> list[Row]:
        changed = {seq: before for (number, seq), before in self._former.items() if number == table}
        past = self._past_rows(table, index, changed)
        found: list[Row] = []
        while len(found) < limit:
            rows = await self._base.scan(table, index, lower, upper, reverse=reverse, limit=limit)
            last = len(rows) < limit
            low, high = lower, upper
            if not last:
                low, high = (rows[-1].key, upper) if reverse else (lower, rows[-1].key + b"\x00")
            start = bisect_left(past, low, key=_row_key)
            stop = bisect_left(past, high, key=_row_key)
            merged = [row for row in rows if row.seq not in changed] + past[start:stop]
            found += sorted(merged, key=_row_key, reverse=reverse)
            if last:
                break
            lower, upper = (lower, low) if reverse else (high, upper)
        return found[:limit]

    def _past_rows(self, table: int, index: int, changed: dict[int, bytes | None]) -> list[Row]:
        key_of = _key_function(self._catalog.numbers[table], index)
        rows = [Row(key_of(value, seq), seq, value) for seq, value in changed.items() if value is not None]
        return sorted(rows, key=_row_key)

    async def count(self, table: int, index: int, lower: bytes, upper: bytes) -> int:
        total = 0
        while rows := await self.scan(table, index, lower, upper, limit=1024):
            total += len(rows)
            lower = rows[-1].key + b"\x00"
        return total

    async def search_text(self, index: int, terms: Sequence[TextTerm], *, limit: int, offset: int = 0) -> list[TextHit]:
        raise _present_only()

    async def text_stats(self, index: int, terms: Sequence[TextTerm]) -> TextStats:
        raise _present_only()

    async def vectors(self, index: int, generation: int, *, after: int = 0, limit: int) -> list[tuple[int, bytes]]:
        raise _present_only()

    async def vector(self, index: int, generation: int, seq: int) -> bytes | None:
        raise _present_only()

    async def vector_log(self, index: int, generation: int, *, after: int) -> list[int]:
        raise _present_only()

    async def request(self, session: str, request: int) -> Request | None:
        return await self._base.request(session, request)

    async def undo(self, after: int) -> Any:
        return await self._base.undo(after)

    async def horizon(self) -> int:
        return await self._base.horizon()

    async def close(self) -> None:
        await self._base.close()


def _row_key(row: Row) -> bytes:
    return row.key


def _key_function(codec: TableCodec, index: int) -> Callable[[bytes, int], bytes]:
    if index == codec.number:
        return lambda _, seq: sequence_key(seq)
    found = next(item for item in codec.ranges if item.number == index)
    return lambda value, seq: found.key(codec.decode(value), sequence_key(seq)).full


def _present_only() -> ReflowError:
    return OutOfRetention("text search at an older timestamp is not kept: run the query at the latest one")
