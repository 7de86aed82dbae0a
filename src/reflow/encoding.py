"""From Python values to convex-encoded JSON.

JSON can't write Int64, bytes, NaN, the infinities and -0.0; Convex writes them as objects with one "$" key. msgspec
would silently write NaN as null and bytes as a plain string, so nothing reaches it unseen: a *walker* per class checks
a value and returns it, or a copy with those special forms in their places. A value that needs no swap is not copied.
A walker goes by the classes it meets, not by annotations: nothing but a type checker holds a Struct to its own.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Collection, Iterable, Iterator
from enum import Enum
from math import copysign
from operator import is_
from struct import Struct as Layout
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType, inspect

from reflow.errors import InvalidValue
from reflow.limits import DEFAULT

Walker = Callable[[Any, int], Any]
"""Checks a value that lies `depth` containers deep (itself included) and returns what msgspec may write for it."""

EXACT: Final = 1 << 53
"""Up to here, in both directions, every integer is a double: JavaScript's numbers hold it."""

_json_encode = msgspec.json.Encoder().encode
_good_names: set[str] = set()
_pack_double = Layout("<d").pack
_ITEMS = DEFAULT.array_items
_FIELDS = DEFAULT.object_fields
_NAME = DEFAULT.field_name_length
_NESTING = DEFAULT.nesting


class Int64(int):
    """A 64-bit integer, Convex's `v.int64()`: the only number that clients get as a BigInt. Arithmetic gives an int."""

    __slots__ = ()

    def __new__(cls, value: int | str = 0) -> Int64:
        """Take an integer within -2^63..2^63-1; raise `InvalidValue` for another."""
        self = super().__new__(cls, value)
        if not -(1 << 63) <= self < 1 << 63:
            raise InvalidValue(f"{int(self)} does not fit in an Int64 (-2**63..2**63-1)")
        return self

    def __repr__(self) -> str:
        """Show as the call that makes it."""
        return f"Int64({int(self)})"

    __str__ = int.__repr__


def encode(value: object) -> bytes:
    """Encode a value as convex-encoded JSON.

    Raises `InvalidValue`, with the place of the offending part, for what is no Convex value: another class, an int
    outside ±2**53, a string with a lone surrogate, a field name that is not printable ASCII or starts with "$", more
    items, fields or nesting than the limits allow.
    """
    try:
        return _json_encode(walk(value, 1))
    except (InvalidValue, UnicodeEncodeError):
        raise _located(value) from None
    except TypeError:
        # A list that began with a float held a subclass of int or float behind it: see _walk_list.
        try:
            return _json_encode(_rebuilt(value, 1))
        except (InvalidValue, UnicodeEncodeError, TypeError):
            raise _located(value) from None


def walker_for(tp: type) -> Walker | None:
    """Give the walker of a class; None if all its instances can be handed straight to msgspec."""
    try:
        return _WALKERS[tp]
    except KeyError:
        walker = _compiled(tp)
        if len(_WALKERS) >= DEFAULT.known_types:
            _WALKERS.clear()
            _WALKERS.update(_BUILTIN)
        _WALKERS[tp] = walker
        return walker


def walk(value: Any, depth: int) -> Any:
    """Walk a value of any class: return it or a copy with special forms, or raise `InvalidValue` if it is none."""
    try:
        walker = _WALKERS[type(value)]
    except KeyError:
        walker = walker_for(cast("type[Any]", type(value)))
    return value if walker is None else walker(value, depth)


def check_names(names: Collection[str]) -> None:
    """Raise `InvalidValue` unless all are names of fields: printable ASCII, not too long, not starting with "$"."""
    if _good_names.issuperset(names):
        return
    try:
        joined = "".join(names)
    except TypeError:
        wrong = next(name for name in names if not isinstance(cast(object, name), str))
        raise InvalidValue(f"field names are strings, not {wrong!r:.60}") from None
    if joined.isascii() and joined.isprintable() and "$" not in joined and len(joined) <= _NAME:
        if len(_good_names) > DEFAULT.known_names:
            _good_names.clear()
        _good_names.update(names)
        return
    for name in names:
        if not (name.isascii() and name.isprintable()):
            raise InvalidValue(f"the field name {name!r:.60} is not printable ASCII: keep such keys as values")
        if name.startswith("$"):
            raise InvalidValue(f'the field name {name!r:.60} starts with "$", which is reserved')
        if len(name) > _NAME:
            raise InvalidValue(f"the field name {name[:40]!r}... has {len(name)} characters; the limit is {_NAME}")


