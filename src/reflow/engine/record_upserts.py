"""Upserts of many callers who wait at the same time: one transaction stores them all, as one COMMIT would anyway."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from reflow.engine.commit import Company
from reflow.engine.record_index import Prepared, RecordIndex
from reflow.engine.record_names import existing_index
from reflow.engine.transaction import EngineTransaction
from reflow.errors import InvalidValue, ReflowError
from reflow.search.records import Entry, Shape, checked_in_turns
from reflow.vectors import RecordLike

if TYPE_CHECKING:
    from reflow.engine.engine import Engine


class _Waiting(NamedTuple):
    """An upsert whose records are checked."""

    name: str
    namespace: str
    records: Prepared
    done: asyncio.Future[int]


class Upserts:
    """Takes upserts from outside of functions, each whole or not at all, and brings them to the committer together.

    What is the same for all of a namespace is done once: finding the index, asking for the ids, coding the vectors.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, Shape]] = {}
        """Number and shape of indexes by name, as last seen; what is stored is compared with the index as it is."""
        self._waiting: deque[_Waiting] = deque()
        self._runner: asyncio.Task[None] | None = None
        self._company = Company(engine.limits)

    async def upsert(self, name: str, records: Sequence[RecordLike], namespace: str) -> int:
        """Stores records; returns how many, once they are durable.

        Of two upserts that wait together and give the same id, the later one counts. Raises InvalidValue,
        NoVectorIndex, and what kept the server from storing them.
        """
        prepared = await self._prepared(name, records)
        self._engine.committer.check_room(len(self._waiting))
        done: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Waiting(name, namespace, prepared, done))
        if self._runner is None:
            self._runner = asyncio.create_task(self._run(), name="reflow-upserts")
        else:
            self._company.come(len(self._waiting))
        return await done

    def forget(self, name: str) -> None:
        """Says that an index is gone: one of the same name may be another one."""
        self._shapes.pop(name, None)

    # Checking, before the turn

    async def _prepared(self, name: str, records: Sequence[RecordLike]) -> Prepared:
        """Checked records; the index is looked up where it is not known, or seems to be another one by now."""
        known = self._shapes.get(name)
        if known is not None:
            try:
                return await self._checked(known, records)
            except InvalidValue:
                self._shapes.pop(name, None)
        async with self._engine.reading() as tx:
            row = await existing_index(tx, name)
        if len(self._shapes) >= self._engine.limits.vector_indexes:
            self._shapes.clear()
        known = self._shapes[name] = (row.number, Shape(row.name, row.dims, row.metric))
        return await self._checked(known, records)

    async def _checked(self, known: tuple[int, Shape], records: Sequence[RecordLike]) -> Prepared:
        number, shape = known
        entries = await checked_in_turns(records, shape, self._engine.limits, lambda: asyncio.sleep(0))
        return Prepared(number, records, entries)

    # Storing, in the turn

    async def _run(self) -> None:
        """Stores what waits, until nothing does."""
        loop = asyncio.get_running_loop()
        try:
            while self._waiting:
                began = loop.time()
                stored = await self._store_some()
                await self._company.gather(stored + len(self._waiting), loop.time() - began)
        finally:
            self._runner = None

    async def _store_some(self) -> int:
        """One transaction with what waits when its turn comes; returns how many upserts it had."""
        taken: list[_Waiting] = []

        async def work(tx: EngineTransaction) -> list[int | ReflowError]:
            taken.extend(self._take())
            return await _store_all(tx, taken)

        try:
            outcomes = await self._engine.transact(work)
        except Exception as error:
            if not taken:  # there was no turn
                taken, self._waiting = list(self._waiting), deque()
            for upsert in taken:
                if not upsert.done.done():
                    upsert.done.set_exception(error)
            return len(taken)
        for upsert, outcome in zip(taken, outcomes, strict=True):
            if upsert.done.done():
                continue
            if isinstance(outcome, int):
                upsert.done.set_result(outcome)
            else:
                upsert.done.set_exception(outcome)
        return len(taken)

    def _take(self) -> list[_Waiting]:
        """Those who waited longest: as many as one transaction should have, but at least one."""
        taken: list[_Waiting] = []
        room = self._engine.limits.records_per_upsert
        while self._waiting and (not taken or len(self._waiting[0].records.entries) <= room):
            taken.append(self._waiting.popleft())
            room -= len(taken[-1].records.entries)
        # Those of one namespace beside each other; who came later stays behind.
        return sorted(taken, key=lambda upsert: (upsert.name, upsert.namespace))


async def _store_all(tx: EngineTransaction, upserts: Sequence[_Waiting]) -> list[int | ReflowError]:
    """Stores upserts that are in order of their namespaces; each has its count or its error."""
    outcomes: list[int | ReflowError] = []
    while len(outcomes) < len(upserts):
        first = upserts[len(outcomes)]
        place = (first.name, first.namespace)
        together = [found for found in upserts[len(outcomes) :] if (found.name, found.namespace) == place]
        outcomes += await _store(tx, together)
        tx.count_anew()
    return outcomes


async def _store(tx: EngineTransaction, upserts: Sequence[_Waiting]) -> list[int | ReflowError]:
    """Stores upserts of one namespace; where that can't be done together, one by one."""
    first = upserts[0]
    records = first.records
    if len(upserts) > 1:
        merged: dict[str, tuple[RecordLike, Entry]] = {}
        for upsert in upserts:
            pairs = zip(upsert.records.given, upsert.records.entries, strict=True)
            merged.update((entry.id, (given, entry)) for given, entry in pairs)
        given, entries = zip(*merged.values(), strict=True) if merged else ((), ())
        numbers = {upsert.records.number for upsert in upserts}
        records = Prepared(numbers.pop() if len(numbers) == 1 else None, given, list(entries))
    mark = tx.mark()
    try:
        await RecordIndex(tx, first.name).store(records, namespace=first.namespace)
    except ReflowError as error:
        tx.undo_to(mark)
        if len(upserts) == 1:
            return [error]
        return [outcome for upsert in upserts for outcome in await _store(tx, [upsert])]
    return [len(upsert.records.entries) for upsert in upserts]
