"""The virtual environment of the other engines: made on first use, outside the project's own, with exact versions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from .places import CACHE

PINS = ("numpy==2.4.6", "usearch==2.26.6", "zvec==0.8.0", "chromadb==1.5.9", "lancedb==0.40.0")
"""What the peers' environment holds, beside what these need themselves."""


def peer_python() -> Path:
    """The interpreter that has the peers; installs them when they are not there in these versions.

    Raises RuntimeError with pip's last words when an installation fails.
    """
    home = CACHE / "peers-venv"
    python = home / "bin" / "python"
    installed = home / "installed.txt"
    wanted = "\n".join(PINS)
    if installed.exists() and installed.read_text() == wanted:
        return python
    print(f"installing {', '.join(PINS)} into {home} (once, about 1 GB)", file=sys.stderr, flush=True)
    _run([sys.executable, "-m", "venv", "--clear", str(home)])
    _run([str(python), "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-compile", *PINS])
    installed.write_text(wanted)
    return python


def _run(command: list[str]) -> None:
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stdout[-2000:]}")
