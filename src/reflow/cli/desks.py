"""Where the commands about a corpus work: beside the server that has its data, or with the data opened here."""

from __future__ import annotations

import asyncio
import hashlib
import os
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reflow.app import App
from reflow.backend import Backend
from reflow.bundled import example_folder
from reflow.cli import local
from reflow.cli.loading import load_app
from reflow.cli.output import UsageError
from reflow.cli.places import DEFAULT_APP, Call
from reflow.cli.remote import holder

if TYPE_CHECKING:
    from reflow.rag import Corpus

BUNDLED = "playground"
"""The application that is meant where there is none."""

_LOOK_SECONDS = 0.15
"""Pause between two looks at what is watched; an unchanged query costs the server next to nothing."""

DataOption = Annotated[Path | None, typer.Option("--data", help="Directory of the database (default: the app's).")]
AppOption = Annotated[str | None, typer.Option("--app", help="The app (default: app.py here, else the playground).")]
CorpusOption = Annotated[str | None, typer.Option("--corpus", help="Which corpus, where the app has several.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Desk:
    """A corpus, and the way to its functions: those of the server that has the data, or of the backend opened here."""

    corpus: Corpus
    _call: Call
    backend: Backend | None = None

    async def call(self, function: str, **args: Any) -> Any:
        """The result of "part:function" of the corpus, as plain JSON. Raises CallFailed, ApplicationError."""
        return await self._call(f"{self.corpus.name}/{function}", args)

    async def watch(self, function: str, *, every: float = _LOOK_SECONDS, **args: Any) -> AsyncIterator[Any]:
        """The results of a query: the first at once, then each that differs from the one before."""
        last: object = self  # differs from every result
        while True:
            found = await self.call(function, **args)
            if found != last:
                last = found
                yield found
            await asyncio.sleep(every)


@asynccontextmanager
async def open_desk(data: Path | None, app: str | None, corpus: str | None) -> AsyncGenerator[Desk, None]:
    """The corpus that is meant. Raises UsageError, DefinitionError, DirectoryInUse, SchemaError."""
    if app is not None or Path(DEFAULT_APP).is_file():
        loaded = load_app(app or DEFAULT_APP)
        directory = data or loaded.data
    else:
        loaded, directory = bundled_app(), data or data_for(None)
    async with open_desk_of(loaded, directory, corpus) as desk:
        yield desk


@asynccontextmanager
async def open_desk_of(app: App, directory: Path, corpus: str | None = None) -> AsyncGenerator[Desk, None]:
    """The corpus of an app, whose data are in a directory."""
    chosen = corpus_of(app, corpus)
    server = await asyncio.to_thread(holder, directory)
    if server is not None:

        async def ask(path: str, args: dict[str, Any]) -> Any:
            return await asyncio.to_thread(server.call, path, args)

        yield Desk(chosen, ask)
        return
    async with app.open(directory) as backend:
        yield desk_here(chosen, backend)


def desk_here(corpus: Corpus, backend: Backend) -> Desk:
    """A corpus whose data are open in this process."""
    return Desk(corpus, partial(local.call, backend), backend)


def bundled_app() -> App:
    """The application that travels with reflow."""
    folder = str(example_folder(BUNDLED).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return load_app(f"{BUNDLED}.app")


def data_for(folder: Path | None, name: str = "playground") -> Path:
    """Where a bundled application keeps its data: below the user's state directory, for each indexed folder apart."""
    if sys.platform == "darwin":
        state = Path.home() / "Library" / "Application Support"
    else:
        state = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    if folder is None:
        return state / "reflow" / name
    digest = hashlib.blake2b(str(folder.resolve()).encode("utf-8", "surrogateescape"), digest_size=6).hexdigest()
    return state / "reflow" / f"{name}-{digest}"


def corpus_of(app: App, name: str | None = None) -> Corpus:
    """The corpus of an app, by its name where there are several. Raises UsageError."""
    from reflow.rag import Corpus

    found = {part.name: part for part in app.components if isinstance(part, Corpus)}
    if name is not None:
        if name in found:
            return found[name]
        raise UsageError(f"the app has no corpus {name!r}; it has {', '.join(found) or 'none'}")
    if len(found) == 1:
        return next(iter(found.values()))
    if not found:
        raise UsageError("the app has no corpus: add one with rf.App(components=[...]), or name another app")
    raise UsageError(f"the app has {len(found)} corpora: say which one with --corpus {' or '.join(found)}")
