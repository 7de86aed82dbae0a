"""Pinecone's own npm packages, unmodified, against a real server process."""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import pytest

from tests.clients.conftest import RunScript
from tests.support.pinecone_app import KEY
from tests.support.servers import ServerProcess, in_process

STEPS = (
    "controlPlane newShape writing querying filters fetching updating deleting numbers sparse hybrid integrated "
    "inference mistakes strangers deletingTheIndex"
).split()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with in_process(tmp_path_factory.mktemp("data"), "tests.support.pinecone_app") as process:
        yield process


@pytest.mark.parametrize("package", ["pinecone-8", "pinecone-9"])
def test_every_call(server: ServerProcess, run_script: RunScript, package: str) -> None:
    assert cast(object, run_script("pinecone_scenario.mjs", package, server.url, KEY)) == STEPS
