"""The playground's functions as clients see them: paths, arguments and results of the article's application."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from article.lib import embeddings
from reflow.rag.embedders.base import Kind, Vectors
from reflow.testing.embedder import HashingEmbedder
from tests.support import arun
from tests.support.article import FIRST_PAGE, chunks_of, playing

SOURCE_KEYS = {
    "_id", "_creationTime", "name", "chunkIds", "chunkCount", "saved", "state", "embedded", "totalTokens",
    "embeddingMs", "bulk", "job", "firstChunkText",
}  # fmt: skip
CHUNK_KEYS = {"_id", "_creationTime", "text", "sourceId", "chunkIndex", "lines", "sourceName"}
RESULT_KEYS = {
    "_id", "text", "name", "file", "lines", "chunkIndex", "sourceId", "sourceName", "score",
}  # fmt: skip
SEARCH_KEYS = {
    "_id", "_creationTime", "input", "count", "state", "model", "relatedChunks", "inputTokens", "embeddingMs",
    "queryMs", "saveSearchMs", "job",
}  # fmt: skip


class Failing(HashingEmbedder):
    """Fails whenever a text holds one of the given words."""

    def __init__(self, *words: str) -> None:
        super().__init__()
        self.words = words

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        for word in self.words:
            if any(word in text for text in texts):
                raise ConnectionError(f"no model for {word}")
        return await super().embed(texts, kind)


class Held(HashingEmbedder):
    """Waits for a sign before it embeds documents."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = asyncio.Event()
        self.go = asyncio.Event()

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        if kind == "document":
            self.asked.set()
            await self.go.wait()
        return await super().embed(texts, kind)


# The shapes that cross the wire


def test_add_gives_null_and_the_source_becomes_saved() -> None:
    async def main() -> None:
        async with playing() as play:
            assert await play("sources:add", name="bees", chunks=chunks_of(["Bees make honey", "A hive"])) is None
            await play.backend.settled()
            (row,) = await play.sources()
            assert row.keys() == SOURCE_KEYS
            assert row["name"] == "bees"
            assert row["firstChunkText"] == "Bees make honey"
            assert (row["saved"], row["state"], row["chunkCount"]) == (True, "saved", 2)
            assert len(row["chunkIds"]) == 2
            assert row["totalTokens"] == 5
            page = await play("sources:paginateChunks", paginationOpts=FIRST_PAGE)
            assert page.keys() >= {"page", "isDone", "continueCursor"}
            assert [chunk["chunkIndex"] for chunk in page["page"]] == [0, 1]
            assert page["page"][0].keys() == CHUNK_KEYS
            assert page["page"][0]["lines"] == {"from": 1, "to": 2}
            assert page["page"][0]["sourceName"] == "bees"
            chunk = await play("sources:getChunk", id=row["chunkIds"][1])
            assert chunk.keys() == CHUNK_KEYS - {"sourceName"}

    arun(main())


def test_sources_are_listed_newest_first() -> None:
    async def main() -> None:
        async with playing() as play:
            await play.add("first", "one")
            await play.add("second", "two")
            assert [source["name"] for source in await play.sources()] == ["second", "first"]

    arun(main())


def test_a_batch_is_embedded_in_turn_by_one_action() -> None:
    async def main() -> None:
        embedder = HashingEmbedder()
        async with playing(embedder) as play:
            batch = [{"name": f"s{n}", "chunks": chunks_of([f"text {n}", f"more {n}"])} for n in range(3)]
            assert await play("sources:addBatch", batch=batch) is None
            await play.backend.settled()
            assert [row["state"] for row in await play.sources()] == ["saved"] * 3
            assert play.vectors() == 6
            assert len(embedder.calls) == 1, "all texts went to the model together"

    arun(main())


