"""How a run of a function ended: its result, or what its caller may learn of its failure."""

from __future__ import annotations

import asyncio
import logging
import traceback
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from reflow import values
from reflow.context import FUNCTION_LOG, Level
from reflow.errors import (
    ApplicationError,
    CallFailed,
    InvalidArguments,
    InvalidCursor,
    InvalidValue,
    LimitExceeded,
    ReflowError,
    StorageError,
    VectorStoreError,
)
from reflow.functions import Function
from reflow.limits import Limits

_LEVELS = {"DEBUG": logging.DEBUG, "INFO": logging.INFO, "LOG": logging.INFO, "WARN": logging.WARNING}
_LOG_LINE = 4096


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a function failed, as its caller may see it. `data` is the JSON of an application's own error data."""

    message: str
    data: bytes | None = None
    code: str = "Error"


@dataclass(slots=True)
class Result:
    """What a function gave: JSON, or a failure. `journal` pins a paginated query to its pages."""

    value: bytes | None
    failure: Failure | None = None
    journal: str | None = None
    log_lines: Sequence[str] = field(default_factory=list[str])

    def same(self, other: Result) -> bool:
        """Whether a client would see no difference."""
        return self.value == other.value and self.failure == other.failure


def is_outcome(error: BaseException) -> bool:
    """Whether an exception belongs to the function that raised it; False where the server itself is being stopped."""
    if isinstance(error, asyncio.CancelledError | GeneratorExit):
        try:
            task = asyncio.current_task()
        except RuntimeError:  # no loop runs: coroutines that nobody finished are being closed
            return False
        return task is not None and not task.cancelling()
    return not isinstance(error, KeyboardInterrupt)


def encoded(function: Function[..., Any], value: Any, limits: Limits) -> bytes:
    """A function's result as JSON. Raises InvalidReturn, and LimitExceeded for one that is too large."""
    raw = function.encode_result(value)
    if len(raw) > limits.result_bytes:
        raise LimitExceeded(
            f"{function.path} returned {len(raw)} bytes; limits.result_bytes is {limits.result_bytes}: return less, "
            "or paginate"
        )
    return raw


def keep_line(lines: list[str], bound: int, path: str, level: Level, text: str) -> None:
    """Adds a log line to a run and to the function log."""
    if len(lines) < bound:
        lines.append(f"[{level}] {_sendable(text, _LOG_LINE)}")
    FUNCTION_LOG.log(_LEVELS.get(level, logging.ERROR), "%s: %s", path, text)


def describe(error: BaseException, path: str, limits: Limits, *, log: bool) -> Failure:
    """What a caller learns of an exception: reflow's own errors in full, others by type and text."""
    if isinstance(error, ApplicationError):
        return _application_failure(error, path, limits)
    if isinstance(error, InvalidCursor):
        return Failure(str(error), values.encode(error.data), error.code)
    if isinstance(error, InvalidArguments):
        return Failure(_sendable(str(error), limits.error_length), code=error.code)
    if isinstance(error, StorageError):
        return fault(error, path)
    if log and isinstance(error, VectorStoreError):  # of the world outside: where it was met tells nothing
        FUNCTION_LOG.error("%s: %s", path, error)
    elif log:
        FUNCTION_LOG.error("%s raised\n%s", path, "".join(traceback.format_exception(error)).rstrip())
    code = error.code if isinstance(error, ReflowError) else "Error"
    text = f"Uncaught {type(error).__name__}: {_text_of(error)}"
    return Failure(_sendable(text, limits.error_length), code=code)


def fault(error: ReflowError, path: str) -> Failure:
    """What a client learns of a failure of the server. Of the storage's no more than that: its errors name files."""
    if not isinstance(error, StorageError):
        return Failure(str(error), code=error.code)
    FUNCTION_LOG.error("%s: %s", path, error)
    return Failure(f"{error.code}: {path}: {error.told}", code=error.code)


def _application_failure(error: ApplicationError, path: str, limits: Limits) -> Failure:
    try:
        data = values.encode(error.data)
    except InvalidValue as bad:
        return Failure(f"{path} raised ApplicationError with data that can't be sent: {bad}")
    if len(data) > limits.result_bytes:
        return Failure(
            f"{path} raised ApplicationError with {len(data)} bytes of data; limits.result_bytes is "
            f"{limits.result_bytes}: send less"
        )
    return Failure(_sendable(f"Uncaught ConvexError: {_text_of(error)}", limits.error_length), data, error.code)


def _text_of(error: BaseException) -> str:
    """`str(error)`, which is the application's code and may fail itself."""
    try:
        return str(error)
    except Exception as failed:
        return f"(its text can't be shown: str() raised {type(failed).__name__})"


def _sendable(text: str, length: int) -> str:
    """At most `length` characters of any text, as valid Unicode: what can't be sent would be no answer at all."""
    return text[:length].encode("utf-8", "backslashreplace").decode()


def error_of(failure: Failure) -> Exception:
    """The exception that an action gets for a failed call."""
    if failure.data is not None:
        return ApplicationError(values.decode(failure.data))
    return CallFailed(failure.message)
