"""A request as handlers get it, what they answer, and how a request finds its handler."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from urllib.parse import parse_qs, unquote

import msgspec
from msgspec import Raw

from reflow.server.pinecone.errors import Refused, invalid, not_found

T = TypeVar("T")

_json = msgspec.json.Encoder().encode
_MOST_FIELDS = 2048
_TURN_BYTES = 1 << 18
"""Of an answer, written before others have their turn: about two milliseconds."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose key was checked."""

    base: str
    """Where the client reaches this server, with scheme and without a final slash."""
    index: str
    """The index's name; empty for the control plane."""
    names: tuple[str, ...]
    """What stands in the path at the route's stars."""
    version: str
    """The version of the API that the client speaks, such as 2026-07."""
    query: bytes
    """The address behind the question mark."""
    body: bytes

    def decoded(self, decode: Callable[[bytes], T]) -> T:
        """The body as a decoder reads it. Raises Refused, naming the place of the mistake."""
        try:
            return decode(self.body)
        except msgspec.ValidationError as error:
            raise invalid(f"the request's body does not fit: {error}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            hint = "; JSON has no NaN and no infinity" if b"NaN" in self.body or b"Infinity" in self.body else ""
            raise invalid(f"the request's body is no JSON: {error}{hint}") from None

    def fields(self) -> Fields:
        """The fields of the address."""
        try:
            found = parse_qs(self.query.decode(), keep_blank_values=True, max_num_fields=_MOST_FIELDS)
        except ValueError as error:
            raise invalid(f"the address can't be read: {error}") from None
        return Fields(found)


class Fields:
    """The fields of an address. Unknown ones are ignored: some clients pass theirs through."""

    def __init__(self, found: Mapping[str, list[str]]) -> None:
        self._found = found

    def text(self, *names: str) -> str | None:
        """A field that is there once, under one of its names."""
        values = self.many(*names)
        if len(values) > 1:
            raise invalid(f"{names[0]} is in the address more than once")
        return values[0] if values else None

    def many(self, *names: str) -> list[str]:
        """A field that may be repeated."""
        return [value for name in names for value in self._found.get(name, ())]

    def limit(self, most: int) -> int:
        """`limit`, between 1 and `most`, which is the default."""
        text = self.text("limit")
        if text is None:
            return most
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= most:
            raise invalid(f"limit must be a number between 1 and {most}, got {text[:40]!r}")
        return int(text)


class Reply(NamedTuple):
    """A status and a body: JSON, or nothing. A large one is in several parts, to be sent one after the other."""

    status: int
    body: bytes | Sequence[bytes]


def reply(value: Any, status: int = 200) -> Reply:
    """An answer in JSON."""
    return Reply(status, _json(value))


def too_large(most: int) -> Refused:
    """The result of a query is more than one answer may have."""
    return invalid(
        f"the result has more bytes than limits.pinecone_result_bytes = {most}: ask for fewer with topK, or without "
        "values and metadata"
    )


async def written(values: Iterable[Any], most: int | None = None) -> list[Raw]:
    """Parts of a large answer as JSON; others have the event loop meanwhile. Raises Refused above `most` bytes."""
    parts: list[Raw] = []
    total = since = 0
    for value in values:
        part = _json(value)
        parts.append(Raw(part))
        total += len(part)
        if most is not None and total > most:
            raise too_large(most)
        if total - since >= _TURN_BYTES:
            since = total
            await asyncio.sleep(0)
    return parts


async def reply_by_id(name: str, fields: Iterable[tuple[str, Any]], rest: Mapping[str, Any]) -> Reply:
    """An answer of any size: the field `name` is an object with these fields, and some others follow.

    It is written in parts, and others have the event loop in between.
    """
    parts: list[bytes] = []
    part = bytearray(b"{%b:{" % _json(name))
    separator = b""
    for id, value in fields:
        part += b"%b%b:%b" % (separator, _json(id), _json(value))
        separator = b","
        if len(part) >= _TURN_BYTES:
            parts.append(bytes(part))
            part.clear()
            await asyncio.sleep(0)
    parts.append(b"%b},%b" % (part, _json(rest)[1:]))
    return Reply(200, parts)


def released(items: list[T]) -> Iterator[T]:
    """The items of a list, which loses them: to let go of millions of numbers at once would take long."""
    items.reverse()
    while items:
        yield items.pop()


EMPTY = Reply(200, b"{}")

Handler = Callable[[Request], Awaitable[Reply]]
Routes = Mapping[str, Mapping[str, Handler]]
"""Handlers by path, without the first slash, and method. A star in a path stands for one segment."""


@dataclass(frozen=True, slots=True)
class _Pattern:
    segments: list[str]
    handlers: Mapping[str, Handler]

    def names(self, segments: list[str]) -> tuple[str, ...] | None:
        """What stands at the stars; None where the path is another one."""
        pairs = list(zip(self.segments, segments, strict=False))
        if len(segments) != len(self.segments) or any(own not in ("*", given) for own, given in pairs):
            return None
        return tuple(unquote(given) for own, given in pairs if own == "*")


class Router:
    """Finds the handler of a path."""

    def __init__(self, *routes: Routes) -> None:
        merged = {path: handlers for part in routes for path, handlers in part.items()}
        self._exact = {path: handlers for path, handlers in merged.items() if "*" not in path}
        self._patterns = [_Pattern(path.split("/"), handlers) for path, handlers in merged.items() if "*" in path]

    def find(self, method: str, path: str) -> tuple[Handler, tuple[str, ...]]:
        """The handler of a path as it was sent, percent signs included, and its names. Raises Refused."""
        handlers, names = self._exact.get(path), ()
        if handlers is None:
            handlers, names = self._matching(path.split("/"))
        if handlers is None:
            raise not_found(f"there is nothing at /{path[:200]}")
        handler = handlers.get(method)
        if handler is None:
            allowed = ", ".join(handlers)
            raise Refused(
                "METHOD_NOT_ALLOWED", f"{method} is not possible here; use {allowed}", [(b"allow", allowed.encode())]
            )
        return handler, names

    def _matching(self, segments: list[str]) -> tuple[Mapping[str, Handler] | None, tuple[str, ...]]:
        for pattern in self._patterns:
            names = pattern.names(segments)
            if names is not None:
                return pattern.handlers, names
        return None, ()
