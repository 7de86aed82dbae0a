"""Settings: the deployment's variables as one typed object, and secrets that don't show themselves.

    class Shop(rf.Settings):
        stripe_key: rf.Secret
        currency: str = "EUR"

`ctx.settings(Shop)` reads STRIPE_KEY and CURRENCY from `ctx.env`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from hmac import compare_digest
from typing import Any, NamedTuple, TypeVar, cast, get_args, get_type_hints

import msgspec

from reflow.errors import DefinitionError, InvalidValue, SettingsError
from reflow.limits import DEFAULT

RESERVED = "REFLOW_"
"""Variables that begin so are the server's own: it reads them from its process when it starts."""

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def check_variable_name(name: str) -> None:
    """Refuses what can't name a variable that functions read. Raises InvalidValue."""
    if _NAME.fullmatch(name) is None or len(name) > DEFAULT.variable_name_length:
        raise InvalidValue(
            f"{name[: DEFAULT.variable_name_length]!r} can't name a variable: use letters, digits and _, a letter or _ "
            f"first, at most limits.variable_name_length = {DEFAULT.variable_name_length} characters"
        )
    if name.upper().startswith(RESERVED):
        raise InvalidValue(
            f"{name} is a setting of the server itself, which it reads from its process's environment when it starts: "
            "set it there"
        )


class Secret:
    """A text that is not shown by accident: `repr`, `str`, format and messages have dots in its place.

    `reveal()` gives the text. A secret can't be stored, returned or sent. Two secrets are equal if their texts are.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text itself."""
        return self._text

    def __repr__(self) -> str:
        return "Secret(…)"

    def __format__(self, spec: str) -> str:
        return format(repr(self), spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and compare_digest(self._bytes(), other._bytes())

    def __hash__(self) -> int:
        return hash((Secret, self._text))

    def __bool__(self) -> bool:
        return bool(self._text)

    def _bytes(self) -> bytes:
        return self._text.encode("utf-8", "surrogatepass")


class SettingsMeta(msgspec.StructMeta):
    """Frozen structs whose fields are variables: `prefix` and the field's name in capitals."""

    __prefix__: str

    def __new__(
        mcls,
        name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        *,
        prefix: str | None = None,
        **options: Any,
    ) -> type:
        inherited = next((base.__prefix__ for base in bases if isinstance(base, SettingsMeta)), "")
        cls = cast(Any, super().__new__(mcls, name, bases, namespace, frozen=True, kw_only=True, **options))
        cls.__prefix__ = inherited if prefix is None else prefix
        for field in cls.__struct_fields__:
            try:
                check_variable_name(variable_of(cls, field))
            except InvalidValue as error:
                raise DefinitionError(f"{name}.{field}: {error}") from None
        return cls


class Settings(msgspec.Struct, metaclass=SettingsMeta):
    """Base of an application's settings: each field is a variable of the deployment, its name in capitals.

    `class Mail(rf.Settings, prefix="MAIL_")` with a field `host` reads MAIL_HOST. Fields are str, Secret, int, float,
    bool, enumerations, `Literal[...]`, `| None`, and whatever JSON can hold: lists and objects are written as JSON.
    A field without a default must be set before the app starts. An empty secret counts as not set.
    """


S = TypeVar("S", bound=Settings)


class Variable(NamedTuple):
    """A field of a settings class, and the variable that it stands for."""

    field: str
    name: str
    type: Any
    required: bool


def variable_of(kind: type[Settings], field: str) -> str:
    """The name of the variable behind a field."""
    return cast(SettingsMeta, kind).__prefix__ + field.upper()


@cache
def variables_of(kind: type[Settings]) -> tuple[Variable, ...]:
    """The variables that a settings class declares. Raises DefinitionError for annotations that can't be used."""
    try:
        hints = get_type_hints(kind, include_extras=True)
        found = tuple(
            Variable(field.name, variable_of(kind, field.name), hints[field.name], field.required)
            for field in msgspec.structs.fields(kind)
        )
        for variable in found:
            msgspec.json.Decoder(variable.type, dec_hook=_secret)
    except (NameError, TypeError) as error:
        raise DefinitionError(f"{kind.__name__}: its annotations can't be used: {error}") from error
    return found


def spelled(kind: type[Settings], variable: Variable) -> str:
    """A field as people read it: `Shop.api_key: Secret`."""
    annotation = variable.type
    text = annotation.__name__ if isinstance(annotation, type) else str(annotation)
    for module in ("typing.", f"{Secret.__module__}."):
        text = text.replace(module, "")
    return f"{kind.__name__}.{variable.field}: {text}"


def read_settings(kind: type[S], environment: Mapping[str, str]) -> S:
    """The settings that variables make. Raises SettingsError, which names every variable that is missing or wrong."""
    given: dict[str, Any] = {}
    faults: list[str] = []
    for variable in variables_of(kind):
        try:
            value = _value(kind, variable, environment)
        except SettingsError as error:
            faults.append(str(error))
            continue
        if value is not msgspec.UNSET:
            given[variable.field] = value
    if faults:
        raise SettingsError("\n        ".join(faults))
    return kind(**given)


def check_settings(kinds: Iterable[type[Settings]], environment: Mapping[str, str]) -> None:
    """Refuses variables that settings classes can't be read from. Raises SettingsError, which names all of them."""
    faults: list[str] = []
    for kind in kinds:
        try:
            read_settings(kind, environment)
        except SettingsError as error:
            faults.append(str(error))
    if faults:
        raise SettingsError("\n        ".join(faults))


def check_variable(kind: type[Settings], name: str, text: str) -> None:
    """Refuses a value that does not fit the fields which stand for that variable. Raises SettingsError."""
    for variable in variables_of(kind):
        if variable.name == name:
            _value(kind, variable, {name: text})


def _value(kind: type[Settings], variable: Variable, environment: Mapping[str, str]) -> Any:
    """The value of a field, UNSET where its default holds."""
    text = environment.get(variable.name)
    if text == "" and Secret in (variable.type, *get_args(variable.type)):
        text = None
    where = spelled(kind, variable)
    if text is None:
        if variable.required:
            raise SettingsError(f"{variable.name} is not set ({where}); set it with `reflow env set {variable.name}`")
        return msgspec.UNSET
    try:
        return msgspec.convert(text, variable.type, strict=False, dec_hook=_secret)
    except msgspec.ValidationError:
        pass
    try:
        return msgspec.json.decode(text, type=variable.type, dec_hook=_secret)
    except (msgspec.DecodeError, RecursionError):
        # What msgspec says may quote the value, which may be anybody's secret.
        raise SettingsError(
            f"what {variable.name} is set to does not fit {where}; change it with `reflow env set {variable.name}`"
        ) from None


def _secret(wanted: type, given: Any) -> Any:
    if wanted is Secret and isinstance(given, str):
        return Secret(given)
    raise TypeError(f"{wanted!r} can't be read from the environment")
