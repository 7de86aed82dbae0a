"""The structure of code: what it defines, told by its lines alone: no parser is needed for any language."""

from __future__ import annotations

import re

from reflow.rag.reading.markdown import lines_of, shortened
from reflow.rag.reading.text import Heading

_WORDS = "class|interface|struct|enum|trait|impl|protocol|extension|module|namespace|def|fn|func|function|fun|defmodule"
_MODIFIERS = (
    "export|default|public|private|protected|internal|static|final|abstract|sealed|async|pub|unsafe|const|open|override"
    "|data|inline|extern|declare|partial"
)
_DEFINITION = re.compile(
    rf"([ \t]{{0,40}})(?:(?:{_MODIFIERS})(?:\([a-z]{{1,20}}\))?[ \t]+){{0,6}}(?:{_WORDS})\b[ \t*<(\w]"
)
_PLAIN = frozenset(("json", "xml", "yaml", "toml", "ini", "css", "html"))
_LONGEST_LINE = 400


def outline(text: str, language: str | None) -> tuple[Heading, ...]:
    """Classes, functions and the like, with their lines as titles; deeper ones are of a lower level.

    Languages that define nothing (JSON, YAML and so on) have none.
    """
    if language in _PLAIN:
        return ()
    found: list[Heading] = []
    margins: list[int] = []  # of the definitions that the line is in
    for at, line in lines_of(text):
        match = _DEFINITION.match(line) if len(line) <= _LONGEST_LINE else None
        if match is None:
            continue
        margin = len(match[1].expandtabs(4))
        while margins and margins[-1] >= margin:
            margins.pop()
        margins.append(margin)
        found.append(Heading(at, len(margins), shortened(line.strip().rstrip("{:").rstrip())))
    return tuple(found)
