"""A client of reflow's two doors: the sync protocol over a websocket, and the HTTP function API."""

from __future__ import annotations

import json
import time
import uuid

import msgspec

from .client import ClientError, HttpConnection, WebSocket, http_request
from .peer import CITIES, Seen, counter_json, person_json

SYNC_PATH = "/api/1.48.0/sync"


class Version(msgspec.Struct):
    """Where a socket stands: query set, identity, timestamp (base64)."""

    querySet: int = 0
    identity: int = 0
    ts: str = "AAAAAAAAAAA="


class Modification(msgspec.Struct):
    """One query's part of a Transition."""

    type: str
    queryId: int
    value: msgspec.Raw = msgspec.Raw(b"null")
    errorMessage: str = ""


class Message(msgspec.Struct):
    """Any server message: the fields of the kinds this client reads."""

    type: str
    requestId: int = -1
    success: bool = False
    result: msgspec.Raw = msgspec.Raw(b"null")
    startVersion: Version | None = None
    endVersion: Version | None = None
    modifications: list[Modification] = []
    error: str = ""


class Counter(msgspec.Struct):
    """A counter document, as far as we look."""

    value: float


class Person(msgspec.Struct):
    """A person document, as far as we look."""

    id: str = msgspec.field(name="_id")


_message = msgspec.json.Decoder(Message)
_counter = msgspec.json.Decoder(Counter)
_person = msgspec.json.Decoder(Person)
_text = msgspec.json.Decoder(str)
_number = msgspec.json.Decoder(float)


class SyncSocket:
    """One sync socket: mutations one at a time, one query at a time, versions checked on every Transition."""

    def __init__(self, seen: Seen | None = None) -> None:
        self._socket = WebSocket(self._on_text)
        self._seen = seen
        self._version = Version()
        self._request = 0
        self._query = 0
        self._updates = 0

    async def open(self, port: int) -> None:
        """Connect, upgrade and introduce ourselves."""
        await self._socket.open("127.0.0.1", port)
        await self._socket.handshake(SYNC_PATH)
        connect = {
            "type": "Connect",
            "sessionId": str(uuid.uuid4()),
            "connectionCount": 0,
            "lastCloseReason": "InitialConnect",
            "clientTs": time.time() * 1000,
        }
        self._socket.send_text(json.dumps(connect).encode())

    async def mutate(self, path: bytes, args: bytes) -> bytes:
        """Run a mutation; its result as JSON, once acknowledged."""
        waiting = self._socket.wait()
        self._socket.send_text(
            b'{"type":"Mutation","requestId":%d,"udfPath":"%s","args":[%s]}' % (self._request, path, args)
        )
        self._request += 1
        return await waiting

    async def query(self, path: bytes, args: bytes) -> bytes:
        """Subscribe to a query in place of the previous one; its first result as JSON."""
        waiting = self._socket.wait()
        base, query = self._query, self._query + 1
        remove = b'{"type":"Remove","queryId":%d},' % base if base else b""
        self._socket.send_text(
            b'{"type":"ModifyQuerySet","baseVersion":%d,"newVersion":%d,"modifications":'
            b'[%s{"type":"Add","queryId":%d,"udfPath":"%s","args":[%s]}]}' % (base, query, remove, query, path, args)
        )
        self._query = query
        return await waiting

    def _on_text(self, text: bytes) -> None:
        message = _message.decode(text)
        if message.type == "Transition":
            self._transition(message)
        elif message.type == "MutationResponse":
            if message.success:
                self._socket.answer(bytes(message.result))
            else:
                self._socket.fail(ClientError(bytes(message.result).decode()))
        elif message.type != "Ping":
            self._socket.fail(ClientError(text.decode()))

    def _transition(self, message: Message) -> None:
        if message.startVersion != self._version or message.endVersion is None:
            raise ClientError(f"Transition starts at {message.startVersion}, this socket is at {self._version}")
        first = self._version.querySet != message.endVersion.querySet
        self._version = message.endVersion
        for part in message.modifications:
            if part.type == "QueryFailed":
                self._socket.fail(ClientError(part.errorMessage))
            elif part.type == "QueryUpdated" and first and part.queryId == self._query:
                self._socket.answer(bytes(part.value))
            elif part.type == "QueryUpdated" and self._seen is not None:
                self._updates += 1
                self._seen(int(_counter.decode(part.value).value))

    def received(self) -> tuple[int, int]:
        """Updates delivered after the first result, and bytes received on the socket in all."""
        return self._updates, self._socket.bytes_received

    def close(self) -> None:
        """Drop the socket."""
        self._socket.close()


class HttpDoor:
    """The HTTP function API on one keep-alive connection."""

    def __init__(self) -> None:
        self._http = HttpConnection()

    async def open(self, port: int) -> None:
        """Connect."""
        await self._http.open("127.0.0.1", port)

    async def mutate(self, path: bytes, args: bytes) -> bytes:
        """Run a mutation; its result as JSON, once acknowledged."""
        return await self._call("/api/mutation", path, args)

    async def query(self, path: bytes, args: bytes) -> bytes:
        """Run a query once; its result as JSON."""
        return await self._call("/api/query", path, args)

    async def _call(self, door: str, path: bytes, args: bytes) -> bytes:
        body = b'{"path":"%s","format":"convex_encoded_json","args":[%s]}' % (path, args)
        answer = await self._http.send(http_request("POST", door, body))
        reply = _reply.decode(answer)
        if reply.status != "success":
            raise ClientError(answer.decode())
        return bytes(reply.value)

    def close(self) -> None:
        """Drop the connection."""
        self._http.close()


class Reply(msgspec.Struct):
    """The answer of the HTTP function API."""

    status: str
    value: msgspec.Raw = msgspec.Raw(b"null")


_reply = msgspec.json.Decoder(Reply)


class ReflowCaller:
    """The workloads' calls as functions of `benchmarks/app.py`, through either door."""

    def __init__(self, door: SyncSocket | HttpDoor) -> None:
        self._door = door

    async def create(self, number: int) -> str:
        """Insert person `number`; returns its id."""
        return _text.decode(await self._door.mutate(b"bench:create", person_json(number)))

    async def create_counter(self, name: str) -> str:
        """Insert a counter with value 0; returns its id."""
        return _text.decode(await self._door.mutate(b"bench:create_counter", counter_json(name)))

    async def increment(self, counter: str) -> int:
        """Add one to a counter; returns its new value."""
        return int(_number.decode(await self._door.mutate(b"bench:increment", _id(counter))))

    async def read(self, person: str) -> None:
        """Read one person by id and check that it is the one asked for."""
        found = _person.decode(await self._door.query(b"bench:get", _id(person)))
        if found.id != person:
            raise ClientError(f"asked for {person}, got {found.id}")

    async def counter_value(self, counter: str) -> int:
        """The stored value of a counter."""
        return int(_counter.decode(await self._door.query(b"bench:watch", _id(counter))).value)

    async def count_people(self) -> int:
        """How many people are stored, counted city by city."""
        counts = [
            _number.decode(await self._door.query(b"bench:count", b'{"city":"City %d"}' % city))
            for city in range(CITIES)
        ]
        return int(sum(counts))

    def close(self) -> None:
        """Drop the connection."""
        self._door.close()


def _id(document: str) -> bytes:
    return b'{"id":"%s"}' % document.encode()
