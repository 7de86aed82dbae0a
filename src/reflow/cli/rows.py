"""How rows of a corpus look in a terminal: places in sources, texts in a few lines, times and states."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

_TEXT_LINES = 3
_TEXT_WIDTH = 100

STATE_STYLES = {"ready": "green", "failed": "red", "stopped": "yellow", "embedding": "cyan", "reading": "cyan"}


def print_json(value: Any) -> None:
    """On standard output, for scripts."""
    json.dump(value, sys.stdout, indent=2, ensure_ascii=False)
    print()


def plain_table(*names: str) -> Table:
    """A table without lines at its sides; the last column takes what is left."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in names:
        table.add_column(name, overflow="fold")
    return table


def lines_of(row: dict[str, Any]) -> str:
    """Where in its source a chunk is: "12-40", or with the page of a PDF "12-40, page 3"."""
    first, last = int(row["firstLine"]), int(row["lastLine"])
    found = f"{first}" if first == last else f"{first}-{last}"
    return found if row.get("page") is None else f"{found}, page {int(row['page'])}"


def clamped(text: str, without: str = "") -> str:
    """The first lines of a text, without blank ones and without the line `without`."""
    lines = [line.strip() for line in text.splitlines() if line.strip() and line.strip() != without]
    wrapped = [part for line in lines for part in textwrap.wrap(line, _TEXT_WIDTH)]
    shown = wrapped[:_TEXT_LINES]
    if len(wrapped) > _TEXT_LINES:
        shown[-1] += " …"
    return textwrap.indent("\n".join(shown), "    ")


def state_of(row: dict[str, Any]) -> Text:
    """The state of a source in a word, with how far it is or until when it waits."""
    state = str(row["state"])
    said = Text(state, style=STATE_STYLES.get(state, ""))
    progress = row.get("progress")
    if progress is not None and state in ("reading", "embedding"):
        said.append(f" {int(progress['embedded'])}/{int(progress['total'])}", style="dim")
    if row.get("nextTry") is not None:
        said.append(f", next try {clock(row['nextTry'])}", style="dim")
    return said


def clock(milliseconds: float) -> str:
    """A time of this machine's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))


def counted(number: float, what: str) -> str:
    """ "1 chunk", "2,000 chunks"."""
    return f"{number:,.0f} {what}" + ("" if number == 1 else "s")
