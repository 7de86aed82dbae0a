"""`reflow demo --query`: a question asked without a page."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from collections.abc import Awaitable, Callable
from typing import Any, cast

from rich.text import Text

from reflow.cli.output import STDOUT
from reflow.cli.progress import ProgressLine
from reflow.errors import ReflowError

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Calls a function of the playground by path, with and giving plain JSON values."""

MOST = 100
"""Largest --limit; the playground's own."""

_TEXT_LINES = 3
_TEXT_WIDTH = 100
_POLL_SECONDS = 0.05
_PROGRESS_SECONDS = 0.5


class SearchFailed(ReflowError):
    """A search that the playground could not answer; the message says why."""

    code = "SearchFailed"


class NothingIndexed(ReflowError):
    """There is nothing to search in."""

    code = "NothingIndexed"


async def wait_until_indexed(call: Call) -> None:
    """Returns once a running server has embedded its corpus; says how far it is meanwhile."""
    with ProgressLine() as line:
        while True:
            progress = await call("corpus:progress", {})
            line.show(progress)
            if progress["finishedAt"] is not None and progress["pending"] == 0:
                return
            await asyncio.sleep(_PROGRESS_SECONDS)


async def ask(call: Call, question: str, limit: int) -> list[dict[str, Any]]:
    """The best hits: objects with name, file, lines, score and text. Raises SearchFailed."""
    search = await call("searches:upsert", {"input": question, "count": limit})
    while True:
        results = await call("searches:results", {"searchId": search})
        if results is None or results["status"] == "failed":
            raise SearchFailed(f"the search failed: {results['error'] if results else 'it was deleted'}")
        if results["status"] == "ready":
            break
        await asyncio.sleep(_POLL_SECONDS)
    return [hit_of(row) for row in results["hybrid"][:limit]]


def hit_of(row: dict[str, Any]) -> dict[str, Any]:
    """What a script gets of a result."""
    return {
        "name": row["name"] or row["sourceName"],
        "file": row["file"] or row["sourceName"],
        "lines": row["lines"],
        "score": round(cast(float, row["score"]), 4),
        "text": row["text"],
    }


def print_hits(hits: list[dict[str, Any]], as_json: bool) -> None:
    """On standard output: a JSON list, or what people like to read."""
    if as_json:
        json.dump(hits, sys.stdout, indent=2, ensure_ascii=False)
        print()
        return
    for rank, hit in enumerate(hits, 1):
        lines = hit["lines"]
        place = f"{hit['file']}:{lines['from']}" + ("" if lines["from"] == lines["to"] else f"-{lines['to']}")
        STDOUT.print(
            Text.assemble(
                (f"{rank:>2}. ", "dim"), (hit["name"], "bold cyan"), "  ", (place, "dim"), f"  {hit['score']:.3f}"
            )
        )
        STDOUT.print(Text(textwrap.indent(_clamped(hit["text"], hit["name"]), "    ")))
        STDOUT.print()
    if not hits:
        STDOUT.print("no hits")


def _clamped(text: str, name: str) -> str:
    """The first lines of a text, without blank ones and without the name again."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and line.strip() != name]
    wrapped = [part for line in lines for part in textwrap.wrap(line, _TEXT_WIDTH)]
    shown = wrapped[:_TEXT_LINES]
    if len(wrapped) > _TEXT_LINES:
        shown[-1] += " …"
    return "\n".join(shown)
