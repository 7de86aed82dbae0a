"""Tokens: what comes after one waits until it is verified, and runs for whom it names."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from reflow.context import Identity
from reflow.errors import AuthenticationError
from reflow.server.auth import Caller, Credentials, credentials_of
from reflow.server.sync import SyncDoor, SyncSocket
from tests.protocol.test_writes import Recorder, said
from tests.support import arun
from tests.support.app_under_test import app
from tests.support.sync_client import Json, added


class Held(Recorder):
    """A transport that also notes how the socket is read and closed."""

    def __init__(self) -> None:
        super().__init__()
        self.holds: list[bool] = []
        self.closed: tuple[int, str] | None = None

    def hold(self, stopped: bool) -> None:
        self.holds.append(stopped)

    def close(self, code: int, reason: str) -> None:
        self.closed = (code, reason)

    def messages(self) -> list[Json]:
        return [json.loads(frame.text) for frames in self.writes for frame in frames]

    def results(self) -> list[Any]:
        return [change["value"] for message in self.messages() for change in message.get("modifications", [])]


class SlowVerifier:
    """Takes tokens such as "ann", when it is told to go on."""

    def __init__(self) -> None:
        self.go = asyncio.Event()

    async def verify(self, shown: Credentials) -> Caller:
        await self.go.wait()
        if shown.value == "bad":
            raise AuthenticationError("no such token")
        return Caller(identity=Identity(issuer="test", subject=shown.value))


async def spoken(*messages: Json) -> Held:
    """What the server says to a client that says this, once the verifier has gone on."""
    wire, verifier = Held(), SlowVerifier()
    async with app.in_memory() as backend:
        door = SyncDoor(backend.engine, verifier)
        socket = SyncSocket(door, wire)
        socket.text(said(type="Connect", sessionId="s", connectionCount=0))
        for message in messages:
            socket.text(said(**message))
        for _ in range(20):
            await asyncio.sleep(0)
        assert wire.results() == []  # nothing is asked in the name of somebody else meanwhile
        verifier.go.set()
        for _ in range(200):
            await asyncio.sleep(0)
        await door.close()
    return wire


def authenticate(base: int, token: str) -> Json:
    return {"type": "Authenticate", "baseVersion": base, "tokenType": "User", "value": token}


def who(base: int, query_id: int) -> Json:
    modifications = [added(query_id, "extra:who")]
    return {"type": "ModifyQuerySet", "baseVersion": base, "newVersion": base + 1, "modifications": modifications}


def test_what_follows_a_token_waits_for_its_verification() -> None:
    wire = arun(spoken(authenticate(0, "ann"), who(0, 0)))
    assert wire.results() == ["ann"]
    assert wire.messages()[-1]["endVersion"]["identity"] == 1
    assert wire.holds[0] is True
    assert wire.holds[-1] is False


def test_a_new_identity_asks_all_queries_again() -> None:
    wire = arun(spoken(authenticate(0, "ann"), who(0, 0), authenticate(1, "bob")))
    assert wire.results()[-1] == "bob"
    assert wire.messages()[-1]["endVersion"]["identity"] == 2


def test_a_refused_token_closes_the_socket() -> None:
    wire = arun(spoken(authenticate(0, "ann"), authenticate(1, "bad"), who(0, 0)))
    error = next(message for message in wire.messages() if message["type"] == "AuthError")
    assert error == {"type": "AuthError", "error": "no such token", "baseVersion": 1, "authUpdateAttempted": True}
    assert wire.closed == (1000, "AuthError")
    assert wire.results() == []


def test_a_token_for_the_wrong_version_is_fatal() -> None:
    wire = arun(spoken(authenticate(3, "ann")))
    assert "BaseVersionMismatch" in wire.messages()[-1]["error"]


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Bearer x.y", Credentials(kind="User", value="x.y")),
        ("bearer  x.y ", Credentials(kind="User", value="x.y")),
        ("CONVEX key|1", Credentials(kind="Admin", value="key|1")),
        ("Convex key|1:e30=", Credentials(kind="Admin", value="key|1", acting_as=b"{}")),
    ],
)
def test_headers(header: str, expected: Credentials) -> None:
    assert credentials_of(header) == expected


@pytest.mark.parametrize("header", ["", "Basic x", "x.y.z"])
def test_other_headers_are_refused(header: str) -> None:
    with pytest.raises(AuthenticationError, match="InvalidAuthHeader"):
        credentials_of(header)
