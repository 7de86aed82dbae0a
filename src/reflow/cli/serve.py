"""`reflow serve`: an app in production."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from reflow.cli.loading import load_app
from reflow.cli.output import banner, note, show_logs
from reflow.cli.process import run
from reflow.server import serve as server

if TYPE_CHECKING:
    from reflow.app import App

HELP = """Serve an app.

Examples:

  reflow serve app.py
  reflow serve app.py --host 0.0.0.0 --port 8080 --data /var/lib/shop
  reflow serve shop.backend:app --durability relaxed
"""

DEFAULT_PORT = 3210

Target = Annotated[str, typer.Argument(metavar="APP", help="A file such as app.py, or package.module:name.")]
Port = Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 chooses a free one.")]
Host = Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of this machine.")]
Data = Annotated[
    Path | None, typer.Option(help="Directory of the database (default: the app's, else $REFLOW_DATA, else .reflow).")
]
Durability = Annotated[
    Literal["full", "relaxed"] | None,
    typer.Option(help="full: acknowledged is safe from power loss. relaxed: faster, safe from crashes only."),
]


def serve(
    app: Target,
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    data: Data = None,
    durability: Durability = None,
) -> None:
    """Serves until Ctrl+C or SIGTERM."""
    show_logs(logging.INFO)
    loaded = load_app(app)

    async def main() -> None:
        async with server.serving(loaded, host, port, durability=durability, data=data) as running:
            announce("serve", running.url, app, loaded, data)
            await until_stopped()

    run(main())
    note("stopped")


def announce(verb: str, url: str, target: str, app: App, data: Path | None) -> None:
    """Says where the app is served."""
    functions = sum(not function.internal for function in app.functions.values())
    facts = {
        "app": f"{target} (public functions: {functions}, tables: {len(app.tables)})",
        "data": str(app.data if data is None else data),
        "stop": "Ctrl+C",
    }
    if app.doors.pinecone is not None:
        facts["pinecone"] = f'Pinecone(api_key="…", host="{app.doors.pinecone.url or url}")'
    banner(verb, url, facts)


async def until_stopped() -> None:
    """Returns at SIGINT or SIGTERM; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def stop() -> None:
        stopped.set()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    await stopped.wait()
