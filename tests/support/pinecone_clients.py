"""The official Pinecone packages of PyPI, several versions beside each other, installed once into the cache."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import CACHE, ROOT

_LOCKS = ROOT / "tests" / "clients" / "pinecone"

VERSIONS = ("7.3.0", "8.1.2", "9.0.1", "10.2.0")


def installed(version: str) -> Path:
    """Return a folder with that version and all it needs, to be put first on the path of a process of its own.

    A failed installation leaves nothing behind.
    """
    lock = _LOCKS / f"{version}.txt"
    fingerprint = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    target = CACHE / "pinecone" / f"{version}-{fingerprint}"
    if not target.is_dir():
        building = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.rmtree(building, ignore_errors=True)
        building.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(
            [*_installer(), "--quiet", "--require-hashes", "--target", str(building), "-r", str(lock)],
            check=True,
            stdin=subprocess.DEVNULL,
        )
        building.rename(target)
    return target


def _installer() -> list[str]:
    """The command that installs packages: pip of this environment, or uv where that has made it without pip."""
    if importlib.util.find_spec("pip") is not None:
        return [sys.executable, "-m", "pip", "install", "--disable-pip-version-check", "--no-compile", "--no-deps"]
    uv = shutil.which("uv")
    assert uv is not None, "neither pip nor uv is there to install the Pinecone packages with"
    return [uv, "pip", "install", "--python", sys.executable, "--no-deps"]
