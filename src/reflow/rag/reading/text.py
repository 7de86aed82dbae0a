"""What reading a source gives: its text, with what is known of its structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["text", "markdown", "html", "pdf", "docx", "code"]
"""What a source was. The text of "html" and "docx" is Markdown that was made of it."""


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of a text, or a definition in code: it holds from `start` to the next one of its level or above.

    `start` counts characters, `level` counts from 1.
    """

    start: int
    level: int
    title: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The text of a source.

    Offsets count characters of `text`. `title` is what the source calls itself, if it does. `pages` holds where each
    page starts, for a PDF; it is empty for all else. `language` names the language of code, such as "python".
    `encoding` is what the bytes were taken for, where they were text.
    """

    text: str
    kind: Kind
    title: str | None = None
    headings: tuple[Heading, ...] = ()
    pages: tuple[int, ...] = ()
    language: str | None = None
    encoding: str | None = None
