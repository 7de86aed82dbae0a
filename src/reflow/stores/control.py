"""The control plane of a remote store: which indexes there are, and where."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from reflow.errors import NoVectorIndex, VectorStoreError, VectorStoreUnavailable
from reflow.limits import Limits
from reflow.schema import Metric
from reflow.stores import sdk
from reflow.stores.attempts import Attempts, Clock, in_time
from reflow.stores.sdk import Account, Exists, Missing
from reflow.vectors import Vectors

if TYPE_CHECKING:
    from pinecone import AsyncPinecone

REGION_SETTING = "REFLOW_VECTORS_REGION"


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """An index by its name, and as the application declares it, if it does."""

    name: str
    declared: Vectors | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """An index as the store describes it. `dims` is None for a sparse one."""

    host: str
    dims: int | None
    metric: Metric
    ready: bool


class ControlPlane:
    """Finds indexes by name, and makes those that an application declares."""

    def __init__(self, account: Account, region: str, limits: Limits, attempts: Attempts, clock: Clock) -> None:
        self._account = account
        self._region = region
        self._limits = limits
        self._attempts = attempts
        self._clock = clock
        self._opening = asyncio.Lock()
        self._client: AsyncPinecone | None = None

    async def find(self, wanted: Wanted) -> Found:
        """The index, made when it is declared and not there. Raises NoVectorIndex, VectorStoreError."""
        declared = wanted.declared
        try:
            found = await self._describe(wanted.name)
        except Missing:
            if declared is None:
                raise NoVectorIndex(
                    f"{self._account.origin} has no index {wanted.name!r}: create it there, or declare it with "
                    f"rf.Vectors({wanted.name!r}, dims=...), so that it is created"
                ) from None
            found = await self._create(declared)
        if declared is not None and (found.dims, found.metric) != (declared.dims, declared.metric):
            raise NoVectorIndex(
                f"index {wanted.name!r} of {self._account.origin} is {_told(found.dims, found.metric)}; declared is "
                f"{_told(declared.dims, declared.metric)}: name another index"
            )
        return found

    async def close(self) -> None:
        """Closes the connections."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _describe(self, name: str) -> Found:
        model = await self._ask(f"a description of index {name!r}", lambda client: client.describe_index(name))
        return Found(
            host=model.host,
            # The models of dimension-less indexes have no such attribute in some versions.
            dims=getattr(model, "dimension", None),
            metric=cast("Metric", getattr(model, "metric", "cosine")),
            ready=model.status.ready,
        )

    async def _create(self, declared: Vectors) -> Found:
        """Makes an index and waits until it can be used."""
        cloud, _, region = self._region.partition("/")
        if not cloud or not region:
            raise VectorStoreError(f"{REGION_SETTING} must be a cloud and a region, such as aws/us-east-1")
        package = await sdk.load()
        shape: dict[str, Any] = {"vector_type": "sparse"}
        if declared.dims is not None:
            shape = {"dimension": declared.dims}
        shape |= {"metric": declared.metric, "spec": package.ServerlessSpec(cloud=cloud, region=region)}
        try:
            await self._ask(
                f"a new index {declared.name!r}",
                lambda client: client.create_index(name=declared.name, timeout=-1, **shape),
            )
        except Exists:
            pass  # made by an earlier try whose answer was lost, or by somebody else just now
        waited, pause = 0.0, self._limits.remote_first_pause_seconds
        while not (found := await self._describe(declared.name)).ready:
            if waited >= self._limits.remote_create_seconds:
                raise VectorStoreUnavailable(
                    f"index {declared.name!r} of {self._account.origin} is not ready after {waited:g} s "
                    "(limits.remote_create_seconds): try again later"
                )
            await self._clock.sleep(pause)
            waited, pause = waited + pause, min(2 * pause, self._limits.remote_longest_pause_seconds)
        return found

    async def _ask(self, what: str, request: Callable[[AsyncPinecone], Awaitable[Any]]) -> Any:
        async def once() -> Any:
            client = await self._connected()
            try:
                return await in_time(self._limits.remote_request_seconds, request(client))
            except Exception as error:
                raise sdk.translated(error, self._account, what) from None

        return await self._attempts(once)

    async def _connected(self) -> AsyncPinecone:
        async with self._opening:
            if self._client is None:
                self._client = await sdk.control_plane(self._account, self._limits)
            return self._client


def _told(dims: int | None, metric: str) -> str:
    return f"sparse ({metric})" if dims is None else f"of {dims} dimensions ({metric})"
