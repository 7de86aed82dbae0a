"""The playground with its vectors in a remote store: the article's ways, without what is wrong with them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from article.lib import embeddings
from reflow.rag.embedders.base import Embedder, Kind, Vectors
from reflow.storage.memory import MemoryStorage
from reflow.testing.embedder import HashingEmbedder
from tests.support import arun
from tests.support.article import FIRST_PAGE, FastClock, Playground, playing
from tests.support.fault_proxy import FaultProxy, fault_proxy
from tests.support.pinecone_stand_in import KEY, StandIn, listening
from tests.support.remote_article import playing_remotely


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


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A remote store and the proxy before it."""

    stand_in: StandIn
    proxy: FaultProxy

    def ids(self, namespace: str = "chunks") -> list[str]:
        """What is stored there."""
        return sorted(self.stand_in.spaces.get(namespace, {}))


@asynccontextmanager
async def cloud() -> AsyncGenerator[Cloud, None]:
    stand_in = StandIn()
    async with listening(stand_in.app()) as port, fault_proxy(port) as proxy:
        yield Cloud(stand_in=stand_in, proxy=proxy)


@asynccontextmanager
async def playing_there(embedder: Embedder | None = None) -> AsyncGenerator[tuple[Playground, Cloud], None]:
    async with cloud() as there, playing_remotely(there.proxy.url, KEY, embedder) as play:
        yield play, there


async def until_over(play: Playground) -> list[Any]:
    """The sources, once none is pending."""
    await play.until(lambda progress: progress["pending"] == 0, "corpus:progress")
    return await play.sources()


# The article


def test_vectors_are_stored_under_the_ids_of_their_chunks_before_the_source_is_saved() -> None:
    async def main() -> None:
        async with playing_there() as (play, there):
            source = await play.add("bees", "Bees make honey", "The moon")
            await play.backend.settled()
            (row,) = await play.sources()
            assert (row["saved"], row["state"], row["totalTokens"], row["embedded"]) == (True, "saved", 5, 2)
            assert there.ids() == sorted(row["chunkIds"])
            assert [v["metadata"] for v in there.stand_in.spaces["chunks"].values()] == [
                {"sourceId": source, "textLen": 15},
                {"sourceId": source, "textLen": 8},
            ]
            assert there.stand_in.indexes["playground"] == {"dimension": 384, "metric": "cosine"}, "made on first use"

    arun(main())


def test_a_search_asks_the_store_and_is_stored_there_itself() -> None:
    async def main() -> None:
        async with playing_there() as (play, there):
            await play.add("bees", "Bees make honey", "The moon is far away")
            await play.backend.settled()
            search = await play.search("honey bees")
            results = await play("searches:results", searchId=search)
            assert [row["text"] for row in results["semantic"]] == ["Bees make honey", "The moon is far away"]
            assert [row["text"] for row in results["words"]] == ["Bees make honey"]
            assert results["hybrid"][0]["text"] == "Bees make honey"
            assert [row["text"] for row in await play("searches:semanticSearch", searchId=search)] == [
                "Bees make honey",
                "The moon is far away",
            ]
            assert there.stand_in.spaces["searches"][search]["metadata"] == {"input": "honey bees"}
            (row,) = (await play("searches:paginate", paginationOpts=FIRST_PAGE))["page"]
            assert [hit["id"] for hit in row["relatedChunks"]] == [hit["_id"] for hit in results["semantic"]]

    arun(main())


def test_a_search_that_is_used_again_runs_again_when_vectors_came_or_went() -> None:
    async def main() -> None:
        async with playing_there() as (play, there):
            await play.add("old", "Honey is sweet")
            await play.backend.settled()
            search = await play.search("honey bees")
            await play.backend.settled()
            asked = there.proxy.paths["query"]
            assert await play.search("honey bees") == search
            assert there.proxy.paths["query"] == asked, "nothing has changed"
            await play.add("new", "Honey bees make honey")
            await play.backend.settled()
            assert await play.search("honey bees") == search
            results = await play("searches:results", searchId=search)
            assert [row["text"] for row in results["semantic"]] == ["Honey bees make honey", "Honey is sweet"]

    arun(main())


def test_a_comparison_finds_neighbours_by_the_stored_vector_or_else_by_the_text() -> None:
    async def main() -> None:
        embedder = Held()
        async with playing_there(embedder) as (play, there):
            embedder.go.set()
            await play.add("bees", "Bees make honey", "Bees like flowers", "The moon")
            await play.backend.settled()
            target = (await play.sources())[0]["chunkIds"][0]
            embedded = len(embedder.calls)
            comparison = await play("comparisons:upsert", target=target)
            found = await play.until(lambda r: r is not None, "comparisons:get", comparisonId=comparison)
            assert [row["text"] for row in found["relatedChunks"]] == ["Bees like flowers", "The moon"]
            assert len(embedder.calls) == embedded, "nothing is embedded for it"
            del there.stand_in.spaces["chunks"][target]
            await play.add("more", "Bees bees bees")  # so that the comparison is out of date
            await play.backend.settled()
            assert await play("comparisons:upsert", target=target) == comparison
            await play.backend.settled()
            found = await play("comparisons:get", comparisonId=comparison)
            assert found["relatedChunks"][0]["text"] == "Bees bees bees"

    arun(main())


