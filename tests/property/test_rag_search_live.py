"""Rule 6 for searches of a corpus: what a standing search shows is what a fresh run finds, whatever has happened."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow.limits import Limits
from reflow.rag.chunking import split
from reflow.rag.corpus import Corpus
from reflow.rag.search.queries import Narrow, Options, Question
from reflow.rag.search.results import Found, joined
from reflow.rag.tables import Chunk
from reflow.testing import simulate
from tests.support import arun
from tests.support.searched import app_of, corpus_of

WORDS = ["cat", "dog", "sea", "fog", "mat", "bread"]
TEXT = st.lists(st.sampled_from(WORDS), min_size=1, max_size=6).map(" ".join)
KEYS = st.sampled_from(["a", "b", "c", "d"])
CATEGORIES = st.sampled_from(["x", "y"])
WEIGHTS = st.sampled_from([0.0, 0.5, 1.0, 3.0])

ADD = st.tuples(st.just("add"), KEYS, st.lists(TEXT, min_size=1, max_size=4), CATEGORIES, WEIGHTS, st.booleans())
DROP = st.tuples(st.just("drop"), KEYS)
WEIGH = st.tuples(st.just("weigh"), KEYS, WEIGHTS)
MOVE = st.tuples(st.just("move"), KEYS, CATEGORIES)
STEPS = st.lists(st.one_of(ADD, ADD, DROP, WEIGH, MOVE), max_size=8)

OPTIONS = st.builds(
    Options,
    mode=st.sampled_from(["text", "dense", "hybrid"]),
    limit=st.integers(1, 5),
    weight=st.sampled_from([0.0, 0.5, 0.75, 1.0]),
    method=st.sampled_from(["minmax", "rrf"]),
    filter=st.sampled_from([None, '{"category": "x"}', '{"len(text)": {"$lt": 12}}']),
    min_length=st.sampled_from([None, 8]),
    before=st.integers(0, 1),
    after=st.integers(0, 2),
    narrow=st.sampled_from([None, None, Narrow(to=1), Narrow(by="category", to=2)]),
)


def application(corpus: Corpus) -> rf.App:
    """The corpus with a search that no cache and no standing query has a part in: in a mutation."""
    module = rf.Module("fresh")

    @module.mutation
    async def look(ctx: rf.MutationCtx, search: str) -> Found:
        row: Any = await ctx.db.get(rf.Id(search))
        return await corpus.searches.look(ctx, row.question or Question(text=row.input), row.options)

    @module.query
    async def vectors(ctx: rf.QueryCtx, search: str) -> Any:
        """What is needed to judge a search by meaning without the engine's help."""
        row: Any = await ctx.db.get(rf.Id(search))
        tables = corpus.tables
        chunks = await ctx.db.query(tables.Chunk).collect()
        found: list[Any] = []
        for chunk in chunks:
            vector = await ctx.db.vector(tables.Chunk.meaning, chunk.id)
            source = await ctx.db.get(chunk.source)
            if vector is not None and source is not None:
                found.append([chunk.id, chunk.text, source.category, source.importance, vector.tolist()])
        return [found, row.question.embeddings[0].array.tolist()]

    return app_of(corpus, module)


