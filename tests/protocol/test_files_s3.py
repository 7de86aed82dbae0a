"""A whole server whose files are in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

import reflow as rf
from reflow.limits import Limits
from reflow.server.serve import Serving
from tests.protocol.test_files_http import PATIENCE, address, call, eventually, failed, upload, upload_url
from tests.support.files_app import app, content
from tests.support.seaweed import Seaweed, seaweed
from tests.support.servers import Threaded, in_thread

SIZE = (12 << 20) + 345
IN_S3 = rf.App(
    modules=app.modules,
    files="s3://files/of/app",
    limits=Limits(file_part_bytes=5 << 20, file_bytes=20 << 20),
)


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        yield server


@pytest.fixture(scope="module")
def server(s3: Seaweed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Threaded]:
    with in_thread(IN_S3, tmp_path_factory.mktemp("data")) as threaded:
        yield threaded


def collect(server: Threaded) -> None:
    async def work(serving: Serving) -> None:
        await serving.backend.engine.files.collect()

    server.call(work)


def test_a_file_goes_there_and_comes_back(server: Threaded, s3: Seaweed) -> None:
    file = upload(server, content(SIZE))
    url = address(server, file)
    key = url.rpartition("/")[2]
    assert s3.names() == [f"of/app/{key}"]
    assert httpx.get(url).content == content(SIZE)
    for start, stop in ((0, 10), (5_242_870, 5_242_890), (SIZE - 5, SIZE)):
        answer = httpx.get(url, headers={"range": f"bytes={start}-{stop - 1}"})
        assert answer.status_code == 206
        assert answer.content == content(SIZE)[start:stop]
    call(server.url, "mutation", "delete", file=file)
    assert failed(httpx.get(url), 404) == "FileNotFound"
    collect(server)
    assert s3.names() == []


def test_what_fails_leaves_nothing_there(server: Threaded, s3: Seaweed) -> None:
    wrong = {"digest": "sha-256=" + "A" * 43 + "="}
    assert (
        failed(httpx.post(upload_url(server), content=content(SIZE), headers=wrong, timeout=PATIENCE), 400)
        == "InvalidValue"
    )
    assert (
        failed(httpx.post(upload_url(server), content=iter([content(21 << 20)]), timeout=PATIENCE), 413)
        == "LimitExceeded"
    )
    eventually(lambda: s3.names() == [])
    assert s3.unfinished() == 0


def test_an_object_store_that_is_away_is_a_clear_error(
    s3: Seaweed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("REFLOW_FILES_URL", "s3://files/away")
    away = rf.App(modules=app.modules, limits=Limits(file_store_seconds=0.2))
    with in_thread(away, tmp_path) as server:
        answer = httpx.post(upload_url(server), content=b"x")
        assert failed(answer, 503) == "StorageUnavailable"
        assert "s3" not in answer.text
        assert call(server.url, "query", "listing") == []


def test_the_address_that_an_app_is_reached_at_begins_those_of_files(tmp_path: Path) -> None:
    behind = rf.App(modules=app.modules, environment={"REFLOW_URL": "https://app.example/api2/"})
    with in_thread(behind, tmp_path) as server:
        url = call(server.url, "mutation", "generateUploadUrl")
        assert url.startswith("https://app.example/api2/api/storage/upload?token=")
        here = url.replace("https://app.example/api2", server.url)
        file = httpx.post(here, content=b"x").json()["storageId"]
        assert address(server, file).startswith("https://app.example/api2/api/storage/")
