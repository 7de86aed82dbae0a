"""LlamaIndex's metadata filters in the language of vector indexes, and what that language can't say.

Filters see what an index keeps of the metadata: strings, numbers, booleans and lists of strings. A list is judged by
its elements. A missing value satisfies only NE, NIN and IS_EMPTY. NOT holds where none of its parts does. Substrings,
an order of texts, equality with a whole list and membership in lists of numbers are judged here, record by record.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

from llama_index.core.vector_stores.types import FilterCondition, FilterOperator, MetadataFilter, MetadataFilters

from reflow.errors import InvalidFilter
from reflow.search.filters import parse

OPAQUE = "_opaque"
"""Under this key an index keeps the names of the metadata that are there but not in a form that it takes."""

Expression = dict[str, Any]
"""A filter in the language of vector indexes."""

Check = Callable[[Mapping[str, Any], Mapping[str, Any]], bool]
"""Judges a record by what the index keeps of its metadata, and by all of its metadata."""

_ORDERS: dict[FilterOperator, tuple[str, Callable[[Any, Any], bool]]] = {
    FilterOperator.GT: ("$gt", operator.gt),
    FilterOperator.GTE: ("$gte", operator.ge),
    FilterOperator.LT: ("$lt", operator.lt),
    FilterOperator.LTE: ("$lte", operator.le),
}
_SETS = (FilterOperator.IN, FilterOperator.NIN, FilterOperator.ANY, FilterOperator.ALL)
_MEMBERSHIP = (FilterOperator.CONTAINS, FilterOperator.ANY, FilterOperator.ALL)
_TEXTS = (FilterOperator.TEXT_MATCH, FilterOperator.TEXT_MATCH_INSENSITIVE)

_EVERYTHING: Expression = {"$or": [{OPAQUE: {"$exists": True}}, {OPAQUE: {"$exists": False}}]}


@dataclass(frozen=True)
class Wanted:
    """Which records are asked for: those that pass `filter`, as far as the language goes, and then `check`."""

    filter: Expression | None = None
    check: Check | None = None

    def both(self, more: Expression | None) -> Wanted:
        """Those that pass another filter as well."""
        return Wanted(joined("$and", [part for part in (self.filter, more) if part is not None]), self.check)


def wanted(filters: MetadataFilters | None) -> Wanted:
    """Reads filters; None and empty ones let everything pass. Raises InvalidFilter."""
    if filters is None or not filters.filters:
        return Wanted()
    said = _expression(filters)
    if said is not None:
        return Wanted(said)
    narrowed: list[Expression] = []
    if filters.condition in (None, FilterCondition.AND):
        narrowed = [part for part in map(_expression, filters.filters) if part is not None]
    return Wanted(joined("$and", narrowed), _check(filters))


def joined(name: str, parts: Sequence[Expression]) -> Expression | None:
    """All parts under `$and` or `$or`; None when there are none."""
    if len(parts) > 1:
        return {name: list(parts)}
    return parts[0] if parts else None


# In the language


def _expression(given: MetadataFilter | MetadataFilters) -> Expression | None:
    """The same in the language of vector indexes; None where it can't be said. Raises InvalidFilter."""
    if isinstance(given, MetadataFilter):
        return _condition(given)
    parts = [_expression(part) for part in given.filters]
    said = [part for part in parts if part is not None]
    if len(said) < len(parts):
        return None
    if not said:
        return _EVERYTHING
    if given.condition == FilterCondition.NOT:
        return {"$not": joined("$or", said)}
    return joined("$or" if given.condition == FilterCondition.OR else "$and", said)


def _condition(given: MetadataFilter) -> Expression | None:
    _check_operand(given)
    key, value = given.key, cast(Any, given.value)
    if given.operator in _ORDERS:
        return None if isinstance(value, str) else {key: {_ORDERS[given.operator][0]: value}}
    if given.operator in _MEMBERSHIP and not _holds_texts(value):
        return None
    match given.operator:
        case FilterOperator.EQ | FilterOperator.CONTAINS:
            return None if isinstance(value, list) else {key: {"$eq": value}}
        case FilterOperator.NE:
            return None if isinstance(value, list) else {"$not": {key: {"$eq": value}}}
        case FilterOperator.IN | FilterOperator.ANY:
            return {key: {"$in": value}}
        case FilterOperator.NIN:
            return {"$not": {key: {"$in": value}}}
        case FilterOperator.ALL:
            return joined("$and", [{key: {"$eq": item}} for item in value])
        case FilterOperator.IS_EMPTY:
            return {"$and": [{"$not": {OPAQUE: {"$eq": key}}}, {"$or": [{key: {"$exists": False}}, {key: ""}]}]}
        case _:
            return None


def _holds_texts(value: object) -> bool:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return all(isinstance(item, str) for item in items)


def _check_operand(given: MetadataFilter) -> None:
    """Raises InvalidFilter for a value that the operator can't have."""
    is_list, name = isinstance(given.value, list), given.operator
    if name == FilterOperator.IS_EMPTY:
        return
    if given.value is None:
        raise InvalidFilter(f"the filter on {given.key!r} has no value: use IS_EMPTY to ask for what is missing")
    if name in _SETS and not is_list:
        raise InvalidFilter(f"the filter on {given.key!r}: {name.name} needs a list, got {given.value!r:.100}")
    if (name in _ORDERS or name == FilterOperator.CONTAINS) and is_list:
        raise InvalidFilter(f"the filter on {given.key!r}: {name.name} needs one value, got {given.value!r:.100}")
    if name in _TEXTS and not isinstance(given.value, str):
        raise InvalidFilter(f"the filter on {given.key!r}: {name.name} needs a text, got {given.value!r:.100}")


# Record by record


def _check(given: MetadataFilter | MetadataFilters) -> Check:
    if isinstance(given, MetadataFilter):
        said = _condition(given)
        known = None if said is None else parse(said)
        return partial(_holds, given) if known is None else lambda stored, _: known.matches(stored)
    checks = [_check(part) for part in given.filters]
    match given.condition:
        case FilterCondition.NOT:
            return lambda stored, full: not any(check(stored, full) for check in checks)
        case FilterCondition.OR if checks:
            return lambda stored, full: any(check(stored, full) for check in checks)
        case _:
            return lambda stored, full: all(check(stored, full) for check in checks)


def _holds(given: MetadataFilter, _: Mapping[str, Any], full: Mapping[str, Any]) -> bool:
    """What the language can't say."""
    found, value = full.get(given.key), cast(Any, given.value)
    if found is None:
        return given.operator == FilterOperator.NE
    if given.operator in _ORDERS:
        return isinstance(found, str) and _ORDERS[given.operator][1](found, value)
    items = cast("list[object]", found) if isinstance(found, list) else [found]
    match given.operator:
        case FilterOperator.EQ:
            return found == value
        case FilterOperator.NE:
            return found != value
        case FilterOperator.CONTAINS:
            return _has(items, value)
        case FilterOperator.ANY:
            return any(_has(items, item) for item in value)
        case FilterOperator.ALL:
            return all(_has(items, item) for item in value)
        case FilterOperator.TEXT_MATCH:
            return isinstance(found, str) and value in found
        case FilterOperator.TEXT_MATCH_INSENSITIVE:
            return isinstance(found, str) and value.casefold() in found.casefold()
        case _:
            raise InvalidFilter(f"the filter on {given.key!r}: {given.operator!r} is no operator known here")


def _has(items: list[object], number: float) -> bool:
    """Whether a number is among the items; a boolean is none."""
    return any(isinstance(item, int | float) and not isinstance(item, bool) and item == number for item in items)
