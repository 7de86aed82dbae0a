"""Failures that a seed decides: a storage whose calls fail now and then."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from random import Random
from typing import TypeVar

from reflow.errors import StorageUnavailable
from reflow.storage.base import Storage
from reflow.testing.wrapping import WrappedStorage

T = TypeVar("T")

_CLEANING_UP = {"open", "close", "rollback", "snapshot.close"}
"""What has to work so that the rest can be tried again."""


@dataclass(slots=True, kw_only=True)
class FaultPlan:
    """Which calls fail: the chance (0 to 1) of each kind, the seed that draws, and how many faults there are at most.

    The chances may be changed while a test runs; `raised` counts what failed by the name of the call.
    """

    seed: int = 0
    commit: float = 0.0
    write: float = 0.0
    """apply(), prune() and changes of tables, indexes and named values."""
    snapshot: float = 0.0
    read: float = 0.0
    """Every call of a snapshot."""
    most: int | None = None
    active: bool = True
    """False spares every call; `simulate` does so while an application starts and stops."""
    raised: Counter[str] = field(default_factory=Counter[str])

    def chance(self, operation: str) -> float:
        """The chance that a call fails now."""
        if not self.active or operation in _CLEANING_UP or (self.most is not None and self.raised.total() >= self.most):
            return 0.0
        if operation.startswith("snapshot."):
            return self.read
        if operation in ("snapshot", "head", "read_meta"):
            return self.snapshot
        return self.commit if operation == "commit" else self.write


class FaultyStorage(WrappedStorage):
    """Raises `StorageUnavailable` before a call is made, as `plan` has it; a commit that fails loses its group.

    A failed commit is known to have failed: an outcome that nobody knows is not modelled. Example:

        plan = FaultPlan(seed=3, commit=0.1)
        async with simulate(app, faults=plan) as sim:
            ...
    """

    def __init__(self, inner: Storage, plan: FaultPlan) -> None:
        super().__init__(inner)
        self.plan = plan
        self._random = Random(plan.seed)

    async def around(self, operation: str, call: Callable[[], Awaitable[T]]) -> T:
        """Makes the call, or fails in its place."""
        if self._random.random() < self.plan.chance(operation):
            self.plan.raised[operation] += 1
            if operation == "commit":
                await self.inner.rollback()
            number = self.plan.raised.total()
            raise StorageUnavailable(f"Fault {number} of seed {self.plan.seed}: {operation} failed as planned.")
        return await call()
