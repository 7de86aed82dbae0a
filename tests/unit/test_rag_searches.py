"""Stored searches: what they show, when it changes, what is used again, and what happens when embedding fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

import reflow as rf
from reflow.errors import ApplicationError, ProviderError
from reflow.limits import Limits
from reflow.rag.corpus import Corpus
from reflow.rag.costs.spending import Budget, Spending
from reflow.rag.faults import in_words
from reflow.rag.search.queries import Narrow, Options, Question
from reflow.storage.memory import MemoryStorage
from reflow.testing import simulate
from reflow.testing.embedder import HashingEmbedder
from tests.support import arun
from tests.support.searched import DIMS, app_of, corpus_of, names

ANIMALS = ["the cat sat on the mat", "a dog in the fog", "birds fly over the sea"]
FOOD = ["bread and butter", "cat food is not for dogs"]


def searched(test: Callable[[Any, Corpus], Awaitable[None]] | None = None, **options: Any) -> Callable[..., Any]:
    """Runs a test inside an application with a corpus of these options and two sources."""

    def decorate(test: Callable[[Any, Corpus], Awaitable[None]]) -> Callable[[], None]:
        async def main() -> None:
            corpus = corpus_of(**options)
            async with simulate(app_of(corpus)) as sim:
                await sim.action("tests:add_embedded", key="animals", texts=ANIMALS, fields={"category": "zoo"})
                await sim.action("tests:add_embedded", key="food", texts=FOOD, fields={"category": "kitchen"})
                await test(sim, corpus)

        def run() -> None:
            arun(main())

        run.__name__ = test.__name__
        run.__doc__ = test.__doc__
        return run

    return decorate(test) if test is not None else decorate


async def start(sim: Any, corpus: Corpus, input: str, **options: Any) -> str:
    """A search that is ready, or has failed."""
    id = await sim.mutation(corpus.searches.start, input, Options(**options))
    await sim.quiet()
    return id


async def results(sim: Any, corpus: Corpus, input: str, **options: Any) -> Any:
    """What a search shows."""
    return await sim.query(corpus.searches.results, await start(sim, corpus, input, **options))


def page(count: int = 10) -> rf.PaginationOptions:
    return rf.PaginationOptions(num_items=count)


@asynccontextmanager
async def watching(sim: Any, function: Any, *args: Any) -> AsyncIterator[list[Any]]:
    """A live query's results, as they come."""
    seen: list[Any] = []

    async def follow() -> None:
        async for result in sim.watch(function, *args):
            seen.append(result)

    task = asyncio.create_task(follow())
    await sim.quiet()
    try:
        yield seen
    finally:
        task.cancel()


# Starting and using again


@searched
async def test_a_search_has_an_id_at_once_and_shows_null_until_it_is_ready(sim: Any, corpus: Corpus) -> None:
    id = await sim.mutation(corpus.searches.start, "cat")
    assert await sim.query(corpus.searches.results, id) is None
    assert await sim.query(corpus.searches.explain, id) is None
    async with watching(sim, corpus.searches.results, id) as seen:
        await sim.quiet()
        assert seen[-1].state == "ready"
        assert set(names(seen[-1].rows)[:2]) <= {ANIMALS[0], ANIMALS[1], FOOD[1]}


