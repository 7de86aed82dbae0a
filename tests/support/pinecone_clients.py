"""The official Pinecone packages of PyPI, several versions beside each other."""

from __future__ import annotations

from pathlib import Path

from tests.support import ROOT, packages

VERSIONS = ("7.3.0", "8.1.2", "9.0.1", "10.2.0")


def installed(version: str) -> Path:
    """Return a folder with that version and all it needs, to be put first on the path of a process of its own."""
    return packages.installed(ROOT / "tests" / "clients" / "pinecone" / f"{version}.txt", "pinecone")
