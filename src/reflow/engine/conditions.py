"""From a search's conditions, as functions put them, to one filter on what an index knows of documents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast

from reflow.engine.documents import IndexCodec, comparable
from reflow.errors import DefinitionError, InvalidFilter, InvalidValue
from reflow.hits import Conditions
from reflow.limits import DEFAULT
from reflow.schema import TextIndex, measured_field
from reflow.search.filters import Filter, both, equals, parse

_LEVELS = 3
"""Objects and lists in each other that one level of a filter may be: `$and`, its list, a field's operators."""


def wanted(index: IndexCodec, conditions: Conditions) -> Filter | None:
    """The filter that all conditions make together; None where there are none.

    Raises InvalidFilter for what the filter language does not know, DefinitionError for fields that the index has no
    filters for.
    """
    found = owned(conditions)
    for _, part in parts(index, conditions):
        found = both(found, part)
    return found


def owned(conditions: Conditions) -> Filter | None:
    """The filter that keeps to the caller's documents; None where there are no others."""
    if conditions.owner is None:
        return None
    field, owner = conditions.owner
    return equals({field: comparable(owner)})


def parts(index: IndexCodec, conditions: Conditions) -> Iterator[tuple[str, Filter]]:
    """The caller's conditions one by one, each under the name that tells it apart for a reader."""
    if conditions.min_length is not None:
        yield f"min_length={conditions.min_length}", _long_enough(index, conditions.min_length)
    if conditions.filter is not None:
        yield from _filters(index, conditions.filter)
    for name, value in conditions.equal.items():
        if name not in index.filters:
            raise DefinitionError(f"{index.index!r} can't be filtered by {name!r}; its filters are {_names(index)}")
        several = isinstance(value, list | tuple | set | frozenset)
        items = cast("Iterable[Any]", value)
        found = equals({name: [comparable(item) for item in items] if several else comparable(value)})
        if found is not None:
            yield name, found


def _filters(index: IndexCodec, given: object) -> Iterator[tuple[str, Filter]]:
    if not isinstance(given, Mapping):
        raise InvalidFilter(f"{index.index!r}: a filter is a mapping such as {{'field': {{'$gte': 1}}}}")
    for name, entry in cast("Mapping[Any, Any]", given).items():
        try:
            found = parse({name: _comparable(entry)}, fields=index.filters, nulls=True)
        except InvalidFilter as error:
            raise InvalidFilter(f"{index.index!r}: {error}") from None
        if found is not None:
            yield f"filter[{name!r}]", found


def _comparable(entry: Any, depth: int = 0) -> Any:
    """An entry of a filter with its operands as documents' values are compared: of enums their value, and so on."""
    if depth > _LEVELS * DEFAULT.filter_nesting:
        raise InvalidFilter(f"a filter may be nested {DEFAULT.filter_nesting} deep (limits.filter_nesting)")
    if isinstance(entry, Mapping):
        return {name: _comparable(item, depth + 1) for name, item in cast("Mapping[Any, Any]", entry).items()}
    if isinstance(entry, list | tuple):
        return [_comparable(item, depth + 1) for item in cast("Iterable[Any]", entry)]
    return comparable(entry)


def _long_enough(index: IndexCodec, least: object) -> Filter:
    """Documents with at least so many characters of text."""
    if isinstance(least, bool) or not isinstance(least, int) or least < 0:
        raise InvalidValue(f"min_length is a whole number of characters, at least 0; got {least!r}")
    measured = [name for name in index.filters if measured_field(name) is not None]
    if isinstance(index.index, TextIndex):
        measured = [f"len({index.fields[0]})"]
    if len(measured) != 1:
        raise DefinitionError(
            f"{index.index!r} can't tell which text min_length is about: define it with one filter on a length, as in "
            f'filters=("len(text)",); its filters are {_names(index)}'
        )
    found = parse({measured[0]: {"$gte": least}})
    assert found is not None
    return found


def _names(index: IndexCodec) -> list[str]:
    return sorted(index.filters)
