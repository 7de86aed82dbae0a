"""Scheduled functions: rows written by the transaction that schedules, run once it has committed.

A mutation runs exactly once: its row changes state in its own transaction. An action runs at most once: its row says
"inProgress", durably, before it starts; or as often as its `Retry` allows.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import math
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from reflow import values
from reflow.database import Bound, DatabaseReader, DatabaseWriter, RangeRequest
from reflow.engine.commit import first_of
from reflow.engine.runner import ActionRun, Failure, Result, TransactionRun
from reflow.engine.transaction import EngineTransaction
from reflow.errors import (
    DefinitionError,
    DocumentNotFound,
    FunctionNotFound,
    InvalidValue,
    Overloaded,
    ReflowError,
    RetryAfter,
    StorageError,
)
from reflow.functions import Function, Kind
from reflow.schema import Index, Object, Table, missing, spec_of

if TYPE_CHECKING:
    from reflow.engine.engine import Engine

LOG = logging.getLogger("reflow.scheduler")

_AFTER_ERROR_MS = 1000.0
_POLL_SECONDS = 0.01
_LONGEST_SLEEP_SECONDS = 60.0
"""The machine's clock may be set while a sleep goes on."""

State = Literal["pending", "inProgress", "success", "failed", "canceled"]


class ScheduledState(Object):
    """Where a scheduled function stands; `error` says why it failed."""

    kind: State
    error: str | None = missing()


class Scheduled(Table, table="_scheduled_functions", rename="camel", system=True):
    """A row of the status table `_scheduled_functions`. Times are milliseconds since 1970."""

    name: str
    args: list[Any]
    scheduled_time: float
    completed_time: float | None = missing()
    state: ScheduledState
    attempt: int = 1
    """Which try comes next or is running, from 1; above 1 only with `Retry`."""

    by_state = Index("state.kind", "scheduled_time")
    by_completed = Index("completed_time")


