"""Splitting a text into chunks that know where they came from.

`chunk` follows the structure of a text, and an edit of the text changes no chunk but those next to it, so that what has
been embedded stays so. `split` cuts plain text with semantic-text-splitter at the largest boundary that fits (blank
lines, lines, sentences, words, characters). Both take any other splitter, as long as its pieces are substrings of the
text.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any, Protocol, cast, runtime_checkable

from reflow.errors import InvalidValue, MissingExtra
from reflow.limits import DEFAULT
from reflow.rag.reading.cuts import LOWEST_HEADING, cuts, overlap_start
from reflow.rag.reading.text import Heading, Text

CHUNK_CHARS = 800
"""English prose has about 4 characters per word piece, so this stays under the 256 pieces of the local model."""

OVERLAP_CHARS = 100

_LINE_END = re.compile(r"\r\n?|\n")


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a text: `source[start:end] == text`.

    `start` and `end` count characters. `first_line` and `last_line` count from 1 and name the lines that hold the
    first and the last character; a line ends with "\\n", "\\r\\n" or "\\r" and includes that ending. `headings` are
    the titles that it stands under, from the outermost, and `page` is the one that holds its first character, from 1;
    a text without such has none.
    """

    text: str
    start: int
    end: int
    first_line: int
    last_line: int
    headings: tuple[str, ...] = ()
    page: int | None = None


@runtime_checkable
class TextSplitter(Protocol):
    """A splitter object in LangChain's style; its pieces are strings, or documents with `page_content`."""

    def split_text(self, text: str, /) -> Sequence[Any]:
        """The pieces of the text in order."""
        ...


@runtime_checkable
class IndexSplitter(Protocol):
    """A splitter that knows where its pieces start, in semantic-text-splitter's style."""

    def chunk_indices(self, text: str, /) -> Sequence[tuple[int, str]]:
        """The pieces of the text in order, each with the offset of its first character."""
        ...


Splitter = Callable[[str], Sequence[str]] | TextSplitter | IndexSplitter

_REVISION = 1
"""Of `chunk`: goes up whenever it would cut the same text otherwise."""


def chunk(
    text: Text | str, *, max_chars: int = CHUNK_CHARS, overlap: int = OVERLAP_CHARS, splitter: Splitter | None = None
) -> list[Chunk]:
    """Splits a text into chunks of at most `max_chars` characters, in order; a blank text has none.

    Headings, paragraphs, lists, lines of code and sentences stay whole where they fit, and a section begins a new
    chunk unless it is small. Within a section a chunk repeats up to `overlap` characters of the one before: whole
    sentences or lines where it can. All of the text but white space is in some chunk.

    An edit of one paragraph changes the texts of the chunks that hold it, seldom of one or two beside them, and none
    further away (see reflow.rag.reading.cuts). A `splitter` of your own decides sizes and overlap itself, as with
    `split`.

    Raises InvalidValue for impossible sizes, and for a piece of your splitter that is not found in the text.
    """
    source = Text(text=text, kind="text") if isinstance(text, str) else text
    if splitter is not None:
        return _placed(source, split(source.text, splitter=splitter))
    _check_sizes("chunk", max_chars, overlap)
    lines = _line_starts(source.text)
    found: list[Chunk] = []
    before = 0  # where the chunk before begins, without what it repeats
    for cut in cuts(source, max_chars - overlap):
        start = cut.start
        if found and overlap and cut.strength < LOWEST_HEADING:
            start = overlap_start(source.text, max(start - overlap, before + 1), start)
        before = cut.start
        first, last = bisect_right(lines, start), bisect_right(lines, cut.end - 1)
        found.append(Chunk(source.text[start : cut.end], start, cut.end, first, last))
    return _placed(source, found)


def chunker_id(*, max_chars: int = CHUNK_CHARS, overlap: int = OVERLAP_CHARS, splitter: Splitter | None = None) -> str:
    """A name for a way of cutting: it differs where the same text would be cut into other chunks.

    A splitter of your own is named by its attribute `id` if it has one, else by its name in the code, which does not
    tell its parameters.
    """
    if splitter is None:
        return f"chunk/{_REVISION} {max_chars}+{overlap}"
    named = getattr(splitter, "id", None) or getattr(splitter, "__qualname__", None) or type(splitter).__qualname__
    return f"splitter {named}"


def _placed(text: Text, chunks: list[Chunk]) -> list[Chunk]:
    """The chunks with the headings they stand under, where they do not only repeat, and their pages."""
    if not text.headings and not text.pages:
        return chunks
    path: list[Heading] = []
    coming = deque(sorted(text.headings, key=lambda heading: heading.start))
    placed: list[Chunk] = []
    end = 0
    for piece in chunks:
        begin = max(piece.start, min(end, piece.end - 1))
        while text.text[begin].isspace() and begin < piece.end - 1:
            begin += 1
        while coming and coming[0].start <= begin:
            heading = coming.popleft()
            while path and path[-1].level >= heading.level:
                path.pop()
            path.append(heading)
        page = bisect_right(text.pages, piece.start) or None
        placed.append(replace(piece, headings=tuple(heading.title for heading in path), page=page))
        end = piece.end
    return placed


