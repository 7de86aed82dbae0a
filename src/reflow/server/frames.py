"""Messages of the sync protocol as bytes: results are spliced in as they are, never decoded and encoded again."""

from __future__ import annotations

import zlib
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Sequence
from functools import lru_cache
from itertools import count

import msgspec

from reflow.engine.live import Change, Version
from reflow.engine.outcomes import Result
from reflow.errors import InvalidValue

_json = msgspec.json.Encoder().encode

_TEXT = 0x81
_FIRST_FRAGMENT, _FRAGMENT, _LAST_FRAGMENT = 0x01, 0x00, 0x80
_DEFLATED_TEXT = 0xC1
_DEFLATE_LEVEL = 1
FRAGMENT_BYTES = 4 << 20
"""Messages above this size leave as several fragments: the PyPI client takes frames of up to 16 MiB."""

_transition_ids = count(1)


@lru_cache(maxsize=256)
def encode_timestamp(ts: int) -> str:
    """A timestamp as clients know it: base64 of 8 little-endian bytes."""
    return b2a_base64(ts.to_bytes(8, "little"), newline=False).decode()


def decode_timestamp(text: str) -> int:
    """The reverse of `encode_timestamp`. Raises InvalidValue."""
    try:
        raw = a2b_base64(text.encode(), strict_mode=True)
    except (Base64Error, UnicodeEncodeError):
        raw = b""
    if len(raw) != 8:
        raise InvalidValue(f"{text[:40]!r} is no timestamp: base64 of 8 little-endian bytes is meant")
    return int.from_bytes(raw, "little")


def _header(first: int, length: int) -> bytes:
    if length < 126:
        return bytes((first, length))
    if length < 1 << 16:
        return bytes((first, 126)) + length.to_bytes(2, "big")
    return bytes((first, 127)) + length.to_bytes(8, "big")


class Frame:
    """One text message, ready for any number of sockets. `raw` is the finished websocket frame."""

    __slots__ = ("_chunks", "_deflated", "_fragments", "_start", "raw")

    def __init__(self, parts: Sequence[bytes]) -> None:
        header = _header(_TEXT, sum(map(len, parts)))
        self._start = len(header)
        self.raw = b"".join((header, *parts))
        self._deflated: bytes | None = None
        self._chunks: list[Frame] | None = None
        self._fragments: bytes | None = None

    @property
    def text(self) -> str:
        """The message without its frame, for servers that frame themselves."""
        return self.raw[self._start :].decode()

    def __len__(self) -> int:
        return len(self.raw)

    def deflated(self) -> bytes:
        """The frame compressed on its own, for permessage-deflate without context takeover; once for all sockets."""
        if self._deflated is None:
            packer = zlib.compressobj(_DEFLATE_LEVEL, wbits=-zlib.MAX_WBITS)
            body = packer.compress(memoryview(self.raw)[self._start :]) + packer.flush(zlib.Z_SYNC_FLUSH)
            packed = body[:-4]  # the empty block that ends a flush is implied (RFC 7692, 7.2.1)
            self._deflated = self.raw if len(packed) >= len(self.raw) else _header(_DEFLATED_TEXT, len(packed)) + packed
        return self._deflated

    def fragmented(self) -> bytes:
        """The same message as several websocket frames, for who takes no frame of its size; made once."""
        if self._fragments is None:
            body = memoryview(self.raw)[self._start :]
            pieces = [body[start : start + FRAGMENT_BYTES] for start in range(0, len(body), FRAGMENT_BYTES)]
            kinds = [_FIRST_FRAGMENT, *[_FRAGMENT] * (len(pieces) - 2), _LAST_FRAGMENT]
            whole = [
                part for kind, piece in zip(kinds, pieces, strict=True) for part in (_header(kind, len(piece)), piece)
            ]
            self._fragments = b"".join(whole)
        return self._fragments

    def chunks(self, size: int) -> list[Frame]:
        """A transition as TransitionChunks with at most `size` bytes of it each; made once for all sockets."""
        if self._chunks is None:
            pieces = _pieces(self.raw, self._start, size)
            name = b'"transitionId":"%d","totalParts":%d' % (next(_transition_ids), len(pieces))
            self._chunks = [
                Frame([b'{"type":"TransitionChunk",%b,"partNumber":%d,"chunk":' % (name, part), _json(piece), b"}"])
                for part, piece in enumerate(pieces)
            ]
        return self._chunks


