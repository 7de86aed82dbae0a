"""Word documents to Markdown, through the HTML that mammoth makes of them: by their styles, not by their looks."""

from __future__ import annotations

import html
import io
import re
import zipfile
from importlib import import_module
from typing import Any

from reflow.errors import MissingExtra, UnreadableSource
from reflow.limits import Limits
from reflow.rag.reading.html import read_html
from reflow.rag.reading.markdown import shortened
from reflow.rag.reading.text import Text

_STYLES = """
p[style-name='Title'] => h1:fresh
p[style-name='Subtitle'] => p:fresh
"""
_CORE = "docProps/core.xml"
_TITLE = re.compile(r"<dc:title[^>]{0,200}>([^<]{1,1000})</dc:title>")


def read_docx(data: bytes, name: str, limits: Limits) -> Text:
    """The text of a Word document: body, tables, lists, notes and text boxes; of tracked changes the new state.

    Raises UnreadableSource where it is broken, encrypted or too large when unpacked.
    """
    try:
        mammoth: Any = import_module("mammoth")  # it has no types
    except ImportError as error:
        raise MissingExtra("reading DOCX needs the package mammoth: install `reflow[documents]`") from error
    title = _checked_title(data, name, limits)
    try:
        made = mammoth.convert_to_html(io.BytesIO(data), style_map=_STYLES, convert_image=_no_image)
    except MemoryError:
        raise
    except Exception as error:  # whatever a document that is none makes of a reader that believes it
        raise UnreadableSource(
            "broken", f"{name} is a damaged Word document ({type(error).__name__}): open it in Word and save it again"
        ) from error
    text, headings, first = read_html(str(made.value), name, whole=True)
    return Text(text=text, kind="docx", title=title or first, headings=headings)


def _no_image(image: object) -> list[object]:
    return []


def _checked_title(data: bytes, name: str, limits: Limits) -> str | None:
    """The title in the document's properties, after a look at what there is to unpack: a bomb must not be lit."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            parts = [part for part in archive.infolist() if part.filename.lower().endswith((".xml", ".rels"))]
            if any(part.flag_bits & 1 for part in parts):
                raise UnreadableSource("encrypted", f"{name} is protected by a password: save it without")
            unpacked = sum(part.file_size for part in parts)
            if unpacked > limits.source_unpacked_bytes:
                raise UnreadableSource(
                    "too_large",
                    f"{name} unpacks to {unpacked} bytes: more than limits.source_unpacked_bytes ="
                    f" {limits.source_unpacked_bytes}",
                )
            core = archive.read(_CORE).decode("utf-8", "replace") if _CORE in archive.namelist() else ""
    except (zipfile.BadZipFile, ValueError, NotImplementedError, EOFError, OSError) as error:
        raise UnreadableSource("broken", f"{name} is a damaged Word document ({error})") from None
    match = _TITLE.search(core)
    return shortened(html.unescape(match[1])) or None if match else None
