"""The road of a mutation: its turn (or its attempts beside others), its effects, its stored answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from msgspec import json

from reflow import values
from reflow.context import Identity
from reflow.engine.commit import Step
from reflow.engine.outcomes import Failure, Result, fault
from reflow.engine.runner import TransactionRun
from reflow.engine.transaction import EngineTransaction
from reflow.errors import InvalidArguments, ReflowError, StorageError
from reflow.functions import Function
from reflow.storage.base import Request, Snapshot

if TYPE_CHECKING:
    from reflow.engine.engine import Engine

LOG = logging.getLogger("reflow.engine")

_PERSONAL = b"\0"
"""Begins the stored answer to somebody who is signed in: JSON never does. A digest of who that is follows."""
_DIGEST_BYTES = 16
_ANOTHERS = Failure(
    "AnswerOfAnother: this mutation has run already, for who was signed in on this connection then. Its answer is told "
    "to nobody else",
    code="AnswerOfAnother",
)


class Outcome(NamedTuple):
    """How a mutation ended: its result, and the timestamp at which it is visible."""

    result: Result
    ts: int
    error: ReflowError | None = None
    """Set where not the function but the server failed; nothing of the mutation is stored then."""


@dataclass(slots=True)
class Call:
    """A mutation on its way: what to run, for whom, and whom to tell."""

    function: Function[..., Any]
    args: bytes
    identity: Identity | None
    request: tuple[str, int] | None
    done: Callable[[Outcome], None]
    may_replay: bool = True
    """False where the client can't have sent this request before, so that no answer to it is looked for."""
    parent: str | None = None
    """The scheduled action that calls."""

    def run(self, engine: Engine) -> TransactionRun:
        """What runs the function."""
        return TransactionRun(engine, self.function, self.args, self.identity, parent=self.parent)