def test_what_was_deleted_since_is_not_shown() -> None:
    async def main() -> None:
        async with playing_there() as (play, there):
            gone = await play.add("gone", "sweet honey")
            await play.add("kept", "honey")
            await play.backend.settled()
            search = await play.search("honey")
            await play("sources:deleteSource", id=gone)
            rows = await play("searches:semanticSearch", searchId=search)
            assert [row["text"] for row in rows] == ["honey"]
            await play.backend.settled()
            assert there.ids() == [row["chunkIds"][0] for row in await play.sources()]

    arun(main())


def test_the_key_is_asked_for() -> None:
    async def main() -> None:
        async with cloud() as there:
            settings = {"REFLOW_VECTORS_URL": there.proxy.url}
            async with playing_remotely("", "", environment=settings) as play:
                assert await play("lib/pinecone:envCheck") == {"PINECONE_API_KEY": False}
                await play.add("bees", "Bees make honey")
                (row,) = await until_over(play)
                assert row["state"] == "failed"
                assert "PINECONE_API_KEY is not" in row["error"]

    arun(main())


# Failures


def test_an_outage_of_the_store_is_sat_out() -> None:
    async def main() -> None:
        async with playing_there() as (play, there):
            there.proxy.next("down", times=8)  # more than the tries of one request
            there.proxy.next("lost", "garbage")
            await play.add("bees", "Bees make honey")
            (row,) = await until_over(play)
            assert row["state"] == "saved"
            assert there.ids() == row["chunkIds"]

    arun(main())


def test_a_lasting_failure_of_the_store_is_visible_with_its_reason_and_can_be_retried() -> None:
    async def main() -> None:
        async with playing_there() as (play, there):
            there.proxy.chances = {"down": 1.0}
            source = await play.add("bees", "Bees make honey")
            (row,) = await until_over(play)
            assert (row["state"], row["saved"]) == ("failed", False)
            assert "503: upstream connect error" in row["error"]
            there.proxy.chances = {}
            await play("sources:retry", id=source)
            (row,) = await until_over(play)
            assert (row["state"], "error" in row) == ("saved", False)

    arun(main())


def test_a_search_that_the_store_does_not_answer_fails_visibly() -> None:
    async def main() -> None:
        async with playing_there() as (play, there):
            there.proxy.chances = {"garbage": 1.0}
            search = await play.search("honey")
            results = await play("searches:results", searchId=search)
            assert results["status"] == "failed"
            assert "is REFLOW_VECTORS_URL right?" in results["error"]
            there.proxy.chances = {}
            await play.add("bees", "Bees make honey")
            await play.backend.settled()
            there.proxy.chances = {"garbage": 1.0}
            target = (await play.sources())[0]["chunkIds"][0]
            comparison = await play("comparisons:upsert", target=target)
            found = await play.until(lambda r: r is not None, "comparisons:get", comparisonId=comparison)
            assert found["relatedChunks"] == []
            there.proxy.chances = {}
            await play.search("honey")
            results = await play("searches:results", searchId=search)
            assert (results["status"], len(results["semantic"])) == ("ready", 1)

    arun(main())


# No orphans


def test_defect_7_deleting_a_source_while_it_is_embedded_leaves_no_vector() -> None:
    async def main() -> None:
        embedder = Held()
        async with playing_there(embedder) as (play, there):
            source = await play.add("bees", "Bees make honey", "A hive")
            await embedder.asked.wait()
            await play("sources:deleteSource", id=source)
            while not there.proxy.paths["delete"]:
                await asyncio.sleep(0.005)
            embedder.go.set()
            await play.backend.settled()
            assert there.proxy.paths["upsert"] == 1, "the vectors came after the first deletion"
            assert there.proxy.paths["delete"] == 2
            assert there.ids() == []
            assert (await play("corpus:progress"))["embedded"] == 0

    arun(main())


def test_a_deletion_is_not_given_up() -> None:
    async def main() -> None:
        async with playing_there() as (play, there):
            source = await play.add("bees", "Bees make honey")
            await play.backend.settled()
            there.proxy.next("down", times=12)
            await play("sources:deleteSource", id=source)
            while there.ids():
                await asyncio.sleep(0.01)
            assert there.proxy.met == {"down": 12}

    arun(main())


