"""The status table `_scheduled_functions`: what is to run, what runs, and how it ended."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

from reflow import values
from reflow.database import DatabaseReader, DatabaseWriter
from reflow.engine.transaction import EngineTransaction
from reflow.errors import DefinitionError, DocumentNotFound, InvalidArguments, InvalidValue
from reflow.functions import Function
from reflow.schema import Index, Object, Table, missing, spec_of

if TYPE_CHECKING:
    from reflow.engine.engine import Engine

State = Literal["pending", "inProgress", "success", "failed", "canceled"]
END_STATES = ("success", "failed", "canceled")


class ScheduledState(Object):
    """Where a scheduled function stands; `error` says why it failed."""

    kind: State
    error: str | None = missing()


class Scheduled(Table, table="_scheduled_functions", rename="camel", owner="owner", system=True):
    """A row of the status table `_scheduled_functions`. Times are milliseconds since 1970.

    Where an app's tables have owners, so have these rows: a function sees what its caller has scheduled.
    """

    name: str
    args: list[Any]
    scheduled_time: float
    completed_time: float | None = missing()
    state: ScheduledState
    attempt: int = 1
    """Which try comes next or is running, from 1; above 1 only with `Retry`."""
    cron: str | None = missing()
    """The id of the cron in `_crons` whose run it is. That row then says how it ended, and this one goes."""
    owner: str | None = missing()
    """The token identifier of who scheduled it, in an app whose tables or indexes have owners."""

    by_state = Index("state.kind", "scheduled_time")
    by_completed = Index("completed_time")


class Brief(msgspec.Struct):
    """What the scheduler keeps in memory of a stored row."""

    id: str = msgspec.field(name="_id")
    scheduled_time: float = msgspec.field(name="scheduledTime")
    state: ScheduledState


brief = msgspec.json.Decoder(Brief).decode


async def find(tx: EngineTransaction, id: str) -> Scheduled | None:
    """A row of the status table; None where there is none of this id. Raises InvalidId."""
    row = await DatabaseReader(tx).get(cast(Any, id))
    return row if isinstance(row, Scheduled) else None


async def insert(
    engine: Engine,
    tx: EngineTransaction,
    function: Function[..., Any],
    args: bytes,
    at: float,
    *,
    parent: str | None = None,
    cron: str | None = None,
    owner: str | None = None,
) -> str:
    """Writes the row of a scheduled function; `at` in seconds since 1970.

    `parent` is the scheduled action on whose behalf it happens: when that was cancelled, this one is from the start.
    """
    if function.kind == "query":
        raise DefinitionError(f"{function.path} is a query: schedule a mutation or an action")
    limit = engine.limits.scheduled_arguments_bytes
    if len(args) > limit:
        raise InvalidArguments(
            f"ArgumentValidationError: {function.path}: arguments of {len(args)} bytes; "
            f"limits.scheduled_arguments_bytes is {limit}: store them in a document, and schedule with its id"
        )
    engine.decode_arguments(function, args)
    due = max(0.0, at) * 1000  # in this order, so that neither NaN nor -0.0 comes out where 0.0 will do
    if math.isnan(at) or not math.isfinite(due):
        raise InvalidValue(f"{function.path} can't be scheduled for {at}: give seconds since 1970")
    row = Scheduled(
        name=function.path,
        args=[values.decode(args)],
        scheduled_time=due,
        state=ScheduledState(kind="pending"),
        cron=cron,
        owner=owner,
    )
    before = None if parent is None else await find(tx, parent)
    if before is not None and before.state.kind == "canceled":
        row.state = ScheduledState(kind="canceled")
        row.completed_time = engine.clock.now_ns() / 1e6
    with tx.as_system():
        return (await tx.insert(spec_of(Scheduled), (row,), (None,)))[0]


async def cancel(engine: Engine, tx: EngineTransaction, id: str) -> None:
    """What is pending will not run; what runs goes on, and can schedule nothing more. Raises DocumentNotFound."""
    row = await find(tx, id)
    if row is None:
        raise DocumentNotFound(f"{id!r} is no scheduled function")
    if row.state.kind not in END_STATES:
        await write_state(engine, tx, row, "canceled", None)


async def write_state(engine: Engine, tx: EngineTransaction, row: Scheduled, kind: State, error: str | None) -> None:
    """Says where a scheduled function stands now. The end of a cron's run is written to the cron."""
    goes_on = kind == "canceled" and row.state.kind == "inProgress"
    if kind in END_STATES and row.cron is not None and not goes_on:
        await engine.crons.ended(tx, row, kind, error)
        return
    changes: dict[str, Any] = {"state": ScheduledState(kind=kind, error=error)}
    if kind in END_STATES:
        changes["completed_time"] = engine.clock.now_ns() / 1e6
    with tx.as_system():
        await DatabaseWriter(tx).patch(row.id, **changes)
