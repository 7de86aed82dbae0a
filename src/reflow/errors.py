"""Everything reflow raises. The message says what is wrong, where, and what to do next.

`code` is the short name that the wire protocols carry; it does not change between versions.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal


class ReflowError(Exception):
    """Base of all errors of reflow."""

    code: ClassVar[str] = "Error"


class ApplicationError(ReflowError):
    """An error that an application raises for its clients; `data` reaches them as `ConvexError.data`.

    `data` is any value that a function may return. Raising it in a mutation undoes the mutation's writes.
    """

    code = "ApplicationError"

    def __init__(self, data: Any) -> None:
        super().__init__(data if isinstance(data, str) else repr(data))
        self.data: Any = data


class InvalidValue(ReflowError, ValueError):
    """A value that reflow can't store or send, or that does not fit its declared type."""

    code = "InvalidValue"


class InvalidId(InvalidValue):
    """A text that is no document id, or the id of another table."""

    code = "InvalidId"


class InvalidFilter(InvalidValue):
    """A metadata filter that can't be read: an unknown operator, or an operand of the wrong class."""

    code = "InvalidFilter"


class InvalidArguments(ReflowError):
    """A function was called with arguments that do not fit its signature."""

    code = "ArgumentValidationError"


class InvalidReturn(ReflowError):
    """A function returned a value that does not fit its return annotation."""

    code = "ReturnsValidationError"


class InvalidCursor(ReflowError):
    """A pagination cursor of another query, or a damaged one: start again from the first page."""

    code = "InvalidCursor"

    data: ClassVar[dict[str, Any]] = {"isConvexSystemError": True, "paginationError": "InvalidCursor"}


class SettingsError(ReflowError):
    """Variables that an app's settings need are not set, or don't fit; the message names them, never their values."""

    code = "SettingsError"


class DefinitionError(ReflowError):
    """A table, index, module or function is declared in a way that can't work. Raised while the app is defined."""

    code = "DefinitionError"


class FunctionNotFound(ReflowError):
    """No function of that path is there for this caller. Internal functions do not exist for clients."""

    code = "FunctionNotFound"


class CallFailed(ReflowError):
    """A function that an action called has failed; the message is what a client would see."""

    code = "CallFailed"


class RetryAfter(ReflowError):
    """Raised by a scheduled action that is to be tried again after `seconds`, such as a Retry-After header asks for."""

    code = "RetryAfter"

    def __init__(self, seconds: float, reason: str = "") -> None:
        super().__init__(reason or f"to be tried again in {seconds:g} s")
        self.seconds = seconds


class DocumentNotFound(ReflowError):
    """`patch`, `replace` or `delete` of a document that does not exist."""

    code = "DocumentNotFound"


class NotUnique(ReflowError):
    """`unique()` met more than one document."""

    code = "NotUnique"


class LimitExceeded(ReflowError):
    """A bound of `reflow.limits` was reached; the message names it."""

    code = "LimitExceeded"


class Overloaded(LimitExceeded):
    """Too much work is waiting: try again later."""

    code = "TooManyConcurrentRequests"


class PurityError(ReflowError):
    """A query or mutation tried what only an action may do: network, files, processes, foreign awaitables."""

    code = "PurityError"


class FunctionTimeout(BaseException):
    """A query or mutation ran longer than its limit. Not an `Exception`, so that no handler swallows it by accident."""

    code: ClassVar[str] = "FunctionTimeout"


class ContextFinished(ReflowError):
    """A `ctx` was used after its function had returned."""

    code = "ContextFinished"


class OutOfRetention(ReflowError):
    """A read at a timestamp that is older than the kept history."""

    code = "OutOfRetention"


class SchemaError(ReflowError):
    """Stored documents do not fit the schema of the app; the message names the first one."""

    code = "SchemaError"


class Misfit(SchemaError):
    """The first stored document that does not fit the schema."""

    def __init__(self, message: str, table: str) -> None:
        super().__init__(message)
        self.table = table


class MigrationError(ReflowError):
    """A migration can't go on; the message names the document."""

    code = "MigrationError"


class NoVectorIndex(ReflowError):
    """The vectors of an index can't be used as asked: other dimensions, no such index."""

    code = "NoVectorIndex"


class GenerationMismatch(InvalidValue):
    """Vectors of different models were to be compared, or a generation that is not complete was to be used."""

    code = "GenerationMismatch"


class VectorIndexExists(ReflowError):
    """A free-standing vector index is to be made, and there is one of that name."""

    code = "VectorIndexExists"


class VectorIndexProtected(ReflowError):
    """A free-standing vector index can't be deleted: it is protected, or the application declares it."""

    code = "VectorIndexProtected"


class MissingExtra(ReflowError, ImportError):
    """An optional dependency is not installed; the message says which extra brings it."""

    code = "MissingExtra"


class EmbedderError(ReflowError):
    """An embedder can't do its work: its model is missing or another one, or it is closed."""

    code = "EmbedderError"