def excess(depth: int, size: int, what: str) -> str:
    """Word the error of a container that is too deep or holds too many `what` ("items" or "fields")."""
    if depth > _NESTING:
        return f"nested more than {_NESTING} deep"
    return f"{size} {what}; the limit is {_ITEMS if what == 'items' else _FIELDS}"


def is_ordinary(value: float) -> bool:
    """Tell whether JSON has a way to write a float: it is finite and not -0.0."""
    return value - value == 0.0 and (value != 0.0 or copysign(1.0, value) > 0.0)  # inf - inf is NaN


# Walkers of the built-in classes. The special forms hold bytes, which msgspec writes as base64.


def _walk_int(value: int, depth: int) -> int:
    if -EXACT <= value <= EXACT:
        return value
    raise InvalidValue(f"the int {value} is outside ±2**53, where numbers are exact: use rf.Int64({value}) or a float")


def _walk_float(value: float, depth: int) -> object:
    return value if is_ordinary(value) else {"$float": _pack_double(value)}


def _walk_int64(value: Int64, depth: int) -> dict[str, bytes]:
    return {"$integer": value.to_bytes(8, "little", signed=True)}


def _walk_bytes(value: bytes, depth: int) -> dict[str, bytes]:
    return {"$bytes": value}


class _Floats(msgspec.Struct, array_like=True):
    items: list[Annotated[float, Meta(gt=-EXACT, lt=EXACT)]]  # an int just outside may be rounded to ±2**53 itself


class _Ints(msgspec.Struct, array_like=True):
    items: list[Annotated[int, Meta(ge=-EXACT, le=EXACT)]]


class _Strings(msgspec.Struct, array_like=True):
    items: list[str]


_LISTS: dict[type, type] = {float: _Floats, int: _Ints, str: _Strings}
LONG: Final = 16
"""Items from which `is_uniform` is cheaper than a loop."""


def is_uniform(items: list[Any] | tuple[Any, ...]) -> bool:
    """Tell in one call into C whether a list, not empty, holds only finite numbers within ±2**53, or only strings.

    The first item says which. False may also mean that it would take a loop to tell.
    """
    shape = _LISTS.get(cast("type[Any]", type(items[0])))
    if shape is None:
        return False
    try:
        msgspec.convert((items,), shape)
    except msgspec.ValidationError:
        return False
    return True


def _walk_list(value: list[Any] | tuple[Any, ...], depth: int) -> object:
    if depth > _NESTING or len(value) > _ITEMS:
        raise InvalidValue(excess(depth, len(value), "items"))
    if not value:
        return value
    first = cast("type[Any]", type(value[0]))
    # msgspec takes subclasses (Int64) for numbers here, and refuses to write them later: encode sees that
    if len(value) >= LONG and is_uniform(value) and (first is not float or all(value)):  # no zero, so no -0.0
        return value
    depth += 1
    walker = walker_for(first)
    if walker is None:
        walked = [item if type(item) is first else walk(item, depth) for item in value]
    else:
        walked = [walker(item, depth) if type(item) is first else walk(item, depth) for item in value]
    return value if all(map(is_, walked, value)) else walked


def _walk_dict(value: dict[str, Any], depth: int) -> object:
    if depth > _NESTING or len(value) > _FIELDS:
        raise InvalidValue(excess(depth, len(value), "fields"))
    check_names(value)
    depth += 1
    swapped: dict[str, Any] | None = None
    for name, item in value.items():
        tp = cast("type[Any]", type(item))
        if tp is str or (tp is int and -EXACT <= item <= EXACT) or (tp is float and item and item - item == 0.0):
            continue  # the usual ones, without a call
        walked = walk(item, depth)
        if walked is not item:
            if swapped is None:
                swapped = dict(value)
            swapped[name] = walked
    return value if swapped is None else swapped


