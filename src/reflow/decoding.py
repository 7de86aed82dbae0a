"""From convex-encoded JSON to Python values, generic and typed."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from functools import partial
from struct import Struct as Layout
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import inspect

from reflow.encoding import EXACT, LONG, Int64, check_names, excess, is_ordinary, is_uniform, walk
from reflow.errors import InvalidValue
from reflow.limits import DEFAULT

T = TypeVar("T")

_json_decode = msgspec.json.Decoder().decode
_unpack_double = Layout("<d").unpack
_ITEMS = DEFAULT.array_items
_FIELDS = DEFAULT.object_fields
_NESTING = DEFAULT.nesting
_SMALL: Final = 2 * DEFAULT.array_items  # bytes: a shorter text can't hold an array that is too long
_OBJECTS = (
    inspect.AnyType,
    inspect.DictType,
    inspect.StructType,
    inspect.DataclassType,
    inspect.TypedDictType,
)
_SPECIAL: Final = b'"$'  # how each special form starts


def decode(raw: bytes, *, trusted: bool = False) -> Any:
    """Decode convex-encoded JSON into None, bool, int, float, str, list, dict, `Int64` and bytes.

    An integer beyond ±2**53 becomes a float, for that is what wrote it: JavaScript prints 1e20 with all its digits.
    `trusted` skips the checks of names, sizes and nesting, for what `encode` has written. Raises `InvalidValue`.
    """
    value = _parsed(raw)
    if trusted and not _may_hold_special(raw):
        return value
    return _revived(value)


def decoder_for(tp: Any, *, trusted: bool = False) -> Callable[[bytes], Any]:
    """Compile a function that decodes convex-encoded JSON into `tp`, any type that msgspec knows, and validates it.

    Beyond msgspec's strict rules: bytes and `Int64` come from their special forms only; {"$float"} is a float; an
    integral float is taken for an int, for Convex's Python client sends nothing else; ints lie within ±2**53; names,
    sizes and nesting within the limits. Parts typed `Any` or `object` get what `decode` gives. `trusted` skips the
    checks of ranges, names, sizes and nesting. The function raises `InvalidValue`, with the place: "Expected `int`, got
    `str` - at `$.chunks[0].lines`". `decoder_for` itself raises TypeError for a type that msgspec can't decode.
    """
    info = inspect.type_info(tp)
    if isinstance(info, inspect.AnyType):
        return partial(decode, trusted=trusted)
    fit = _Fit().of(info)
    kinds = _leaves(info)
    special_only = bool(kinds & {inspect.BytesType, inspect.ByteArrayType, inspect.CustomType})
    # A special form looks like an object: where none is declared, msgspec itself refuses it
    objects = any(issubclass(kind, _OBJECTS) for kind in kinds)
    unchecked = trusted or not (objects or inspect.IntType in kinds)
    direct = msgspec.json.Decoder(tp).decode

    def slow(raw: bytes) -> Any:
        value = fit(_revived(_parsed(raw)))
        try:
            return msgspec.convert(value, tp, builtin_types=(bytes,), str_keys=True)
        except msgspec.ValidationError as error:
            raise InvalidValue(_explained(str(error))) from None

    def decode_typed(raw: bytes) -> Any:
        if objects and b"$" in raw and _SPECIAL in raw:
            return slow(raw)
        try:
            value = direct(raw)
            if not (unchecked and (trusted or len(raw) < _SMALL)):
                walk(value, 1)  # for its checks; what was decoded needs no swaps
        except (msgspec.MsgspecError, InvalidValue, UnicodeDecodeError, RecursionError):
            return slow(raw)  # an integral float for an int, or an error that it words better
        return value

    return slow if special_only else decode_typed


def _may_hold_special(raw: bytes) -> bool:
    return b"$" in raw and _SPECIAL in raw  # one byte is found ten times as fast as two


def _parsed(raw: bytes) -> Any:
    try:
        return _json_decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidValue(f"not JSON: {error}") from None
    except RecursionError:
        raise InvalidValue(f"nested more than {_NESTING} deep") from None


def _explained(message: str) -> str:
    if message.startswith("Expected `int") and "got `float`" in message:
        return message + " (an int is a whole number within ±2**53)"
    return message


# Generic decoding


class _Refused(Exception):
    """Something is wrong in a parsed value; the path is collected while it passes the containers."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.path: list[str] = []


