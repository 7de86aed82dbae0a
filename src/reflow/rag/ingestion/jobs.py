"""`Jobs`: durable embedding, until every chunk has its vector or the reason why not."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import reflow as rf
from reflow.errors import DefinitionError, ReflowError, RetryAfter
from reflow.rag.embedders.base import Embedded, batching
from reflow.rag.ingestion.cache import Cache
from reflow.rag.ingestion.models import Choice, Models
from reflow.rag.ingestion.pump import Run, effort_of
from reflow.rag.ingestion.saving import Fault, Saving
from reflow.rag.ingestion.turns import Turn, Turns
from reflow.rag.part import Part
from reflow.rag.reembed import model_of, reembed
from reflow.rag.sources.states import Pause, waits
from reflow.rag.tables import Chunk, Pump, Source, SourceState

if TYPE_CHECKING:
    from reflow.rag.corpus import Corpus

_AGAIN = rf.Retry(attempts=1000, first=0.25, longest=60.0)
"""Runs that end by an error or by kill -9 are followed by another one: what they did is saved. Ever later, since what
can't be saved is paid for all the same."""

_PATIENTLY = rf.Retry(attempts=50, first=1.0, longest=300.0)

_ALIVE = ("pending", "inProgress")
_IN_WORK: tuple[SourceState, ...] = ("reading", "embedding", "failed", "stopped")


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


class ModelState(rf.Object, rename="camel"):
    """A model whose vectors the chunks have: `filled` of `total`. Searches use those of the active one."""

    model: str
    dims: int
    state: Literal["active", "filling", "retired", "vacuuming"]
    filled: int
    total: int


class ModelsStatus(rf.Object, rename="camel"):
    """The models, oldest first. `changing` says where a change to another one is; None: there was none."""

    models: list[ModelState]
    changing: Literal["pending", "inProgress", "success", "failed", "canceled"] | None
    error: str | None


