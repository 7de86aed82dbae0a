"""The engine: tables, functions, commits, live queries and scheduled work of one application over one storage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol, TypeVar

from reflow.context import Identity
from reflow.crons import Cron, Defined
from reflow.engine import crons as cron_functions
from reflow.engine import files, generations, record_tables
from reflow.engine.cache import Entry, QueryCache
from reflow.engine.catalog import Catalog, Progress
from reflow.engine.commit import Clock, Committer, Step
from reflow.engine.crons import CronTab
from reflow.engine.documents import IdWalk, id_walk
from reflow.engine.environment import VARIABLES, Variables
from reflow.engine.guard import Watchdog, install_audit_hook
from reflow.engine.history import HistorySnapshot
from reflow.engine.live import Hub
from reflow.engine.migrations import Migrations
from reflow.engine.mutations import Call, Mutations, Outcome
from reflow.engine.outcomes import Result, describe
from reflow.engine.reads import ReadSet
from reflow.engine.record_purge import purge_some
from reflow.engine.record_store import VectorStores
from reflow.engine.runner import ActionRun, TransactionRun
from reflow.engine.scheduled import Scheduled
from reflow.engine.scheduler import Scheduler
from reflow.engine.transaction import Effects, EngineTransaction
from reflow.engine.vector_files import named_files, note_files
from reflow.engine.write_log import Commit, Touched
from reflow.errors import (
    FunctionNotFound,
    InvalidArguments,
    InvalidValue,
    LimitExceeded,
    Misfit,
    OutOfRetention,
    ReflowError,
    StorageError,
)
from reflow.functions import Function
from reflow.generations import Generation
from reflow.ids import encode_id
from reflow.limits import DEFAULT, Limits
from reflow.migrations import MigrationStatus
from reflow.schema import TableSpec, spec_of
from reflow.search.vector import VectorStore
from reflow.settings import Settings
from reflow.storage.base import Batch, Snapshot, Storage, Write
from reflow.storage.blobs import Blobs, MemoryBlobs
from reflow.vectors import Vectors

LOG = logging.getLogger("reflow.engine")

T = TypeVar("T")


class Entropy(Protocol):
    """Where the engine's randomness comes from."""

    def random_bytes(self, count: int) -> bytes:
        """Unpredictable bytes."""
        ...

    def uniform(self) -> float:
        """A number in 0..1."""
        ...


