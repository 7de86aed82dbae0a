"""Errors of the HTTP API: a status, a short code, a message."""

from __future__ import annotations

import logging

from reflow.errors import (
    AuthenticationError,
    Forbidden,
    LimitExceeded,
    OutOfRetention,
    Overloaded,
    ProviderUnavailable,
    ReflowError,
    StorageError,
)

LOG = logging.getLogger("reflow.server")

Headers = list[tuple[bytes, bytes]]


class HttpError(ReflowError):
    """A request that is answered with an error status."""

    def __init__(self, status: int, code: str, message: str, headers: Headers | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.short = code
        self.headers = headers or []


def bad_request(message: str, code: str = "BadRequest") -> HttpError:
    """The client's mistake."""
    return HttpError(400, code, message)


def http_error(error: ReflowError) -> HttpError:
    """The status of what kept the server from running a function."""
    if isinstance(error, HttpError):
        return error
    match error:
        case AuthenticationError():
            code, _, text = str(error).partition(": ")
            return HttpError(401, code if text else error.code, text or str(error))
        case StorageError():
            LOG.error("%s", error)
            return HttpError(503, error.code, error.told)
        case Forbidden():
            return HttpError(403, error.code, str(error))
        case Overloaded() | OutOfRetention() | ProviderUnavailable():
            return HttpError(503, error.code, str(error))
        case LimitExceeded():
            return HttpError(413, error.code, str(error))
        case _:
            return HttpError(400, error.code, str(error))
