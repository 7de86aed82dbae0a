"""The deployment's variables: those that `reflow env` stores, over those of the process.

Functions read them without waiting, so the stored ones are in memory, each with its latest values and the timestamps
of these: a transaction sees the ones of its snapshot. What it reads joins its read set, as a look-up by name would.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Literal, NamedTuple, cast

import msgspec

from reflow.database import DatabaseWriter, RangeRequest
from reflow.engine.catalog import Catalog, pages
from reflow.engine.transaction import EngineTransaction
from reflow.errors import InvalidValue, LimitExceeded, OutOfRetention
from reflow.limits import Limits
from reflow.schema import Index, Table, TableSpec, spec_of
from reflow.settings import Settings, check_settings, check_variable, check_variable_name, spelled, variables_of
from reflow.storage.base import Batch, Snapshot

if TYPE_CHECKING:
    from reflow.engine.engine import Engine


class VariableRow(Table, table="_environment", system=True):
    """A stored variable."""

    name: str
    value: str

    by_name = Index("name")


VARIABLES: TableSpec = spec_of(VariableRow)


class _Version(NamedTuple):
    """What a variable was set to at a timestamp; None: it was removed."""

    ts: int
    value: str | None


class Variables:
    """All variables in memory. What a group of commits sets is taken back when the group fails."""

    def __init__(self, process: Mapping[str, str], catalog: Catalog, settings: Iterable[type[Settings]] = ()) -> None:
        # A copy: were the process's own environment to change, no live query would learn of it.
        self._process = {name: value for name, value in process.items() if _is_text(value)}
        self._catalog = catalog
        self._settings = tuple(settings)
        self._stored: dict[str, list[_Version]] = {}
        self._since = 0

    @property
    def table(self) -> int:
        """The number of the table of stored variables."""
        return self._catalog.codec(VARIABLES).number

    async def load(self, snapshot: Snapshot, page: int) -> None:
        """Reads what is stored, `page` rows at once."""
        codec = self._catalog.codec(VARIABLES)
        self._since = snapshot.ts
        async for rows in pages(snapshot, codec.number, page):
            for _, raw in rows:
                row = cast(VariableRow, codec.decode(raw))
                self._stored[row.name] = [_Version(snapshot.ts, row.value)]

    def check(self) -> None:
        """Refuses variables that the app's settings can't be read from. Raises SettingsError, which names all."""
        check_settings(self._settings, self.at(self._since))

    def check_changes(self, changes: Mapping[str, str | None]) -> None:
        """The same for values that are to be stored."""
        for kind in self._settings:
            for name, value in changes.items():
                if value is not None:
                    check_variable(kind, name, value)

    def apply(self, batch: Batch) -> None:
        """Follows a batch of the open group."""
        codec = self._catalog.codec(VARIABLES)
        for write in batch.writes:
            if write.table == codec.number:
                row = cast(VariableRow, codec.decode(cast(bytes, write.before if write.value is None else write.value)))
                version = _Version(batch.ts, None if write.value is None else row.value)
                self._stored.setdefault(row.name, []).append(version)

    def take_back(self, published: int) -> None:
        """Forgets what a failed group has set."""
        for versions in self._stored.values():
            while versions and versions[-1].ts > published:
                versions.pop()

    def forget(self, before: int) -> None:
        """Forgets what nobody reads any more: values that were replaced up to that timestamp."""
        for name, versions in list(self._stored.items()):
            stale = bisect_right(versions, before, key=lambda version: version.ts) - 1
            if stale > 0:
                self._since = max(self._since, versions[stale].ts)
                del versions[:stale]
            if not versions or (len(versions) == 1 and versions[0].value is None):
                del self._stored[name]

    def at(self, ts: int) -> Mapping[str, str]:
        """All variables as of a timestamp. Raises OutOfRetention for one before the server's start."""
        if ts < self._since:
            raise OutOfRetention("OutOfRetention: the variables of that timestamp are not known any more")
        return {**self._process, **self.stored(ts)} if self._stored else self._process

    def get(self, name: str, ts: int) -> str | None:
        """One variable as of a timestamp. Raises OutOfRetention like `at`."""
        if ts < self._since:
            return self.at(ts).get(name)
        value = self._value(name, ts) if self._stored else None
        return self._process.get(name) if value is None else value

    def _value(self, name: str, ts: int) -> str | None:
        versions = self._stored.get(name, ())
        place = bisect_right(versions, ts, key=lambda version: version.ts)
        return versions[place - 1].value if place else None

    def stored(self, ts: int) -> dict[str, str]:
        """The stored variables as of a timestamp."""
        return {name: value for name in self._stored if (value := self._value(name, ts)) is not None}

    def told(self, ts: int, name: str | None, *, show: bool) -> list[Told]:
        """See `told`."""
        return told(self.stored(ts), self._process, self._settings, name, show=show)


