"""Live queries: connections with their query sets, brought from one consistent version to the next."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from reflow.context import Identity
from reflow.engine.cache import NEVER, Entry, QueryCache
from reflow.engine.commit import Clock, Committer, first_of
from reflow.engine.outcomes import Failure, Result
from reflow.errors import LimitExceeded, ReflowError, StorageError
from reflow.limits import Limits
from reflow.storage.base import Snapshot

if TYPE_CHECKING:
    from reflow.functions import Function

LOG = logging.getLogger("reflow.engine")

_TICKS_KEPT = 64
_LONGEST_SLEEP_SECONDS = 60.0
"""The machine's clock may be set while a sleep goes on."""


class Version(NamedTuple):
    """What a client has seen: its query set, its identity, the data."""

    query_set: int
    identity: int
    ts: int


class Change(NamedTuple):
    """One query's news; `result` None says that it was removed."""

    query_id: int
    result: Result | None


class Step:
    """A step from one version to the next that brings news of at most one query, for any number of clients."""

    __slots__ = ("changes", "end", "news", "query_id", "start")

    def __init__(self, start: Version, end: Version, query_id: int, news: Result | None) -> None:
        self.start = start
        self.end = end
        self.query_id = query_id
        self.news = news
        self.changes: Sequence[Change] = [] if news is None else [Change(query_id, news)]


_NO_STEP = Step(Version(-1, -1, -1), Version(-1, -1, -1), -1, None)


class ProtocolError(ReflowError):
    """A client broke the rules of the sync protocol; its connection is closed."""

    code = "ProtocolError"


class Sink(Protocol):
    """The client's end of a connection."""

    def ready(self) -> bool:
        """False while too much is unsent: no transition is computed then. `Connection.wake` ends that."""
        ...

    def transition(self, start: Version, end: Version, changes: Sequence[Change]) -> None:
        """Sends one transition; `changes` may be empty."""
        ...

    def fail(self, reason: str) -> None:
        """Ends the connection because of a fault of the server."""
        ...


@dataclass(slots=True)
class AddQuery:
    """A query that a client wants to follow. `function` None: there is none of that path for it."""

    query_id: int
    path: str
    function: Function[..., Any] | None
    args: bytes
    journal: str | None
    refusal: Result | None = None
    """What the client gets where `function` is None, in place of `missing_function`."""

    @property
    def size(self) -> int:
        """Bytes that it takes."""
        return len(self.path) + len(self.args) + len(self.journal or "")


class _Query:
    """One query of one connection."""

    __slots__ = ("add", "entry", "sent")

    def __init__(self, add: AddQuery) -> None:
        self.add = add
        self.entry: Entry | None = None
        self.sent: Result | None = None


class _Gone:
    """In the place of a client that has left."""

    def ready(self) -> bool:
        return False

    def transition(self, start: Version, end: Version, changes: Sequence[Change]) -> None:
        """Nobody gets it."""

    def fail(self, reason: str) -> None:
        """Nobody learns it."""


_GONE = _Gone()


