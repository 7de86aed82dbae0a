"""A search finds what comparing every row finds, to the last bit, whatever happened before."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from reflow.limits import Limits
from reflow.search.filters import parse
from reflow.search.metric import VectorChange, VectorQuery, scores
from reflow.search.scan import Part, best, coded
from reflow.search.sparse import Sparse
from reflow.search.vector import VectorStore
from tests.support import arun
from tests.support.vector_model import Model

PLACE = (7, 1)
METRICS = st.sampled_from(["cosine", "dotproduct", "euclidean"])
MAGNITUDES = st.sampled_from([1e-40, 1e-20, 1e-3, 1.0, 30.0, 1e20, 1e38])
FILTERS = st.sampled_from([None, {"color": "red"}, {"size": {"$gt": 2}}, {"$or": [{"color": "blue"}, {"size": 1}]}])


@st.composite
def adversaries(draw: st.DrawFn) -> tuple[Any, Any, int]:
    """Rows that are nearly alike, far from the origin, of mixed magnitudes, or sparse; and a query among them."""
    chance = np.random.default_rng(draw(st.integers(0, 2**32)))
    count, dims = draw(st.integers(40, 300)), draw(st.sampled_from([1, 2, 3, 17, 64]))
    rows = chance.normal(size=(count, dims))
    if draw(st.booleans()):
        rows = rows[:1] + rows * draw(st.sampled_from([1e-7, 1e-4, 1e-2]))
    if draw(st.booleans()):
        rows *= np.exp(chance.normal(scale=draw(st.sampled_from([1.0, 20.0])), size=(count, 1)))
    if draw(st.booleans()):
        rows[chance.random(rows.shape) < 0.7] = 0.0
    rows *= draw(MAGNITUDES)
    with np.errstate(over="ignore", under="ignore"):
        rows = np.clip(rows, -3e38, 3e38).astype(np.float32)
    rows[~rows.any(axis=1)] = 1.0
    query = rows[0].copy() if draw(st.booleans()) else chance.normal(size=dims).astype(np.float32)
    query *= np.float32(draw(st.sampled_from([1.0, 1e-20, 1e10]))) if np.abs(query).max() < 1e25 else np.float32(1.0)
    query[:1] += np.float32(not query.any())
    return rows, query, draw(st.sampled_from([1, 3, 10, 39, 1000]))


@settings(max_examples=300, deadline=None)
@given(
    case=adversaries(),
    metric=METRICS,
    share=st.sampled_from([None, 1.0, 0.5, 0.05]),
    seed=st.integers(0, 99),
    known=st.booleans(),
)
def test_the_scan_equals_comparing_every_row(
    case: Any, metric: Any, share: float | None, seed: int, known: bool
) -> None:
    rows, query, limit = case
    seqs = np.random.default_rng(seed).permutation(len(rows)).astype(np.int64)
    wanted = None if share is None else np.random.default_rng(seed + 1).random(len(rows)) < share
    codes, bounds = coded(metric, rows)
    widest = (float(bounds[1].max()), float(bounds[2].max())) if known else None
    middle = len(rows) // 2  # what is found in the first part rules out rows of the second
    parts = [
        Part(
            rows[here], codes[here], bounds[:, here], seqs[here], None if wanted is None else wanted[here], None, widest
        )
        for here in (slice(middle), slice(middle, None))
    ]
    every = [(float(scores(metric, row[np.newaxis], query)[0]), int(seq)) for row, seq in zip(rows, seqs, strict=True)]
    if wanted is not None:
        every = [hit for hit, kept in zip(every, wanted, strict=True) if kept]
    assert best(metric, query, parts, limit) == sorted(every, key=lambda hit: (-hit[0], hit[1]))[:limit]


@settings(max_examples=200, deadline=None)
@given(case=adversaries(), metric=METRICS)
def test_every_score_is_within_its_bounds(case: Any, metric: Any) -> None:
    from reflow.search.scan import Question

    rows, query, _ = case
    codes, bounds = coded(metric, rows)
    question = Question(metric, query)
    dots = codes.astype(np.float64) @ question.codes.astype(np.float64)
    upper, lower = question.bounds(dots, bounds, None)
    ranked = question.ranked(scores(metric, rows, query))
    assert (lower <= ranked).all()
    assert (ranked <= upper).all()


NUMBERS = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.25, 1.0, 1.5, 3.0])
SPARSES = st.none() | st.lists(st.integers(0, 5), min_size=1, max_size=3, unique=True).map(
    lambda indices: Sparse(np.array(sorted(indices), dtype=np.uint32), np.full(len(indices), 0.5, dtype=np.float32))
)
METADATA = st.fixed_dictionaries(
    {}, optional={"color": st.sampled_from(["red", "blue"]), "size": st.integers(0, 4).map(float)}
)
VECTORS = st.lists(NUMBERS, min_size=3, max_size=3).filter(any).map(lambda numbers: np.array(numbers, dtype=np.float32))
CHANGES = st.builds(
    lambda seq, vector, sparse, space, metadata: VectorChange(PLACE, seq, vector, sparse, space, metadata),
    st.integers(1, 12),
    VECTORS | VECTORS | st.none(),
    SPARSES,
    st.sampled_from([0, 0, 5]),
    METADATA,
)
QUERIES = st.builds(
    lambda limit, vector, sparse, filter, space: VectorQuery(
        limit, vector, sparse, None if filter is None else parse(filter), space
    ),
    st.sampled_from([1, 2, 5, 50]),
    VECTORS | VECTORS | st.none(),
    SPARSES,
    FILTERS,
    st.sampled_from([0, 5, 6]),
)
STEPS = st.lists(
    st.tuples(st.just("apply"), st.lists(CHANGES, min_size=1, max_size=8))
    | st.tuples(st.just("apply"), st.lists(CHANGES, min_size=1, max_size=8))
    | st.tuples(st.sampled_from(["commit", "settle", "rollback", "compact"]), st.none())
    | st.tuples(st.sampled_from(["note", "note", "close", "crash"]), st.none())
    | st.tuples(st.just("drop"), st.sampled_from([0, 5]))
    | st.tuples(st.just("search"), st.tuples(QUERIES, st.integers(0, 3))),
    min_size=4,
    max_size=30,
)


LIMITS = Limits(vector_tail_bytes=200, vector_file_bytes=300)


class Disk:
    """What a storage would know of the files: their names, and all changes since the beginning."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[Any, str] = {}
        self.forgotten = 0

    def note(self, store: VectorStore) -> None:
        notes = store.news()
        for note in notes:
            self.forgotten = max(self.forgotten, note.until)
            if note.name is None:
                self.names.pop(note.place, None)
            else:
                self.names[note.place] = note.name
        store.noted(notes)

    def open(self, model: Model, ts: int) -> VectorStore:
        """What a start makes of file and log."""
        store = VectorStore(LIMITS, self.folder)
        store.create(PLACE, 3, model.metric, "shape")
        store.know(self.names)
        written = store.open_file(PLACE)
        rows = [row for space in (0, 5) for row in model.seen(space, ts)]
        if written is not None:
            assert self.forgotten <= written, "the log of what is not in the file is gone"
            changed = {v.change.seq for v in model.versions if v.born > written or written < v.died <= ts}
            store.forget(PLACE, ts, sorted(changed))
            rows = [row for row in rows if row.seq in changed]
        for row in rows:
            store.load(PLACE, ts, [row])
        store.start(ts)
        return store