def test_a_large_source_is_embedded_slice_by_slice() -> None:
    async def main() -> None:
        embedder = HashingEmbedder()
        async with playing(embedder) as play:
            await play.add("large", *(f"text number {n}" for n in range(600)))
            await play.backend.settled()
            assert play.vectors() == 600
            assert max(len(texts) for texts, _ in embedder.calls) == 128
            (row,) = await play.sources()
            assert (row["embedded"], row["state"]) == (600, "saved")

    arun(main())


def test_a_source_without_chunks_is_saved_at_once() -> None:
    async def main() -> None:
        async with playing() as play:
            await play.add("empty")
            (row,) = await play.sources()
            assert (row["state"], row["firstChunkText"], row["chunkIds"]) == ("saved", "", [])

    arun(main())


def test_a_search_is_answered_by_meaning_by_words_and_by_both() -> None:
    async def main() -> None:
        async with playing() as play:
            source = await play.add("bees", "Bees make honey", "The moon is far away")
            await play.backend.settled()
            search = await play("searches:upsert", input="honey bees")
            assert isinstance(search, str)
            results = await play.until(lambda r: r["status"] == "ready", "searches:results", searchId=search)
            assert results.keys() == {"status", "error", "hybrid", "semantic", "words", "fresh"}
            assert (results["error"], results["fresh"]) == (None, True)
            assert [row["text"] for row in results["semantic"]] == ["Bees make honey", "The moon is far away"]
            assert [row["text"] for row in results["words"]] == ["Bees make honey"]
            best = results["hybrid"][0]
            assert best.keys() == RESULT_KEYS
            assert (best["text"], best["sourceId"], best["sourceName"]) == ("Bees make honey", source, "bees")
            assert best["score"] == pytest.approx(1)
            assert (best["name"], best["file"]) == (None, None)

            semantic = await play("searches:semanticSearch", searchId=search)
            assert [row["text"] for row in semantic] == ["Bees make honey", "The moon is far away"]
            assert semantic[0].keys() == CHUNK_KEYS | {"score"}
            words = await play("searches:wordSearch", input="honey", count=10)
            assert [row.keys() for row in words] == [CHUNK_KEYS], "a word search gives no score"

            await play.backend.settled()
            (row,) = (await play("searches:paginate", paginationOpts=FIRST_PAGE))["page"]
            assert row.keys() == SEARCH_KEYS
            assert [related.keys() for related in row["relatedChunks"]] == [{"id", "score"}] * 2
            assert (row["count"], row["inputTokens"]) == (10, 2)

    arun(main())


def test_semantic_search_is_null_while_pending_and_raises_for_an_unknown_search() -> None:
    async def main() -> None:
        async with playing(Failing("never")) as play:
            search = await play("searches:upsert", input="never")
            assert await play("searches:semanticSearch", searchId=search) is None
            assert (await play("searches:results", searchId=search))["status"] == "pending"
            other = await play.search("other")
            store = play.backend.engine
            await store.transact(lambda tx: tx.delete((other,)))
            assert await play("searches:results", searchId=other) is None
            with pytest.raises(AssertionError, match="Unknown search"):
                await play("searches:semanticSearch", searchId=other)

    arun(main())


def test_word_results_are_there_before_embedding() -> None:
    async def main() -> None:
        embedder = Held()
        async with playing(embedder) as play:
            await play.add("bees", "Bees make honey")
            search = await play.search("honey")
            results = await play("searches:results", searchId=search)
            assert [row["text"] for row in results["words"]] == ["Bees make honey"]
            assert results["semantic"] == []
            assert [row["text"] for row in results["hybrid"]] == ["Bees make honey"]
            embedder.go.set()
            await play.until(lambda r: len(r["semantic"]) == 1, "searches:results", searchId=search)

    arun(main())


def test_the_search_action_stores_nothing_without_an_id() -> None:
    async def main() -> None:
        async with playing() as play:
            await play.add("bees", "Bees make honey")
            await play.backend.settled()
            hits = await play("searches:search", input="honey", topK=5)
            assert [hit.keys() for hit in hits] == [{"id", "score"}]
            assert (await play("searches:paginate", paginationOpts=FIRST_PAGE))["page"] == []
            search = await play.search("honey")
            await play("searches:search", input="honey", topK=5, searchId=search)
            (row,) = (await play("searches:paginate", paginationOpts=FIRST_PAGE))["page"]
            assert row["relatedChunks"] == hits

    arun(main())


