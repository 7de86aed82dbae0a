"""Where the commands about a corpus work: beside the server that has its data, or with the data opened here."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reflow.app import App
from reflow.bundled import example_folder
from reflow.cli import local
from reflow.cli.loading import load_app
from reflow.cli.output import UsageError
from reflow.cli.places import DEFAULT_APP, Call
from reflow.cli.remote import Remote, holder

if TYPE_CHECKING:
    from reflow.rag import Corpus

BUNDLED = "documents"
"""The application that is meant where there is none."""

_LOOK_SECONDS = 0.15
"""Pause between two looks at what is watched; an unchanged query costs the server next to nothing."""

DataOption = Annotated[Path | None, typer.Option("--data", help="Directory of the database (default: the app's).")]
AppOption = Annotated[str | None, typer.Option("--app", help="The app (default: app.py here, else the playground).")]
CorpusOption = Annotated[str | None, typer.Option("--corpus", help="Which corpus, where the app has several.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@dataclass(frozen=True, slots=True)
class Desk:
    """A corpus, and the way to its functions."""

    corpus: Corpus
    server: Remote | None
    """The server that has the data; None where they are opened here."""
    _call: Call

    async def call(self, function: str, **args: Any) -> Any:
        """The result of "part:function" of the corpus, as plain JSON. Raises CallFailed, ApplicationError."""
        return await self._call(f"{self.corpus.name}/{function}", args)

    async def watch(self, function: str, **args: Any) -> AsyncIterator[Any]:
        """The results of a query: the first at once, then each that differs from the one before."""
        last: object = self  # differs from every result
        while True:
            found = await self.call(function, **args)
            if found != last:
                last = found
                yield found
            await asyncio.sleep(_LOOK_SECONDS)


@asynccontextmanager
async def open_desk(data: Path | None, app: str | None, corpus: str | None) -> AsyncGenerator[Desk, None]:
    """The corpus that is meant. Raises UsageError, DefinitionError, DirectoryInUse, SchemaError."""
    loaded, directory = _app(app)
    chosen = _corpus(loaded, corpus)
    directory = data or directory or loaded.data
    server = await asyncio.to_thread(holder, directory)
    if server is not None:

        async def ask(path: str, args: dict[str, Any]) -> Any:
            return await asyncio.to_thread(server.call, path, args)

        yield Desk(chosen, server, ask)
        return
    async with loaded.open(directory) as backend:
        yield Desk(chosen, None, lambda path, args: local.call(backend, path, args))


def _app(named: str | None) -> tuple[App, Path | None]:
    """The app, and its directory where that is not its own to say."""
    if named is not None or Path(DEFAULT_APP).is_file():
        return load_app(named or DEFAULT_APP), None
    return bundled_app(), bundled_data()


def bundled_app() -> App:
    """The application that travels with reflow."""
    folder = str(example_folder(BUNDLED).parent)
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return load_app(f"{BUNDLED}.app")


def bundled_data() -> Path:
    """Where that application keeps its data, unless a directory is named."""
    from reflow.cli.demo import default_data

    return default_data(None)


def _corpus(app: App, name: str | None) -> Corpus:
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
