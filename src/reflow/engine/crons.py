"""Crons in the engine: brought in at start, fired when they are due, told how their runs ended.

A run is a scheduled function like any other, so that it runs exactly once (a mutation) or at most once (an action)
through crashes. The transaction that writes its row moves the cron on to its next time.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from msgspec import UNSET

from reflow import values
from reflow.context import QueryCtx
from reflow.crons import Cron, CronRun, Defined
from reflow.database import DatabaseReader, DatabaseWriter
from reflow.engine import scheduled
from reflow.engine.scheduled import Scheduled, State
from reflow.engine.transaction import EngineTransaction
from reflow.errors import DefinitionError, FunctionNotFound, InvalidArguments
from reflow.functions import QueryFunction

if TYPE_CHECKING:
    from reflow.engine.engine import Engine

LOG = logging.getLogger("reflow.crons")

_OVERLAP = "the run before it was still going"
_MISSED = "its time had passed before it could be started"


class Fired(NamedTuple):
    """What became of a cron that was due: when it is due next, in milliseconds, and how many runs it skipped."""

    name: str
    following: float
    skipped: int
    why: str


class CronTab:
    """The crons of a running application."""

    def __init__(self, engine: Engine, defined: Iterable[Defined]) -> None:
        self._engine = engine
        self._defined = {one.name: one for one in defined}
        self._args: dict[str, bytes] = {}
        self.ids: dict[str, str] = {}
        """Names of the crons by the ids of their rows."""

    def compile(self) -> None:
        """Looks at functions and arguments, so that what is wrong shows when the application starts."""
        for name, one in self._defined.items():
            if one.function is None:
                raise DefinitionError(f"cron {name!r} runs nothing: end its definition with .run(function, ...)")
            try:
                self._engine.resolve(one.function)
                self._args[name] = one.function.arguments.encode(one.args, one.kwargs or {})
                one.function.arguments.decode(self._args[name])
            except (FunctionNotFound, InvalidArguments) as error:
                raise DefinitionError(f"cron {name!r} can't run: {error}") from None

    def _now(self) -> int:
        return self._engine.clock.now_ns() // 1_000_000

    # Deploying

    async def deploy(self, tx: EngineTransaction) -> list[tuple[float, str]]:
        """Makes the table of crons that of this application; returns when each is due, in milliseconds, and its id."""
        stored = {row.name: row for row in await DatabaseReader(tx).query(Cron).collect()}
        with tx.as_system():
            for name, row in stored.items():
                if row.running is not None:
                    await self._settle(tx, row, row.running)
                if name not in self._defined:
                    await self._remove(tx, row)
            due = [await self._bring_in(tx, one, stored.get(one.name)) for one in self._defined.values()]
        self.ids = {id: name for (_, id), name in zip(due, self._defined, strict=True)}
        return due

    async def _bring_in(self, tx: EngineTransaction, one: Defined, row: Cron | None) -> tuple[float, str]:
        db = DatabaseWriter(tx)
        path = "" if one.function is None else one.function.path
        args: dict[str, Any] = values.decode(self._args[one.name])
        text = one.schedule.text
        if row is None:
            first = float(one.schedule.first(self._now()))
            new = Cron(name=one.name, function=path, args=args, schedule=text, next_time=first, runs=[])
            return first, await db.insert(new)
        due = row.next_time
        if row.schedule != text:
            due = self._rescheduled(one, row)
        if (row.function, values.encode(row.args), row.schedule) != (path, values.encode(args), text):
            await db.patch(row.id, function=path, args=args, schedule=text, next_time=due)
        return due, row.id

    def _rescheduled(self, one: Defined, row: Cron) -> float:
        """When a cron with another schedule runs next: counted from its latest run, so that a deploy is none."""
        if row.last_time is None:
            return float(one.schedule.first(self._now()))
        return float(one.schedule.following(int(row.last_time), self._now())[0])

    async def _settle(self, tx: EngineTransaction, row: Cron, running: str) -> None:
        """Ends a run that was cancelled before the server stopped: nobody will come and say so."""
        run = await scheduled.find(tx, running)
        if run is not None and run.state.kind in scheduled.END_STATES:
            await self.ended(tx, run, run.state.kind, None)

    async def _remove(self, tx: EngineTransaction, row: Cron) -> None:
        """A cron that is defined no more takes along a run that has not begun."""
        run = None if row.running is None else await scheduled.find(tx, row.running)
        if run is not None and run.state.kind == "pending":
            await tx.delete([run.id])
        await tx.delete([row.id])

    # Running

    async def fire(self, tx: EngineTransaction, id: str) -> Fired:
        """Starts a cron's run that is due, or skips it where the one before goes on."""
        db = DatabaseWriter(tx)
        row = cast(Cron, await db.get(cast(Any, id)))
        one, planned, now = self._defined[row.name], int(row.next_time), self._now()
        if planned > now + 1:  # the part of a millisecond that is missing may be one of rounding
            return Fired(row.name, row.next_time, 0, "")
        now = max(now, planned)
        following, missed = one.schedule.following(planned, now)
        changes: dict[str, Any] = {"next_time": float(following)}
        fired = Fired(row.name, float(following), missed, _MISSED)
        if row.running is not None:
            fired = Fired(row.name, float(following), 1 + missed, _OVERLAP)
            changes["runs"] = self._skipped(row, planned, fired)
        else:
            function = self._engine.resolve(row.function)
            at = planned / 1000
            run = await scheduled.insert(self._engine, tx, function, self._args[row.name], at, cron=row.id)
            changes |= {"running": run, "last_time": row.next_time}
            if missed:
                changes["runs"] = self._skipped(row, one.schedule.following(planned, planned + 1)[0], fired)
        with tx.as_system():
            await db.patch(row.id, **changes)
        return fired

    def _skipped(self, row: Cron, first: int, fired: Fired) -> list[CronRun]:
        """The ends of runs with one for those that were skipped; runs skipped one after another are one end."""
        now = float(self._now())
        last = row.runs[-1] if row.runs else None
        if last is not None and last.skipped is not None and last.error == fired.why == _OVERLAP:
            last.skipped += fired.skipped
            last.completed_time = now
            return row.runs
        end = CronRun(
            scheduled_time=float(first), completed_time=now, state="canceled", error=fired.why, skipped=fired.skipped
        )
        return self._kept(row, end)

    def log(self, fired: Fired) -> None:
        """Tells the log of skipped runs, once that is durable."""
        if fired.skipped:
            LOG.warning("cron %s: skipped %d run(s): %s", fired.name, fired.skipped, fired.why)

    def _kept(self, row: Cron, end: CronRun) -> list[CronRun]:
        return [*row.runs, end][-self._engine.limits.cron_runs_kept :]

    async def ended(self, tx: EngineTransaction, run: Scheduled, kind: State, error: str | None) -> None:
        """A run has ended, in the transaction that says so: its row goes, the cron tells how it went."""
        db = DatabaseWriter(tx)
        row = cast("Cron | None", await db.get(cast(Any, run.cron)))
        with tx.as_system():
            await tx.delete([run.id])
            if row is None or row.running != run.id:
                return
            end = CronRun(
                scheduled_time=row.last_time or run.scheduled_time,
                completed_time=float(self._now()),
                state=cast(Any, kind),
                error=error,
            )
            await db.patch(row.id, running=UNSET, runs=self._kept(row, end))
        if kind == "failed":
            LOG.error("cron %s failed: %s", row.name, error)


async def _listed(ctx: QueryCtx) -> list[Cron]:
    """The crons, the next one first."""
    return sorted(await ctx.db.query(Cron).collect(), key=lambda row: row.next_time)


LIST: QueryFunction[[], list[Cron]] = QueryFunction(_listed, path="_crons:list", internal=True, rename=None)
"""What the command line asks for."""
