"""`read`: bytes to text, in this process."""

from __future__ import annotations

import re

from reflow.errors import UnreadableSource
from reflow.limits import DEFAULT, Limits
from reflow.rag.reading import code, markdown
from reflow.rag.reading.docx import read_docx
from reflow.rag.reading.encodings import decode
from reflow.rag.reading.html import charset_of, read_html
from reflow.rag.reading.kinds import KINDS, kind_of, language_of, suffix_of
from reflow.rag.reading.pdf import read_pdf
from reflow.rag.reading.text import Kind, Text

_CHARSET = re.compile(r"charset\s*=\s*\"?([\w.:-]{1,40})", re.IGNORECASE)


def read(data: bytes, name: str, content_type: str | None = None, *, limits: Limits = DEFAULT) -> Text:
    """Reads a source: text, Markdown, HTML, code, PDF or DOCX.

    `name` is its file name or address, whose suffix tells what it is where neither the bytes nor `content_type` (as
    of a Content-Type header) do. Offsets in the result count characters of its text.

    Raises UnreadableSource, with its `reason`, for all that has no text to read: what is empty, binary, broken, too
    large, protected by a password or of an unknown kind. Raises MissingExtra where reading a kind needs
    `reflow[documents]`.

    This may take long, and a hostile file may try the memory of the process: `read_apart` is for files of others.
    """
    check_size(len(data), name, limits)
    if not data.strip(b" \t\r\n\v\f\0\xef\xbb\xbf\xff\xfe"):
        raise UnreadableSource("empty", f"{name} is empty")
    text = _read(kind_of(data, name, content_type), data, name, content_type, limits)
    if not text.text or text.text.isspace():
        why = "no text that is there without its scripts" if text.kind == "html" else "nothing but white space"
        raise UnreadableSource("empty", f"{name} holds {why}")
    if len(text.text) > limits.text_chars:
        raise UnreadableSource(
            "too_large",
            f"{name} has {len(text.text)} characters: more than limits.text_chars = {limits.text_chars}. Split it up",
        )
    return text


def check_size(size: int, name: str, limits: Limits) -> None:
    """Raises UnreadableSource for a source of more than limits.source_bytes."""
    if size > limits.source_bytes:
        raise UnreadableSource(
            "too_large",
            f"{name} has {size} bytes: more than limits.source_bytes = {limits.source_bytes}. Split it up",
        )


def read_text(text: str, name: str) -> Text:
    """A text that somebody typed or pasted, with its structure: that of Markdown or code where `name` says so."""
    language = language_of(name)
    kind: Kind = "code" if language else "markdown" if KINDS.get(suffix_of(name)) == "markdown" else "text"
    return _structured(kind, text, language, None)


def _read(kind: Kind, data: bytes, name: str, content_type: str | None, limits: Limits) -> Text:
    if kind == "pdf":
        return read_pdf(data, name, limits)
    if kind == "docx":
        return read_docx(data, name, limits)
    charset = _CHARSET.search(content_type or "")
    declared = charset[1] if charset else charset_of(data) if kind == "html" else None
    text, encoding = decode(data, name, declared)
    if kind == "html":
        text, headings, title = read_html(text, name)
        return Text(text=text, kind=kind, title=title, headings=headings, encoding=encoding)
    return _structured(kind, text, language_of(name), encoding)


def _structured(kind: Kind, text: str, language: str | None, encoding: str | None) -> Text:
    if kind == "markdown":
        headings, title = markdown.outline(text)
        return Text(text=text, kind=kind, title=title, headings=headings, encoding=encoding)
    if kind == "code":
        headings = code.outline(text, language)
        return Text(text=text, kind=kind, headings=headings, language=language, encoding=encoding)
    return Text(text=text, kind=kind, encoding=encoding)
