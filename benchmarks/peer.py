"""What a workload asks of a server under test, the same for reflow and for PocketBase."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from .process import Process

CITIES = 100
"""Distinct values of the indexed field."""


def person_json(number: int) -> bytes:
    """The small document every create writes: five fields, `city` indexed."""
    return b'{"name":"Person %08d","email":"person%d@example.org","age":%d,"city":"City %d","active":%s}' % (
        number,
        number,
        20 + number % 60,
        number % CITIES,
        b"true" if number % 2 else b"false",
    )


def counter_json(name: str) -> bytes:
    """The document of contended writes and of subscriptions: a name and a value."""
    return json.dumps({"name": name, "value": 0}).encode()


class Caller(Protocol):
    """One client connection with one call in flight."""

    async def create(self, number: int) -> str:
        """Insert person `number`; returns its id once acknowledged."""
        ...

    async def create_counter(self, name: str) -> str:
        """Insert a counter with value 0; returns its id."""
        ...

    async def increment(self, counter: str) -> int:
        """Add one to a counter in one acknowledged call; returns the value the server answered."""
        ...

    async def read(self, person: str) -> None:
        """Read one person by id; raises `ClientError` unless that very document comes back."""
        ...

    async def counter_value(self, counter: str) -> int:
        """The stored value of a counter."""
        ...

    async def count_people(self) -> int:
        """How many people are stored."""
        ...

    def close(self) -> None:
        """Drop the connection."""
        ...


class Subscriber(Protocol):
    """One live subscription on a connection of its own."""

    def received(self) -> tuple[int, int]:
        """Updates and bytes received since it was opened."""
        ...

    def close(self) -> None:
        """Drop the connection."""
        ...


Seen = Callable[[int], None]
"""Called with a counter's value each time a subscription delivers it."""


class Peer(Protocol):
    """A running server under test."""

    name: str
    process: Process

    async def connect(self) -> Caller:
        """A new client connection."""
        ...

    async def subscribe(self, counter: str, seen: Seen) -> Subscriber:
        """A new connection subscribed to one counter; returns when the subscription is confirmed."""
        ...


@dataclass(frozen=True)
class Pace:
    """How long a round measures."""

    seconds: float
    """How long each load runs, in `turns` windows."""
    warmup_seconds: float
    updates: int
    """Paced updates of a fan-out, in `turns` bursts."""
    update_interval_seconds: float
    turns: int = 4
    clients: int = 64
    subscribers: int = 1000
    documents: int = 5000
    """Stored people that point reads choose from."""


FULL = Pace(seconds=3.0, warmup_seconds=0.5, updates=40, update_interval_seconds=0.1)
QUICK = Pace(seconds=1.0, warmup_seconds=0.2, updates=16, update_interval_seconds=0.1, documents=1000)
