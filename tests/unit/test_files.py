from __future__ import annotations

import asyncio
import base64
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

import reflow as rf
from reflow.engine.files import Blob, Files, UploadUrl
from reflow.engine.transaction import EngineTransaction
from reflow.errors import (
    ApplicationError,
    AuthenticationError,
    CallFailed,
    DefinitionError,
    DocumentNotFound,
    InvalidId,
    InvalidValue,
    Overloaded,
    StorageUnavailable,
)
from reflow.files import digest_of
from reflow.limits import Limits
from reflow.storage.blobs import MemoryBlobs
from reflow.storage.memory import MemoryStorage
from reflow.testing import Simulation, VirtualClock, simulate
from tests.support import arun
from tests.support.files_app import Post, app, content, counted, url
from tests.support.simulated import inside, simulated

SMALL = rf.App(modules=app.modules, limits=Limits(file_bytes=1000, uploads=2))


class FailingBlobs(MemoryBlobs):
    """Blobs that can't be written or removed while `broken`."""

    broken = False

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        await super().put(key, pieces)
        self._check()

    async def delete(self, key: str) -> None:
        self._check()
        await super().delete(key)

    def _check(self) -> None:
        if self.broken:
            raise StorageUnavailable("The disk is gone.")


def blobs_of(sim: Simulation) -> dict[str, bytes]:
    """The bytes that there are."""
    blobs: Any = sim.engine.files._blobs  # pyright: ignore[reportPrivateUsage]
    return blobs.blobs


def files_of(sim: Simulation) -> Files:
    return sim.engine.files


async def rows(sim: Simulation, table: type[rf.Table]) -> list[Any]:
    async with sim.engine.reading() as tx:
        return await tx.scan(rf.DatabaseReader(tx).query(table)._request).take(None)  # pyright: ignore[reportPrivateUsage]


async def nothing_is_left(sim: Simulation) -> None:
    """No row and no byte."""
    await sim.quiet()
    assert blobs_of(sim) == {}
    assert await rows(sim, rf.File) == []
    assert await rows(sim, Blob) == []


def token_of(address: str) -> str:
    return address.partition("?token=")[2]


# Storing and reading


@pytest.mark.parametrize("size", [0, 1, 999, 70_000, 600_000])
def test_what_was_stored_comes_back(size: int) -> None:
    async def main() -> None:
        async with simulate(app) as sim:
            id = await sim.action("files:store", size=size, content_type="text/plain")
            assert await sim.action("files:read", file=id) == content(size)
            row = await sim.query("files:metadata", file=id)
            digest = hashlib.sha256(content(size)).digest()
            assert (row.size, row.content_type, row.sha256) == (size, "text/plain", base64.b64encode(digest).decode())
            assert row.digest == digest
            assert row.id == id
            assert await sim.query("files:listing") == [row]

    arun(main())


@simulated(app)
async def test_parts_of_a_file(sim: Simulation) -> None:
    id, whole = await sim.action("files:store", size=700_000), content(700_000)
    for start, stop in ((0, 10), (5, 5), (262_143, 262_145), (699_990, None), (699_990, 800_000), (800_000, None)):
        assert await sim.action("files:read", file=id, start=start, stop=stop) == whole[start:stop]
    for start, stop in ((-1, None), (5, 4)):
        with pytest.raises(CallFailed, match="no range"):
            await sim.action("files:read", file=id, start=start, stop=stop)


def test_files_come_from_bytes_paths_and_streams(tmp_path: Path) -> None:
    path = tmp_path / "a file"
    path.write_bytes(content(300_000))

    async def main() -> None:
        module = rf.Module("test")

        @module.action
        async def store_all(ctx: rf.ActionCtx) -> list[rf.Id[rf.File]]:
            whole = content(300_000)
            given = [whole, bytearray(whole), memoryview(whole), path, counted(300_000)]
            return [await ctx.storage.store(data) for data in given]

        @module.action
        async def iterate(ctx: rf.ActionCtx, file: rf.Id[rf.File]) -> list[int]:
            found = await ctx.storage.get(file)
            assert found is not None
            assert found.file.content_type is None
            return [len(chunk) async for chunk in found]

        async with simulate(rf.App(modules=[*app.modules, module])) as sim:
            ids = await sim.action(store_all)
            for id in ids:
                assert await sim.action("files:read", file=id) == content(300_000)
            assert await sim.action(iterate, ids[0]) == [262_144, 300_000 - 262_144]

    arun(main())


