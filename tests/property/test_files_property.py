"""Files under any order of uploads, deletions, failures and restarts: a model says which there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import reflow as rf
from reflow.database import RangeRequest
from reflow.engine.files import Blob
from reflow.errors import AuthenticationError, CallFailed, StorageError
from reflow.schema import spec_of
from reflow.storage.blobs import MemoryBlobs
from reflow.storage.memory import MemoryStorage
from reflow.testing import FaultPlan, Simulation, VirtualClock, simulate
from tests.support import arun
from tests.support.files_app import app, content, counted

SIZES = st.sampled_from([0, 1, 1500, 300_000])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("store"), SIZES),
        st.tuples(st.just("upload"), SIZES, st.booleans()),
        st.tuples(st.just("cut off"), SIZES),
        st.tuples(st.just("delete"), st.integers(0, 9), st.booleans()),
        st.tuples(st.just("restart")),
        st.tuples(st.just("wait"), st.sampled_from([1, 11])),
        st.tuples(st.just("fail"), st.booleans(), st.sampled_from([0.0, 0.3])),
    ),
    max_size=25,
)


class UnsteadyBlobs(MemoryBlobs):
    """Blobs that fail while told so: a write after its last byte, so that it may have left something."""

    failing = False

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        await super().put(key, pieces)
        if self.failing:
            raise StorageError("the blob store failed as planned")

    async def delete(self, key: str) -> None:
        if self.failing:
            raise StorageError("the blob store failed as planned")
        await super().delete(key)


class Story:
    """An application that goes through steps, and what it must have afterwards."""

    def __init__(self, seed: int) -> None:
        self.storage, self.blobs, self.clock = MemoryStorage(), UnsteadyBlobs(), VirtualClock()
        self.plan = FaultPlan(seed=seed)
        self.starts = seed
        self.sizes: dict[str, int] = {}
        self.addresses: dict[str, str] = {}
        self.sim: Simulation
        self._running = AsyncExitStack()

    async def start(self) -> None:
        self.starts += 1  # each process has randomness of its own
        running = simulate(
            app, storage=self.storage, blobs=self.blobs, clock=self.clock, faults=self.plan, seed=self.starts
        )
        self.sim = await self._running.enter_async_context(running)

    async def stop(self) -> None:
        await self._running.aclose()

    async def take(self, step: tuple[Any, ...]) -> None:
        match step:
            case ("restart",):
                await self.stop()
                await self.start()
            case ("wait", seconds):
                await self.sim.advance(seconds)
            case ("fail", blobs, storage):
                self.blobs.failing = blobs
                self.plan.commit = self.plan.write = storage
            case _:
                try:
                    await self.change(step)
                except (StorageError, CallFailed, ConnectionError):
                    pass  # it was told to have failed: so it has

    async def change(self, step: tuple[Any, ...]) -> None:
        files = self.sim.engine.files
        match step:
            case ("store", size):
                self.sizes[await files.store(counted(size))] = size
            case ("upload", size, again):
                token = (await self.sim.mutation("files:generateUploadUrl")).partition("=")[2]
                self.sizes[await files.store(counted(size), token=token)] = size
                if again:
                    try:
                        await files.store(counted(size), token=token)
                    except AuthenticationError:
                        return
                    raise AssertionError("an address was used twice")
            case ("cut off", size):
                await files.store(cut_off(size))
                raise AssertionError("half a file was stored")
            case ("delete", number, fails) if self.sizes:
                file = sorted(self.sizes)[number % len(self.sizes)]
                address = await self.sim.query("files:url", file=file)
                try:
                    await self.sim.mutation(f"files:delete{'AndFail' if fails else ''}", file=file)
                except rf.ApplicationError:
                    return
                del self.sizes[file]
                self.addresses[file] = address
            case _:
                return

    async def check(self) -> None:
        """What is there is what was said, to the byte; nothing else is."""
        self.blobs.failing = False
        self.plan.commit = self.plan.write = 0.0
        engine = self.sim.engine
        await self.sim.advance(11)
        await engine.files.collect()
        async with engine.reading() as tx:
            rows: list[rf.File] = await tx.scan(RangeRequest(table=spec_of(rf.File), equal={})).take(None)
            blobs: list[Blob] = await tx.scan(RangeRequest(table=spec_of(Blob), equal={})).take(None)
        assert {str(row.id): row.size for row in rows} == self.sizes
        assert {str(blob.file) for blob in blobs} == set(self.sizes)
        assert {blob.key for blob in blobs} == set(self.blobs.blobs)
        for file, size in self.sizes.items():
            assert await self.sim.action("files:read", file=file) == content(size)
        for file, address in self.addresses.items():
            assert await self.sim.query("files:url", file=file) is None
            assert await engine.files.find(address.rpartition("/")[2]) is None


async def cut_off(size: int) -> AsyncIterator[bytes]:
    async for piece in counted(size):
        yield piece
    raise ConnectionError("cut off")


@settings(max_examples=60, deadline=None)
@given(steps=STEPS, seed=st.integers(0, 1 << 16))
def test_files_are_what_was_said_through_failures_and_restarts(steps: list[tuple[Any, ...]], seed: int) -> None:
    async def main() -> None:
        story = Story(seed)
        await story.start()
        try:
            for step in steps:
                await story.take(step)
            await story.check()
        finally:
            await story.stop()

    arun(main())
