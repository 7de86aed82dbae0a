"""What a failed response means: whether to ask again, and what to tell people. Keys never get into a message."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

import msgspec

from reflow import Secret
from reflow.errors import ProviderError, ProviderReason

T = TypeVar("T")

QUOTED_CHARS = 300
"""Of what a provider says this much gets into a message."""

_SHOWN_OF_KEY = 6
"""A word that shares so many characters in a row with the key is not shown: providers quote keys, also in part."""

_OUT_OF_MONEY = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "credits_exhausted"}
_INPUT = ("input", "inputs", "texts", "messages", "documents", "query")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


class Garbage(ValueError):
    """A reply that can't be what was asked for; the message says in which way. The request is made again."""


def decoded(body: bytes, kind: type[T]) -> T:
    """A JSON reply of that type. Raises Garbage."""
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Garbage(f"{len(body)} bytes that can't be read: {error}") from None


def scrubbed(text: str, key: Secret | None) -> str:
    """What a provider said, in one line, cut to a length, without the key or parts of it."""
    line = _UNPRINTABLE.sub(" ", text[: 1 << 14]).strip()
    secret = key.reveal() if key is not None else ""
    if len(secret) >= _SHOWN_OF_KEY:
        pieces = [secret[at : at + _SHOWN_OF_KEY] for at in range(len(secret) - _SHOWN_OF_KEY + 1)]
        line = re.sub(r"\S+", lambda word: "…" if any(part in word[0] for part in pieces) else word[0], line)
    elif secret:
        line = line.replace(secret, "…")
    return line if len(line) <= QUOTED_CHARS else line[:QUOTED_CHARS] + "…"


def failure(
    provider: str, status: int, headers: Mapping[str, str], body: bytes, asked: float | None, key: Secret | None
) -> ProviderError:
    """The error that a response with a status other than 2xx is. `asked`: the pause it asks for, in seconds."""
    told = _told(body)
    reason, retryable = _judged(status, told)
    match headers.get("x-should-retry", "").strip().lower():
        case "true":
            retryable = True
        case "false":
            retryable = False
        case _:
            pass
    said = "" if reason == "key" else scrubbed(told.message, key)
    text = f"{provider} {_MEANING[reason]} (HTTP {status}{': ' if said else ''}{said})"
    if 300 <= status < 400:
        host = scrubbed(urlsplit(headers.get("location", "")).netloc, key) or "nowhere"
        text = f"{provider} redirects to {host} (HTTP {status}): the key is sent nowhere else. Set base_url to it"
    return ProviderError(
        text,
        reason,
        retryable=retryable,
        input_refused=reason == "refused",
        retry_after=asked if retryable else None,
        status=status,
    )


_MEANING: dict[ProviderReason, str] = {
    "busy": "can't answer now",
    "quota": "says that the account is used up: look at its plan and billing",
    "key": "does not accept the key: look at whether it is right and may use this model",
    "refused": "refuses the input",
    "missing": "knows no such model, or has no such address: look at model and base_url",
    "settings": "refuses the request itself: look at the settings",
}


class _Told(msgspec.Struct, frozen=True):
    """What the body of an error says."""

    message: str
    codes: frozenset[str] = frozenset()
    parameter: str = ""


def _told(body: bytes) -> _Told:
    """OpenAI's {"error": {message, code, type, param}}, others' {"message"} or {"detail"}, or plain text."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        text = body.decode("utf-8", "replace")
        return _Told("" if text.lstrip().startswith("<") else text)  # a proxy's page
    if not isinstance(value, dict):
        return _Told("")
    outer = cast(dict[str, Any], value)
    error = outer.get("error")
    inner = cast(dict[str, Any], error) if isinstance(error, dict) else outer
    messages: list[Any] = [inner.get("message"), outer.get("message"), outer.get("detail"), outer.get("error")]
    message = next((text for text in messages if isinstance(text, str)), "")
    codes = (inner.get("code"), inner.get("type"))
    parameter = inner.get("param")
    return _Told(
        message,
        frozenset(code for code in codes if isinstance(code, str)),
        parameter if isinstance(parameter, str) else "",
    )


def _judged(status: int, told: _Told) -> tuple[ProviderReason, bool]:
    """The reason of a failure, and whether to ask again."""
    if status == 402 or (status in (403, 429) and told.codes & _OUT_OF_MONEY):
        return "quota", False
    match status:
        case 408 | 409 | 425 | 429:
            return "busy", True
        case 401 | 403:
            return "key", False
        case 404 | 405 | 410:
            return "missing", False
        case 400 | 413 | 422:
            # Where it names a parameter other than the texts, no part of them would be accepted.
            named = re.split(r"[.\[]", told.parameter.removeprefix("$."))[0]
            return ("settings" if named and named not in _INPUT else "refused"), False
        case _:
            return ("busy", True) if status >= 500 else ("settings", False)
