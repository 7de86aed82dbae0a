"""`reflow eval`: how well searches find what they should, over questions with known answers."""

from __future__ import annotations

import asyncio
import json
import logging
from pathlib import Path
from typing import Annotated, Any, cast

import typer
from rich.table import Table

from reflow.cli.desks import AppOption, CorpusOption, DataOption, Desk, JsonOption, open_desk
from reflow.cli.output import STDOUT, UsageError, note, show_logs
from reflow.cli.process import run
from reflow.cli.rows import counted, plain_table, print_json
from reflow.cli.search import Mode

HELP = """Measure how well a corpus is searched.

The golden set are questions, each with the source (its key) or the text that answers it. It is kept with the corpus;
the page measures it live. A file of it is a JSON list:

  [{"question": "how do I copy a folder?", "expected": [{"key": "python/shutil", "text": "copytree"}]}]

Examples:

  reflow eval --import questions.json
  reflow eval --mode hybrid --ranks
  reflow eval --export > questions.json
"""

_MODES: tuple[Mode, ...] = ("hybrid", "dense", "text")
_CUTOFFS = [1, 5, 10]
_PAGE = 100
_LOOK_SECONDS = 0.2


def evaluate(
    file: Annotated[Path | None, typer.Option("--import", help="Take these questions into the golden set.")] = None,
    export: Annotated[bool, typer.Option("--export", help="Print the golden set as JSON, and end.")] = False,
    mode: Annotated[Mode | None, typer.Option(help="Measure this mode only.")] = None,
    ranks: Annotated[bool, typer.Option("--ranks", help="Tell the rank of each question's answer, too.")] = False,
    as_json: JsonOption = False,
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Prints recall, reciprocal rank and nDCG per mode."""
    show_logs(logging.WARNING)
    questions = None if file is None else _read(file)

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            if questions is not None:
                total = await desk.call("evaluation:put", questions=questions)
                note(f"the golden set has {counted(total, 'question')}")
            if export:
                print_json(await desk.call("evaluation:export"))
                return
            measured = [await _measure(desk, one, ranks=ranks) for one in ((mode,) if mode else _MODES)]
            if as_json:
                print_json(measured)
            else:
                _print(measured)

    run(main())


def _read(file: Path) -> list[Any]:
    try:
        found = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"--import {file} can't be read: {error.strerror}") from None
    except ValueError as error:
        raise UsageError(f"--import {file} is no JSON: {error}") from None
    if not isinstance(found, list):
        raise UsageError(f"--import {file} must be a JSON list of questions; see reflow eval --help")
    return cast("list[Any]", found)


async def _measure(desk: Desk, mode: Mode, *, ranks: bool) -> dict[str, Any]:
    options = {"mode": mode, "limit": max(_CUTOFFS)}
    found = await desk.call("evaluation:measure", options=options, cutoffs=_CUTOFFS)
    return {"mode": mode, **found, **({"ranks": await _ranks(desk, options)} if ranks else {})}


async def _ranks(desk: Desk, options: dict[str, Any]) -> list[dict[str, Any]]:
    """The questions with their ranks, once each has its vector or can't have one."""
    await desk.call("evaluation:prepare")
    while True:
        rows = await _looked(desk, options)
        if not any(row["measures"] is None and row.get("error") is None for row in rows):
            return rows
        await asyncio.sleep(_LOOK_SECONDS)


async def _looked(desk: Desk, options: dict[str, Any]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    cursor = None
    while True:
        page = await desk.call(
            "evaluation:ranks",
            paginationOpts={"numItems": _PAGE, "cursor": cursor},
            options=options,
            cutoffs=_CUTOFFS,
        )
        rows += page["page"]
        if page["isDone"]:
            return rows
        cursor = page["continueCursor"]


def _print(measured: list[dict[str, Any]]) -> None:
    STDOUT.print(_table(measured))
    note(counted(measured[0]["questions"], "question"))
    for row in measured:
        for place in row.get("ranks", []):
            measures: dict[str, Any] = place["measures"] or {}
            rank = measures.get("rank")
            said = f"{rank:.0f}" if rank is not None else place.get("error") or "not found"
            STDOUT.print(f"[dim]{row['mode']:>7}[/dim]  {said:>9}  ", place["question"], sep="", markup=False)


def _table(measured: list[dict[str, Any]]) -> Table:
    table = plain_table("mode", *(f"recall@{k}" for k in _CUTOFFS), "MRR", f"nDCG@{_CUTOFFS[-1]}")
    for row in measured:
        at = {int(one["k"]): one for one in row["at"]}
        recalls = [f"{at[k]['recall']:.3f}" for k in _CUTOFFS]
        table.add_row(row["mode"], *recalls, f"{row['mrr']:.3f}", f"{at[_CUTOFFS[-1]]['ndcg']:.3f}")
    return table
