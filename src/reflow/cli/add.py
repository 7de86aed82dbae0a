"""`reflow add`: files, folders and addresses become sources of a corpus."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from reflow.cli.desks import AppOption, CorpusOption, DataOption, Desk, JsonOption, open_desk
from reflow.cli.output import UsageError, note, show_logs
from reflow.cli.process import run
from reflow.cli.rows import counted, print_json
from reflow.cli.waiting import until_done

HELP = """Add files, folders and addresses to a corpus, and wait until they can be searched by meaning.

What is there already and has not changed is left alone; what has changed takes the place of its former version once it
is ready. Of a folder, files that are gone are removed, too. Without an app of your own the sources go where
`reflow demo` shows them.

Examples:

  reflow add handbook.pdf notes.md
  reflow add ~/notes --category private
  reflow add ~/notes --watch
  reflow add https://example.org/manual.html --key manual
"""


def add(
    places: Annotated[list[str], typer.Argument(metavar="PATH|URL…", help="Files, folders, addresses.")],
    key: Annotated[str | None, typer.Option(help="Key of the one source (default: its path or address).")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the one source, for people.")] = None,
    category: Annotated[str | None, typer.Option(help="What searches can be narrowed to.")] = None,
    importance: Annotated[float | None, typer.Option(min=0.0, help="Weight of its hits (default: 1).")] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the folders until Ctrl+C.")] = False,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Return when all can be searched by meaning.")] = True,
    as_json: JsonOption = False,
    data: DataOption = None,
    app: AppOption = None,
    corpus: CorpusOption = None,
) -> None:
    """Adds each place; the first that can't be read ends the command after the others were taken."""
    if (key is not None or name is not None) and (len(places) > 1 or Path(places[0]).is_dir()):
        raise UsageError("--key and --name are for one file or address")
    found = [_place(place) for place in places]
    if watch and not any(isinstance(place, Path) and place.is_dir() for place in found):
        raise UsageError("--watch follows folders: name one")
    show_logs(logging.WARNING)
    given = {"key": key, "name": name, "category": category, "importance": importance}
    described = {field: value for field, value in given.items() if value is not None}

    async def main() -> None:
        async with open_desk(data, app, corpus) as desk:
            rows = [await _add(desk, place, described) for place in found]
            ids = list(dict.fromkeys(id for row in rows for id in row["sources"]))
            if not as_json:
                _tell(rows)
            if wait or desk.backend is not None:
                await until_done(desk, ids)
            if as_json:
                print_json(rows)
            if watch:
                await _watch(desk, [place for place in found if isinstance(place, Path) and place.is_dir()], category)

    run(main())


def _place(text: str) -> str | Path:
    """An address, or a file or folder that is there. Raises UsageError."""
    if text.startswith(("http://", "https://")):
        return text
    path = Path(text).expanduser()
    if not path.exists():
        raise UsageError(f"there is no file or folder {text}: name one, or an address that begins with https://")
    return path


async def _add(desk: Desk, place: str | Path, described: dict[str, Any]) -> dict[str, Any]:
    """Adds one place: what became of it, and the ids of the sources in work."""
    if isinstance(place, str):
        return {"place": place, **_one(await desk.call("sources:putUrl", url=place, **described))}
    path = str(place.resolve())
    if place.is_dir():
        found = await desk.call("sources:syncFolder", path=path, **described)
        return {"place": str(place), **found}
    return {
        "place": str(place),
        **_one(await desk.call("sources:addPath", path=path, **{"key": _key(place), **described})),
    }


def _key(path: Path) -> str:
    """The path as it was named, with forward slashes; one that leads out of here is its file's name."""
    return path.name if path.is_absolute() or ".." in path.parts else path.as_posix()


def _one(added: dict[str, Any]) -> dict[str, Any]:
    changed = bool(added["changed"])
    new = changed and added["version"] == 1
    counts = {"added": int(new), "changed": int(changed and not new), "removed": 0, "unchanged": int(not changed)}
    return {**counts, "sources": [added["source"]]}


def _tell(rows: list[dict[str, Any]]) -> None:
    counts = {name: sum(int(row[name]) for row in rows) for name in ("added", "changed", "removed", "unchanged")}
    note(", ".join(f"{name}: {counted(count, 'source')}" for name, count in counts.items() if count) or "nothing found")
    for problem in (problem for row in rows for problem in row.get("problems", ())):
        note(f"left out: {problem['path']}: {problem['error']}")


async def _watch(desk: Desk, folders: list[Path], category: str | None) -> None:
    note("following changes; Ctrl+C ends it")
    about = {} if category is None else {"category": category}
    async with asyncio.TaskGroup() as group:
        for folder in folders:
            group.create_task(follow(desk, folder.resolve(), **about))


async def follow(desk: Desk, folder: Path, **about: Any) -> None:
    """Keeps a corpus in step with a folder, and tells what changed, until it is cancelled."""
    from reflow.rag.sources.local_files import watch_folder

    async for found in watch_folder(desk.call, folder, **about):
        if found.added or found.changed or found.removed or found.problems:
            _tell([msgspec.to_builtins(found)])