class AuthenticationError(ReflowError):
    """A token that no provider of this app accepts."""

    code = "Unauthenticated"


class AuthenticationRequired(ReflowError):
    """Something that belongs to its users is to be written, and the caller's token does not say who they are."""

    code = "AuthenticationRequired"


class NotTheOwner(ReflowError):
    """A row or namespace is to be written or named as somebody else's."""

    code = "NotTheOwner"


class ProviderUnavailable(ReflowError):
    """The keys of a provider of identities can't be had now, so a token can't be checked: try again later."""

    code = "AuthProviderUnavailable"


class Forbidden(ReflowError):
    """Only who has the admin key may do this."""

    code = "Forbidden"


# Sources


class UnreadableSource(ReflowError):
    """A source that has no text to read; the message says why and what would help.

    `reason` is one of "empty", "binary", "too_large", "encrypted", "broken", "unsupported", "too_slow", and "gone"
    for a file or folder that is not there.
    """

    code = "UnreadableSource"

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class FetchError(ReflowError):
    """What an address shows could not be fetched; the message says why.

    `retryable` tells whether the same may work later, `retry_after` after how many seconds the server wants to be asked
    again, where it says so.
    """

    code = "FetchError"

    def __init__(self, message: str, *, retryable: bool, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.retry_after = retry_after


# Storage


class StorageError(ReflowError):
    """The storage could not do what it was asked. Nothing of the attempted group of commits is stored."""

    code = "StorageError"

    told: ClassVar[str] = "the server could not read or store what this needs; nothing was changed. Try again later"
    """What clients learn: the error's own text names files, and is for the log."""


class StorageUnavailable(StorageError):
    """The data directory or a file in it can't be read or written: permissions, a full or failing disk."""

    code = "StorageUnavailable"


class NotOurs(StorageError):
    """A file stands where the database should be, and reflow did not write it. It was left as it is."""

    code = "NotOurs"


class OtherVersion(StorageError):
    """The database has another on-disk format than this version of reflow reads. It was left as it is."""

    code = "OtherVersion"


class Corrupted(StorageError):
    """The database file is damaged. Restore it from a backup."""

    code = "Corrupted"


class DirectoryInUse(StorageError):
    """Another process, or another app in this one, has the data directory open; the message names its URL."""

    code = "DirectoryInUse"


class StoreClosed(ReflowError):
    """A vector store that this program opened is used after it was closed."""

    code = "StoreClosed"


# Remote vector stores


class VectorStoreError(ReflowError):
    """A remote vector store refuses what it is asked, or answers what can't be understood; the message says what to do.

    What a call was to write may be written in part: writing it again is safe.
    """

    code = "VectorStoreError"


class VectorStoreUnavailable(VectorStoreError):
    """A remote vector store is down, out of reach or too slow; all tries have failed. Later the same call may work."""

    code = "VectorStoreUnavailable"


class VectorStoreBusy(VectorStoreUnavailable, RetryAfter):
    """A remote vector store takes no more requests for `seconds`. A scheduled action that raises it is tried then."""

    code = "VectorStoreBusy"


# Providers of models


ProviderReason = Literal["busy", "quota", "unreachable", "broken", "garbage", "key", "refused", "missing", "settings"]
"""What is wrong with a request to a provider of models.

busy: it asks for patience, or has a fault of its own. quota: the account is used up. unreachable: nobody answers, or
too late. broken: the reply ended early or is too long. garbage: the reply can't be understood, or is wrong. key: the
key is missing or not accepted. refused: the input can't be processed. missing: no such model or address. settings:
the request itself is wrong.
"""


class ProviderError(ReflowError):
    """A provider of models (embeddings, chat, reranking) could not be asked, or gave no right answer.

    `retryable`: later the same request may work. `input_refused`: what was sent is at fault, so that part of it alone
    may work. `retry_after`: the pause that the provider asked for, in seconds. `status`: HTTP's, where it answered.
    """

    code = "ProviderError"

    def __init__(
        self,
        message: str,
        reason: ProviderReason,
        *,
        retryable: bool = False,
        input_refused: bool = False,
        retry_after: float | None = None,
        status: int | None = None,
    ) -> None:
        ReflowError.__init__(self, message)  # beside RetryAfter's, which takes something else
        self.reason: ProviderReason = reason
        self.retryable = retryable
        self.input_refused = input_refused
        self.retry_after = retry_after
        self.status = status


class ProviderBusy(ProviderError, RetryAfter):
    """A provider takes no more requests for `seconds`. A scheduled action that raises it is tried again then."""

    code = "ProviderBusy"

    def __init__(self, message: str, seconds: float, *, status: int | None = None) -> None:
        super().__init__(message, "busy", retryable=True, retry_after=seconds, status=status)
        self.seconds = seconds


# Serving


class PortInUse(ReflowError):
    """Another program listens on the port; the message names it."""

    code = "PortInUse"
