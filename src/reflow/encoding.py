"""From Python values to convex-encoded JSON.

JSON can't write Int64, bytes, NaN, the infinities and -0.0; Convex writes them as objects with one "$" key. msgspec
would silently write NaN as null and bytes as a plain string, so nothing reaches it unseen: a *walker* per class checks
a value and returns it, or a copy with those special forms in their places. A value that needs no swap is not copied.
A walker goes by the classes that it meets, not by annotations, for nothing but a type checker holds a Struct to its own.
"""

from __future__ import annotations

import copy
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import Enum
from math import copysign
from operator import is_
from struct import Struct as Layout
from typing import Annotated, Any, Final, cast

import msgspec
from msgspec import UNSET, Meta, UnsetType

from reflow.errors import InvalidValue
from reflow.limits import DEFAULT

Walker = Callable[[Any, int], Any]
"""Checks a value that lies `depth` containers deep (itself included) and returns what msgspec may write for it."""

EXACT: Final = 1 << 53
"""Up to here, in both directions, every integer is a double: JavaScript's numbers hold it."""

_json_encode = msgspec.json.Encoder().encode
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
        return _json_encode(_walk(value, 1))
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


def check(value: object) -> None:
    """Raise `InvalidValue` if `value` is beyond what a Convex value may be: ranges, names, sizes, nesting."""
    _walk(value, 1)


def check_names(names: Iterable[str]) -> None:
    """Raise `InvalidValue` unless all are names of fields: printable ASCII, not too long, not starting with "$"."""
    try:
        joined = "".join(names)
    except TypeError:
        wrong = next(name for name in names if not isinstance(cast(object, name), str))
        raise InvalidValue(f"field names are strings, not {wrong!r:.60}") from None
    if joined.isascii() and joined.isprintable() and "$" not in joined and len(joined) <= _NAME:
        return
    for name in names:
        if not (name.isascii() and name.isprintable()):
            raise InvalidValue(f"the field name {name!r:.60} is not printable ASCII: records with free keys are arrays")
        if name.startswith("$"):
            raise InvalidValue(f'the field name {name!r:.60} starts with "$", which is reserved')
        if len(name) > _NAME:
            raise InvalidValue(f"the field name {name[:40]!r}... has {len(name)} characters; the limit is {_NAME}")


def special_float(value: float) -> dict[str, bytes]:
    """Give the form of a float that JSON has no way to write."""
    return {"$float": _pack_double(value)}


# Walkers of the built-in classes. The special forms hold bytes, which msgspec writes as base64.


def _walk(value: Any, depth: int) -> Any:
    try:
        walker = _WALKERS[type(value)]
    except KeyError:
        walker = walker_for(cast("type[Any]", type(value)))
    return value if walker is None else walker(value, depth)


def _walk_int(value: int, depth: int) -> int:
    if -EXACT <= value <= EXACT:
        return value
    raise InvalidValue(f"the int {value} is outside ±2**53, where numbers are exact: use rf.Int64({value}) or a float")


def _walk_float(value: float, depth: int) -> object:
    if value - value == 0.0 and (value or copysign(1.0, value) > 0.0):  # inf - inf is NaN
        return value
    return special_float(value)


def _walk_int64(value: Int64, depth: int) -> dict[str, bytes]:
    return {"$integer": value.to_bytes(8, "little", signed=True)}


def _walk_bytes(value: bytes, depth: int) -> dict[str, bytes]:
    return {"$bytes": value}


_FLOATS = list[Annotated[float, Meta(ge=-EXACT, le=EXACT)]]
_INTS = list[Annotated[int, Meta(ge=-EXACT, le=EXACT)]]


def _walk_list(value: list[Any] | tuple[Any, ...], depth: int) -> object:
    _check_size(depth, len(value), _ITEMS, "items")
    if not value:
        return value
    first = type(value[0])
    # Long lists of one kind, vectors above all, are checked in C. msgspec takes an int for a float as well, which is
    # fine, and subclasses (Int64), which it then refuses to write: encode sees that.
    try:
        if first is float:
            msgspec.convert(value, _FLOATS)
            if all(value):  # no zero, so no -0.0
                return value
        elif first is int:
            msgspec.convert(value, _INTS)
            return value
        elif first is str:
            msgspec.convert(value, list[str])
            return value
    except msgspec.ValidationError:
        pass  # a mixed list, or one that needs special forms: item by item
    walked = [_walk(item, depth + 1) for item in value]
    return value if all(map(is_, walked, value)) else walked


