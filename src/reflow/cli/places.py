"""Where a command works: beside the server that has a data directory, or in the directory itself."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from reflow.app import DEFAULT_DATA, App
from reflow.cli import local
from reflow.cli.loading import load_app
from reflow.cli.output import UsageError
from reflow.cli.remote import Remote, holder
from reflow.storage.sqlite_file import FILE_NAME

DEFAULT_APP = "app.py"

Data = Annotated[Path | None, typer.Option(help="Directory of the database, as of `reflow dev`.")]
AppOption = Annotated[str | None, typer.Option("--app", help="The app, where no server runs (default: app.py).")]

Call = Callable[[str, dict[str, Any]], Awaitable[Any]]
"""Runs a function by its path, with plain JSON going in and out."""


@dataclass(frozen=True, slots=True)
class Place:
    """A data directory, the server that has it, if any, and the app that was named or lies here."""

    directory: Path
    server: Remote | None
    loaded: App | None

    def app(self) -> App:
        """The app. Raises UsageError where there is none."""
        if self.loaded is not None:
            return self.loaded
        if Path(DEFAULT_APP).is_file():
            return load_app(DEFAULT_APP)
        raise UsageError(
            f"no server has {self.directory} open, and there is no {DEFAULT_APP} here: start one with `reflow dev`, or "
            "name the app with --app"
        )

    @asynccontextmanager
    async def asked(self, app: App | None = None) -> AsyncGenerator[Call, None]:
        """Calls the server's functions, or those of `app` with the directory opened raw: nothing else runs then.

        Raises UsageError where the directory holds no database.
        """
        server = self.server
        if server is not None:

            async def ask(path: str, args: dict[str, Any]) -> Any:
                return server.call(path, args)

            yield ask
            return
        if not (self.directory / FILE_NAME).is_file():
            raise UsageError(f"{self.directory} holds no database: name the directory with --data")
        async with (app or App(modules=[])).open_raw(self.directory) as backend:
            yield lambda path, args: local.call(backend, path, args)


def find_place(data: Path | None, app: str | None) -> Place:
    """The directory that is meant: the one given, else the app's.

    Raises UsageError, DefinitionError, DirectoryInUse.
    """
    loaded = None
    if app is not None or (data is None and Path(DEFAULT_APP).is_file()):
        loaded = load_app(app or DEFAULT_APP)
    directory = data or (loaded.data if loaded is not None else Path(os.environ.get("REFLOW_DATA", DEFAULT_DATA)))
    return Place(directory, holder(directory), loaded)
