"""Pages that keep their ends: cursors, journals, and what Convex's clients expect of both."""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from reflow.database import RangeRequest
from reflow.engine.scan import KeyRange, Scan
from reflow.errors import InvalidCursor, InvalidValue
from reflow.pages import Page, PaginationOptions
from reflow.storage.base import TOP

if TYPE_CHECKING:
    from reflow.engine.transaction import EngineTransaction

_FINGERPRINT_BYTES = 8
_BETWEEN_ENDS = ","


def fingerprint(keys: KeyRange, request: RangeRequest) -> bytes:
    """Tells queries apart, so that a cursor of one is refused by another."""
    code = getattr(request.filter, "__code__", None)
    text = repr((keys.codec.name, keys.index, keys.lower, keys.upper, keys.reverse, code and code.co_code))
    return blake2b(text.encode(), digest_size=_FINGERPRINT_BYTES).digest()


def encode_cursor(mark: bytes, key: bytes) -> str:
    """A cursor behind the document with this key; TOP is the end."""
    return base64.urlsafe_b64encode(mark + key).decode().rstrip("=")


def decode_cursor(mark: bytes, cursor: str) -> bytes:
    """The key inside a cursor. Raises InvalidCursor for another query's."""
    try:
        raw = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) <= _FINGERPRINT_BYTES or raw[:_FINGERPRINT_BYTES] != mark:
        raise InvalidCursor("InvalidCursor: this cursor belongs to another query or is damaged; start at cursor null")
    return raw[_FINGERPRINT_BYTES:]


def journal_of(ends: list[str]) -> str | None:
    """What a later run needs to give the same pages; None for a query without any."""
    return _BETWEEN_ENDS.join(ends) or None


async def paginate(tx: EngineTransaction, request: RangeRequest, options: PaginationOptions) -> Page[Any]:
    """One page from `options.cursor` on.

    The first run of a query reads `num_items` documents. Its end goes into the journal, and every later run reads up
    to that same end, however many documents there are by then; so pages neither overlap nor leave gaps. An explicit
    `end_cursor` does the same and goes before.
    """
    bound = tx.host.limits.page_items
    if not 1 <= options.num_items <= bound:
        raise InvalidValue(f"numItems must be 1 to {bound} (limits.page_items), got {options.num_items}")
    keys = tx.key_range(request)
    mark = fingerprint(keys, request)
    start = None if options.cursor is None else decode_cursor(mark, options.cursor)
    end_cursor = options.end_cursor or journal_end(tx, mark, start, reverse=keys.reverse)
    if start == TOP:
        return page_of(tx, [], mark, TOP)
    rest = keys if start is None else _behind(keys, start)
    if end_cursor is None:
        scan = Scan(tx, rest, request.filter)
        found = await scan.take(options.num_items)
        end = TOP if scan.ended or scan.last_key is None else scan.last_key
        return page_of(tx, found, mark, end)
    end = decode_cursor(mark, end_cursor)
    found = await Scan(tx, rest if end == TOP else _up_to(rest, end), request.filter).take(None)
    return page_of(tx, found, mark, end)


def journal_end(tx: EngineTransaction, mark: bytes, start: bytes | None, *, reverse: bool) -> str | None:
    """The end of the former run's page; a journal of another query counts for nothing.

    A function may read several pages: the journal holds their ends in the order of the calls.
    """
    ends = (tx.journal or "").split(_BETWEEN_ENDS)
    cursor = ends[len(tx.page_ends)] if len(tx.page_ends) < len(ends) else ""
    try:
        end = decode_cursor(mark, cursor)
    except InvalidCursor:
        return None
    behind = start is None or end == TOP or (end <= start if reverse else end >= start)
    return cursor if behind else None


def page_of(tx: EngineTransaction, found: list[Any], mark: bytes, end: bytes) -> Page[Any]:
    """A page with its end, which joins the journal."""
    cursor = encode_cursor(mark, end)
    tx.page_ends.append(cursor)
    return Page(page=found, is_done=end == TOP, continue_cursor=cursor)


def _behind(keys: KeyRange, key: bytes) -> KeyRange:
    if keys.reverse:
        return replace(keys, upper=min(keys.upper, key))
    return replace(keys, lower=max(keys.lower, key + b"\x00"))


def _up_to(keys: KeyRange, key: bytes) -> KeyRange:
    if keys.reverse:
        return replace(keys, lower=max(keys.lower, key))
    return replace(keys, upper=min(keys.upper, key + b"\x00"))