class Mutations:
    """Brings calls to the committer.

    Where the storage answers at once, a mutation runs in its turn. Where reads may suspend, it runs beside others on a
    snapshot, and in its turn only the read set is checked.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._committer = engine.committer
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        rules = [table.owner for table in engine.catalog.specs.values()]
        rules += [index.owner for index in engine.stores.declared.values()]
        self._claims = sorted({rule.claim for rule in rules if rule is not None and rule.claim is not None})

    async def close(self) -> None:
        """Takes no more calls, and returns when those that run beside others have had their turn."""
        self._closing = True
        while self._tasks:
            await asyncio.wait(self._tasks)

    def submit(self, call: Call) -> None:
        """Queues a mutation. `call.done` is called once, after the group's publication. Raises Overloaded."""
        if self._closing:
            raise StorageError("the server is shutting down")
        if self._engine.storage.concurrent:
            self._committer.check_room(len(self._tasks))
            task = asyncio.create_task(self._optimistic(call))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        else:
            self._committer.submit(lambda: self._in_turn(call))

    async def _in_turn(self, call: Call) -> Step:
        """Runs a mutation alone, on the head of the open group. Never raises: the turn must go on."""
        try:
            head = await self._committer.head()
            try:
                replayed = await self._replayed(call, head)
                if replayed is not None:
                    return replayed
                tx = EngineTransaction(self._engine, head, writable=True)
                result = await call.run(self._engine).execute(tx)
                return await self._conclude(call, tx, result)
            finally:
                await head.close()
        except Exception as error:
            return self._fault(call, error)

    def _fault(self, call: Call, error: Exception) -> Step:
        """The server's own failure, told to the caller."""
        if not isinstance(error, ReflowError):
            LOG.exception("%s could not be run", call.function.path)
        known = error if isinstance(error, ReflowError) else StorageError(f"internal error: {type(error).__name__}")
        outcome = Outcome(Result(None, fault(known, call.function.path)), 0, known)
        return Step(lambda _ts, _error: call.done(outcome))

    async def _conclude(self, call: Call, tx: EngineTransaction, result: Result) -> Step:
        """Applies what a run has written to the open group."""
        ts = tx.snapshot.ts
        if result.failure is None and tx.wrote:
            ts = self._engine.next_ts()
            key = self._request_key(call)
            request = None if key is None else Request(*key, ts, self._mark(call, key) + cast(bytes, result.value))
            effects = await tx.effects(ts, request)
            try:
                await self._committer.apply(effects)
            except StorageError:
                replayed = None if call.may_replay else await self._replayed_after_all(call)
                if replayed is None:
                    raise
                return replayed
            self._engine.note_scheduled(effects.batch.writes)

        def done(_ts: int, error: ReflowError | None) -> None:
            if error is None:
                call.done(Outcome(result, ts))
            else:
                call.done(Outcome(Result(None, fault(error, call.function.path)), ts, error))

        return Step(done)

    def _request_key(self, call: Call) -> tuple[str, int] | None:
        """What identifies a call: the argument that its function names, else the client's session and number."""
        name = call.function.idempotency
        if name is None:
            return call.request
        who = self._who(call.identity)
        given = call.function.arguments.decode(call.args)[name]
        if given is None:
            return call.request
        value = values.canonical(values.encode(given)).decode()
        # Clients count from 0: none can name its session so that its answers stand for this call.
        return f"{call.function.path}\n{who}\n{value}", -1

    def _who(self, identity: Identity | None) -> str:
        """Who calls, as far as it decides what is theirs: one user of two tenants is two callers."""
        if identity is None or not self._claims:
            return "" if identity is None else identity.token_identifier
        claims = [identity.claims.get(claim) for claim in self._claims]
        return json.encode([identity.token_identifier, *claims], order="sorted").decode()

    def _mark(self, call: Call, key: tuple[str, int]) -> bytes:
        """Whom an answer under a key is for. One connection may have several users after each other; a key that an
        idempotent mutation names says by itself who asks."""
        if call.identity is None or key is not call.request:
            return b""
        return _PERSONAL + blake2b(self._who(call.identity).encode(), digest_size=_DIGEST_BYTES).digest()

    async def _replayed(self, call: Call, head: Snapshot) -> Step | None:
        """The stored answer of a call that ran before."""
        if call.function.idempotency is None and not (call.request is not None and call.may_replay):
            return None
        try:
            key = self._request_key(call)
        except InvalidArguments:
            return None
        stored = None if key is None else await head.request(*key)
        if key is None or stored is None:
            return None
        mark, answer = b"", stored.result
        if answer.startswith(_PERSONAL):
            mark, answer = answer[: _DIGEST_BYTES + 1], answer[_DIGEST_BYTES + 1 :]
        own = mark in (b"", self._mark(call, key))
        outcome = Outcome(Result(answer) if own else Result(None, _ANOTHERS), stored.ts if own else 0)
        return Step(lambda _ts, error: call.done(outcome if error is None else Outcome(outcome.result, 0, error)))

    async def _replayed_after_all(self, call: Call) -> Step | None:
        """The stored answer of a call that ran before, although its client said that it can't have."""
        head = await self._committer.head()
        try:
            return await self._replayed(replace(call, may_replay=True), head)
        finally:
            await head.close()

    async def _optimistic(self, call: Call) -> None:
        """Runs a mutation beside others, and again where one of them changed what it had read; at last alone."""
        try:
            for _ in range(self._engine.limits.optimistic_attempts):
                if await self._attempt(call):
                    return
            self._committer.submit(lambda: self._in_turn(call))
        except Exception as error:
            self._fault(call, error).done(0, None)

    async def _attempt(self, call: Call) -> bool:
        epoch = self._committer.epoch
        snapshot = await self._committer.snapshot()
        try:
            tx = EngineTransaction(self._engine, snapshot, writable=True)
            result = await call.run(self._engine).execute(tx)
        finally:
            await self._committer.give_back(snapshot)
        validated: asyncio.Future[bool] = asyncio.get_running_loop().create_future()

        async def job() -> Step:
            try:
                head = await self._committer.head()
                try:
                    replayed = await self._replayed(call, head)
                finally:
                    await head.close()
                if replayed is None and (epoch != self._committer.epoch or self._conflicts(tx)):
                    validated.set_result(False)
                    return Step(lambda _ts, _error: None)
                step = replayed if replayed is not None else await self._conclude(call, tx, result)
            except Exception as error:
                step = self._fault(call, error)
            validated.set_result(True)
            return step

        self._committer.submit(job)
        return await validated

    def _conflicts(self, tx: EngineTransaction) -> bool:
        if self._committer.log.changed_since(tx.snapshot.ts, tx.reads):
            return True
        return any(commit.touched.overlaps(tx.reads) for commit in self._committer.group)
