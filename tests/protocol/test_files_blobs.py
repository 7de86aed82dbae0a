"""The same promises of every blob store: memory, a directory, and an object store behind the real protocol."""

from __future__ import annotations

import asyncio
import os
import sys
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from reflow.errors import DefinitionError, InvalidId, MissingExtra, StorageUnavailable
from reflow.limits import Limits
from reflow.storage import blobs as blobs_module
from reflow.storage.blobs import Blobs, DirectoryBlobs, MemoryBlobs
from reflow.storage.object_blobs import ObjectBlobs
from tests.support import arun
from tests.support.files_app import content, counted
from tests.support.seaweed import Seaweed, seaweed

PART = 5 << 20
"""The least that S3 takes for a part."""
KEY = "0b5fdd5e-7a2a-4d2c-8f0e-3a5c1d2e4f60"
LIMITS = Limits(file_part_bytes=PART)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(params=["memory", "directory", "s3"])
def make(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], Blobs]:
    """Opens an empty blob store, on the running event loop."""
    if request.param == "s3":
        request.getfixturevalue("s3")
        prefix = uuid.uuid4().hex
        return lambda: ObjectBlobs(f"s3://files/{prefix}", LIMITS)
    if request.param == "directory":
        return lambda: DirectoryBlobs(tmp_path / "files", LIMITS)
    return lambda: MemoryBlobs(LIMITS)


def new_key() -> str:
    return str(uuid.uuid4())


async def read(blobs: Blobs, key: str, start: int, stop: int) -> bytes:
    reader = await blobs.open(key, start, stop)
    found = bytearray()
    while piece := await reader.read():
        found += piece
    assert await reader.read() == b""
    await reader.close()
    return bytes(found)


def using(make: Callable[[], Blobs], test: Callable[[Blobs], Awaitable[None]]) -> None:
    async def main() -> None:
        blobs = make()
        try:
            await test(blobs)
        finally:
            await blobs.close()

    arun(main())


