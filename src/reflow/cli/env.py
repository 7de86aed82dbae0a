"""`reflow env`: the deployment's variables, beside a running server or in the data directory."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Annotated

import typer

from reflow.app import App
from reflow.cli.output import UsageError, note
from reflow.cli.places import AppOption, Data, Place, find_place
from reflow.engine.environment import told
from reflow.errors import ReflowError
from reflow.server.environment import EnvironmentAnswer, EnvironmentCall, answered
from reflow.storage.sqlite_file import FILE_NAME

HELP = """The variables that functions read with ctx.env and ctx.settings.

They are stored in the data directory and go before those of the server's process. A running server follows at once:
live queries that have read a variable run again.
"""

SET_HELP = """Store a variable.

Without VALUE it is asked for, or read from standard input: what is on a command line is seen by other programs, and
stays in the shell's history.

Examples:

  reflow env set MODEL small
  reflow env set API_KEY
  pass show api-key | reflow env set API_KEY
  reflow env set OFFSET -- -5
"""

GET_HELP = """Say whether a variable is set and where its value comes from; --show prints the value and nothing else.

Ends with status 1 where it is not set.
"""

env = typer.Typer(name="env", help=HELP, no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="The variable, such as API_KEY.")]


class NotSet(ReflowError):
    """A variable that was asked for has no value."""

    code = "NotSet"


@env.command("list", help="List the stored variables and those that the app's settings read. No value is shown.")
def list_(data: Data = None, app: AppOption = None) -> None:
    """Prints a line for each."""
    variables = _asked(data, app, EnvironmentCall()).variables
    width = max([len(variable.name) for variable in variables], default=0)
    for variable in variables:
        readers = ", ".join(variable.settings)
        print(f"{variable.name:<{width}}  {variable.source or 'not set':<7}  {readers}".rstrip())
    if not variables:
        note("no variable is stored, and no settings read one: `reflow env set NAME` stores one")


@env.command("get", help=GET_HELP)
def get(
    name: Name,
    show: Annotated[bool, typer.Option("--show", help="Print the value.")] = False,
    data: Data = None,
    app: AppOption = None,
) -> None:
    """Prints where a value comes from, or the value."""
    (variable,) = _asked(data, app, EnvironmentCall(name=name, show=show)).variables
    if variable.source is None:
        raise NotSet(f"{name} is not set; `reflow env set {name}` sets it")
    where = "stored" if variable.source == "stored" else "in the environment of the server's process"
    print(variable.value if show else f"{name} is set ({where}); --show prints it")


@env.command("set", help=SET_HELP)
def set_(
    name: Name,
    value: Annotated[str | None, typer.Argument(metavar="[VALUE]", help="Its value; asked for where left out.")] = None,
    data: Data = None,
    app: AppOption = None,
) -> None:
    """Stores one; prints nothing."""
    given = _entered(name) if value is None else value
    try:
        given.encode()
    except UnicodeEncodeError:
        raise UsageError(f"the value of {name} is no text in this terminal's encoding") from None
    _asked(data, app, EnvironmentCall(changes={name: given}, name=name))


@env.command("unset", help="Remove stored variables. Those of the server's process come to light again.")
def unset(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="The variables.")],
    data: Data = None,
    app: AppOption = None,
) -> None:
    """Removes them; says which were not there."""
    for name in _asked(data, app, EnvironmentCall(changes=dict.fromkeys(names))).unknown:
        note(f"{name} was not stored")


def _entered(name: str) -> str:
    """A value from standard input: typed without being shown, or piped in, where the last line's end is none of it."""
    if sys.stdin.isatty():
        return typer.prompt(name, hide_input=True, err=True)
    text = sys.stdin.read().removesuffix("\n").removesuffix("\r")
    if not text:
        raise UsageError(f'no value for {name} came: give one after the name ("" for an empty one), or pipe one in')
    return text


def _asked(data: Path | None, app: str | None, call: EnvironmentCall) -> EnvironmentAnswer:
    """Asks the server that has the directory, else opens the directory here."""
    place = find_place(data, app)
    return asyncio.run(_asked_here(place, call)) if place.server is None else place.server.environment(call)


async def _asked_here(place: Place, call: EnvironmentCall) -> EnvironmentAnswer:
    """The same without a server. What its process would have is not known here."""
    settings = () if place.loaded is None else place.loaded.settings
    if not call.changes and not (place.directory / FILE_NAME).is_file():
        return EnvironmentAnswer(variables=told({}, {}, settings, call.name, show=False), unknown=[])
    async with App(modules=[], settings=settings, environment={}).open_raw(place.directory) as backend:
        return await answered(backend.engine, call)
