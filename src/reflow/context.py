"""`ctx`: what a running function may use."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Protocol, TypeVar

from reflow.auth import Identity
from reflow.database import DatabaseReader, DatabaseWriter
from reflow.files import FileReader, FilesInside, FilesOutside, FileStore, FileWriter
from reflow.functions import ActionFunction, Function, MutationFunction, QueryFunction
from reflow.generations import Embedded, Generations, GenerationsInside
from reflow.hits import Conditions, Hit
from reflow.owners import Owners
from reflow.schema import Id, VectorIndex
from reflow.searching import Searching, SearchRun
from reflow.settings import S, read_settings
from reflow.vectors import Store, StoreReader
from reflow.watched import Watched

if TYPE_CHECKING:
    from reflow.migrations import Migration, MigrationStatus

P = ParamSpec("P")
R = TypeVar("R")

Level = Literal["DEBUG", "INFO", "LOG", "WARN", "ERROR"]


class FunctionRun(Protocol):
    """What a context asks of the engine, for one run of one function."""

    def identity(self) -> Identity | None: ...
    def now(self, every: float | None) -> float: ...
    def random(self) -> Random: ...
    def environment(self) -> Mapping[str, str]: ...
    def log(self, level: Level, text: str) -> None: ...
    async def call(self, function: Function[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any: ...
    async def schedule(
        self, at: float, function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str: ...
    async def cancel(self, id: str, owners: Owners) -> None: ...
    def vectors(self, owners: Owners) -> Store: ...
    async def generations(
        self, work: Callable[[GenerationsInside], Awaitable[R]], owners: Owners, *, writes: bool = True
    ) -> R: ...
    async def files(self, work: Callable[[FilesInside], Awaitable[R]], *, writes: bool = True) -> R: ...


class QueryRun(FunctionRun, Protocol):
    """A run of a query."""

    def watched(self) -> Watched: ...


class ActionRun(FunctionRun, SearchRun, Protocol):
    """A run outside of transactions: its searches read a snapshot of their own."""

    def file_store(self) -> FilesOutside: ...
    async def migrate(self, migration: Migration, again: bool, seconds: float | None) -> MigrationStatus: ...
    async def nearest(
        self,
        index: VectorIndex,
        vector: Embedded,
        limit: int,
        conditions: Conditions,
        *,
        approximate: bool = False,
    ) -> list[Hit[Any]]: ...


class Auth:
    """The caller."""

    def __init__(self, run: FunctionRun) -> None:
        self._run = run

    def identity(self) -> Identity | None:
        """The caller's identity, None when nobody is signed in. A query that asks is cached per identity."""
        found = self._run.identity()
        if found is None or not any(isinstance(claim, list | dict) for claim in found.claims.values()):
            return found
        # A checked token's claims serve many calls: what a function adds to a list of roles must not stay there.
        return replace(found, claims=deepcopy(dict(found.claims)))


class Environment(Mapping[str, str]):
    """The deployment's variables, read only: those that `reflow env` stores, over those of the server's process.

    In a query they are live: a changed variable runs again what has read it.
    """

    def __init__(self, run: FunctionRun) -> None:
        self._run = run

    def __getitem__(self, name: str) -> str:
        return self._run.environment()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._run.environment())

    def __len__(self) -> int:
        return len(self._run.environment())


