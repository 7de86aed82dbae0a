"""The playground beside a cloud with bad days: our own server in another process, behind a proxy that injects faults.

In each round texts are added and deleted, searched and compared, while requests are refused, kept waiting, answered
with nonsense, or carried out with the answer lost, while the playground itself is stopped and started, and while
somebody else loses vectors and leaves others behind. Afterwards every source is saved, or failed with a reason; and
once the store was reconciled, it holds the vectors of the documents, no more and no less.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest

import reflow as rf
from article.lib import embeddings, pinecone
from article.schema import DIMS
from reflow.storage.memory import MemoryStorage
from reflow.stores.pinecone import RemoteIndex, open_store
from tests.support import arun
from tests.support.article import FIRST_PAGE, Playground, chunks_of
from tests.support.cloud import KEY
from tests.support.fault_proxy import FAULTS, Fault, FaultProxy, evenly, fault_proxy
from tests.support.remote_article import playing_remotely
from tests.support.servers import in_process

ROUNDS = 200
SEED = 20_251
CALM_TRIES = 20
"""On a busy machine the store may be slow although nobody disturbs it."""
WORDS = "honey bee moon flower river stone cloud garden winter bread salt glass road letter music paper".split()

# What keeps one waiting takes real time, so it is rarer than the rest.
SLOW: tuple[Fault, ...] = ("hangs", "late")
QUICK: tuple[Fault, ...] = tuple(fault for fault in FAULTS if fault not in SLOW)
WEATHERS: dict[str, dict[Fault, float]] = {
    "calm": {},
    "bad": evenly(0.25, QUICK) | evenly(0.02, SLOW),
    "storm": evenly(0.55, QUICK) | evenly(0.04, SLOW),
    "outage": {"down": 0.6, "lost": 0.3, "busy": 0.1},
}
LIMITS = rf.Limits(remote_request_seconds=0.2, remote_attempts=3)

probe = rf.Module("probe")


@probe.internal_query
async def unfinished(ctx: rf.QueryCtx) -> int:
    """Actions that are due or run, but for the hourly one."""
    rows = ctx.db.query(rf.Scheduled).filter(
        lambda row: row.state.kind in ("pending", "inProgress") and row.name != "reconcile:runRegularly"
    )
    return len(await rows.collect())


async def all_sources(play: Playground) -> list[dict[str, Any]]:
    """All sources, newest first."""
    page = await play("sources:paginate", paginationOpts={**FIRST_PAGE, "numItems": 10_000})
    assert page["isDone"]
    return page["page"]


class Round:
    """One round: what is done in it, in an order that its seed decides."""

    def __init__(self, play: Playground, random: Random) -> None:
        self.play = play
        self.random = random

    async def work(self) -> None:
        """Adds, deletes, searches and compares, side by side."""
        jobs = [self._add() for _ in range(self.random.randint(1, 2))]
        jobs += [self._delete() for _ in range(self.random.randint(0, 2))]
        jobs += [self._search() for _ in range(self.random.randint(0, 1))]
        jobs += [self._compare() for _ in range(self.random.randint(0, 1))]
        self.random.shuffle(jobs)
        await asyncio.gather(*jobs)

    async def _add(self) -> None:
        batch = [{"name": self._text(1), "chunks": chunks_of(self._texts())} for _ in range(self.random.randint(1, 2))]
        if len(batch) == 1:
            await self.play("sources:add", **batch[0])
        else:
            await self.play("sources:addBatch", batch=batch)

    async def _delete(self) -> None:
        await asyncio.sleep(self.random.uniform(0, 0.02))
        listed = await all_sources(self.play)
        if listed:
            # Half of the time the newest: it may just be on its way.
            chosen = listed[:1] if self.random.random() < 0.5 else self.random.choices(listed, k=len(listed) // 8 + 1)
            for source in chosen:
                await self.play("sources:deleteSource", id=source["_id"])

    async def _search(self) -> None:
        await self.play("searches:upsert", input=self._text(2))

    async def _compare(self) -> None:
        listed = [source for source in await self.play.sources() if source["chunkIds"]]
        if listed:
            target = self.random.choice(self.random.choice(listed)["chunkIds"])
            await self.play("comparisons:upsert", target=target)

    def _texts(self) -> list[str]:
        return [self._text(4) for _ in range(self.random.randint(1, 4))]

    def _text(self, words: int) -> str:
        return " ".join(self.random.choices(WORDS, k=words))


class World:
    """The cloud, the proxy before it, and the playground, which can be stopped and started."""

    def __init__(self, proxy: FaultProxy, upstream: RemoteIndex) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.play: Playground
        self._storage = MemoryStorage()
        self._running = AsyncExitStack()

    async def start(self) -> None:
        """Starts the playground as `reflow demo` does."""
        self.play = await self._running.enter_async_context(
            playing_remotely(self.proxy.url, KEY, storage=self._storage, limits=LIMITS, modules=[probe])
        )
        while not await self.play("embedding:adopt", model=await embeddings.model()):
            pass
        await self.play("embedding:resume")
        await self.play("reconcile:start")

    async def stop(self) -> None:
        """Stops it, whatever it is doing."""
        await self._running.aclose()

    async def quiet(self) -> None:
        """Returns when nothing is due any more."""
        await self.play.until(lambda count: count == 0, "probe:unfinished")

    async def drift(self, random: Random) -> None:
        """Somebody else removes a vector, and leaves one behind."""
        there = sorted(await self.vectors())
        if there:
            await self.upstream.delete([random.choice(there)], namespace="chunks")
        await self.upstream.upsert([(f"left-{random.random()}", [1.0] * DIMS)], namespace="chunks")

    async def vectors(self) -> set[str]:
        """The ids in the cloud, asked for past the proxy."""
        ids: set[str] = set()
        token: str | None = None
        while True:
            page = await self.upstream.list(namespace="chunks", pagination_token=token)
            ids.update(page.ids)
            token = page.next
            if token is None:
                return ids


@asynccontextmanager
async def world(data: Path) -> AsyncGenerator[World, None]:
    with in_process(data, "tests.support.cloud") as server:
        past = open_store(server.url, {"PINECONE_API_KEY": KEY})
        async with fault_proxy(server.port, seed=SEED) as proxy:
            made = World(proxy, past.index(pinecone.index))
            await made.start()
            try:
                yield made
            finally:
                await made.stop()
                await past.close()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_every_source_ends_saved_or_failed_and_the_store_holds_what_the_documents_do(tmp_path: Path) -> None:
    random = Random(SEED)
    seen: Counter[str] = Counter()

    async def main() -> None:
        async with world(tmp_path) as at:
            for number in range(ROUNDS):
                await one_round(at, number)
            seen.update({f"fault {name}": count for name, count in at.proxy.met.items()})
            seen["requests"] = at.proxy.paths.total()
            assert set(at.proxy.met) == set(FAULTS), "every fault was met"
            assert seen["missing"] <= seen["drifts"], "a source that says it is saved has all its vectors"

    async def one_round(at: World, number: int) -> None:
        weather = random.choice([*WEATHERS, "bad", "bad"])
        seen[weather] += 1
        at.proxy.chances = WEATHERS[weather]
        await Round(at.play, Random(random.random())).work()
        if random.random() < 0.1:
            seen["restarts"] += 1
            await asyncio.sleep(random.uniform(0, 0.05))
            await at.stop()
            await at.start()
        if random.random() < 0.1:
            seen["drifts"] += 1
            await at.drift(random)
        await at.play.until(lambda progress: progress["pending"] == 0, "corpus:progress")
        await check_states(at, number)
        if random.random() < 0.5:
            await reconcile(at)  # in whatever weather
        at.proxy.chances = {}
        await at.quiet()
        for source in await all_sources(at.play):
            if source["state"] == "failed" and random.random() < 0.7:
                await at.play("sources:retry", id=source["_id"])
        await at.quiet()
        for _ in range(CALM_TRIES):
            if await reconcile(at):
                break
        else:
            raise AssertionError(f"the store can't be reconciled in calm weather: seed {SEED}, round {number}")
        await at.quiet()
        await check_states(at, number)
        await check_vectors(at, number)

    async def reconcile(at: World) -> dict[str, int] | None:
        """The report, None when the store let it down."""
        engine = at.play.backend.engine
        result = await engine.action(engine.resolve("reconcile:run"), b"{}")
        if result.failure is None:
            report = json.loads(result.value or b"")
            seen["orphans"] += report["orphans"]
            seen["missing"] += report["missing"]
            return report
        seen["reconcile failed"] += 1
        assert result.failure.code.startswith("VectorStore"), result.failure
        return None

    async def check_states(at: World, number: int) -> None:
        for source in await all_sources(at.play):
            seen[source["state"]] += 1
            ended = (source["state"], source["saved"], bool(source.get("error")))
            assert ended in (("saved", True, False), ("failed", False, True)), (SEED, number, source)

    async def check_vectors(at: World, number: int) -> None:
        wanted: set[str] = set()
        possible: set[str] = set()
        for source in await all_sources(at.play):
            wanted.update(source["chunkIds"][: source["embedded"]])
            possible.update(source["chunkIds"])
        there = await at.vectors()
        assert wanted <= there <= possible, (SEED, number, wanted - there, there - possible)
        seen["vectors compared"] += len(there)

    try:
        arun(main())
    finally:
        print(f"\nseed {SEED}: {dict(sorted(seen.items()))}")
