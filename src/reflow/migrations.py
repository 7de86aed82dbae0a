"""Migrations: stored documents changed one by one, so that they fit the tables as they are defined now.

@notes.migration(Note)
async def add_owner(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any] | None:
    return None if "owner" in document else {"owner": "nobody"}
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Literal, Protocol

from reflow.context import ActionCtx, Level
from reflow.functions import ActionFunction
from reflow.schema import Index, Object, Table, TableSpec, missing

State = Literal["pending", "running", "done", "failed"]


class MigrationRun(Protocol):
    """What the context of a migration asks of the engine."""

    def now(self) -> float: ...
    def log(self, level: Level, text: str) -> None: ...
    async def document(self, id: str) -> dict[str, Any] | None: ...


class MigrationCtx:
    """The context of a migration: it may look at other documents, and changes the one that it was given."""

    def __init__(self, run: MigrationRun) -> None:
        self._run = run

    def now(self) -> float:
        """Seconds since 1970."""
        return self._run.now()

    def log(self, *parts: object, level: Level = "LOG") -> None:
        """Writes a line to the function log."""
        self._run.log(level, " ".join(str(part) for part in parts))

    async def get(self, id: str) -> dict[str, Any] | None:
        """Another document as it is stored, of whatever table; None where there is none. Raises InvalidId."""
        return await self._run.document(id)


Step = Callable[[MigrationCtx, dict[str, Any]], Awaitable[Mapping[str, Any] | None]]
"""What a migration does to one document."""


class MigrationStatus(Table, table="_migrations", rename="camel", system=True):
    """A row of the table `_migrations`: how far a migration is. Times are milliseconds since 1970."""

    name: str
    """The path of the migration, such as "notes:add_owner"."""
    table_name: str
    state: State
    until: str
    """The documents stored up to here are concerned: later ones were stored by the version that brought it."""
    cursor: str
    """It goes on behind this document. Both are sequence numbers as 16 hexadecimal digits."""
    looked: int = 0
    """How many documents it was given."""
    changed: int = 0
    """How many of them it has changed."""
    total: int = 0
    """How many documents there were to look at when it started."""
    started: float | None = missing()
    completed: float | None = missing()
    document: str | None = missing()
    """The document at which it failed."""
    error: str | None = missing()

    by_name = Index("name")


class Trial(Object, rename="camel"):
    """What migrations would do to a table."""

    table_name: str
    migrations: list[str]
    documents: int
    """How many documents they would look at."""
    changed: int
    failing: int
    """How many documents they fail at, or leave as they don't fit the table."""
    document: str | None = missing()
    """The first of those."""
    error: str | None = missing()


class Migration(ActionFunction[..., MigrationStatus]):
    """A migration under its path. It runs as an internal action: `reflow migrate`, or `ctx.run_action(add_owner)`.

    Its arguments: `again` starts from the first document although it is done, `seconds` ends it after that time, to
    be gone on with by the next call.
    """

    def __init__(self, step: Step, table: TableSpec, *, path: str, rename: str | None) -> None:
        async def run(ctx: ActionCtx, again: bool = False, seconds: float | None = None) -> MigrationStatus:
            return await ctx._action.migrate(self, again, seconds)  # pyright: ignore[reportPrivateUsage]

        super().__init__(run, path=path, internal=True, rename=rename)
        self.__doc__, self.__module__ = step.__doc__, step.__module__
        self.step = step
        self.table = table
