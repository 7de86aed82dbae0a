"""The accessibility checker axe-core, inside a page."""

from __future__ import annotations

from functools import cache
from typing import Any

from playwright.sync_api import Page

from tests.support import ROOT
from tests.support.node import installed

# A tooltip belongs to what it is about, wherever it stands in the document.
_CONTEXT = {"exclude": [["div[data-portal]:has([role=tooltip]):not(:has([role=dialog]))"]]}


@cache
def _source() -> str:
    return (installed(ROOT / "tests" / "browser") / "axe-core" / "axe.min.js").read_text()


def violations(page: Page) -> list[str]:
    """What axe finds wrong with the page as it is, a line each."""
    page.evaluate(_source())
    found: dict[str, Any] = page.evaluate("context => axe.run(context, { resultTypes: ['violations'] })", _CONTEXT)
    return [
        f"{rule['id']}: {rule['help']}: {node['html'][:200]} {node.get('failureSummary', '')}"
        for rule in found["violations"]
        for node in rule["nodes"]
    ]
