"""Pages that keep their ends: cursors, journals, splits, and what Convex's clients expect of them."""

from __future__ import annotations

import base64
import binascii
from hashlib import blake2b
from typing import TYPE_CHECKING, Any, Literal

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
_SHARE = 3, 4
"""A page takes no more than this part of what the function may still read, so that there is something left for the
documents that are looked up for it. One that has read this part of what it may is better split."""


class Pages:
    """The pages of one run of a function, in the order of the calls, and where they ended in the run before."""

    __slots__ = ("bytes", "ends", "former")

    def __init__(self, journal: str | None) -> None:
        self.former = [] if journal is None else journal.split(_BETWEEN_ENDS)
        self.ends: list[str] = []
        self.bytes = 0
        """Bytes of the documents in these pages."""


def pages_of(tx: EngineTransaction) -> Pages:
    """The pages that a transaction has read so far."""
    if tx.pages is None:
        tx.pages = Pages(tx.journal)
    return tx.pages


def next_journal(tx: EngineTransaction) -> str | None:
    """What a later run needs to give the same pages; None for a query without any."""
    return None if tx.pages is None else _BETWEEN_ENDS.join(tx.pages.ends) or None


def journal_after_failure(tx: EngineTransaction) -> str | None:
    """The same for a run that has failed: pages that it did not come to keep the ends that they had."""
    if tx.pages is None:
        return tx.journal
    return _BETWEEN_ENDS.join([*tx.pages.ends, *tx.pages.former[len(tx.pages.ends) :]])


class Allowance:
    """What one page may read, and the keys of what it has read."""

    __slots__ = ("_bytes", "_rows", "_tx", "keys", "used")

    def __init__(self, tx: EngineTransaction, options: PaginationOptions) -> None:
        """The caller's bounds, or a part of what is left of the function's. Raises InvalidValue."""
        limits, pages = tx.host.limits, pages_of(tx)
        rows, bytes = limits.documents_read - tx.documents_read, limits.bytes_read - tx.bytes_read
        bytes = min(bytes, limits.result_bytes - pages.bytes)
        self._tx = tx
        self._rows = _bounded(options.maximum_rows_read, rows, "maximumRowsRead")
        self._bytes = _bounded(options.maximum_bytes_read, bytes, "maximumBytesRead")
        self.keys: list[bytes] = []
        """In the order of reading."""
        self.used = 0
        """Bytes."""

    def spend(self, key: bytes, size: int) -> bool:
        """Counts what was read; True once nothing more may be."""
        self.keys.append(key)
        self.used += size
        return len(self.keys) >= self._rows or self.used >= self._bytes

    @property
    def rows_left(self) -> int:
        """How many more may be read."""
        return self._rows - len(self.keys)

    def page(self, found: list[Any], mark: bytes, end: bytes, *, cut: bool = False) -> Page[Any]:
        """The page that was read, with its end, which joins the journal. `cut`: it should go on to its end, but may
        not."""
        pages, keys = pages_of(self._tx), self.keys
        pages.bytes += self.used
        cursor = encode_cursor(mark, end)
        pages.ends.append(cursor)
        split = keys[(len(keys) - 1) // 2] if len(keys) > 1 or cut else None
        status: Literal["SplitRecommended", "SplitRequired"] | None = None
        if cut:
            status = "SplitRequired"
        elif split is not None and self._is_large(len(found)):
            status = "SplitRecommended"
        return Page(
            page=found,
            is_done=end == TOP,
            continue_cursor=cursor,
            split_cursor=None if split is None else encode_cursor(mark, split),
            page_status=status,
        )

    def _is_large(self, items: int) -> bool:
        part, whole = _SHARE
        large = whole * len(self.keys) >= part * self._rows or whole * self.used >= part * self._bytes
        return large or items > self._tx.host.limits.page_split_items


def _bounded(asked: int | None, left: int, name: str) -> int:
    part, whole = _SHARE
    if asked is None:
        return max(1, left * part // whole)
    if asked < 1:
        raise InvalidValue(f"{name} must be at least 1, got {asked}")
    return min(asked, max(1, left * part // whole))


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


async def paginate(tx: EngineTransaction, request: RangeRequest, options: PaginationOptions) -> Page[Any]:
    """One page from `options.cursor` on.

    The first run of a query reads `num_items` documents. Its end goes into the journal, and every later run reads up
    to that same end, however many documents there are by then; so pages neither overlap nor leave gaps. An explicit
    `end_cursor` does the same and goes before.

    A page reads no more than it is allowed. One without a known end then ends earlier; one with a known end is not
    complete, says SplitRequired, and its client asks for two pages instead, one up to `split_cursor` and one behind.
    """
    bound = tx.host.limits.page_items
    if not 1 <= options.num_items <= bound:
        raise InvalidValue(f"numItems must be 1 to {bound} (limits.page_items), got {options.num_items}")
    keys = tx.key_range(request)
    mark = fingerprint(keys, request)
    allowance = Allowance(tx, options)
    start = None if options.cursor is None else decode_cursor(mark, options.cursor)
    end_cursor = options.end_cursor or journal_end(tx, mark, start, reverse=keys.reverse)
    if start == TOP:
        return allowance.page([], mark, TOP)
    rest = keys if start is None else _behind(keys, start)
    if end_cursor is None:
        scan = Scan(tx, rest, request.filter, request.own)
        found = await scan.take(options.num_items, allowance)
        end = TOP if scan.ended or scan.last_key is None else scan.last_key
        return allowance.page(found, mark, end)
    end = decode_cursor(mark, end_cursor)
    scan = Scan(tx, rest if end == TOP else _up_to(rest, end), request.filter, request.own)
    found = await scan.take(None, allowance)
    return allowance.page(found, mark, end, cut=not scan.ended and await scan.goes_on())


def journal_end(tx: EngineTransaction, mark: bytes, start: bytes | None, *, reverse: bool) -> str | None:
    """The end of the former run's page; a journal of another query counts for nothing.

    A function may read several pages: the journal holds their ends in the order of the calls.
    """
    pages = pages_of(tx)
    place = len(pages.ends)
    if place >= len(pages.former):
        return None
    cursor = pages.former[place]
    try:
        end = decode_cursor(mark, cursor)
    except InvalidCursor:
        return None
    behind = start is None or end == TOP or (end <= start if reverse else end >= start)
    return cursor if behind else None


def _behind(keys: KeyRange, key: bytes) -> KeyRange:
    if keys.reverse:
        return replace(keys, upper=min(keys.upper, key))
    return replace(keys, lower=max(keys.lower, key + b"\x00"))


def _up_to(keys: KeyRange, key: bytes) -> KeyRange:
    if keys.reverse:
        return replace(keys, lower=max(keys.lower, key))
    return replace(keys, upper=min(keys.upper, key + b"\x00"))