def test_a_server_that_dies_between_storing_and_noting_goes_on_after_its_restart() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        async with cloud() as there:
            async with playing_remotely(there.proxy.url, KEY, storage=storage) as play:
                there.proxy.next(None, None, None, "late")  # no index there; made; described; stored without an answer
                await play.add("bees", "Bees make honey")
                while not there.proxy.met:
                    await asyncio.sleep(0.001)
                assert (await play.sources())[0]["state"] == "pending"
            assert len(there.ids()) == 1
            async with playing_remotely(there.proxy.url, KEY, storage=storage) as play:
                (row,) = await until_over(play)
                assert (row["state"], row["chunkIds"]) == ("saved", there.ids())

    arun(main())


def test_reconciling_removes_orphans_and_makes_what_is_missing() -> None:
    async def main() -> None:
        async with playing_there() as (play, there):
            for name in ("one", "two"):
                await play.add(name, *(f"{name} {number}" for number in range(150)))
            gone = await play.add("three", "three")
            await until_over(play)
            await play("sources:deleteSource", id=gone)
            await play.backend.settled()
            kept = there.ids()
            chunks = there.stand_in.spaces["chunks"]
            orphans = {"no id at all", "0" * 32, kept[0][:-1] + ("0" if kept[0][-1] != "0" else "1"), gone}
            chunks |= {id: {"id": id, "values": [1.0] * 384} for id in orphans}
            for id in (kept[7], kept[8], kept[299]):
                del chunks[id]
            assert await play("reconcile:run") == {"vectors": 301, "orphans": 4, "missing": 3}
            assert [row["state"] for row in await until_over(play)] == ["saved", "saved"]
            assert there.ids() == kept
            assert await play("reconcile:run") == {"vectors": 300, "orphans": 0, "missing": 0}
            progress = await play("corpus:progress")
            assert (progress["embedded"], progress["total"], progress["sources"]) == (300, 300, 2)

    arun(main())


def test_reconciling_happens_by_itself_every_hour() -> None:
    async def main() -> None:
        clock = FastClock()
        async with cloud() as there, playing_remotely(there.proxy.url, KEY, clock=clock) as play:
            await play.add("bees", "Bees make honey")
            await play.backend.settled()
            for _ in range(2):
                there.stand_in.spaces["chunks"]["orphan"] = {"id": "orphan", "values": [1.0] * 384}
                clock.skip(3600)
                while len(there.ids()) > 1:
                    await asyncio.sleep(0.005)
                await play.backend.settled()

    arun(main())


def test_inside_there_is_nothing_to_reconcile() -> None:
    async def main() -> None:
        async with playing() as play:
            await play.add("bees", "Bees make honey")
            await play.backend.settled()
            assert await play("reconcile:run") == {"vectors": 0, "orphans": 0, "missing": 0}

    arun(main())


# Another store


def test_another_store_gets_all_vectors() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        async with cloud() as there:
            async with playing_remotely("", "", storage=storage, environment={}) as play:
                await play.add("bees", "Bees make honey")
                await play.backend.settled()
                assert there.proxy.paths.total() == 0
                search = await play.search("honey")
                await play.backend.settled()
            async with playing_remotely(there.proxy.url, KEY, storage=storage) as play:
                await adopt(play)
                (row,) = await until_over(play)
                assert there.ids() == row["chunkIds"]
                assert await play.search("honey") == search
                results = await play("searches:results", searchId=search)
                assert [hit["text"] for hit in results["semantic"]] == ["Bees make honey"]
            async with playing_remotely("", "", storage=storage, environment={}) as play:
                await adopt(play)
                (row,) = await until_over(play)
                assert (row["state"], row["embedded"]) == ("saved", 1)
                results = await play("searches:results", searchId=search)
                assert [hit["text"] for hit in results["semantic"]] == ["Bees make honey"]

    arun(main())


async def adopt(play: Playground) -> None:
    """What `reflow demo` does at its start."""
    while not await play("embedding:adopt", model=await embeddings.model()):
        pass
    await play("embedding:resume")
    await play("reconcile:start")


@pytest.mark.parametrize("path", ["searches:upsert", "searches:results", "comparisons:get", "sources:paginate"])
def test_queries_and_mutations_never_ask_the_store(path: str) -> None:
    async def main() -> None:
        async with playing_there() as (play, there):
            await play.add("bees", "Bees make honey")
            await play.backend.settled()
            search = await play.search("honey")
            target = (await play.sources())[0]["chunkIds"][0]
            comparison = await play("comparisons:upsert", target=target)
            await play.backend.settled()
            asked = there.proxy.paths.total()
            args: dict[str, Any] = {
                "searches:upsert": {"input": "honey"},
                "searches:results": {"searchId": search},
                "comparisons:get": {"comparisonId": comparison},
                "sources:paginate": {"paginationOpts": FIRST_PAGE},
            }[path]
            await play(path, **args)
            await play.backend.settled()
            assert there.proxy.paths.total() == asked

    arun(main())
