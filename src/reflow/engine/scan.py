"""Reading ranges: rows of the storage merged with the transaction's own writes, recorded as far as they were used."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from reflow.database import Filter, RangeRequest
from reflow.engine.documents import IndexCodec, TableCodec
from reflow.engine.reads import ReadRange
from reflow.errors import DefinitionError
from reflow.keys import MISSING, encode_part
from reflow.schema import Index, TableSpec
from reflow.storage.base import TOP, Row, sequence_key

if TYPE_CHECKING:
    from reflow.engine.pagination import Allowance
    from reflow.engine.transaction import EngineTransaction, Pending


class KeyRange(msgspec.Struct, frozen=True):
    """Keys `lower <= key < upper` of one index: the one at `place` in its table, or creation order (None)."""

    codec: TableCodec
    place: int | None
    prefix: bytes
    lower: bytes
    upper: bytes
    reverse: bool

    @property
    def index(self) -> int:
        """The number of the index; a table's own number means creation order."""
        return self.codec.number if self.place is None else self.codec.ranges[self.place].number


def resolve(codec: TableCodec, request: RangeRequest) -> KeyRange:
    """The keys that a request is about. Raises DefinitionError for an index the table does not have."""
    if request.index is None:
        return KeyRange(codec, None, b"", b"", TOP, request.descending)
    place = _place(codec.ranges, request.index)
    fields = request.index.fields
    prefix = b"".join(_part(codec.spec, field, request.equal[field]) for field in fields[: len(request.equal)])
    lower, upper = prefix, prefix + TOP
    if request.lower is not None:
        part = _part(codec.spec, fields[len(request.equal)], request.lower.value)
        lower = prefix + part if request.lower.inclusive else prefix + part + TOP
    if request.upper is not None:
        part = _part(codec.spec, fields[len(request.equal)], request.upper.value)
        upper = prefix + part + TOP if request.upper.inclusive else prefix + part
    return KeyRange(codec, place, prefix, lower, max(lower, upper), request.descending)


def _place(codecs: Sequence[IndexCodec], index: Index) -> int:
    for place, codec in enumerate(codecs):
        if codec.index is index:
            return place
    raise DefinitionError(f"{index!r} is not an index of this app's table")


def _part(spec: TableSpec, field: str, value: Any) -> bytes:
    """None means absent where the field may be absent."""
    return encode_part(MISSING if value is None and field in spec.absent else value)


class Scan:
    """A range being read, in order, from where it stopped last."""

    def __init__(
        self,
        tx: EngineTransaction,
        keys: KeyRange,
        filter: Filter | None = None,
        own: Filter | None = None,
        *,
        recorded: bool = True,
    ) -> None:
        """`own`: documents that fail it are passed over, and no key, count or page tells of them. `recorded` False:
        what is read does not join the read set."""
        self._tx = tx
        self._keys = keys
        self._filter = filter
        self._own = own
        self._lower, self._upper = keys.lower, keys.upper
        self._buffer: deque[tuple[bytes, bytes]] = deque()
        self._fetched = False
        """Whether the storage has nothing behind the buffer."""
        self._version = tx.version
        self._page = 1
        self.last_key: bytes | None = None
        self.ended = False
        start = keys.upper if keys.reverse else keys.lower
        noted = tx.reads.add_range if recorded else ReadRange
        self._range = noted(keys.index, keys.prefix, start, start)

    async def take(self, count: int | None, allowance: Allowance | None = None) -> list[Any]:
        """The next documents that pass the filter, at most `count` (None: all that are left).

        With an `allowance` it may be fewer.
        """
        self._tx.check_open()
        found: list[Any] = []
        decode = self._keys.codec.decode
        while count is None or len(found) < count:
            if self._tx.version != self._version:
                self._rewind()
            if not self._buffer and not await self._fetch(None if count is None else count - len(found)):
                break
            key, raw = self._buffer.popleft()
            self._tx.count_read(raw)
            self._note(key)
            document = decode(raw)
            if self._own is not None and not self._own(document):
                continue
            self.last_key = key
            if self._filter is None or self._filter(document):
                found.append(document)
            if allowance is not None and allowance.spend(key, len(raw)):
                break
        return found

    async def goes_on(self) -> bool:
        """Whether documents are left. The key of the next one joins the read set, the document does not."""
        while True:
            if self._tx.version != self._version:
                self._rewind()
            if not self._buffer and not await self._fetch(1):
                return False
            key, raw = self._buffer[0]
            self._note(key)
            if self._own is None or self._own(self._keys.codec.decode(raw)):
                return True
            self._buffer.popleft()
            self._tx.count_read(raw)

    def _note(self, key: bytes) -> None:
        if self._keys.reverse:
            self._range.lower = key
        else:
            self._range.upper = key + b"\x00"

    def _rewind(self) -> None:
        """Own writes since the last fetch may have changed what comes next."""
        self._buffer.clear()
        self._fetched = False
        self._version = self._tx.version
        self._lower, self._upper = self._keys.lower, self._keys.upper
        if self.last_key is not None:
            self._move_on(self.last_key)

    def _move_on(self, key: bytes) -> None:
        if self._keys.reverse:
            self._upper = key
        else:
            self._lower = key + b"\x00"

    async def _fetch(self, wanted: int | None) -> bool:
        """Fills the buffer; False at the end of the range."""
        tx, keys = self._tx, self._keys
        tx.check_open()
        bound = tx.host.limits.scan_page
        while not self._buffer and not self._fetched:
            size = bound if wanted is None else min(bound, max(wanted, self._page))
            self._page = min(bound, 2 * size)
            rows = await tx.wait(
                tx.snapshot.scan(
                    keys.codec.number, keys.index, self._lower, self._upper, reverse=keys.reverse, limit=size
                )
            )
            self._fetched = len(rows) < size
            lower, upper = self._lower, self._upper
            if rows and not self._fetched:
                self._move_on(rows[-1].key)
                lower, upper = (self._upper, upper) if keys.reverse else (lower, self._lower)
            self._buffer.extend(self._merged(rows, lower, upper))
        if not self._buffer:
            self.ended = True
            self._range.lower, self._range.upper = keys.lower, keys.upper
        return bool(self._buffer)

    def _merged(self, rows: Sequence[Row], lower: bytes, upper: bytes) -> list[tuple[bytes, bytes]]:
        """The storage's rows without the documents this transaction changed, and with these as they are now."""
        number = self._keys.codec.number
        own = {seq: write for (table, seq), write in self._tx.pending.items() if table == number}
        merged = [(row.key, row.value) for row in rows if row.seq not in own]
        if own:
            merged += [
                (key, write.raw)
                for write in own.values()
                if write.raw is not None and lower <= (key := self._key_of(write)) < upper
            ]
            merged.sort(key=lambda item: item[0], reverse=self._keys.reverse)
        return merged

    def _key_of(self, write: Pending) -> bytes:
        return sequence_key(write.seq) if self._keys.place is None else write.keys[self._keys.place].full
