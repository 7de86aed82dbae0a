"""The structure of Markdown: its headings, fenced code apart.

A scan by lines, in linear time for any input. It knows what counts for headings (CommonMark 0.31, 4.2, 4.3 and 4.5:
ATX and setext headings, fences), not what stands inside of lists and quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from reflow.rag.reading.text import Heading

TITLE_CHARS = 200
"""Longer titles are cut."""

_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n|$)")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]|$)")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_NOT_A_PARAGRAPH = re.compile(r" {0,3}(?:[-*+>|]|\d{1,9}[.)][ \t])| {4}|\t")
_FRONT_TITLE = re.compile(r"^title[ \t]*[:=][ \t]*(.+)$", re.MULTILINE)


def lines_of(text: str) -> Iterator[tuple[int, str]]:
    """Each line's offset and its text without the line ending."""
    for match in _LINE.finditer(text):
        if match.end() > match.start():
            yield match.start(), match.group().rstrip("\r\n")


def fences(text: str) -> list[tuple[int, int]]:
    """Where fenced code stands: offsets of the opening line and of the end of the closing one, or of the text."""
    found: list[tuple[int, int]] = []
    mark, start = "", 0
    for at, line in lines_of(text):
        match = _FENCE.match(line)
        if match is None:
            continue
        if not mark:
            if match[1][0] == "~" or "`" not in match[2]:
                mark, start = match[1], at
        elif match[1].startswith(mark) and not match[2].strip():
            found.append((start, at + len(line)))
            mark = ""
    return [*found, (start, len(text))] if mark else found


def front_matter(text: str) -> tuple[int, str | None]:
    """The length of the front matter (YAML or TOML between lines of --- or +++), and the title in it, if any."""
    opening = text[:4].rstrip()
    if opening not in ("---", "+++"):
        return 0, None
    closing = re.compile(rf"^{re.escape(opening)}[ \t]*(?:\r\n?|\n|$)", re.MULTILINE).search(text, 3)
    if closing is None:
        return 0, None
    match = _FRONT_TITLE.search(text, 0, closing.start())
    return closing.end(), shortened(match[1].strip().strip("\"'")) if match else None


def outline(text: str) -> tuple[tuple[Heading, ...], str | None]:
    """The headings of a Markdown text, and its title: that of the front matter, else its first heading of level 1."""
    begin, title = front_matter(text)
    found: list[Heading] = []
    code = iter([*fences(text), (len(text), len(text))])
    fence = next(code)
    paragraph: tuple[int, str] | None = None  # the line before, where it can be a heading that is underlined
    for at, line in lines_of(text):
        while at > fence[1] or (at == fence[1] < len(text)):
            fence = next(code)
        if at < begin or at >= fence[0]:
            paragraph = None
            continue
        heading = _heading(at, line, paragraph)
        if heading is not None:
            found.append(heading)
        plain = heading is None and line.strip() and not _NOT_A_PARAGRAPH.match(line)
        paragraph = (at, line) if plain else None
    first = next((heading.title for heading in found if heading.level == 1), None)
    return tuple(found), title or first


def _heading(at: int, line: str, before: tuple[int, str] | None) -> Heading | None:
    """The heading that a line is, or that it makes of the line before it."""
    match = _ATX.match(line)
    if match is not None:
        title = line[match.end() :].strip()
        unclosed = title.rstrip("#")  # "# Title ##" is closed, "# C#" is not
        if not unclosed or unclosed[-1] in " \t":
            title = unclosed.rstrip()
        return Heading(at, len(match[1]), shortened(title)) if title else None
    if before is not None and (match := _UNDERLINE.match(line)) is not None:
        return Heading(before[0], 1 if match[1][0] == "=" else 2, shortened(before[1].strip()))
    return None


def shortened(title: str) -> str:
    """A title of at most TITLE_CHARS characters, with single spaces, without links' addresses and marks."""
    plain = re.sub(r"!?\[([^\[\]]{0,300})\]\([^()\s]{0,1000}\)", r"\1", title[: 4 * TITLE_CHARS])
    plain = " ".join(plain.replace("**", "").replace("`", "").split())
    return plain if len(plain) <= TITLE_CHARS else plain[: TITLE_CHARS - 1].rstrip() + "…"