@pytest.mark.parametrize("size", [0, 1, 300_000, PART, PART + 1, 2 * PART + 12_345])
def test_what_is_put_is_read(make: Callable[[], Blobs], size: int) -> None:
    async def test(blobs: Blobs) -> None:
        key, whole = new_key(), content(size)
        await blobs.put(key, counted(size, 200_001))
        assert await read(blobs, key, 0, size) == whole
        for start, stop in ((0, 1), (size // 2, size), (size // 3, size // 2), (size, size)):
            if stop <= size:
                assert await read(blobs, key, start, stop) == whole[start:stop]

    using(make, test)


def test_what_is_deleted_is_not_there(make: Callable[[], Blobs]) -> None:
    async def test(blobs: Blobs) -> None:
        key, other = new_key(), new_key()
        await blobs.put(key, counted(10))
        await blobs.put(other, counted(20))
        await blobs.delete(key)
        await blobs.delete(key)
        await blobs.delete(new_key())
        with pytest.raises(StorageUnavailable, match="are not in"):
            await read(blobs, key, 0, 10)
        assert await read(blobs, other, 0, 20) == content(20)

    using(make, test)


@pytest.mark.parametrize("before", [0, 100_000, PART + 1, 3 * PART])
def test_pieces_that_raise_leave_nothing(make: Callable[[], Blobs], before: int, s3: Seaweed) -> None:
    async def broken() -> AsyncIterator[bytes]:
        async for piece in counted(before, 500_000):
            yield piece
        raise ConnectionError("cut off")

    async def test(blobs: Blobs) -> None:
        key = new_key()
        with pytest.raises(ConnectionError, match="cut off"):
            await blobs.put(key, broken())
        with pytest.raises(StorageUnavailable):
            await read(blobs, key, 0, 1)

    using(make, test)
    assert s3.unfinished() == 0


@pytest.mark.parametrize("before", [100_000, 3 * PART])
def test_being_cancelled_leaves_nothing(make: Callable[[], Blobs], before: int, s3: Seaweed) -> None:
    async def test(blobs: Blobs) -> None:
        key, sent = new_key(), asyncio.Event()

        async def endless() -> AsyncIterator[bytes]:
            async for piece in counted(before, 500_000):
                yield piece
            sent.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(blobs.put(key, endless()))
        await sent.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        with pytest.raises(StorageUnavailable):
            await read(blobs, key, 0, 1)

    using(make, test)
    assert s3.unfinished() == 0


@pytest.mark.parametrize(
    "key",
    ["", "x", "../escape", "/etc/passwd", "..", ".", f"{KEY}/../x", KEY.upper(), f"{KEY}\0", f"{KEY}.part", "é" * 36],
)
def test_a_key_is_never_a_path(make: Callable[[], Blobs], key: str) -> None:
    async def test(blobs: Blobs) -> None:
        for work in (lambda: blobs.put(key, counted(1)), lambda: blobs.open(key, 0, 1), lambda: blobs.delete(key)):
            with pytest.raises(InvalidId, match="is no key of a file"):
                await work()

    using(make, test)


# The directory


def test_nobody_else_may_look_into_the_directory(tmp_path: Path) -> None:
    async def test(blobs: Blobs) -> None:
        await blobs.put(new_key(), counted(10))

    using(lambda: DirectoryBlobs(tmp_path / "a" / "files"), test)
    [blob] = (tmp_path / "a" / "files").iterdir()
    assert blob.stat().st_mode & 0o777 == 0o600
    assert blob.parent.stat().st_mode & 0o777 == 0o700


def test_bytes_are_on_the_disk_before_their_name_and_the_name_before_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []

    def noted(what: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*args: Any) -> Any:
            done.append(f"{name} {'directory' if name == 'fsync' and is_directory(args[0]) else 'file'}")
            return what(*args)

        return call

    monkeypatch.setattr(blobs_module.os, "fsync", noted(os.fsync, "fsync"))
    monkeypatch.setattr(Path, "rename", noted(Path.rename, "rename"))

    async def test(blobs: Blobs) -> None:
        await blobs.put(new_key(), counted(10))
        done.append("said")

    using(lambda: DirectoryBlobs(tmp_path), test)
    assert done == ["fsync file", "rename file", "fsync directory", "said"]


def is_directory(file: int) -> bool:
    return os.path.isdir(f"/dev/fd/{file}")


def test_a_part_that_a_crash_left_goes_with_its_key(tmp_path: Path) -> None:
    key = new_key()
    (tmp_path / f"{key}.part").write_bytes(b"half")

    async def test(blobs: Blobs) -> None:
        await blobs.delete(key)

    using(lambda: DirectoryBlobs(tmp_path), test)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_fails_is_told_as_such(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    async def test(blobs: Blobs) -> None:
        monkeypatch.setattr(blobs_module.os, "write", full)
        with pytest.raises(StorageUnavailable, match="No space left on device"):
            await blobs.put(new_key(), counted(10))

    using(lambda: DirectoryBlobs(tmp_path), test)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_cut_short_is_an_error(tmp_path: Path) -> None:
    key = new_key()
    (tmp_path / key).write_bytes(b"short")

    async def test(blobs: Blobs) -> None:
        with pytest.raises(StorageUnavailable, match="ends at byte 5"):
            await read(blobs, key, 0, 10)

    using(lambda: DirectoryBlobs(tmp_path), test)


# The object store


def test_another_secret_is_refused(s3: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "another")

    async def test(blobs: Blobs) -> None:
        with pytest.raises(StorageUnavailable, match=r"s3://files/x can't be read or written") as caught:
            await blobs.put(new_key(), counted(10))
        assert "another" not in str(caught.value)

    using(lambda: ObjectBlobs("s3://files/x"), test)


def test_a_store_that_is_away_is_told_as_such(s3: Seaweed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    limits = Limits(file_store_seconds=0.2)

    async def test(blobs: Blobs) -> None:
        for work in (
            lambda: blobs.put(new_key(), counted(10)),
            lambda: blobs.open(new_key(), 0, 1),
            lambda: blobs.delete(new_key()),
        ):
            with pytest.raises(StorageUnavailable, match="can't be read or written"):
                await work()

    using(lambda: ObjectBlobs("s3://files/x", limits), test)


def test_a_bucket_of_others_is_refused_in_one_line(s3: Seaweed) -> None:
    async def test(blobs: Blobs) -> None:
        with pytest.raises(StorageUnavailable, match=r"AccessDenied|NoSuchBucket") as caught:
            await blobs.put(new_key(), counted(10))
        assert "\n" not in str(caught.value)

    using(lambda: ObjectBlobs("s3://others/x"), test)


@pytest.mark.parametrize("url", ["ftp://host/x", "http://host/x", "file:///etc", "memory://", "s3://"])
def test_other_addresses_are_refused(url: str) -> None:
    with pytest.raises(DefinitionError, match="files can't be at"):
        ObjectBlobs(url)


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    with pytest.raises(MissingExtra, match=r"install reflow\[s3\]"):
        ObjectBlobs("s3://files/x")


@pytest.mark.skipif(sys.platform != "linux", reason="open files are counted in /proc")
def test_who_is_cancelled_while_a_file_opens_leaves_it_closed(tmp_path: Path) -> None:
    async def main() -> None:
        blobs = DirectoryBlobs(tmp_path, LIMITS)
        await blobs.put(KEY, counted(10))
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(10):
            for work in (blobs.open(KEY, 0, 10), blobs.put(new_key(), counted(10))):
                task = asyncio.create_task(work)
                await asyncio.sleep(0)
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
        assert len(os.listdir("/proc/self/fd")) == before
        await blobs.close()

    arun(main())
