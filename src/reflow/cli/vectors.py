"""`reflow vectors serve`: the vector store alone, for Pinecone's clients."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

import msgspec
import typer

from reflow.app import App, local_embedder
from reflow.cli.output import UsageError, banner, note, show_logs
from reflow.cli.process import run
from reflow.cli.serve import Durability, Host, Port, until_stopped
from reflow.engine.catalog import META_KEY, Stored
from reflow.limits import Limits
from reflow.server import serve as server
from reflow.server.pinecone.app import PineconeSettings
from reflow.server.pinecone.keys import SETTING, URL_SETTING, keys_in
from reflow.storage.lock import DirectoryLock
from reflow.storage.sqlite import SqliteStorage
from reflow.storage.sqlite_file import FILE_NAME

HELP = """The vector store, without an app."""

SERVE_HELP = """Serve a vector store to Pinecone's own clients.

Records are kept in the data directory, which is for this command alone: an app serves its vectors itself, with
`reflow serve` and the environment's REFLOW_PINECONE_API_KEY.

Examples:

  reflow vectors serve
  reflow vectors serve --port 5080 --data ./vectors --api-key secret
"""

DEFAULT_PORT = 5080
DEFAULT_DATA = Path(".reflow-vectors")

vectors = typer.Typer(name="vectors", help=HELP, no_args_is_help=True)


@vectors.command("serve", help=SERVE_HELP)
def serve(
    host: Host = "127.0.0.1",
    port: Port = DEFAULT_PORT,
    data: Annotated[Path, typer.Option(help="Directory of the database.")] = DEFAULT_DATA,
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar=SETTING,
            help="The keys that clients must send, separated by commas. Without one, all of this machine may come.",
        ),
    ] = None,
    url: Annotated[
        str | None, typer.Option(envvar=URL_SETTING, help="Where clients reach it, as behind a proxy with TLS.")
    ] = None,
    durability: Durability = None,
) -> None:
    """Serves until Ctrl+C or SIGTERM."""
    show_logs(logging.INFO)
    keys = keys_in(api_key or "")
    if not keys and (api_key is not None or not _is_loopback(host)):
        raise UsageError(
            f"a server that others reach needs a key: give --api-key, or {SETTING} in the environment"
            if api_key is None
            else "the API key is empty: give --api-key one, or leave it out"
        )
    if url is not None and not _is_address(url):
        raise UsageError(f"--url {url} is no address that clients reach: give one such as https://vectors.example.com")
    app = App(modules=[], data=data)
    asyncio.run(_check(data, app.limits))
    app.doors.pinecone = PineconeSettings(keys=keys, url=url, embedder=local_embedder)

    async def main() -> None:
        async with server.serving(app, host, port, durability=durability) as running:
            facts = {
                "data": str(data),
                "clients": f'Pinecone(api_key="{"…" if keys else "any"}", host="{url or running.url}")',
                "keys": str(len(keys)) if keys else "any key opens it: only this machine reaches it",
                "stop": "Ctrl+C",
            }
            banner("vectors", running.url, facts)
            await until_stopped()

    run(main())
    note("stopped")


async def _check(data: Path, limits: Limits) -> None:
    """Raises UsageError for the directory of an app: without its functions, what it has scheduled would fail."""
    if not (data / FILE_NAME).exists():
        return
    with DirectoryLock(data):
        storage = SqliteStorage(data, limits=limits)
        await storage.open()
        try:
            meta = (await storage.read_meta()).get(META_KEY)
        finally:
            await storage.close()
    tables: Iterable[str] = () if meta is None else msgspec.json.decode(meta, type=Stored).tables
    if foreign := sorted(name for name in tables if not name.startswith("_")):
        raise UsageError(
            f"{data} is the directory of an app (its tables: {', '.join(foreign[:3])}): serve that one, with {SETTING} "
            "in the environment, or choose another directory with --data"
        )


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
