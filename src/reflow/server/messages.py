"""What clients of the sync protocol say, decoded in one pass; arguments stay the bytes that they were."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Raw, Struct

from reflow.engine.live import ProtocolError

Number = Annotated[int, Meta(ge=0, le=(1 << 32) - 1)]
"""Versions and numbers of queries and requests."""
SessionId = Annotated[str, Meta(min_length=1, max_length=64)]


class Message(Struct, tag_field="type", tag=str, rename="camel", gc=False):
    """Base of all messages; unknown fields are ignored."""


class Connect(Message):
    """The first message of a socket."""

    session_id: SessionId
    connection_count: Number = 0
    last_close_reason: str | None = None
    max_observed_timestamp: str | None = None


class Add(Message):
    """A query to follow."""

    query_id: Number
    udf_path: str
    args: tuple[Raw]
    journal: str | None = None
    component_path: str | None = None


class Remove(Message):
    """A query to follow no longer."""

    query_id: Number


class ModifyQuerySet(Message):
    """Changes the query set from one version to another."""

    base_version: Number
    new_version: Number
    modifications: list[Add | Remove]


class Authenticate(Message):
    """Changes who is asking."""

    base_version: Number
    token_type: str
    value: str = ""
    impersonating: Raw = Raw(b"null")
    acting_as: Raw = msgspec.field(default=Raw(b"null"), name="acting_as")
    """What the Rust client calls `impersonating`."""

    @property
    def identity(self) -> bytes | None:
        """The JSON of whom an administrator wants to be taken for."""
        given = (bytes(self.impersonating), bytes(self.acting_as))
        return next((identity for identity in given if identity != b"null"), None)


class Mutation(Message):
    """A call of a mutation."""

    request_id: Number
    udf_path: str
    args: tuple[Raw]
    component_path: str | None = None


class Action(Message):
    """A call of an action."""

    request_id: Number
    udf_path: str
    args: tuple[Raw]
    component_path: str | None = None


class Event(Message):
    """Telemetry; ignored."""


ClientMessage = Connect | ModifyQuerySet | Authenticate | Mutation | Action | Event

_decoder: msgspec.json.Decoder[ClientMessage] = msgspec.json.Decoder(ClientMessage)


def decode(raw: bytes | memoryview) -> ClientMessage:
    """One message. Raises ProtocolError."""
    try:
        return _decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"BadMessage: {error}") from None


def normal_path(path: str, component: str | None = None) -> str:
    """`module:function` from a client's spelling: `.js` goes, a missing function is `default`."""
    module, colon, name = path.rpartition(":")
    if not colon:
        module, name = path, "default"
    normal = f"{module.removesuffix('.js')}:{name}"
    # A component's functions are not the app's: no app has a path with this prefix.
    return normal if not component else f"{component}/{normal}"


def shown(path: str, length: int = 200) -> str:
    """A path for an error message."""
    return path if len(path) <= length else path[:length] + "…"


def arguments(args: tuple[Raw]) -> bytes:
    """The JSON of the one arguments object."""
    return bytes(args[0])