def _revived(value: Any) -> Any:
    try:
        return _revive(value, 1)
    except _Refused as refused:
        path = "".join(reversed(refused.path))
        raise InvalidValue(f"{refused} - at `${path}`" if path else str(refused)) from None


def _revive(value: Any, depth: int) -> Any:
    tp = cast("type[Any]", type(value))
    if tp is dict:
        return _revive_dict(value, depth)
    if tp is list:
        return _revive_list(value, depth)
    if tp is int and not -EXACT <= value <= EXACT:
        return _as_float(value)
    return value


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise _Refused(f"{str(value)[:20]}... is too large for a number") from None


def _revive_list(items: list[Any], depth: int) -> list[Any]:
    if depth > _NESTING or len(items) > _ITEMS:
        raise _Refused(excess(depth, len(items), "items"))
    if len(items) >= LONG and is_uniform(items):
        return items
    index = 0
    try:
        for index, item in enumerate(items):
            tp = cast("type[Any]", type(item))
            if tp is dict or tp is list or (tp is int and not -EXACT <= item <= EXACT):
                items[index] = _revive(item, depth + 1)
    except _Refused as refused:
        refused.path.append(f"[{index}]")
        raise
    return items


def _revive_dict(fields: dict[str, Any], depth: int) -> Any:
    if len(fields) == 1:
        ((name, content),) = fields.items()
        if name.startswith("$"):
            return _revive_special(name, content)
    if depth > _NESTING or len(fields) > _FIELDS:
        raise _Refused(excess(depth, len(fields), "fields"))
    try:
        check_names(fields)
    except InvalidValue as error:
        raise _Refused(str(error)) from None
    name = ""
    try:
        for name, item in fields.items():
            tp = cast("type[Any]", type(item))
            if tp is dict or tp is list or (tp is int and not -EXACT <= item <= EXACT):
                fields[name] = _revive(item, depth + 1)
    except _Refused as refused:
        refused.path.append(f".{name}")
        raise
    return fields


def _revive_special(name: str, content: Any) -> Int64 | float | bytes:
    match name:
        case "$integer":
            return Int64(int.from_bytes(_unbase64(name, content, 8), "little", signed=True))
        case "$float":
            (number,) = _unpack_double(_unbase64(name, content, 8))
            if is_ordinary(number):
                raise _Refused(f'{{"$float"}} holds {number}, an ordinary number: write it as a JSON number')
            return number
        case "$bytes":
            return _unbase64(name, content, None)
        case "$undefined":
            raise _Refused('{"$undefined"} is no value: leave the field out, or use null')
        case _:
            raise _Refused(
                f'{{"{name[:40]}"}} is no special form of Convex\'s JSON ($integer, $float, $bytes): '
                'names that start with "$" are reserved'
            )


def _unbase64(name: str, content: Any, size: int | None) -> bytes:
    if type(content) is not str:
        raise _Refused(f'{{"{name}"}} holds base64, not {type(content).__name__}')
    try:
        data = base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError):
        raise _Refused(f'{{"{name}"}} holds {content[:40]!r}, which is not base64') from None
    if size is not None and len(data) != size:
        raise _Refused(f'{{"{name}"}} holds {len(data)} bytes instead of {size}')
    return data


# Fitting numbers to their declared types, where msgspec is stricter or laxer than reflow

_Fitter = Callable[[Any], Any]


def _as_is(value: Any) -> Any:
    return value


class _NotANumber:
    """Takes the place of an Int64 where a plain number is declared, and makes msgspec name it in its error."""


_NotANumber.__name__ = "Int64"


def _fit_int(value: Any) -> Any:
    # Strictly within: ±2**53 itself may be the rounded neighbour of an int that is outside.
    if type(value) is float and -EXACT < value < EXACT and value.is_integer():
        return int(value)
    return _fit_float(value)


def _fit_float(value: Any) -> Any:
    return _NotANumber() if type(value) is Int64 else value