class Connection:
    """One client's query set and version. Its methods are called by the door that holds the socket."""

    __slots__ = (
        *("_hub", "_owed", "_queries", "_removed", "_sink", "_size", "_wanted"),
        *("closed", "identity", "queued", "touched", "version"),
    )

    def __init__(self, hub: Hub, sink: Sink) -> None:
        self._hub = hub
        self._sink: Sink = sink
        self.version: Version = Version(0, 0, 0)
        self.identity: Identity | None = None
        self._wanted = (0, 0)
        self._queries: dict[int, _Query] = {}
        self._size = 0
        """Bytes of the queries."""
        self._removed: list[int] = []
        self.touched: set[int] = set()
        self._owed = False
        self.queued = False
        """Whether the hub has this connection in its queue."""
        self.closed = False

    def modify(self, base: int, new: int, added: Sequence[AddQuery], removed: Sequence[int]) -> None:
        """Changes the query set from version `base` to `new`. Raises ProtocolError, LimitExceeded."""
        query_set, identity = self._wanted
        if base != query_set or new <= base:
            raise ProtocolError(f"BaseVersionMismatch: the query set is at version {query_set}, not {base} -> {new}")
        if len(self._queries) - len(removed) + len(added) > self._hub.limits.queries_per_socket:
            raise LimitExceeded(f"more than limits.queries_per_socket = {self._hub.limits.queries_per_socket} queries")
        for query_id in removed:
            query = self._queries.pop(query_id, None)
            if query is None:
                raise ProtocolError(f"query {query_id} is to be removed but is not in the query set")
            self._detach(query)
            self.touched.discard(query_id)
            self._removed.append(query_id)
            self._size -= query.add.size
        for add in added:
            if add.query_id in self._queries:
                raise ProtocolError(f"query {add.query_id} is in the query set already")
            self._queries[add.query_id] = _Query(add)
            self.touched.add(add.query_id)
            self._size += add.size
        bound = self._hub.limits.query_bytes_per_socket
        if self._size > bound:
            raise LimitExceeded(f"more than limits.query_bytes_per_socket = {bound} bytes of queries")
        self._wanted = (new, identity)
        self.wake()

    def authenticate(self, base: int, identity: Identity | None) -> None:
        """Changes who is asking; every query is looked at again. Raises ProtocolError."""
        query_set, version = self._wanted
        if base != version:
            raise ProtocolError(f"BaseVersionMismatch: the identity is at version {version}, not {base}")
        self._wanted = (query_set, version + 1)
        if identity != self.identity:
            self.identity = identity
            for query_id, query in self._queries.items():
                self._detach(query)
                self.touched.add(query_id)
        self.wake()

    @property
    def identity_version(self) -> int:
        """How often who asks was said."""
        return self._wanted[1]

    def find_again(self, find: Callable[[str], Function[..., Any] | None]) -> None:
        """Who asks has other rights now: every query's function is looked up once more."""
        for query_id, query in self._queries.items():
            if query.add.refusal is None:
                query.add.function = find(query.add.path)
                self._detach(query)
                self.touched.add(query_id)
        self.wake()

    def owe(self) -> None:
        """A mutation of this client was answered: a transition follows, even where it changes nothing."""
        self._owed = True
        self.wake()

    def wake(self) -> None:
        """Has the hub look at this connection."""
        self._hub.mark(self)

    def close(self) -> None:
        """Forgets everything, the client too: the two would keep each other in memory."""
        self.closed = True
        self._sink = _GONE
        for query in self._queries.values():
            self._detach(query)
        self._queries.clear()
        self.touched.clear()

    def fail(self, reason: str) -> None:
        """Ends the connection for the client too."""
        sink = self._sink
        self.close()
        sink.fail(reason)

    def _detach(self, query: _Query) -> None:
        if query.entry is not None:
            self._hub.cache.unsubscribe(query.entry, self, query.add.query_id)
            query.entry = None

    def advance(self, ts: int) -> bool:
        """Does what `update` does where that needs no await: at most one query, whose result is there already.

        This is what nearly every transition is. False: nothing was done, `update` has to. A client that takes no
        transition now, or has none coming, is left alone.
        """
        if self.closed or not self._sink.ready():
            return True
        touched, wanted = self.touched, self._wanted
        query_set, identity, _ = self.version
        if len(touched) > 1 or self._removed or wanted[0] != query_set or wanted[1] != identity:
            return False
        query_id, news = 0, None
        for query_id in touched:
            query = self._queries.get(query_id)
            entry = query.entry if query is not None else None
            if query is None or entry is None or entry.personal or not entry.ts <= ts < entry.stale_since:
                return False
            result, sent = entry.result, query.sent
            if result is None:
                return False
            if result is not sent and (sent is None or not sent.same(result)):
                news = result
            query.sent = result
        touched.clear()
        if news is not None or self._owed:
            self._owed = False
            step = self._hub.step(self.version, ts, query_id, news)
            self.version = step.end
            self._sink.transition(step.start, step.end, step.changes)
        return True

    async def update(self, snapshots: Snapshots) -> None:
        """Sends one transition to the latest version: everything in it is of one timestamp."""
        snapshot: Snapshot | None = None
        ts = self._hub.committer.published
        if not all(entry.valid_at(ts) for query_id in self.touched if (entry := self._attached(query_id)) is not None):
            snapshot = await snapshots.get()
            ts = snapshot.ts
        # From here on: what is touched later concerns a later timestamp, and stays for the next transition.
        touched, self.touched = self.touched, set()
        removed, self._removed = self._removed, []
        owed, self._owed = self._owed, False
        wanted = self._wanted
        queries = [(id, query) for id in touched if (query := self._queries.get(id)) is not None]
        results = [(id, query, await self._result(id, query, snapshot, ts)) for id, query in queries]
        if self.closed:
            return
        if self._wanted[1] != wanted[1] or any(self._queries.get(id) is not query for id, query, _ in results):
            # Somebody else asks by now, or no longer for all of it: these results would be a mixture, or lack what the
            # client still shows at this version.
            self.touched |= touched
            self._removed = removed + self._removed
            self._owed = self._owed or owed
            self.wake()
            return
        changes = [Change(query_id, None) for query_id in removed]
        changes += [Change(id, result) for id, query, result in results if self._is_news(id, query, result, ts)]
        if changes or owed or wanted != self.version[:2]:
            start, self.version = self.version, Version(*wanted, max(ts, self.version.ts))
            self._sink.transition(start, self.version, changes)

    def _is_news(self, query_id: int, query: _Query, result: Result, ts: int) -> bool:
        """Notes a result as sent; False where the client has the same already, or does not want it any more."""
        if self._queries.get(query_id) is not query:
            return False
        sent, query.sent = query.sent, result
        entry = query.entry
        if entry is not None and (entry.stale_since != NEVER or entry.ts > ts):
            self.touched.add(query_id)
            self.wake()
        return sent is not result and (sent is None or not sent.same(result))

    def _attached(self, query_id: int) -> Entry | None:
        query = self._queries.get(query_id)
        if query is None or query.add.function is None:
            return None
        if query.entry is None or query.entry.personal:
            self._detach(query)
            add = query.add
            journal = query.sent.journal if query.sent is not None and query.sent.journal else add.journal
            query.entry = self._hub.cache.find(query.add.function, add.args, self.identity, journal)
            self._hub.cache.subscribe(query.entry, self, query_id)
        return query.entry

    async def _result(self, query_id: int, query: _Query, snapshot: Snapshot | None, ts: int) -> Result:
        while True:
            entry = self._attached(query_id) if self._queries.get(query_id) is query else None
            if entry is None:
                return query.add.refusal or missing_function(query.add.path)
            if entry.valid_at(ts):
                assert entry.result is not None
                return entry.result
            if snapshot is None:
                raise AssertionError("an entry that was valid can't be outdated without an await")
            result = await self._hub.cache.run(entry, snapshot)
            if result is not None:
                return entry.result if entry.valid_at(ts) and entry.result is not None else result


