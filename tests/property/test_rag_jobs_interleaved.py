"""Embedding against interleaved transactions, a failing storage, failing models and restarts: everything ends."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow.errors import ProviderBusy, ProviderError
from reflow.rag.corpus import Corpus
from reflow.rag.embedders.base import Kind, Vectors
from reflow.rag.ingestion.jobs import Pace
from reflow.storage.memory import MemoryStorage
from reflow.testing import HashingEmbedder, Simulation, VirtualClock, simulate
from tests.support import arun
from tests.support.rag_stored import Stored

KEYS = ("a", "b", "c", "d")
TEXTS = tuple(
    "\n\n".join(f"part {part}" for part in range(first, first + count)) for first in range(4) for count in (1, 3, 6)
)


class Unreliable(HashingEmbedder):
    """Fails now and then, as `draw` decides, until it is told to be good."""

    def __init__(self, draw: random.Random) -> None:
        super().__init__(8)
        self.draw = draw
        self.good = False

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        if not self.good and self.draw.random() < 0.4:
            raise self.draw.choice(
                [
                    ProviderError("500", "busy", retryable=True),
                    ProviderError("garbage", "garbage", retryable=True),
                    ProviderBusy("429", self.draw.choice([0.5, 30.0])),
                    ConnectionError("reset"),
                ]
            )
        return await super().embed(texts, kind)


async def change(sim: Simulation, corpus: Corpus, draw: random.Random) -> None:
    """One change that a person makes; what can't be done now is refused."""
    key = draw.choice(KEYS)
    try:
        match draw.randrange(8):
            case 0:
                await sim.mutation(corpus.sources.remove_key, key=key)
            case 1:
                await sim.mutation(corpus.sources.retry_all)
            case 2 | 3:
                found = await sim.query(corpus.sources.by_key, key=key)
                if found is not None:
                    await sim.mutation(draw.choice([corpus.sources.stop, corpus.sources.retry]), source=found.id)
            case _:
                await sim.mutation(corpus.sources.put, key=key, text=draw.choice(TEXTS))
    except rf.ApplicationError:
        pass


@pytest.mark.timeout(300)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_all_that_is_not_stopped_gets_its_vectors(seed: int) -> None:
    async def main() -> None:
        draw = random.Random(seed)
        embedder = Unreliable(draw)
        corpus = Corpus(
            "docs",
            embedder=embedder,
            splitter=lambda text: text.split("\n\n"),
            pace=Pace(batch=draw.choice([1, 2, 5]), concurrency=draw.choice([1, 3]), patience=20, longest_pause=5),
            cache=draw.random() < 0.7,
        )
        stored = Stored(corpus)
        storage, clock = MemoryStorage(), VirtualClock()
        for life in range(3):
            async with simulate(stored.app, storage=storage, clock=clock, seed=seed + life, interleave=True) as sim:
                for _ in range(draw.randrange(1, 8)):
                    await change(sim, corpus, draw)
                    await sim.advance(draw.choice([0.0, 0.1, 3.0, 60.0]))
        embedder.good = True
        async with simulate(stored.app, storage=storage, clock=clock, seed=seed, interleave=True) as sim:
            for job in await sim.query(corpus.jobs.list):
                await sim.mutation(corpus.sources.retry, source=job.source)
            await sim.advance(600)
            sources, chunks = await stored.all(sim)
            assert {source.state for source in sources} <= {"ready"}
            assert (await sim.query(corpus.jobs.status)).state == "idle"
            assert (await sim.query(stored.counts))["Draft"] == 0
        wanted = await HashingEmbedder(8).embed([chunk.text for chunk in chunks])
        assert [chunk.vector for chunk in chunks] == [vector.astype("<f4").tobytes() for vector in wanted]
        assert len(chunks) == sum(source.chunk_count for source in sources)

    arun(main())
