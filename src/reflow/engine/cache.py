"""Query results, kept while they are true and shared by everybody who asks the same."""

from __future__ import annotations

import asyncio
import math
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from reflow import values
from reflow.context import Identity
from reflow.engine.commit import Committer
from reflow.engine.outcomes import Result
from reflow.engine.reads import ReadSet
from reflow.engine.runner import PersonalResult
from reflow.engine.subscriptions import Subscriptions
from reflow.engine.write_log import Commit
from reflow.functions import Function
from reflow.limits import Limits
from reflow.search.metric import Place, VectorQuery
from reflow.search.standing import StandingSearches
from reflow.storage.base import Snapshot
from reflow.watched import Watched, WatchedQuery

if TYPE_CHECKING:
    from reflow.engine.live import Connection

NEVER = math.inf

Key = tuple[str, bytes, str | None, str | None]
"""(path, canonical arguments, identity where it is read, journal)"""


Run = Callable[["Entry", Snapshot], Awaitable[tuple[Result, ReadSet]]]
"""Runs an entry's query at a snapshot; raises PersonalResult where a shared one asks who calls."""


class Entry:
    """One query with its arguments: the latest result, what it depends on, who subscribes to it."""

    __slots__ = (
        *("args", "due", "expires", "function", "identity", "journal", "key", "personal"),
        *("reads", "result", "running", "shared", "size", "stale_since", "subscribers", "ts"),
    )

    def __init__(self, key: Key, function: Function[..., Any], args: bytes, identity: Identity | None) -> None:
        self.key = key
        self.function = function
        self.args = args
        self.identity = identity
        self.shared = key[2] is None
        self.personal = False
        """True once this shared entry had to be given up for personal ones."""
        self.journal = key[3]
        self.result: Result | None = None
        self.reads: ReadSet | None = None
        self.ts = 0
        self.stale_since: float = NEVER
        self.expires: float = NEVER
        self.due: float = NEVER
        """When the clock outdates it, in seconds since 1970."""
        self.size = 0
        self.subscribers: dict[Connection, set[int]] = {}
        self.running: asyncio.Future[None] | None = None

    def valid_at(self, ts: int) -> bool:
        """Whether the result is what a run at `ts` would give."""
        return self.result is not None and self.ts <= ts < self.stale_since


