"""Runs migrations: page by page, each a transaction that also notes how far it came.

A running application gives a migration its documents as they are stored, and what comes back must fit the table. Where
the stored documents don't fit the application's tables, it can't start; then its directory is opened *raw*: user tables
are read as plain dicts, no schema is enforced, no index but that of creation is kept up, and nothing else runs. A table
that a raw migration touches is marked first: the next start checks all of its documents and builds all of its indexes
anew, whatever version of the application that is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from reflow import values
from reflow.context import FUNCTION_LOG, ActionCtx, Level
from reflow.database import DatabaseReader, DatabaseWriter
from reflow.engine import guard
from reflow.engine.catalog import stored_rows
from reflow.engine.documents import TableCodec, document_id, patch_dict
from reflow.engine.transaction import EngineTransaction, Pending
from reflow.errors import FunctionTimeout, InvalidValue, MigrationError, Misfit, ReflowError, SchemaError, StorageError
from reflow.functions import ActionFunction, Function
from reflow.migrations import Migration, MigrationCtx, MigrationStatus, Trial
from reflow.schema import CREATED_FIELD, ID_FIELD, TableSpec, spec_of
from reflow.storage.base import Row, sequence_key

if TYPE_CHECKING:
    from reflow.engine.engine import Engine

_FIRST = "0" * 16
_TURN_BYTES = 64 << 10
"""Documents that are migrated before the event loop gets a turn."""


class Misstep(Exception):
    """A migration failed at a document."""

    def __init__(self, document: str, reason: str) -> None:
        super().__init__(reason)
        self.document = document


class _DocumentRun:
    """What the context of a migration asks, for one document."""

    def __init__(self, engine: Engine, tx: EngineTransaction, path: str) -> None:
        self._engine = engine
        self._tx = tx
        self._path = path

    def now(self) -> float:
        return self._engine.clock.now_ns() / 1e9

    def log(self, level: Level, text: str) -> None:
        FUNCTION_LOG.log(logging.INFO, "%s: [%s] %s", self._path, level, text)

    async def document(self, id: str) -> dict[str, Any] | None:
        codec, seq = self._engine.catalog.locate(id)
        raw = await self._tx.raw(codec, seq, id)
        return None if raw is None else values.decode(raw, trusted=True)


class Part(NamedTuple):
    """The documents that a migration has still to look at: sequence numbers `after < seq <= until`."""

    migration: Migration
    after: int
    until: int


class Migrations:
    """The migrations of a running application."""

    def __init__(self, engine: Engine, functions: Iterable[Function[..., Any]]) -> None:
        self._engine = engine
        self._known = {one.path: one for one in functions if isinstance(one, Migration)}

    def functions(self) -> list[Function[..., Any]]:
        """What the command line asks for."""
        return [
            ActionFunction(self.listed, path="_migrations:list", internal=True, rename=None),
            ActionFunction(self.trials, path="_migrations:trials", internal=True, rename=None),
        ]

    async def declare(self, tx: EngineTransaction) -> list[str]:
        """Enters migrations that are new, and returns the paths of those that are not done.

        They concern the documents stored so far; in a new table there are none.
        """
        stored = await self._rows(tx)
        known = {row.name for row in stored}
        new = [one for path, one in self._known.items() if path not in known]
        until = self._engine.new_seq() if new else 0
        rows = [
            MigrationStatus(
                name=one.path,
                table_name=one.table.name,
                state="done" if one.table.name in self._engine.catalog.created else "pending",
                until=f"{until:016x}",
                cursor=_FIRST,
            )
            for one in new
        ]
        with tx.as_system():
            await tx.insert(spec_of(MigrationStatus), rows, [None] * len(rows))
        return [row.name for row in (*stored, *rows) if row.state != "done" and row.name in self._known]

    @staticmethod
    async def _rows(tx: EngineTransaction) -> list[MigrationStatus]:
        return await DatabaseReader(tx).query(MigrationStatus).collect()

    async def explained(self, misfit: Misfit) -> SchemaError:
        """The error of a refused deploy with what to do next."""
        stored = await stored_rows(self._engine.storage, MigrationStatus, self._engine.limits)
        paths = [path for path, one in self._known.items() if one.table.name == misfit.table]
        return SchemaError(f"{misfit} {_advice(paths, {row.name: row for row in stored})}")

    async def listed(self, ctx: ActionCtx) -> list[MigrationStatus]:
        """How far the migrations of this application are, in the order in which they run."""
        return await self._listed()

    async def _listed(self) -> list[MigrationStatus]:
        async with self._engine.reading() as tx:
            rows = {row.name: row for row in await self._rows(tx)}
        return [rows[path] for path in self._known]

    # Running

    async def run(self, migration: Migration, again: bool, seconds: float | None) -> MigrationStatus:
        """Goes on with a migration until it is done, or that time has passed. Raises MigrationError."""
        if self._engine.raw:
            await self._engine.in_group(lambda: self._engine.catalog.unsettle(self._engine.storage, migration.table))
        row = await self._engine.transact(lambda tx: self._begin(tx, migration, again))
        strict = self._engine.raw and _completes([migration.path], migration.table, await self._listed())
        began = self._engine.clock.now_ns()
        while row.state == "running":
            if seconds is not None and self._engine.clock.now_ns() - began >= seconds * 1e9:
                break
            try:
                row = await self._engine.transact(lambda tx: self._batch(tx, migration, strict))
            except Misstep as failed:
                raise await self._failed(migration, failed) from failed.__cause__
        return row

    async def _begin(self, tx: EngineTransaction, migration: Migration, again: bool) -> MigrationStatus:
        db = DatabaseWriter(tx)
        rows = {row.name: row for row in await self._rows(tx)}
        for path, other in self._known.items():
            if other is migration:
                break
            if other.table is migration.table and rows[path].state != "done":
                raise MigrationError(
                    f"{migration.path} comes after {path}, which is not done: run `reflow migrate {path}` first, or "
                    "`reflow migrate` for all"
                )
        row = rows[migration.path]
        if row.state == "running" or (row.state == "done" and not again):
            return row
        row.state = "running"
        row.document = row.error = row.completed = None
        if again:
            row.cursor, row.until = _FIRST, f"{self._engine.new_seq():016x}"
            row.looked = row.changed = 0
        if again or row.started is None:
            row.started = self._engine.clock.now_ns() / 1e6
        part = _part(migration, row)
        codec = self._codec(migration.table)
        row.total = row.looked
        if codec is not None:
            bounds = sequence_key(part.after + 1), sequence_key(part.until + 1)
            row.total += await tx.wait(tx.snapshot.count(codec.number, codec.number, *bounds))
        with tx.as_system():
            await db.replace(row.id, row)
        return row

    def _codec(self, table: TableSpec) -> TableCodec | None:
        """How the documents of a table are read now; None where nothing was ever stored in it."""
        return self._engine.catalog.tables.get(table.name)

    async def _batch(self, tx: EngineTransaction, migration: Migration, strict: bool) -> MigrationStatus:
        """Gives a migration its next documents; what it changes and how far it came commit together."""
        (row,) = [row for row in await self._rows(tx) if row.name == migration.path]
        codec = self._codec(migration.table)
        found = [] if codec is None else await self._page(tx, codec, _part(migration, row))
        async for stored in _in_turns(tx, found):
            assert codec is not None
            row.changed += await self._migrate(tx, migration, codec, stored, strict)
        row.looked += len(found)
        row.total = max(row.total, row.looked)
        if found:
            row.cursor = f"{found[-1].seq:016x}"
        else:
            row.state, row.completed = "done", self._engine.clock.now_ns() / 1e6
        with tx.as_system():
            await DatabaseWriter(tx).replace(row.id, row)
        return row

    async def _page(self, tx: EngineTransaction, codec: TableCodec, part: Part) -> list[Row]:
        limits = self._engine.limits
        lower, upper = sequence_key(part.after + 1), sequence_key(part.until + 1)
        rows = await tx.wait(tx.snapshot.scan(codec.number, codec.number, lower, upper, limit=limits.migration_batch))
        size = 0
        for count, row in enumerate(rows):
            size += len(row.value)
            if size > limits.migration_batch_bytes:
                return rows[: max(1, count)]
        return rows

    async def _migrate(
        self, tx: EngineTransaction, migration: Migration, codec: TableCodec, stored: Row, strict: bool
    ) -> bool:
        """Changes one document; whether there was anything to change. Raises Misstep."""
        changed = await self._applied(tx, migration, values.decode(stored.value, trusted=True))
        if changed is None and not strict:
            return False
        fields = values.decode(stored.value, trusted=True) if changed is None else changed
        raw, copy = self._fitted(codec, document_id(stored.value), migration, fields, strict)
        if changed is None:
            return False
        former = codec.decode(stored.value)
        keys = codec.keys_of(copy, stored.seq), codec.keys_of(former, stored.seq)
        tx.put(Pending(codec, stored.seq, raw, copy, keys[0], stored.value, former, keys[1]))
        return True

    def _fitted(
        self, codec: TableCodec, id: str, migration: Migration, fields: dict[str, Any], strict: bool
    ) -> tuple[bytes, Any]:
        """Bytes and document for a table; where `strict`, as the application defines it. Raises Misstep."""
        check = self._engine.catalog.check_id
        try:
            if strict:
                raw, _ = self._engine.catalog.defined(migration.table, codec.number).rewritten(fields, check)
                fields = values.decode(raw)
            return codec.rewritten(fields, check)
        except InvalidValue as error:
            raise Misstep(id, str(error)) from None

    async def _applied(
        self, tx: EngineTransaction, migration: Migration, document: dict[str, Any]
    ) -> dict[str, Any] | None:
        """A document's fields after a migration, None where it changes nothing. Raises Misstep."""
        before = values.encode(document)
        id = cast(str, document[ID_FIELD])
        ctx = MigrationCtx(_DocumentRun(self._engine, tx, migration.path))
        try:
            step = cast(Any, migration.step(ctx, document))
            given = await guard.drive(step, tx, self._engine.watchdog)
            after = _merged(migration.table.name, values.decode(before, trusted=True), document, given)
            return None if after is None or values.encode(after) == before else after
        except StorageError:
            raise
        except (Exception, FunctionTimeout) as error:
            if tx.fault is not None:
                raise tx.fault from None
            text = str(error) if isinstance(error, ReflowError) else f"{type(error).__name__}: {error}"
            limits = self._engine.limits
            if isinstance(error, FunctionTimeout):
                text = f"it took longer than limits.function_cpu_seconds = {limits.function_cpu_seconds:g} for it"
            raise Misstep(id, text) from error

    async def _failed(self, migration: Migration, failed: Misstep) -> MigrationError:
        """Notes where a migration stopped, and says so."""

        async def job(tx: EngineTransaction) -> MigrationStatus:
            (row,) = [row for row in await self._rows(tx) if row.name == migration.path]
            row.state, row.document = "failed", failed.document
            row.error = str(failed)[: self._engine.limits.error_length]
            with tx.as_system():
                await DatabaseWriter(tx).replace(row.id, row)
            return row

        row = await self._engine.transact(job)
        return MigrationError(
            f"{migration.path} stopped at document {failed.document} of table {migration.table.name!r}: {failed}. "
            f"{row.looked} of {row.total} documents are done and stay so; when it is mended, the same command goes on "
            "behind them"
        )

    # Trying

    async def trials(self, ctx: ActionCtx, name: str | None = None) -> list[Trial]:
        """What the migrations that are not done, or those of a table up to one of them, would do. Writes nothing."""
        rows = {row.name: row for row in await self._listed()}
        chosen = [self._known[path] for path, row in rows.items() if row.state != "done" or path == name]
        if name is not None:
            last = self._find(name)
            chosen = [one for one in chosen[: chosen.index(last) + 1] if one.table is last.table]
        trials: list[Trial] = []
        for table in {one.table.name: one.table for one in chosen}.values():
            chain = [_part(one, rows[one.path]) for one in chosen if one.table is table]
            if name is not None and rows[name].state == "done":
                chain[-1] = Part(chain[-1].migration, 0, self._engine.new_seq())
            paths = [part.migration.path for part in chain]
            strict = self._engine.raw and _completes(paths, table, list(rows.values()))
            trials.append(await self._try(table, chain, strict))
        return trials

    def _find(self, path: str) -> Migration:
        if path not in self._known:
            raise MigrationError(f"no migration {path!r} in this app; it has {', '.join(self._known) or 'none'}")
        return self._known[path]

    async def _try(self, table: TableSpec, chain: list[Part], strict: bool) -> Trial:
        trial = Trial(
            table_name=table.name, migrations=[part.migration.path for part in chain], documents=0, changed=0, failing=0
        )
        codec = self._codec(table)
        if codec is None:
            return trial
        async for tx, stored in self._documents(codec, chain):
            trial.documents += 1
            try:
                trial.changed += await self._try_one(tx, codec, chain, stored, strict)
            except Misstep as failed:
                trial.failing += 1
                if trial.document is None:
                    trial.document, trial.error = failed.document, str(failed)[: self._engine.limits.error_length]
        return trial

    async def _documents(
        self, codec: TableCodec, chain: list[Part]
    ) -> AsyncGenerator[tuple[EngineTransaction, Row], None]:
        """The documents that a chain of migrations concerns. Each page is of a snapshot of its own."""
        after, until = min(part.after for part in chain), max(part.until for part in chain)
        rows: list[Row] | None = None
        while rows is None or rows:
            async with self._engine.reading() as tx:
                rows = await self._page(tx, codec, Part(chain[0].migration, after, until))
                async for row in _in_turns(tx, rows):
                    yield tx, row
            after = rows[-1].seq if rows else after

    async def _try_one(
        self, tx: EngineTransaction, codec: TableCodec, chain: list[Part], stored: Row, strict: bool
    ) -> bool:
        fields: dict[str, Any] = values.decode(stored.value, trusted=True)
        changed = False
        for part in chain:
            if part.after < stored.seq <= part.until:
                after = await self._applied(tx, part.migration, fields)
                changed = changed or after is not None
                fields = after if after is not None else values.decode(values.encode(fields))
        if changed or strict:
            self._fitted(codec, document_id(stored.value), chain[-1].migration, fields, strict)
        return changed


