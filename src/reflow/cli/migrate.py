"""`reflow migrate`: stored documents changed to fit the tables as they are defined now."""

from __future__ import annotations

import logging
import time
from typing import Annotated, Any

import typer
from rich import box
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
from rich.table import Table

from reflow.cli.output import STDERR, STDOUT, UsageError, note, show_logs
from reflow.cli.places import AppOption, Call, Data, Place, find_place
from reflow.errors import CallFailed, MigrationError
from reflow.server.serve import run as run_loop

HELP = """Run the migrations that are not done, or one of them.

Beside a running server the server runs them while it serves. Where none runs, the data directory is opened here and no
schema is enforced: that is the way where `reflow serve` says that stored documents don't fit. What was begun and
stopped, by an error or by Ctrl+C, goes on where it was.

Examples:

  reflow migrate --dry-run
  reflow migrate
  reflow migrate add_owner --app app.py
  reflow migrate --list
"""

_SLICE_SECONDS = 0.5
"""How long a migration goes on until it says how far it is."""
_PLAIN_SECONDS = 5.0


def migrate(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The migration, such as add_owner.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would change, and change nothing.")] = False,
    again: Annotated[bool, typer.Option("--again", help="Begin again although it is done.")] = False,
    list_: Annotated[bool, typer.Option("--list", help="List the migrations and how far they are.")] = False,
    data: Data = None,
    app: AppOption = None,
) -> None:
    """Prints what was done on standard output, progress on standard error."""
    show_logs(logging.WARNING)
    if again and name is None:
        raise UsageError("--again begins one migration again: name it")
    place = find_place(data, app)
    loaded = None if place.server is not None else place.app()

    async def main() -> None:
        async with place.asked(loaded) as ask:
            rows: list[dict[str, Any]] = await ask("_migrations:list", {})
            chosen = None if name is None else _chosen(rows, name, place)
            if list_:
                _list(rows)
            elif dry_run:
                await _try(ask, chosen)
            else:
                await _run(ask, rows, chosen, again)

    run_loop(main())


def _chosen(rows: list[dict[str, Any]], name: str, place: Place) -> str:
    """The path of a migration named in full or by its last part. Raises UsageError."""
    found = [row["name"] for row in rows if name in (row["name"], row["name"].rpartition(":")[2])]
    if len(found) == 1:
        return found[0]
    if found:
        raise UsageError(f"{name} is the name of several migrations: say {' or '.join(found)}")
    known = ", ".join(row["name"] for row in rows) or "none"
    whose = "the app" if place.server is None else f"the app that {place.server.url} serves"
    raise UsageError(f"there is no migration {name}: {whose} has {known}")


def _list(rows: list[dict[str, Any]]) -> None:
    if not rows:
        note("the app has no migrations")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("migration", "table", "state", "documents", "changed", "stopped at"):
        table.add_column(column, overflow="fold")
    for row in rows:
        looked = f"{row['looked']:.0f} of {row['total']:.0f}" if row.get("started") is not None else ""
        stopped = f"{row['document']}: {row['error']}" if row.get("document") is not None else ""
        table.add_row(row["name"], row["tableName"], row["state"], looked, f"{row['changed']:.0f}", stopped)
    STDOUT.print(table)


async def _try(ask: Call, chosen: str | None) -> None:
    """Says what would change. Raises MigrationError where something would fail."""
    trials: list[dict[str, Any]] = await ask("_migrations:trials", {"name": chosen})
    if not trials:
        note("all migrations are done")
    for trial in trials:
        print(
            f"{trial['tableName']}: {', '.join(trial['migrations'])} would change {trial['changed']:,.0f} of "
            f"{trial['documents']:,.0f} documents"
        )
    for trial in trials:
        if trial["failing"]:
            raise MigrationError(
                f"{trial['failing']:,.0f} documents of table {trial['tableName']!r} would not be changed as they must; "
                f"the first is {trial['document']}: {trial['error']}"
            )


async def _run(ask: Call, rows: list[dict[str, Any]], chosen: str | None, again: bool) -> None:
    waiting = [chosen] if chosen is not None else [row["name"] for row in rows if row["state"] != "done"]
    if not waiting:
        note("all migrations are done" if rows else "the app has no migrations")
    for path in waiting:
        row = await _run_one(ask, path, again)
        if row["looked"] or chosen is not None:
            print(f"{path}: {row['changed']:,.0f} of {row['looked']:,.0f} documents changed")
        else:
            print(f"{path}: there was nothing to look at")


async def _run_one(ask: Call, path: str, again: bool) -> dict[str, Any]:
    """Goes on with a migration until it is done; its last status. Raises MigrationError."""
    columns = (TextColumn("  " + path), BarColumn(bar_width=30), MofNCompleteColumn(), TextColumn("documents"))
    said = time.monotonic()
    with Progress(*columns, console=STDERR, transient=True, disable=not STDERR.is_terminal) as bar:
        task = bar.add_task(path, total=None)
        while True:
            try:
                row = await ask(path, {"again": again, "seconds": _SLICE_SECONDS})
            except CallFailed as error:
                raise MigrationError(str(error).removeprefix("Uncaught MigrationError: ")) from None
            again = False
            bar.update(task, completed=row["looked"], total=row["total"])
            if row["state"] == "done":
                return row
            if not STDERR.is_terminal and time.monotonic() - said >= _PLAIN_SECONDS:
                said = time.monotonic()
                STDERR.print(f"{path}: {row['looked']:,.0f} of {row['total']:,.0f} documents")