class Scheduler:
    """Runs functions later. In a mutation the schedule is part of its transaction."""

    def __init__(self, run: FunctionRun, owners: Owners = "caller") -> None:
        self._run = run
        self._owners: Owners = owners

    async def run_after(
        self,
        seconds: float,
        function: MutationFunction[P, Any] | ActionFunction[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Id[Any]:
        """Runs `function` once, `seconds` from now or a little later. Returns the id of its row in the status table.

        Mutations run exactly once; actions at most once, or as often as their `retry` says.
        """
        at = self._run.now(None) + max(0.0, seconds)
        return Id(await self._run.schedule(at, function, args, dict(kwargs)))

    async def run_at(
        self,
        timestamp: float,
        function: MutationFunction[P, Any] | ActionFunction[P, Any],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> Id[Any]:
        """Runs `function` once at a time in seconds since 1970, or at once when that is past."""
        return Id(await self._run.schedule(timestamp, function, args, dict(kwargs)))

    async def cancel(self, id: Id[Any]) -> None:
        """A pending function will not run. An action that is running goes on, but what it schedules from then on will
        not run. Raises DocumentNotFound for an unknown id."""
        await self._run.cancel(id, self._owners)


class BaseCtx:
    """What all functions have."""

    def __init__(self, run: FunctionRun, owners: Owners = "caller") -> None:
        """`owners`: whose rows the function works with. A nested function has a context of its own."""
        self._run = run
        self._owners: Owners = owners

    @property
    def auth(self) -> Auth:
        """Who calls."""
        return Auth(self._run)

    @property
    def generations(self) -> Generations:
        """Which model's vectors an index holds, and how another one takes over."""
        return Generations(self._run, self._owners)

    @property
    def env(self) -> Environment:
        """The deployment's variables."""
        return Environment(self._run)

    def settings(self, kind: type[S]) -> S:
        """The deployment's variables as an `rf.Settings` class has them. Raises SettingsError."""
        return read_settings(kind, self._run.environment())

    def log(self, *parts: object, level: Level = "LOG") -> None:
        """Writes a line to the function log, which `reflow dev` shows. Clients see it under `reflow dev` only."""
        self._run.log(level, " ".join(str(part) for part in parts))


class TransactionCtx(BaseCtx):
    """What queries and mutations have in common. They may await only `ctx`."""

    def now(self, *, every: float | None = None) -> float:
        """Seconds since 1970, frozen for this run. With `every` a live query runs again at each multiple of it."""
        return self._run.now(every)

    @property
    def random(self) -> Random:
        """Random numbers, the same for every try of this run."""
        return self._run.random()

    async def gather(self, *awaitables: Awaitable[Any]) -> list[Any]:
        """The results of several `ctx` calls, in order; takes the place of asyncio.gather."""
        return [await awaitable for awaitable in awaitables]

    async def run_query(self, function: QueryFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a query in this transaction."""
        return await self._run.call(function, args, dict(kwargs))


class QueryCtx(TransactionCtx):
    """The context of a query."""

    def __init__(self, run: QueryRun, db: DatabaseReader, owners: Owners = "caller") -> None:
        super().__init__(run, owners)
        self.db = db
        self._query = run

    def watched(self, *, every: float = 1.0) -> Watched:
        """Which live queries there are in this process, counted. It is no document, so nothing wakes for it: a live
        query that asks runs again at each multiple of `every` seconds, for as long as somebody follows it."""
        self._query.now(every)
        return self._query.watched()

    @property
    def storage(self) -> FileReader:
        """The files: their addresses, and what is known of them."""
        return FileReader(self._run)

    @property
    def vectors(self) -> StoreReader:
        """The free-standing vector indexes. What is read of them is live. Raises PurityError when they are remote."""
        return self._run.vectors(self._owners)


class MutationCtx(TransactionCtx):
    """The context of a mutation."""

    def __init__(self, run: FunctionRun, db: DatabaseWriter, owners: Owners = "caller") -> None:
        super().__init__(run, owners)
        self.db = db

    @property
    def scheduler(self) -> Scheduler:
        """Runs functions later, if this mutation commits."""
        return Scheduler(self._run, self._owners)

    @property
    def storage(self) -> FileWriter:
        """The files: addresses to upload them to, and deleting them."""
        return FileWriter(self._run)

    @property
    def vectors(self) -> Store:
        """The free-standing vector indexes: what is written there is part of this transaction.

        Raises PurityError when they are remote.
        """
        return self._run.vectors(self._owners)

    async def run_mutation(self, function: MutationFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a mutation inside this transaction; when it raises, its own writes are undone."""
        return await self._run.call(function, args, dict(kwargs))


class ActionCtx(BaseCtx, Searching):
    """The context of an action: each call is a transaction of its own, each search reads a snapshot of its own."""

    def __init__(self, run: ActionRun, owners: Owners = "caller") -> None:
        BaseCtx.__init__(self, run, owners)
        Searching.__init__(self, run)
        self._action = run
        self.scheduler = Scheduler(run, owners)

    @property
    def storage(self) -> FileStore:
        """The files, with their bytes."""
        return FileStore(self._action)

    @property
    def vectors(self) -> Store:
        """The free-standing vector indexes, built in or remote. Each call is a transaction of its own."""
        return self._run.vectors(self._owners)

    async def run_query(self, function: QueryFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a query at the latest timestamp."""
        return await self._run.call(function, args, dict(kwargs))

    async def run_mutation(self, function: MutationFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs a mutation and returns once it is committed."""
        return await self._run.call(function, args, dict(kwargs))

    async def run_action(self, function: ActionFunction[P, R], /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs another action, in this process."""
        return await self._run.call(function, args, dict(kwargs))

    async def nearest(
        self,
        index: VectorIndex,
        vector: Embedded,
        *,
        limit: int = 10,
        filter: Mapping[str, Any] | None = None,
        min_length: int | None = None,
        approximate: bool = False,
        **equal: Any,
    ) -> list[Hit[Any]]:
        """Like `ctx.db.nearest` in a query. With `approximate` a large index answers much faster, and a few of the
        hits may not be the very best."""
        conditions = Conditions(filter=filter, min_length=min_length, equal=equal)
        return await self._action.nearest(index, vector, limit, conditions, approximate=approximate)


FUNCTION_LOG = logging.getLogger("reflow.functions")
"""Where function logs go."""
