"""PDF to text, by PDFium, the reader of Chrome: page by page, with the outline's headings."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module
from itertools import islice
from typing import Any

from reflow.errors import MissingExtra, UnreadableSource
from reflow.limits import Limits
from reflow.rag.reading.markdown import shortened
from reflow.rag.reading.text import Heading, Text

_HYPHEN = re.compile(r"[\x02\ufffe\xad](?:\r\n?|\n)?")
"""What PDFium leaves of a hyphen that only divides a word at the end of a line."""
_CONTROLS = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufdd0-\ufdef\uffff\ud800-\udfff]")
_SENTENCE_END = (".", "!", "?", ":", "”", '"', ")")
_FULL_LINE = 0.8
_NO_TITLE = re.compile(r"untitled\b|microsoft \w+ - |.{0,80}\.(docx?|tex|dvi|indd|pdf|qxd)$", re.IGNORECASE)


def read_pdf(data: bytes, name: str, limits: Limits) -> Text:
    """The text of a PDF. Raises UnreadableSource where it is broken, encrypted, without text or too large."""
    try:
        pdfium: Any = import_module("pypdfium2")  # it has no types
    except ImportError as error:
        raise MissingExtra("reading PDF needs the package pypdfium2: install `reflow[documents]`") from error
    try:
        document = pdfium.PdfDocument(data)
    except pdfium.PdfiumError as error:
        if "password" in str(error).lower():
            raise UnreadableSource("encrypted", f"{name} is protected by a password: save it without") from None
        raise UnreadableSource("broken", f"{name} is a damaged PDF ({error}): save or download it again") from None
    try:
        return _read(document, pdfium.PdfiumError, name, limits)
    finally:
        document.close()


def _read(document: Any, failure: type[Exception], name: str, limits: Limits) -> Text:
    count = len(document)
    if count > limits.source_pages:
        raise UnreadableSource(
            "too_large", f"{name} has {count} pages: more than limits.source_pages = {limits.source_pages}"
        )
    texts: list[str] = []
    pages: list[int] = []
    length = broken = 0
    for number in range(count):
        try:
            text = _page_text(document, number)
        except failure:
            text = ""  # a page is damaged, the others are not
            broken += 1
        pages.append(length)
        texts.append(text + "\n\n" if text else "")
        length += len(texts[-1])
        if length > limits.text_chars:
            raise UnreadableSource(
                "too_large", f"{name} has more than limits.text_chars = {limits.text_chars} characters. Split it up"
            )
    if broken and broken == count:
        raise UnreadableSource("broken", f"{name} is a damaged PDF: none of its pages can be read")
    if not length:
        raise UnreadableSource(
            "empty", f"{name} has {count} pages without text: scanned pages need text recognition (OCR) first"
        )
    whole = "".join(texts)
    said = shortened(str(document.get_metadata_value("Title") or ""))
    title = said if said and not _NO_TITLE.match(said) else None
    headings = tuple(_headings(document, failure, whole, pages, limits))
    return Text(text=whole, kind="pdf", title=title, headings=headings, pages=tuple(pages))


def _page_text(document: Any, number: int) -> str:
    page = document[number]
    try:
        layer = page.get_textpage()
        try:
            raw = str(layer.get_text_bounded())
        finally:
            layer.close()
    finally:
        page.close()
    text = _HYPHEN.sub("", raw).replace("\r\n", "\n").replace("\r", "\n")
    return _with_paragraphs(_CONTROLS.sub("", text)).strip()


def _with_paragraphs(text: str) -> str:
    """A page has lines only: one that ends a sentence before the line is full ends a paragraph."""
    lines = [line.rstrip() for line in text.split("\n")]
    full = _FULL_LINE * max(map(len, lines), default=0)
    ends = (f"{line}\n" if line.endswith(_SENTENCE_END) and len(line) < full else line for line in lines)
    return "\n".join(ends)


def _headings(
    document: Any, failure: type[Exception], text: str, pages: list[int], limits: Limits
) -> Iterator[Heading]:
    """The outline's entries, at their titles on the pages that they name, else at the beginning of those pages."""
    ends = [*pages[1:], len(text)]
    last = -1
    try:
        for entry in islice(document.get_toc(), limits.source_headings):
            title = shortened(_CONTROLS.sub("", str(entry.get_title() or "")))
            target = entry.get_dest()
            page = int(target.get_index()) if target is not None and target.get_index() is not None else -1
            if not title or not 0 <= page < len(pages):
                continue
            words = r"\s+".join(map(re.escape, title.split()))
            match = re.compile(words, re.IGNORECASE).search(text, max(pages[page], last + 1), ends[page])
            at = match.start() if match else max(pages[page], last + 1)
            if last < at < ends[page]:
                last = at
                yield Heading(at, int(entry.level) + 1, title)
    except failure:
        return  # the rest of a damaged outline
