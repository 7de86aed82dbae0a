"""Real Chromium windows for the tests of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, ConsoleMessage, Page, expect

from tests.support.browser import OpenWindow, running_chromium

expect.set_options(timeout=20_000)  # how long to wait for what must come; a busy machine is slow


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    """One browser per test module, so that no other module meets Playwright's event loop."""
    with running_chromium() as browser:
        yield browser


@pytest.fixture
def open_window(chromium: Browser) -> Iterator[OpenWindow]:
    """Open windows; at the end of the test each is closed, and an error any of them met fails the test."""
    pages: list[Page] = []
    problems: list[str] = []

    def note(message: ConsoleMessage) -> None:
        if message.type == "error":
            problems.append(message.text)

    def open_window(
        url: str, *, width: int = 1280, height: int = 900, dark: bool = False, may_complain: bool = False
    ) -> Page:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
        )
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: problems.append(str(error)))
        if not may_complain:
            page.on("console", note)
        pages.append(page)
        page.goto(url)
        return page

    yield open_window
    for page in pages:
        page.context.close()
    assert not problems, "\n".join(problems)