@searched
async def test_the_identical_search_is_used_again(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    calls = len(embedder.calls)
    first = await start(sim, corpus, "cat", filter='{"kind": "text", "category": {"$ne": "x"}}')
    again = await start(sim, corpus, "  cat ", filter='{"category": {"$ne":"x"},   "kind": "text"}')
    assert again == first
    row = await sim.query(corpus.searches.get, first)
    assert (row.asks, row.input, row.tokens) == (2, "cat", 1)
    assert len(embedder.calls) == calls + 1


@searched
async def test_other_options_are_another_search_of_the_same_vector(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    ids = [await start(sim, corpus, "cat", limit=limit) for limit in (10, 20, 10, 5)]
    assert ids[0] == ids[2]
    assert len({*ids}) == 3
    assert [call for call in embedder.calls if call[1] == "query"] == [(("cat",), "query")]
    # It needs nothing to be done, so it is ready in the transaction that made it.
    id = await sim.mutation(corpus.searches.start, "cat", Options(mode="dense"))
    assert (await sim.query(corpus.searches.results, id)).state == "ready"


@searched
async def test_two_who_ask_the_same_at_once_share_a_search(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    ids = await asyncio.gather(*(sim.mutation(corpus.searches.start, "sea") for _ in range(5)))
    await sim.quiet()
    assert len({*ids}) == 1
    assert sum(call == (("sea",), "query") for call in embedder.calls) == 1


@searched
async def test_words_alone_need_no_vector(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    calls = len(embedder.calls)
    id = await sim.mutation(corpus.searches.start, "cat", Options(mode="text"))
    found = await sim.query(corpus.searches.results, id)
    assert set(names(found.rows)) == {ANIMALS[0], FOOD[1]}
    both = await sim.query(corpus.searches.results, id, "hybrid")
    assert names(both.rows) == names(found.rows)
    assert both.note == "by words only: the question has no vector"
    assert (await sim.query(corpus.searches.results, id, "dense")).rows == []
    await sim.quiet()
    assert len(embedder.calls) == calls


# What is shown


@searched
async def test_a_search_is_live(sim: Any, corpus: Corpus) -> None:
    for mode in ("text", "dense", "hybrid"):
        id = await start(sim, corpus, "zebra", mode=mode)
        async with watching(sim, corpus.searches.results, id) as seen:
            assert "zebra crossing" not in names(seen[-1].rows)
            await sim.action("tests:add_embedded", key="late", texts=["zebra crossing"])
            await sim.quiet()
            assert names(seen[-1].rows)[0] == "zebra crossing"
            await sim.mutation("tests:drop", key="late")
            await sim.quiet()
            assert "zebra crossing" not in names(seen[-1].rows)


@searched
async def test_a_chunk_is_found_by_words_before_it_has_a_vector(sim: Any, corpus: Corpus) -> None:
    await sim.mutation("tests:add", key="new", texts=["a brand new platypus"])
    found = await results(sim, corpus, "platypus")
    row = next(row for row in found.rows if row.text == "a brand new platypus")
    assert (row.embedded, row.dense.rank, row.words.rank) == (False, None, 1)
    assert await sim.query(corpus.searches.near, row.id) is None


@searched
async def test_the_same_question_side_by_side(sim: Any, corpus: Corpus) -> None:
    id = await start(sim, corpus, "cat dog")
    shown = {mode: await sim.query(corpus.searches.results, id, mode) for mode in ("text", "dense", "hybrid")}
    for mode, found in shown.items():
        bars = [row.bar for row in found.rows]
        assert bars[0] == 1.0
        assert bars == sorted(bars, reverse=True)
        assert all(0 <= bar <= 1 for bar in bars), mode
        assert [row.score for row in found.rows] == sorted((row.score for row in found.rows), reverse=True)
    assert all(row.dense.rank is None for row in shown["text"].rows)
    assert all(row.words.rank is None for row in shown["dense"].rows)
    assert len((await sim.query(corpus.searches.history, page())).page) == 1


@searched
async def test_rows_say_where_they_are_from(sim: Any, corpus: Corpus) -> None:
    row = (await results(sim, corpus, "birds fly", mode="text")).rows[0]
    shown = (row.source_key, row.source_name, row.version, row.number, row.first_line, row.last_line, row.category)
    assert shown == ("animals", "Animals", 1, 2, 3, 3, "zoo")
    assert (row.start, row.end) == (40, 62)


@searched(filters=("year",))
async def test_conditions_hold_in_every_mode(sim: Any, corpus: Corpus) -> None:
    await sim.action("tests:add_embedded", key="old", texts=["cat"], fields={"year": 1999})
    new = await sim.action("tests:add_embedded", key="new", texts=["cat and more of it"], fields={"year": 2024})

    async def texts(mode: Any, **options: Any) -> set[str]:
        return set(names((await results(sim, corpus, "cat", mode=mode, **options)).rows))

    for mode in ("text", "dense", "hybrid"):
        assert await texts(mode, filter='{"year": {"$gte": 2000}}') == {"cat and more of it"}
        either = '{"$or": [{"year": 1999}, {"year": {"$gt": 2023}}]}'
        assert await texts(mode, filter=either) == {"cat", "cat and more of it"}
        assert await texts(mode, sources=[new]) == {"cat and more of it"}
        assert "cat" not in await texts(mode, min_length=4)
        assert await texts(mode, filter='{"len(text)": {"$lte": 3}}') == {"cat"}
        assert await texts(mode, filter='{"category": {"$in": ["zoo"]}}') <= set(ANIMALS)
        assert await texts(mode, filter='{"year": 1999}', min_length=4) == set()


@searched
async def test_neighbours_are_put_together_without_repeating_what_overlaps(sim: Any, corpus: Corpus) -> None:
    # Five chunks of "one two three four five six", each with half of the one before.
    words = "one two three four five six".split()
    pairs = [f"{first} {second}" for first, second in pairwise(words)]
    source = await sim.action("tests:add_embedded", key="numbers", texts=pairs)
    chunks = (await results(sim, corpus, "one", limit=100, mode="dense", sources=[source])).rows
    for row in chunks:
        start = " ".join(words).index(row.text)
        await sim.mutation("tests:change", id=row.id, fields={"start": start, "end": start + len(row.text)})
        await sim.mutation("tests:change", id=row.id, fields={"first_line": 1, "last_line": 1})
    found = await results(sim, corpus, "three", mode="text", limit=1, before=1, after=1)
    passage = found.passages[0]
    assert passage.text in ("one two three four", "two three four five")
    assert passage.hits == [found.rows[0].id]
    assert len(passage.chunks) == 3
    assert found.rows[0].passage == 0
    both = await results(sim, corpus, "one six", mode="text", before=1, after=1, sources=[source])
    assert sorted(one.text for one in both.passages) == ["four five six", "one two three"]
    together = await results(sim, corpus, "one six", mode="text", before=2, after=2, sources=[source])
    assert [one.text for one in together.passages] == ["one two three four five six"]
    assert [row.passage for row in together.rows] == [0, 0]
    assert (await results(sim, corpus, "one", mode="text")).passages == []


@searched(embedder=HashingEmbedder(1024))
async def test_importance_is_exact_beyond_the_candidates(sim: Any, corpus: Corpus) -> None:
    crowd = [f"cat number {number}" for number in range(80)]
    await sim.action("tests:add_embedded", key="crowd", texts=crowd)
    weak = "cat among very many other words that have nothing to do with it at all indeed"
    source = await sim.action("tests:add_embedded", key="dear", texts=[weak])
    for mode in ("text", "dense"):
        id = await start(sim, corpus, "cat", mode=mode, limit=1)
        assert (await sim.query(corpus.searches.results, id)).rows[0].text != weak
        async with watching(sim, corpus.searches.results, id) as seen:
            await sim.mutation("tests:change", id=source, fields={"importance": 50.0})
            await sim.quiet()
            assert seen[-1].rows[0].text == weak, "a change of weights is seen live"
            assert seen[-1].rows[0].importance == 50
            await sim.mutation("tests:change", id=source, fields={"importance": 0.0})
            await sim.quiet()
            assert seen[-1].rows[0].text != weak
            await sim.mutation("tests:change", id=source, fields={"importance": 1.0})


@searched
async def test_hierarchical_searches_narrow_to_the_nearest_sources(sim: Any, corpus: Corpus) -> None:
    about = {"category": "sport", "summary": "football and tennis with balls"}
    await sim.action("tests:add_embedded", key="sport", texts=["a cat plays football", "tennis"], fields=about)
    about = {"category": "sport", "summary": "chess is played on a board"}
    await sim.action("tests:add_embedded", key="chess", texts=["the cat won at chess"], fields=about)
    sources = await results(sim, corpus, "football", narrow=Narrow(to=1))
    assert sources.narrowed == ["Sport"]
    assert {row.source_name for row in sources.rows} == {"Sport"}
    categories = await results(sim, corpus, "football", narrow=Narrow(by="category", to=1))
    assert categories.narrowed == ["sport"]
    assert {row.source_name for row in categories.rows} == {"Sport", "Chess"}
    # By words alone the sources are still chosen by meaning.
    words = await results(sim, corpus, "football cat", mode="text", narrow=Narrow(to=1))
    assert names(words.rows) == ["a cat plays football"]


@searched
async def test_without_summaries_nothing_is_narrowed(sim: Any, corpus: Corpus) -> None:
    found = await results(sim, corpus, "cat", narrow=Narrow(to=1))
    assert found.note == "not narrowed: no source near the question has a summary with a vector"
    assert found.rows


@searched
async def test_what_is_explained_is_what_is_shown(sim: Any, corpus: Corpus) -> None:
    for mode in ("text", "dense", "hybrid"):
        for more in ({}, {"filter": '{"category": "zoo"}'}, {"method": "rrf", "weight": 0.5}):
            id = await start(sim, corpus, "cat dog", mode=mode, limit=2, **more)
            found = await sim.query(corpus.searches.results, id)
            told = await sim.query(corpus.searches.explain, id)
            assert names(told.rows) == names(found.rows)
            assert [row.score for row in told.rows] == pytest.approx([row.score for row in found.rows])
            shown = {row.id for row in told.rows}
            assert not shown & {one.row.id for one in told.left_out}
            assert all(one.why for one in told.left_out)
            if "filter" in more and mode != "dense":
                reasons = [one.why for one in told.left_out if one.row.text == FOOD[1]]
                assert reasons
                assert "filter" in reasons[0]


# Neighbours of a chunk


@searched
async def test_a_chunk_is_not_among_its_neighbours(sim: Any, corpus: Corpus) -> None:
    cat = (await results(sim, corpus, "mat", mode="text")).rows[0]
    async with watching(sim, corpus.searches.near, cat.id) as seen:
        assert seen[-1].target.id == cat.id
        assert len(seen[-1].rows) == 4
        assert cat.id not in [row.id for row in seen[-1].rows]
        await sim.action("tests:add_embedded", key="twin", texts=[cat.text])
        await sim.quiet()
        assert seen[-1].rows[0].text == cat.text
        assert seen[-1].rows[0].score == pytest.approx(1.0)
    others = await sim.query(corpus.searches.near, cat.id, other_sources=True)
    assert {row.source_name for row in others.rows} == {"Food", "Twin"}
    assert len((await sim.query(corpus.searches.near, cat.id, 1)).rows) == 1
    long = await sim.query(corpus.searches.near, cat.id, min_length=20)
    assert all(len(row.text) >= 20 for row in long.rows)


@searched
async def test_a_chunk_that_could_not_be_embedded_has_no_neighbours(sim: Any, corpus: Corpus) -> None:
    await sim.mutation("tests:add", key="new", texts=["poison"])
    row = (await results(sim, corpus, "poison", mode="text")).rows[0]
    async with watching(sim, corpus.searches.near, row.id) as seen:
        assert seen == [None]
        await sim.mutation("tests:change", id=row.id, fields={"error": "the provider refuses it"})
        await sim.quiet()
        assert (seen[-1].rows, seen[-1].error) == ([], "the provider refuses it")


# Searches among searches


@searched
async def test_earlier_searches_are_found_again(sim: Any, corpus: Corpus) -> None:
    cat = await start(sim, corpus, "where do cats sit")
    await start(sim, corpus, "where do cats sit", mode="dense")
    near = await start(sim, corpus, "where do cats sleep")
    far = await start(sim, corpus, "butter")
    similar = await sim.query(corpus.searches.similar, cat)
    assert [row._id for row in similar] == [near, far]
    assert similar[0].score > similar[1].score
    assert {row.input for row in await sim.query(corpus.searches.past, "cat")} == {
        "where do cats sit",
        "where do cats sleep",
    }
    listed = await sim.query(corpus.searches.history, page())
    assert [row.input for row in listed.page][:2] == ["butter", "where do cats sleep"]
    await start(sim, corpus, "where do cats sit")
    await sim.advance(1)
    await start(sim, corpus, "where do cats sit")
    assert (await sim.query(corpus.searches.history, page(1))).page[0].input == "where do cats sit"


@searched
async def test_pinned_searches_are_listed_and_deleted_ones_are_gone(sim: Any, corpus: Corpus) -> None:
    cat, dog = [await start(sim, corpus, word) for word in ("cat", "dog")]
    await sim.mutation(corpus.searches.pin, cat, True, "  Cats  ")
    pinned = await sim.query(corpus.searches.history, page(), True)
    assert [(row._id, row.name) for row in pinned.page] == [(cat, "Cats")]
    assert [row.input for row in (await sim.query(corpus.searches.history, page(), False)).page] == ["dog"]
    await sim.mutation(corpus.searches.pin, cat, False)
    assert (await sim.query(corpus.searches.history, page(), True)).page == []
    await sim.mutation(corpus.searches.delete, dog)
    await sim.mutation(corpus.searches.delete, dog)
    await sim.mutation(corpus.searches.delete, "no such thing")
    with pytest.raises(ApplicationError, match="no search of 'docs'"):
        await sim.query(corpus.searches.results, dog)


@searched(limits=Limits(searches_kept=3))
async def test_what_was_used_longest_ago_goes_unless_it_is_pinned(sim: Any, corpus: Corpus) -> None:
    first = await start(sim, corpus, "cat")
    await sim.mutation(corpus.searches.pin, first, True)
    for number in range(6):
        await sim.advance(1)
        await start(sim, corpus, f"question {number}")
    listed = await sim.query(corpus.searches.history, page())
    assert [row.input for row in listed.page] == ["question 5", "question 4", "question 3", "cat"]


@searched
async def test_deleted_while_it_runs(sim: Any, corpus: Corpus) -> None:
    id = await sim.mutation(corpus.searches.start, "cat")
    await sim.mutation(corpus.searches.delete, id)
    await sim.quiet()
    assert (await sim.query(corpus.searches.history, page())).page == []


# Failures


@searched
async def test_a_search_that_fails_for_now_shows_words_and_tries_again(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    embedder.failures.extend([ProviderError("overloaded", "busy", retryable=True), ConnectionError("reset")])
    id = await sim.mutation(corpus.searches.start, "cat")
    await sim.quiet()
    waiting = await sim.query(corpus.searches.results, id)
    assert (waiting.state, waiting.error) == ("pending", "overloaded")
    assert waiting.note == "by words only: the question has no vector"
    assert set(names(waiting.rows)) == {ANIMALS[0], FOOD[1]}
    await sim.advance(10)
    found = await sim.query(corpus.searches.results, id)
    assert (found.state, found.error, found.note) == ("ready", None, None)


@pytest.mark.parametrize(
    ("error", "calls"),
    [
        (ProviderError("the key is not accepted", "key"), 1),
        (ProviderError("overloaded", "busy", retryable=True), 5),
        (rf.RetryAfter(3600, "come back in an hour"), 1),
        (OSError("no route"), 5),
    ],
)
def test_a_search_that_fails_says_why_and_can_be_started_again(error: Exception, calls: int) -> None:
    @searched
    async def body(sim: Any, corpus: Corpus) -> None:
        embedder: Any = corpus.embedder
        embedder.failures.extend([error] * calls)
        for mode in ("hybrid", "dense"):
            before = len(embedder.calls)
            id = await sim.mutation(corpus.searches.start, "cat", Options(mode=mode))
            await sim.advance(60)
            row = await sim.query(corpus.searches.get, id)
            assert (row.state, row.error) == ("failed", in_words(error))
            assert len(embedder.calls) - before == calls
            shown = await sim.query(corpus.searches.results, id)
            assert bool(shown.rows) == (mode == "hybrid")
            assert await sim.mutation(corpus.searches.start, "cat", Options(mode=mode)) == id
            await sim.quiet()
            again = await sim.query(corpus.searches.results, id)
            assert (again.state, again.error) == ("ready", None)
            assert again.rows[0].dense.rank is not None
            embedder.failures.extend([error] * calls)
            await sim.mutation(corpus.searches.delete, id)

    body()


@searched
async def test_a_rerun_shows_the_former_results_until_it_is_over(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    id = await start(sim, corpus, "cat")
    calls = len(embedder.calls)
    await sim.mutation(corpus.searches.rerun, id)
    assert (await sim.query(corpus.searches.results, id)).rows
    await sim.quiet()
    assert len(embedder.calls) == calls + 1
    embedder.failures.append(ProviderError("no", "key"))
    await sim.mutation(corpus.searches.rerun, id)
    await sim.quiet()
    found = await sim.query(corpus.searches.results, id)
    assert (found.state, found.error) == ("failed", "no")
    assert found.rows[0].dense.rank is not None


def test_a_search_survives_the_end_of_the_server() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        stuck = StuckEmbedder(DIMS)
        async with simulate(app_of(corpus_of(embedder=stuck)), storage=storage) as sim:
            corpus = corpus_of(embedder=stuck)
            await sim.mutation("tests:add", key="a", texts=["a cat"])
            stuck.stuck = True
            id = await sim.mutation("docs/searches:start", input="cat")
            await stuck.reached.wait()
        corpus = corpus_of()
        async with simulate(app_of(corpus), storage=storage) as sim:
            await sim.advance(60)
            found = await sim.query(corpus.searches.results, id)
            assert found is not None
            assert found.state == "ready"

    arun(main())


class StuckEmbedder(HashingEmbedder):
    """Never answers."""

    def __init__(self, dims: int) -> None:
        super().__init__(dims)
        self.stuck = False
        self.reached = asyncio.Event()

    async def embed(self, texts: Sequence[str], kind: Any = "document") -> Any:
        if self.stuck:
            self.reached.set()
            await asyncio.Event().wait()
        return await super().embed(texts, kind)


@searched(spending=Spending(budgets=[Budget(tokens=2, work="search")]))
async def test_a_budget_stops_searches_and_the_ledger_knows_them(sim: Any, corpus: Corpus) -> None:
    first = await start(sim, corpus, "the cat")
    assert (await sim.query(corpus.searches.get, first)).state == "ready"
    second = await start(sim, corpus, "the dog")
    row = await sim.query(corpus.searches.get, second)
    assert row.state == "failed"
    assert "budget" in (row.error or "")
    with pytest.raises(ApplicationError, match="budget"):
        await sim.action(corpus.searches.once, "sea")
    assert names((await results(sim, corpus, "dog", mode="text")).rows)


# In the application's own functions


@searched
async def test_searching_once_stores_nothing_but_what_it_took(sim: Any, corpus: Corpus) -> None:
    found = await sim.action(corpus.searches.once, "cat", Options(before=1))
    stored = await results(sim, corpus, "cat", before=1)
    assert names(found.rows) == names(stored.rows)
    assert [one.text for one in found.passages] == [one.text for one in stored.passages]
    assert [(one.work, one.tokens_in) for one in found.spent] == [("search", 1)]
    totals = await sim.query("docs/ledger:totals")
    assert [(total.work, total.entries) for total in totals] == [("search", 2)]


def test_a_mutation_can_search_with_its_own_writes() -> None:
    corpus = corpus_of()
    module = rf.Module("own")

    @module.mutation
    async def add_unless_known(ctx: rf.MutationCtx, question: Question) -> bool:
        known = await corpus.searches.look(ctx, question, Options(mode="text", limit=1))
        if known.rows:
            return False
        table = corpus.tables
        source = await ctx.db.insert(table.Source(key="k", name="K", kind="text", state="ready", version=1))
        chunk = table.Chunk(source=source, version=1, number=0, text=question.text, hash="h", first_line=1, last_line=1)
        await ctx.db.insert(chunk)
        return len((await corpus.searches.look(ctx, question, Options(mode="text"))).rows) == 1

    async def main() -> None:
        async with simulate(app_of(corpus, module)) as sim:
            assert await sim.mutation(add_unless_known, Question(text="walrus"))
            assert not await sim.mutation(add_unless_known, Question(text="walrus"))

    arun(main())


@searched
async def test_choices(sim: Any, corpus: Corpus) -> None:
    found = await sim.query(corpus.searches.choices)
    assert found.categories == ["kitchen", "zoo"]
    assert found.filters == ["source", "category", "kind", "len(text)"]
    assert (found.transforms, found.rerank, found.limit) == ([], False, 100)


# Bad input


BAD: list[tuple[dict[str, Any], str]] = [
    ({"input": "  "}, "ask for something"),
    ({"input": "x" * 8193}, "at most 8192 characters"),
    ({"input": "a", "options": {"limit": 0}}, "1 to 100 results, not 0"),
    ({"input": "a", "options": {"limit": 101}}, "1 to 100 results, not 101"),
    ({"input": "a", "options": {"weight": 1.5}}, "weight is the share of meaning, 0 to 1"),
    ({"input": "a", "options": {"mode": "magic"}}, "Invalid enum value 'magic'"),
    ({"input": "a", "options": {"before": 11}}, "before is a number of neighbours, 0 to 10"),
    ({"input": "a", "options": {"minLength": -1}}, "minLength"),
    ({"input": "a", "options": {"filter": "{"}}, "The filter is no JSON"),
    ({"input": "a", "options": {"filter": '{"kind": "' + "x" * 65536 + '"}'}}, "A filter has at most 65536 characters"),
    ({"input": "a", "options": {"filter": '{"kind": NaN}'}}, "This filter can't be used"),
    ({"input": "a", "options": {"filter": "[1]"}}, "must be a JSON object"),
    ({"input": "a", "options": {"filter": '{"colour": 1}'}}, "It can use source, category, kind"),
    ({"input": "a", "options": {"filter": '{"kind": {"$like": 1}}'}}, "This filter can't be used"),
    ({"input": "a", "options": {"sources": []}}, "sources names 1 to 1000"),
    ({"input": "a", "options": {"sources": ["x"]}}, "'x' is no source of 'docs'"),
    ({"input": "a", "options": {"transform": "x"}}, "no transformation 'x'"),
    ({"input": "a", "options": {"rerank": True}}, "no reranker"),
    ({"input": "a", "options": {"narrow": {}, "sources": ["x"]}}, "sources are chosen already"),
    ({"input": "a", "options": {"narrow": {"to": 0}}}, "narrow.to is a number of sources"),
    ({"input": "a", "options": {"colour": 1}}, "unknown field `colour`"),
    ({"input": 7}, "Expected `str`"),
]


@searched
async def test_rule_9_bad_searches_are_refused_and_change_nothing(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    calls = len(embedder.calls)
    for arguments, message in BAD:
        for path, call in (("start", sim.mutation), ("find", sim.action)):
            with pytest.raises(rf.ReflowError) as refused:
                await call(f"docs/searches:{path}", **arguments)
            assert message in str(refused.value)
    await sim.quiet()
    assert (await sim.query(corpus.searches.history, page())).page == []
    assert len(embedder.calls) == calls


@searched
async def test_rule_9_ids_of_something_else_are_refused(sim: Any, corpus: Corpus) -> None:
    search = await start(sim, corpus, "cat")
    chunk = (await sim.query(corpus.searches.results, search)).rows[0].id
    for id in ("", "x", chunk, "k" * 5000):
        for function in ("results", "explain", "get", "similar"):
            with pytest.raises(ApplicationError, match="is no search of 'docs'"):
                await sim.query(f"docs/searches:{function}", search_id=id)
        for function in ("rerun", "pin"):
            with pytest.raises(ApplicationError, match="is no search of 'docs'"):
                await sim.mutation(f"docs/searches:{function}", search_id=id)
    for id in ("", "x", search):
        with pytest.raises(ApplicationError, match="is no chunk of 'docs'"):
            await sim.query(corpus.searches.near, id)
    for limit in (0, 101):
        with pytest.raises(ApplicationError, match="1 to 100 results"):
            await sim.query(corpus.searches.near, chunk, limit)
