"""`reflow check`: what a corpus works with, and what is missing."""

from __future__ import annotations

import logging
from typing import Any

import typer
from rich.text import Text

from reflow.cli.desks import AppOption, CorpusOption, DataOption, JsonOption, open_desk
from reflow.cli.output import STDOUT, show_logs
from reflow.cli.process import run
from reflow.cli.rows import counted, print_json

HELP = """Tell what a corpus works with: models, keys, budgets, and what is missing.

The status is 1 where something is missing without which it can't work.

Examples:

  reflow check
  reflow check --json
"""

_MARKS = {"ok": ("✓", "green"), "warning": ("!", "yellow"), "missing": ("✗", "red"), "off": ("-", "dim")}


def check(
    as_json: JsonOption = False, data: DataOption = None, app: AppOption = None, corpus: CorpusOption = None
) -> None:
    """Prints a line for each thing that there is or that lacks, and the command that mends it."""
    show_logs(logging.WARNING)
    ready: list[bool] = []

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            gate = await desk.call("status:check")
            totals = await desk.call("sources:totals")
        ready.append(gate["ready"])
        if as_json:
            print_json({**gate, "totals": totals})
        else:
            _print(gate, totals)

    run(main())
    if not all(ready):
        raise typer.Exit(1)


def _print(gate: dict[str, Any], totals: dict[str, Any]) -> None:
    for row in gate["checks"]:
        mark, style = _MARKS[row["state"]]
        STDOUT.print(Text.assemble((f"{mark} ", style), (f"{row['name']:<11}", "bold"), row["text"]))
        if row.get("command"):
            STDOUT.print(Text(f"{'':13}{row['command']}", style="cyan"))
    waiting = totals["reading"] + totals["embedding"]
    parts = [counted(totals["sources"], "source"), counted(totals["chunks"], "chunk")]
    parts += [f"{waiting:,.0f} in work"] if waiting else []
    parts += [f"{totals['failed']:,.0f} failed (`reflow jobs` says why)"] if totals["failed"] else []
    STDOUT.print(Text.assemble(("  ", ""), (f"{'corpus':<11}", "bold"), ", ".join(parts)))