def test_a_digest_is_read_in_three_spellings() -> None:
    digest = hashlib.sha256(b"x").digest()
    for spelling in (digest, digest.hex(), digest.hex().upper(), base64.b64encode(digest).decode()):
        assert digest_of(spelling) == digest
    for wrong in (b"x", "x", "", "é" * 64, digest.hex()[:-2], digest.hex()[:-1] + "g", base64.b64encode(b"x").decode()):
        with pytest.raises(InvalidValue, match="a sha256 is"):
            digest_of(wrong)


@simulated(app)
async def test_a_digest_is_checked(sim: Simulation) -> None:
    right = hashlib.sha256(content(5000)).hexdigest()
    assert await sim.action("files:store", size=5000, sha256=right)
    await sim.mutation("files:delete", file=(await sim.query("files:listing"))[0].id)
    await files_of(sim).collect()
    with pytest.raises(CallFailed, match=f"have the sha256 {right}, not 0000"):
        await sim.action("files:store", size=5000, sha256="00" * 32)
    await nothing_is_left(sim)


@simulated(SMALL)
async def test_what_is_too_large_leaves_nothing(sim: Simulation) -> None:
    await sim.action("files:store", size=1000)
    await sim.mutation("files:delete", file=(await sim.query("files:listing"))[0].id)
    await files_of(sim).collect()
    with pytest.raises(CallFailed, match=r"larger than limits\.file_bytes = 1000"):
        await sim.action("files:store", size=1001)
    await nothing_is_left(sim)


@simulated(app)
async def test_a_stream_that_raises_leaves_nothing(sim: Simulation) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield content(400_000)
        raise ConnectionError("cut off")

    with pytest.raises(ConnectionError, match="cut off"):
        await files_of(sim).store(broken())
    await nothing_is_left(sim)


@simulated(app)
async def test_one_that_is_cancelled_leaves_nothing(sim: Simulation) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield content(400_000)
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(files_of(sim).store(endless()))
    await begun.wait()
    assert [blob.state for blob in await rows(sim, Blob)] == ["writing"]
    await files_of(sim).collect()
    assert [blob.state for blob in await rows(sim, Blob)] == ["writing"]  # it goes on
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await nothing_is_left(sim)


@simulated(SMALL)
async def test_more_uploads_at_once_are_refused(sim: Simulation) -> None:
    go_on = asyncio.Event()

    async def waiting() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield b"x"

    tasks = [asyncio.create_task(files_of(sim).store(waiting())) for _ in range(2)]
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match=r"limits\.uploads = 2"):
        await files_of(sim).store(counted(1))
    go_on.set()
    await asyncio.gather(*tasks)
    await files_of(sim).store(counted(1))


@pytest.mark.parametrize(
    "wrong", ["", "text", "text/", "a b/c", "text/plain\r\nX: y", "text/plain; ä", "a/" + "b" * 300]
)
def test_a_content_type_must_fit_in_a_header(wrong: str) -> None:
    async def main() -> None:
        async with simulate(app) as sim:
            with pytest.raises(CallFailed, match="is no content type"):
                await sim.action("files:store", size=1, content_type=wrong)
            await nothing_is_left(sim)

    arun(main())


# Ids and addresses


@simulated(app)
async def test_an_address_is_live_and_ends_with_the_file(sim: Simulation) -> None:
    id = await sim.action("files:store", size=10)
    seen: list[str | None] = []

    async def watch() -> None:
        async for found in sim.watch(url, file=id):
            seen.append(found)
            if found is None:
                return

    task = asyncio.create_task(watch())
    await sim.quiet()
    await sim.action("files:store", size=11)  # another file concerns nobody here
    await sim.quiet()
    await sim.mutation("files:delete", file=id)
    await task
    assert len(seen) == 2
    assert str(seen[0]).startswith("/api/storage/")


@simulated(app)
async def test_the_address_can_not_be_told_from_the_row(sim: Simulation) -> None:
    id = await sim.action("files:store", size=10)
    key = (await sim.query("files:url", file=id)).rpartition("/")[2]
    row = await sim.query("files:metadata", file=id)
    assert key not in repr(row)
    assert set(row.__struct_fields__) == {"_id", "_creationTime", "sha256", "size", "content_type"}


@inside(app)
async def test_what_is_no_id_of_a_file_is_refused(ctx: rf.MutationCtx) -> None:
    post: Any = await ctx.db.insert(Post(text="a document"))
    wrongs: list[Any] = [post, "", "../../etc/passwd", "x" * 32]
    for wrong in wrongs:
        for call in (ctx.storage.url, ctx.storage.metadata, ctx.storage.delete):
            with pytest.raises(InvalidId, match="'posts', not of a file" if wrong == post else None):
                await call(wrong)


