"""What of a text becomes a version: its chunks-to-be, with what is known of the whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import msgspec

import reflow as rf
from reflow.rag.chunking import Chunk as Part
from reflow.rag.chunking import chunk
from reflow.rag.reading import Text, read_text
from reflow.rag.reading.kinds import KINDS, language_of, suffix_of
from reflow.rag.sources.summaries import summary_of
from reflow.rag.sources.texts import lines_in
from reflow.rag.tables import Kind

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class Cut(rf.Object, rename="camel"):
    """A part of a text that becomes a chunk; see `reflow.rag.tables.Piece` for its fields."""

    text: str
    first_line: int = 1
    last_line: int = 1
    start: int | None = rf.missing()
    end: int | None = rf.missing()
    page: int | None = rf.missing()
    headings: list[str] = msgspec.field(default_factory=list[str])
    name: str | None = rf.missing()


class PieceInput(rf.Object, rename="camel"):
    """A piece that a caller has cut. Lines count from 1; `name` is what it describes, such as a function's name."""

    text: str
    name: str | None = rf.missing()
    first_line: int | None = rf.missing()
    last_line: int | None = rf.missing()
    headings: list[str] = msgspec.field(default_factory=list[str])


class Content(msgspec.Struct, frozen=True, kw_only=True):
    """What a version is made of. `kept`: whether its text is stored already; `digest`, where it is only known now."""

    text: str
    kind: Kind
    cuts: Sequence[Cut]
    summary: str
    title: str | None = None
    pages: Sequence[int] = ()
    kept: bool = False
    digest: str | None = None


def kind_by_names(*names: str) -> Kind:
    """What the first name with a suffix that is known says; "text" where none does."""
    for name in names:
        if language_of(name) is not None:
            return "code"
        if (kind := KINDS.get(suffix_of(name))) is not None:
            return kind
    return "text"


def structured(text: str, kind: Kind, name: str) -> Text:
    """A text with the structure that its kind has; `name` tells the language of code."""
    found = read_text(text, {"markdown": "text.md", "text": "text.txt"}.get(kind, name))
    return found if found.kind == kind else Text(text=text, kind=kind)


def cut(corpus: Corpus, text: Text) -> list[Part]:
    """The parts of a text, as the corpus cuts."""
    return chunk(text, max_chars=corpus.chunk_chars, overlap=corpus.overlap, splitter=corpus.splitter)


def content_of(text: Text, parts: Sequence[Part], name: str) -> Content:
    """A text that was read and cut. `name` stands for its title where it has none."""
    cuts = [
        Cut(
            text=part.text,
            first_line=part.first_line,
            last_line=part.last_line,
            start=part.start,
            end=part.end,
            page=part.page,
            headings=list(part.headings),
        )
        for part in parts
    ]
    return Content(
        text=text.text,
        kind=text.kind,
        cuts=cuts,
        summary=summary_of(text, name),
        title=text.title,
        pages=text.pages,
    )


def content_of_pieces(pieces: Sequence[PieceInput], text: str | None, kind: Kind, name: str) -> Content:
    """What a caller has cut. Without a whole text and without lines, the pieces are put one below the other."""
    cuts: list[Cut] = []
    at, line = 0, 1
    joined = text is None and all(piece.first_line is None for piece in pieces)
    for piece in pieces:
        if not piece.text or piece.text.isspace():
            continue
        lines = lines_in(piece.text)
        first = line if joined else piece.first_line or 1
        cuts.append(
            Cut(
                text=piece.text,
                first_line=first,
                last_line=first + lines - 1 if joined or piece.last_line is None else piece.last_line,
                start=at if joined else None,
                end=at + len(piece.text) if joined else None,
                headings=piece.headings,
                name=piece.name,
            )
        )
        at, line = at + len(piece.text) + 2, line + lines + 1
    whole = "\n\n".join(one.text for one in cuts) if joined else text or ""
    about = summary_of(Text(text=whole or "\n\n".join(one.text for one in cuts[:3]), kind=kind), name)
    return Content(text=whole, kind=kind, cuts=cuts, summary=about)
