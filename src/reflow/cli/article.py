"""`reflow demo --article`: the application of the article, whose vectors are kept here or in Pinecone by a setting."""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reflow.bundled import example_folder
from reflow.cli import local
from reflow.cli.output import banner, complain, note
from reflow.cli.progress import ProgressLine
from reflow.cli.serve import until_stopped
from reflow.errors import ReflowError
from reflow.server.serve import serving
from reflow.stores.sdk import checked_account

if TYPE_CHECKING:
    from article.corpora import Corpus
    from reflow.backend import Backend

URL = "REFLOW_VECTORS_URL"
_KEY = "PINECONE_API_KEY"
_LOOK_SECONDS = 0.5


async def serve(port: int, data: Path, folder: Path | None) -> None:
    """Serves the article's page over the standard library's docstrings or a folder, until Ctrl+C.

    Raises VectorStoreError where the settings of a remote store can't be right, before anything is indexed.
    """
    if os.environ.get(URL):
        checked_account(os.environ[URL], os.environ.get(_KEY, ""))
    place = str(example_folder("article").parent)
    if place not in sys.path:
        sys.path.insert(0, place)
    from article.app import app
    from article.corpora import Folder, StandardLibrary
    from article.lib import embeddings

    await embeddings.model()
    corpus = StandardLibrary() if folder is None else Folder(folder)
    async with serving(app, port=port, data=data) as server:
        banner("demo", server.url, {"corpus": corpus.description, "data": str(data), "stop": "Ctrl+C"})
        work = asyncio.create_task(_index(server.backend, corpus))
        try:
            await until_stopped()
        finally:
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)
    embeddings.close()
    note("stopped")


async def _index(backend: Backend, corpus: Corpus) -> None:
    """Brings the corpus in while the page is served; a failure is told and leaves the page as it is."""
    from article import indexing

    shown = asyncio.create_task(_show_progress(partial(local.call, backend, "corpus:progress", {})))
    try:
        await indexing.bring_in(backend, corpus)
        await indexing.embedded(backend)
    except ReflowError as error:
        complain(error)
    except Exception:
        logging.getLogger("reflow.demo").exception("indexing ended early")
    finally:
        shown.cancel()
        await asyncio.gather(shown, return_exceptions=True)


async def _show_progress(progress: Any) -> None:
    with ProgressLine() as line:
        while True:
            line.show(_as_totals(await progress()))
            await asyncio.sleep(_LOOK_SECONDS)


def _as_totals(progress: dict[str, Any]) -> dict[str, Any]:
    """What the article's application counts, as a corpus tells it."""
    return {
        "chunks": progress["total"],
        "waiting": progress["pending"],
        "embedding": progress["pending"],
        "reading": 0,
        "sources": progress["sources"],
        "failed": 0,
    }
