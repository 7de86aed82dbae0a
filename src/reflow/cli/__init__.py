"""The command line, about a corpus (`demo`, `add`, `search`, `ask`, `sources`, `jobs`, `reembed`, `eval`, `check`) and
about any application (`dev`, `serve`, `run`, `env`, `migrate`, `crons`, `vectors serve`).

Every mistake of a user ends in one line that says what, where and what to do, and in a status: 2 for a command that
can't be understood, 1 for one that could not be carried out.
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated

import typer

from reflow.cli import add, admin, answer, check, crons, demo, dev, evaluate, migrate, reembed, run, search, serve
from reflow.cli.env import env
from reflow.cli.jobs import jobs
from reflow.cli.output import Interrupted, UsageError, complain
from reflow.cli.sources import sources
from reflow.cli.vectors import vectors
from reflow.errors import ReflowError

_HELP = """A reactive backend for AI applications.

Try it: [bold]reflow demo[/] serves a live semantic search over the Python standard library.
"""

cli = typer.Typer(
    name="reflow",
    help=_HELP,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    no_args_is_help=True,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _say_version(wanted: bool) -> None:
    if wanted:
        print(f"reflow {version('reflow')}")
        raise typer.Exit


@cli.callback()
def _options(
    _: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version.")
    ] = False,
) -> None:
    """Options that come before a verb."""


cli.command("demo", help=demo.HELP)(demo.demo)
cli.command("add", help=add.HELP)(add.add)
cli.command("search", help=search.HELP)(search.search)
cli.command("ask", help=answer.HELP)(answer.ask)
cli.add_typer(sources)
cli.add_typer(jobs)
cli.command("eval", help=evaluate.HELP)(evaluate.evaluate)
cli.command("reembed", help=reembed.HELP)(reembed.reembed)
cli.command("check", help=check.HELP)(check.check)
cli.command("dev", help=dev.HELP)(dev.dev)
cli.command("serve", help=serve.HELP)(serve.serve)
cli.command("run", help=run.HELP)(run.run)
cli.command("migrate", help=migrate.HELP)(migrate.migrate)
cli.command("crons", help=crons.HELP)(crons.crons)
cli.command("admin-key", help=admin.HELP)(admin.admin_key)
cli.add_typer(env)
cli.add_typer(vectors)
cli.command("_child", hidden=True)(dev.child)


def _fill_standard_streams() -> None:
    """Opens the null device where a standard stream is closed: what is opened next must not take its number."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:  # 2: standard error
        os.set_inheritable(number, True)
    os.close(number)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115 - for the life of the process


def main() -> None:
    """The command `reflow`."""
    _fill_standard_streams()
    try:
        cli(prog_name="reflow")
    except UsageError as error:
        complain(error)
        sys.exit(2)
    except ReflowError as error:
        complain(error)
        sys.exit(1)
    except (KeyboardInterrupt, Interrupted):
        sys.exit(130)