@settings(max_examples=200, deadline=None)
@given(metric=METRICS, steps=STEPS, last=st.lists(QUERIES, min_size=2, max_size=4), kept=st.booleans())
def test_any_history_is_searched_exactly(metric: Any, steps: list[Any], last: list[VectorQuery], kept: bool) -> None:
    async def main(folder: Path | None) -> None:
        model = Model(PLACE, metric)
        disk = Disk(folder or Path())
        store = VectorStore(LIMITS, folder)
        store.create(PLACE, 3, metric, "shape")
        store.start(0)
        ts = committed = since = 0

        async def compare(query: VectorQuery, at: int) -> None:
            assert await store.search(PLACE, query, at) == model.search(query, at)
            seen = model.seen(query.space, at)
            assert store.count(PLACE, at, query.space) == len(seen)
            for row in seen:
                vector = store.vector(PLACE, row.seq, at, query.space)
                assert (None if vector is None else vector.tolist()) == (
                    None if row.vector is None else row.vector.tolist()
                )
                assert store.sparse(PLACE, row.seq, at, query.space) == row.sparse
            assert store.vector(PLACE, 99, at, query.space) is None

        for name, value in steps:
            match name:
                case "apply":
                    ts += 1
                    store.apply(ts, value)
                    model.apply(ts, value)
                case "drop":
                    ts += 1
                    store.drop_space(PLACE, value, ts)
                    model.drop_space(value, ts)
                case "commit":
                    committed = ts
                    store.commit()
                case "settle":
                    committed = ts
                    store.commit()
                    await store.join()
                    store.commit()
                case "rollback":
                    ts = committed
                    store.rollback(ts)
                    model.rollback(ts)
                case "note" if folder is not None:
                    # In a group of commits, so what was applied before is durable with it.
                    committed = ts
                    store.commit()
                    disk.note(store)
                case "close" | "crash" if folder is not None:
                    ts = committed = since = max(ts, 1) if name == "close" else max(committed, 1)
                    model.rollback(ts)
                    if name == "close":
                        await store.close()
                        disk.note(store)
                    await store.join()
                    store = disk.open(model, ts)
                case "note" | "close" | "crash":
                    pass
                case "compact":
                    since = committed
                    store.compact(since)
                case _:
                    query, back = value
                    await compare(query, max(since, ts - back))
        for query in last:
            await compare(query, ts)
        await store.close()

    if kept:
        with tempfile.TemporaryDirectory() as folder:
            arun(main(Path(folder)))
    else:
        arun(main(None))
