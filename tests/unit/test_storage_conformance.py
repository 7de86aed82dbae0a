"""What every storage promises, asked of each of them."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from reflow.errors import StorageError
from reflow.limits import Limits
from reflow.search.bm25 import score
from reflow.storage.base import (
    TOP,
    Batch,
    IndexWrite,
    Request,
    Storage,
    TextTerm,
    TextWrite,
    Undo,
    VectorWrite,
    Write,
    sequence_key,
)
from tests.support import arun
from tests.support.storages import (
    KINDS,
    OTHER_TABLE,
    RANGE,
    TABLE,
    TEXT,
    VECTOR,
    change,
    commit,
    insert,
    key,
    make,
    opened,
    reading,
)

Check = Callable[[Storage], Awaitable[None]]


@pytest.fixture(params=KINDS)
def check(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[Check], None]:
    """Runs a check on a fresh storage of each kind."""

    async def run(body: Check) -> None:
        async with opened(make(request.param, tmp_path, Limits(prune_rows=2))) as storage:
            await body(storage)

    return lambda body: arun(run(body))


@asynccontextmanager
async def refused(storage: Storage, part: str) -> AsyncIterator[None]:
    """The block must raise a StorageError that says `part`."""
    with pytest.raises(StorageError, match=part):
        yield


async def keys_of(
    storage: Storage, index: int, lower: bytes, upper: bytes, *, reverse: bool = False, limit: int = 100
) -> list[int]:
    async with reading(storage) as snapshot:
        rows = await snapshot.scan(TABLE, index, lower, upper, reverse=reverse, limit=limit)
        if limit == 100:
            assert await snapshot.count(TABLE, index, lower, upper) == len(rows)
    assert [row.key for row in rows] == sorted((row.key for row in rows), reverse=reverse)
    assert all(row.key.endswith(sequence_key(row.seq)) for row in rows)
    return [row.seq for row in rows]


def test_a_document_is_read_as_it_was_written(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(storage, 10, insert(1, "one"), insert(2, ""))
        async with reading(storage) as snapshot:
            assert snapshot.ts == 10
            assert await snapshot.get(TABLE, 1) == b"one"
            assert await snapshot.get_many(TABLE, [2, 3, 1, 1]) == [b"", None, b"one", b"one"]
        await commit(storage, 11, change(1, "one", "two"), change(2, "", None))
        async with reading(storage) as snapshot:
            assert snapshot.ts == 11
            assert await snapshot.get_many(TABLE, [1, 2]) == [b"two", None]

    check(body)


def test_a_table_is_scanned_in_order_of_creation(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        large = (1 << 62) + 5
        await commit(storage, 1, *(insert(seq) for seq in (5, 1, 256, large, 9)))
        assert await keys_of(storage, TABLE, b"", TOP) == [1, 5, 9, 256, large]
        assert await keys_of(storage, TABLE, b"", TOP, reverse=True, limit=2) == [large, 256]
        assert await keys_of(storage, TABLE, sequence_key(5), sequence_key(256)) == [5, 9]
        assert await keys_of(storage, TABLE, sequence_key(5) + b"\x00", sequence_key(256) + b"\x00") == [9, 256]
        assert await keys_of(storage, TABLE, sequence_key(9)[:7], TOP) == [1, 5, 9, 256, large]
        assert await keys_of(storage, TABLE, b"\x00\x00\x00\x00\x00\x00\x01", TOP) == [256, large]
        assert await keys_of(storage, TABLE, TOP, TOP) == []
        assert await keys_of(storage, TABLE, b"", b"") == []
        assert await keys_of(storage, TABLE, sequence_key(9), sequence_key(5)) == []
        assert await keys_of(storage, TABLE, b"", TOP, limit=0) == []

    check(body)


def test_a_range_index_is_half_open_and_ordered(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        fields = {1: "b", 2: "a", 3: "b", 4: "c", 5: ""}
        await commit(storage, 1, *(insert(seq, f"doc {seq}", field=field) for seq, field in fields.items()))
        assert await keys_of(storage, RANGE, b"", TOP) == [5, 2, 1, 3, 4]
        assert await keys_of(storage, RANGE, b"", TOP, reverse=True) == [4, 3, 1, 2, 5]
        assert await keys_of(storage, RANGE, b"b", b"c") == [1, 3]
        assert await keys_of(storage, RANGE, key("b", 1), key("b", 3)) == [1]
        assert await keys_of(storage, RANGE, key("b", 1) + b"\x00", key("c", 4) + b"\x00") == [3, 4]
        assert await keys_of(storage, RANGE, b"", TOP, limit=2) == [5, 2]
        assert await keys_of(storage, RANGE, b"b", TOP, reverse=True, limit=1) == [4]
        assert await keys_of(storage, RANGE, b"c", b"b") == []
        async with reading(storage) as snapshot:
            (row,) = await snapshot.scan(TABLE, RANGE, b"a", b"b", limit=5)
            assert row == (key("a", 2), 2, b"doc 2")

    check(body)


def test_index_rows_follow_their_documents(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(storage, 1, insert(1, "x", field="a"), insert(2, "y", field="b"))
        await commit(storage, 2, change(1, "x", "z", fields=("a", "c")), change(2, "y", None, fields=("b", None)))
        assert await keys_of(storage, RANGE, b"", TOP) == [1]
        async with reading(storage) as snapshot:
            assert await snapshot.scan(TABLE, RANGE, b"c", TOP, limit=9) == [(key("c", 1), 1, b"z")]

    check(body)


def test_writing_an_index_row_twice_or_removing_none_is_the_same_as_once(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        row = [IndexWrite(RANGE, None, key("a", 1))]
        await commit(storage, 1, insert(1, "x", field="a"))
        await storage.put_index_rows(TABLE, [(1, row, [TextWrite(TEXT, "word")])])
        await storage.put_index_rows(TABLE, [(1, row, [TextWrite(TEXT, "word")])])
        await storage.put_index_rows(TABLE, [(1, [IndexWrite(RANGE, key("none", 9), None)], [])])
        await storage.put_index_rows(TABLE, [(9, [], [TextWrite(TEXT, None)])])
        await storage.commit()
        assert await keys_of(storage, RANGE, b"", TOP) == [1]
        async with reading(storage) as snapshot:
            assert (await snapshot.text_stats(TEXT, [TextTerm("word")])).documents == 1

    check(body)


def test_the_head_sees_what_is_applied_and_a_snapshot_what_is_committed(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(storage, 5, insert(1, "one"))
        await storage.apply(Batch(6, [change(1, "one", "two"), insert(2, "new", field="f", tokens="word")]))
        head = await storage.head()
        assert head.ts == 6
        assert await head.get(TABLE, 1) == b"two"
        assert len(await head.scan(TABLE, RANGE, b"", TOP, limit=5)) == 1
        assert [hit.seq for hit in await head.search_text(TEXT, [TextTerm("word")], limit=5)] == [2]
        assert (await head.text_stats(TEXT, [TextTerm("word")])).documents == 1
        await head.close()
        async with reading(storage) as snapshot:
            assert snapshot.ts == 5
            assert await snapshot.get_many(TABLE, [1, 2]) == [b"one", None]
            assert (await snapshot.text_stats(TEXT, [])).documents == 0
        await storage.commit()
        async with reading(storage) as snapshot:
            assert snapshot.ts == 6
            assert await snapshot.get_many(TABLE, [1, 2]) == [b"two", b"new"]
            assert (await snapshot.text_stats(TEXT, [])).documents == 1

    check(body)


def test_a_snapshot_does_not_move(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(storage, 1, insert(1, "one", field="a", tokens="red"))
        async with reading(storage) as old:
            await commit(storage, 2, change(1, "one", None, fields=("a", None)), insert(2, "two", field="b"))
            await storage.put_index_rows(TABLE, [(1, [], [TextWrite(TEXT, None)])])
            await commit(storage, 3, insert(3, "three", field="c"), vectors=[VectorWrite(VECTOR, 0, 3, b"abcd")])
            assert old.ts == 1
            assert await old.get_many(TABLE, [1, 2, 3]) == [b"one", None, None]
            assert [row.seq for row in await old.scan(TABLE, RANGE, b"", TOP, limit=9)] == [1]
            assert await old.count(TABLE, TABLE, b"", TOP) == 1
            assert [hit.seq for hit in await old.search_text(TEXT, [TextTerm("red")], limit=9)] == [1]
            assert await old.vectors(VECTOR, 0, limit=9) == []
            assert await old.undo(1) == []
        async with reading(storage) as new:
            assert await new.get_many(TABLE, [1, 2, 3]) == [None, b"two", b"three"]
            assert [row.seq for row in await new.scan(TABLE, RANGE, b"", TOP, limit=9)] == [2, 3]
            assert await new.search_text(TEXT, [TextTerm("red")], limit=9) == []

    check(body)


def test_snapshots_taken_while_a_commit_runs_see_all_of_it_or_nothing(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        seen: set[int] = set()
        for ts in range(1, 21):
            await storage.apply(Batch(ts, [insert(2 * ts, field="a"), insert(2 * ts + 1, field="b")]))
            done = asyncio.ensure_future(storage.commit())
            while True:
                last = done.done()
                async with reading(storage) as snapshot:
                    assert snapshot.ts in (ts - 1, ts)
                    assert await snapshot.count(TABLE, TABLE, b"", TOP) == 2 * snapshot.ts
                    assert await snapshot.count(TABLE, RANGE, b"", TOP) == 2 * snapshot.ts
                    seen.add(snapshot.ts)
                if last:
                    break
                await asyncio.sleep(0)
            await done
            assert snapshot.ts == ts
        assert len(seen) == 21

    check(body)


def test_rollback_leaves_nothing(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(storage, 1, insert(1, "one", field="a", tokens="red"))
        await storage.apply(Batch(2, [change(1, "one", "two", fields=("a", "b")), insert(2, field="c", tokens="red")]))
        await storage.apply(Batch(3, [], [VectorWrite(VECTOR, 4, 1, b"abcd")], Request("s", 1, 3, b"r")))
        await storage.write_meta("name", b"value")
        await storage.create_table(OTHER_TABLE)
        await storage.drop_index(RANGE, TABLE, "range")
        await storage.rollback()
        async with reading(storage) as snapshot:
            assert snapshot.ts == 1
            assert await snapshot.get_many(TABLE, [1, 2]) == [b"one", None]
            assert await snapshot.scan(TABLE, RANGE, b"", TOP, limit=9) == [(key("a", 1), 1, b"one")]
            assert (await snapshot.text_stats(TEXT, [TextTerm("red")])).matches == (1,)
            assert await snapshot.vectors(VECTOR, 4, limit=9) == []
            assert await snapshot.request("s", 1) is None
            assert len(await snapshot.undo(0)) == 1
        assert await storage.read_meta() == {}
        async with refused(storage, "10002"):
            await storage.apply(Batch(2, [insert(1, table=OTHER_TABLE)]))
        await storage.rollback()
        await commit(storage, 2, insert(3), vectors=[VectorWrite(VECTOR, 4, 3, b"abcd")])
        async with reading(storage) as snapshot:
            assert await snapshot.vector(VECTOR, 4, 3) == b"abcd"

    check(body)


BAD_BATCHES = {
    "an insert over a document": Batch(4, [insert(1, "again")]),
    "an update of nothing": Batch(4, [change(77, "x", "y")]),
    "a delete of nothing": Batch(4, [change(77, "x", None)]),
    "neither before nor value": Batch(4, [Write(TABLE, 8, None, None)]),
    "an unknown table": Batch(4, [insert(8, table=OTHER_TABLE)]),
    "an unknown index": Batch(4, [Write(TABLE, 8, b"x", None, [IndexWrite(9, None, b"k")])]),
    "an unknown text index": Batch(4, [Write(TABLE, 8, b"x", None, [], [TextWrite(9, "k")])]),
    "an unknown vector index": Batch(4, [], [VectorWrite(9, 0, 1, b"abcd")]),
    "a second answer": Batch(4, [], [], Request("s", 1, 4, b"other")),
    "an answer of another time": Batch(4, [], [], Request("s", 2, 3, b"other")),
    "a timestamp that does not grow": Batch(3, []),
}


@pytest.mark.parametrize("fault", BAD_BATCHES)
def test_a_batch_that_fails_leaves_nothing_and_the_group_goes_on(check: Callable[[Check], None], fault: str) -> None:
    bad = BAD_BATCHES[fault]
    good = [insert(50, "half", field="h", tokens="half")]

    async def body(storage: Storage) -> None:
        await commit(storage, 1, insert(1, "one"), request=Request("s", 1, 1, b"r"))
        await storage.create_table(10003)
        await storage.write_meta("name", b"value")
        await storage.apply(Batch(3, [insert(2, "two", field="a", tokens="red")]))
        with pytest.raises(StorageError):
            await storage.apply(Batch(bad.ts, [*good, *bad.writes], bad.vectors, bad.request))
        head = await storage.head()
        assert head.ts == 3
        assert await head.get_many(TABLE, [1, 2, 50]) == [b"one", b"two", None]
        await head.close()
        await storage.apply(Batch(5, [insert(3, "three", field="b"), insert(1, table=10003)]))
        await storage.commit()
        assert await storage.read_meta() == {"name": b"value"}
        async with reading(storage) as snapshot:
            assert snapshot.ts == 5
            assert await snapshot.get_many(TABLE, [1, 2, 3, 50]) == [b"one", b"two", b"three", None]
            assert await snapshot.count(TABLE, RANGE, b"", TOP) == 2
            assert (await snapshot.text_stats(TEXT, [TextTerm("half")])).matches == (0,)
            assert [undo.ts for undo in await snapshot.undo(0)] == [1, 3, 5, 5]
            assert await snapshot.request("s", 1) == Request("s", 1, 1, b"r")

    check(body)


def test_text_is_found_by_words_and_prefixes_and_ranked_by_bm25(check: Callable[[Check], None]) -> None:
    texts = {1: "red green blue", 2: "red red", 3: "green c++ don't x.y", 4: "日本 é redder", 5: "", 6: "red red"}

    async def body(storage: Storage) -> None:
        await commit(storage, 1, *(insert(seq, tokens=tokens) for seq, tokens in texts.items()))
        terms = [TextTerm("red"), TextTerm("green")]
        async with reading(storage) as snapshot:

            async def found(*terms: TextTerm) -> list[int]:
                return [hit.seq for hit in await snapshot.search_text(TEXT, terms, limit=9)]

            stats = await snapshot.text_stats(TEXT, terms)
            assert (stats.documents, stats.average_length, stats.matches) == (6, 14 / 6, (3, 2))
            hits = await snapshot.search_text(TEXT, terms, limit=9)
            expected = {1: score([1, 1], 3, stats), 2: score([2, 0], 2, stats), 3: score([0, 1], 4, stats)}
            assert {hit.seq: pytest.approx(hit.score) for hit in hits} == {**expected, 6: expected[2]}
            assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
            assert [hit.seq for hit in hits if hit.seq in (2, 6)] == [6, 2], "equal scores: the newest first"
            paged = [await snapshot.search_text(TEXT, terms, limit=1, offset=place) for place in range(5)]
            assert [hit for page in paged for hit in page] == hits
            assert await found(TextTerm("red", prefix=True)) == [6, 2, 4, 1]
            assert await found(TextTerm("c++")) == [3]
            assert await found(TextTerm("c")) == []
            assert await found(TextTerm("don't")) == [3]
            assert await found(TextTerm("x.", prefix=True)) == [3]
            assert await found(TextTerm("日", prefix=True)) == [4]
            assert await found(TextTerm('"'), TextTerm("OR"), TextTerm("a b")) == []
            assert await found() == []

    check(body)


def test_text_statistics_follow_changes_and_deletes(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(storage, 1, insert(1, tokens="a b c"), insert(2, tokens="a"), insert(3, tokens="a a a a"))
        await commit(
            storage,
            2,
            Write(TABLE, 1, b"x", b"v", [], [TextWrite(TEXT, "a d")]),
            Write(TABLE, 3, None, b"v", [], [TextWrite(TEXT, None)]),
        )
        async with reading(storage) as snapshot:
            stats = await snapshot.text_stats(TEXT, [TextTerm("a"), TextTerm("b"), TextTerm("d")])
            assert (stats.documents, stats.average_length, stats.matches) == (2, 1.5, (2, 0, 1))
            hits = await snapshot.search_text(TEXT, [TextTerm("d")], limit=9)
            assert hits == [(1, pytest.approx(score([0, 0, 1], 2, stats)))]

    check(body)


def test_vectors_are_kept_per_generation(check: Callable[[Check], None]) -> None:
    first, second = struct.pack("<2f", 1, 2), struct.pack("<2f", 3, 4)

    async def body(storage: Storage) -> None:
        vectors = [VectorWrite(VECTOR, 1, seq, first) for seq in (5, 2, 9)] + [VectorWrite(VECTOR, 2, 5, second)]
        await commit(storage, 1, vectors=vectors)
        async with reading(storage) as snapshot:
            assert await snapshot.vectors(VECTOR, 1, limit=2) == [(2, first), (5, first)]
            assert await snapshot.vectors(VECTOR, 1, after=5, limit=2) == [(9, first)]
            assert await snapshot.vectors(VECTOR, 2, limit=9) == [(5, second)]
            assert await snapshot.vectors(VECTOR, 3, limit=9) == []
            assert await snapshot.vector(VECTOR, 2, 5) == second
            assert await snapshot.vector(VECTOR, 2, 2) is None
            assert await snapshot.vector(VECTOR, 3, 2) is None
        gone = [VectorWrite(VECTOR, 1, 2, None), VectorWrite(VECTOR, 3, 2, None), VectorWrite(VECTOR, 1, 5, second)]
        await commit(storage, 2, vectors=gone)
        async with reading(storage) as snapshot:
            assert await snapshot.vectors(VECTOR, 1, limit=9) == [(5, second), (9, first)]
        await storage.drop_index(VECTOR, TABLE, "vector")
        await storage.create_index(VECTOR, TABLE, "vector")
        await storage.commit()
        async with reading(storage) as snapshot:
            assert await snapshot.vectors(VECTOR, 1, limit=9) == []
        await commit(storage, 3, vectors=[VectorWrite(VECTOR, 1, 7, first)])
        async with reading(storage) as snapshot:
            assert await snapshot.vectors(VECTOR, 1, limit=9) == [(7, first)]

    check(body)


def test_which_vectors_changed_is_logged_per_generation(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        async def log(generation: int, after: int) -> list[int]:
            async with reading(storage) as snapshot:
                return await snapshot.vector_log(VECTOR, generation, after=after)

        await commit(storage, 1, vectors=[VectorWrite(VECTOR, 1, seq, b"abcd") for seq in (5, 2, 9)])
        await commit(storage, 2, vectors=[VectorWrite(VECTOR, 2, 5, b"abcd"), VectorWrite(VECTOR, 1, 2, None)])
        await storage.apply(Batch(3, described=[(VECTOR, 1, 7), (VECTOR, 1, 5)]))
        assert await log(1, 2) == [], "not committed yet"
        await storage.commit()
        assert [await log(1, after) for after in range(4)] == [[2, 5, 7, 9], [2, 5, 7], [5, 7], []]
        assert await log(2, 0) == [5]
        await storage.apply(Batch(4, described=[(VECTOR, 1, 8)]))
        await storage.rollback()
        assert await log(1, 2) == [5, 7]
        await storage.forget_vector_log(VECTOR, 1, 2)
        assert await log(1, 0) == [2, 5, 7, 9]
        await storage.commit()
        assert (await log(1, 0), await log(2, 0)) == ([5, 7], [5])
        await storage.drop_index(VECTOR, TABLE, "vector")
        await storage.create_index(VECTOR, TABLE, "vector")
        await storage.commit()
        assert (await log(1, 0), await log(2, 0)) == ([], [])

    check(body)


def test_answers_are_kept_by_session_and_number(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(storage, 1, request=Request("s", 7, 1, b"result"))
        await commit(storage, 2, insert(1), request=Request("t", 7, 2, b""))
        async with reading(storage) as snapshot:
            assert await snapshot.request("s", 7) == Request("s", 7, 1, b"result")
            assert await snapshot.request("t", 7) == Request("t", 7, 2, b"")
            assert await snapshot.request("s", 8) is None
            assert await snapshot.request("u", 7) is None

    check(body)


def test_the_undo_log_tells_what_commits_replaced(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(storage, 3, insert(1, "one"), insert(2, "two"))
        await storage.apply(Batch(5, [change(1, "one", "uno")]))
        await storage.apply(Batch(6, []))
        await storage.apply(Batch(8, [change(2, "two", None)]))
        await storage.commit()
        inserts = [Undo(3, TABLE, 1, None), Undo(3, TABLE, 2, None)]
        async with reading(storage) as snapshot:
            assert await snapshot.undo(0) == [*inserts, Undo(5, TABLE, 1, b"one"), Undo(8, TABLE, 2, b"two")]
            assert await snapshot.undo(3) == [Undo(5, TABLE, 1, b"one"), Undo(8, TABLE, 2, b"two")]
            assert await snapshot.undo(8) == []
            assert await snapshot.horizon() == 0

    check(body)


def test_pruning_moves_the_horizon_and_keeps_the_newest_timestamp(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        for ts in range(1, 6):
            await commit(storage, ts, insert(ts), request=Request("s", ts, ts, b"r"))
        assert await storage.prune(undo_before=3, requests_before=3) is True  # two rows of each at a time
        await storage.commit()
        async with reading(storage) as snapshot:
            assert await snapshot.horizon() == 2
            assert [undo.ts for undo in await snapshot.undo(2)] == [3, 4, 5]
            assert [await snapshot.request("s", n) is not None for n in range(1, 6)] == [False, False, True, True, True]
        assert await storage.prune(undo_before=3, requests_before=3) is False
        await storage.rollback()
        async with reading(storage) as snapshot:
            assert await snapshot.horizon() == 2
        while await storage.prune(undo_before=99, requests_before=99):
            pass
        await storage.commit()
        async with reading(storage) as snapshot:
            assert snapshot.ts == 5
            assert await snapshot.horizon() == 4
            assert [undo.ts for undo in await snapshot.undo(0)] == [5]
            assert await snapshot.request("s", 5) is None
            assert await snapshot.get(TABLE, 1) == b"v"

    check(body)


def test_named_values_are_read_back_once_committed(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await storage.write_meta("schema", b"1")
        await storage.write_meta("catalog", b"2")
        assert await storage.read_meta() == {}
        await storage.commit()
        await storage.write_meta("schema", b"3")
        await storage.write_meta("catalog", None)
        await storage.write_meta("never", None)
        await storage.commit()
        assert await storage.read_meta() == {"schema": b"3"}

    check(body)


def test_tables_and_indexes_come_and_go(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(storage, 1, insert(1, field="a", tokens="red"))
        await storage.create_table(TABLE)
        await storage.create_index(RANGE, TABLE, "range")
        await storage.create_index(TEXT, TABLE, "text")
        await storage.commit()
        assert await keys_of(storage, RANGE, b"", TOP) == [1], "creating what is there changes nothing"
        for index, kind in ((RANGE, "range"), (TEXT, "text"), (VECTOR, "vector")):
            await storage.drop_index(index, TABLE, kind)
            await storage.drop_index(index, TABLE, kind)
        await storage.drop_table(TABLE)
        await storage.drop_table(TABLE)
        await storage.commit()
        async with reading(storage) as snapshot:
            async with refused(storage, str(TABLE)):
                await snapshot.get(TABLE, 1)
            async with refused(storage, str(TEXT)):
                await snapshot.search_text(TEXT, [TextTerm("red")], limit=1)
            async with refused(storage, str(VECTOR)):
                await snapshot.vectors(VECTOR, 0, limit=1)
        await storage.create_table(TABLE)
        await storage.create_index(RANGE, TABLE, "range")
        await storage.commit()
        assert await keys_of(storage, RANGE, b"", TOP) == []
        async with refused(storage, "bitmap"):
            await storage.create_index(4, TABLE, "bitmap")

    check(body)


def test_a_closed_snapshot_and_a_closed_storage_refuse(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        snapshot = await storage.snapshot()
        await snapshot.close()
        await snapshot.close()
        async with refused(storage, "closed"):
            await snapshot.get(TABLE, 1)
        async with refused(storage, "closed"):
            await snapshot.undo(0)
        async with refused(storage, "open already"):
            await storage.open()
        await storage.close()
        await storage.close()
        async with refused(storage, "not open"):
            await storage.snapshot()
        async with refused(storage, "not open"):
            await storage.apply(Batch(1, []))
        await storage.open()

    check(body)


def test_what_is_committed_is_there_after_closing_and_what_is_open_is_not(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(
            storage, 7, insert(1, "one", field="a", tokens="red"), vectors=[VectorWrite(VECTOR, 1, 1, b"abcd")]
        )
        await storage.apply(Batch(8, [insert(2, "two")]))
        await storage.close()
        assert await storage.open() == 7
        async with reading(storage) as snapshot:
            assert await snapshot.get_many(TABLE, [1, 2]) == [b"one", None]
            assert await snapshot.vector(VECTOR, 1, 1) == b"abcd"
            assert (await snapshot.text_stats(TEXT, [TextTerm("red")])).matches == (1,)
        await commit(storage, 8, insert(2), vectors=[VectorWrite(VECTOR, 1, 2, b"efgh")])
        assert await keys_of(storage, TABLE, b"", TOP) == [1, 2]

    check(body)


def test_an_empty_commit_changes_nothing(check: Callable[[Check], None]) -> None:
    async def body(storage: Storage) -> None:
        await commit(storage, 7, insert(1))
        await storage.commit()
        await storage.rollback()
        async with reading(storage) as snapshot:
            assert snapshot.ts == 7
            assert len(await snapshot.undo(0)) == 1

    check(body)
