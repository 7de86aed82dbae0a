"""How a documented entry becomes chunks: what is embedded, searched for and shown."""

from __future__ import annotations

from collections.abc import Iterator

from playground.corpus import Entry as ChunkEntry
from playground.docstrings import Entry
from playground.schema import Lines
from reflow.rag.chunking import split


def chunks_of_entry(entry: Entry, file: str) -> Iterator[ChunkEntry]:
    """The chunks of an entry, each headed by the entry's name, so that each can be understood alone."""
    head = "\n".join(filter(None, [entry.name, entry.signature]))
    for piece in split(entry.doc, overlap=0):
        lines = Lines(from_=entry.doc_line + piece.first_line - 1, to=entry.doc_line + piece.last_line - 1)
        yield ChunkEntry(text=f"{head}\n{piece.text}" if head else piece.text, lines=lines, name=entry.name, file=file)