class Jobs(Part):
    """Durable embedding. One run at a time works for a corpus; it is there while there is something to do."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(corpus, "jobs")
        cache = Cache(corpus)
        self._turns = Turns(corpus)
        self._models = Models(corpus)
        saving = Saving(corpus, cache, self._models)
        self.turn = self.background_mutation("turn", self._turn)
        self.save = self.background_mutation("save", saving.made)
        self.save_known = self.background_mutation("save_known", saving.known)
        self.refuse = self.background_mutation("refuse", saving.refused)
        self.fail = self.background_mutation("fail", saving.failed)
        self.hold = self.background_mutation("hold", saving.held)
        self.reopen = self.background_mutation("reopen", saving.reopen)
        self.prune = self.background_mutation("prune", cache.prune)
        self.start = self.background_mutation("start", self._start)
        self.rest = self.background_mutation("rest", self._rest)
        self.embed = self.background_action("embed", self._embed, retry=_AGAIN)
        self.refilled = self.background_mutation("refilled", saving.refilled)
        self.refill = self.background_action("refill", self._refill, retry=_PATIENTLY)
        self.forget = self.background_action("forget", self._forget, retry=_AGAIN)
        self.reembed = self.background_mutation("reembed", self._reembed)
        self.models = self.background_query("models", self._list_models)
        self.state = self.background_query("state", self._state)
        self.paused = self.background_query("paused", self._paused)
        self.list = self.query("list", self._list)
        self.status = self.query("status", self._status)

    # For those who leave something to embed

    async def wake(self, ctx: rf.MutationCtx, *, despite_pause: bool = False) -> None:
        """Sees to it that what this transaction leaves without a vector is embedded once it has committed.

        That waits for the end of a pause that the provider asked for, unless `despite_pause`: somebody has done
        something about the cause.
        """
        await ctx.run_mutation(self.start, despite_pause)

    async def pause(self, ctx: rf.QueryCtx | rf.MutationCtx) -> Pause | None:
        """Until when the provider wants no call and why; None: it asked for no pause."""
        return await ctx.run_query(self.paused)

    async def _paused(self, ctx: rf.QueryCtx) -> Pause | None:
        pump = await ctx.db.query(self.corpus.tables.Pump).first()
        if pump is None or pump.until is None or pump.job is None:
            return None
        job = await ctx.db.get(pump.job)
        if not isinstance(job, rf.Scheduled) or job.state.kind != "pending":
            return None
        return Pause(until=pump.until, reason=pump.reason)

    async def _start(self, ctx: rf.MutationCtx, despite_pause: bool = False) -> None:
        """Schedules a run unless one works or is about to. One that waits for a time of its own comes sooner, but for
        a pause that the provider asked for."""
        now = ctx.now()
        pump = await self._pump(ctx)
        job = None if pump.job is None else await ctx.db.get(pump.job)
        if isinstance(job, rf.Scheduled) and job.state.kind in _ALIVE:
            paused = pump.until is not None and pump.until > now * 1000
            if job.state.kind == "inProgress" or job.scheduled_time <= now * 1000 or (paused and not despite_pause):
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
        try:
            makers = await self._models.wanted(ctx)
        except RetryAfter:
            raise
        except ReflowError as error:
            await self._give_up(ctx, str(error))
            return
        pause = await Run(self, ctx, makers).run()
        while await ctx.run_mutation(self.prune):
            pass
        await ctx.run_mutation(self.rest, *(pause or (None, None)))

    async def _give_up(self, ctx: rf.ActionCtx, reason: str) -> None:
        """Fails all that is due: there is nothing to embed it with."""
        fault, none = Fault(message=reason, retryable=False), Choice(models=[], others=[])
        while items := (await ctx.run_mutation(self.turn, none, [], self.corpus.limits.jobs_listed)).items:
            await ctx.run_mutation(self.fail, items, fault)
        await ctx.run_mutation(self.rest, None, None)

    async def _turn(self, ctx: rf.MutationCtx, choice: Choice, busy: list[str], most: int) -> Turn:
        # Only reads, and is no query: the result of one would be kept, and would hold for a while although time passes.
        if await self._models.is_stale(ctx, choice):
            return Turn(items=[], known=[], held=[], stale=True)
        return await self._turns.next(ctx, choice.models, busy, most, ctx.now() * 1000)

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
        job = await ctx.scheduler.run_at(max(due, until or 0.0) / 1000, self.embed)
        await ctx.db.patch(
            pump.id, job=job, until=rf.UNSET if until is None else until, reason=rf.UNSET if reason is None else reason
        )

    async def _is_more(self, ctx: rf.MutationCtx, now: float) -> bool:
        """Whether a text is due to be embedded. Finishes versions that have none and were not finished."""
        most = self.corpus.limits.jobs_listed
        turn = await self._turns.next(ctx, (), (), most, now)
        if turn.items or turn.held:
            return True
        due = await self._turns.due(ctx, now, most)
        return any([await self.corpus.sources.finish(ctx, version.source) for version in due])

    # Another model

    async def _reembed(self, ctx: rf.MutationCtx, model: str) -> None:
        """Changes over to another of the corpus's embedders, by its id: every chunk and every summary gets a vector of
        it in the background, then searches use those. The rows of `rf.Generation` show how far that is."""
        self._models.named(model)
        pump = await self._pump(ctx)
        job = None if pump.refill is None else await ctx.db.get(pump.refill)
        if isinstance(job, rf.Scheduled) and job.state.kind in _ALIVE:
            await ctx.scheduler.cancel(job.id)
        await ctx.db.patch(pump.id, refill=await ctx.scheduler.run_after(0, self.refill, model))

    async def _refill(self, ctx: rf.ActionCtx, model_id: str) -> None:
        tables = self.corpus.tables
        embedder = batching(self._models.named(model_id)).configured(ctx.env)
        model = await asyncio.to_thread(model_of, embedder)
        for index in (tables.Chunk.meaning, tables.Source.meaning):
            await ctx.generations.start(index, model)
        after: str | None = None
        while (after := await ctx.run_mutation(self.reopen, model, after)) is not None:
            continue
        await ctx.run_mutation(self.start)

        async def spent(rows: Sequence[Chunk | Source], made: Embedded) -> None:
            sizes: Counter[str] = Counter()
            for row in rows:
                sizes[row.source if isinstance(row, Chunk) else row.id] += len(_embedded_text(row))
            await ctx.run_mutation(self.refilled, embedder.id, sizes, effort_of([made]))

        for index in (tables.Source.meaning, tables.Chunk.meaning):
            await reembed(ctx, index, embedder, _embedded_text, batch=embedder.max_batch, spent=spent)
        await ctx.run_action(self.corpus.searches.follow)

    async def _list_models(self, ctx: rf.QueryCtx) -> ModelsStatus:
        """Whose vectors there are, and how far a change to another model is."""
        pump = await ctx.db.query(self.corpus.tables.Pump).first()
        job = None if pump is None or pump.refill is None else await ctx.db.get(pump.refill)
        rows = await ctx.generations.list(self.corpus.tables.Chunk.meaning)
        return ModelsStatus(
            models=[
                ModelState(
                    model=row.model.embedder, dims=row.model.dims, state=row.state, filled=row.filled, total=row.total
                )
                for row in rows
            ],
            changing=job.state.kind if isinstance(job, rf.Scheduled) else None,
            error=job.state.error if isinstance(job, rf.Scheduled) else None,
        )

    async def _forget(self, ctx: rf.ActionCtx) -> None:
        """Removes the vectors of models that searches no longer use; until then they are kept, and made for what is
        new, so that one can change back."""
        for index in (self.corpus.tables.Chunk.meaning, self.corpus.tables.Source.meaning):
            for row in await ctx.generations.list(index):
                while row.state in ("retired", "vacuuming") and await ctx.generations.vacuum(index, row.number):
                    continue

    # What can be seen

    async def _list(self, ctx: rf.QueryCtx) -> list[Job]:
        """The sources that are not ready, those that changed last first: at most `limits.jobs_listed`."""
        most, table = self.corpus.limits.jobs_listed, self.corpus.tables.Source
        own = self.own(ctx)
        found: list[Source] = []
        for state in _IN_WORK:
            found += await ctx.db.query(table).using(table.by_state, **own, state=state).order("desc").take(most)
        found.sort(key=lambda source: -source.updated)
        return [await self._job(ctx, source) for source in found[:most]]

    async def _job(self, ctx: rf.QueryCtx, source: Source) -> Job:
        sources = self.corpus.sources
        version = await sources.version_in_work(ctx, source)
        total = 0 if version is None else version.chunk_count
        next_try, why = waits(source, version, await self.pause(ctx))
        return Job(
            source=source.id,
            key=source.key,
            name=source.name,
            version=source.version if version is None else version.number,
            state=source.state,
            done=max(0, total - await sources.versions_of.without_vector(ctx, source).count()),
            total=total,
            attempts=0 if version is None else version.attempts,
            next_try=next_try,
            error=source.error or why,
            updated=source.updated,
        )

    async def _status(self, ctx: rf.QueryCtx) -> JobsStatus:
        """What embedding is doing now."""
        table, own = self.corpus.tables.Source, self.own(ctx)
        sources = ctx.db.query(table)
        count = {state: await sources.using(table.by_state, **own, state=state).count() for state in _IN_WORK}
        about = await ctx.run_query(self.state)
        about.waiting, about.failed = count["embedding"] + count["reading"], count["failed"]
        return about

    async def _state(self, ctx: rf.QueryCtx) -> JobsStatus:
        pump = await ctx.db.query(self.corpus.tables.Pump).first()
        job = None if pump is None or pump.job is None else await ctx.db.get(pump.job)
        if pump is None or not isinstance(job, rf.Scheduled) or job.state.kind not in _ALIVE:
            return JobsStatus(state="idle", until=None, reason=None, waiting=0, failed=0)
        waits = job.state.kind == "pending" and job.scheduled_time > ctx.now(every=1.0) * 1000
        return JobsStatus(
            state="waiting" if waits else "running",
            until=job.scheduled_time if waits else None,
            reason=pump.reason if waits else None,
            waiting=0,
            failed=0,
        )


def _embedded_text(row: Chunk | Source) -> str:
    return row.text if isinstance(row, Chunk) else row.summary or ""