class Scheduler:
    """Starts what is due, and keeps the status table true through crashes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._due: list[tuple[float, str]] = []
        self._wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._starting = False
        self._stalled = False
        self._resting = 0
        """Finished functions whose outcome could not be stored yet."""
        self._again: set[str] = set()
        """Functions that became due while their former run was still being cleared away."""
        self._running: dict[Kind, dict[str, asyncio.Task[None]]] = {"mutation": {}, "action": {}}
        self._waiting: dict[Kind, deque[str]] = {"mutation": deque(), "action": deque()}
        self._table = 0

    async def start(self) -> None:
        """Loads what is pending, settles what was running when the server stopped, and starts."""
        self._table = self._engine.catalog.codec(spec_of(Scheduled)).number
        async with self._engine.reading() as tx:
            interrupted = await self._all(tx, "inProgress")
            for row in await self._all(tx, "pending"):
                self._push(row.scheduled_time, row.id)
        for row in interrupted:
            error = "the server stopped while it ran"
            await self._finish_action(row.id, Failure(f"Interrupted: {error}"), self._pause(row, None))
        self._tasks = [
            asyncio.create_task(self._forever(self._step), name="reflow-scheduler"),
            asyncio.create_task(self._forever(self._sweep), name="reflow-sweeper"),
        ]

    async def _all(self, tx: EngineTransaction, state: State) -> list[Scheduled]:
        """The rows in a state, however many there are."""
        request = RangeRequest(table=spec_of(Scheduled), index=Scheduled.by_state, equal={"state.kind": state})
        scan = tx.scan(request)
        found: list[Scheduled] = []
        while rows := await scan.take(self._engine.limits.scan_page):
            found += rows
            tx.count_anew()
        return found

    async def close(self) -> None:
        """Stops starting functions; running actions are cancelled and settled at the next start."""
        tasks = [*self._tasks, *self._running["mutation"].values(), *self._running["action"].values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Returns once nothing is due and nothing runs, except what waits for a failing storage to recover."""
        while True:
            running = [*self._running["mutation"].values(), *self._running["action"].values()]
            if len(running) > self._resting:
                await asyncio.wait(running, timeout=_POLL_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            elif not self._stalled and (self._starting or self._can_start()):
                await asyncio.sleep(0)
            else:
                return

    # Scheduling

    async def insert(self, tx: EngineTransaction, function: Function[..., Any], args: bytes, at: float) -> str:
        """Writes the row of a scheduled function in a mutation's transaction."""
        if function.kind == "query":
            raise DefinitionError(f"{function.path} is a query: schedule a mutation or an action")
        self._engine.decode_arguments(function, args)
        due = max(0.0, at) * 1000  # in this order, so that neither NaN nor -0.0 comes out where 0.0 will do
        if math.isnan(at) or not math.isfinite(due):
            raise InvalidValue(f"{function.path} can't be scheduled for {at}: give seconds since 1970")
        row = Scheduled(
            name=function.path,
            args=[values.decode(args)],
            scheduled_time=due,
            state=ScheduledState(kind="pending"),
        )
        with tx.as_system():
            return (await tx.insert(spec_of(Scheduled), (row,), (None,)))[0]

    async def insert_now(self, function: Function[..., Any], args: bytes, at: float) -> str:
        """Schedules from an action: in a transaction of its own."""
        return await self._engine.transact(lambda tx: self.insert(tx, function, args, at))

    async def cancel(self, tx: EngineTransaction, id: str) -> None:
        """A pending row will not run; another state stays. Raises DocumentNotFound."""
        db = DatabaseWriter(tx)
        row = cast("Scheduled | None", await db.get(cast(Any, id)))
        if not isinstance(row, Scheduled):
            raise DocumentNotFound(f"{id!r} is no scheduled function")
        if row.state.kind == "pending":
            done = self._now() * 1000
            with tx.as_system():
                await db.patch(row.id, state=ScheduledState(kind="canceled"), completed_time=done)

    async def cancel_now(self, id: str) -> None:
        """Cancels from an action: in a transaction of its own."""
        await self._engine.transact(lambda tx: self.cancel(tx, id))

    def publish(self, written: Sequence[bytes]) -> None:
        """Notes rows of the status table that commits have written."""
        for raw in written:
            row = _BRIEF.decode(raw)
            if row.state.kind == "pending":
                self._push(row.scheduled_time, row.id)

    @property
    def table(self) -> int:
        """The number of the status table."""
        return self._table

    def _push(self, due: float, id: str) -> None:
        heapq.heappush(self._due, (due, id))
        self._wake.set()

    def _now(self) -> float:
        return self._engine.clock.now_ns() / 1e9

    # Running

    async def _forever(self, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except Exception as error:
                LOG.error("the scheduler goes on after: %s", error, exc_info=not isinstance(error, ReflowError))
                self._stalled = work == self._step
                await self._engine.clock.sleep(_AFTER_ERROR_MS / 1000)
                self._stalled = False

    async def _step(self) -> None:
        """Starts what is due, or waits for the next."""
        id = self._next()
        if id is not None:
            self._starting = True
            try:
                await self._start(id)
            except BaseException:
                self._push(0.0, id)
                raise
            finally:
                self._starting = False
            return
        self._wake.clear()
        pause = _LONGEST_SLEEP_SECONDS
        if self._due:
            pause = min(pause, self._due[0][0] / 1000 - self._now())
        await first_of(self._engine.clock.sleep(max(pause, 0.0)), self._wake.wait())

    def _next(self) -> str | None:
        """What is to be started now: first what waited for a free place."""
        for kind, waiting in self._waiting.items():
            if waiting and len(self._running[kind]) < self._places(kind):
                return waiting.popleft()
        return heapq.heappop(self._due)[1] if self._is_due() else None

    def _can_start(self) -> bool:
        freed = any(ids and len(self._running[kind]) < self._places(kind) for kind, ids in self._waiting.items())
        return freed or self._is_due()

    def _is_due(self) -> bool:
        return bool(self._due) and self._due[0][0] <= self._now() * 1000

    def _places(self, kind: Kind) -> int:
        """How many functions of a kind may run at once."""
        limits = self._engine.limits
        return limits.group_size if kind == "mutation" else limits.actions_running

    async def _start(self, id: str) -> None:
        row = await self._row(id)
        if row is None or row.state.kind != "pending":
            return
        if row.scheduled_time > self._now() * 1000:
            self._push(row.scheduled_time, id)
            return
        try:
            function = self._engine.resolve(row.name)
        except FunctionNotFound as error:
            await self._settle(id, "failed", str(error))
            return
        running = self._running[function.kind]
        if id in running:
            self._again.add(id)
            return
        if len(running) >= self._places(function.kind):
            self._waiting[function.kind].append(id)
            return
        run = self._run_mutation if function.kind == "mutation" else self._run_action
        running[id] = asyncio.create_task(run(row, function), name=f"reflow-scheduled {row.name}")
        running[id].add_done_callback(lambda task: self._done(function.kind, id, task))

    def _done(self, kind: Kind, id: str, task: asyncio.Task[None]) -> None:
        del self._running[kind][id]
        self._wake.set()
        if id in self._again:
            self._again.discard(id)
            self._push(0.0, id)
        if not task.cancelled() and (error := task.exception()) is not None:
            LOG.error("scheduled function %s: %s; it is looked at again", id, error)
            self._push(self._now() * 1000 + _AFTER_ERROR_MS, id)

    async def _persist(self, job: Callable[[EngineTransaction], Awaitable[Any]]) -> None:
        """Writes what has happened, as often as it takes: the storage may be failing for a while."""
        while True:
            try:
                await self._engine.transact(job)
                return
            except (StorageError, Overloaded) as error:
                LOG.error("the outcome of a scheduled function can't be stored yet: %s", error)
                self._resting += 1
                try:
                    await self._engine.clock.sleep(_AFTER_ERROR_MS / 1000)
                finally:
                    self._resting -= 1

    async def _row(self, id: str) -> Scheduled | None:
        async with self._engine.reading() as tx:
            return cast("Scheduled | None", await DatabaseReader(tx).get(cast(Any, id)))

    async def _run_mutation(self, row: Scheduled, function: Function[..., Any]) -> None:
        """The function and its row's new state commit together. A function that raises only sets the state."""
        args = values.encode(row.args[0])

        async def job(tx: EngineTransaction) -> Result | None:
            current = await DatabaseReader(tx).get(row.id)
            if current is None or current.state.kind != "pending":
                return None
            mark = tx.mark()
            result = await TransactionRun(self._engine, function, args, None).execute(tx, keep_open=True)
            failure = result.failure
            if failure is not None:
                tx.undo_to(mark)
            tx.count_anew()
            await self._write_state(tx, row.id, "success" if failure is None else "failed", failure and failure.message)
            return result

        await self._engine.transact(job)

    async def _run_action(self, row: Scheduled, function: Function[..., Any]) -> None:
        begun = await self._engine.transact(lambda tx: self._begin(tx, row.id))
        if not begun:
            return
        run = ActionRun(self._engine, function, values.encode(row.args[0]), None)
        result, error = await run.execute()
        pause = None if result.failure is None else self._pause(row, error)
        await self._finish_action(row.id, result.failure, pause)

    async def _begin(self, tx: EngineTransaction, id: str) -> bool:
        row = cast("Scheduled | None", await DatabaseReader(tx).get(cast(Any, id)))
        if row is None or row.state.kind != "pending":
            return False
        await self._write_state(tx, id, "inProgress", None)
        return True

    def _pause(self, row: Scheduled, error: BaseException | None) -> float | None:
        """Seconds until the next try; None when there is none."""
        try:
            retry = self._engine.resolve(row.name).retry
        except FunctionNotFound:
            return None
        if retry is None or row.attempt >= retry.attempts:
            return None
        if isinstance(error, RetryAfter):
            return error.seconds
        return retry.pause(row.attempt, self._engine.entropy.uniform())

    async def _finish_action(self, id: str, failure: Failure | None, pause: float | None) -> None:
        async def job(tx: EngineTransaction) -> None:
            row = cast("Scheduled | None", await DatabaseReader(tx).get(cast(Any, id)))
            if row is None:
                return
            if failure is None:
                await self._write_state(tx, id, "success", None)
            elif pause is None or row.state.kind == "canceled":
                await self._write_state(tx, id, "failed", failure.message)
            else:
                state = ScheduledState(kind="pending", error=failure.message)
                due = (self._now() + pause) * 1000
                with tx.as_system():
                    await DatabaseWriter(tx).patch(row.id, state=state, scheduled_time=due, attempt=row.attempt + 1)

        await self._persist(job)

    async def _settle(self, id: str, kind: State, error: str) -> None:
        await self._engine.transact(lambda tx: self._write_state(tx, id, kind, error))

    async def _write_state(self, tx: EngineTransaction, id: str, kind: State, error: str | None) -> None:
        changes: dict[str, Any] = {"state": ScheduledState(kind=kind, error=error)}
        if kind not in ("pending", "inProgress"):
            changes["completed_time"] = self._now() * 1000
        with tx.as_system():
            await DatabaseWriter(tx).patch(cast(Any, id), **changes)

    async def _sweep(self) -> None:
        """Waits, then removes rows that finished long ago, and has the engine forget old history."""
        limits = self._engine.limits
        await self._engine.clock.sleep(limits.prune_interval_seconds)
        await self._engine.prune()
        before = (self._now() - limits.scheduled_retention_seconds) * 1000

        async def job(tx: EngineTransaction) -> int:
            request = RangeRequest(
                table=spec_of(Scheduled),
                index=Scheduled.by_completed,
                equal={},
                lower=Bound(value=0.0, inclusive=True),
                upper=Bound(value=before, inclusive=False),
            )
            old = await tx.scan(request).take(limits.scan_page)
            with tx.as_system():
                await tx.delete([row.id for row in old])
            return len(old)

        while await self._engine.transact(job) == limits.scan_page:
            continue


class _Brief(msgspec.Struct):
    """What the heap needs of a stored row."""

    id: str = msgspec.field(name="_id")
    scheduled_time: float = msgspec.field(name="scheduledTime")
    state: ScheduledState


_BRIEF = msgspec.json.Decoder(_Brief)
