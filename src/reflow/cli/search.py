"""`reflow search`: a corpus is searched by meaning and by words; with --watch the hits change as the corpus does."""

from __future__ import annotations

import json
import logging
import sys
import time
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from reflow.cli.desks import AppOption, CorpusOption, DataOption, Desk, JsonOption, open_desk
from reflow.cli.output import STDOUT, UsageError, note, show_logs
from reflow.cli.process import run
from reflow.cli.rows import clamped, clock, lines_of, print_json
from reflow.errors import ReflowError

HELP = """Search a corpus.

Without an app of your own it is the playground's, so `reflow demo` shows the same sources and searches.

Examples:

  reflow search "how do I copy a directory tree"
  reflow search "shutil.copyfile" --mode text --limit 3
  reflow search "unpaid invoices" --category finance --watch
  reflow search "retry" --filter '{"kind": {"$eq": "code"}}' --explain
  reflow search "retry" --json
"""

Mode = Literal["hybrid", "dense", "text"]


class SearchFailed(ReflowError):
    """A search that could not be carried out; the message says why."""

    code = "SearchFailed"


def search(
    text: Annotated[str, typer.Argument(help="What is looked for.")],
    mode: Annotated[
        Mode, typer.Option(help="By meaning and words, by meaning (dense), or by words (text).")
    ] = "hybrid",
    limit: Annotated[int, typer.Option(min=1, max=100, help="How many hits.")] = 10,
    source: Annotated[list[str] | None, typer.Option(help="Only in the source with this key; may be repeated.")] = None,
    category: Annotated[str | None, typer.Option(help="Only in sources of this category.")] = None,
    filter: Annotated[str | None, typer.Option(metavar="JSON", help="A filter in Pinecone's language.")] = None,
    min_length: Annotated[int | None, typer.Option(min=1, help="Leave out chunks with fewer characters.")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Show the hits again whenever they change.")] = False,
    explain: Annotated[bool, typer.Option("--explain", help="Tell ranks, and what was left out and why.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Prints the hits, best first."""
    if not text.strip():
        raise UsageError('an empty search finds nothing: ask for something, such as reflow search "copy a folder"')
    if watch and explain:
        raise UsageError("--explain tells of one moment and --watch of many: give one of them")
    show_logs(logging.WARNING)

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            options: dict[str, Any] = {"mode": mode, "limit": limit}
            options |= await conditions(desk, source, category, filter, min_length)
            found = await desk.call("searches:start", input=text, options=options)
            await _show(desk, found, watch=watch, explain=explain, as_json=as_json)

    run(main())


async def conditions(
    desk: Desk, keys: list[str] | None, category: str | None, filter: str | None, min_length: int | None
) -> dict[str, Any]:
    """What hits must satisfy, as options of a search. Raises UsageError for a key that no source has."""
    found: dict[str, Any] = {}
    if keys:
        found["sources"] = [await source_id(desk, key) for key in keys]
    asked = [part for part in (filter, None if category is None else f'{{"category": {json.dumps(category)}}}') if part]
    if asked:
        found["filter"] = asked[0] if len(asked) == 1 else f'{{"$and": [{", ".join(asked)}]}}'
    if min_length is not None:
        found["minLength"] = min_length
    return found


async def source_id(desk: Desk, key: str) -> str:
    """The id of the source with a key. Raises UsageError where there is none."""
    found = await desk.call("sources:byKey", key=key)
    if found is None:
        raise UsageError(f"no source has the key {key!r}: `reflow sources` lists them")
    return found["id"]


async def _show(desk: Desk, search: str, *, watch: bool, explain: bool, as_json: bool) -> None:
    shown = 0
    async for results in desk.watch("searches:explain" if explain else "searches:results", searchId=search):
        if results is None:
            await _check(desk, search)
            continue
        if results.get("state") == "failed":
            raise SearchFailed(f"the search failed: {results['error']}")
        if results.get("state") == "pending" and not watch:
            continue
        shown += 1
        if as_json:
            print_json(results)
        else:
            if watch and shown > 1:
                STDOUT.rule(Text(f"changed {clock(time.time() * 1000)}", style="dim"))
            print_results(results, explain=explain)
        sys.stdout.flush()
        if not watch:
            return
        if shown == 1 and not as_json:
            note("waiting for changes; Ctrl+C ends it")


async def results_of(desk: Desk, text: str, options: dict[str, Any]) -> dict[str, Any]:
    """What a search finds once it is ready. Raises SearchFailed."""
    search = await desk.call("searches:start", input=text, options=options)
    async for results in desk.watch("searches:results", searchId=search):
        if results is not None and results["state"] != "pending":
            if results["state"] == "failed":
                raise SearchFailed(f"the search failed: {results['error']}")
            return results
        await _check(desk, search)
    raise AssertionError("a live query does not end")


async def _check(desk: Desk, search: str) -> None:
    row = await desk.call("searches:get", searchId=search)
    if row["state"] == "failed":
        raise SearchFailed(f"the search failed: {row.get('error')}")


def print_results(results: dict[str, Any], *, explain: bool = False) -> None:
    """The hits for people to read."""
    for rank, row in enumerate(results["rows"], 1):
        _print_row(rank, row, explain=explain)
    if not results["rows"]:
        STDOUT.print("no hits")
    if results.get("note"):
        note(results["note"])
    for left in results.get("leftOut", []):
        row = left["row"]
        STDOUT.print(Text.assemble(("    left out  ", "dim"), f"{_title(row)}: ", (left["why"], "dim")))


def _print_row(rank: int, row: dict[str, Any], *, explain: bool) -> None:
    bar = "█" * max(1, round(8 * float(row.get("bar") or 0)))
    STDOUT.print(
        Text.assemble(
            (f"{rank:>2}. ", "dim"),
            (_title(row), "bold cyan"),
            (f"  {row['sourceKey']}:{lines_of(row)}", "dim"),
            f"  {float(row['score']):.3f} ",
            (bar, "cyan"),
        )
    )
    if explain:
        legs = [f"{name} {_leg(row[wire])}" for name, wire in _LEGS]
        STDOUT.print(Text("    " + "; ".join(legs), style="dim"))
    STDOUT.print(Text(clamped(row["text"], _title(row))))
    STDOUT.print()


_LEGS = (("meaning", "dense"), ("words", "words"))


def _leg(leg: dict[str, Any]) -> str:
    if leg.get("rank") is None:
        return f"not ranked ({leg.get('why') or 'not asked'})"
    return f"rank {int(leg['rank'])}, score {float(leg['score']):.3f}"


def _title(row: dict[str, Any]) -> str:
    return row.get("name") or (row["headings"][-1] if row.get("headings") else row["sourceName"])