class QueryCache:
    """Entries by key. Those without subscribers are bounded, oldest use goes first."""

    def __init__(
        self,
        committer: Committer,
        limits: Limits,
        run: Run,
        now: Callable[[], float],
        changed: Callable[[Entry], None],
        scheduled: Callable[[Entry, float], None],
    ) -> None:
        self._committer = committer
        self._limits = limits
        self._run = run
        self._now = now
        self._changed = changed
        self._scheduled = scheduled
        self._entries: dict[Key, Entry] = {}
        self._followed: set[Entry] = set()
        """Those with subscribers, also where another one of the same key has taken its place."""
        self._idle: OrderedDict[Entry, None] = OrderedDict()
        self._idle_bytes = 0
        self._personal: set[str] = set()
        self._subscriptions: Subscriptions[Entry] = Subscriptions(limits.standing_hits)

    def find(self, function: Function[..., Any], args: bytes, identity: Identity | None, journal: str | None) -> Entry:
        """The entry of a query, a new one where there is none. `args` is the JSON object as it came."""
        who = _claims(identity) if function.path in self._personal else None
        key: Key = (function.path, values.canonical(args), who, journal)
        entry = self._entries.get(key)
        if entry is not None and entry in self._idle and self._now() >= entry.expires:
            self._forget(entry)
            entry = None
        if entry is None:
            entry = self._entries[key] = Entry(key, function, args, identity)
            self._rest(entry)
        elif entry in self._idle:
            self._idle.move_to_end(entry)
        return entry

    def watched(self) -> Watched:
        """How many queries of each function are followed, and over how many connections."""
        queries: Counter[str] = Counter()
        watchers: dict[str, set[Connection]] = {}
        everybody: set[Connection] = set()
        for entry in self._followed:
            path = entry.key[0]
            queries[path] += 1
            watchers.setdefault(path, set()).update(entry.subscribers)
            everybody.update(entry.subscribers)
        functions = [
            WatchedQuery(path=path, queries=queries[path], watchers=len(own)) for path, own in watchers.items()
        ]
        functions.sort(key=lambda one: (-one.watchers, one.path))
        return Watched(watchers=len(everybody), queries=queries.total(), functions=functions)

    async def fresh(
        self, function: Function[..., Any], args: bytes, identity: Identity | None, journal: str | None
    ) -> Result:
        """The result of a query as of now, from the cache or from one run that all who wait for it share."""
        while True:
            entry = self.find(function, args, identity, journal)
            if entry.valid_at(self._committer.published) and self._now() < entry.expires:
                assert entry.result is not None
                return entry.result
            if entry.running is not None:
                await asyncio.wait([entry.running])
                continue
            result = await self._run_alone(entry)
            if result is not None:
                return result

    async def at(
        self, function: Function[..., Any], args: bytes, identity: Identity | None, snapshot: Snapshot
    ) -> Result:
        """The result of a query at a snapshot of the published state, from the cache where it holds then."""
        while True:
            entry = self.find(function, args, identity, None)
            if entry.valid_at(snapshot.ts) and self._now() < entry.expires:
                assert entry.result is not None
                return entry.result
            result = await self.run(entry, snapshot)
            if result is not None:
                return result

    async def _run_alone(self, entry: Entry) -> Result | None:
        """Runs an entry's query at the published state; who asks meanwhile waits."""
        running = entry.running = asyncio.get_running_loop().create_future()
        try:
            snapshot = await self._committer.snapshot()
            try:
                return await self.run(entry, snapshot)
            finally:
                await self._committer.give_back(snapshot)
        finally:
            entry.running = None
            running.set_result(None)

    async def run(self, entry: Entry, snapshot: Snapshot) -> Result | None:
        """Runs an entry's query at a snapshot and keeps the result. None: it turned out personal, find it again."""
        try:
            result, reads = await self._run(entry, snapshot)
        except PersonalResult:
            self._personal.add(entry.function.path)
            entry.personal = True
            self._forget(entry)
            self._changed(entry)
            return None
        wanted = bool(entry.subscribers) or entry in self._idle
        if wanted and snapshot.ts >= entry.ts and not entry.personal:
            self._keep(entry, result, reads, snapshot.ts)
        return result

    def _keep(self, entry: Entry, result: Result, reads: ReadSet, ts: int) -> None:
        if entry.result is not None and entry.result.same(result):
            result = entry.result
        entry.result, entry.reads, entry.ts, entry.stale_since = result, reads, ts, NEVER
        self._pin(entry, result.journal)
        late = ts != self._committer.published
        outdated = late and self._committer.log.changed_since(ts, reads)
        self._subscriptions.register(entry, reads, late=late, outdated=outdated)
        if outdated:
            self._outdate(entry, ts + 1)
        entry.expires = self._now() + self._limits.clock_result_seconds if reads.clock else NEVER
        if reads.tick is not None:
            self._scheduled(entry, reads.tick)
        if not entry.subscribers:
            self._resize(entry, len(result.value or b"") + len(entry.args))
            if result.failure is not None:
                self._forget(entry)

    def _pin(self, entry: Entry, journal: str | None) -> None:
        """A page that was read keeps its ends."""
        if journal is not None:
            entry.journal = journal
        if entry.subscribers:
            self._rename(entry)

    def _rename(self, entry: Entry) -> None:
        """A newcomer without a journal gets a page of its own, so a followed page goes by its journal."""
        if entry.journal == entry.key[3]:
            return
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        entry.key = (*entry.key[:3], entry.journal)
        self._entries.setdefault(entry.key, entry)

    def publish(self, commits: Sequence[Commit]) -> None:
        """Outdates what a group of commits concerns."""
        if not len(self._subscriptions):
            return
        for entry, ts in list(self._subscriptions.publish(commits)):
            if entry.ts < ts:
                self._outdate(entry, ts)

    def standing(self, place: Place, query: VectorQuery, ts: int) -> tuple[list[tuple[float, int]], bool] | None:
        """What a live vector search finds at `ts`, best first, and whether that is all; None where it has to look."""
        return self.standing_searches.found(place, query) if ts == self._committer.published else None

    def expire(self, entry: Entry) -> None:
        """Outdates an entry because time has passed."""
        if entry.subscribers or entry in self._idle:
            self._outdate(entry, entry.ts)

    def _outdate(self, entry: Entry, ts: float) -> None:
        if entry.stale_since <= ts:
            return  # everybody who follows it knows
        entry.stale_since = ts
        if entry.subscribers:
            self._changed(entry)
        else:
            self._forget(entry)

    # Who is interested

    def subscribe(self, entry: Entry, connection: Connection, query_id: int) -> None:
        """Keeps an entry for a connection's query."""
        if entry in self._idle:
            del self._idle[entry]
            self._idle_bytes -= entry.size
        entry.subscribers.setdefault(connection, set()).add(query_id)
        self._followed.add(entry)
        self._rename(entry)

    def unsubscribe(self, entry: Entry, connection: Connection, query_id: int) -> None:
        """The reverse of `subscribe`."""
        ids = entry.subscribers.get(connection)
        if ids is None:
            return
        ids.discard(query_id)
        if not ids:
            del entry.subscribers[connection]
        if entry.subscribers:
            return
        self._followed.discard(entry)
        if self._entries.get(entry.key) is entry and entry.result is not None and entry.result.failure is None:
            entry.size = len(entry.result.value or b"") + len(entry.args)
            self._rest(entry)
        else:
            self._forget(entry)

    def _rest(self, entry: Entry) -> None:
        self._idle[entry] = None
        self._idle_bytes += entry.size
        while len(self._idle) > self._limits.cached_queries or self._idle_bytes > self._limits.cached_bytes:
            oldest = next(iter(self._idle))
            if oldest is entry:
                return
            self._forget(oldest)

    def _resize(self, entry: Entry, size: int) -> None:
        if entry in self._idle:
            self._idle_bytes += size - entry.size
            entry.size = size

    def _forget(self, entry: Entry) -> None:
        if self._entries.get(entry.key) is entry:
            del self._entries[entry.key]
        if entry in self._idle:
            del self._idle[entry]
            self._idle_bytes -= entry.size
        entry.due = NEVER
        self._subscriptions.remove(entry)

    def entries(self) -> Iterable[Entry]:
        """All that can be found."""
        return self._entries.values()

    @property
    def standing_searches(self) -> StandingSearches[Entry]:
        """The live vector searches of all entries."""
        return self._subscriptions.vectors

    @property
    def idle_bytes(self) -> int:
        """What the results that nobody follows take."""
        return self._idle_bytes

    def __len__(self) -> int:
        return len(self._entries)


def _claims(identity: Identity | None) -> str:
    """All that a function can learn of its caller: who has the same may share a result."""
    if identity is None:
        return ""
    return msgspec.json.encode([identity.issuer, identity.subject, dict(identity.claims)], order="sorted").decode()
