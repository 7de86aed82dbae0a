"""A client of the sync protocol for tests: plain dicts in and out, and the rules that every client relies on."""

from __future__ import annotations

import base64
import json
import uuid
from contextlib import ExitStack, suppress
from types import TracebackType
from typing import Any, Self

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

Json = dict[str, Any]
ZERO = {"querySet": 0, "identity": 0, "ts": "AAAAAAAAAAA="}


def number(ts: str) -> int:
    """A timestamp as a number."""
    return int.from_bytes(base64.b64decode(ts), "little")


class SyncClient:
    """One socket. Every Transition is checked: it starts where the one before ended, and time never goes back."""

    def __init__(self, url: str, *, path: str = "/api/1.48.0/sync", introduce: bool = True, **options: Any) -> None:
        options.setdefault("compression", None)
        options.setdefault("max_queue", None)  # otherwise unread messages keep it from seeing the close
        self._opened = ExitStack()
        self.socket = self._opened.enter_context(connect(url.replace("http", "ws", 1) + path, max_size=None, **options))
        self.session = str(uuid.uuid4())
        self.version: Json = ZERO
        self.results: dict[int, Any] = {}
        self._query_set = 0
        self._request = 0
        if introduce:
            self.connect()

    def connect(self, **fields: Any) -> None:
        """Introduces the client."""
        first = {"connectionCount": 0, "lastCloseReason": "InitialConnect", "clientTs": 0}
        self.send("Connect", sessionId=self.session, **(first | fields))

    def send(self, kind: str, **fields: Any) -> None:
        """Sends a message; where the server has closed the socket, `receive` and `closed` say so."""
        with suppress(ConnectionClosed):
            self.socket.send(json.dumps({"type": kind, **fields}))

    def receive(self, timeout: float = 10) -> Json:
        """The next message, Pings left out."""
        chunks: list[str] = []
        while True:
            message = json.loads(self.socket.recv(timeout))
            if message["type"] == "TransitionChunk":
                assert message["partNumber"] == len(chunks)
                chunks.append(message["chunk"])
                if len(chunks) < message["totalParts"]:
                    continue
                message = json.loads("".join(chunks))
            else:
                assert not chunks, f"{message['type']} between the chunks of a transition"
            if message["type"] == "Transition":
                self._check(message)
            if message["type"] != "Ping":
                return message

    def _check(self, message: Json) -> None:
        assert message["startVersion"] == self.version
        assert number(message["endVersion"]["ts"]) >= number(self.version["ts"])
        self.version = message["endVersion"]
        for change in message["modifications"]:
            if change["type"] == "QueryUpdated":
                self.results[change["queryId"]] = change["value"]
            elif change["type"] == "QueryRemoved":
                self.results.pop(change["queryId"], None)

    def expect(self, kind: str) -> Json:
        """The next message, which must be of that type."""
        message = self.receive()
        assert message["type"] == kind, message
        return message

    def modify(self, *modifications: Json) -> None:
        """Changes the query set."""
        base, self._query_set = self._query_set, self._query_set + 1
        self.send("ModifyQuerySet", baseVersion=base, newVersion=base + 1, modifications=list(modifications))

    def subscribe(self, query_id: int, path: str, args: Any = None, **fields: Any) -> Json:
        """Follows a query; the change that brought its first result."""
        self.modify(added(query_id, path, args, **fields))
        while True:
            for change in self.expect("Transition")["modifications"]:
                if change["queryId"] == query_id:
                    return change

    def call(self, kind: str, path: str, args: Any = None, **fields: Any) -> int:
        """Sends a Mutation or an Action; its request id."""
        request, self._request = self._request, self._request + 1
        self.send(kind, **({"requestId": request, "udfPath": path, "args": [args or {}]} | fields))
        return request

    def mutate(self, path: str, args: Json | None = None) -> Json:
        """Runs a mutation to the Transition that contains it; its response."""
        request = self.call("Mutation", path, args)
        while (response := self.receive())["type"] != "MutationResponse":
            pass
        assert response["requestId"] == request
        self.expect("Transition")  # after a failure too: the Python client waits for it
        while response["success"] and number(self.version["ts"]) < number(response["ts"]):
            self.expect("Transition")
        return response

    def act(self, path: str, args: Json | None = None) -> Json:
        """Runs an action; its response."""
        self.call("Action", path, args)
        while (response := self.receive())["type"] != "ActionResponse":
            pass
        return response

    def closed(self) -> ConnectionClosed:
        """How the server closes the socket, after whatever it still sends."""
        while True:
            try:
                self.socket.recv(10)
            except ConnectionClosed as error:
                return error

    def close(self) -> None:
        """Leaves."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def added(query_id: int, path: str, args: Any = None, **fields: Any) -> Json:
    """A query to follow."""
    return {"type": "Add", "queryId": query_id, "udfPath": path, "args": [args or {}], **fields}


def removed(query_id: int) -> Json:
    """A query to follow no longer."""
    return {"type": "Remove", "queryId": query_id}
