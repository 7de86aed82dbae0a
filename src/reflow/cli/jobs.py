"""`reflow jobs`: what is being read and embedded, what failed and why."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import typer
from rich.text import Text

from reflow.cli.desks import AppOption, CorpusOption, DataOption, JsonOption, open_desk
from reflow.cli.output import STDOUT, note, show_logs
from reflow.cli.process import run
from reflow.cli.rows import STATE_STYLES, clock, counted, plain_table, print_json
from reflow.cli.search import source_id
from reflow.cli.waiting import until_done

HELP = """List the sources that are not ready, and go on with them or stop them.

Examples:

  reflow jobs
  reflow jobs retry
  reflow jobs retry handbook.pdf
  reflow jobs cancel handbook.pdf
"""

jobs = typer.Typer(name="jobs", help=HELP, rich_markup_mode="rich", invoke_without_command=True)


@jobs.callback()
def list_jobs(
    context: typer.Context,
    as_json: JsonOption = False,
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Prints a table."""
    if context.invoked_subcommand is not None:
        return
    show_logs(logging.WARNING)

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            rows: list[dict[str, Any]] = await desk.call("jobs:list")
            status = await desk.call("jobs:status")
            if as_json:
                print_json({**status, "jobs": rows})
                return
            if rows:
                STDOUT.print(_table(rows))
            else:
                note("every source is ready")
            if status.get("until") is not None:
                note(f"the embedder is left alone until {clock(status['until'])}: {status.get('reason')}")

    run(main())


def _table(rows: list[dict[str, Any]]) -> Any:
    table = plain_table("source", "done", "state", "tries", "next try", "why")
    for row in rows:
        done = f"{row['done']:,.0f} of {row['total']:,.0f}"
        state = Text(row["state"], style=STATE_STYLES.get(row["state"], ""))
        until = clock(row["nextTry"]) if row.get("nextTry") is not None else ""
        table.add_row(row["key"], done, state, f"{row['attempts']:.0f}", until, row.get("error") or "")
    return table


Keys = Annotated[list[str] | None, typer.Argument(metavar="[KEY…]", help="Keys of sources (default: all).")]


@jobs.command("retry")
def retry(
    keys: Keys = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when all is ready or failed again.")] = True,
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Go on with what failed or was stopped."""
    show_logs(logging.WARNING)

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            if keys:
                ids = [await source_id(desk, key) for key in keys]
            else:
                ids = [row["source"] for row in await desk.call("jobs:list") if row["state"] in ("failed", "stopped")]
            for id in ids:
                await desk.call("sources:retry", source=id)
            note(f"tried again: {counted(len(ids), 'source')}")
            if wait and ids:
                await until_done(desk, ids)

    run(main())


@jobs.command("cancel")
def cancel(
    keys: Annotated[list[str], typer.Argument(metavar="KEY…", help="Keys of sources.")],
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Stop working on sources; what is embedded stays, and `retry` goes on."""
    show_logs(logging.WARNING)

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            for id in [await source_id(desk, key) for key in keys]:
                await desk.call("sources:stop", source=id)
            note(f"stopped: {counted(len(keys), 'source')}")

    run(main())