def missing_function(path: str) -> Result:
    """What everybody gets for a function that is not there, or not for them."""
    message = f"Could not find public function for '{path}'. Is it defined, public, and in a module of the app?"
    return Result(None, Failure(message, code="FunctionNotFound"))


class Snapshots:
    """One snapshot for many connections, as long as nothing newer is published."""

    def __init__(self, committer: Committer) -> None:
        self._committer = committer
        self._held: Snapshot | None = None

    async def get(self) -> Snapshot:
        """The published state."""
        if self._held is not None and self._held.ts != self._committer.published:
            await self.close()
        if self._held is None:
            self._held = await self._committer.snapshot()
        return self._held

    async def close(self) -> None:
        """Gives the snapshot back."""
        held, self._held = self._held, None
        if held is not None:
            await self._committer.give_back(held)


class Hub:
    """Brings connections up to date, one after another, those that wait longest first."""

    def __init__(self, committer: Committer, clock: Clock, limits: Limits) -> None:
        self.committer = committer
        self.limits = limits
        self.cache: QueryCache
        self._clock = clock
        self._dirty: deque[Connection] = deque()
        self._wake = asyncio.Event()
        self._ticks: list[tuple[float, int, Entry]] = []
        self._tick_wake = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._count = 0
        self._busy = False
        self._steps: dict[tuple[Version, int, int], Step] = {}
        """Steps of this round. A result is known by its address, so it is kept as long as its key."""
        self._step = _NO_STEP
        self.after_round: Callable[[], None] = lambda: None
        """Called when a slice of transitions was handed out."""

    def start(self) -> None:
        """Starts the two tasks: transitions and ticks."""
        self._tasks = [
            asyncio.create_task(self._run(), name="reflow-hub"),
            asyncio.create_task(self._tick(), name="reflow-ticks"),
        ]

    async def close(self) -> None:
        """Stops."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def settled(self) -> None:
        """Returns once every connection that takes news has them. For tests."""
        while self._dirty or self._busy:
            await asyncio.sleep(0)

    def connect(self, sink: Sink) -> Connection:
        """A new connection at version (0, 0, 0)."""
        return Connection(self, sink)

    def mark(self, connection: Connection) -> None:
        """Queues a connection."""
        if not connection.queued:
            connection.queued = True
            self._dirty.append(connection)
        self._wake.set()

    def step(self, start: Version, ts: int, query_id: int, news: Result | None) -> Step:
        """The step to the next version; in one round the very same object for everybody who takes it."""
        step = self._step
        if step.start is start and step.news is news and step.query_id == query_id:
            return step
        key = (start, query_id, id(news))
        found = self._steps.get(key)
        if found is None:
            end = Version(start.query_set, start.identity, max(ts, start.ts))
            found = self._steps[key] = Step(start, end, query_id, news)
        self._step = found
        return found

    def _forget_steps(self) -> None:
        self._steps.clear()
        self._step = _NO_STEP

    def changed(self, entry: Entry) -> None:
        """An entry is outdated: everybody who follows it is to be told."""
        for connection, ids in entry.subscribers.items():
            connection.touched |= ids
            if not connection.queued:
                connection.queued = True
                self._dirty.append(connection)
        self._wake.set()

    def schedule(self, entry: Entry, every: float) -> None:
        """Outdates an entry at the next multiple of `every` seconds."""
        due = (self._clock.now_ns() / 1e9 // every + 1) * every
        if entry.due <= due:
            return
        entry.due = due
        self._count += 1
        heapq.heappush(self._ticks, (due, self._count, entry))
        self._tick_wake.set()
        if len(self._ticks) > 2 * len(self.cache) + _TICKS_KEPT:
            self._ticks = [tick for tick in self._ticks if tick[0] == tick[2].due]
            heapq.heapify(self._ticks)

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._busy = True
            snapshots = Snapshots(self.committer)
            await self._slice(snapshots)
            try:
                await snapshots.close()
            except StorageError:
                LOG.exception("a snapshot could not be given back")
            self._forget_steps()
            self.after_round()
            self._busy = False
            if self._dirty:
                self._wake.set()
                await asyncio.sleep(0)

    async def _slice(self, snapshots: Snapshots) -> None:
        """Updates connections until none is left or the time is up."""
        ends = time.perf_counter() + self.limits.transition_slice_seconds
        dirty, published = self._dirty, self.committer.published
        while dirty and time.perf_counter() < ends:
            connection = dirty.popleft()
            connection.queued = False
            try:
                if not connection.advance(published):
                    await connection.update(snapshots)
            except Exception as error:
                LOG.exception("a transition failed; its connection is closed")
                connection.fail(f"InternalServerError: {type(error).__name__}")
            if published != self.committer.published:
                published = self.committer.published
                self._forget_steps()

    async def _tick(self) -> None:
        while True:
            if not self._ticks:
                await self._tick_wake.wait()
            self._tick_wake.clear()
            pause = self._ticks[0][0] - self._clock.now_ns() / 1e9
            if pause > 0:
                await first_of(self._clock.sleep(min(pause, _LONGEST_SLEEP_SECONDS)), self._tick_wake.wait())
                continue
            due, _, entry = heapq.heappop(self._ticks)
            if entry.due == due:
                entry.due = NEVER
                self.cache.expire(entry)
