"""`reflow ask`: a question answered from a corpus, word by word, with the places it rests on."""

from __future__ import annotations

import asyncio
import logging
import sys
from typing import Annotated, Any, Literal

import typer
from rich.text import Text

from reflow.cli.desks import AppOption, CorpusOption, DataOption, Desk, JsonOption, open_desk
from reflow.cli.output import STDOUT, UsageError, note, show_logs
from reflow.cli.process import run
from reflow.cli.rows import lines_of, print_json
from reflow.cli.search import conditions
from reflow.errors import ReflowError

HELP = """Ask a corpus a question.

The answer is written from the passages that a search finds, with their numbers behind what rests on them. Without a
chat model (see `reflow check`) it is put together from sentences of the passages, and says so. Ctrl+C stops it.

Examples:

  reflow ask "how do I copy a directory tree?"
  reflow ask "who pays for travel?" --source handbook.pdf --limit 12
  reflow ask "and with metadata?" --thread 3d7h2k...
  reflow ask "how do I copy a file?" --json
"""

_OVER = ("done", "stopped", "failed")


class AnswerFailed(ReflowError):
    """A question that could not be answered; the message says why."""

    code = "AnswerFailed"


def ask(
    question: Annotated[str, typer.Argument(help="The question.")],
    source: Annotated[list[str] | None, typer.Option(help="Only from the source with this key; repeatable.")] = None,
    category: Annotated[str | None, typer.Option(help="Only from sources of this category.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=20, help="Passages to answer from.")] = 8,
    thread: Annotated[str | None, typer.Option(help="Go on with a conversation: its id.")] = None,
    template: Annotated[str | None, typer.Option(help="The template of the prompt.")] = None,
    kind: Annotated[Literal["chat", "extractive"] | None, typer.Option(help="Written by a model, or quoted.")] = None,
    as_json: JsonOption = False,
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Prints the answer as it is written, then the passages it cites."""
    if not question.strip():
        raise UsageError('an empty question has no answer: write one, such as reflow ask "how do I copy a folder?"')
    show_logs(logging.WARNING)

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            args: dict[str, Any] = {"question": question, "thread": thread, "template": template, "kind": kind}
            args["options"] = {"limit": limit} | await conditions(desk, source, category, None, None)
            answer = await desk.call(
                "answers:ask", **{name: value for name, value in args.items() if value is not None}
            )
            try:
                found = await _follow(desk, answer, quiet=as_json)
            except asyncio.CancelledError:
                await desk.call("answers:stop", answer=answer)
                raise
            if as_json:
                print_json({**found, "text": await desk.call("answers:text", answer=answer)})
            else:
                _print_passages(found)
            if found["state"] == "failed":
                raise AnswerFailed(f"no answer: {found.get('error')}")

    run(main())


async def _follow(desk: Desk, answer: str, *, quiet: bool) -> dict[str, Any]:
    """Writes the text as it comes; the answer once it is over."""
    written = ""
    waiting = ""
    async for found in desk.watch("answers:get", answer=answer):
        if quiet:
            if found["state"] in _OVER:
                return found
            continue
        waiting = _told_to_wait(found, waiting)
        async for text in desk.watch("answers:text", answer=answer):
            if not text.startswith(written):  # it was begun anew
                print("\n", flush=True)
                written = ""
            sys.stdout.write(text[len(written) :])
            sys.stdout.flush()
            written = text
            found = await desk.call("answers:get", answer=answer)
            if found["state"] != "writing":
                break
        if found["state"] in _OVER:
            rest: str = await desk.call("answers:text", answer=answer)
            print(rest.removeprefix(written))
            return found
    raise AssertionError("a live query does not end")


def _told_to_wait(found: dict[str, Any], told: str) -> str:
    """Says once why nothing comes yet."""
    reason = str(found.get("error") or "")
    if found.get("nextTry") is not None and reason and reason != told:
        note(f"waiting for the model: {reason}")
    return reason


def _print_passages(found: dict[str, Any]) -> None:
    cited = {int(number) for number in found["cited"]}
    rows = [row for row in found["passages"] if int(row["number"]) in cited]
    if rows:
        STDOUT.print()
    for row in rows:
        where = " › ".join(row["headings"])
        STDOUT.print(
            Text.assemble(
                (f"[{int(row['number'])}] ", "bold cyan"),
                f"{row['key']}:{lines_of(row)}",
                (f"  {where}" if where else "", "dim"),
                (f"  version {int(row['version'])}", "dim"),
            )
        )
    if found["state"] == "done":
        note(_told(found))


def _told(found: dict[str, Any]) -> str:
    kinds = {
        "chat": f"written by {found.get('model')}",
        "extractive": "quoted from the sources, no model was asked (see `reflow check`)",
        "nothing": "nothing in the sources comes near the question; no model was asked",
    }
    said = kinds.get(found.get("kind") or "", "answered")
    took = f"{float(found['totalMs']) / 1000:.1f} s" if found.get("totalMs") is not None else ""
    tokens = float(found.get("tokensIn") or 0) + float(found.get("tokensOut") or 0)
    spent = f"{tokens:,.0f} tokens" if tokens and found.get("kind") == "chat" else ""
    return ", ".join(part for part in (said, took, spent) if part)
