"""Pinecone's own PyPI packages, unmodified, against a real server process: one scenario, every call, every version."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import cast

import pytest
from convex import ConvexClient

from tests.support import ROOT
from tests.support.pinecone_app import KEY
from tests.support.pinecone_clients import VERSIONS, installed
from tests.support.servers import ServerProcess, in_process

STEPS = (
    "control_plane new_shape writing positions querying filters fetching updating deleting numbers sparse hybrid "
    "integrated inference mistakes strangers deleting_the_index"
).split()

UPSERT = """
import sys
sys.path.insert(0, sys.argv[1])
from pinecone import Pinecone
pc = Pinecone(api_key=sys.argv[3], host=sys.argv[2])
if not pc.has_index("waking"):
    pc.create_index(name="waking", dimension=2, spec={"serverless": {"cloud": "aws", "region": "us-east-1"}})
pc.Index(name="waking").upsert(vectors=[(id, [1.0, 0.5]) for id in sys.argv[4:]])
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with in_process(tmp_path_factory.mktemp("data"), "tests.support.pinecone_app") as process:
        yield process


def run(*command: str) -> str:
    """The last line that a program prints."""
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return (done.stdout.splitlines() or [""])[-1]


@pytest.mark.parametrize("mode", ["blocking", "async"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_call(server: ServerProcess, version: str, mode: str) -> None:
    script = ROOT / "tests" / "clients" / "pinecone_scenario.py"
    steps = json.loads(run(str(script), str(installed(version)), server.url, KEY, mode))
    newest = int(version.split(".")[0]) >= 10
    assert steps == [step for step in STEPS if newest or step != "new_shape"]


def test_an_upsert_wakes_a_convex_clients_live_query(server: ServerProcess) -> None:
    packages = str(installed(VERSIONS[-1]))

    def upsert(*ids: str) -> None:
        run("-c", UPSERT, packages, server.url, KEY, *ids)

    upsert("first")
    live = ConvexClient(server.url).subscribe("live:nearest", {"index": "waking", "vector": [1.0, 0.5]})
    assert next(live) == ["first"]
    upsert("second", "third")
    assert sorted(cast("list[str]", next(live))) == ["first", "second", "third"]
    live.unsubscribe()
