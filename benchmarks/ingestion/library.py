"""Real texts that every machine with Python has: the source files of its standard library."""

from __future__ import annotations

import sysconfig
from collections.abc import Iterator
from pathlib import Path

from reflow.rag import chunking
from reflow.rag.reading import read_text

_LEFT_OUT = {"test", "tests", "idlelib", "lib2to3", "site-packages", "__pycache__", "turtledemo", "pydoc_data"}


def texts(chunks: int) -> Iterator[tuple[str, str]]:
    """Names and texts of files, in a fixed order, until they make about so many chunks; the last one is cut."""
    root = Path(sysconfig.get_path("stdlib"))
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root)
        if _LEFT_OUT & set(name.parts):
            continue
        text = path.read_text("utf-8", errors="replace")
        if not text.strip():
            continue
        pieces = chunking.chunk(read_text(text, str(name)))
        if len(pieces) >= chunks:
            yield str(name), text[: pieces[chunks - 1].end]
            return
        chunks -= len(pieces)
        yield str(name), text
