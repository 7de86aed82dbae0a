"""A source's way from reading to ready, where it does not go straight: failed, stopped, tried again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import reflow as rf
from reflow.rag.tables import Source, Version

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

IN_WORK = ("reading", "embedding")
HALTED = ("failed", "stopped")


class Pause(rf.Object):
    """A provider wants no call until then, in milliseconds since 1970."""

    until: float
    reason: str | None


async def fail(ctx: rf.MutationCtx, corpus: Corpus, source: Source, reason: str) -> None:
    """Ends the work on a source; what was searched of it before still is."""
    if source.state in IN_WORK:
        await _halt(ctx, corpus, source, "failed", reason)


async def stop(ctx: rf.MutationCtx, corpus: Corpus, source: Source) -> None:
    """Halts the work on a source until it is taken up again. Nothing happens where there is none."""
    if source.state in IN_WORK:
        await _halt(ctx, corpus, source, "stopped", None)


def waits(source: Source, version: Version | None, pause: Pause | None) -> tuple[float | None, str | None]:
    """Until when the work on a source waits (in milliseconds since 1970), and why: for its own next try, or with all
    others for the end of a `pause` of the provider."""
    if version is None or source.state not in IN_WORK:
        return None, None
    if source.state == "embedding" and version.next_try is None and pause is not None:
        return pause.until, pause.reason
    return version.next_try, version.error


async def retry(ctx: rf.MutationCtx, corpus: Corpus, source: Source) -> bool:
    """Takes up the work on a source that failed, was stopped or waits for its next try; what is done is not done again.
    Returns whether there was something to take up."""
    version = await corpus.sources.version_in_work(ctx, source)
    if version is None:
        return False
    waiting, _ = waits(source, version, await corpus.jobs.pause(ctx))
    if source.state not in HALTED and waiting is None:
        return False
    read = version.chunk_count > 0
    state = "embedding" if read else "reading"
    await ctx.db.patch(source.id, state=state, error=rf.UNSET, updated=ctx.now() * 1000)
    await ctx.db.patch(
        version.id,
        state=state,
        attempts=0,
        error=rf.UNSET,
        next_try=rf.UNSET,
        failing_since=rf.UNSET,
        reading=rf.UNSET if read else "waiting",
    )
    if not read:
        await corpus.sources.intake.wake(ctx)
        return True
    for piece in await corpus.sources.versions_of.without_vector(ctx, source).collect():
        if piece.error is not None:
            await ctx.db.patch(piece.id, error=rf.UNSET)
    if not await corpus.sources.finish(ctx, source.id):
        await corpus.jobs.wake(ctx, despite_pause=True)
    return True


async def _halt(ctx: rf.MutationCtx, corpus: Corpus, source: Source, state: str, reason: str | None) -> None:
    error = rf.UNSET if reason is None else reason
    version: Version | None = await corpus.sources.version_in_work(ctx, source)
    if version is not None:
        await ctx.db.patch(version.id, state=state, error=error, next_try=rf.UNSET, reading=rf.UNSET)
    await ctx.db.patch(source.id, state=state, error=error, updated=ctx.now() * 1000)
