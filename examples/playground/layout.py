"""How a documented entry becomes chunks: what is embedded, searched for and shown.

A chunk begins with the entry's name and the docstring's summary, also where it continues a long docstring, so that
each can be understood, and found, alone. Small chunks and no signatures: measured over questions in plain words, the
names and defaults of parameters drew more wrong hits than right ones, and long chunks blurred what an entry is for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from playground.docstrings import Entry
from reflow.rag.chunking import split

CHUNK_CHARS = 400
"""Length of a chunk with its heading; a long heading leaves at least `BODY_CHARS` for the rest."""

BODY_CHARS = 200

SUMMARY_CHARS = 300
"""A longer first paragraph is no summary, and is not repeated."""


class EntryChunk(NamedTuple):
    """A chunk of an entry, with the lines of the file that it stands for, from 1."""

    text: str
    name: str
    first_line: int
    last_line: int


def chunks_of_entry(entry: Entry) -> Iterator[EntryChunk]:
    """The chunks of an entry."""
    first_paragraph, _, rest = entry.doc.partition("\n\n")
    summary = " ".join(first_paragraph.split())
    if len(summary) > SUMMARY_CHARS:
        summary, rest = "", entry.doc
    heading = ": ".join(filter(None, [entry.name, summary]))
    before = entry.doc[: len(entry.doc) - len(rest)].count("\n")

    def chunk(text: str, first: int, last: int) -> EntryChunk:
        # A docstring with escaped line ends has more lines than its literal.
        first_line, last_line = (min(entry.doc_line + line, entry.last_line) for line in (first, last))
        return EntryChunk(text, entry.name, first_line, last_line)

    pieces = split(rest, max_chars=max(CHUNK_CHARS - len(heading) - 2, BODY_CHARS), overlap=0)
    if not pieces:
        yield chunk(heading, 0, before)
    for number, piece in enumerate(pieces):
        first = before + piece.first_line - 1 if number or not summary else 0
        yield chunk("\n\n".join(filter(None, [heading, piece.text])), first, before + piece.last_line - 1)