def test_a_comparison_is_null_while_its_target_is_embedded() -> None:
    async def main() -> None:
        embedder = Held()
        async with playing(embedder) as play:
            await play.add("bees", "Bees make honey", "Bees like flowers")
            target = (await play.sources())[0]["chunkIds"][0]
            comparison = await play("comparisons:upsert", target=target, count=10)
            assert await play("comparisons:get", comparisonId=comparison) is None
            embedder.go.set()
            found = await play.until(
                lambda r: r is not None and r["relatedChunks"], "comparisons:get", comparisonId=comparison
            )
            assert found.keys() - {"queryMs"} == {"_id", "_creationTime", "target", "count", "relatedChunks"}
            assert found["target"].keys() == CHUNK_KEYS
            assert [row["text"] for row in found["relatedChunks"]] == ["Bees like flowers"]
            assert found["relatedChunks"][0].keys() == CHUNK_KEYS | {"score"}

    arun(main())


def test_a_comparison_remembers_what_it_found() -> None:
    async def main() -> None:
        async with playing() as play:
            await play.add("bees", "Bees make honey", "Bees like flowers")
            await play.backend.settled()
            target, other = (await play.sources())[0]["chunkIds"]
            comparison = await play("comparisons:upsert", target=target)
            await play.backend.settled()
            assert "queryMs" in await play("comparisons:get", comparisonId=comparison)
            related = await play("comparisons:compare", target=target, topK=5)
            assert [hit["id"] for hit in related] == [other]
            assert await play("comparisons:upsert", target=target, count=3) == comparison, "it is used again"

    arun(main())


def test_nothing_is_needed_of_the_environment() -> None:
    async def main() -> None:
        async with playing() as play:
            assert await play("lib/embeddings:envCheck") == {}
            assert await play("lib/pinecone:envCheck") == {}

    arun(main())


def test_progress_counts_every_chunk() -> None:
    async def main() -> None:
        async with playing(Failing("bad")) as play:
            empty = await play("corpus:progress")
            assert empty == {
                "total": 0, "embedded": 0, "failed": 0, "pending": 0, "sources": 0,
                "startedAt": None, "finishedAt": None, "rate": None,
            }  # fmt: skip
            await play.add("good", "one", "two")
            bad = await play.add("bad", "bad", "worse")
            progress = await play.until(lambda p: p["pending"] == 0, "corpus:progress")
            assert (progress["total"], progress["embedded"], progress["failed"]) == (4, 2, 2)
            await play("sources:deleteSource", id=bad)
            progress = await play("corpus:progress")
            assert (progress["total"], progress["embedded"], progress["failed"], progress["sources"]) == (2, 2, 0, 1)

    arun(main())


@pytest.mark.parametrize("count", [0, 101])
def test_impossible_numbers_of_results_are_refused(count: int) -> None:
    async def main() -> None:
        async with playing() as play:
            with pytest.raises(AssertionError, match="1 to 100 results"):
                await play("searches:upsert", input="honey", count=count)
            with pytest.raises(AssertionError, match="An empty search"):
                await play("searches:upsert", input="  ")

    arun(main())


# Defects of the article's application that this one must not have (their numbers are those of its description)


def test_defect_1_repeated_searches_with_other_counts_never_throw() -> None:
    async def main() -> None:
        async with playing() as play:
            ten = await play("searches:upsert", input="honey", count=10)
            twenty = await play("searches:upsert", input="honey", count=20)
            assert await play("searches:upsert", input="honey", count=10) == ten != twenty
            assert await play("searches:upsert", input="honey", count=15) == twenty

    arun(main())


