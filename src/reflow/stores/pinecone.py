"""A remote store that speaks Pinecone's API, through the official SDK: Pinecone itself, or another reflow.

Writes are idempotent, so a request whose answer was lost is simply made again. What a call writes in several requests
may be there in part when it fails. Reads are eventually consistent: `settled` waits until they see what was written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from numpy.typing import ArrayLike

from reflow.errors import InvalidFilter, InvalidValue, LimitExceeded, VectorStoreUnavailable
from reflow.limits import DEFAULT, Limits
from reflow.search.filters import check_metadata, parse
from reflow.search.records import checked_id, checked_namespace
from reflow.stores import sdk
from reflow.stores.attempts import Attempts, Clock, Entropy
from reflow.stores.connection import Connection, Request
from reflow.stores.control import REGION_SETTING, ControlPlane, Wanted
from reflow.stores.positions import Written
from reflow.stores.records import (
    batches,
    checked_vector,
    sendable,
    wire_records,
    wire_sparse,
)
from reflow.stores.sdk import Account, Exists, Missing, checked_account
from reflow.system import SystemClock, SystemEntropy
from reflow.vectors import (
    IdPage,
    IndexStats,
    Match,
    NamespaceInfo,
    NamespacePage,
    QueryResult,
    Record,
    RecordLike,
    RecordPage,
    SparseValues,
    Vectors,
    name_of,
)

if TYPE_CHECKING:
    from pinecone import AsyncIndex

T = TypeVar("T")

_MOST_HITS = 10_000
_LONGEST_PAGE = 100
_LONGEST_RECORD_PAGE = 10_000
_DEFAULT_REGION = "aws/us-east-1"


def open_store(
    url: str,
    environment: Mapping[str, str],
    limits: Limits = DEFAULT,
    *,
    clock: Clock | None = None,
    entropy: Entropy | None = None,
) -> RemoteStore:
    """The store at `url`, with the key and the region of the settings. Nothing is asked of it yet.

    Raises VectorStoreError when a setting is missing or wrong. A store belongs to the event loop it is used on.
    """
    account = checked_account(url, environment.get(sdk.KEY_SETTING, ""))
    region = environment.get(REGION_SETTING, "").strip() or _DEFAULT_REGION
    return RemoteStore(account, region, limits, clock or SystemClock(), entropy or SystemEntropy())


class RemoteStore:
    """The indexes of one account. Made by `open_store`; `close` it in the end."""

    def __init__(self, account: Account, region: str, limits: Limits, clock: Clock, entropy: Entropy) -> None:
        self.account = account
        self.limits = limits
        self.clock = clock
        self.attempts = Attempts(limits, clock, entropy)
        # Apart from the others, which may all be waiting for an index to be found.
        self.control = ControlPlane(account, region, limits, Attempts(limits, clock, entropy), clock)
        self._indexes: dict[str, RemoteIndex] = {}

    def index(self, index: str | Vectors) -> RemoteIndex:
        """An index by its declaration or name. A declared one is made when it is first used and not there."""
        wanted = Wanted(name=name_of(index), declared=index if isinstance(index, Vectors) else None)
        found = self._indexes.get(wanted.name)
        if found is None:
            if len(self._indexes) >= self.limits.remote_indexes:
                raise LimitExceeded(
                    f"{len(self._indexes)} indexes of {self.account.origin} are in use (limits.remote_indexes): use "
                    "namespaces instead of indexes"
                )
            connection = Connection(wanted, self.account, self.control, self.attempts, self.limits)
            found = self._indexes[wanted.name] = RemoteIndex(connection, self.limits, self.clock)
        elif wanted.declared is not None:
            found.connection.wanted = wanted
        return found

    async def close(self) -> None:
        """Closes all connections."""
        for index in self._indexes.values():
            await index.close()
        await self.control.close()

    def __repr__(self) -> str:
        return f"RemoteStore({self.account.origin!r})"


class RemoteIndex:
    """An index of a remote store, with the face of `reflow.vectors.Index`."""

    def __init__(self, connection: Connection, limits: Limits, clock: Clock) -> None:
        self.connection = connection
        self._limits = limits
        self._clock = clock
        self._written = Written(limits.remote_positions)

    @property
    def name(self) -> str:
        """The index's name."""
        return self.connection.wanted.name

    # Writing

    async def upsert(self, vectors: Iterable[RecordLike], *, namespace: str = "") -> int:
        """Stores records, each in place of one with the same id, in as many requests as it takes. Returns how many."""
        space = checked_namespace(namespace)
        records = await wire_records(vectors)

        async def send(batch: list[dict[str, Any]], client: AsyncIndex) -> None:
            await asyncio.sleep(0)  # what follows takes some milliseconds of computing per batch
            answer = await client.upsert(vectors=sendable(batch), namespace=space)
            if answer.upserted_count != len(batch):
                raise ValueError(f"{len(batch)} records were sent and {answer.upserted_count} are said to be stored")

        requests = (partial(send, batch) for batch in batches(records, self._limits))
        await self._write("an upsert", space, requests)
        return len(records)

    async def update(
        self,
        id: str,
        *,
        values: ArrayLike | None = None,
        sparse_values: SparseValues | None = None,
        set_metadata: Mapping[str, Any] | None = None,
        namespace: str = "",
    ) -> None:
        """Changes parts of a record; `set_metadata` adds or replaces keys. Nothing happens when there is no record."""
        space = checked_namespace(namespace)
        changes: dict[str, Any] = {"id": checked_id(id)}
        if values is not None:
            changes["values"] = checked_vector(values).tolist()
        if sparse_values is not None:
            changes["sparse_values"] = wire_sparse(sparse_values)
        if set_metadata is not None:
            changes["set_metadata"] = check_metadata(set_metadata)
        if len(changes) == 1:
            raise InvalidValue("an update needs values, sparse_values or set_metadata")
        try:
            await self._write("an update", space, [lambda client: client.update(**changes, namespace=space)])
        except Missing:
            return

    async def update_by_filter(
        self, filter: Mapping[str, Any], *, set_metadata: Mapping[str, Any], namespace: str = "", dry_run: bool = False
    ) -> int:
        """Adds or replaces metadata of all records that pass a filter. Returns how many pass."""
        space = checked_namespace(namespace)
        given = _needed(filter)
        metadata = check_metadata(set_metadata)
        try:
            (answer,) = await self._write(
                "an update by filter",
                space,
                [lambda client: client.update(filter=given, set_metadata=metadata, namespace=space, dry_run=dry_run)],
            )
        except Missing:
            return 0
        return answer.matched_records or 0

    async def delete(
        self,
        ids: Iterable[str] | None = None,
        *,
        filter: Mapping[str, Any] | None = None,
        delete_all: bool = False,
        namespace: str = "",
    ) -> None:
        """Removes records: by id, by a filter, or all of a namespace. What does not exist is no error."""
        space = checked_namespace(namespace)
        if (ids is not None) + (filter is not None) + bool(delete_all) != 1:
            raise InvalidValue("a delete needs ids, a filter or delete_all=True, and only one of them")
        given: list[dict[str, Any]]
        if ids is not None:
            checked = [checked_id(id) for id in ids]
            given = [{"ids": part} for part in _parts(checked, self._limits.remote_deleted_ids)]
        else:
            given = [{"delete_all": True} if filter is None else {"filter": _needed(filter)}]

        async def send(what: dict[str, Any], client: AsyncIndex) -> None:
            await client.delete(**what, namespace=space)

        try:
            await self._write("a delete", space, (partial(send, what) for what in given))
        except Missing:
            return

    # Reading

    async def query(
        self,
        *,
        vector: ArrayLike | None = None,
        id: str | None = None,
        sparse_vector: SparseValues | None = None,
        top_k: int = 10,
        namespace: str = "",
        filter: Mapping[str, Any] | None = None,
        include_values: bool = False,
        include_metadata: bool = False,
    ) -> QueryResult:
        """The records most similar to a vector, a sparse vector, both together, or the vector of the record `id`."""
        space = checked_namespace(namespace)
        if (id is None) == (vector is None and sparse_vector is None):
            raise InvalidValue("a query needs a vector, a sparse_vector, both, or an id alone")
        asked: dict[str, Any] = {
            "top_k": _within("top_k", top_k, _MOST_HITS),
            "namespace": space,
            "include_values": include_values,
            "include_metadata": include_metadata,
        }
        if id is not None:
            asked["id"] = checked_id(id)
        if vector is not None:
            asked["vector"] = checked_vector(vector).tolist()
        if sparse_vector is not None:
            asked["sparse_vector"] = wire_sparse(sparse_vector)
        if filter is not None and parse(filter) is not None:
            asked["filter"] = dict(filter)
        try:
            answer = await self._read("a query", lambda client: client.query(**asked))
        except Missing:
            return QueryResult(matches=[], namespace=space)
        return QueryResult(
            matches=[Match(score=found.score, **_fields(found)) for found in answer.matches], namespace=space
        )

    async def fetch(self, ids: Iterable[str], *, namespace: str = "") -> dict[str, Record]:
        """Records by id; those that do not exist are left out."""
        space = checked_namespace(namespace)
        wanted = list(dict.fromkeys(checked_id(id) for id in ids))

        async def send(part: list[str], client: AsyncIndex) -> Any:
            return await client.fetch(ids=part, namespace=space)

        parts = _parts(wanted, self._limits.remote_fetched_ids)
        try:
            answers = await self.connection.ask_each(
                "a fetch", (partial(send, part) for part in parts), expected=(Missing,)
            )
        except Missing:
            return {}
        found = {id: Record(**_fields(record)) for answer, _ in answers for id, record in answer.vectors.items()}
        return {id: found[id] for id in wanted if id in found}

    async def fetch_by_metadata(
        self, filter: Mapping[str, Any], *, namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> RecordPage:
        """Records whose metadata pass a filter, in order of their ids."""
        asked: dict[str, Any] = {
            "filter": _needed(filter),
            "namespace": checked_namespace(namespace),
            "limit": _within("limit", limit, _LONGEST_RECORD_PAGE),
            "pagination_token": pagination_token,
        }
        try:
            answer = await self._read("a fetch by metadata", lambda client: client.fetch_by_metadata(**asked))
        except Missing:
            return RecordPage(records=[], next=None)
        return RecordPage(records=[Record(**_fields(found)) for found in answer.vectors.values()], next=_next(answer))

    async def list(
        self, *, prefix: str = "", namespace: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> IdPage:
        """Ids that start with `prefix`, page by page."""
        asked: dict[str, Any] = {
            "prefix": prefix or None,
            "namespace": checked_namespace(namespace),
            "limit": _within("limit", limit, _LONGEST_PAGE),
            "pagination_token": pagination_token,
        }
        try:
            answer = await self._read("a list of ids", lambda client: client.list_paginated(**asked))
        except Missing:
            return IdPage(ids=[], next=None)
        return IdPage(ids=[item.id for item in answer.vectors if item.id is not None], next=_next(answer))

    async def stats(self) -> IndexStats:
        """Numbers of the whole index, as of a little while ago."""
        answer, _ = await self.connection.ask("statistics", lambda client: client.describe_index_stats())
        found = await self.connection.found()
        return IndexStats(
            dims=found.dims,
            metric=found.metric,
            records=answer.total_vector_count,
            namespaces={_named(name): part.vector_count for name, part in answer.namespaces.items()},
        )

    # Namespaces

    async def list_namespaces(
        self, *, prefix: str = "", limit: int = 100, pagination_token: str | None = None
    ) -> NamespacePage:
        """Namespaces whose names start with `prefix`, page by page."""
        asked: dict[str, Any] = {
            "prefix": prefix or None,
            "limit": _within("limit", limit, _LONGEST_PAGE),
            "pagination_token": pagination_token,
        }
        answer, _ = await self.connection.ask(
            "a list of namespaces", lambda client: client.list_namespaces_paginated(**asked)
        )
        return NamespacePage(
            namespaces=[
                NamespaceInfo(name=_named(found.name), records=found.record_count) for found in answer.namespaces
            ],
            next=_next(answer),
        )

    async def describe_namespace(self, name: str) -> NamespaceInfo | None:
        """One namespace, None when there is none of that name."""
        space = checked_namespace(name)
        try:
            found = await self._read(
                "a description of a namespace", lambda client: client.describe_namespace(name=space or "__default__")
            )
        except Missing:
            return None
        return NamespaceInfo(name=space, records=found.record_count)

    async def create_namespace(self, name: str) -> None:
        """Makes an empty namespace; one that is there stays as it is."""
        space = checked_namespace(name)
        if not space:
            return  # the default namespace is always there
        try:
            await self.connection.ask(
                "a new namespace", lambda client: client.create_namespace(name=space), expected=(Exists,)
            )
        except Exists:
            return

    async def delete_namespace(self, name: str) -> None:
        """Removes a namespace with its records. What does not exist is no error."""
        space = checked_namespace(name)
        try:
            await self._write(
                "the end of a namespace", space, [lambda client: client.delete_namespace(name=space or "__default__")]
            )
        except Missing:
            return

    # What was written, seen

    async def settled(self, *, namespace: str = "") -> None:
        """Returns once queries see what this index was told here to write.

        A store that tells no positions is not waited for. Raises VectorStoreUnavailable after
        `limits.remote_settle_seconds`.
        """
        space = checked_namespace(namespace)
        waited, pause = 0.0, self._limits.remote_first_pause_seconds / 4
        while (target := self._written.last(space)) is not None:
            reached = await self._indexed(space)
            if reached is None or reached >= target:
                self._written.reached(space, target)
                return
            if waited >= self._limits.remote_settle_seconds:
                raise VectorStoreUnavailable(
                    f"{self.connection.account.origin} does not show what was written to index {self.name!r} after "
                    f"{waited:g} s (limits.remote_settle_seconds): it is stored, and will be seen later"
                )
            await self._clock.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, self._limits.remote_longest_pause_seconds)

    async def _indexed(self, space: str) -> int | None:
        """Up to where queries of a namespace see its log. Any query tells."""
        dims = (await self.connection.found()).dims
        probe: dict[str, Any] = {"top_k": 1, "namespace": space}
        if dims is None:
            probe["sparse_vector"] = {"indices": [0], "values": [1.0]}
        else:
            probe["vector"] = [1.0] + [0.0] * (dims - 1)
        try:
            _, positions = await self.connection.ask(
                "a query", lambda client: client.query(**probe), expected=(Missing,)
            )
        except Missing:
            return None
        return positions.indexed

    async def close(self) -> None:
        """Closes the connections."""
        await self.connection.close()

    async def _read(self, what: str, request: Request[T]) -> T:
        """The answer to a request that reads a namespace. Raises Missing where there is no such namespace."""
        answer, _ = await self.connection.ask(what, request, expected=(Missing,))
        return answer

    async def _write(self, what: str, space: str, requests: Iterable[Request[T]]) -> list[T]:
        """The answers to requests that write to a namespace. Raises Missing where there is no such namespace."""
        answers = await self.connection.ask_each(what, requests, expected=(Missing,))
        for _, positions in answers:
            self._written.note(space, positions.written)
        return [answer for answer, _ in answers]


def _parts(items: Sequence[T], size: int) -> list[list[T]]:
    return [[*items[start : start + size]] for start in range(0, len(items), size)]


def _within(name: str, number: int, most: int) -> int:
    if not 1 <= number <= most:
        raise InvalidValue(f"{name} must be 1 to {most}, got {number}")
    return number


def _needed(filter: Mapping[str, Any]) -> dict[str, Any]:
    """A filter that has to be there."""
    if parse(filter) is None:
        raise InvalidFilter("an empty filter would mean all records: give a condition")
    return dict(filter)


def _named(name: str) -> str:
    """The default namespace goes by several names."""
    return "" if name == "__default__" else name


def _next(answer: Any) -> str | None:
    """The token of the following page."""
    return None if answer.pagination is None else answer.pagination.next or None


def _fields(found: Any) -> dict[str, Any]:
    """A record's fields as the SDK gives them; it has [] for vectors that were not asked for."""
    sparse = found.sparse_values
    return {
        "id": found.id,
        "values": [*found.values] or None,
        "sparse_values": None if sparse is None else SparseValues(indices=sparse.indices, values=sparse.values),
        "metadata": found.metadata or {},
    }
