"""`reflow sources`: what a corpus holds."""

from __future__ import annotations

import logging
from typing import Annotated, Any

import typer
from rich.markup import escape

from reflow.cli.desks import AppOption, CorpusOption, DataOption, Desk, JsonOption, open_desk
from reflow.cli.output import STDOUT, UsageError, note, show_logs
from reflow.cli.process import run
from reflow.cli.rows import clock, counted, lines_of, plain_table, print_json, state_of
from reflow.cli.search import source_id

_PAGE = 200

HELP = """List the sources of a corpus, show one, or remove some.

Examples:

  reflow sources
  reflow sources --state failed
  reflow sources show notes/plan.md
  reflow sources remove notes/plan.md notes/old.md
"""

sources = typer.Typer(name="sources", help=HELP, rich_markup_mode="rich", invoke_without_command=True)

Keys = Annotated[list[str], typer.Argument(metavar="KEY…", help="Keys of sources, as `reflow sources` lists them.")]


@sources.callback()
def list_sources(
    context: typer.Context,
    state: Annotated[str | None, typer.Option(help="Only those in this state, such as failed.")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Prints a table, the last change first."""
    if context.invoked_subcommand is not None:
        return
    show_logs(logging.WARNING)

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            rows = await every_source(desk, state)
            if as_json:
                print_json(rows)
            elif rows:
                _print_table(rows)
            else:
                note("there are no sources here: `reflow add` a file, a folder or an address")

    run(main())


async def every_source(desk: Desk, state: str | None = None) -> list[dict[str, Any]]:
    """All sources, the last change first."""
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        options = {"numItems": _PAGE, "cursor": cursor}
        page = await desk.call("sources:list", paginationOpts=options, **({} if state is None else {"state": state}))
        rows += page["page"]
        if page["isDone"]:
            return rows
        cursor = page["continueCursor"]


def _print_table(rows: list[dict[str, Any]]) -> None:
    table = plain_table("key", "kind", "chunks", "version", "changed", "state")
    for row in rows:
        said = state_of(row)
        if row.get("error"):
            said.append(f": {row['error']}", style="red")
        version, chunks = f"{row['version']:.0f}", f"{row['chunkCount']:,.0f}"
        table.add_row(row["key"], row["kind"], chunks, version, clock(row["updated"]), said)
    STDOUT.print(table)


@sources.command("show")
def show(
    key: Annotated[str, typer.Argument(help="The key of a source.")],
    as_json: JsonOption = False,
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Print a source: what is known of it, and its chunks."""
    show_logs(logging.WARNING)

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            id = await source_id(desk, key)
            row = await desk.call("sources:get", source=id)
            chunks = await _chunks(desk, id)
            if as_json:
                print_json({**row, "chunks": chunks})
                return
            for name in ("key", "name", "kind", "origin", "version", "category", "importance", "error"):
                if row.get(name) is not None:
                    STDOUT.print(f"[dim]{name:<11}[/dim]{_said(row[name])}")
            STDOUT.print("[dim]state      [/dim]", state_of(row))
            STDOUT.print()
            for chunk in chunks:
                where = " › ".join(chunk["headings"]) or chunk.get("name") or ""
                STDOUT.print(f"[dim]{lines_of(chunk):>11}[/dim]  {escape(where)}")
            note(counted(len(chunks), "chunk"))

    run(main())


def _said(value: object) -> str:
    return f"{value:g}" if isinstance(value, int | float) else escape(str(value))


async def _chunks(desk: Desk, source: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await desk.call("sources:chunks", source=source, paginationOpts={"numItems": _PAGE, "cursor": cursor})
        rows += page["page"]
        if page["isDone"]:
            return rows
        cursor = page["continueCursor"]


@sources.command("remove")
def remove(
    keys: Keys,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Remove sources with their chunks and vectors."""
    show_logs(logging.WARNING)
    if not yes and not typer.confirm(f"Remove {', '.join(keys)}?", err=True):
        raise UsageError("nothing was removed")

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            missing = [key for key in keys if not await desk.call("sources:removeKey", key=key)]
            note(f"removed: {counted(len(keys) - len(missing), 'source')}")
            if missing:
                raise UsageError(f"no source has the key {', '.join(missing)}: `reflow sources` lists them")

    run(main())
