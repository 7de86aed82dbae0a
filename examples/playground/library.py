"""The docstrings of this machine's standard library as sources: real text that every user has.

Each file of the library is a source under "python/...", its docstrings are the chunks. Bringing it in again changes
only what has changed, so it can be stopped at any point and started anew; a Python that was brought in as it is now is
not even read.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import sysconfig
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import reflow as rf
from playground.layout import chunks_of_entry
from playground.stdlib import read_library
from reflow.rag import Corpus
from reflow.rag.sources.contents import PieceInput

PREFIX = "python/"
CATEGORY = "python"

DESCRIPTION = f"the docstrings of Python {sys.version_info.major}.{sys.version_info.minor}'s standard library"

_READERS = ("docstrings.py", "layout.py", "library.py", "stdlib.py")
"""The code that turns files into chunks. When it changes, the same files are read again; equal chunks stay."""


class Import(rf.Table, table="imports"):
    """What was brought in whole, by a fingerprint of all its files."""

    name: str
    fingerprint: str

    by_name = rf.Index("name")


imports = rf.Module("imports", rename="camel")


@imports.internal_query
async def fingerprint_of(ctx: rf.QueryCtx, name: str) -> str | None:
    """The fingerprint under which something was brought in."""
    found = await ctx.db.query(Import).using(Import.by_name, name=name).first()
    return None if found is None else found.fingerprint


@imports.internal_mutation
async def remember(ctx: rf.MutationCtx, name: str, fingerprint: str) -> None:
    """Notes that all of it is in."""
    found = await ctx.db.query(Import).using(Import.by_name, name=name).first()
    if found is None:
        await ctx.db.insert(Import(name=name, fingerprint=fingerprint))
    else:
        await ctx.db.patch(found.id, fingerprint=fingerprint)


async def bring_in(backend: rf.Backend, corpus: Corpus) -> None:
    """Makes the sources of the library what its files say; returns once all is stored, before all is embedded."""
    root = Path(sysconfig.get_paths()["stdlib"])
    wanted = await asyncio.to_thread(_fingerprint, root)
    if await backend.query(fingerprint_of, name=PREFIX) == wanted:
        return
    files = _files(root)
    while (file := await asyncio.to_thread(next, files, None)) is not None:
        name, pieces, text = file
        await backend.mutation(
            corpus.sources.put_pieces,
            key=PREFIX + name,
            name=name,
            pieces=pieces,
            text=text,
            kind="code",
            category=CATEGORY,
            bulk=True,
        )
    await backend.mutation(remember, name=PREFIX, fingerprint=wanted)


def _files(root: Path) -> Iterator[tuple[str, list[PieceInput], str]]:
    """Name, pieces and text of each file with docstrings, the most looked for first."""
    for file, found in groupby(read_library(root), key=lambda item: item.file):
        name = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        pieces = [
            PieceInput(text=chunk.text, name=chunk.name, first_line=chunk.first_line, last_line=chunk.last_line)
            for item in found
            for chunk in chunks_of_entry(item.entry)
        ]
        yield name, pieces, (root / file).read_text("utf-8")


def _fingerprint(root: Path) -> str:
    """Changes with the Python that runs, its files, and the code that reads them."""
    digest = hashlib.blake2b(f"{sys.version}\0{root}".encode(), digest_size=16)
    for reader in _READERS:
        digest.update(Path(__file__).with_name(reader).read_bytes())
    for path in sorted(root.glob("*.py")):
        state = path.stat()
        digest.update(f"{path.name}\0{state.st_size}\0{state.st_mtime_ns}\0".encode("utf-8", "replace"))
    return digest.hexdigest()
