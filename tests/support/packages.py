"""Packages of PyPI that must not be in this environment: installed once into the cache, each list in its own folder."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support import CACHE


def installed(lock: Path, name: str) -> Path:
    """Return a folder with what a lock file names, to be put first on the path of a process of its own.

    A failed installation leaves nothing behind.
    """
    fingerprint = hashlib.sha256(lock.read_bytes() + sys.version.encode()).hexdigest()[:16]
    target = CACHE / name / f"{lock.stem}-{fingerprint}"
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
    assert uv is not None, "neither pip nor uv is there to install packages with"
    return [uv, "pip", "install", "--python", sys.executable, "--no-deps"]