@simulated(app)
async def test_arguments_take_ids_of_files_only(sim: Simulation) -> None:
    post = await sim.mutation("files:send", storage_id=await sim.action("files:store", size=10))
    with pytest.raises(CallFailed, match="ArgumentValidationError"):
        await sim.query("files:url", file=post)


@simulated(app)
async def test_a_file_that_is_gone_is_none_everywhere(sim: Simulation) -> None:
    id = await sim.action("files:store", size=10)
    await sim.mutation("files:delete", file=id)
    assert await sim.query("files:url", file=id) is None
    assert await sim.query("files:metadata", file=id) is None
    assert await sim.action("files:read", file=id) is None
    with pytest.raises(CallFailed, match="it does not exist"):
        await sim.mutation("files:delete", file=id)


@simulated(app)
async def test_rows_of_files_are_written_by_storing_only(sim: Simulation) -> None:
    id = await sim.action("files:store", size=10)

    async def write(tx: EngineTransaction) -> None:
        db = rf.DatabaseWriter(tx)
        for row in (rf.File(sha256="", size=0), Blob(key="x", state="kept", file=id)):
            with pytest.raises(DefinitionError, match="is reflow's own"):
                await db.insert(row)
        with pytest.raises(DefinitionError, match="'_storage' is reflow's own"):
            await db.patch(id, size=1)
        with pytest.raises(DefinitionError, match="'_storage' is reflow's own"):
            await db.delete(id)

    await sim.engine.transact(write)


# Transactions


@simulated(app)
async def test_deleting_is_part_of_the_transaction(sim: Simulation) -> None:
    id = await sim.action("files:store", size=10)
    with pytest.raises(ApplicationError):
        await sim.mutation("files:deleteAndFail", file=id)
    await files_of(sim).collect()
    assert await sim.action("files:read", file=id) == content(10)
    await sim.mutation("files:delete", file=id)
    assert len(blobs_of(sim)) == 1
    await sim.advance(sim.engine.limits.prune_interval_seconds + 1)
    await nothing_is_left(sim)


@simulated(app)
async def test_an_upload_address_is_good_once_its_mutation_has_committed(sim: Simulation) -> None:
    with pytest.raises(ApplicationError) as caught:
        await sim.mutation("files:uploadUrlAndFail")
    with pytest.raises(AuthenticationError, match="StorageTokenInvalid"):
        await files_of(sim).store(counted(5), token=token_of(caught.value.data))
    address = await sim.mutation("files:generateUploadUrl")
    assert address.startswith("/api/storage/upload?token=")
    id = await files_of(sim).store(counted(5), token=token_of(address))
    assert await sim.action("files:read", file=id) == content(5)
    assert token_of(address) not in repr(await rows(sim, UploadUrl))


@simulated(app)
async def test_an_upload_address_is_good_once(sim: Simulation) -> None:
    token = token_of(await sim.mutation("files:generateUploadUrl"))
    go_on = asyncio.Event()

    async def late() -> AsyncIterator[bytes]:
        await go_on.wait()
        yield b"x"

    second = asyncio.create_task(files_of(sim).store(late(), token=token))
    await asyncio.sleep(0)
    await files_of(sim).store(counted(5), token=token)
    go_on.set()
    with pytest.raises(AuthenticationError, match="was used already"):
        await second
    await sim.quiet()
    assert len(blobs_of(sim)) == len(await rows(sim, rf.File)) == len(await rows(sim, Blob)) == 1
    with pytest.raises(AuthenticationError, match="was used already"):
        await files_of(sim).store(counted(5), token=token)


@simulated(app)
async def test_an_upload_that_failed_can_be_tried_again(sim: Simulation) -> None:
    token = token_of(await sim.mutation("files:generateUploadUrl"))
    with pytest.raises(InvalidValue):
        await files_of(sim).store(counted(5), token=token, sha256=bytes(32))
    assert await files_of(sim).store(counted(5), token=token)


@simulated(app)
async def test_an_upload_address_expires(sim: Simulation) -> None:
    used, late = [token_of(await sim.mutation("files:generateUploadUrl")) for _ in range(2)]
    await sim.advance(sim.engine.limits.upload_url_seconds - 1)
    await files_of(sim).store(counted(5), token=used)
    await sim.advance(2)
    with pytest.raises(AuthenticationError, match="StorageTokenExpired"):
        await files_of(sim).store(counted(5), token=late)
    assert len(await rows(sim, UploadUrl)) == 1
    await sim.advance(25 * 3600)
    assert await rows(sim, UploadUrl) == []


