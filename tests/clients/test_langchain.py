"""The adapter for LangChain passes LangChain's own standard tests of vector stores, blocking and awaited."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.support import ROOT
from tests.support.packages import installed

FOLDER = Path(__file__).with_name("langchain")
EACH = 25
"""Tests of the suite, its own check that none was overridden included."""


def test_langchains_standard_tests() -> None:
    packages = installed(FOLDER / "1.1.9.txt", "langchain")
    options = [
        *("-q", "--noconftest", "-c", os.devnull, "--rootdir", str(FOLDER), "-p", "no:cacheprovider"),
        *(
            "-p",
            "pytest_asyncio.plugin",
            "-o",
            "asyncio_mode=auto",
            "-o",
            "asyncio_default_fixture_loop_scope=function",
        ),
        # The plugins that are left out would know some marks of tests for other things than vector stores.
        *("-W", "error", "-W", "default::pytest.PytestUnknownMarkWarning"),
    ]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(FOLDER / "standard.py")],
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(packages), str(ROOT / "src")]),
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_ADDOPTS": "",
        },
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    passed = re.search(r"^(\d+) passed[, ]", done.stdout, re.MULTILINE)
    assert passed, done.stdout
    assert "skipped" not in done.stdout
    assert int(passed[1]) == 2 * EACH  # in memory and on disk
