"""An application of crons and scheduled work whose every run leaves a trace, on a clock that runs faster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import reflow as rf

SPEED = 20
"""Seconds of the application in one second."""


class FastClock:
    """The machine's clock, faster; the same one in all processes that get the same `start`."""

    def __init__(self, start: int) -> None:
        self._start = start

    def now_ns(self) -> int:
        return self._start + (time.time_ns() - self._start) * SPEED

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / SPEED)


class Order(rf.Table, table="orders"):
    n: int

    by_n = rf.Index("n")


class Run(rf.Table, table="runs"):
    """A run of a mutation."""

    what: str
    n: int

    by_what = rf.Index("what", "n")


work = rf.Module("work")

say: Callable[[str], None] = print
"""Where actions leave their trace; set by the process that runs them."""


@work.mutation
async def order(ctx: rf.MutationCtx, n: int) -> int:
    await ctx.db.insert(Order(n=n))
    await ctx.scheduler.run_after(0, settle, n=n)
    await ctx.scheduler.run_after(2, settle_late, n=n)
    await ctx.scheduler.run_after(0, ship, n=n)
    await ctx.scheduler.run_after(1, deliver, n=n)
    await ctx.scheduler.cancel(await ctx.scheduler.run_after(1, never, n=n))
    return n


@work.internal_mutation
async def settle(ctx: rf.MutationCtx, n: int) -> None:
    await ctx.db.insert(Run(what="settle", n=n))


@work.internal_mutation
async def settle_late(ctx: rf.MutationCtx, n: int) -> None:
    await ctx.db.insert(Run(what="late", n=n))


@work.internal_mutation
async def never(ctx: rf.MutationCtx, n: int) -> None:
    await ctx.db.insert(Run(what="never", n=n))


@work.internal_action
async def ship(ctx: rf.ActionCtx, n: int) -> None:
    """At most once."""
    say(f"ship {n}")
    await ctx.run_mutation(note, "shipped", n)


@work.internal_action(retry=rf.Retry(attempts=100, first=0.1, factor=1))
async def deliver(ctx: rf.ActionCtx, n: int) -> None:
    """Until it has worked."""
    say(f"deliver {n}")
    await ctx.run_mutation(note, "delivered", n)


@work.internal_mutation
async def note(ctx: rf.MutationCtx, what: str, n: int) -> None:
    await ctx.db.insert(Run(what=what, n=n))


@work.internal_mutation
async def tick(ctx: rf.MutationCtx) -> None:
    await ctx.db.insert(Run(what="tick", n=0))


@work.internal_action
async def sweep(ctx: rf.ActionCtx) -> None:
    say("sweep")
    await ctx.run_mutation(note, "sweep", 0)


@work.internal_mutation
async def refuse(ctx: rf.MutationCtx) -> None:
    await ctx.db.insert(Run(what="refuse", n=0))
    raise ValueError("always")


crons = rf.Crons()
crons.interval("tick", seconds=1).run(tick)
crons.interval("sweep", seconds=1).run(sweep)
crons.interval("refuse", seconds=3).run(refuse)

app = rf.App(modules=[work], crons=crons, limits=rf.Limits(cron_runs_kept=100_000, documents_read=1_000_000))
