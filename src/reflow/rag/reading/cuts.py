"""Where a text is cut into chunks, so that an edit moves no cut but those next to it.

A splitter that fills its chunks from the start of a text moves every later cut when a paragraph changes. Here cuts are
found bottom up. The text is first taken apart at all its boundaries: headings, pages, blank lines, and inside of what
is too long lines, sentences, words. Then neighbours are joined wherever they fit into one chunk, over the weakest
boundaries first and, among equally weak ones, in the order of a hash of what follows. So whether two pieces are joined
depends on what stands around them, and the influence of an edit ends with the next boundary that is decided before it:
content-defined chunking (Muthitacharoen, Chen, Mazières: A Low-bandwidth Network File System, 2001) with the
structure of the text before its hash.
"""

from __future__ import annotations

import re
import unicodedata
import zlib
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from operator import itemgetter

from reflow.rag.reading.markdown import fences
from reflow.rag.reading.text import Text

# How strongly a boundary keeps apart what it separates.
GLUED = 0
"""A heading and what stands under it."""
WORD, INDENTED, LINE, SENTENCE, ITEM, IN_CODE, PARAGRAPH, GAP = range(1, 9)
LOWEST_HEADING, LEVELS = 10, 16
"""A heading of level 1 has LOWEST_HEADING + LEVELS, one of level 2 a step less, and so on down to LOWEST_HEADING."""

SMALL = 4
"""A section is joined with the next one only where one of them is shorter than this part of a chunk."""

_BLANK = re.compile(r"(?>\r\n?|\n)(?:[ \t\f\v]*(?>\r\n?|\n))++")
_INNER = re.compile(r"(?P<line>\r\n?|\n)|[.!?…][\"')\]»”’*_]{0,4}[ \t]++(?![a-z])|[。！？]+")
_STOPPED = re.compile(r"[.!?…:。！？][\"')\]»”’*_]{0,4}[ \t]{0,8}\Z")
_ITEM = re.compile(r"[ \t]{0,12}(?:[-*+•|]|\d{1,4}[.)])[ \t]")
_SPACES = re.compile(r"\s++")
_HASHED = 48
_PART_OF_CHARACTER = "\u200d\ufe0e\ufe0f"


@dataclass(frozen=True, slots=True)
class Cut:
    """A piece of the text without the white space around it, and how strongly it is kept apart from the one before."""

    start: int
    end: int
    strength: int


