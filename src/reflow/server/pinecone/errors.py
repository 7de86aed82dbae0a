"""What a Pinecone client gets instead of an answer: both of the service's error bodies in one."""

from __future__ import annotations

import logging
from typing import Any, Literal

import msgspec

from reflow.errors import (
    EmbedderError,
    LimitExceeded,
    MissingExtra,
    NoVectorIndex,
    OutOfRetention,
    Overloaded,
    ReflowError,
    StorageError,
    VectorIndexExists,
    VectorIndexProtected,
)
from reflow.server.http_errors import Headers, HttpError

LOG = logging.getLogger("reflow.server")

Reason = Literal[
    "INVALID_ARGUMENT",
    "UNAUTHENTICATED",
    "FORBIDDEN",
    "NOT_FOUND",
    "METHOD_NOT_ALLOWED",
    "ALREADY_EXISTS",
    "PAYLOAD_TOO_LARGE",
    "RESOURCE_EXHAUSTED",
    "UNIMPLEMENTED",
    "INTERNAL",
    "SERVICE_UNAVAILABLE",
]
"""Why a request was refused, as the control plane names it."""

_STATUS: dict[Reason, tuple[int, int]] = {
    "INVALID_ARGUMENT": (400, 3),
    "UNAUTHENTICATED": (401, 16),
    "FORBIDDEN": (403, 7),
    "NOT_FOUND": (404, 5),
    "METHOD_NOT_ALLOWED": (405, 12),
    "ALREADY_EXISTS": (409, 6),
    "PAYLOAD_TOO_LARGE": (413, 8),
    "RESOURCE_EXHAUSTED": (429, 8),
    # The clients try again after any status from 500 on, which would not help here.
    "UNIMPLEMENTED": (400, 12),
    "INTERNAL": (500, 13),
    "SERVICE_UNAVAILABLE": (503, 14),
}
"""The HTTP status, and the number of the same in the data plane's bodies (gRPC's)."""

_RETRY_SECONDS = 1
_LONGEST = 2000
"""Characters of a message: parts of it may be the client's own words."""

_REASONS: dict[int, Reason] = {
    status: reason for reason, (status, _) in _STATUS.items() if reason not in ("UNIMPLEMENTED", "INTERNAL")
}
_json = msgspec.json.Encoder().encode


class Refused(ReflowError):
    """A request that is answered with an error."""

    def __init__(self, reason: Reason, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.reason: Reason = reason
        self.headers: Headers = headers or []

    @property
    def status(self) -> int:
        """The HTTP status."""
        return _STATUS[self.reason][0]

    def answer(self) -> tuple[int, Headers, bytes]:
        """Status, headers and body."""
        return self.status, self.headers, self.body()

    def body(self) -> bytes:
        """`{code, message, details}` of the data plane together with `{status, error}` of the control plane."""
        status, code = _STATUS[self.reason]
        message = str(self)[:_LONGEST].encode("utf-8", "backslashreplace").decode()
        told: dict[str, Any] = {"code": code, "message": message, "details": [], "status": status}
        told["error"] = {"code": self.reason, "message": message}
        return _json(told)


def invalid(message: str) -> Refused:
    """The client's mistake."""
    return Refused("INVALID_ARGUMENT", message)


def not_found(message: str) -> Refused:
    """Something that is not there."""
    return Refused("NOT_FOUND", message)


def unimplemented(message: str) -> Refused:
    """A call of Pinecone's that this server does not answer."""
    return Refused("UNIMPLEMENTED", message)


def refusal(error: Exception) -> Refused:
    """What a client is told of an exception. What it can't have caused is logged."""
    match error:
        case Refused():
            return error
        case HttpError():
            return Refused(_REASONS.get(error.status, "INVALID_ARGUMENT"), str(error), error.headers)
        case Overloaded():
            return Refused("RESOURCE_EXHAUSTED", str(error), [(b"retry-after", b"%d" % _RETRY_SECONDS)])
        case StorageError():
            LOG.error("%s", error)
            return Refused("SERVICE_UNAVAILABLE", error.told)
        case EmbedderError():
            LOG.error("%s", error)
            return Refused("INTERNAL", str(error))
        case VectorIndexExists():
            return Refused("ALREADY_EXISTS", str(error))
        case VectorIndexProtected():
            return Refused("FORBIDDEN", str(error))
        case NoVectorIndex():
            return not_found(str(error))
        case MissingExtra():
            return unimplemented(str(error))
        case LimitExceeded() | OutOfRetention() | ReflowError():
            return invalid(str(error))
        case _:
            LOG.exception("a request could not be answered", exc_info=error)
            return Refused("INTERNAL", f"internal error: {type(error).__name__}")