async def take(sim: Any, corpus: Corpus, step: tuple[Any, ...], there: set[str]) -> None:
    """One step of an application's life."""
    kind, key, *more = step
    if kind == "add" and key not in there:
        texts, category, importance, embedded = more
        fields = {"category": category, "importance": importance, "summary": texts[0]}
        if embedded:
            await sim.action("tests:add_embedded", key=key, texts=texts, fields=fields)
        else:
            await sim.mutation("tests:add", key=key, texts=texts, fields=fields)
        there.add(key)
    elif kind == "drop" and key in there:
        await sim.mutation("tests:drop", key=key)
        there.remove(key)
    elif kind in ("weigh", "move") and key in there:
        name = "importance" if kind == "weigh" else "category"
        for row in (await sim.query("docs/sources:list", pagination_opts=rf.PaginationOptions(num_items=10))).page:
            if row.key == key:
                await sim.mutation("tests:change", id=row.id, fields={name: more[0]})


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, wanted=st.lists(st.tuples(TEXT, OPTIONS), min_size=1, max_size=3))
def test_rule_6_a_standing_search_equals_a_fresh_run(
    steps: list[tuple[Any, ...]], wanted: list[tuple[str, Options]]
) -> None:
    async def main() -> None:
        corpus = corpus_of(limits=Limits(text_drift=0.0))  # scores by words follow every change of the corpus
        async with simulate(application(corpus)) as sim:
            there: set[str] = set()
            await take(sim, corpus, ("add", "a", ["cat mat", "dog fog"], "x", 1.0, True), there)
            seen: dict[str, Any] = {}

            async def watch(id: str) -> None:
                async for result in sim.watch(corpus.searches.results, id):
                    seen[id] = result

            ids = [await sim.mutation(corpus.searches.start, text, options) for text, options in wanted]
            await sim.quiet()
            watchers = [asyncio.create_task(watch(id)) for id in dict.fromkeys(ids)]
            try:
                for step in [None, *steps]:
                    if step is not None:
                        await take(sim, corpus, step, there)
                    await sim.quiet()
                    for id in ids:
                        fresh: Any = await sim.mutation("fresh:look", search=id)
                        assert plain(seen[id]) == plain(fresh)
                        told: Any = await sim.query(corpus.searches.explain, id)
                        assert [row.id for row in told.rows] == [row.id for row in fresh.rows]
                        assert not {row.id for row in told.rows} & {one.row.id for one in told.left_out}
            finally:
                for watcher in watchers:
                    watcher.cancel()

    arun(main())


def plain(found: Found) -> Any:
    """All that a result says. A standing query may give hits with equal scores in another order."""
    value: Any = msgspec.to_builtins(found)
    rows = sorted(value["rows"], key=lambda row: (-row["score"], row["_id"]))
    passages = sorted(value["passages"], key=lambda one: (-one["score"], one["chunks"]))
    return [rows, passages, value.get("note"), value.get("narrowed"), value["stale"]]


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(steps=STEPS, text=TEXT, limit=st.integers(1, 6), conditions=st.booleans())
def test_a_search_by_meaning_is_what_arithmetic_says(
    steps: list[tuple[Any, ...]], text: str, limit: int, conditions: bool
) -> None:
    async def main() -> None:
        corpus = corpus_of()
        async with simulate(application(corpus)) as sim:
            see: Any = sim
            there: set[str] = set()
            await take(sim, corpus, ("add", "a", ["cat mat", "dog fog"], "x", 1.0, True), there)
            for step in steps:
                await take(sim, corpus, step, there)
            filter = '{"len(text)": {"$gte": 8}}' if conditions else None
            id = await sim.mutation(corpus.searches.start, text, Options(mode="dense", limit=limit, filter=filter))
            await sim.quiet()
            rows = (await see.query(corpus.searches.results, id)).rows
            chunks, question = await see.query("fresh:vectors", search=id)
            scores: dict[str, float] = {}
            for chunk, body, _, importance, vector in chunks:
                if not conditions or len(body) >= 8:
                    score = float(np.dot(np.array(vector), np.array(question)))
                    scores[chunk] = score * importance if score > 0 else score
            best = sorted(scores.values(), reverse=True)[:limit]
            assert np.allclose([row.score for row in rows], best, atol=1e-5)
            assert all(abs(scores[row.id] - row.score) < 1e-5 for row in rows)

    arun(main())


@given(
    text=st.text(alphabet="ab .\n", min_size=1, max_size=300).filter(lambda text: bool(text.strip())),
    size=st.integers(5, 40),
    overlap=st.integers(0, 4),
    window=st.tuples(st.integers(0, 20), st.integers(0, 20)),
)
def test_neighbours_put_together_are_the_text_itself(
    text: str, size: int, overlap: int, window: tuple[int, int]
) -> None:
    pieces = split(text, max_chars=size, overlap=overlap)
    first, last = sorted(number % len(pieces) for number in window)
    chosen = [
        Chunk(
            source=rf.Id("s"),
            version=1,
            number=number,
            text=piece.text,
            hash="",
            first_line=piece.first_line,
            last_line=piece.last_line,
            start=piece.start,
            end=piece.end,
        )
        for number, piece in enumerate(pieces)
    ][first : last + 1]
    # The splitter leaves out white space around chunks; all else is there, once and in order.
    whole = text[pieces[first].start : max(piece.end for piece in pieces[first : last + 1])]
    assert joined(chosen).split() == whole.split()
