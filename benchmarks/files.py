"""A large file up and down, and parts of it: time, and the server's peak memory in each step.

`python -m benchmarks.files [--megabytes 1024] [--at s3://bucket/prefix]` runs it; with `--at`, or in the environment's
REFLOW_FILES_URL, the bytes go to an object store. Memory needs Linux. Every byte that comes back is compared.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx

import reflow as rf

from .process import Process

files = rf.Module("files")

BLOCK = 1 << 20
PARALLEL = 8
RANGES = 1000
RANGE_BYTES = 64 << 10


@files.mutation
async def upload_url(ctx: rf.MutationCtx) -> str:
    """An address for one upload."""
    return await ctx.storage.upload_url()


@files.query
async def url(ctx: rf.QueryCtx, file: rf.Id[rf.File]) -> str | None:
    """Where a file is."""
    return await ctx.storage.url(file)


@files.mutation
async def delete(ctx: rf.MutationCtx, file: rf.Id[rf.File]) -> None:
    """Deletes a file."""
    await ctx.storage.delete(file)


app = rf.App(modules=[files])


@dataclass(frozen=True)
class Content:
    """Bytes that can be made again at any place: blocks that differ in their first eight bytes only."""

    blocks: int
    base: bytes

    @property
    def size(self) -> int:
        """Bytes in all."""
        return self.blocks * BLOCK

    def block(self, number: int) -> bytes:
        """One block."""
        return number.to_bytes(8, "big") + self.base

    def __iter__(self) -> Iterator[bytes]:
        return (self.block(number) for number in range(self.blocks))

    def part(self, start: int, stop: int) -> bytes:
        """The bytes from `start` up to `stop`."""
        first, last = start // BLOCK, -(-stop // BLOCK)
        found = b"".join(self.block(number) for number in range(first, last))
        return found[start - first * BLOCK : stop - first * BLOCK]


class Bench:
    """One server and its client; each step reports what it took."""

    def __init__(self, process: Process, content: Content) -> None:
        self._process = process
        self._content = content
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{process.wait_for_port()}", timeout=600)

    def call(self, kind: str, path: str, **args: str) -> str:
        """The result of a function."""
        answer = self._http.post(f"/api/{kind}", json={"path": path, "args": args}).json()
        if answer["status"] != "success":
            raise RuntimeError(answer["errorMessage"])
        return answer["value"]

    def step(self, name: str, size: int, work: Callable[[], None]) -> None:
        """Does something, and prints its time and what the server took at most, beyond what it had before."""
        status = Path(f"/proc/{self._process.pid}/status")
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5")  # the peak starts again from what there is
        before, cpu, started = self._process.resident_mb(), self._process.cpu_seconds(), time.perf_counter()
        work()
        seconds, used = time.perf_counter() - started, self._process.cpu_seconds() - cpu
        peak = int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
        took = f"{seconds:.2f} | {size / 1e6 / seconds:,.0f} | {used:.2f}"
        print(f"| {name} | {took} | {peak:.1f} | {peak - before:+.1f} |", flush=True)

    def upload(self) -> str:
        """Stores the content; its id."""
        headers = {"content-length": str(self._content.size)}
        answer = self._http.post(self.call("mutation", "files:upload_url"), content=self._content, headers=headers)
        return answer.raise_for_status().json()["storageId"]

    def download(self, address: str) -> None:
        """Reads and compares all of it."""
        blocks, left = iter(self._content), b""
        with httpx.stream("GET", address, timeout=600) as answer:
            answer.raise_for_status()
            for chunk in answer.iter_raw(BLOCK):
                left += chunk
                while len(left) >= BLOCK:
                    if left[:BLOCK] != next(blocks):
                        raise RuntimeError("other bytes came back")
                    left = left[BLOCK:]
        if left or next(blocks, None) is not None:
            raise RuntimeError("fewer bytes came back")

    def ranges(self, address: str) -> None:
        """Reads and compares parts at random places."""
        draw = random.Random(0)
        for _ in range(RANGES):
            start = draw.randrange(self._content.size - RANGE_BYTES)
            stop = start + RANGE_BYTES
            answer = self._http.get(address, headers={"range": f"bytes={start}-{stop - 1}"})
            if answer.status_code != 206 or answer.content != self._content.part(start, stop):
                raise RuntimeError(f"a part came back wrong: {answer.status_code}")

    def run(self) -> None:
        """All steps."""
        print("| step | s | MB/s | server's CPU s | peak MB | above start |\n|---|---|---|---|---|---|")
        size, ids = self._content.size, list[str]()
        self.step("up", size, lambda: ids.append(self.upload()))
        address = self.call("query", "files:url", file=ids[0])
        self.step("down", size, lambda: self.download(address))
        self.step(f"{RANGES} ranges of {RANGE_BYTES >> 10} KiB", RANGES * RANGE_BYTES, lambda: self.ranges(address))
        with ThreadPoolExecutor(PARALLEL) as pool:

            def downloads() -> None:
                list(pool.map(self.download, [address] * PARALLEL))

            def uploads() -> None:
                ids.extend(pool.map(lambda _: self.upload(), range(PARALLEL)))

            self.step(f"down, {PARALLEL} at once", PARALLEL * size, downloads)
            self.step(f"up, {PARALLEL} at once", PARALLEL * size, uploads)
        for id in ids:
            self.call("mutation", "files:delete", file=id)


def floor(content: Content, directory: Path) -> None:
    """What this machine's disk takes the same bytes in: written, brought to the disk, read."""
    path = directory / "floor"
    started = time.perf_counter()
    with path.open("wb") as file:
        for block in content:
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    written = time.perf_counter()
    with path.open("rb") as file:
        while file.read(BLOCK):
            continue
    read = time.perf_counter() - written
    path.unlink()
    megabytes = content.size / 1e6
    print(
        f"A plain file here: written at {megabytes / (written - started):,.0f} MB/s, read at {megabytes / read:,.0f}."
    )


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1024, help="size of the file, in MiB")
    parser.add_argument("--at", help='where the bytes go, such as "s3://bucket/prefix" (default: a directory)')
    chosen = parser.parse_args()
    content = Content(chosen.megabytes, random.Random(1).randbytes(BLOCK - 8))
    if chosen.at:
        os.environ["REFLOW_FILES_URL"] = chosen.at
    with ExitStack() as cleanup:
        directory = Path(cleanup.enter_context(tempfile.TemporaryDirectory()))
        command = [sys.executable, "-m", "reflow.cli", "serve", __file__, "--port", "0"]
        process = Process([*command, "--data", str(directory / "data")], directory / "server.log")
        cleanup.callback(process.stop)
        bench = Bench(process, content)
        print(f"{chosen.megabytes} MiB; the server begins with {process.resident_mb():.1f} MB.\n")
        bench.run()
        print()
        floor(content, directory)


if __name__ == "__main__":
    main()