def cuts(text: Text, max_chars: int) -> list[Cut]:
    """The pieces of a text, of at most `max_chars` characters, in order; they hold all of it but white space."""
    source = text.text
    borders = _borders(text)
    code = [(0, len(source))] if text.kind == "code" else _fences(text)
    pieces: list[Cut] = []
    before = 0
    for start, end in pairwise([*sorted(borders), len(source)]):
        in_code, room = _inside(start, code), max_chars
        if borders[start] == GLUED:  # some of it must fit into one chunk with the heading before it
            room = max(max_chars - (start - before), (max_chars + 1) // 2)
        before = start
        for at, stop, strength in _fitting(source, start, end, room, in_code, borders[start]):
            bare = source[at:stop].lstrip()
            if bare:
                begin = stop - len(bare)
                if in_code:  # the margin of its first line is part of code
                    begin = max(at, 1 + max(source.rfind("\n", at, begin), source.rfind("\r", at, begin)))
                pieces.append(Cut(begin, begin + len(source[begin:stop].rstrip()), strength))
    return _joined(source, pieces, max_chars)


# Taking apart


def _borders(text: Text) -> dict[int, int]:
    """Where blocks begin, with the strength of the boundary before each."""
    source = text.text
    code = _fences(text)
    borders = {0: GAP}
    for match in _BLANK.finditer(source):
        if match.end() < len(source):
            borders[match.end()] = _blank_strength(text, match, code)
    for page in text.pages:
        borders.setdefault(page, PARAGRAPH)
    for start, end in code:
        borders.setdefault(start, PARAGRAPH)
        borders.setdefault(end, PARAGRAPH)
    for heading in text.headings:
        borders[heading.start] = LOWEST_HEADING + max(0, LEVELS - heading.level + 1)
    if text.kind != "code":
        _glue_headings(text, borders)
    return borders


def _fences(text: Text) -> list[tuple[int, int]]:
    return fences(text.text) if text.kind in ("markdown", "html", "docx") else []


def _blank_strength(text: Text, match: re.Match[str], code: Sequence[tuple[int, int]]) -> int:
    after = text.text[match.end() : match.end() + 1]
    if text.kind == "code":
        return PARAGRAPH if after.isspace() else GAP
    if _inside(match.start(), code):
        return INDENTED if after.isspace() else IN_CODE
    return GAP if match.group().count("\n") > 2 else PARAGRAPH


def _glue_headings(text: Text, borders: dict[int, int]) -> None:
    """A heading that stands alone belongs to the block after it."""
    source = text.text
    starts = sorted(borders)
    headings = {heading.start for heading in text.headings}
    for heading, following in pairwise(starts):
        if heading in headings and following not in headings and len(source[heading:following].split("\n", 3)) <= 3:
            borders[following] = GLUED


def _inside(at: int, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether an offset lies in one of the ranges, which are in order, their starts apart."""
    number = bisect_right(ranges, at, key=itemgetter(0)) - 1
    return number >= 0 and at < ranges[number][1]


def _fitting(
    source: str, start: int, end: int, max_chars: int, in_code: bool, strength: int
) -> Iterable[tuple[int, int, int]]:
    """A block as pieces that fit: itself, else its lines and sentences, else runs of words."""
    if end - start <= max_chars:
        return [(start, end, strength)]
    inner = [(start, strength), *_inner(source, start, end, in_code)]
    pieces: list[tuple[int, int, int]] = []
    for (at, kind), (stop, _) in pairwise([*inner, (end, GLUED)]):
        for number, upper in enumerate(_runs(source, at, stop, max_chars)):
            pieces.append((at, upper, WORD if number else kind))
            at = upper
    return pieces


def _inner(source: str, start: int, end: int, in_code: bool) -> Iterable[tuple[int, int]]:
    for match in _INNER.finditer(source, start, end):
        at = match.end()
        if at >= end:
            return
        if match["line"] is None:
            if not in_code:
                yield at, SENTENCE
        elif in_code:
            yield at, INDENTED if source[at] in " \t" else LINE
        elif _ITEM.match(source, at):
            yield at, ITEM
        else:
            yield at, SENTENCE if _STOPPED.search(source, max(start, match.start() - 16), match.start()) else LINE


def _runs(source: str, start: int, end: int, max_chars: int) -> Iterable[int]:
    """The ends of the pieces of what has no boundary but words: each where a hash is largest in half a chunk's room."""
    while end - start > max_chars:
        lower, upper = start + (max_chars + 1) // 2, start + max_chars
        spaces = [match.end() for match in _SPACES.finditer(source, lower, upper)]
        places = spaces or [at for at in range(lower, upper + 1) if not _continues(source, at)] or [upper]
        start = max(places, key=lambda at: zlib.crc32(source[at : at + 8].encode("utf-8", "replace")))
        yield start
    yield end


def _continues(source: str, at: int) -> bool:
    """Whether a character belongs to the one before: an accent of its own, a joined sign."""
    return at < len(source) and (
        unicodedata.combining(source[at]) > 0 or source[at] in _PART_OF_CHARACTER or source[at - 1] == "\u200d"
    )


# Joining


def _joined(source: str, pieces: list[Cut], max_chars: int) -> list[Cut]:
    """Neighbours in one wherever they fit, in an order that depends on nothing but the text around each boundary."""
    starts = [piece.start for piece in pieces]
    ends = [piece.end for piece in pieces]
    first = list(range(len(pieces)))  # per piece that ends a group: the piece that begins it
    last = list(range(len(pieces)))  # per piece that begins a group: the piece that ends it
    joined = bytearray(len(pieces))

    def place(number: int) -> tuple[int, int]:
        at = starts[number]
        return pieces[number].strength, zlib.crc32(source[at : at + _HASHED].encode("utf-8", "replace"))

    for number in sorted(range(1, len(pieces)), key=place):
        left, right = first[number - 1], last[number]
        if ends[right] - starts[left] > max_chars:
            continue
        if pieces[number].strength >= LOWEST_HEADING:
            sections = (ends[number - 1] - starts[left], ends[right] - starts[number])
            if min(sections) * SMALL > max_chars:
                continue
        last[left], first[right] = right, left
        joined[number] = 1
    return [
        Cut(starts[number], ends[last[number]], pieces[number].strength)
        for number in range(len(pieces))
        if not joined[number]
    ]


# Overlap


def overlap_start(source: str, lower: int, at: int) -> int:
    """Where to begin so as to repeat what stands from `lower` to `at`: with a sentence or line, else with a word."""
    for match in _INNER.finditer(source, lower, at):
        begin = match.end()
        if begin < at and source[begin:at].strip():
            return begin + len(source[begin:at]) - len(source[begin:at].lstrip())
    spaces = _SPACES.search(source, lower, at)
    if spaces is not None:
        return spaces.end() if spaces.end() < at else at
    return next((begin for begin in range(lower, at) if not _continues(source, begin)), at)