class _Fit:
    """Compiles, for a type, the function that fits a generic value's numbers to it, in place."""

    def __init__(self) -> None:
        self._classes: dict[int, _Fitter] = {}  # by id of the type's description: recursive types have one

    def of(self, info: inspect.Type) -> _Fitter:
        while isinstance(info, inspect.Metadata):
            info = info.type
        match info:
            case inspect.IntType():
                return _fit_int
            case inspect.LiteralType(values=values) if any(isinstance(value, int) for value in values):
                return _fit_int
            case inspect.EnumType(cls=cls) if any(isinstance(member.value, int) for member in cls):
                return _fit_int
            case inspect.FloatType():
                return _fit_float
            case inspect.UnionType(types=types):
                return self._union(types)
            case inspect.DictType():
                return self._dict(info)
            case inspect.TupleType(item_types=types):
                return self._sequence([self.of(item) for item in types], None)
            case inspect.CollectionType(item_type=item):
                return self._sequence([], self.of(item))
            case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType() | inspect.NamedTupleType():
                return self._fields(info)
            case _:
                return _as_is

    def _fields(
        self, info: inspect.StructType | inspect.DataclassType | inspect.TypedDictType | inspect.NamedTupleType
    ) -> _Fitter:
        known = self._classes.get(id(info))
        if known is not None:
            return known
        fitters: list[tuple[str, _Fitter]] = []
        tags = 1 if isinstance(info, inspect.StructType) and info.tag is not None else 0  # its place in an array

        def fit(value: Any) -> Any:
            if type(value) is dict:
                for name, fitter in fitters:
                    if name in value:
                        value[name] = fitter(value[name])
            elif type(value) is list:
                items = cast("list[Any]", value)
                for index, (_, fitter) in zip(range(tags, len(items)), fitters, strict=False):
                    items[index] = fitter(items[index])
            return cast(Any, value)

        self._classes[id(info)] = fit
        fitters.extend((field.encode_name, self.of(field.type)) for field in info.fields)
        return fit

    def _dict(self, info: inspect.DictType) -> _Fitter:
        fitter = self.of(info.value_type)

        def fit(value: Any) -> Any:
            if type(value) is dict:
                for name, item in cast("dict[str, Any]", value).items():
                    value[name] = fitter(item)
            return cast(Any, value)

        return fit

    def _sequence(self, positions: Sequence[_Fitter], rest: _Fitter | None) -> _Fitter:
        def fit(value: Any) -> Any:
            if type(value) is list:
                items = cast("list[Any]", value)
                for index, fitter in enumerate(positions[: len(items)]):
                    items[index] = fitter(items[index])
                if rest is not None:
                    items[:] = map(rest, items)
            return cast(Any, value)

        return fit

    def _union(self, types: Sequence[inspect.Type]) -> _Fitter:
        structs = [kind for kind in types if isinstance(kind, inspect.StructType)]
        tagged = {kind.tag: self.of(kind) for kind in structs}
        tag_field = structs[0].tag_field if structs else None
        number = _as_is
        of_list = _as_is
        of_dict = _as_is
        for kind in types:
            bare = kind.type if isinstance(kind, inspect.Metadata) else kind
            fitter = self.of(kind)
            if isinstance(bare, inspect.FloatType):
                number = _fit_float
            elif fitter is _fit_int and number is _as_is:
                number = _fit_int
            elif _is_array(bare):
                of_list = fitter
            elif fitter is not _as_is:
                of_dict = fitter
        tagged_class = list if structs and structs[0].array_like else dict

        def fit(value: Any) -> Any:
            tp = cast("type[Any]", type(value))
            if tp is tagged_class and tag_field is not None and value:
                tag = value[0] if tp is list else value.get(tag_field)
                if isinstance(tag, str | int) and tag in tagged:
                    return tagged[tag](value)
            if tp is dict:
                return of_dict(value)
            if tp is list:
                return of_list(value)
            return number(value)

        return fit


def _is_array(info: inspect.Type) -> bool:
    if isinstance(info, inspect.StructType):
        return info.array_like
    return isinstance(info, inspect.CollectionType | inspect.TupleType | inspect.NamedTupleType)


def _leaves(info: inspect.Type) -> set[type[inspect.Type]]:
    """Collect the kinds of all types within one."""
    seen: dict[int, inspect.Type] = {}
    waiting = [info]
    while waiting:
        current = waiting.pop()
        if id(current) in seen:
            continue
        seen[id(current)] = current
        match current:
            case inspect.Metadata(type=inner):
                waiting.append(inner)
            case inspect.UnionType(types=types) | inspect.TupleType(item_types=types):
                waiting.extend(types)
            case inspect.DictType(key_type=key, value_type=item):
                waiting.extend((key, item))
            case inspect.CollectionType(item_type=item):
                waiting.append(item)
            case inspect.StructType() | inspect.DataclassType() | inspect.TypedDictType() | inspect.NamedTupleType():
                waiting.extend(field.type for field in current.fields)
            case _:
                pass
    return {type(kind) for kind in seen.values()}
