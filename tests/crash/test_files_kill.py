"""kill -9 in the middle of uploads and deletions: what was said is so, and what was not said left nothing behind."""

from __future__ import annotations

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

import reflow as rf
from reflow.database import RangeRequest
from reflow.engine.files import Blob
from reflow.schema import spec_of
from tests.support import arun
from tests.support.files_app import app, content
from tests.support.servers import ServerProcess

ROUNDS = 12
WORKERS = 4
SIZES = (0, 1, 5_000, 300_000, 3_000_000)


@dataclass
class Known:
    """What clients were told, over all rounds."""

    kept: dict[str, int] = field(default_factory=dict[str, int])
    """Size by id of what was stored and not asked to be deleted."""
    deleted: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    """Ids and addresses of what was said to be deleted."""
    unsure: int = 0
    """Uploads and deletions that got no answer."""


def call(client: httpx.Client, kind: str, path: str, **args: Any) -> Any:
    answer = client.post(f"/api/{kind}", json={"path": f"files:{path}", "args": args}).json()
    assert answer["status"] == "success", answer
    return answer["value"]


def work(url: str, known: Known, seed: int) -> None:
    """Uploads and deletes until the server is gone."""
    draw = random.Random(seed)
    mine: list[str] = []
    asked = False
    with httpx.Client(base_url=url, timeout=60) as client:
        try:
            while True:
                size = draw.choice(SIZES)
                target = call(client, "mutation", "generateUploadUrl")
                asked = True
                file = client.post(target, content=content(size)).json()["storageId"]
                asked = False
                known.kept[file] = size
                mine.append(file)
                if draw.random() < 0.5:
                    gone = mine.pop(draw.randrange(len(mine)))
                    address = call(client, "query", "url", file=gone)
                    asked = True
                    del known.kept[gone]
                    call(client, "mutation", "delete", file=gone)
                    asked = False
                    known.deleted.append((gone, address.rpartition("/")[2]))
        except (httpx.TransportError, ValueError):
            known.unsure += asked


async def check(directory: Path, known: Known) -> tuple[int, int]:
    """After a restart: rows and bytes agree, everything that was kept is whole, nothing that was deleted is there.

    Returns how many blobs the crash had left, and how many files there are.
    """
    files = directory / "files"
    left = len(list(files.iterdir())) if files.exists() else 0
    async with app.open(directory) as backend:
        engine = backend.engine
        await engine.files.collect()
        async with engine.reading() as tx:
            blobs: list[Blob] = await tx.scan(RangeRequest(table=spec_of(Blob), equal={})).take(None)
            rows: list[rf.File] = await tx.scan(RangeRequest(table=spec_of(rf.File), equal={})).take(None)
        assert {blob.state for blob in blobs} <= {"kept"}
        there = [path.name for path in files.iterdir()] if files.exists() else []
        assert sorted(there) == sorted(blob.key for blob in blobs)
        assert {blob.file for blob in blobs} == {row.id for row in rows}
        sizes = {str(row.id): row.size for row in rows}
        assert known.kept.items() <= sizes.items()
        for row in rows:
            assert await backend.action("files:read", file=row.id) == content(row.size)
        for id, key in known.deleted:
            assert id not in sizes
            assert await engine.files.find(key) is None
        assert len(rows) <= len(known.kept) + known.unsure
    return left - len(rows), len(rows)


@pytest.mark.slow
def test_uploads_and_deletions_through_kill_9(tmp_path: Path) -> None:
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    draw, known = random.Random(seed), Known()
    orphans = 0
    for number in range(ROUNDS):
        server = ServerProcess(tmp_path, "tests.support.files_app")
        with ThreadPoolExecutor(WORKERS) as pool:
            ends = [pool.submit(work, server.url, known, seed + number * WORKERS + one) for one in range(WORKERS)]
            until = len(known.kept) + len(known.deleted) + draw.randint(0, 6)
            while len(known.kept) + len(known.deleted) < until:
                time.sleep(0.005)
            time.sleep(draw.uniform(0, 0.1))
            server.stop(signal.SIGKILL)
            for end in ends:
                end.result()
        found, _ = arun(check(tmp_path, known))
        orphans += found
    print(
        f"{ROUNDS} kills: {len(known.kept)} files kept, {len(known.deleted)} deleted, {known.unsure} calls without an "
        f"answer, {orphans} blobs left by crashes and collected"
    )
    assert known.kept
    assert known.deleted
    assert orphans > 0
