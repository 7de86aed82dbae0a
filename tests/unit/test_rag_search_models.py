"""Stored searches when the chunks change over to another model."""

from __future__ import annotations

from typing import Any

import pytest

import reflow as rf
from reflow.errors import CallFailed
from reflow.rag.corpus import Corpus
from reflow.rag.reembed import reembed
from reflow.rag.search.queries import Options
from reflow.storage.memory import MemoryStorage
from reflow.testing import simulate
from reflow.testing.embedder import HashingEmbedder
from tests.support import arun
from tests.support.searched import DIMS, app_of, corpus_of, names
from tests.unit.test_rag_searches import ANIMALS, start


class Another(HashingEmbedder):
    """Another model, of other dimensions."""

    id = "testing/another"


def both() -> tuple[HashingEmbedder, Another]:
    return HashingEmbedder(DIMS), Another(2 * DIMS)


def changing(corpus: Corpus) -> rf.Module:
    """Functions that change the chunks over, as background work does, without the searches."""
    module = rf.Module("changing")

    @module.internal_action(owners="all")
    async def change_over(ctx: rf.ActionCtx, flip: bool = True) -> None:
        for index in (corpus.tables.Chunk.meaning, corpus.tables.Source.meaning):
            await reembed(ctx, index, corpus.embedders[1], lambda row: row.text, flip=flip)

    @module.internal_action(owners="all")
    async def vacuum(ctx: rf.ActionCtx) -> None:
        while await ctx.generations.vacuum(corpus.tables.Chunk.meaning, 1):
            pass

    return module


def test_stored_searches_follow_the_chunks() -> None:
    async def main() -> None:
        old, new = both()
        corpus = corpus_of(embedder=old, others=[new])
        async with simulate(app_of(corpus, changing(corpus))) as sim:
            see: Any = sim
            await sim.action("tests:add_embedded", key="animals", texts=ANIMALS)
            before = await start(sim, corpus, "the cat sat", mode="dense")
            shown = await see.query(corpus.searches.results, before)
            await sim.action("changing:change_over", flip=False)
            # While both models are in use a question is embedded by both, and shows the same through the flip.
            during = await start(sim, corpus, "a dog in the fog", mode="dense")
            await sim.action("changing:change_over")
            assert not (await see.query(corpus.searches.get, during)).outdated
            assert (await see.query(corpus.searches.get, before)).outdated
            assert names((await see.query(corpus.searches.results, before)).rows) == names(shown.rows)
            assert (await see.query(corpus.searches.results, during)).rows[0].text == ANIMALS[1]
            # The next search brings the others along: its vector is of a model that they do not have.
            embedded = len(new.calls)
            after = await start(sim, corpus, "birds over the sea", mode="dense")
            assert (await see.query(corpus.searches.results, after)).rows[0].text == ANIMALS[2]
            await sim.action("docs/searches:follow")
            assert len(new.calls) > embedded
            await sim.action("changing:vacuum")
            await sim.action("docs/searches:follow")
            for id in (before, during, after):
                row = await see.query(corpus.searches.get, id)
                assert (row.outdated, row.model) == (False, f"testing/another@1 ({2 * DIMS})")
            assert names((await see.query(corpus.searches.results, before)).rows)[0] == ANIMALS[0]
            assert {row.input for row in await see.query(corpus.searches.similar, after)} == {
                "the cat sat",
                "a dog in the fog",
            }

    arun(main())


def test_changing_over_takes_the_searches_along() -> None:
    async def main() -> None:
        old, new = both()
        corpus = corpus_of(embedder=old, others=[new])
        async with simulate(app_of(corpus)) as sim:
            see: Any = sim
            for number, text in enumerate(ANIMALS):
                await sim.mutation(corpus.sources.put, str(number), text)
            await sim.quiet()
            id = await start(sim, corpus, "the cat sat", mode="dense")
            await sim.mutation(corpus.jobs.reembed, new.id)
            await sim.advance(10)
            row = await see.query(corpus.searches.get, id)
            assert (row.outdated, row.model) == (False, f"testing/another@1 ({2 * DIMS})")
            await sim.action(corpus.jobs.forget)
            found = await see.query(corpus.searches.results, id)
            assert (found.note, found.rows[0].text) == (None, ANIMALS[0])

    arun(main())


def test_a_search_of_a_model_gone_by_is_run_again_when_it_is_asked_for() -> None:
    async def main() -> None:
        old, new = both()
        corpus = corpus_of(embedder=old, others=[new])
        async with simulate(app_of(corpus, changing(corpus))) as sim:
            see: Any = sim
            await sim.action("tests:add_embedded", key="animals", texts=ANIMALS)
            dense, hybrid = [await start(sim, corpus, "cat", mode=mode) for mode in ("dense", "hybrid")]
            await sim.action("changing:change_over")
            await sim.action("changing:vacuum")
            shown = await see.query(corpus.searches.results, hybrid)
            assert names(shown.rows) == [ANIMALS[0]]
            other = "the question's vector is of another model than the chunks': run the search again"
            assert shown.note == f"by words only: {other}"
            gone = await see.query(corpus.searches.results, dense)
            assert (gone.rows, gone.note) == ([], f"nothing can be found by meaning: {other}")
            told = await see.query(corpus.searches.explain, hybrid)
            assert (told.mode, names(told.rows)) == ("text", [ANIMALS[0]])
            assert await start(sim, corpus, "cat", mode="dense") == dense
            assert (await see.query(corpus.searches.results, dense)).rows[0].text == ANIMALS[0]

    arun(main())


def test_without_the_model_that_made_the_vectors_only_words_count() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        async with simulate(app_of(corpus_of()), storage=storage) as sim:
            await sim.action("tests:add_embedded", key="animals", texts=ANIMALS)
        corpus = corpus_of(embedder=Another(DIMS))
        async with simulate(app_of(corpus), storage=storage) as sim:
            see: Any = sim
            id = await start(sim, corpus, "cat")
            found = await see.query(corpus.searches.results, id)
            assert found.state == "failed"
            assert "testing/another" in found.error
            assert names(found.rows) == [ANIMALS[0]]
            with pytest.raises(CallFailed, match="testing/another"):
                await sim.action(corpus.searches.once, "cat", Options())

    arun(main())
