"""Files with the official clients, unmodified: the upload flow of their documentation."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator

import httpx
import pytest
from convex import ConvexClient

from tests.clients.conftest import RunScript
from tests.support.files_app import content
from tests.support.servers import ServerProcess, in_process

APP = "tests.support.files_app"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with in_process(tmp_path_factory.mktemp("data"), APP) as process:
        yield process


def test_the_upload_flow_of_the_npm_client(server: ServerProcess, run_script: RunScript) -> None:
    seen = run_script("files_client.mjs", server.url)
    digest = seen["row"].pop("sha256")
    assert len(base64.b64decode(digest)) == 32
    wrong = seen.pop("wrong")
    assert (wrong["status"], wrong["code"]) == (400, "InvalidValue")
    assert seen == {
        "text": "an image",
        "type": "image/png",
        "same": True,
        "part": [206, 250, 0, 1, 2, 3, 4, 5, 6, 7, 8],
        "row": {"size": 300_000, "contentType": "image/png", "id": True},
        "digest": True,
        "checked": "string",
        "missing": {"status": 404, "code": "FileNotFound"},
    }


def test_the_upload_flow_of_the_pypi_client(server: ServerProcess) -> None:
    client = ConvexClient(server.url)
    answer = httpx.post(client.mutation("files:generateUploadUrl"), content=content(5000))
    file = answer.json()["storageId"]
    row = client.query("files:metadata", {"file": file})
    assert row["sha256"] == base64.b64encode(hashlib.sha256(content(5000)).digest()).decode()
    assert row["size"] == 5000
    assert httpx.get(client.query("files:url", {"file": file})).content == content(5000)
    assert client.action("files:read", {"file": file, "start": 10, "stop": 20}) == content(5000)[10:20]
    client.mutation("files:delete", {"file": file})
    assert client.query("files:url", {"file": file}) is None
