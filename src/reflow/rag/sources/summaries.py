"""What a source is about, in a few lines taken from it: what the vector of the whole source is made of."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import reflow as rf
from reflow.rag.reading import Text
from reflow.rag.tables import Source

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

SUMMARY_CHARS = 800
"""As much as one chunk: models of vectors read no more at once."""

_HEADINGS = 12
_PARAGRAPH_CHARS = 40
_BLANK = re.compile(r"\n\s*\n")
_SPACES = re.compile(r"\s+")


def summary_of(text: Text, name: str) -> str:
    """The title, the headings, and the first paragraph that is one: at most `SUMMARY_CHARS` characters."""
    titles = [text.title or name, *(heading.title for heading in text.headings if heading.level <= 2)]
    outline = " · ".join(list(dict.fromkeys(_plain(title) for title in titles))[: _HEADINGS + 1])
    room = SUMMARY_CHARS - len(outline) - 1
    return f"{outline}\n{_shortened(_opening(text), room)}".strip()[:SUMMARY_CHARS]


def _opening(text: Text) -> str:
    """The first paragraph with more than a line's start in it, headings apart."""
    headings = {heading.start for heading in text.headings}
    start, first = 0, ""
    while start < len(text.text) and start < SUMMARY_CHARS * 8:
        blank = _BLANK.search(text.text, start)
        end = len(text.text) if blank is None else blank.start()
        paragraph = _plain(text.text[start : min(end, start + SUMMARY_CHARS * 2)])
        if start not in headings and len(paragraph) >= _PARAGRAPH_CHARS:
            return paragraph
        first = first or paragraph
        if blank is None:
            break
        start = blank.end()
    return first


def _shortened(text: str, room: int) -> str:
    """The beginning of a text up to a sentence's end, else a word's."""
    if len(text) <= room:
        return text
    if room <= 0:
        return ""
    for mark in (". ", " "):
        at = text.rfind(mark, room // 2, room)
        if at > 0:
            return text[: at + 1].rstrip()
    return text[:room]


def _plain(text: str) -> str:
    return _SPACES.sub(" ", text).strip()


async def set_summary(ctx: rf.MutationCtx, corpus: Corpus, source: Source, summary: str | None, *, own: bool) -> None:
    """Gives a source its summary, whose vector is made next. `own`: whether a caller gave it."""
    if summary == source.summary:
        await ctx.db.patch(source.id, own_summary=own)
        return
    # No vector is ever that of another text.
    await ctx.db.delete_vector(corpus.tables.Source.meaning, source.id)
    await ctx.db.patch(
        source.id, summary=summary or rf.UNSET, own_summary=own, summary_embedded=not summary, updated=ctx.now() * 1000
    )
    if summary:
        await corpus.jobs.wake(ctx)
