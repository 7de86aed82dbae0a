"""Adapters for other projects need these projects, and say which extra brings them."""

from __future__ import annotations

import subprocess
import sys

import pytest

CODE = """
import sys
sys.modules[sys.argv[1]] = None                  # as where it is not installed
try:
    __import__(sys.argv[2])
except ImportError as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("project", "module", "extra"),
    [
        ("langchain_core", "reflow.adapters.langchain", "reflow[langchain]"),
        ("llama_index", "reflow.adapters.llamaindex", "reflow[llamaindex]"),
    ],
)
def test_an_adapter_without_its_project_names_the_extra(project: str, module: str, extra: str):
    done = subprocess.run([sys.executable, "-c", CODE, project, module], capture_output=True, text=True, timeout=60)
    assert done.stdout.startswith(f"MissingExtra {module} needs "), done.stdout + done.stderr
    assert f"install `{extra}`" in done.stdout
