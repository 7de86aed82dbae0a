"""`reflow admin-key`: the key that lets its holder do everything on a server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from reflow.app import DEFAULT_DATA
from reflow.cli.output import note
from reflow.server.admin import SETTING
from reflow.server.admin import admin_key as key_of

HELP = f"""Print the admin key of a data directory; it is made at first use.

Who has it may call internal functions and act as any user. {SETTING} takes its place where it is set. To change the
key, delete admin.key in the data directory and start the server again.

Examples:

  reflow admin-key
  reflow admin-key --data /var/lib/shop
"""


def admin_key(
    data: Annotated[
        Path | None, typer.Option(help="Directory of the database (default: $REFLOW_DATA, else .reflow).")
    ] = None,
) -> None:
    """Prints the key on standard output."""
    directory = data or Path(os.environ.get("REFLOW_DATA", DEFAULT_DATA))
    if os.environ.get(SETTING):
        note(f"{SETTING} is set here; a server that starts without it has the key of {directory}")
    print(key_of(directory, os.environ))