async def _in_turns(tx: EngineTransaction, rows: Iterable[Row]) -> AsyncGenerator[Row, None]:
    """The rows of a page, each with a function's bounds of its own. The event loop goes on in between."""
    size = 0
    for row in rows:
        tx.count_anew()
        yield row
        size += len(row.value)
        if size >= _TURN_BYTES:
            size = 0
            await tx.wait(asyncio.sleep(0))


def _part(migration: Migration, row: MigrationStatus) -> Part:
    return Part(migration, int(row.cursor, 16), int(row.until, 16))


def _completes(paths: Sequence[str], table: TableSpec, rows: Sequence[MigrationStatus]) -> bool:
    """Whether all migrations of a table are done after some, so that what they leave must fit the table."""
    return all(row.state == "done" or row.name in paths for row in rows if row.table_name == table.name)


def _merged(table: str, before: dict[str, Any], document: dict[str, Any], given: object) -> dict[str, Any] | None:
    """A document's fields after what a step has returned. Raises InvalidValue for what it must not return."""
    if given is None:
        if document != before:
            raise InvalidValue("it changed the document and returned None: return the document, or the changes")
        return None
    if not isinstance(given, Mapping):
        raise InvalidValue(f"it returned {type(given).__name__}: return a dict of changes, the document, or None")
    changes = dict(cast("Mapping[str, Any]", given))
    for name in (ID_FIELD, CREATED_FIELD):
        if given is document and name not in changes:
            raise InvalidValue(f"it removed {name}, which is reflow's")
        if name in changes and changes.pop(name) != before[name]:
            raise InvalidValue(f"it changed {name}, which is reflow's")
    after = {ID_FIELD: before[ID_FIELD], CREATED_FIELD: before[CREATED_FIELD]} if given is document else before
    for name, value in changes.items():
        patch_dict(table, after, name, value)
    return after


def _advice(paths: Sequence[str], rows: Mapping[str, MigrationStatus]) -> str:
    """What to do next where documents don't fit, given the paths of their table's migrations."""
    waiting = [path for path in paths if path not in rows or rows[path].state != "done"]
    if waiting:
        return (
            f"`reflow migrate {waiting[0]}` changes the documents before this is enforced"
            + (f" ({', '.join(waiting[1:])} then follows; `reflow migrate` runs all)" if waiting[1:] else "")
            + "; with --dry-run it only says what it would do"
        )
    if paths:
        return (
            f"Its migration {paths[-1]} is done and did not help: mend it and run `reflow migrate {paths[-1]} --again`"
        )
    return (
        "Give new fields a default (or rf.missing()), keep removed ones as optional, or write a migration "
        "(@module.migration) and run it with `reflow migrate`"
    )