def _is_text(value: str) -> bool:
    """Whether a value of the process's environment, which may be any bytes, is UTF-8."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


class VariablesRead(Mapping[str, str]):
    """The variables as one transaction sees them; every look-up joins its read set."""

    def __init__(self, variables: Variables, tx: EngineTransaction) -> None:
        self._variables = variables
        self._tx = tx
        self._seen: dict[str, str | None] = {}

    def __getitem__(self, name: str) -> str:
        self._tx.check_open()
        if name not in self._seen:
            self._note({"name": name})
            self._seen[name] = self._variables.get(name, self._tx.snapshot.ts)
        value = self._seen[name]
        if value is None:
            raise KeyError(name)
        return value

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> Mapping[str, str]:
        self._note({})
        return self._variables.at(self._tx.snapshot.ts)

    def _note(self, equal: Mapping[str, str]) -> None:
        keys = self._tx.key_range(RangeRequest(table=VARIABLES, index=VariableRow.by_name, equal=equal))
        self._tx.reads.add_range(keys.index, keys.prefix, keys.lower, keys.upper)


async def change(tx: EngineTransaction, changes: Mapping[str, str | None]) -> list[str]:
    """Stores variables, removes those given as None; returns the names of those that were not there to be removed.

    Raises InvalidValue and LimitExceeded, which name no value.
    """
    db = DatabaseWriter(tx)
    unknown: list[str] = []
    limits = tx.host.limits
    for name, value in changes.items():
        check_variable_name(name)
        row = await db.query(VariableRow).using(VariableRow.by_name, name=name).unique()
        with tx.as_system():
            if value is None:
                await db.delete(row.id) if row is not None else unknown.append(name)
                continue
            _check_value(name, value, limits)
            if row is None:
                await db.insert(VariableRow(name=name, value=value))
            else:
                await db.patch(row.id, value=value)
    if await db.query(VariableRow).count() > limits.variables:
        raise LimitExceeded(f"more than limits.variables = {limits.variables} variables: remove some with `unset`")
    return unknown


def _check_value(name: str, value: str, limits: Limits) -> None:
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidValue(f"the value of {name} is no text: it holds half of a character") from None
    if size > limits.variable_bytes:
        raise LimitExceeded(
            f"the value of {name} has {size} bytes; limits.variable_bytes is {limits.variable_bytes}: keep what is "
            "larger in a document or a file"
        )


class Told(msgspec.Struct):
    """A variable as `reflow env` shows it: where its value comes from, which settings read it."""

    name: str
    source: Literal["stored", "process"] | None
    settings: list[str]
    value: str | None = None
    """Only for who asked to be shown it."""


def told(
    stored: Mapping[str, str],
    process: Mapping[str, str],
    settings: Iterable[type[Settings]],
    name: str | None,
    *,
    show: bool,
) -> list[Told]:
    """The variables that are stored or that settings read, or the one of that name; `show` tells values, too."""
    readers: dict[str, list[str]] = {}
    for kind in settings:
        for variable in variables_of(kind):
            readers.setdefault(variable.name, []).append(spelled(kind, variable))
    found: list[Told] = []
    for each in sorted({*stored, *readers}) if name is None else [name]:
        source = "stored" if each in stored else "process" if each in process else None
        value = stored.get(each, process.get(each)) if show else None
        found.append(Told(each, source, readers.get(each, []), value))
    return found


async def assign(engine: Engine, changes: Mapping[str, str | None]) -> list[str]:
    """`change` in a running engine; what has read one of the variables follows. Raises SettingsError as well."""
    engine.variables.check_changes(changes)
    return await engine.transact(lambda tx: change(tx, changes))