def _walk_dict(value: dict[str, Any], depth: int) -> object:
    _check_size(depth, len(value), _FIELDS, "fields")
    check_names(value)
    swapped: dict[str, Any] | None = None
    for name, item in value.items():
        if type(item) is str:
            continue
        walked = _walk(item, depth + 1)
        if walked is not item:
            if swapped is None:
                swapped = dict(value)
            swapped[name] = walked
    return value if swapped is None else swapped


def _check_size(depth: int, size: int, limit: int, what: str) -> None:
    if depth > _NESTING:
        raise InvalidValue(f"nested more than {_NESTING} deep")
    if size > limit:
        raise InvalidValue(f"{size} {what}; the limit is {limit}")


# Walkers of other classes


def _compiled(tp: type[Any]) -> Walker | None:
    if issubclass(tp, msgspec.Struct):
        return _struct_walker(tp)
    if issubclass(tp, Enum):
        return lambda value, depth: _walk(value.value, depth)
    for base, walker in _SUBCLASSES:
        if issubclass(tp, base):
            return walker
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        if issubclass(tp, numpy.generic):
            return lambda value, depth: _walk(value.item(), depth)
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
    lines = ["def walk(value, depth):", f" if depth > {_NESTING}: check_size(depth, 0, 0, '')"]
    for number, field in enumerate(fields):
        x, y = f"x{number}", f"y{number}"
        lines.append(f" {y} = {x} = value.{field.name}")
        match _simple_class(field.type):
            case "str":
                passes = f"type({x}) is str"
            case "int":
                passes = f"type({x}) is int and {-EXACT} <= {x} <= {EXACT}"
            case "float":
                passes = f"type({x}) is float and {x} - {x} == 0.0 and {x} != 0.0"
            case "bool":
                passes = f"{x} is True or {x} is False"
            case _:
                passes = f"{x} is None"
        lines.append(f" if not ({passes}) and {x} is not UNSET: {y} = walk_any({x}, depth + 1)")
    unchanged = " and ".join(f"y{number} is x{number}" for number in range(len(fields))) or "True"
    changed = ", ".join(f"({field.name!r}, y{number})" for number, field in enumerate(fields))
    lines.append(f" return value if {unchanged} else swapped(value, ({changed},))")
    scope: dict[str, Any] = {"UNSET": UNSET, "walk_any": _walk, "check_size": _check_size, "swapped": _swapped}
    exec("\n".join(lines), scope)  # made of attribute names and constants only
    return scope["walk"]


def _simple_class(annotation: Any) -> str:
    """Name the class that most values of a field will have, or "" if the annotation does not tell."""
    info = msgspec.inspect.type_info(annotation)
    while isinstance(info, msgspec.inspect.Metadata):
        info = info.type
    if isinstance(info, msgspec.inspect.UnionType):
        kinds = [kind for kind in info.types if not isinstance(kind, msgspec.inspect.NoneType)]
        info = kinds[0] if len(kinds) == 1 else info
    match info:
        case msgspec.inspect.StrType():
            return "str"
        case msgspec.inspect.LiteralType(values=values) if all(isinstance(value, str) for value in values):
            return "str"
        case msgspec.inspect.IntType():
            return "int"
        case msgspec.inspect.FloatType():
            return "float"
        case msgspec.inspect.BoolType():
            return "bool"
        case _:
            return ""


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
        for field in msgspec.structs.fields(value):
            item = getattr(value, field.name)
            if item is not UNSET:
                yield f".{field.encode_name}", field.name, item
    elif isinstance(value, dict):
        for name, item in cast("dict[str, Any]", value).items():
            yield f".{name}", name, item
    elif isinstance(value, list | tuple):
        for index, item in enumerate(cast("list[Any]", value)):
            yield f"[{index}]", index, item


def _rebuilt(value: object, depth: int) -> object:
    """Walk without the shortcut for long lists: every container is made anew from its walked items."""
    if not isinstance(value, msgspec.Struct | dict | list | tuple):
        return _walk(value, depth)
    _walk(value, depth)
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