def _pieces(raw: bytes, start: int, size: int) -> list[str]:
    """The text from `start` on, cut between characters."""
    pieces: list[str] = []
    while start < len(raw):
        end = min(start + size, len(raw))
        while end < len(raw) and raw[end] & 0xC0 == 0x80:
            end -= 1
        pieces.append(raw[start:end].decode())
        start = end
    return pieces


PING = Frame([b'{"type":"Ping"}'])


def fatal_error(message: str) -> Frame:
    """The client is told that it can't go on."""
    return Frame([b'{"type":"FatalError","error":', _json(message), b"}"])


def auth_error(message: str, identity_version: int, *, attempted: bool) -> Frame:
    """A token was refused; `attempted` where it came with this Authenticate, not where it expired."""
    end = b"true}" if attempted else b"false}"
    head = b'{"type":"AuthError","baseVersion":%d,"error":' % identity_version
    return Frame([head, _json(message), b',"authUpdateAttempted":', end])


def response(kind: bytes, request_id: int, result: Result, ts: int | None, log_lines: bytes = b"[]") -> Frame:
    """The answer to a call; `kind` is Mutation or Action, `ts` the commit timestamp of a successful mutation."""
    head = b'{"type":"%bResponse","requestId":%d,"success":' % (kind, request_id)
    failure = result.failure
    if failure is not None:
        parts = [head, b'false,"result":', _json(failure.message), b',"logLines":', log_lines]
        if failure.data is not None:
            parts += (b',"errorData":', failure.data)
        parts.append(b',"ts":null}' if kind == b"Mutation" else b"}")
        return Frame(parts)
    assert result.value is not None
    parts = [head, b'true,"result":', result.value, b',"logLines":', log_lines]
    parts.append(b"}" if ts is None else b',"ts":"%b"}' % encode_timestamp(ts).encode())
    return Frame(parts)


def log_lines(result: Result) -> bytes:
    """The log lines of a run as JSON."""
    return _json(list(result.log_lines)) if result.log_lines else b"[]"


@lru_cache(maxsize=256)
def _version(version: Version) -> bytes:
    query_set, identity, ts = version
    return b'{"querySet":%d,"identity":%d,"ts":"%b"}' % (query_set, identity, encode_timestamp(ts).encode())


def _change(change: Change, parts: list[bytes], with_logs: bool) -> None:
    query_id, result = change
    if result is None:
        parts.append(b'{"type":"QueryRemoved","queryId":%d}' % query_id)
        return
    failure = result.failure
    if failure is None:
        assert result.value is not None
        parts += (b'{"type":"QueryUpdated","queryId":%d,"value":' % query_id, result.value)
    else:
        parts += (b'{"type":"QueryFailed","queryId":%d,"errorMessage":' % query_id, _json(failure.message))
        if failure.data is not None:
            parts += (b',"errorData":', failure.data)
    parts += (b',"logLines":', log_lines(result) if with_logs else b"[]")
    parts += (b',"journal":', b"null" if result.journal is None else _json(result.journal), b"}")


def transition(start: Version, end: Version, changes: Sequence[Change], with_logs: bool = False) -> Frame:
    """One step of a client's query set, from the version it has to the next one."""
    parts = [b'{"type":"Transition","startVersion":', _version(start), b',"endVersion":', _version(end)]
    separator = b',"modifications":['
    for change in changes:
        parts.append(separator)
        _change(change, parts, with_logs)
        separator = b","
    parts.append(b"]}" if changes else b',"modifications":[]}')
    return Frame(parts)


class Transitions:
    """Transitions of one round: the same step of many clients is encoded once."""

    def __init__(self, with_logs: bool, whole_bytes: int) -> None:
        """`whole_bytes`: what is longer is never the latest, so that every socket looks at how to send it."""
        self._with_logs = with_logs
        self.whole_bytes = whole_bytes
        self.latest: Sequence[Change] = ()
        self.latest_frame = PING
        """The frame of `latest`: clients with the same news come one after another."""
        # The hub hands out one object for changes that many clients get: it is known by its address, and kept so long.
        self._frames: dict[int, tuple[Frame, Sequence[Change]]] = {}

    def frame(self, start: Version, end: Version, changes: Sequence[Change]) -> Frame:
        """The frame of a transition."""
        found = self._frames.get(id(changes))
        if found is None:
            found = self._frames[id(changes)] = (transition(start, end, changes, self._with_logs), changes)
        if len(found[0].raw) <= self.whole_bytes:
            self.latest_frame, self.latest = found
        return found[0]

    def clear(self) -> None:
        """Forgets the round."""
        self._frames.clear()
        self.latest, self.latest_frame = (), PING
