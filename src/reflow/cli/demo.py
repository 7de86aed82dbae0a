"""`reflow demo`: the playground over the docstrings of the standard library, as a page or as one question."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
import sys
import webbrowser
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reflow.bundled import example_folder
from reflow.cli import local
from reflow.cli.ask import MOST, NothingIndexed, ask, print_hits, wait_until_indexed
from reflow.cli.output import UsageError, banner, complain, note, show_logs
from reflow.cli.process import run
from reflow.cli.progress import ProgressLine
from reflow.cli.remote import Remote, holder
from reflow.cli.serve import DEFAULT_PORT, Port, until_stopped
from reflow.errors import MissingExtra, ReflowError
from reflow.server.serve import serving
from reflow.stores.sdk import checked_account

if TYPE_CHECKING:
    from playground.corpora import Corpus
    from reflow.backend import Backend

HELP = """Search the Python standard library by meaning, on a page or from here.

The docstrings of this machine's standard library are indexed with a local model: no key, no network. The page is
searchable from the first batch on. The index is kept, so the next start takes a second.

Examples:

  reflow demo
  reflow demo --port 0 --no-open
  reflow demo --corpus ~/notes
  reflow demo --query "how do I copy a directory tree" --limit 5
  reflow demo --query "how do I copy a directory tree" --json
"""

_PROGRESS_SECONDS = 0.5


def demo(
    port: Port = DEFAULT_PORT,
    data: Annotated[
        Path | None, typer.Option(help="Directory of the index (default: below $XDG_STATE_HOME, ~/.local/state).")
    ] = None,
    open: Annotated[bool, typer.Option(help="Open the page in a browser.")] = True,
    corpus: Annotated[
        Path | None, typer.Option(help="Index the .md, .rst, .txt and .py files of this folder instead.")
    ] = None,
    query: Annotated[str | None, typer.Option(help="Ask this, print what is found, and end.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=MOST, help="How many hits to print.")] = 5,
    json: Annotated[bool, typer.Option("--json", help="Print hits as a JSON list of objects.")] = False,
) -> None:
    """Serves the page, or answers one question."""
    if query is not None and not query.strip():
        raise UsageError('--query is empty: ask for something, such as --query "how do I copy a directory tree"')
    if json and query is None:
        raise UsageError("--json is for the hits of --query: give a question, too")
    show_logs(logging.WARNING)
    _make_importable()
    _check_store()
    texts = _corpus(corpus)
    directory = data if data is not None else default_data(corpus)
    try:
        if query is not None:
            print_hits(_answer(query, limit, directory, texts), as_json=json)
        else:
            _load_model()
            run(_serve(port, directory, texts, open))
    except MissingExtra as error:
        raise _with_remedy(error) from None


def default_data(corpus: Path | None) -> Path:
    """A directory below the user's state directory; each folder that is indexed has its own."""
    if sys.platform == "darwin":
        state = Path.home() / "Library" / "Application Support"
    else:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    if corpus is None:
        return state / "reflow" / "demo"
    digest = hashlib.blake2b(str(corpus.resolve()).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return state / "reflow" / f"demo-{digest}"


def _make_importable() -> None:
    """The playground is an application like any user's: a package in a folder of its own."""
    folder = str(example_folder("playground").parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)


def _check_store() -> None:
    """Raises VectorStoreError where the settings of a remote store can't be right, before anything is indexed."""
    from playground.lib import pinecone

    if pinecone.is_configured(os.environ):
        checked_account(os.environ[pinecone.URL], os.environ.get(pinecone.KEY, ""))


def _corpus(folder: Path | None) -> Corpus:
    from playground.corpora import Folder, StandardLibrary

    if folder is None:
        return StandardLibrary()
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise UsageError(f"--corpus {folder} {what}: name a folder with .md, .rst, .txt or .py files")
    found = Folder(folder.resolve())
    if not found.files():
        raise UsageError(f"--corpus {folder} has no .md, .rst, .txt or .py file: there is nothing to index")
    return found


def _load_model() -> None:
    from playground.lib import embeddings

    asyncio.run(embeddings.model())


def _with_remedy(error: MissingExtra) -> MissingExtra:
    return MissingExtra(f'{error}. All that the demo needs: pip install "reflow[rag]"')


# One question


def _answer(question: str, limit: int, data: Path, corpus: Corpus) -> list[dict[str, Any]]:
    """Asks the server that has the directory open, else indexes what is missing here and searches it."""
    hits: list[dict[str, Any]] = []
    server = holder(data)
    if server is not None:
        asyncio.run(_ask_there(server, question, limit, hits))
    else:
        _load_model()
        run(_ask_here(data, corpus, question, limit, hits))
    return hits


async def _ask_there(server: Remote, question: str, limit: int, hits: list[dict[str, Any]]) -> None:
    call = partial(asyncio.to_thread, server.call)
    await wait_until_indexed(call)
    hits += await ask(call, question, limit)


async def _ask_here(data: Path, corpus: Corpus, question: str, limit: int, hits: list[dict[str, Any]]) -> None:
    from playground.app import app

    async with app.open(data) as backend:
        await _bring_in(backend, corpus)
        if (await local.call(backend, "corpus:progress", {}))["total"] == 0:
            raise _nothing_in(corpus)
        hits += await ask(partial(local.call, backend), question, limit)
    _close_model()


# The page


async def _serve(port: int, data: Path, corpus: Corpus, open_page: bool) -> None:
    from playground.app import app

    async with serving(app, port=port, data=data) as server:
        banner("demo", server.url, {"corpus": corpus.description, "data": str(data), "stop": "Ctrl+C"})
        work = asyncio.create_task(_index(server.backend, corpus))
        if open_page and _has_display():
            await asyncio.to_thread(webbrowser.open, server.url)
        try:
            await until_stopped()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    _close_model()
    note("stopped")


async def _index(backend: Backend, corpus: Corpus) -> None:
    """Brings the corpus in while the page is served; a failure is told and leaves the page as it is."""
    try:
        await _bring_in(backend, corpus)
        if (await local.call(backend, "corpus:progress", {}))["total"] == 0:
            complain(_nothing_in(corpus))
    except ReflowError as error:
        complain(_with_remedy(error) if isinstance(error, MissingExtra) else error)
    except Exception:
        logging.getLogger("reflow.demo").exception("indexing ended early")


async def _bring_in(backend: Backend, corpus: Corpus) -> None:
    """Indexes what is new, and shows how far that is."""
    from playground import indexing

    shown = asyncio.create_task(_show_progress(backend))
    try:
        await indexing.bring_in(backend, corpus)
        await indexing.embedded(backend)
    finally:
        shown.cancel()
        await asyncio.gather(shown, return_exceptions=True)


async def _show_progress(backend: Backend) -> None:
    with ProgressLine() as line:
        try:
            while True:
                line.show(await local.call(backend, "corpus:progress", {}))
                await asyncio.sleep(_PROGRESS_SECONDS)
        finally:
            line.show(await local.call(backend, "corpus:progress", {}))


def _has_display() -> bool:
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def _nothing_in(corpus: Corpus) -> NothingIndexed:
    return NothingIndexed(f"there is no text in {corpus.description}: nothing can be found")


def _close_model() -> None:
    from playground.lib import embeddings

    embeddings.close()
