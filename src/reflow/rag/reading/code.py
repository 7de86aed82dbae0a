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
_LEADS = re.compile(r"[ \t]{0,40}(?:(@)|#|//|/\*|\*|--|;;)")
_PLAIN = frozenset(("json", "xml", "yaml", "toml", "ini", "css", "html"))
_LONGEST_LINE = 400


def outline(text: str, language: str | None) -> tuple[Heading, ...]:
    """Classes, functions and the like, with their lines as titles; deeper ones are of a lower level.

    Each begins with the decorators and comments that stand right above it. Languages that define nothing (JSON, YAML
    and so on) have none.
    """
    if language in _PLAIN:
        return ()
    found: list[Heading] = []
    margins: list[int] = []  # of the definitions that the line is in
    lead, decorated = -1, False  # where the lines above that belong to what may come begin
    for at, line in lines_of(text):
        match = _DEFINITION.match(line) if len(line) <= _LONGEST_LINE else None
        if match is None:
            above = _LEADS.match(line)
            if above is not None:
                lead, decorated = at if lead < 0 else lead, decorated or above[1] is not None
            elif not decorated or not line.strip():  # a decorator can take several lines
                lead, decorated = -1, False
            continue
        margin = len(match[1].expandtabs(4))
        while margins and margins[-1] >= margin:
            margins.pop()
        margins.append(margin)
        title = shortened(line.strip().rstrip("{:").rstrip())
        found.append(Heading(at if lead < 0 else lead, len(margins), title))
        lead, decorated = -1, False
    return tuple(found)
