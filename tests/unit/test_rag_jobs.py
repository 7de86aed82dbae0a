"""Embedding in the background: nothing lost, nothing embedded twice, and a clear end for everything."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import reflow as rf
from reflow.errors import EmbedderError, ProviderBusy, ProviderError
from reflow.rag.corpus import Corpus
from reflow.rag.costs.spending import Budget, Spending
from reflow.rag.embedders.base import Kind, Vectors
from reflow.rag.ingestion.jobs import JobsStatus, Pace
from reflow.rag.reembed import model_of
from reflow.rag.sources.views import SourceView
from reflow.storage.memory import MemoryStorage
from reflow.testing import HashingEmbedder, Simulation, VirtualClock, simulate
from tests.support import arun


class Embedder(HashingEmbedder):
    """Embeds, except for what a test forbids: texts with "poison" are refused, and `fault` is raised while it is set.
    `gate` holds calls back until it is open."""

    def __init__(self, dims: int = 8, id: str = "testing/hashing") -> None:
        super().__init__(dims)
        self.id = id
        self.fault: Exception | None = None
        self.spoil: Callable[[Vectors], Vectors] = lambda vectors: vectors
        self.gate = asyncio.Event()
        self.gate.set()
        self.asked = asyncio.Event()

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        self.asked.set()
        await self.gate.wait()
        if self.fault is not None:
            self.calls.append((tuple(texts), kind))
            raise self.fault
        vectors = await super().embed(texts, kind)
        if any("poison" in text for text in texts):
            raise ProviderError("an input can't be embedded", "refused", input_refused=True, status=400)
        return self.spoil(vectors)

    @property
    def texts(self) -> Counter[str]:
        """How often each text was asked for, without summaries of sources."""
        return Counter(text for texts, _ in self.calls for text in texts if not text.startswith(("sum", "key ")))


def corpus_of(embedder: Embedder, **options: Any) -> Corpus:
    """Chunks are paragraphs; a summary begins with the key of its source, and keys with "key"."""
    return Corpus("docs", embedder=embedder, splitter=lambda text: text.split("\n\n"), **options)


def paragraphs(name: str, count: int) -> str:
    return "\n\n".join(f"{name} paragraph {number}" for number in range(count))


async def put(sim: Simulation, corpus: Corpus, name: str, text: str, **options: Any) -> str:
    return (await sim.mutation(corpus.sources.put, key=f"key {name}", text=text, **options)).source


async def seen(sim: Simulation, corpus: Corpus, id: str) -> SourceView:
    found = await sim.query(corpus.sources.get, source=id)
    assert found is not None
    return found


class Rows:
    """Everything that a corpus stores."""

    def __init__(self, corpus: Corpus) -> None:
        self.corpus = corpus
        module = rf.Module("rows")
        tables = corpus.tables

        @module.internal_query(owners="all")
        async def chunks(ctx: rf.QueryCtx) -> list[tuple[str, bool, list[float] | None]]:
            found: list[tuple[str, bool, list[float] | None]] = []
            for chunk in await ctx.db.query(tables.Chunk).collect():
                vector = await ctx.db.vector(tables.Chunk.meaning, chunk.id)
                found.append((chunk.text, chunk.embedded, None if vector is None else vector.tolist()))
            return found

        @module.internal_query(owners="all")
        async def count(ctx: rf.QueryCtx) -> dict[str, int]:
            return {table.__name__: await ctx.db.query(table).count() for table in tables}

        self.chunks = chunks
        self.count = count
        self.app = rf.App(modules=[module], components=[corpus])

    async def check(self, sim: Simulation, embedder: Embedder) -> int:
        """Every chunk that is embedded has the vector of its text, no other has one. Returns how many are."""
        rows = await sim.query(self.chunks)
        wanted = await HashingEmbedder(embedder.dims).embed([text for text, _, _ in rows])
        for (text, embedded, vector), expected in zip(rows, wanted, strict=True):
            assert (vector is not None) == embedded, text
            if vector is not None:
                assert np.allclose(vector, expected, atol=1e-6), text
        return sum(embedded for _, embedded, _ in rows)


def test_every_chunk_gets_its_vector_and_the_source_is_ready() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, pace=Pace(batch=32))
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            id = await put(sim, corpus, "a", paragraphs("a", 70))
            assert (await seen(sim, corpus, id)).state == "embedding"
            assert (await sim.query(corpus.jobs.status)).state == "running"
            await sim.quiet()
            assert (await seen(sim, corpus, id)).state == "ready"
            assert await rows.check(sim, embedder) == 70
            assert set(embedder.texts.values()) == {1}
            assert max(len(texts) for texts, _ in embedder.calls) <= 32
            (version,) = await sim.query(corpus.sources.versions, source=id)
            assert version.tokens == 3 * 70
            assert (await sim.query(corpus.jobs.status)).state == "idle"
            assert await sim.query(corpus.jobs.list) == []

    arun(main())


def test_equal_texts_are_embedded_once() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, pace=Pace(batch=4))
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            text = "same\n\nsame\n\nother\n\nsame\n\nthird\n\nsame"
            first = await put(sim, corpus, "a", text)
            second = await put(sim, corpus, "b", text)
            await sim.quiet()
            third = await put(sim, corpus, "c", "third")
            await sim.quiet()
            assert embedder.texts == {"same": 1, "other": 1, "third": 1}
            for id in (first, second, third):
                assert (await seen(sim, corpus, id)).state == "ready"
            assert await rows.check(sim, embedder) == 13
            (version,) = await sim.query(corpus.sources.versions, source=third)
            assert (version.cached, version.tokens) == (1, 0)

    arun(main())


def test_without_the_cache_nothing_is_kept() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, cache=False)
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            await put(sim, corpus, "a", "one\n\none\n\ntwo")
            await sim.quiet()
            await put(sim, corpus, "b", "two")
            await sim.quiet()
            assert embedder.texts == {"one": 1, "two": 2}
            assert (await sim.query(rows.count))["Cached"] == 0

    arun(main())


def test_the_cache_keeps_what_was_used_last() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, limits=rf.Limits(cached_vectors=3, cached_vectors_pruned=2))
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            first = await put(sim, corpus, "a", paragraphs("a", 3))
            await sim.advance(3 * 86_400)
            await put(sim, corpus, "b", "a paragraph 1")
            await sim.quiet()
            assert (await sim.query(rows.count))["Cached"] == 3
            await sim.mutation(corpus.sources.remove, source=first)
            await put(sim, corpus, "d", paragraphs("a", 3))
            await sim.quiet()
            assert embedder.texts["a paragraph 1"] == 1
            assert 2 <= embedder.texts["a paragraph 0"] + embedder.texts["a paragraph 2"] - 1 <= 3

    arun(main())


def test_a_large_import_does_not_hold_up_what_a_person_adds() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, pace=Pace(batch=8, concurrency=1))
        rows = Rows(corpus)
        async with rows.app.in_memory() as backend:
            embedder.gate.clear()
            for number in range(10):
                await backend.mutation(
                    corpus.sources.put, key=f"key {number}", text=paragraphs(f"import {number}", 40), bulk=True
                )
            large = await backend.mutation(corpus.sources.put, key="key large", text=paragraphs("large", 100))
            await embedder.asked.wait()
            small = await backend.mutation(corpus.sources.put, key="key small", text=paragraphs("small", 3))
            embedder.gate.set()
            async with asyncio.timeout(30):
                while (await backend.query(corpus.jobs.status)).waiting:
                    await asyncio.sleep(0.01)
            order = list(embedder.texts)
            assert max(order.index(text) for text in order if text.startswith("small")) < 16
            middle = order[: len(order) // 2]
            assert sum(text.startswith("large") for text in middle) == 100
            assert sum(text.startswith("import") for text in middle) > 20, "the import stands still"
            for added in (large, small):
                view = await backend.query(corpus.sources.get, source=added.source)
                assert view is not None
                assert view.state == "ready"

    arun(main())


def test_a_failure_that_passes_is_waited_for_longer_each_time() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, pace=Pace(first_pause=10, longest_pause=60))
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            embedder.fault = ProviderError("502 Bad Gateway", "busy", retryable=True)
            id = await put(sim, corpus, "a", "one\n\ntwo")
            await sim.quiet()
            pauses: list[float] = []
            for attempt in range(1, 6):
                view = await seen(sim, corpus, id)
                assert (view.state, view.attempts) == ("embedding", attempt)
                assert view.next_try is not None
                pauses.append(view.next_try / 1000 - sim.clock.now())
                (job,) = await sim.query(corpus.jobs.list)
                assert (job.error, job.done, job.total) == ("502 Bad Gateway", 0, 2)
                status = await sim.query(corpus.jobs.status)
                assert (status.state, status.until) == ("waiting", pytest.approx(view.next_try))
                assert len(embedder.calls) == attempt
                await sim.advance(pauses[-1] + 0.01)
            for pause, least in zip(pauses, (10, 20, 40, 60, 60), strict=True):
                assert least <= pause <= 1.25 * least
            embedder.fault = None
            await sim.advance(100)
            assert (await seen(sim, corpus, id)).state == "ready"
            (version,) = await sim.query(corpus.sources.versions, source=id)
            assert (version.attempts, version.next_try, version.error) == (0, None, None)

    arun(main())


def test_a_provider_that_asks_for_patience_gets_it_from_all_sources() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, pace=Pace(patience=60))
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            first = await put(sim, corpus, "a", "one")
            await sim.quiet()
            embedder.calls.clear()
            embedder.fault = ProviderBusy("429 Too Many Requests", 1800, status=429)
            second = await put(sim, corpus, "b", "two")
            await sim.quiet()
            third = await put(sim, corpus, "c", "three")
            fourth = await put(sim, corpus, "d", "one\n\none")
            await sim.advance(1700)
            assert len(embedder.calls) == 1
            status = await sim.query(corpus.jobs.status)
            assert status == JobsStatus(
                state="waiting", until=status.until, reason="429 Too Many Requests", waiting=3, failed=0
            )
            for id in (second, third, fourth):  # those that were never tried say it, too
                view = await seen(sim, corpus, id)
                assert (view.state, view.error) == ("embedding", "429 Too Many Requests")
                assert view.next_try == pytest.approx(status.until, rel=1e-6)
            jobs = await sim.query(corpus.jobs.list)
            assert [job.error for job in jobs] == ["429 Too Many Requests"] * 3
            await sim.mutation(corpus.sources.retry, source=third)
            await sim.quiet()
            assert len(embedder.calls) > 1, "who says so is heard in spite of the pause"
            del embedder.calls[1:]
            for _ in range(3):  # an hour and more of this is no reason to give up
                await sim.advance(2300)
            assert 2 <= len(embedder.calls) <= 7
            embedder.fault = None
            await sim.advance(2300)
            for id in (first, second, third, fourth):
                assert (await seen(sim, corpus, id)).state == "ready"

    arun(main())


def test_each_owner_sees_the_pause_that_another_ones_source_met() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, owner=True, public=True)
        async with rf.App(components=[corpus]).in_memory() as backend:
            ann, bob = (backend.as_(rf.Identity(issuer="https://id.example", subject=name)) for name in ("ann", "bob"))
            embedder.fault = ProviderBusy("429 Too Many Requests", 1800, status=429)
            await ann.mutation(corpus.sources.put, key="a", text="one")
            while (await backend.query(corpus.jobs.paused)) is None:
                await asyncio.sleep(0.01)
            added = await bob.mutation(corpus.sources.put, key="b", text="two")
            view = await bob.query(corpus.sources.get, source=added.source)
            assert view is not None
            assert (view.state, view.error, view.next_try is None) == ("embedding", "429 Too Many Requests", False)
            embedder.fault = None
            await bob.mutation(corpus.sources.retry, source=added.source)
            while (await bob.query(corpus.sources.totals)).embedding:
                await asyncio.sleep(0.01)
            assert (await bob.query(corpus.sources.totals)).ready == 1

    arun(main())


def test_patience_ends_with_the_reason_and_a_retry_goes_on() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, pace=Pace(patience=100))
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            embedder.fault = TimeoutError("nobody answered")
            id = await put(sim, corpus, "a", "one\n\ntwo")
            await sim.advance(1000)
            view = await seen(sim, corpus, id)
            assert view.state == "failed"
            assert view.error is not None
            assert view.error.startswith("nobody answered (")
            calls = len(embedder.calls)
            await sim.advance(10_000)
            assert len(embedder.calls) == calls
            assert (await sim.query(corpus.jobs.status)).failed == 1
            embedder.fault = None
            await sim.mutation(corpus.sources.retry, source=id)
            await sim.quiet()
            assert (await seen(sim, corpus, id)).state == "ready"
            assert (await seen(sim, corpus, id)).error is None
            assert await rows.check(sim, embedder) == 2

    arun(main())


def test_an_embedder_that_never_answers_is_not_waited_for_for_ever() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(
            embedder, limits=rf.Limits(embedding_seconds=0.01), pace=Pace(first_pause=0.01, patience=0.1)
        )
        rows = Rows(corpus)
        async with rows.app.in_memory() as backend:
            embedder.gate.clear()
            added = await backend.mutation(corpus.sources.put, key="key a", text="one")
            async with asyncio.timeout(30):
                while (view := await backend.query(corpus.sources.get, source=added.source)) and view.state != "failed":
                    await asyncio.sleep(0.01)
            assert view is not None
            assert view.error is not None
            assert "limits.embedding_seconds = 0.01" in view.error

    arun(main())


@pytest.mark.parametrize(
    "fault",
    [
        ProviderError("401: the key is not accepted", "key", status=401),
        ProviderError("429: the quota is used up", "quota", status=429),
        EmbedderError("the model file is another one"),
    ],
)
def test_what_no_patience_helps_fails_at_once_with_the_reason(fault: Exception) -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder)
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            embedder.fault = fault
            id = await put(sim, corpus, "a", "one\n\ntwo")
            await sim.quiet()
            view = await seen(sim, corpus, id)
            assert (view.state, view.error) == ("failed", str(fault))
            assert len(embedder.calls) == 1
            embedder.fault = None
            assert await sim.mutation(corpus.sources.retry_all) == 1
            await sim.quiet()
            assert (await seen(sim, corpus, id)).state == "ready"

    arun(main())


def test_one_bad_text_fails_alone() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder)
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            bad = await put(sim, corpus, "bad", paragraphs("a", 16) + "\n\npoison\n\n" + paragraphs("b", 10))
            good = await put(sim, corpus, "good", paragraphs("c", 4))
            await sim.quiet()
            view = await seen(sim, corpus, bad)
            assert (view.state, view.error) == ("failed", "chunk 17: an input can't be embedded")
            assert (await seen(sim, corpus, good)).state == "ready"
            assert await rows.check(sim, embedder) == 30
            assert len(embedder.calls) <= 14, "more than a search by halves needs"

    arun(main())


def test_a_source_of_bad_texts_only_is_given_up_soon() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, limits=rf.Limits(embedding_failures=3))
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            id = await put(sim, corpus, "bad", "\n\n".join(f"poison {n}" for n in range(500)))
            await sim.quiet()
            view = await seen(sim, corpus, id)
            assert view.state == "failed"
            assert view.error is not None
            assert "refused 3 of its chunks" in view.error
            assert len(embedder.calls) < 150

    arun(main())


@pytest.mark.parametrize(
    "spoil",
    [
        lambda vectors: vectors[:-1],
        lambda vectors: vectors[:, :-1],
        lambda vectors: vectors * np.float32("nan"),
        lambda vectors: vectors[0],
    ],
    ids=["short", "dims", "nan", "flat"],
)
def test_vectors_that_can_not_be_right_are_not_stored(spoil: Callable[[Vectors], Vectors]) -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder)
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            embedder.spoil = spoil
            id = await put(sim, corpus, "a", "one\n\ntwo")
            await sim.quiet()
            (job,) = await sim.query(corpus.jobs.list)
            assert job.error is not None
            assert "testing/hashing gave vectors" in job.error
            assert await rows.check(sim, embedder) == 0
            embedder.spoil = lambda vectors: vectors
            await sim.advance(100)
            assert (await seen(sim, corpus, id)).state == "ready"
            assert await rows.check(sim, embedder) == 2

    arun(main())


def test_what_is_stopped_costs_nothing_more_and_goes_on_where_it_was() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, pace=Pace(batch=4, concurrency=1), cache=False)
        rows = Rows(corpus)
        async with rows.app.in_memory() as backend:
            embedder.gate.clear()
            added = await backend.mutation(corpus.sources.put, key="key a", text=paragraphs("a", 40))
            await embedder.asked.wait()
            await backend.mutation(corpus.sources.stop, source=added.source)
            embedder.gate.set()
            async with asyncio.timeout(30):
                while (await backend.query(corpus.jobs.status)).state != "idle":
                    await asyncio.sleep(0.01)
            assert len(embedder.calls) == 1
            (job,) = await backend.query(corpus.jobs.list)
            assert (job.state, job.done, job.total) == ("stopped", 4, 40)
            await backend.mutation(corpus.sources.retry, source=added.source)
            async with asyncio.timeout(30):
                while await backend.query(corpus.jobs.list):
                    await asyncio.sleep(0.01)
            assert set(embedder.texts.values()) == {1}

    arun(main())


@pytest.mark.parametrize("change", ["remove", "replace", "replace twice"])
def test_what_changes_while_it_is_embedded_leaves_nothing_behind(change: str) -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, cache=False)
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            for served in (False, True):
                if served:
                    await put(sim, corpus, "a", "served")
                    await sim.quiet()
                embedder.gate.clear()
                embedder.asked.clear()
                id = await put(sim, corpus, "a", "one\n\ntwo")
                await embedder.asked.wait()
                if change == "remove":
                    await sim.mutation(corpus.sources.remove, source=id)
                else:
                    await put(sim, corpus, "a", "two\n\nthree")
                if change == "replace twice":
                    await put(sim, corpus, "a", "four")
                embedder.gate.set()
                await sim.quiet()
                count = await sim.query(rows.count)
                texts = sorted(text for text, _, _ in await sim.query(rows.chunks))
                if change == "remove":
                    assert (count["Source"], count["Version"], count["TextBlock"]) == (0, 0, 0)
                    assert texts == []
                else:
                    assert texts == (["four"] if change == "replace twice" else ["three", "two"])
                    assert (await seen(sim, corpus, id)).state == "ready"
                    assert await rows.check(sim, embedder) == len(texts)
                assert count["Draft"] == 0
                assert (await sim.query(corpus.jobs.status)).state == "idle"

    arun(main())


def test_after_a_restart_only_what_is_missing_is_embedded() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, pace=Pace(batch=4))
        rows = Rows(corpus)
        storage, clock = MemoryStorage(), VirtualClock()
        async with simulate(rows.app, storage=storage, clock=clock) as sim:
            embedder.fault = ProviderBusy("later", 100)
            id = await put(sim, corpus, "a", paragraphs("a", 40))
            await sim.quiet()
        embedder.fault = None
        embedder.calls.clear()
        async with simulate(rows.app, storage=storage, clock=clock, seed=1) as sim:
            await sim.quiet()
            assert embedder.calls == [], "the provider's pause holds through a restart"
            await sim.advance(200)
            assert (await seen(sim, corpus, id)).state == "ready"
            assert set(embedder.texts.values()) == {1}

    arun(main())


def test_a_budget_holds_work_up_and_its_rise_sets_it_going() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder, pace=Pace(batch=2, concurrency=1), spending=Spending(budgets=[Budget(tokens=10)]))
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            id = await put(sim, corpus, "a", paragraphs("a", 20))
            await sim.advance(1000)
            calls = len(embedder.calls)
            assert calls == 2
            (job,) = await sim.query(corpus.jobs.list)
            assert (job.state, job.done) == ("embedding", 4)
            assert job.error is not None
            assert "the budget is used up" in job.error
            assert (await sim.query(corpus.jobs.status)).state == "waiting"
            await sim.mutation(corpus.ledger.set_budget, per="total", tokens=1000)
            await sim.advance(100)
            assert (await seen(sim, corpus, id)).state == "ready"
            totals = await sim.query(corpus.ledger.totals, period="total")
            assert [(total.work, total.tokens_in >= 60, total.calls) for total in totals] == [("embed", True, 11)]

    arun(main())


def test_owners_share_the_work_and_nothing_else() -> None:
    async def main() -> None:
        embedder = Embedder()
        spending = Spending(budgets=[Budget(tokens=20, each=True)])
        corpus = corpus_of(embedder, owner=True, public=True, spending=spending, pace=Pace(batch=4))
        rows = Rows(corpus)
        ann, bob = (rf.Identity(issuer="https://idp", subject=name, claims={}) for name in ("ann", "bob"))
        async with simulate(rows.app) as sim:
            added = await sim.as_(ann).mutation(corpus.sources.put, key="key a", text="secret one\n\nshared")
            await sim.as_(bob).mutation(corpus.sources.put, key="key b", text="shared\n\nshared")
            greedy = await sim.as_(bob).mutation(corpus.sources.put, key="key c", text=paragraphs("c", 120))
            await sim.advance(5)
            assert embedder.texts["shared"] == 1
            view = await sim.as_(ann).query(corpus.sources.get, source=added.source)
            assert view is not None
            assert view.state == "ready"
            assert await sim.as_(bob).query(corpus.sources.get, source=added.source) is None
            assert await sim.as_(ann).query(corpus.jobs.list) == []
            assert [job.source for job in await sim.as_(bob).query(corpus.jobs.list)] == [greedy.source]
            assert (await sim.as_(ann).query(corpus.jobs.status)).waiting == 0
            assert (await sim.as_(bob).query(corpus.jobs.status)).waiting == 1
            later = await sim.as_(ann).mutation(corpus.sources.put, key="key d", text="third")
            await sim.advance(5)
            view = await sim.as_(ann).query(corpus.sources.get, source=later.source)
            assert view is not None
            assert view.state == "ready", "the budget of one owner holds up another"

    arun(main())


def test_summaries_get_their_vectors() -> None:
    async def main() -> None:
        embedder = Embedder()
        corpus = corpus_of(embedder)
        rows = Rows(corpus)
        async with simulate(rows.app) as sim:
            embedder.fault = TimeoutError("later")
            await put(sim, corpus, "a", "one", summary="all about one")
            await sim.quiet()
            embedder.fault = None
            await sim.advance(1000)
            assert embedder.texts["all about one"] >= 1
            await put(sim, corpus, "b", "two", summary="poison")
            await sim.quiet()
            assert (await sim.query(corpus.jobs.status)).state == "idle"

    arun(main())


def test_another_model_takes_over_while_searches_and_writes_go_on() -> None:
    async def main() -> None:
        old, new = Embedder(8, "testing/old"), Embedder(12, "testing/new")
        before, after = corpus_of(old, others=[new]), corpus_of(new)
        rows = Rows(before)
        storage, clock = MemoryStorage(), VirtualClock()
        async with simulate(rows.app, storage=storage, clock=clock) as sim:
            await put(sim, before, "a", paragraphs("a", 5))
            await put(sim, before, "b", paragraphs("b", 5))
            await sim.quiet()
            assert await rows.check(sim, old) == 10
            assert not new.calls
            old.gate.clear()
            old.asked.clear()
            first = await put(sim, before, "a", paragraphs("c", 5))
            await old.asked.wait()
            await sim.mutation(before.jobs.reembed, model="testing/new")
            old.gate.set()
            await sim.advance(5)
            assert await rows.check(sim, new) == 10, "searches use the new vectors, of the new version, too"
            models = await sim.query(before.jobs.models)
            assert models.changing == "success"
            assert [(row.model, row.state) for row in models.models] == [
                ("testing/old", "retired"),
                ("testing/new", "active"),
            ]
            paid = {total.model for total in await sim.query(before.ledger.totals, period="total")}
            assert paid == {"testing/old", "testing/new"}
            assert (await seen(sim, before, first)).version == 2
            await put(sim, before, "d", "later")
            await sim.quiet()
            assert await rows.check(sim, new) == 11
            assert old.texts["later"] >= 1, "so that one can change back"
            with pytest.raises(rf.ApplicationError, match="it has testing/old, testing/new"):
                await sim.mutation(before.jobs.reembed, model="testing/none")
        rows = Rows(after)
        async with simulate(rows.app, storage=storage, clock=clock, seed=1) as sim:
            await sim.action(after.jobs.forget)
            await put(sim, after, "e", "much later")
            await sim.quiet()
            assert await rows.check(sim, new) == 12
        stranger = corpus_of(Embedder(12, "testing/third"))
        async with simulate(Rows(stranger).app, storage=storage, clock=clock, seed=2) as sim:
            id = await put(sim, stranger, "e", "nobody embeds this")
            await sim.quiet()
            view = await seen(sim, stranger, id)
            assert view.state == "failed"
            assert view.error is not None
            assert "holds vectors of testing/new" in view.error
            assert str(model_of(stranger.embedder)) in view.error

    arun(main())
