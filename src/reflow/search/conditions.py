"""Conditions on metadata: the parts that a filter is made of, and how single values compare."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import ge, gt, le, lt
from typing import Any, Literal, TypeAlias, cast

import msgspec

from reflow.errors import InvalidValue

Value: TypeAlias = str | float | int | bool | list[str] | None
"""What a field of the metadata may hold. None occurs in documents only."""

Metadata: TypeAlias = Mapping[str, Any]
"""Flat: field names with their `Value`s."""

Token: TypeAlias = str | float | bytes
"""A value as it is compared: texts and float64 as they are, `TRUE`, `FALSE` and `NULL`, which equal no other value."""

TRUE, FALSE, NULL = b"true", b"false", b"null"

Order: TypeAlias = Literal["$gt", "$gte", "$lt", "$lte"]

ORDERS: dict[Order, Callable[[Any, float], Any]] = {"$gt": gt, "$gte": ge, "$lt": lt, "$lte": le}
"""The comparisons of numbers, for one number or an array of them."""

_MISSING: Any = object()
_SHOWN = 100
_pieces = json.JSONEncoder(ensure_ascii=False, default=repr, skipkeys=True).iterencode
pack = msgspec.msgpack.Encoder().encode
"""Bytes of plain values that are equal for equal values only, also across classes."""


def token(value: object) -> Token:
    """A single value as it is compared. Raises InvalidValue for what is no text, number, bool or None."""
    kind = type(value)
    if kind is str or kind is float:
        return cast("str | float", value)
    if value is None:
        return NULL
    if kind is bool:
        return TRUE if value else FALSE
    if isinstance(value, int | float):
        return number(value)
    if isinstance(value, str):
        return str.__str__(value)
    raise InvalidValue(f"metadata holds texts, numbers, bools and lists of them, got {kind.__name__}: {shown(value)}")


def tokens(value: object) -> Sequence[Token]:
    """The values that a field is judged by: the elements of a list, otherwise the value itself."""
    items = as_list(value)
    return (token(value),) if items is None else [token(item) for item in items]


def number(value: float) -> float:
    """A number as it is compared: float64. Raises InvalidValue for an integer that is too large for it."""
    try:
        return float(value)
    except OverflowError:
        raise InvalidValue("a number must fit a float64, got an integer beyond 1.8e308") from None


def as_list(value: object) -> Sequence[object] | None:
    """A list or tuple, None for anything else."""
    return cast("Sequence[object]", value) if isinstance(value, list | tuple) else None


def shown(value: object) -> str:
    """A value as JSON, for a message: cut when long, and only its kind where it can't be written."""
    text = ""
    try:
        for piece in _pieces(value):  # no more of them than are shown, however large or deep the value is
            text += piece[: _SHOWN + 1]
            if len(text) > _SHOWN:
                break
    except (ValueError, RecursionError):  # a circle, or an integer of thousands of digits
        return f"a value of the class {type(value).__name__}"
    return printable(text)


def printable(text: str) -> str:
    """A text for a message: cut when long, and valid Unicode."""
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True, slots=True)
class AnyOf:
    """The field has one of the wanted values (`$eq`, `$in`)."""

    field: str
    wanted: frozenset[Token]

    def holds(self, metadata: Metadata) -> bool:
        """Whether metadata satisfies the condition."""
        value = metadata.get(self.field, _MISSING)
        if type(value) is str:
            return value in self.wanted
        return value is not _MISSING and not self.wanted.isdisjoint(tokens(value))

    def shape(self) -> list[Any]:
        """The condition as plain values, equal for equal conditions."""
        return ["any", self.field, sorted(self.wanted, key=pack)]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The field has none of the unwanted values (`$ne`, `$nin`); `missing`: records without the field pass."""

    field: str
    unwanted: frozenset[Token]
    missing: bool

    def holds(self, metadata: Metadata) -> bool:
        """Whether metadata satisfies the condition."""
        value = metadata.get(self.field, _MISSING)
        return self.missing if value is _MISSING else self.unwanted.isdisjoint(tokens(value))

    def shape(self) -> list[Any]:
        """The condition as plain values, equal for equal conditions."""
        return ["none", self.field, sorted(self.unwanted, key=pack), self.missing]


@dataclass(frozen=True, slots=True)
class Compared:
    """The field is a number that stands in this order to the bound."""

    field: str
    order: Order
    bound: float

    def holds(self, metadata: Metadata) -> bool:
        """Whether metadata satisfies the condition."""
        value = metadata.get(self.field)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        return ORDERS[self.order](number(value), self.bound)

    def shape(self) -> list[Any]:
        """The condition as plain values, equal for equal conditions."""
        return ["order", self.field, self.order, self.bound]


@dataclass(frozen=True, slots=True)
class Exists:
    """The field is there (or is not)."""

    field: str
    wanted: bool

    def holds(self, metadata: Metadata) -> bool:
        """Whether metadata satisfies the condition."""
        return (self.field in metadata) is self.wanted

    def shape(self) -> list[Any]:
        """The condition as plain values, equal for equal conditions."""
        return ["exists", self.field, self.wanted]


@dataclass(frozen=True, slots=True)
class AllHold:
    """Every part holds."""

    parts: tuple[Condition, ...]

    def holds(self, metadata: Metadata) -> bool:
        """Whether metadata satisfies the condition."""
        for part in self.parts:  # plain loops: this runs for every changed record and standing filter  # noqa: SIM110
            if not part.holds(metadata):
                return False
        return True

    def shape(self) -> list[Any]:
        """The condition as plain values, equal for equal conditions."""
        return ["and", *(part.shape() for part in self.parts)]


@dataclass(frozen=True, slots=True)
class OneHolds:
    """At least one part holds."""

    parts: tuple[Condition, ...]

    def holds(self, metadata: Metadata) -> bool:
        """Whether metadata satisfies the condition."""
        for part in self.parts:  # noqa: SIM110
            if part.holds(metadata):
                return True
        return False

    def shape(self) -> list[Any]:
        """The condition as plain values, equal for equal conditions."""
        return ["or", *(part.shape() for part in self.parts)]


@dataclass(frozen=True, slots=True)
class Fails:
    """The part does not hold: also for want of the field."""

    part: Condition

    def holds(self, metadata: Metadata) -> bool:
        """Whether metadata satisfies the condition."""
        return not self.part.holds(metadata)

    def shape(self) -> list[Any]:
        """The condition as plain values, equal for equal conditions."""
        return ["not", self.part.shape()]


Condition: TypeAlias = AnyOf | NoneOf | Compared | Exists | AllHold | OneHolds | Fails


def joined(kind: type[AllHold] | type[OneHolds], parts: Iterable[Condition]) -> Condition:
    """The parts under one connective, in an order of their own: nested ones of the kind and repeated ones dissolve."""
    flat: dict[bytes, Condition] = {}
    for part in parts:
        for inner in part.parts if isinstance(part, kind) else (part,):
            flat[pack(inner.shape())] = inner
    if len(flat) == 1:
        return next(iter(flat.values()))
    return kind(tuple(flat[key] for key in sorted(flat)))


def fields_of(condition: Condition) -> frozenset[str]:
    """The metadata fields that decide."""
    match condition:
        case AllHold(parts) | OneHolds(parts):
            return frozenset[str]().union(*map(fields_of, parts))
        case Fails(part):
            return fields_of(part)
        case _:
            return frozenset((condition.field,))
