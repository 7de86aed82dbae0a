"""What is said about a source beside its text, and what its chunks repeat of that for searches with conditions."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Any

import msgspec

import reflow as rf
from reflow.errors import ApplicationError
from reflow.rag.sources.summaries import set_summary
from reflow.rag.sources.versions import changes
from reflow.rag.tables import FilterValue, Source

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus


class About(msgspec.Struct, frozen=True):
    """What a caller says about a source; None leaves as it is what is known."""

    name: str | None = None
    category: str | None = None
    """ "" takes it away."""
    importance: float | None = None
    summary: str | None = None
    """ "" goes back to the one that is taken from the text."""
    fields: dict[str, FilterValue] | None = None
    origin: str | None = None


async def describe(ctx: rf.MutationCtx, corpus: Corpus, source: Source, about: About) -> Source:
    """Writes down what is said about a source, for its chunks too, and gives the row as it is then.

    Raises ApplicationError for fields that the corpus does not have.
    """
    changed = changes(source, said_in(corpus, about))
    if changed:
        await ctx.db.patch(source.id, **changed)
        await _repeat(ctx, corpus, source, changed)
    if about.summary is not None:
        await _summarise(ctx, corpus, source, about.summary)
    if not changed and about.summary is None:
        return source
    return await corpus.sources.row(ctx, source.id)


def said_in(corpus: Corpus, about: About) -> dict[str, Any]:
    """The fields of a source that a caller names. Raises ApplicationError for what a corpus does not have."""
    fields = about.fields or {}
    unknown = fields.keys() - set(corpus.filters)
    if unknown:
        raise ApplicationError(
            f"{sorted(unknown)} are no fields of {corpus.name!r}: its filters are {list(corpus.filters)}"
        )
    if about.importance is not None and not 0 <= about.importance < inf:
        raise ApplicationError(f"a source's importance is a number of at least 0, got {about.importance}")
    longest = corpus.limits.source_summary_chars
    if about.summary is not None and len(about.summary) > longest:
        raise ApplicationError(f"a summary has at most limits.source_summary_chars = {longest} characters")
    said = {"name": about.name, "importance": about.importance, "origin": about.origin, "category": about.category}
    wanted = {field: value for field, value in said.items() if value is not None} | dict(fields)
    if about.name is not None:
        wanted["name"] = about.name[: corpus.limits.source_name_length]
    if about.category == "":
        wanted["category"] = None
    return wanted


async def _repeat(ctx: rf.MutationCtx, corpus: Corpus, source: Source, changed: dict[str, Any]) -> None:
    repeated = {name: value for name, value in changed.items() if name in ("category", *corpus.filters)}
    if not repeated:
        return
    versions = corpus.sources.versions_of
    chunks, drafts = await versions.chunks(ctx, source).collect(), await versions.drafts(ctx, source).collect()
    for row in (*chunks, *drafts):
        await ctx.db.patch(row.id, **repeated)


async def _summarise(ctx: rf.MutationCtx, corpus: Corpus, source: Source, given: str) -> None:
    if given.strip():
        await set_summary(ctx, corpus, source, given.strip(), own=True)
        return
    version = await corpus.sources.versions_of.row(ctx, source, source.version)
    await set_summary(ctx, corpus, source, None if version is None else version.summary, own=False)
