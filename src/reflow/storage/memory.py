"""The in-memory twin of the SQLite storage: the same promises without a file, for tests and experiments."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

from reflow.errors import StorageError
from reflow.limits import DEFAULT, Limits
from reflow.search.bm25 import score
from reflow.storage.base import (
    Batch,
    IndexWrite,
    Request,
    Row,
    TextHit,
    TextStats,
    TextTerm,
    TextWrite,
    Undo,
    Write,
    sequence_bounds,
    sequence_key,
)
from reflow.storage.versions import Versions


@dataclass(frozen=True, slots=True)
class _Stores:
    """All that is stored. A change of tables makes a new one, so that older snapshots keep theirs."""

    tables: dict[int, Versions[int, bytes]] = field(default_factory=dict[int, Versions[int, bytes]])
    ranges: dict[int, Versions[bytes, int]] = field(default_factory=dict[int, Versions[bytes, int]])
    texts: dict[int, Versions[int, Counter[str]]] = field(default_factory=dict[int, Versions[int, Counter[str]]])
    vectors: dict[int, Versions[tuple[int, int], bytes]] = field(
        default_factory=dict[int, Versions[tuple[int, int], bytes]]
    )
    vector_log: Versions[tuple[int, int, int], list[int]] = field(
        default_factory=Versions[tuple[int, int, int], list[int]]
    )
    log: Versions[int, list[Undo]] = field(default_factory=Versions[int, list[Undo]])
    requests: Versions[tuple[str, int], Request] = field(default_factory=Versions[tuple[str, int], Request])
    answers: Versions[int, tuple[str, int]] = field(default_factory=Versions[int, tuple[str, int]])
    meta: Versions[str, bytes] = field(default_factory=Versions[str, bytes])
    horizon: Versions[int, int] = field(default_factory=Versions[int, int])

    def every(self) -> list[Versions[Any, Any]]:
        single: list[Versions[Any, Any]] = [
            self.vector_log,
            self.log,
            self.requests,
            self.answers,
            self.meta,
            self.horizon,
        ]
        return [*self.tables.values(), *self.ranges.values(), *self.texts.values(), *self.vectors.values(), *single]


class MemorySnapshot:
    """A generation of the stores. See `reflow.storage.base.Snapshot`."""

    def __init__(self, stores: _Stores, at: int, ts: int, release: Callable[[int], None] | None) -> None:
        """`release` is told the generation at closing."""
        self.ts = ts
        self._stores = stores
        self._at = at
        self._release = release
        self._closed = False

    async def get(self, table: int, seq: int) -> bytes | None:
        self._check()
        return _store(self._stores.tables, table, "table").get(seq, self._at)

    async def get_many(self, table: int, seqs: Sequence[int]) -> list[bytes | None]:
        self._check()
        store = _store(self._stores.tables, table, "table")
        return [store.get(seq, self._at) for seq in seqs]

    async def scan(
        self, table: int, index: int, lower: bytes, upper: bytes, *, reverse: bool = False, limit: int
    ) -> list[Row]:
        self._check()
        documents = _store(self._stores.tables, table, "table")
        if index == table:
            first, last = sequence_bounds(lower, upper)
            found = documents.between(first, last + 1, self._at, reverse=reverse) if first <= last else iter(())
            return [Row(sequence_key(seq), seq, value) for seq, value in islice(found, limit)]
        if lower >= upper:
            return []
        rows: list[Row] = []
        for key, seq in _store(self._stores.ranges, index, "index").between(lower, upper, self._at, reverse=reverse):
            value = documents.get(seq, self._at)
            if value is not None:
                if len(rows) == limit:
                    break
                rows.append(Row(key, seq, value))
        return rows

    async def count(self, table: int, index: int, lower: bytes, upper: bytes) -> int:
        self._check()
        if index == table:
            first, last = sequence_bounds(lower, upper)
            documents = _store(self._stores.tables, table, "table")
            return sum(1 for _ in documents.between(first, last + 1, self._at)) if first <= last else 0
        keys = _store(self._stores.ranges, index, "index")
        return sum(1 for _ in keys.between(lower, upper, self._at)) if lower < upper else 0

    async def search_text(self, index: int, terms: Sequence[TextTerm], *, limit: int, offset: int = 0) -> list[TextHit]:
        terms = [term for term in terms if term.term]
        stats = await self.text_stats(index, terms)
        hits: list[TextHit] = []
        for seq, tokens in _store(self._stores.texts, index, "text index").between(None, None, self._at):
            frequencies = [_frequency(tokens, term) for term in terms]
            if any(frequencies):
                hits.append(TextHit(seq, score(frequencies, tokens.total(), stats)))
        hits.sort(key=lambda hit: (-hit.score, -hit.seq))
        return hits[offset : offset + limit]

    async def text_stats(self, index: int, terms: Sequence[TextTerm]) -> TextStats:
        self._check()
        texts = [tokens for _, tokens in _store(self._stores.texts, index, "text index").between(None, None, self._at)]
        total = sum(tokens.total() for tokens in texts)
        matches = tuple(sum(1 for tokens in texts if _frequency(tokens, term)) for term in terms)
        return TextStats(len(texts), total / len(texts) if texts else 0.0, matches)

    async def vectors(self, index: int, generation: int, *, after: int = 0, limit: int) -> list[tuple[int, bytes]]:
        self._check()
        store = _store(self._stores.vectors, index, "vector index")
        found = store.between((generation, after + 1), (generation + 1, 0), self._at)
        return [(seq, vector) for (_, seq), vector in islice(found, limit)]

    async def vector(self, index: int, generation: int, seq: int) -> bytes | None:
        self._check()
        return _store(self._stores.vectors, index, "vector index").get((generation, seq), self._at)

    async def vector_log(self, index: int, generation: int, *, after: int) -> list[int]:
        self._check()
        found = self._stores.vector_log.between((index, generation, after + 1), (index, generation + 1, 0), self._at)
        return sorted({seq for _, seqs in found for seq in seqs})

    async def request(self, session: str, request: int) -> Request | None:
        self._check()
        return self._stores.requests.get((session, request), self._at)

    async def undo(self, after: int) -> list[Undo]:
        self._check()
        return [row for _, rows in self._stores.log.between(after + 1, None, self._at) for row in rows]

    async def horizon(self) -> int:
        self._check()
        return self._stores.horizon.get(0, self._at) or 0

    def meta(self) -> dict[str, bytes]:
        """The named values; see `Storage.read_meta`."""
        return dict(self._stores.meta.between(None, None, self._at))

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            if self._release is not None:
                self._release(self._at)

    def _check(self) -> None:
        if self._closed:
            raise StorageError("This snapshot was closed: take another one.")


class MemoryStorage:
    """The storage that forgets; see `reflow.storage.base.Storage` for what each method promises.

    Closing keeps the data, so that a test can open it again. `concurrent` says what the engine shall believe: True
    makes it run mutations optimistically, as it does where reads suspend.
    """

    def __init__(self, *, concurrent: bool = False, limits: Limits = DEFAULT) -> None:
        self.concurrent = concurrent
        self.files: Path | None = None
        self._limits = limits
        self._is_open = False
        self._stores = _Stores()
        self._changed = self._stores
        self._generation = 0
        self._committed = 0
        self._applied = 0
        self._journal: list[Callable[[], None]] = []
        self._readers: Counter[int] = Counter()

    async def open(self) -> int:
        if self._is_open:
            raise StorageError("This storage is open already.")
        self._is_open = True
        return self._committed

    async def close(self) -> None:
        if self._is_open:
            await self.rollback()
            self._is_open = False

    async def snapshot(self) -> MemorySnapshot:
        self._check()
        self._readers[self._generation] += 1
        return MemorySnapshot(self._stores, self._generation, self._committed, self._give_back)

    async def head(self) -> MemorySnapshot:
        self._check()
        return MemorySnapshot(self._changed, self._generation + 1, self._applied, None)

    async def read_meta(self) -> dict[str, bytes]:
        self._check()
        return dict(self._stores.meta.between(None, None, self._generation))

    def _give_back(self, generation: int) -> None:
        self._readers[generation] -= 1
        if not self._readers[generation]:
            del self._readers[generation]

    def _check(self) -> None:
        if not self._is_open:
            raise StorageError("This storage is not open: call open() first.")

    # The open group

    async def apply(self, batch: Batch) -> None:
        self._check()
        if batch.ts <= self._applied:
            raise StorageError(f"The timestamp {batch.ts} is not above {self._applied}, the last one applied.")
        self._whole(self._write, batch)
        self._applied = batch.ts

    async def write_meta(self, key: str, value: bytes | None) -> None:
        self._check()
        self._put(self._changed.meta, key, value)

    async def create_table(self, table: int) -> None:
        self._check()
        if table not in self._changed.tables:
            self._changed = replace(self._changed, tables={**self._changed.tables, table: Versions()})

    async def drop_table(self, table: int) -> None:
        self._check()
        self._changed = replace(self._changed, tables=_without(self._changed.tables, table))

    async def create_index(self, index: int, table: int, kind: str) -> None:
        self._check()
        name = _store_name(kind)
        known: dict[int, Any] = getattr(self._changed, name)
        if index not in known:
            self._changed = replace(self._changed, **{name: {**known, index: Versions()}})

    async def drop_index(self, index: int, table: int, kind: str) -> None:
        self._check()
        name = _store_name(kind)
        if kind == "vector":
            self._forget_vector_log((index, 0, 0), (index + 1, 0, 0))
        self._changed = replace(self._changed, **{name: _without(getattr(self._changed, name), index)})

    async def forget_vector_log(self, index: int, generation: int, until: int) -> None:
        self._check()
        self._forget_vector_log((index, generation, 0), (index, generation, until + 1))

    def _forget_vector_log(self, first: tuple[int, int, int], end: tuple[int, int, int]) -> None:
        log = self._changed.vector_log
        for key, _ in list(log.between(first, end, self._generation + 1)):
            self._put(log, key, None)

    async def put_index_rows(
        self, table: int, rows: Sequence[tuple[int, Sequence[IndexWrite], Sequence[TextWrite]]]
    ) -> None:
        self._check()
        self._whole(self._write_index_rows, rows)

    async def prune(self, *, undo_before: int, requests_before: int) -> bool:
        self._check()
        at, rows = self._generation + 1, self._limits.prune_rows
        past = self._changed.log.between(None, min(undo_before + 1, self._newest()), at)
        undo = [ts for ts, _ in islice(past, rows)]
        for ts in undo:
            self._put(self._changed.log, ts, None)
        if undo:
            self._put(self._changed.horizon, 0, max(undo[-1], self._changed.horizon.get(0, at) or 0))
        answers = list(islice(self._changed.answers.between(None, requests_before, at), rows))
        for ts, request in answers:
            self._put(self._changed.answers, ts, None)
            self._put(self._changed.requests, request, None)
        return len(undo) == rows or len(answers) == rows

    def _newest(self) -> int:
        return next((ts for ts, _ in self._changed.log.between(None, None, self._generation + 1, reverse=True)), 0)

    def _whole(self, change: Callable[..., None], *arguments: Any) -> None:
        """Makes a change, or takes it back as far as it went."""
        mark = len(self._journal)
        try:
            change(*arguments)
        except BaseException:
            self._take_back(mark)
            raise

    def _take_back(self, mark: int) -> None:
        while len(self._journal) > mark:
            self._journal.pop()()

    def _put(self, store: Versions[Any, Any], key: Any, value: Any) -> None:
        before = store.put(key, value, self._generation + 1)
        self._journal.append(lambda: store.restore(key, before))

    def _write(self, batch: Batch) -> None:
        undo: list[Undo] = []
        for write in batch.writes:
            self._write_document(write)
            self._write_index(write.seq, write.index, write.text)
            undo.append(Undo(batch.ts, write.table, write.seq, write.before))
        for vector in batch.vectors:
            store = _store(self._changed.vectors, vector.index, "vector index")
            self._put(store, (vector.generation, vector.seq), vector.vector)
        changed = [write[:3] for write in batch.vectors] + batch.described
        for index, generation in {write[:2] for write in changed}:
            seqs = [seq for *place, seq in changed if place == [index, generation]]
            self._put(self._changed.vector_log, (index, generation, batch.ts), seqs)
        self._put(self._changed.log, batch.ts, undo)
        request = batch.request
        if request is not None:
            name = (request.session, request.request)
            if request.ts != batch.ts:
                raise StorageError(f"The answer's timestamp {request.ts} is not its commit's, {batch.ts}.")
            if self._changed.requests.get(name, self._generation + 1) is not None:
                raise StorageError(f"Request {request.request} of session {request.session} has an answer already.")
            self._put(self._changed.requests, name, request)
            self._put(self._changed.answers, request.ts, name)

    def _write_document(self, write: Write) -> None:
        store = _store(self._changed.tables, write.table, "table")
        stored = store.get(write.seq, self._generation + 1)
        if write.before is None and write.value is None:
            raise StorageError(f"Document {write.seq} of table {write.table} has neither a value nor one before it.")
        if write.before is None and stored is not None:
            raise StorageError(f"Document {write.seq} of table {write.table} is there already.")
        if write.before is not None and stored is None:
            raise StorageError(f"Document {write.seq} of table {write.table} is not there, so it can't be changed.")
        self._put(store, write.seq, write.value)

    def _write_index_rows(self, rows: Sequence[tuple[int, Sequence[IndexWrite], Sequence[TextWrite]]]) -> None:
        for seq, index, text in rows:
            self._write_index(seq, index, text)

    def _write_index(self, seq: int, index: Sequence[IndexWrite], text: Sequence[TextWrite]) -> None:
        for number, remove, add in index:
            keys = _store(self._changed.ranges, number, "index")
            if remove is not None:
                self._put(keys, remove, None)
            if add is not None:
                self._put(keys, add, seq)
        for number, tokens in text:
            counts = None if tokens is None else Counter(tokens.split(" ") if tokens else ())
            self._put(_store(self._changed.texts, number, "text index"), seq, counts)

    # The end of a group

    async def commit(self) -> None:
        self._check()
        self._journal.clear()
        self._stores = self._changed
        self._committed = self._applied
        self._generation += 1
        oldest = min(self._readers, default=self._generation)
        for store in self._stores.every():
            store.forget(oldest)

    async def rollback(self) -> None:
        self._check()
        self._take_back(0)
        self._changed = self._stores
        self._applied = self._committed


def _store(stores: dict[int, Versions[Any, Any]], number: int, kind: str) -> Versions[Any, Any]:
    found = stores.get(number)
    if found is None:
        raise StorageError(f"There is no {kind} {number} in the storage: create it first.")
    return found


def _store_name(kind: str) -> str:
    names = {"range": "ranges", "text": "texts", "vector": "vectors"}
    if kind not in names:
        raise StorageError(f"There is no index kind {kind!r}: it is one of {', '.join(names)}.")
    return names[kind]


def _without(stores: dict[int, Any], number: int) -> dict[int, Any]:
    return {other: store for other, store in stores.items() if other != number}


def _frequency(tokens: Counter[str], term: TextTerm) -> int:
    if not term.prefix:
        return tokens[term.term]
    return sum(count for token, count in tokens.items() if token.startswith(term.term))
