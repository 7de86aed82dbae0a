"""`reflow crons`: what runs again and again, when next, and how it went."""

from __future__ import annotations

import time
from typing import Any

from rich import box
from rich.table import Table

from reflow.cli.output import STDOUT, note
from reflow.cli.places import AppOption, Data, find_place
from reflow.engine.crons import LIST
from reflow.server.serve import run as run_loop

HELP = """List the crons: when they run next, and how the last runs ended.

Beside a running server they are its own; else they are read from the data directory, and nothing is run.

Examples:

  reflow crons
  reflow crons --data /var/lib/shop
"""


def crons(data: Data = None, app: AppOption = None) -> None:
    """Prints a table. Times are of this machine's time zone."""
    place = find_place(data, app)

    async def main() -> None:
        async with place.asked() as ask:
            rows: list[dict[str, Any]] = await ask(LIST.path, {})
        if rows:
            STDOUT.print(_table(rows))
        else:
            note("there are no crons: an app has them by rf.App(crons=...)")
        if rows and place.server is None:
            note("no server has this directory open, so none of them runs")

    run_loop(main())


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("cron", "runs", "schedule", "next", "last runs"):
        table.add_column(name, overflow="fold")
    for row in rows:
        ends = [_end(run) for run in row["runs"]]
        if row.get("running") is not None:
            ends.append(f"{_clock(row['lastTime'])} running")
        table.add_row(row["name"], row["function"], row["schedule"], _clock(row["nextTime"]), "\n".join(ends))
    return table


def _end(run: dict[str, Any]) -> str:
    said = f"{_clock(run['scheduledTime'])} {run['state']}"
    if run.get("skipped") is not None:
        said += f" ({run['skipped']:.0f} skipped)"
    return said if run.get("error") is None else f"{said}: {run['error']}"


def _clock(milliseconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(milliseconds / 1000))
