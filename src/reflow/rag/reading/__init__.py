"""Reading sources: the bytes of files and pages to text with its structure."""

from __future__ import annotations

from reflow.rag.reading.apart import read_apart
from reflow.rag.reading.kinds import SUFFIXES, kind_of
from reflow.rag.reading.reader import read, read_text
from reflow.rag.reading.text import Heading, Kind, Text

__all__ = ["SUFFIXES", "Heading", "Kind", "Text", "kind_of", "read", "read_apart", "read_text"]