# Walkers of other classes


def _compiled(tp: type[Any]) -> Walker | None:
    if issubclass(tp, msgspec.Struct):
        return _struct_walker(tp)
    if issubclass(tp, Enum):
        return _walk_enum
    for base, walker in _SUBCLASSES:
        if issubclass(tp, base):
            return walker
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if issubclass(tp, numpy.generic):
            return lambda value, depth: walk(value.item(), depth)
        if issubclass(tp, numpy.ndarray):
            return _walk_array
    return _refused


_SUBCLASSES: tuple[tuple[type, Walker], ...] = (
    (str, lambda value, depth: str.__str__(value)),
    (Int64, _walk_int64),
    (int, lambda value, depth: _walk_int(int.__int__(value), depth)),
    (float, lambda value, depth: _walk_float(float.__float__(value), depth)),
    (bytes, lambda value, depth: _walk_bytes(bytes(value), depth)),
    (bytearray, lambda value, depth: _walk_bytes(bytes(value), depth)),
    (memoryview, lambda value, depth: _walk_bytes(bytes(value), depth)),
    (tuple, _walk_list),
    (list, lambda value, depth: _walk_list(list(value), depth)),
    (dict, lambda value, depth: _walk_dict(dict(value), depth)),
)


def _walk_enum(value: Enum, depth: int) -> object:
    plain = value.value
    walked = walk(plain, depth)
    return value if walked is plain and isinstance(plain, str | int) else walked  # msgspec writes it by itself


def _walk_array(value: Any, depth: int) -> object:
    if value.ndim != 1 or value.dtype.kind not in "fiub":
        raise InvalidValue(
            f"a NumPy array of {value.ndim} dimensions and dtype {value.dtype}: "
            "only 1-d arrays of numbers are values; use .tolist()"
        )
    return _walk_list(value.tolist(), depth)


_HINTS = {
    "set": "sets have no order: use sorted(...)",
    "frozenset": "sets have no order: use sorted(...)",
    "datetime": "use .timestamp() * 1000 (milliseconds, as _creationTime) or .isoformat()",
    "date": "use .isoformat()",
    "timedelta": "use .total_seconds()",
    "UUID": "use str(...)",
    "Decimal": "use str(...) or float(...)",
    "UnsetType": "UNSET leaves out a field of a Struct; elsewhere leave the item out",
    "coroutine": "await it first",
    "generator": "use list(...)",
}


def _refused(value: object, depth: int) -> object:
    tp = type(value)
    hint = _HINTS.get(tp.__name__, "turn it into a dict or a msgspec.Struct")
    raise InvalidValue(f"{tp.__module__}.{tp.__qualname__} is not a value that can be stored or sent: {hint}")


def _struct_walker(tp: type[msgspec.Struct]) -> Walker:
    """Compile a walker for a Struct class: one line per field, the annotated class tried first.

    It sees what msgspec will see, the attributes; their names on the wire are checked once, here.
    """
    fields = msgspec.structs.fields(tp)
    check_names([field.encode_name for field in fields])
    lines = [
        "def walk_struct(value, depth):",
        f" if depth > {_NESTING}: raise InvalidValue(excess(depth, 0, 'fields'))",
    ]
    for number, field in enumerate(fields):
        x, y = f"x{number}", f"y{number}"
        lines.append(f" {y} = {x} = value.{field.name}")
        passes = " or ".join(_CONDITIONS[kind].format(x=x) for kind in _simple_kinds(field.type))
        lines.append(f" if not ({passes}): {y} = walk_any({x}, depth + 1)")
    unchanged = " and ".join(f"y{number} is x{number}" for number in range(len(fields))) or "True"
    changed = "".join(f"({field.name!r}, y{number}), " for number, field in enumerate(fields))
    lines.append(f" return value if {unchanged} else swapped(value, ({changed}))")
    scope: dict[str, Any] = {
        "UNSET": UNSET,
        "InvalidValue": InvalidValue,
        "excess": excess,
        "swapped": _swapped,
        "walk_any": walk,
    }
    exec("\n".join(lines), scope)  # made of attribute names and constants only
    return scope["walk_struct"]