def test_defect_2_two_rapid_identical_searches_are_one() -> None:
    async def main() -> None:
        async with playing() as play:
            ids = await asyncio.gather(*(play("searches:upsert", input="honey") for _ in range(10)))
            assert len(set(ids)) == 1

    arun(main())


def test_defect_4_a_comparison_without_neighbours_is_an_empty_list() -> None:
    async def main() -> None:
        async with playing() as play:
            await play.add("alone", "Nothing else is here")
            await play.backend.settled()
            target = (await play.sources())[0]["chunkIds"][0]
            comparison = await play("comparisons:upsert", target=target)
            assert (await play("comparisons:get", comparisonId=comparison))["relatedChunks"] == []

    arun(main())


def test_defect_4_the_target_takes_no_row() -> None:
    async def main() -> None:
        async with playing() as play:
            await play.add("many", *(f"bees and number {n}" for n in range(12)))
            await play.backend.settled()
            target = (await play.sources())[0]["chunkIds"][0]
            comparison = await play("comparisons:upsert", target=target, count=10)
            rows = (await play("comparisons:get", comparisonId=comparison))["relatedChunks"]
            assert len(rows) == 10
            assert target not in [row["_id"] for row in rows]

    arun(main())


def test_defect_4_a_target_that_can_not_be_embedded_has_no_neighbours() -> None:
    async def main() -> None:
        async with playing(Failing("bad")) as play:
            await play.add("bad", "bad")
            await play.until(
                lambda page: page["page"][0]["state"] == "failed", "sources:paginate", paginationOpts=FIRST_PAGE
            )
            target = (await play.sources())[0]["chunkIds"][0]
            comparison = await play("comparisons:upsert", target=target)
            assert (await play("comparisons:get", comparisonId=comparison))["relatedChunks"] == []

    arun(main())


def test_defect_6_a_reused_search_shows_what_was_added_since() -> None:
    async def main() -> None:
        async with playing() as play:
            await play.add("old", "Honey is sweet")
            search = await play.search("honey bees")
            await play.add("new", "Honey bees make honey")
            await play.backend.settled()
            assert await play("searches:upsert", input="honey bees") == search
            results = await play("searches:results", searchId=search)
            assert results["semantic"][0]["text"] == "Honey bees make honey"
            assert results["fresh"]
            rows = await play("searches:semanticSearch", searchId=search)
            assert len(rows) == 2

    arun(main())


def test_defect_7_deleting_a_source_while_it_is_embedded_leaves_no_vector() -> None:
    async def main() -> None:
        embedder = Held()
        async with playing(embedder) as play:
            source = await play.add("bees", "Bees make honey", "A hive")
            await embedder.asked.wait()
            await play("sources:deleteSource", id=source)
            embedder.go.set()
            await play.backend.settled()
            assert play.vectors() == 0
            assert await play.sources() == []
            progress = await play("corpus:progress")
            assert (progress["total"], progress["embedded"], progress["pending"], progress["sources"]) == (0, 0, 0, 0)

    arun(main())


def test_defect_8_deleted_chunks_take_no_place_among_the_results() -> None:
    async def main() -> None:
        async with playing() as play:
            gone = await play.add("gone", *(f"honey {n}" for n in range(10)))
            await play.add("kept", *(f"honey and more {n}" for n in range(10)))
            await play.backend.settled()
            search = await play.search("honey", count=10)
            await play("sources:deleteSource", id=gone)
            rows = (await play("searches:results", searchId=search))["semantic"]
            assert len(rows) == 10
            assert {row["sourceName"] for row in rows} == {"kept"}

    arun(main())


