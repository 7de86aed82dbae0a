"""SQLite and its in-memory twin give the same answers after any history of groups."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.errors import StorageError
from reflow.limits import Limits
from reflow.storage.base import (
    TOP,
    Batch,
    IndexWrite,
    Request,
    Snapshot,
    Storage,
    TextTerm,
    TextWrite,
    VectorWrite,
    Write,
    sequence_key,
)
from reflow.storage.memory import MemoryStorage
from reflow.storage.sqlite import SqliteStorage
from tests.support import arun
from tests.support.storages import RANGE, TABLE, TEXT, VECTOR, key, opened

WORDS = st.sampled_from(["a", "b", "ab", "abc", "c++", "é", "日本"])
TOKENS = st.lists(WORDS, max_size=6).map(" ".join)
SEQS = st.integers(1, 5)
FIELDS = st.sampled_from(["", "a", "b", "\x7f"])

DOCUMENT = st.tuples(st.just("document"), SEQS, st.none() | st.binary(max_size=8), FIELDS, TOKENS)
BAD = st.tuples(st.just("bad"), SEQS)
VECTORS = st.tuples(st.just("vector"), SEQS, st.integers(0, 2), st.none() | st.binary(min_size=4, max_size=4))
DESCRIBED = st.tuples(st.just("described"), SEQS, st.integers(0, 2))
FORGET = st.tuples(st.just("forget"), st.integers(0, 2), st.integers(-1, 4))
ANSWER = st.tuples(st.just("answer"), st.sampled_from("st"), st.integers(0, 3))
BACKFILL = st.tuples(st.just("backfill"), SEQS, FIELDS, TOKENS)
META = st.tuples(st.just("meta"), st.sampled_from("kl"), st.none() | st.binary(max_size=4))
PRUNE = st.tuples(st.just("prune"), st.integers(-1, 4), st.integers(-1, 4))
RECREATE = st.tuples(st.just("recreate"), st.sampled_from([(RANGE, "range"), (TEXT, "text"), (VECTOR, "vector")]))
COMMIT = st.tuples(st.just("commit"))
OTHER_END = st.tuples(st.sampled_from(["rollback", "reopen"]))
HOLD = st.tuples(st.just("hold"))
WRITES = DOCUMENT | DOCUMENT | DOCUMENT | BAD | VECTORS | DESCRIBED | ANSWER | BACKFILL | META
STEPS = st.lists(
    WRITES | WRITES | PRUNE | FORGET | RECREATE | COMMIT | COMMIT | OTHER_END | HOLD, min_size=1, max_size=40
)

QUERIES = [
    [TextTerm("a")],
    [TextTerm("ab"), TextTerm("a", prefix=True)],
    [TextTerm("c++"), TextTerm("日本"), TextTerm("é"), TextTerm("é")],
]


class History:
    """What the engine would know: the documents as the open group leaves them, and the last timestamp."""

    def __init__(self) -> None:
        self.ts = 0
        self.documents: dict[int, tuple[bytes, str]] = {}
        self.saved: tuple[int, dict[int, tuple[bytes, str]]] = (0, {})

    def batch(self) -> Batch:
        self.ts += 1
        return Batch(self.ts)

    def document(self, seq: int, value: bytes | None, field: str, tokens: str) -> Batch:
        batch = self.batch()
        before, old = self.documents.get(seq, (None, None))
        if before is None and value is None:
            return batch
        new = None if value is None else field
        index: list[IndexWrite] = []
        if old != new:
            index.append(
                IndexWrite(RANGE, None if old is None else key(old, seq), None if new is None else key(new, seq))
            )
        text = [TextWrite(TEXT, None if value is None else tokens)]
        batch.writes.append(Write(TABLE, seq, value, before, index, text))
        if value is None:
            del self.documents[seq]
        else:
            self.documents[seq] = (value, field)
        return batch


async def take(storage: Storage, history: History, step: tuple[Any, ...]) -> Any:
    """One step of a history on one storage; `history` must be a copy for each storage."""
    name: str = step[0]
    given_: tuple[Any, ...] = step[1:]
    match name:
        case "document":
            seq, value, field, tokens = given_
            return await storage.apply(history.document(seq, value, field, tokens))
        case "bad":
            batch = history.batch()
            history.ts -= 1
            seq = given_[0]
            batch.writes.append(Write(TABLE, 100, b"half", None, [IndexWrite(RANGE, None, key("half", 100))]))
            batch.writes.append(Write(TABLE, seq, b"x", None if seq in history.documents else b"not there"))
            with pytest.raises(StorageError):
                await storage.apply(batch)
        case "vector":
            seq, generation, vector = given_
            batch = history.batch()
            batch.vectors.append(VectorWrite(VECTOR, generation, seq, vector))
            return await storage.apply(batch)
        case "described":
            seq, generation = given_
            batch = history.batch()
            batch.described.append((VECTOR, generation, seq))
            return await storage.apply(batch)
        case "forget":
            generation, age = given_
            return await storage.forget_vector_log(VECTOR, generation, history.ts - age)
        case "answer":
            batch = history.batch()
            session, number = given_
            batch.request = Request(session, number, batch.ts, b"r")
            try:
                return await storage.apply(batch)
            except StorageError:
                history.ts -= 1
                return "answered already"
        case "backfill":
            seq, field, tokens = given_
            row = (seq, [IndexWrite(RANGE, None, key(field, seq))], [TextWrite(TEXT, tokens)])
            return await storage.put_index_rows(TABLE, [row])
        case "meta":
            return await storage.write_meta(given_[0], given_[1])
        case "prune":
            undo_age, request_age = given_
            return await storage.prune(undo_before=history.ts - undo_age, requests_before=history.ts - request_age)
        case "recreate":
            index, kind = given_[0]
            await storage.drop_index(index, TABLE, kind)
            return await storage.create_index(index, TABLE, kind)
        case "commit":
            history.saved = (history.ts, dict(history.documents))
            return await storage.commit()
        case "rollback" | "reopen":
            history.ts, history.documents = history.saved[0], dict(history.saved[1])
            if name == "rollback":
                return await storage.rollback()
            await storage.close()
            return await storage.open()


async def view(snapshot: Snapshot) -> dict[str, Any]:
    """Everything a snapshot can tell."""
    bounds = [b"", key("a", 4), sequence_key(5), TOP]
    ranges = [
        (index, lower, upper, reverse, limit)
        for index in (RANGE, TABLE)
        for lower in bounds
        for upper in bounds
        for reverse, limit in ((False, 3), (True, 100))
    ]
    return {
        "ts": snapshot.ts,
        "documents": await snapshot.get_many(TABLE, range(10)),
        "rows": [await snapshot.scan(TABLE, i, lo, up, reverse=r, limit=n) for i, lo, up, r, n in ranges],
        "counts": [await snapshot.count(TABLE, index, b"", TOP) for index in (TABLE, RANGE)],
        "stats": [await snapshot.text_stats(TEXT, terms) for terms in QUERIES],
        "vectors": [await snapshot.vectors(VECTOR, generation, after=2, limit=4) for generation in range(3)],
        "changed": [await snapshot.vector_log(VECTOR, n, after=after) for n in range(3) for after in (0, 3, 6)],
        "answers": [await snapshot.request(session, number) for session in "st" for number in range(4)],
        "undo": await snapshot.undo(0),
        "horizon": await snapshot.horizon(),
    }


async def scores(snapshot: Snapshot) -> list[dict[int, float]]:
    """Per query the score of every hit; equal sums may differ in the last bit, so the order is not compared."""
    found = [await snapshot.search_text(TEXT, terms, limit=100) for terms in QUERIES]
    for hits in found:
        assert hits == sorted(hits, key=lambda hit: (-hit.score, -hit.seq))
    return [dict(hits) for hits in found]


async def compare(one: Snapshot, other: Snapshot) -> None:
    assert await view(one) == await view(other)
    for left, right in zip(await scores(one), await scores(other), strict=True):
        assert left == pytest.approx(right, rel=1e-9)
    await one.close()
    await other.close()


async def run(steps: list[tuple[Any, ...]], directory: Path) -> None:
    limits = Limits(prune_rows=3, wal_pages=8)
    sqlite = SqliteStorage(directory, durability="relaxed", limits=limits)
    async with opened(sqlite) as one, opened(MemoryStorage(limits=limits)) as other:
        histories = History(), History()
        held: list[tuple[Snapshot, Snapshot]] = []

        async def let_go() -> None:
            while held:
                await compare(*held.pop())

        for step in steps:
            if step[0] == "hold":
                held.append((await one.snapshot(), await other.snapshot()))
                continue
            if step[0] in ("reopen", "recreate"):
                await let_go()
            assert await take(one, histories[0], step) == await take(other, histories[1], step)
            await compare(await one.head(), await other.head())
            await compare(await one.snapshot(), await other.snapshot())
            assert await one.read_meta() == await other.read_meta()
        await let_go()


@settings(max_examples=100, deadline=None)
@given(STEPS)
def test_sqlite_and_memory_agree_on_every_history(steps: list[tuple[Any, ...]]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        arun(run(steps, Path(directory)))
