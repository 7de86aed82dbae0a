"""How long a response asks its caller to wait."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite

_NUMBER = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait, never negative; None where the headers do not say so in a way that can be read.

    `headers` has names in small letters; `now` is the time of the system's clock in seconds since 1970. Looked at are
    `retry-after-ms`, then `retry-after` as a number of seconds, whole or not, then as a date. A date is compared with
    the response's own `date` where it has one: the provider's clock need not agree with ours.
    """
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    text = headers.get("retry-after")
    seconds = _number(text)
    if seconds is not None:
        return seconds
    then = _date(text)
    if then is None:
        return None
    sent = _date(headers.get("date"))
    return max(0.0, then - (now if sent is None else sent))


def _number(text: str | None) -> float | None:
    if text is None or not _NUMBER.fullmatch(text.strip()):
        return None
    value = float(text)
    return value if isfinite(value) else None


def _date(text: str | None) -> float | None:
    """Seconds since 1970. HTTP's dates are in UTC in each of their three forms."""
    if text is None:
        return None
    try:
        found = parsedate_to_datetime(text)
        utc = found.replace(tzinfo=UTC) if found.tzinfo is None else found
        return (utc - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds()
    except (ValueError, OverflowError, IndexError, TypeError):  # what the parser raises for nonsense
        return None