class Engine:
    """Started by `start`, stopped by `close`; everything in between happens on one event loop."""

    def __init__(
        self,
        functions: Iterable[Function[..., Any]],
        tables: Iterable[TableSpec],
        storage: Storage,
        *,
        clock: Clock,
        entropy: Entropy,
        environment: Mapping[str, str],
        limits: Limits = DEFAULT,
        log_errors: bool = True,
        indexes: Iterable[Vectors] = (),
        settings: Iterable[type[Settings]] = (),
        crons: Iterable[Defined] = (),
        blobs: Blobs | None = None,
        origin: str = "",
    ) -> None:
        """`blobs` hold the bytes of files (default: memory), `origin` is what the addresses of files begin with."""
        given = list(functions)
        self.migrations = Migrations(self, given)
        own_functions = [cron_functions.LIST, *self.migrations.functions()]
        self.functions = {function.path: function for function in [*given, *own_functions]}
        self.raw = False
        """Whether the tables of the app are known as plain dicts, whatever their schema, and nothing runs by itself."""
        self.storage = storage
        self.clock = clock
        self.entropy = entropy
        self.environment = environment
        self.limits = limits
        self.log_errors = log_errors
        rows = (Scheduled, Cron, MigrationStatus, Generation)
        own = (*map(spec_of, rows), VARIABLES, *record_tables.TABLES, *files.TABLES)
        self.catalog = Catalog([*tables, *own], limits)
        self.vectors = VectorStore(limits, storage.files)
        self.names = record_tables.NameCache(limits.names_remembered)
        self.variables = Variables(environment, self.catalog, settings)
        self.watchdog = Watchdog(limits)
        self._written: list[Write] = []
        self.committer = Committer(storage, clock, limits, self.vectors, self._publish, self._take_back)
        self.hub = Hub(self.committer, clock, limits)
        self.cache = QueryCache(
            self.committer, limits, self._run_entry, self._seconds, self.hub.changed, self.hub.schedule
        )
        self.hub.cache = self.cache
        self.crons = CronTab(self, crons)
        self.scheduler = Scheduler(self)
        self.stores = VectorStores(self, indexes)
        self.owned = self.catalog.owned or self.stores.owned
        """Whether anything that the app stores has owners."""
        self.files = files.Files(self, blobs or MemoryBlobs(limits), origin)
        self._last_us = 0
        self._id_walks: dict[str, list[tuple[str, IdWalk]]] = {}
        self._mutations = Mutations(self)

    # Life

    async def start(self, progress: Progress | None = None) -> None:
        """Opens the storage, brings in the schema, and starts. Raises StorageError, SchemaError, SettingsError,
        DefinitionError."""
        for function in self.functions.values():
            function.compile()
        self.crons.compile()
        ts = await self.storage.open()
        try:
            await self._deploy(progress)
            snapshot = await self.storage.snapshot()
            try:
                await self.variables.load(snapshot, self.limits.scan_page)
                self.variables.check()
                self.vectors.know(named_files(await self.storage.read_meta()))
                await self.catalog.load_vectors(snapshot, self.vectors)
                self.vectors.start(ts)
            finally:
                await snapshot.close()
        except BaseException:
            await self.storage.close()
            raise
        self._last_us = ts // 1000
        install_audit_hook()
        self.watchdog.start()
        self.committer.start(ts)
        self.hub.start()
        try:
            await self.transact(generations.forget_removed)
            for path in await self.transact(self.migrations.declare):
                LOG.info("the migration %s is not done: `reflow migrate` runs it", path)
            await self.stores.declare()
            await self.scheduler.start()
            self.files.start()
        except BaseException:
            await self.close()
            raise

    async def start_raw(self) -> None:
        """Opens the storage for migrations, and for a look at reflow's own tables: no schema is enforced, no vectors
        are loaded, nothing is run that is due. Raises StorageError."""
        self.raw = True
        ts = await self.storage.open()
        try:
            await self._deploy(None)
            snapshot = await self.storage.snapshot()
            try:
                await self.variables.load(snapshot, self.limits.scan_page)
            finally:
                await snapshot.close()
        except BaseException:
            await self.storage.close()
            raise
        self._last_us = ts // 1000
        install_audit_hook()
        self.watchdog.start()
        self.committer.start(ts)
        self.hub.start()
        try:
            await self.transact(self.migrations.declare)
        except BaseException:
            await self.close()
            raise

    async def _deploy(self, progress: Progress | None) -> None:
        try:
            changed = await self.catalog.deploy(self.storage, progress, raw=self.raw)
        except Misfit as misfit:
            await self.storage.rollback()
            raise await self.migrations.explained(misfit) from None
        except BaseException:
            await self.storage.rollback()
            raise
        if changed:
            await self.storage.commit()

    async def close(self) -> None:
        """Stops scheduled work, finishes what is queued, closes the storage."""
        await self.scheduler.close()
        await self.files.close()
        await self.stores.close()
        await self._mutations.close()
        await self.committer.close()
        await self.hub.close()
        self.watchdog.stop()
        try:
            if not self.raw:  # then it knows of none
                await self._leave_files()
        finally:
            await self.storage.close()

    async def _leave_files(self) -> None:
        """Brings the files of vectors up to date. Without that they are, or are made anew, at the next start."""
        await self.vectors.close()
        try:
            notes = await note_files(self.storage, self.vectors)
            await self.storage.commit()
            self.vectors.noted(notes)
        except StorageError as error:
            await self.storage.rollback()
            LOG.warning("files of vectors could not be noted: %s", error)

    def _seconds(self) -> float:
        return self.clock.now_ns() / 1e9

    # What transactions ask for

    def new_seq(self) -> int:
        """A fresh sequence number, which grows by at least a microsecond each time."""
        self._last_us = max(self._last_us + 1, self.clock.now_ns() // 1000)
        return self._last_us << 12

    def new_id(self, table: int) -> tuple[str, int]:
        """A fresh id and its sequence number."""
        seq = self.new_seq()
        return encode_id(table, seq, self.entropy.random_bytes(8)), seq

    def next_ts(self) -> int:
        """A commit is not older than its documents, so that ids go on growing after a restart."""
        return max(self.committer.next_ts(), self._last_us * 1000)

    def resolve(self, function: Function[..., Any] | str) -> Function[..., Any]:
        """The function of this app behind a reference, internal ones included. Raises FunctionNotFound."""
        path = function if isinstance(function, str) else function.path
        found = self.functions.get(path)
        if found is None or (not isinstance(function, str) and found is not function):
            raise FunctionNotFound(f"no function {path!r} in this app; is its module among App(modules=[...])?")
        return found

    def public(self, path: str, *kinds: str) -> Function[..., Any] | None:
        """The function that clients know by this path; None for internal ones and other kinds."""
        found = self.functions.get(path)
        return found if found is not None and not found.internal and found.kind in kinds else None

    def known(self, path: str, *kinds: str) -> Function[..., Any] | None:
        """The function that administrators know by this path, internal ones included; None for other kinds."""
        found = self.functions.get(path)
        return found if found is not None and found.kind in kinds else None

    def decode_arguments(self, function: Function[..., Any], raw: bytes) -> dict[str, Any]:
        """Keyword arguments from JSON, ids checked against their tables. Raises InvalidArguments."""
        if len(raw) > self.limits.arguments_bytes:
            raise InvalidArguments(
                f"ArgumentValidationError: {function.path}: arguments of {len(raw)} bytes; "
                f"limits.arguments_bytes is {self.limits.arguments_bytes}"
            )
        kwargs = function.arguments.decode(raw)
        walks = self._id_walks.get(function.path)
        if walks is None:
            walks = self._id_walks[function.path] = _argument_walks(function)
        for name, walk in walks:
            try:
                walk(kwargs[name], self.catalog.check_id)
            except InvalidValue as error:
                raise InvalidArguments(f"ArgumentValidationError: {function.path}: {name}: {error}") from None
        return kwargs

    # Queries

    @asynccontextmanager
    async def reading(self) -> AsyncGenerator[EngineTransaction, None]:
        """A read-only transaction on the published state."""
        snapshot = await self.committer.snapshot()
        tx = EngineTransaction(self, snapshot, writable=False)
        try:
            yield tx
        finally:
            tx.finish()
            await self.committer.give_back(snapshot)

    async def query(self, function: Function[..., Any], args: bytes, identity: Identity | None = None) -> Result:
        """The result of a query as of now."""
        try:
            return await self.cache.fresh(function, args, identity, None)
        except InvalidValue as error:
            return Result(None, describe(error, function.path, self.limits, log=False))

    async def query_batch(
        self, calls: Sequence[tuple[Function[..., Any], bytes]], identity: Identity | None = None
    ) -> list[Result]:
        """The results of several queries, all as of the same moment. Raises LimitExceeded where they are too large
        together."""
        results: list[Result] = []
        size, bound = 0, self.limits.result_bytes
        snapshot = await self.committer.snapshot()
        try:
            for function, args in calls:
                try:
                    result = await self.cache.at(function, args, identity, snapshot)
                except InvalidValue as error:
                    result = Result(None, describe(error, function.path, self.limits, log=False))
                results.append(result)
                size += len(result.value or b"")
                if size > bound:
                    raise LimitExceeded(
                        f"the first {len(results)} of {len(calls)} queries gave {size} bytes; limits.result_bytes is "
                        f"{bound} for all of a batch: ask for fewer at once"
                    )
        finally:
            await self.committer.give_back(snapshot)
        return results

    async def query_at(
        self, function: Function[..., Any], args: bytes, ts: int, identity: Identity | None = None
    ) -> Result:
        """The result of a query at an older timestamp. Raises OutOfRetention."""
        if ts > self.committer.published:
            raise OutOfRetention(f"OutOfRetention: timestamp {ts} is not reached yet; ask /api/query_ts for one")
        base = await self.committer.snapshot()
        snapshot: Snapshot = base
        try:
            if ts != base.ts:
                snapshot = await HistorySnapshot.open(base, self.catalog, ts)
            tx = EngineTransaction(self, snapshot, writable=False)
            return await TransactionRun(self, function, args, identity).execute(tx)
        finally:
            await self.committer.give_back(base)

    async def _run_entry(self, entry: Entry, snapshot: Snapshot) -> tuple[Result, ReadSet]:
        tx = EngineTransaction(self, snapshot, writable=False, standing=self.cache.standing)
        tx.journal = entry.journal
        run = TransactionRun(self, entry.function, entry.args, entry.identity, shared=entry.shared)
        return await run.execute(tx), tx.reads

    # Mutations

    async def mutation(
        self,
        function: Function[..., Any],
        args: bytes,
        identity: Identity | None = None,
        request: tuple[str, int] | None = None,
        parent: str | None = None,
    ) -> Outcome:
        """Runs a mutation; returns once it is durable and published. Raises what kept the server from running it.

        `parent` is the id of the scheduled action that calls.
        """
        future: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

        def done(outcome: Outcome) -> None:
            if not future.done():
                future.set_result(outcome)

        self.submit(Call(function, args, identity, request, done, parent=parent))
        outcome = await future
        if outcome.error is not None:
            raise outcome.error
        return outcome

    def submit(self, call: Call) -> None:
        """Queues a mutation. `call.done` is called once, after the group's publication. Raises Overloaded."""
        self._mutations.submit(call)

    def note_scheduled(self, writes: Iterable[Write]) -> None:
        """Keeps rows of the status table, so that the scheduler learns of them when they are durable."""
        table = self.scheduler.table
        for write in writes:
            if write.table == table:
                self._written.append(write)

    async def transact(self, work: Callable[[EngineTransaction], Awaitable[T]]) -> T:
        """Runs reflow's own work in a turn and transaction of its own; returns once it is durable."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def job() -> Step:
            try:
                head = await self.committer.head()
                tx = EngineTransaction(self, head, writable=True)
                try:
                    value = await work(tx)
                    if tx.wrote:
                        effects = await tx.effects(self.next_ts(), None)
                        await self.committer.apply(effects)
                        self.note_scheduled(effects.batch.writes)
                        if self.variables.table in tx.tables_written:
                            self.variables.apply(effects.batch)
                finally:
                    tx.finish()
                    await head.close()
            except Exception as error:
                raised = error
                return Step(lambda _ts, _error: None if future.done() else future.set_exception(raised))

            def done(_ts: int, error: ReflowError | None) -> None:
                if not future.done():
                    future.set_result(value) if error is None else future.set_exception(error)

            return Step(done)

        self.committer.submit(job)
        return await future

    async def reach(self, ts: int) -> None:
        """Publishes an empty commit unless `ts` is published. For a time that the clock has passed already."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        async def job() -> Step:
            if self.committer.applied < ts:
                await self.committer.apply(Effects(Batch(self.committer.next_ts()), Touched(), []))

            def done(_ts: int, error: ReflowError | None) -> None:
                if not future.done():
                    future.set_result(None) if error is None else future.set_exception(error)

            return Step(done)

        self.committer.submit(job)
        await future

    # Actions

    async def action(self, function: Function[..., Any], args: bytes, identity: Identity | None = None) -> Result:
        """Runs an action for a client."""
        result, _ = await ActionRun(self, function, args, identity).execute()
        return result

    async def call(self, function: Function[..., Any], args: bytes, identity: Identity | None = None) -> Result:
        """Runs a query, mutation or action, whichever it is."""
        if function.kind == "query":
            return await self.query(function, args, identity)
        if function.kind == "mutation":
            return (await self.mutation(function, args, identity)).result
        return await self.action(function, args, identity)

    # Publication and cleaning

    def _take_back(self) -> None:
        """A group failed: nothing of it is so."""
        self._written.clear()
        self.names.forget()
        self.variables.take_back(self.committer.published)

    def _publish(self, commits: list[Commit]) -> None:
        """A group became durable: what is derived from it follows."""
        self.cache.publish(commits)
        if self._written:
            written = list(self._written)
            self._written.clear()
            self.scheduler.publish(written)
        self.vectors.commit()

    async def prune(self) -> None:
        """Forgets history and stored answers that are older than the limits say."""
        now = self.clock.now_ns()
        before = min(now - int(self.limits.retention_seconds * 1e9), self.committer.published)
        answers = now - int(self.limits.request_retention_seconds * 1e9)
        self.committer.log.forget(before)
        self.vectors.compact(before)
        self.variables.forget(before)
        await self._note_files()
        while await self._prune_some(before, answers):
            continue
        while await self.transact(lambda tx: purge_some(tx, now / 1e6)):
            continue

    async def _prune_some(self, before: int, answers: int) -> bool:
        """Removes what one group may; True where more is left. Raises StorageError."""
        return await self.in_group(lambda: self.storage.prune(undo_before=before, requests_before=answers))

    async def _note_files(self) -> None:
        """Tells the storage which files of vectors were written. Raises StorageError."""
        if self.vectors.news():
            self.vectors.noted(await self.in_group(lambda: note_files(self.storage, self.vectors)))

    async def in_group(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does something to the storage in a turn; returns once it is durable. Raises StorageError."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        async def job() -> Step:
            self.committer.join()
            try:
                value = await work()
            except StorageError as error:
                failed = error
                return Step(lambda _ts, _error: None if future.done() else future.set_exception(failed))

            def done(_ts: int, error: ReflowError | None) -> None:
                if not future.done():
                    future.set_result(value) if error is None else future.set_exception(error)

            return Step(done)

        self.committer.submit(job)
        return await future


def _argument_walks(function: Function[..., Any]) -> list[tuple[str, IdWalk]]:
    hints = function.arguments.hints
    return [(name, walk) for name in function.arguments.names if (walk := id_walk(hints.get(name))) is not None]
