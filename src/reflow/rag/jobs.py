"""`Jobs`: durable embedding, until every chunk has its vector or the reason why not."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import reflow as rf
from reflow.errors import DefinitionError
from reflow.rag.cache import Cache
from reflow.rag.embedders.base import batching
from reflow.rag.part import Part
from reflow.rag.pump import Run
from reflow.rag.saving import Effort, Fault, Made, Saving
from reflow.rag.tables import Pump, SourceState
from reflow.rag.turns import Held, Item, Turn, Turns

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

_AGAIN = rf.Retry(attempts=1_000_000, first=1.0, factor=1.0)
"""Runs that end by an error or by kill -9 are followed by another one: what they did is saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How embedding goes on. `batch` texts in a request and `concurrency` requests at once (None: what the embedder
    says). After a failure a source is tried again, from `first_pause` seconds up to `longest_pause`, each pause twice
    the one before and up to a quarter longer; after `patience` seconds it is failed, with the reason. Pauses that the
    provider asks for are kept, and don't count as failures."""

    batch: int | None = None
    concurrency: int | None = None
    patience: float = 6 * 3600.0
    first_pause: float = 1.0
    longest_pause: float = 300.0

    def __post_init__(self) -> None:
        for name in ("batch", "concurrency"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise DefinitionError(f"Pace({name}={value!r}): at least 1, or None for what the embedder says")
        for name in ("patience", "first_pause", "longest_pause"):
            if not getattr(self, name) >= 0:
                raise DefinitionError(f"Pace({name}={getattr(self, name)!r}): a time in seconds, at least 0")


class Job(rf.Object, rename="camel"):
    """A source that is not ready: `done` of `total` chunks have their vectors. Times are milliseconds since 1970."""

    source: str
    key: str
    name: str
    version: int
    state: SourceState
    done: int
    total: int
    attempts: int
    next_try: float | None
    error: str | None
    updated: float


class JobsStatus(rf.Object, rename="camel"):
    """What embedding is doing; while it waits, `until` when (in milliseconds since 1970) and why."""

    state: Literal["idle", "running", "waiting"]
    until: float | None
    reason: str | None
    waiting: int
    """Sources in work."""
    failed: int


class Jobs(Part):
    """Durable embedding. One run at a time works for a corpus; it is there while there is something to do."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "jobs")
        self._turns = Turns(corpus)
        self._cache = Cache(corpus)
        self._saving = Saving(corpus, self._cache)
        self.turn = self.background_query("turn", self._turn)
        self.save = self.background_mutation("save", self._save)
        self.save_known = self.background_mutation("save_known", self._save_known)
        self.refuse = self.background_mutation("refuse", self._refuse)
        self.fail = self.background_mutation("fail", self._fail)
        self.hold = self.background_mutation("hold", self._hold)
        self.start = self.background_mutation("start", self._start)
        self.rest = self.background_mutation("rest", self._rest)
        self.prune = self.background_mutation("prune", self._prune)
        self.embed = self.background_action("embed", self._embed, retry=_AGAIN)

    # For those who leave something to embed

    async def wake(self, ctx: rf.MutationCtx) -> None:
        """Sees to it that what this transaction leaves without a vector is embedded once it has committed."""
        await ctx.run_mutation(self.start)

    async def _start(self, ctx: rf.MutationCtx) -> None:
        """Schedules a run unless one works or is about to. One that waits for a time of its own comes sooner, but for
        a pause that the provider asked for."""
        now = ctx.now()
        pump = await self._pump(ctx)
        job = None if pump.job is None else await ctx.db.get(pump.job)
        if isinstance(job, rf.Scheduled) and job.state.kind in ("pending", "inProgress"):
            paused = pump.until is not None and pump.until > now * 1000
            if job.state.kind == "inProgress" or job.scheduled_time <= now * 1000 or paused:
                return
            await ctx.scheduler.cancel(job.id)
        await ctx.db.patch(pump.id, job=await ctx.scheduler.run_after(0, self.embed), until=rf.UNSET, reason=rf.UNSET)

    async def _pump(self, ctx: rf.MutationCtx) -> Pump:
        table = self.corpus.tables.Pump
        found = await ctx.db.query(table).first()
        if found is None:
            await ctx.db.insert(table())
            found = await ctx.db.query(table).first()
        assert found is not None
        return found

    # The run

    async def _embed(self, ctx: rf.ActionCtx) -> None:
        embedder = batching(self.corpus.embedder).configured(ctx.env)
        await asyncio.to_thread(lambda: embedder.revision)  # the first access loads the model
        pause = await Run(self, ctx, [embedder]).run()
        while await ctx.run_mutation(self.prune):
            pass
        await ctx.run_mutation(self.rest, *(pause or (None, None)))

    async def _turn(self, ctx: rf.QueryCtx, models: list[rf.Model], busy: list[str], most: int) -> Turn:
        now = ctx.now(every=self.corpus.limits.embedding_poll_seconds)
        return await self._turns.next(ctx, models, busy, most, now * 1000)

    async def _save(self, ctx: rf.MutationCtx, models: list[rf.Model], made: list[Made], effort: Effort) -> None:
        await self._saving.made(ctx, models, made, effort)

    async def _save_known(self, ctx: rf.MutationCtx, models: list[rf.Model], items: list[Item]) -> None:
        await self._saving.known(ctx, models, items)

    async def _refuse(self, ctx: rf.MutationCtx, item: Item, message: str) -> None:
        await self._saving.refused(ctx, item, message)

    async def _fail(self, ctx: rf.MutationCtx, items: Sequence[Item], fault: Fault) -> None:
        await self._saving.failed(ctx, items, fault)

    async def _hold(self, ctx: rf.MutationCtx, held: list[Held]) -> None:
        until = (ctx.now() + self.corpus.limits.budget_check_seconds) * 1000
        await self._saving.held(ctx, held, until)

    async def _prune(self, ctx: rf.MutationCtx) -> bool:
        return await self._cache.prune(ctx)

    async def _rest(self, ctx: rf.MutationCtx, pause: float | None, reason: str | None) -> None:
        """Ends a run: another one follows at once, or when the next source is due or the provider's pause is over, or
        none, where nothing is left. Whoever leaves something to do after this transaction finds none and starts one."""
        now = ctx.now() * 1000
        pump = await self._pump(ctx)
        due = now if await self._is_more(ctx, now) else await self._turns.following(ctx, now)
        if due is None:
            await ctx.db.patch(pump.id, job=rf.UNSET, until=rf.UNSET, reason=rf.UNSET)
            return
        until = None if pause is None else now + pause * 1000
        at = max(due, until or 0.0)
        job = await ctx.scheduler.run_at(at / 1000, self.embed)
        await ctx.db.patch(pump.id, job=job, until=until or rf.UNSET, reason=reason or rf.UNSET)

    async def _is_more(self, ctx: rf.MutationCtx, now: float) -> bool:
        """Whether a text is due to be embedded. Finishes versions that have none and were not finished."""
        turn = await self._turns.next(ctx, (), (), 1, now)
        if turn.items or turn.held:
            return True
        for version in await self._turns.due(ctx, now, self.corpus.limits.jobs_listed):
            await self.corpus.sources.finish(ctx, version.source)
        return False