def split(
    text: str, *, max_chars: int = CHUNK_CHARS, overlap: int = OVERLAP_CHARS, splitter: Splitter | None = None
) -> list[Chunk]:
    """Splits a text into chunks, in order; a blank text has none.

    The default splitter makes chunks of at most `max_chars` characters which repeat up to `overlap` characters of
    the one before, without white space around them; all else of the text is in some chunk. A `splitter` of your own
    (a callable, a LangChain splitter, a Markdown or code splitter of semantic-text-splitter) decides sizes and
    overlap itself, and the two parameters do not apply.

    Raises InvalidValue for impossible sizes and for a piece that is not found in the text, MissingExtra without
    `reflow[rag]`.
    """
    if splitter is None:
        pieces = _split_default(text, max_chars, overlap)
    elif isinstance(splitter, IndexSplitter):
        pieces = _check_indices(text, splitter.chunk_indices(text))
    else:
        made = splitter.split_text(text) if isinstance(splitter, TextSplitter) else splitter(text)
        pieces = _locate(text, [_content(piece, number) for number, piece in enumerate(made, 1)])
    lines = _line_starts(text)
    return [
        Chunk(piece, start, start + len(piece), bisect_right(lines, start), bisect_right(lines, start + len(piece) - 1))
        for start, piece in pieces
        if piece and not piece.isspace()
    ]


def _check_sizes(caller: str, max_chars: int, overlap: int) -> None:
    if max_chars < 1 or not 0 <= overlap < max_chars:
        raise InvalidValue(
            f"{caller}(max_chars={max_chars}, overlap={overlap}): needs max_chars >= 1 and 0 <= overlap < max_chars"
        )


def _line_starts(text: str) -> list[int]:
    """Offsets at which lines begin. `str.splitlines` would also cut at form feeds and the like; editors do not."""
    return [0, *(match.end() for match in _LINE_END.finditer(text))]


# The default splitter


def _split_default(text: str, max_chars: int, overlap: int) -> list[tuple[int, str]]:
    _check_sizes("split", max_chars, overlap)
    try:
        from semantic_text_splitter import TextSplitter as SemanticSplitter
    except ImportError as error:
        raise MissingExtra(
            "split() needs the package semantic-text-splitter: install `reflow[rag]`, or pass a `splitter` of your own"
        ) from error
    splitter = SemanticSplitter(max_chars, overlap)
    borders = _block_borders(text)
    try:
        blocks = splitter.chunk_all_indices([text[lower:upper] for lower, upper in pairwise(borders)])
    except UnicodeEncodeError as error:
        raise InvalidValue(
            f"split(): character {error.start} of a block of the text is half of a surrogate pair, which is no valid"
            " text: decode the source with errors='replace'"
        ) from error
    return [(lower + at, piece) for lower, block in zip(borders, blocks, strict=False) for at, piece in block]


def _block_borders(text: str) -> list[int]:
    """Where to cut a long text before splitting it, because the splitter's time grows with the square of the length.

    After the last blank line that leaves a block within bounds, else after a line, else after a word.
    """
    bound, borders = DEFAULT.split_block_chars, [0]
    while len(text) - borders[-1] > bound:
        lower = borders[-1]
        upper = lower + bound
        for mark in ("\n\n", "\r\n\r\n", "\n", "\r", " "):
            at = text.rfind(mark, lower, upper)
            if at > lower:
                upper = at + len(mark)
                break
        borders.append(upper)
    return [*borders, len(text)]


# Splitters of the application


def _content(piece: object, number: int) -> str:
    text = cast(object, getattr(piece, "page_content", piece))
    if not isinstance(text, str):
        raise InvalidValue(
            f"Piece {number} of the splitter is a {type(piece).__name__}: it must return strings (or documents with"
            " `page_content`)"
        )
    return text


def _check_indices(text: str, pieces: Sequence[tuple[int, str]]) -> Sequence[tuple[int, str]]:
    for number, (start, piece) in enumerate(pieces, 1):
        if text[start : start + len(piece)] != piece:
            raise InvalidValue(
                f"Piece {number} of the splitter is not at offset {start} of the text: {_preview(piece)}"
            )
    return pieces


def _locate(text: str, made: list[str]) -> list[tuple[int, str]]:
    """Finds the starts of pieces that came in order, with or without overlap, possibly stripped.

    A piece can occur several times. Walking back from the end gives the latest start that each piece may have;
    walking forward takes, up to that one, the start that leaves no gap behind the piece before with least overlap,
    or where there must be a gap the next one. So whenever the pieces are in the text in order, they are found.
    """
    pieces = [piece for piece in made if piece and not piece.isspace()]
    step = 1
    latest, missing = _latest_starts(text, pieces, step)
    if missing is not None:
        # Stripped of white space, a piece may start where the one before starts.
        step = 0
        latest, missing = _latest_starts(text, pieces, step)
    if missing is not None:
        raise _not_found(text, pieces[missing], missing)
    found: list[tuple[int, str]] = []
    start, end = -step, 0
    for piece, last in zip(pieces, latest, strict=True):
        while end < len(text) and text[end].isspace():
            end += 1
        # A piece may keep the white space before it, so it can start anywhere up to the next visible character.
        at = text.rfind(piece, start + step, min(end, last) + len(piece))
        if at < 0:
            at = text.find(piece, start + step, last + len(piece))
        start, end = at, at + len(piece)
        found.append((at, piece))
    return found


def _latest_starts(text: str, pieces: list[str], step: int) -> tuple[list[int], int | None]:
    """Per piece the latest start at least `step` before that of the next; then the first piece without one, if any."""
    latest = [0] * len(pieces)
    bound = len(text) + step
    for number in range(len(pieces) - 1, -1, -1):
        bound = latest[number] = text.rfind(pieces[number], 0, bound - step + len(pieces[number]))
        if bound < 0:
            return latest, number
    return latest, None


def _not_found(text: str, piece: str, number: int) -> InvalidValue:
    where = "is there, but not before the pieces that follow it" if piece in text else "is not in the text"
    return InvalidValue(
        f"Piece {number + 1} of the splitter {where}: {_preview(piece)}. Pieces must be unchanged substrings in the"
        " order of the text (white space around them may be stripped)"
    )


def _preview(piece: str) -> str:
    return repr(piece if len(piece) <= 60 else piece[:57] + "...")