_CONDITIONS = {
    inspect.StrType: "type({x}) is str",
    inspect.IntType: f"type({{x}}) is int and {-EXACT} <= {{x}} <= {EXACT}",
    inspect.FloatType: "type({x}) is float and {x} - {x} == 0.0 and {x} != 0.0",
    inspect.BoolType: "{x} is True or {x} is False",
    inspect.NoneType: "{x} is None",
    UnsetType: "{x} is UNSET",
}


def _simple_kinds(annotation: Any) -> list[Any]:
    """List the classes of a field's annotation that are checked without a call, the likeliest first."""
    info = inspect.type_info(annotation)
    while isinstance(info, inspect.Metadata):
        info = info.type
    kinds = [type(kind) for kind in (info.types if isinstance(info, inspect.UnionType) else (info,))]
    if isinstance(info, inspect.LiteralType) and all(isinstance(value, str) for value in info.values):
        kinds = [inspect.StrType]
    simple = [kind for kind in _CONDITIONS if kind in kinds]
    return [*simple, UnsetType]


def _swapped(value: msgspec.Struct, attributes: Iterable[tuple[str, Any]]) -> msgspec.Struct:
    """Copy a Struct with other attributes: a copy of its own class, so that msgspec keeps to its options."""
    made = copy.copy(value)
    for name, item in attributes:
        msgspec.structs.force_setattr(made, name, item)
    return made


# Slow roads: exact copies, and the place of an error


def _children(value: object) -> Iterator[tuple[str, str | int, Any]]:
    """Yield (path step, key, item) of a container."""
    if isinstance(value, msgspec.Struct):
        for name, encoded in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            item = getattr(value, name)
            if item is not UNSET:
                yield f".{encoded}", name, item
    elif isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield f".{name}", name, item
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            yield f"[{index}]", index, item


def _rebuilt(value: object, depth: int) -> object:
    """Walk without the shortcut for long lists: every container is made anew from its walked items."""
    if not isinstance(value, msgspec.Struct | dict | list | tuple):
        return walk(value, depth)
    walk(value, depth)
    items = [(key, _rebuilt(item, depth + 1)) for _, key, item in _children(cast(object, value))]
    if isinstance(value, msgspec.Struct):
        return _swapped(value, cast("list[tuple[str, Any]]", items))
    if isinstance(value, dict):
        return dict(items)
    return [item for _, item in items]


def _located(value: object) -> InvalidValue:
    """Find the innermost part that can't be encoded and say where it is, as msgspec does."""
    path, depth = "$", 1
    while depth <= _NESTING:
        for step, _, item in _children(value):
            if _refusal(item, depth + 1) is not None:
                value, path, depth = item, path + step, depth + 1
                break
        else:
            break  # all parts are fine: it is the whole
    reason = _refusal(value, depth) or "not a value"
    return InvalidValue(f"{reason} - at `{path}`" if path != "$" else reason)


def _refusal(value: object, depth: int) -> str | None:
    try:
        _json_encode(_rebuilt(value, depth))
    except UnicodeEncodeError:
        return "the string holds a lone surrogate, so it is not valid Unicode"
    except (InvalidValue, TypeError) as error:
        return str(error)
    return None


_BUILTIN: Final[dict[type[Any], Walker | None]] = {
    type(None): None,
    bool: None,
    str: None,
    int: _walk_int,
    float: _walk_float,
    Int64: _walk_int64,
    bytes: _walk_bytes,
    list: _walk_list,
    tuple: _walk_list,
    dict: _walk_dict,
    UnsetType: _refused,
}
_WALKERS: dict[type[Any], Walker | None] = dict(_BUILTIN)