def test_deleting_a_source_takes_its_comparisons_along() -> None:
    async def main() -> None:
        async with playing() as play:
            source = await play.add("bees", "Bees make honey")
            target = (await play.sources())[0]["chunkIds"][0]
            comparison = await play("comparisons:upsert", target=target)
            await play("sources:deleteSource", id=source)
            assert await play("sources:deleteSource", id=source) is None, "deleting twice does nothing"
            with pytest.raises(AssertionError, match="was deleted"):
                await play("comparisons:get", comparisonId=comparison)
            with pytest.raises(AssertionError, match="does not exist"):
                await play("comparisons:upsert", target=target)
            with pytest.raises(AssertionError, match="does not exist"):
                await play("sources:getChunk", id=target)

    arun(main())


# Failure: retried with growing pauses, then visible


def test_an_outage_is_sat_out() -> None:
    async def main() -> None:
        embedder = HashingEmbedder(failures=[ConnectionError("down"), ConnectionError("still down")])
        async with playing(embedder) as play:
            await play.add("bees", "Bees make honey")
            page = await play.until(
                lambda page: page["page"][0]["saved"], "sources:paginate", paginationOpts=FIRST_PAGE
            )
            assert "error" not in page["page"][0]
            assert len(embedder.calls) == 3

    arun(main())


def test_a_lasting_failure_is_visible_with_its_reason_and_can_be_retried() -> None:
    async def main() -> None:
        embedder = Failing("bees")
        async with playing(embedder) as play:
            source = await play.add("bees", "all about bees")
            page = await play.until(
                lambda page: page["page"][0]["state"] != "pending", "sources:paginate", paginationOpts=FIRST_PAGE
            )
            (row,) = page["page"]
            assert (row["state"], row["saved"], row["error"]) == ("failed", False, "no model for bees")
            embedder.words = ()
            assert await play("sources:retry", id=source) is None
            page = await play.until(
                lambda page: page["page"][0]["state"] == "saved", "sources:paginate", paginationOpts=FIRST_PAGE
            )
            assert "error" not in page["page"][0]
            progress = await play("corpus:progress")
            assert (progress["embedded"], progress["failed"]) == (1, 0)

    arun(main())


def test_one_bad_source_of_a_batch_does_not_stop_the_others() -> None:
    async def main() -> None:
        async with playing(Failing("bad")) as play:
            await play("sources:addBatch", batch=[{"name": "bad", "chunks": chunks_of(["bad"] * 600)}])
            await play("sources:addBatch", batch=[{"name": "good", "chunks": chunks_of(["good"])}])
            await play.until(lambda p: p["pending"] == 0, "corpus:progress")
            assert {row["name"]: row["state"] for row in await play.sources()} == {"bad": "failed", "good": "saved"}

    arun(main())


def test_a_search_that_can_not_be_embedded_fails_visibly_and_runs_again_when_asked_again() -> None:
    async def main() -> None:
        embedder = Failing("bees")
        async with playing(embedder) as play:
            await play.add("honey", "sweet honey")
            search = await play.search("bees")
            results = await play("searches:results", searchId=search)
            assert (results["status"], results["error"]) == ("failed", "no model for bees")
            with pytest.raises(AssertionError, match="no model for bees"):
                await play("searches:search", input="bees", topK=3, searchId=search)
            embedder.words = ()
            assert await play("searches:upsert", input="bees") == search
            await play.until(lambda r: r["status"] == "ready", "searches:results", searchId=search)

    arun(main())


def test_another_model_makes_all_vectors_anew() -> None:
    async def main() -> None:
        embedder = HashingEmbedder()
        async with playing(embedder) as play:
            await play.add("bees", "Bees make honey", "A hive")
            search = await play.search("honey")
            embedder.revision = "2"
            embeddings.use(embedder)
            while not await play("embedding:adopt", model=await embeddings.model()):
                pass
            assert play.vectors() == 0
            assert not (await play("searches:results", searchId=search))["fresh"]
            await play("embedding:resume")
            await play.backend.settled()
            assert play.vectors() == 2
            assert await play("searches:upsert", input="honey") == search
            results = await play.until(lambda r: r["status"] == "ready", "searches:results", searchId=search)
            assert results["fresh"]
            assert len(results["semantic"]) == 2

    arun(main())
