"""`reflow run`: one function, beside a running server or in this process."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Annotated, Any, cast

import typer

from reflow.app import App
from reflow.cli import local
from reflow.cli.output import UsageError, note, show_logs
from reflow.cli.places import find_place
from reflow.cli.remote import Remote
from reflow.server.admin import SETTING, impersonated
from reflow.server.auth import home_of
from reflow.server.serve import run as run_loop

HELP = """Run a function and print its result as JSON.

Beside a running server the server runs it; else the data directory is opened here, with the app of --app.

Examples:

  reflow run tasks:add '{"text": "write"}'
  reflow run tasks:list --data .reflow --app app.py
  reflow run tasks:list --identity '{"subject": "user_1"}'
  reflow run tasks:list --url http://127.0.0.1:3210
  REFLOW_ADMIN_KEY=... reflow run tasks:cleanup --admin --url https://tasks.example.com
"""

_PATIENCE_SECONDS = 0.5
"""How long scheduled functions may take before it is said that they are waited for."""


def run(
    path: Annotated[str, typer.Argument(metavar="PATH", help="The function, such as tasks:add.")],
    arguments: Annotated[str, typer.Argument(metavar="[JSON]", help="Its arguments, a JSON object.")] = "{}",
    data: Annotated[Path | None, typer.Option(help="Directory of the database, as of `reflow dev`.")] = None,
    url: Annotated[str | None, typer.Option(help="A server to ask; it runs public functions only.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="With --url: any function, by $REFLOW_ADMIN_KEY.")] = False,
    identity: Annotated[str | None, typer.Option(metavar="JSON", help="Who calls: a subject, and claims.")] = None,
    app: Annotated[str | None, typer.Option(help="The app, where no server runs (default: app.py).")] = None,
) -> None:
    """Prints the result on standard output; what the function raises goes to standard error."""
    show_logs(logging.INFO)
    args = _parsed(arguments, "the arguments", '{"text": "hello"}')
    caller = None if identity is None else _parsed(identity, "--identity", '{"subject": "user_1"}')
    if url is not None:
        if data is not None:
            raise UsageError("--url asks a server and --data names a directory: give one of them")
        if caller is not None and not admin:
            raise UsageError("who calls is said by a token; to call as somebody else add --admin")
        _print(Remote(url, admin_key=_admin_key() if admin else None).call(path, args, caller))
        return
    if admin:
        raise UsageError("--admin goes with --url; who can read the data directory needs no key")
    place = find_place(data, app)
    if place.server is not None:
        _print(place.server.call(path, args, caller))
        return
    run_loop(_run_here(place.app(), place.directory, path, args, caller))


async def _run_here(app: App, data: Path, path: str, args: dict[str, Any], caller: dict[str, Any] | None) -> None:
    """Runs the function in this process, and what it schedules for now."""
    identity = None if caller is None else impersonated(json.dumps(caller).encode(), home_of(app.auth))
    async with app.open(data) as backend:
        _print(await local.call(backend, path, args, identity))
        try:
            await asyncio.wait_for(backend.settled(), _PATIENCE_SECONDS)
        except TimeoutError:
            note("waiting for the functions it has scheduled; Ctrl+C leaves them to the next start")
            await backend.settled()


def _admin_key() -> str:
    key = os.environ.get(SETTING)
    if not key:
        raise UsageError(f"--admin takes the server's admin key from {SETTING}; `reflow admin-key` prints it there")
    return key


def _parsed(text: str, what: str, example: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UsageError(f"{what} must be JSON ({error}): write '{example}'") from None
    if not isinstance(found, dict):
        raise UsageError(f"{what} must be a JSON object, like '{example}'")
    return cast("dict[str, Any]", found)


def _print(value: Any) -> None:
    print(json.dumps(value, indent=2, ensure_ascii=False))
