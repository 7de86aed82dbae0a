"""The language of metadata filters: Pinecone's operators on flat metadata, read once and then judged per record.

    {"kind": "note", "year": {"$gte": 2020, "$lt": 2030}, "$or": [{"tag": {"$in": ["a", "b"]}}, {"pinned": True}]}

Values never change their class: 1, "1" and True are three values, while 1 and 1.0 are one number (a float64). A list
in the metadata is judged by its elements: `$eq` and `$in` ask for any of them, `$ne` and `$nin` for none. A missing
field satisfies no positive operator; None is a value, not an absence.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping
from typing import Any, cast

import msgspec

from reflow.errors import InvalidFilter, InvalidValue
from reflow.limits import DEFAULT
from reflow.search.conditions import (
    AllHold,
    AnyOf,
    Compared,
    Condition,
    Exists,
    Fails,
    Metadata,
    NoneOf,
    OneHolds,
    Order,
    Token,
    Value,
    as_list,
    fields_of,
    joined,
    number,
    pack,
    printable,
    shown,
    token,
)

__all__ = ["NEGATIONS_MATCH_MISSING", "Filter", "Metadata", "Value", "both", "check_metadata", "equals", "parse"]

NEGATIONS_MATCH_MISSING: bool = False
"""Whether `$ne` and `$nin` accept records that lack the field. Pinecone's serverless indexes were seen not to
(deepset-ai/haystack-core-integrations, issue 590); MongoDB, whose language this is, does."""

_EXACT = 2**53
_json_encode = msgspec.json.Encoder().encode


class Filter:
    """A filter that was read and found valid. Equal filters are those with the same `key`; immutable, hashable."""

    __slots__ = ("condition", "fields", "key")

    condition: Condition
    """The tree of conditions, in its canonical form."""
    key: bytes
    """The canonical spelling: neither the order of fields, operands and parts nor their repetition matters."""
    fields: frozenset[str]
    """The metadata fields that decide."""

    def __init__(self, condition: Condition) -> None:
        object.__setattr__(self, "condition", condition)
        object.__setattr__(self, "key", pack(condition.shape()))
        object.__setattr__(self, "fields", fields_of(condition))

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Filter can't be changed: {name}")

    def matches(self, metadata: Metadata) -> bool:
        """Whether a record with this metadata passes. Raises InvalidValue for metadata of other classes of values."""
        return self.condition.holds(metadata)

    def __eq__(self, other: object) -> bool:
        return self.key == other.key if isinstance(other, Filter) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        return f"Filter({self.condition!r})"


# --- Reading -------------------------------------------------------------------------------------------------------


def parse(
    filter: Mapping[str, Any],
    *,
    fields: Collection[str] | None = None,
    nulls: bool = False,
) -> Filter | None:
    """Read a filter; an empty one is None.

    `fields` are the only ones that may be named (None: any). `nulls`: operands are those of documents, so that None is
    one and `$in` may mix classes; without it they are Pinecone's. Raises InvalidFilter, as Pinecone words it.
    """
    if filter == {}:
        return None
    return Filter(_Reader(fields, nulls).group(filter, 1))


def equals(conditions: Mapping[str, Any]) -> Filter | None:
    """Read equalities: each field has that value, or one of a list, tuple or set of values. None when there are none.

    Raises InvalidFilter for values that metadata can't hold.
    """
    reader = _Reader(None, nulls=True)
    parts: list[Condition] = []
    for field, value in conditions.items():
        if isinstance(value, list | tuple | set | frozenset):
            wanted = reader.many("$in", list(cast("Iterable[object]", value)))
        else:
            wanted = frozenset((reader.one("$eq", value),))
        parts.append(AnyOf(_encodable(field), wanted))
    return Filter(joined(AllHold, parts)) if parts else None


def both(one: Filter | None, other: Filter | None) -> Filter | None:
    """The filter that passes what both pass; None passes everything."""
    if one is None or other is None:
        return one or other
    return Filter(joined(AllHold, (one.condition, other.condition)))


class _Reader:
    """Reads one filter and counts what it asks for."""

    def __init__(self, fields: Collection[str] | None, nulls: bool) -> None:
        self._fields = fields
        self._nulls = nulls
        self._conditions = 0

    def group(self, filter: object, depth: int) -> Condition:
        """An object of fields and of `$and`, `$or`, `$not`."""
        if not isinstance(filter, Mapping):
            raise InvalidFilter(f"a filter must be an object, got {shown(filter)} instead")
        if depth > DEFAULT.filter_nesting:
            raise InvalidFilter(f"a filter may be nested {DEFAULT.filter_nesting} deep (limits.filter_nesting)")
        entries = cast("Mapping[object, Any]", filter)
        if not entries:
            raise InvalidFilter("a filter inside $and, $or or $not must not be empty")
        return joined(AllHold, [self._entry(name, entry, depth) for name, entry in entries.items()])

    def _entry(self, name: object, entry: Any, depth: int) -> Condition:
        if not isinstance(name, str):
            raise InvalidFilter(f"the names in a filter are texts, got {shown(name)}")
        if name in ("$and", "$or"):
            parts = [self.group(part, depth + 1) for part in as_list(entry) or ()]
            if not parts:
                raise InvalidFilter(
                    f"the {name} operator must be followed by a non-empty list of filters, got {shown(entry)} instead"
                )
            return joined(AllHold if name == "$and" else OneHolds, parts)
        if name == "$not":
            return Fails(self.group(entry, depth + 1))
        if name.startswith("$"):
            raise InvalidFilter(
                f"only logical operators such as $or and $and are allowed at top level, got {printable(name)} instead"
            )
        return self._field(_encodable(name), entry)

    def _field(self, field: str, entry: Any) -> Condition:
        if self._fields is not None and field not in self._fields:
            raise InvalidFilter(
                f"can't be filtered by {field!r:.100}; the fields to filter by are {sorted(self._fields)}"
            )
        if not isinstance(entry, Mapping):
            return self._operator(field, "$eq", entry)
        operators = cast("Mapping[object, Any]", entry)
        if not operators:
            raise InvalidFilter(
                f"the field {field!r:.100} must be followed by a value or by operators, got {{}} instead"
            )
        return joined(AllHold, [self._operator(field, name, operand) for name, operand in operators.items()])

    def _operator(self, field: str, name: object, operand: Any) -> Condition:
        self._conditions += 1
        if self._conditions > DEFAULT.filter_conditions:
            raise InvalidFilter(f"a filter may have {DEFAULT.filter_conditions} conditions (limits.filter_conditions)")
        match name:
            case "$eq":
                return AnyOf(field, frozenset((self.one("$eq", operand),)))
            case "$ne":
                return NoneOf(field, frozenset((self.one("$ne", operand),)), NEGATIONS_MATCH_MISSING)
            case "$in":
                return AnyOf(field, self.many("$in", operand))
            case "$nin":
                return NoneOf(field, self.many("$nin", operand), NEGATIONS_MATCH_MISSING)
            case "$gt" | "$gte" | "$lt" | "$lte":
                order = cast(Order, name)
                return Compared(field, order, _bound(order, operand))
            case "$exists":
                if not isinstance(operand, bool):
                    raise InvalidFilter(
                        f"the $exists operator must be followed by a boolean, got {shown(operand)} instead"
                    )
                return Exists(field, operand)
            case _:
                raise InvalidFilter(
                    f"{shown(name)} is not a valid operator for the field {field!r:.100}; valid are "
                    "$eq, $ne, $gt, $gte, $lt, $lte, $in, $nin and $exists"
                )

    def one(self, operator: str, operand: object) -> Token:
        """The operand of `$eq` or `$ne`."""
        if isinstance(operand, str | int | float) or (operand is None and self._nulls):
            return _operand(operand)
        raise InvalidFilter(
            f"the {operator} operator must be followed by a string, boolean or a number, got {shown(operand)} instead"
        )

    def many(self, operator: str, operand: object) -> frozenset[Token]:
        """The operands of `$in` or `$nin`."""
        items = as_list(operand)
        if items is not None:
            if len(items) > DEFAULT.filter_operands:
                raise InvalidFilter(
                    f"the {operator} operator takes at most {DEFAULT.filter_operands} values (limits.filter_operands), "
                    f"got {len(items)}"
                )
            if self._nulls or all(isinstance(item, str) for item in items) or all(map(_is_number, items)):
                return frozenset(self.one(operator, item) for item in items)
        raise InvalidFilter(
            f"the {operator} operator must be followed by a list of strings or a list of numbers, "
            f"got {shown(operand)} instead"
        )


def _bound(order: Order, operand: object) -> float:
    if _is_number(operand):
        return cast(float, _operand(operand))
    raise InvalidFilter(f"the {order} operator must be followed by a number, got {shown(operand)} instead")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _operand(value: object) -> Token:
    """A single operand as it is compared; the two zeros are one."""
    try:
        found = token(value)
    except InvalidValue as error:
        raise InvalidFilter(str(error)) from None
    if isinstance(found, str):
        return _encodable(found)
    if isinstance(found, float):
        if math.isnan(found):
            raise InvalidFilter("a filter can't ask for NaN, which equals nothing: use $exists, or another value")
        return found + 0.0
    return found


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidFilter(f"a filter's text must be valid Unicode, without lone surrogates: {text!r:.100}") from None
    return text


# --- Metadata ------------------------------------------------------------------------------------------------------


def check_metadata(metadata: object) -> dict[str, Value]:
    """The metadata of a record as it may be stored: a new dict without the null fields.

    Values are texts, finite numbers, bools and lists of texts; names are texts that do not start with `$`. Integers
    beyond ±2**53 become the float64 they are compared as. Raises InvalidValue, as Pinecone words it, also for more
    than `limits.metadata_bytes` bytes of JSON.
    """
    if not isinstance(metadata, Mapping):
        raise InvalidValue(f"metadata must be an object, got {shown(metadata)}")
    checked: dict[str, Value] = {}
    for name, value in cast("Mapping[object, Any]", metadata).items():
        if not isinstance(name, str):
            raise InvalidValue(f"metadata names are texts, got {shown(name)}")
        if name.startswith("$"):
            raise InvalidValue(f"metadata names must not start with '$', got {name!r:.100}")
        if value is not None:
            checked[name] = value if type(value) is str else _checked_value(name, value)
    try:
        size = len(_json_encode(checked))
    except UnicodeEncodeError:
        raise InvalidValue("metadata must be valid Unicode, without lone surrogates") from None
    if size > DEFAULT.metadata_bytes:
        raise InvalidValue(
            f"Metadata size is {size} bytes, which exceeds the limit of {DEFAULT.metadata_bytes} bytes per vector "
            "(limits.metadata_bytes)"
        )
    return checked


def _checked_value(name: str, value: object) -> Value:
    """One value of the metadata that is neither null nor a plain text."""
    if isinstance(value, bool):
        return value
    if isinstance(value, int) and -_EXACT <= value <= _EXACT:
        return int(value)
    if isinstance(value, int | float) and math.isfinite(finite := number(value)):
        return finite
    if isinstance(value, str):
        return str.__str__(value)
    items = as_list(value)
    if items is not None and all(isinstance(item, str) for item in items):
        return [str.__str__(cast(str, item)) for item in items]
    raise InvalidValue(
        f"Metadata value must be a string, number, boolean or list of strings, got '{shown(value)}' for "
        f"field '{printable(name)}'"
    )
