"""Scheduled functions: rows written by the transaction that schedules, run once it has committed.

A mutation runs exactly once: its row changes state in its own transaction. An action runs at most once: its row says
"inProgress", durably, before it starts; or as often as its `Retry` allows.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections import Counter, deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

from reflow import values
from reflow.database import Bound, DatabaseWriter, RangeRequest
from reflow.engine import scheduled
from reflow.engine.commit import first_of
from reflow.engine.outcomes import Failure, Result
from reflow.engine.runner import ActionRun, TransactionRun
from reflow.engine.scheduled import Scheduled, ScheduledState, State
from reflow.engine.transaction import EngineTransaction
from reflow.errors import FunctionNotFound, Overloaded, ReflowError, RetryAfter, StorageError
from reflow.functions import Function, Kind, Retry
from reflow.schema import spec_of
from reflow.storage.base import Write

if TYPE_CHECKING:
    from reflow.engine.engine import Engine

LOG = logging.getLogger("reflow.scheduler")

_POLL_SECONDS = 0.01
_LONGEST_SLEEP_SECONDS = 60.0
"""The machine's clock may be set while a sleep goes on."""
_DOUBLINGS = 32
"""Pauses have reached their longest long before, and numbers stay small."""


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
        self._outstanding: set[str] = set()
        """What is pending or runs."""
        self._failures: Counter[str] = Counter()
        """How often in a row the server could not run a function, or do work of its own by this name."""
        limits = engine.limits
        self._patience = Retry(first=limits.schedule_first_pause_seconds, longest=limits.schedule_longest_pause_seconds)
        self._table = 0

    async def start(self) -> None:
        """Loads what is pending, settles what was running when the server stopped, and starts."""
        self._table = self._engine.catalog.codec(spec_of(Scheduled)).number
        for due, id in await self._engine.transact(self._engine.crons.deploy):
            self._push(due, id)
        async with self._engine.reading() as tx:
            interrupted = [row async for row in self._all(tx, "inProgress")]
            async for row in self._all(tx, "pending"):
                self._push(row.scheduled_time, row.id)
                self._outstanding.add(row.id)
        for row in interrupted:
            error = "the server stopped while it ran"
            await self._finish_action(row.id, Failure(f"Interrupted: {error}"), self._pause(row, None))
        self._tasks = [
            asyncio.create_task(self._forever(self._step), name="reflow-scheduler"),
            asyncio.create_task(self._forever(self._sweep), name="reflow-sweeper"),
        ]

    async def _all(self, tx: EngineTransaction, state: State) -> AsyncGenerator[Scheduled, None]:
        """The rows in a state, however many there are. Their arguments are large: they are not held together."""
        request = RangeRequest(table=spec_of(Scheduled), index=Scheduled.by_state, equal={"state.kind": state})
        scan = tx.scan(request)
        while rows := await scan.take(self._engine.limits.scan_page):
            for row in rows:
                yield row
            tx.count_anew()

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
                self._wake.set()  # its sleep may end a rounding error later than what it sleeps for is due
                await asyncio.sleep(0)
            else:
                return

    # Scheduling

    async def insert(
        self,
        tx: EngineTransaction,
        function: Function[..., Any],
        args: bytes,
        at: float,
        parent: str | None = None,
        owner: str | None = None,
    ) -> str:
        """Writes the row of a scheduled function in a mutation's transaction; see `reflow.engine.scheduled`."""
        limit = self._engine.limits.scheduled_outstanding
        if len(self._outstanding) >= limit:
            raise Overloaded(
                f"TooManyScheduledFunctions: {len(self._outstanding)} functions are pending or running, as many as "
                f"limits.scheduled_outstanding = {limit} allows: schedule one when another ends"
            )
        return await scheduled.insert(self._engine, tx, function, args, at, parent=parent, owner=owner)

    async def insert_now(
        self,
        function: Function[..., Any],
        args: bytes,
        at: float,
        parent: str | None = None,
        owner: str | None = None,
    ) -> str:
        """Schedules from an action: in a transaction of its own."""
        return await self._engine.transact(lambda tx: self.insert(tx, function, args, at, parent, owner))

    async def cancel(self, tx: EngineTransaction, id: str) -> None:
        """What is pending will not run, and what a running action schedules from now on. Raises DocumentNotFound."""
        await scheduled.cancel(self._engine, tx, id)

    def publish(self, writes: Sequence[Write]) -> None:
        """Notes rows of the status table that commits have written."""
        for write in writes:
            row = scheduled.brief(write.value or write.before or b"")
            if write.value is None or row.state.kind in scheduled.END_STATES:
                self._outstanding.discard(row.id)
            else:
                self._outstanding.add(row.id)
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
                self._stalled = self._stalled or work == self._step
                await self._engine.clock.sleep(self._pause_after_failure(work.__name__))
                self._stalled = self._stalled and work != self._step
            else:
                self._failures.pop(work.__name__, None)

    def _pause_after_failure(self, of: str) -> float:
        """Seconds until the server tries again what it failed to do: longer each time."""
        self._failures[of] += 1
        return self._patience.pause(min(self._failures[of], _DOUBLINGS), self._engine.entropy.uniform())

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
        return bool(self._due) and self._has_come(self._due[0][0])

    def _has_come(self, due: float) -> bool:
        """Computed as the pause until then is: were a time not due that nothing is left to wait for, nothing would."""
        return due / 1000 - self._now() <= 0

    def _places(self, kind: Kind) -> int:
        """How many functions of a kind may run at once."""
        limits = self._engine.limits
        return limits.group_size if kind == "mutation" else limits.actions_running

    async def _start(self, id: str) -> None:
        crons = self._engine.crons
        if id in crons.ids:
            fired = await self._engine.transact(lambda tx: crons.fire(tx, id))
            self._push(fired.following, id)
            crons.log(fired)
            return
        row = await self._row(id)
        if row is None or row.state.kind != "pending":
            self._failures.pop(id, None)
            return
        if not self._has_come(row.scheduled_time):
            self._push(row.scheduled_time, id)
            return
        try:
            function = self._engine.resolve(row.name)
        except FunctionNotFound as error:
            text = str(error)
            await self._engine.transact(lambda tx: self._end(tx, id, "failed", text))
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
        if task.cancelled() or (error := task.exception()) is None:
            self._failures.pop(id, None)
            return
        LOG.error("scheduled function %s: %s; it is looked at again", id, error)
        self._push((self._now() + self._pause_after_failure(id)) * 1000, id)

    async def _persist(self, id: str, job: Callable[[EngineTransaction], Awaitable[Any]]) -> None:
        """Writes what has happened, as often as it takes: the storage may be failing for a while."""
        while True:
            try:
                await self._engine.transact(job)
                self._failures.pop(id, None)
                return
            except (StorageError, Overloaded) as error:
                LOG.error("the outcome of a scheduled function can't be stored yet: %s", error)
                self._resting += 1
                try:
                    await self._engine.clock.sleep(self._pause_after_failure(id))
                finally:
                    self._resting -= 1

    async def _row(self, id: str) -> Scheduled | None:
        async with self._engine.reading() as tx:
            return await scheduled.find(tx, id)

    async def _run_mutation(self, row: Scheduled, function: Function[..., Any]) -> None:
        """The function and its row's new state commit together. A function that raises only sets the state."""
        args = values.encode(row.args[0])

        async def job(tx: EngineTransaction) -> Result | None:
            current = await scheduled.find(tx, row.id)
            if current is None or current.state.kind != "pending":
                return None
            mark = tx.mark()
            result = await TransactionRun(self._engine, function, args, None).execute(tx, keep_open=True)
            failure = result.failure
            if failure is not None:
                tx.undo_to(mark)
            tx.count_anew()
            state, text = ("success", None) if failure is None else ("failed", failure.message)
            await scheduled.write_state(self._engine, tx, current, state, text)
            return result

        await self._engine.transact(job)

    async def _run_action(self, row: Scheduled, function: Function[..., Any]) -> None:
        begun = await self._engine.transact(lambda tx: self._begin(tx, row.id))
        if not begun:
            return
        run = ActionRun(self._engine, function, values.encode(row.args[0]), None, row.id)
        result, error = await run.execute()
        pause = None if result.failure is None else self._pause(row, error)
        await self._finish_action(row.id, result.failure, pause)

    async def _begin(self, tx: EngineTransaction, id: str) -> bool:
        row = await scheduled.find(tx, id)
        if row is None or row.state.kind != "pending":
            return False
        await scheduled.write_state(self._engine, tx, row, "inProgress", None)
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
            if failure is None:
                await self._end(tx, id, "success", None)
            elif pause is None:
                await self._end(tx, id, "failed", failure.message)
            else:
                await self._try_again(tx, id, failure, pause)

        await self._persist(id, job)

    async def _end(self, tx: EngineTransaction, id: str, kind: State, error: str | None) -> None:
        """Says how a function ended; one that was cancelled meanwhile stays so."""
        row = await scheduled.find(tx, id)
        if row is None:
            return
        if row.state.kind == "canceled":
            if row.cron is None:
                return
            kind, error = "canceled", None
        await scheduled.write_state(self._engine, tx, row, kind, error)

    async def _try_again(self, tx: EngineTransaction, id: str, failure: Failure, pause: float) -> None:
        row = await scheduled.find(tx, id)
        if row is None or row.state.kind == "canceled":
            await self._end(tx, id, "canceled", None)
            return
        state = ScheduledState(kind="pending", error=failure.message)
        due = (self._now() + pause) * 1000
        with tx.as_system():
            await DatabaseWriter(tx).patch(row.id, state=state, scheduled_time=due, attempt=row.attempt + 1)

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
