"""A real server process, and Node with the official client."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import ROOT
from tests.support.node import NODE, installed
from tests.support.servers import ServerProcess, in_process

RunScript = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with in_process(tmp_path_factory.mktemp("data")) as process:
        yield process


@pytest.fixture(scope="session")
def modules() -> Path:
    return installed(ROOT / "tests" / "clients")


@pytest.fixture
def run_script(modules: Path) -> RunScript:
    """Runs a script beside this file with Node; gives the JSON object that it prints last."""

    def run(script: str, *arguments: str, timeout: float = 60) -> dict[str, Any]:
        done = subprocess.run(
            [str(NODE), str(Path(__file__).with_name(script)), *arguments],
            env={**os.environ, "CLIENT_MODULES": str(modules)},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return run
