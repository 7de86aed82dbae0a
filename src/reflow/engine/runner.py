"""Runs one function: decodes its arguments, gives it a context, drives it, encodes its result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any, TypeVar, cast

from reflow.context import ActionCtx, Identity, Level, MutationCtx, QueryCtx
from reflow.database import DatabaseReader, DatabaseWriter, Transaction
from reflow.engine import guard
from reflow.engine.environment import VariablesRead
from reflow.engine.files import FilesInTransaction
from reflow.engine.outcomes import Failure, Result, describe, encoded, error_of, is_outcome, keep_line
from reflow.engine.owned_indexes import own_store
from reflow.engine.owners import OwnedTransaction, check_scheduled, own_generations
from reflow.engine.pagination import journal_after_failure, next_journal
from reflow.engine.record_store import URL_SETTING
from reflow.engine.records import Records
from reflow.engine.transaction import EngineTransaction
from reflow.errors import (
    DefinitionError,
    FunctionTimeout,
    LimitExceeded,
    PurityError,
)
from reflow.files import FilesInside, FilesOutside
from reflow.functions import Function
from reflow.generations import Embedded, GenerationsInside
from reflow.hits import Conditions, Explanation, Hit, HybridHit, HybridRequest
from reflow.migrations import Migration, MigrationStatus
from reflow.owners import Owners
from reflow.pages import Page, PaginationOptions
from reflow.schema import TextIndex, VectorIndex
from reflow.vectors import Store
from reflow.watched import Watched

if TYPE_CHECKING:
    from reflow.engine.engine import Engine

R = TypeVar("R")


class PersonalResult(BaseException):
    """A shared query asked who calls: from now on each identity gets a result of its own."""


class TransactionRun:
    """One run of a query or mutation; also what its context asks of the engine."""

    def __init__(
        self,
        engine: Engine,
        function: Function[..., Any],
        args: bytes,
        identity: Identity | None,
        *,
        shared: bool = False,
        parent: str | None = None,
    ) -> None:
        """`parent` is the scheduled action that calls, in whose name this run schedules."""
        self.engine = engine
        self.function = function
        self.args = args
        self.caller = identity
        self.shared = shared
        """True where the result is for everybody: asking who calls is then refused with PersonalResult."""
        self.lines: list[str] = []
        self.tx: EngineTransaction = cast(EngineTransaction, None)
        self._now: float | None = None
        self._random: Random | None = None
        self._environment: VariablesRead | None = None
        self._writers: dict[Owners, MutationCtx] = {}
        """The contexts of mutations, by whose rows they work with."""
        self._personal = False
        self._depth = 0
        self._parent = parent
        self._scheduled = 0
        self._scheduled_bytes = 0

    async def execute(self, tx: EngineTransaction, *, keep_open: bool = False) -> Result:
        """Runs the function inside `tx`, which takes no calls afterwards unless `keep_open`.

        Raises StorageError where the storage failed: that is no outcome of the function, whatever it made of it.
        """
        self.tx = tx
        function = self.function
        try:
            kwargs = self.engine.decode_arguments(function, self.args)
            ctx = self._ctx_of(function)
            value = await guard.drive(cast(Any, function.handler(ctx, **kwargs)), tx, self.engine.watchdog)
            result = Result(encoded(function, value, self.engine.limits), None, next_journal(tx), self.lines)
        except FunctionTimeout:
            limits = self.engine.limits
            message = (
                f"FunctionTimeout: {function.path} ran longer than limits.function_cpu_seconds = "
                f"{limits.function_cpu_seconds:g} (or function_wall_seconds = {limits.function_wall_seconds:g}); "
                "long work belongs in an action"
            )
            return self._failed(Failure(message, code="FunctionTimeout"))
        except BaseException as error:
            if isinstance(error, PersonalResult) or not is_outcome(error):
                raise
            if self._personal:
                raise PersonalResult from None
            if tx.fault is None:
                return self._failed(describe(error, function.path, self.engine.limits, log=self.engine.log_errors))
            raise tx.fault from None
        finally:
            self._writers.clear()  # else run and ctx hold each other, and all that was read, until a search for cycles
            if not keep_open:
                tx.finish()
        if tx.fault is not None:
            raise tx.fault
        if self._personal:
            raise PersonalResult
        return result

    def _ctx_of(self, function: Function[..., Any]) -> QueryCtx | MutationCtx:
        """The context for a function of this run: what it may see is bound to it."""
        owners = function.owners
        if function.kind == "query":
            return QueryCtx(self, DatabaseReader(self._seen(owners)), owners)
        ctx = self._writers.get(owners)
        if ctx is None:
            ctx = self._writers[owners] = MutationCtx(self, DatabaseWriter(self._seen(owners)), owners)
        return ctx

    def _seen(self, owners: Owners) -> Transaction:
        """The transaction as a function sees it that works with the rows of these owners."""
        if owners == "all" or not self.engine.owned:
            return self.tx
        return OwnedTransaction(self.tx, self.identity)

    def _failed(self, failure: Failure) -> Result:
        return Result(None, failure, journal_after_failure(self.tx), self.lines)

    # What contexts ask for

    def identity(self) -> Identity | None:
        self.tx.check_open()
        if self.shared:
            self._personal = True  # whatever the function makes of the exception
            raise PersonalResult
        return self.caller

    def now(self, every: float | None) -> float:
        self.tx.check_open()
        self.tx.reads.clock = True
        if every is not None:
            if not every > 0:  # nor NaN
                raise DefinitionError(f"ctx.now(every={every}): the interval must be above 0 seconds")
            self.tx.reads.add_tick(every)
        if self._now is None:
            self._now = self.engine.clock.now_ns() / 1e9
        return self._now

    def watched(self) -> Watched:
        self.tx.check_open()
        return self.engine.hub.cache.watched()

    def random(self) -> Random:
        self.tx.check_open()
        if self._random is None:
            text = f"{self.function.path}\0{self.tx.snapshot.ts}".encode() + self.args
            self._random = Random(int.from_bytes(blake2b(text, digest_size=16).digest(), "big"))
        return self._random

    def environment(self) -> Mapping[str, str]:
        self.tx.check_open()
        if self._environment is None:
            self._environment = VariablesRead(self.engine.variables, self.tx)
        return self._environment

    def log(self, level: Level, text: str) -> None:
        keep_line(self.lines, self.engine.limits.log_lines, self.function.path, level, text)

    async def call(self, function: Function[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A nested query or mutation: in the same transaction; a mutation that raises takes its writes back."""
        self.tx.check_open()
        found = self.engine.resolve(function)
        if found.kind == "action":
            raise DefinitionError(f"{self.function.path} can't run the action {found.path}: schedule it")
        if found.kind == "mutation" and not self.tx.writable:
            raise DefinitionError(f"the query {self.function.path} can't run the mutation {found.path}")
        if self._depth >= self.engine.limits.call_depth:
            raise LimitExceeded(f"calls nest deeper than limits.call_depth = {self.engine.limits.call_depth}")
        decoded = self.engine.decode_arguments(found, found.arguments.encode(args, kwargs))
        ctx = self._ctx_of(found)
        mark = self.tx.mark() if found.kind == "mutation" else None
        self._depth += 1
        try:
            return found.decode_result(found.encode_result(await found.handler(ctx, **decoded)))
        except BaseException:
            if mark is not None:
                self.tx.undo_to(mark)
            raise
        finally:
            self._depth -= 1

    async def schedule(
        self, at: float, function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str:
        found = self.engine.resolve(function)
        raw = found.arguments.encode(args, kwargs)
        limits = self.engine.limits
        self._scheduled += 1
        self._scheduled_bytes += len(raw)
        if self._scheduled > limits.schedules_per_mutation or self._scheduled_bytes > limits.schedules_bytes:
            raise LimitExceeded(
                f"one mutation scheduled more than limits.schedules_per_mutation = {limits.schedules_per_mutation} "
                f"functions, or arguments of more than limits.schedules_bytes = {limits.schedules_bytes} bytes; "
                "schedule one that schedules the rest"
            )
        return await self.engine.scheduler.insert(
            self.tx, found, raw, at, self._parent, whose(self.engine, self.caller)
        )

    async def cancel(self, id: str, owners: Owners) -> None:
        await check_scheduled(self._seen(owners), id)
        await self.engine.scheduler.cancel(self.tx, id)

    def vectors(self, owners: Owners) -> Store:
        self.tx.check_open()
        if self.engine.stores.url:
            raise PurityError(
                f"{self.function.path} uses ctx.vectors, which is a remote store ({URL_SETTING} is set): that can be "
                f"used from actions only. Schedule one with ctx.scheduler.run_after, or unset {URL_SETTING} to have "
                "vectors in this database"
            )
        return own_store(self.engine.stores, Records(self.tx), owners, self.identity)

    async def generations(
        self, work: Callable[[GenerationsInside], Awaitable[R]], owners: Owners, *, writes: bool = True
    ) -> R:
        self.tx.check_open()
        return await work(own_generations(self.tx, owners))

    async def files(self, work: Callable[[FilesInside], Awaitable[R]], *, writes: bool = True) -> R:
        self.tx.check_open()
        return await work(FilesInTransaction(self.engine.files, self.tx))


class ActionRun:
    """One run of an action: ordinary asyncio, each call a transaction of its own."""

    def __init__(
        self,
        engine: Engine,
        function: Function[..., Any],
        args: bytes,
        identity: Identity | None,
        parent: str | None = None,
    ) -> None:
        """`parent` is the id of the scheduled action that this run is, or belongs to."""
        self.engine = engine
        self.function = function
        self.args = args
        self.caller = identity
        self.parent = parent
        self.lines: list[str] = []

    async def execute(self) -> tuple[Result, BaseException | None]:
        """Runs the action. The exception comes along for retries."""
        limit = self.engine.limits.action_seconds
        scope = asyncio.timeout(limit)
        try:
            kwargs = self.engine.decode_arguments(self.function, self.args)
            async with scope:
                value = await self.function.handler(ActionCtx(self, self.function.owners), **kwargs)
            return Result(encoded(self.function, value, self.engine.limits), log_lines=self.lines), None
        except TimeoutError as error:
            if scope.expired():
                text = f"{self.function.path} ran longer than limits.action_seconds = {limit:g}"
                return Result(None, Failure(text, code="FunctionTimeout"), log_lines=self.lines), error
            return self._failed(error)
        except BaseException as error:
            if not is_outcome(error):
                raise
            return self._failed(error)

    def _failed(self, error: BaseException) -> tuple[Result, BaseException]:
        failure = describe(error, self.function.path, self.engine.limits, log=self.engine.log_errors)
        return Result(None, failure, log_lines=self.lines), error

    def identity(self) -> Identity | None:
        return self.caller

    def now(self, every: float | None) -> float:
        return self.engine.clock.now_ns() / 1e9

    def random(self) -> Random:
        return Random(self.engine.entropy.random_bytes(16))

    def environment(self) -> Mapping[str, str]:
        return self.engine.variables.at(self.engine.committer.published)

    def log(self, level: Level, text: str) -> None:
        keep_line(self.lines, self.engine.limits.log_lines, self.function.path, level, text)

    async def call(self, function: Function[..., Any] | str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        found = self.engine.resolve(function)
        raw = found.arguments.encode(args, kwargs)
        if found.kind == "query":
            result = await self.engine.query(found, raw, self.caller)
        elif found.kind == "mutation":
            result = (await self.engine.mutation(found, raw, self.caller, parent=self.parent)).result
        else:
            result, error = await ActionRun(self.engine, found, raw, self.caller, self.parent).execute()
            if error is not None:
                raise error
        if result.failure is not None:
            raise error_of(result.failure)
        return found.decode_result(cast(bytes, result.value))

    async def migrate(self, migration: Migration, again: bool, seconds: float | None) -> MigrationStatus:
        return await self.engine.migrations.run(migration, again, seconds)

    async def schedule(
        self, at: float, function: Function[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> str:
        found = self.engine.resolve(function)
        return await self.engine.scheduler.insert_now(
            found, found.arguments.encode(args, kwargs), at, self.parent, whose(self.engine, self.caller)
        )

    async def cancel(self, id: str, owners: Owners) -> None:
        async def job(tx: EngineTransaction) -> None:
            await check_scheduled(self._seen(tx), id)
            await self.engine.scheduler.cancel(tx, id)

        await self.engine.transact(job)

    def vectors(self, owners: Owners) -> Store:
        return own_store(self.engine.stores, self.engine.stores, owners, self.identity)

    async def generations(
        self, work: Callable[[GenerationsInside], Awaitable[R]], owners: Owners, *, writes: bool = True
    ) -> R:
        if writes:
            return await self.engine.transact(lambda tx: work(own_generations(tx, owners)))
        async with self.engine.reading() as tx:
            return await work(own_generations(tx, owners))

    def _seen(self, tx: EngineTransaction) -> OwnedTransaction | EngineTransaction:
        """A transaction as this action sees it."""
        if self.function.owners == "all" or not self.engine.owned:
            return tx
        return OwnedTransaction(tx, self.identity)

    async def files(self, work: Callable[[FilesInside], Awaitable[R]], *, writes: bool = True) -> R:
        files = self.engine.files
        if writes:
            return await self.engine.transact(lambda tx: work(FilesInTransaction(files, tx)))
        async with self.engine.reading() as tx:
            return await work(FilesInTransaction(files, tx))

    def file_store(self) -> FilesOutside:
        return self.engine.files

    async def nearest(
        self,
        index: VectorIndex,
        vector: Embedded,
        limit: int,
        conditions: Conditions,
        *,
        approximate: bool = False,
    ) -> list[Hit[Any]]:
        async with self.engine.reading() as tx:
            return await self._seen(tx).nearest(index, vector, limit, conditions, approximate=approximate)

    async def search_text(self, index: TextIndex, text: str, limit: int, conditions: Conditions) -> list[Hit[Any]]:
        async with self.engine.reading() as tx:
            return await self._seen(tx).search_text(index, text, limit, conditions)

    async def search_page(
        self, index: TextIndex, text: str, options: PaginationOptions, conditions: Conditions
    ) -> Page[Hit[Any]]:
        async with self.engine.reading() as tx:
            return await self._seen(tx).search_page(index, text, options, conditions)

    async def hybrid(
        self, indexes: tuple[VectorIndex, TextIndex], vector: Embedded, text: str, request: HybridRequest
    ) -> list[HybridHit[Any]]:
        async with self.engine.reading() as tx:
            return await self._seen(tx).hybrid(indexes, vector, text, request)

    async def explain(
        self, indexes: tuple[VectorIndex, TextIndex], vector: Embedded, text: str, request: HybridRequest
    ) -> Explanation[Any]:
        async with self.engine.reading() as tx:
            return await self._seen(tx).explain(indexes, vector, text, request)


def whose(engine: Engine, caller: Identity | None) -> str | None:
    """Who schedules, where that matters."""
    return caller.token_identifier if engine.owned and caller is not None else None