@simulated(app)
async def test_what_is_deleted_while_it_is_read_is_not_read_on(sim: Simulation) -> None:
    id = await sim.action("files:store", size=600_000)
    other = await sim.action("files:store", size=5)
    found = await files_of(sim).download(id, 0, None)
    assert found is not None
    chunks = aiter(found)
    await anext(chunks)
    await sim.mutation("files:delete", file=other)  # which does not concern it
    await anext(chunks)
    await sim.mutation("files:delete", file=id)
    with pytest.raises(DocumentNotFound, match="was deleted while it was read"):
        await anext(chunks)


@simulated(app)
async def test_bytes_that_went_with_their_file_are_no_error_of_the_server(sim: Simulation) -> None:
    id = await sim.action("files:store", size=600_000)
    early, late = [await files_of(sim).download(id, 0, None) for _ in range(2)]
    assert early is not None
    assert late is not None
    chunks = aiter(early)
    await anext(chunks)
    await sim.mutation("files:delete", file=id)
    await files_of(sim).collect()
    assert blobs_of(sim) == {}
    for reading in (chunks, aiter(late)):
        with pytest.raises(DocumentNotFound, match="was deleted while it was read"):
            await anext(reading)


# After crashes


def test_what_a_crash_left_is_collected_at_start() -> None:
    storage, blobs, clock = MemoryStorage(), MemoryBlobs(), VirtualClock()

    async def main() -> None:
        async with simulate(app, storage=storage, blobs=blobs, clock=clock) as sim:
            kept = await sim.action("files:store", size=10)
            gone = await sim.action("files:store", size=20)

            async def endless() -> AsyncIterator[bytes]:
                yield b"x"
                await asyncio.Event().wait()

            task = asyncio.create_task(files_of(sim).store(endless()))
            await sim.quiet()
            await files_of(sim).close()  # as if the process were gone: nobody collects
            await sim.mutation("files:delete", file=gone)
            [key] = [blob.key for blob in await rows(sim, Blob) if blob.state == "writing"]
            blobs.blobs[key] = b"half"
            assert len(blobs.blobs) == 3
        task.cancel()
        async with simulate(app, storage=storage, blobs=blobs, clock=clock) as sim:
            await sim.quiet()
            assert list(blobs.blobs.values()) == [content(10)]
            assert [blob.state for blob in await rows(sim, Blob)] == ["kept"]
            assert await sim.action("files:read", file=kept) == content(10)

    arun(main())


def test_a_blob_store_that_fails_is_tried_again() -> None:
    blobs = FailingBlobs()

    async def main() -> None:
        async with simulate(app, blobs=blobs) as sim:
            gone = await sim.action("files:store", size=20)
            blobs.broken = True
            with pytest.raises(StorageUnavailable):
                await files_of(sim).store(counted(5))
            await sim.mutation("files:delete", file=gone)
            assert await sim.query("files:url", file=gone) is None
            await sim.advance(60)
            assert len(blobs.blobs) == 2
            blobs.broken = False
            await sim.advance(60)
            await nothing_is_left(sim)

    arun(main())


class SlowBlobs(MemoryBlobs):
    """Blobs that are given up between their last byte and their row."""

    files: Files

    async def put(self, key: str, pieces: AsyncIterator[bytes]) -> None:
        await super().put(key, pieces)
        self.files._writing.clear()  # pyright: ignore[reportPrivateUsage]
        await self.files.collect()


def test_an_upload_that_was_given_up_can_not_come_back() -> None:
    """Whoever collects has the last word: bytes that may be gone are never kept."""
    blobs = SlowBlobs()

    async def main() -> None:
        async with simulate(app, blobs=blobs) as sim:
            blobs.files = files_of(sim)
            with pytest.raises(rf.ReflowError, match="was given up"):
                await blobs.files.store(counted(5))
            await nothing_is_left(sim)

    arun(main())


def test_bytes_that_somebody_removed_are_an_error_of_the_server() -> None:
    blobs = MemoryBlobs()

    async def main() -> None:
        async with simulate(app, blobs=blobs) as sim:
            id = await sim.action("files:store", size=20)
            blobs.blobs.clear()
            with pytest.raises(CallFailed, match="could not read or store"):
                await sim.action("files:read", file=id)

    arun(main())
