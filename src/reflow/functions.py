"""Functions of an application: queries, mutations and actions, gathered in modules.

A function object is its own reference: `ctx.run_mutation(save, ...)` checks its arguments like a direct call would.
"""

from __future__ import annotations

import dis
import inspect
import re
import warnings
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any, Concatenate, Generic, Literal, ParamSpec, TypeVar, get_type_hints, overload

import msgspec

from reflow import values
from reflow.errors import DefinitionError, InvalidArguments, InvalidReturn, InvalidValue
from reflow.owners import Owners
from reflow.schema import Tabular, renamer, spec_of

if TYPE_CHECKING:
    from reflow.context import ActionCtx, MutationCtx, QueryCtx
    from reflow.migrations import Migration, Step

P = ParamSpec("P")
R = TypeVar("R")
F = TypeVar("F", bound="Function[..., Any]")

Kind = Literal["query", "mutation", "action"]

_MODULE_PATH = re.compile(r"[A-Za-z][A-Za-z0-9_]*(/[A-Za-z][A-Za-z0-9_]*)*")


class PurityWarning(UserWarning):
    """A query or mutation names the clock, randomness or the environment, which replays can't repeat."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How a scheduled action that raises is tried again: for idempotent actions only.

    The pause before try n + 1 is `min(first * factor ** (n - 1), longest)` seconds with up to 25 % of jitter, or what
    a raised `RetryAfter` asks for. After `attempts` tries the scheduled function is visibly failed. An action that was
    running when the server died counts as a failed try.
    """

    attempts: int = 5
    first: float = 1.0
    factor: float = 2.0
    longest: float = 300.0

    def pause(self, attempt: int, jitter: float) -> float:
        """Seconds to wait after failed try number `attempt` (from 1); `jitter` is in 0..1."""
        return min(self.first * self.factor ** (attempt - 1), self.longest) * (1 + 0.25 * jitter)


class Arguments:
    """The arguments of one function: a struct built from its signature, and its way from and to JSON."""

    def __init__(self, path: str, handler: Callable[..., Any], rename: Callable[[str], str]) -> None:
        self.path = path
        self.signature = inspect.signature(handler)
        hints = self.hints = get_type_hints(handler, include_extras=True)
        fields: list[Any] = []
        for parameter in list(self.signature.parameters.values())[1:]:
            hint = hints.get(parameter.name, Any)
            if parameter.default is inspect.Parameter.empty:
                fields.append((parameter.name, hint))
            else:
                default = parameter.default
                fields.append((parameter.name, hint, msgspec.field(default_factory=lambda value=default: value)))
        self.names = tuple(field[0] for field in fields)
        self.struct: type[msgspec.Struct] = msgspec.defstruct(
            "Arguments", fields, kw_only=True, forbid_unknown_fields=True, rename=rename
        )
        self.wire_names = self.struct.__struct_encode_fields__
        self._decode = values.decoder_for(self.struct)

    def decode(self, raw: bytes) -> dict[str, Any]:
        """Keyword arguments from the JSON object of a call. Raises InvalidArguments."""
        try:
            return msgspec.structs.asdict(self._decode(raw))
        except InvalidValue as error:
            takes = ", ".join(self.wire_names) or "none"
            raise InvalidArguments(f"ArgumentValidationError: {error} (arguments of {self.path}: {takes})") from None

    def encode(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> bytes:
        """The JSON object of a call made in Python. Raises InvalidArguments."""
        try:
            bound = self.signature.bind(None, *args, **kwargs)
        except TypeError as error:
            raise InvalidArguments(f"ArgumentValidationError: {self.path}: {error}") from None
        given = dict(list(bound.arguments.items())[1:])
        pairs = zip(self.names, self.wire_names, strict=True)
        try:
            return values.encode({wire: given[name] for name, wire in pairs if name in given})
        except InvalidValue as error:
            raise InvalidArguments(f"ArgumentValidationError: {self.path}: {error}") from None


class Function(Generic[P, R]):
    """A query, mutation or action under its path, such as `sources:addSource`."""

    kind: Kind

    def __init__(
        self,
        handler: Callable[..., Awaitable[R]],
        *,
        path: str,
        internal: bool,
        rename: str | None,
        retry: Retry | None = None,
        idempotency: str | None = None,
        owners: Owners = "caller",
    ) -> None:
        if owners not in ("caller", "all"):
            raise DefinitionError(f'{path}: owners is "caller" or "all", got {owners!r}')
        self.handler = handler
        self.path = path
        self.internal = internal
        self.retry = retry
        self.idempotency = idempotency
        self.owners: Owners = owners
        """Whose rows of tables and indexes with an owner it works with."""
        self.__doc__ = handler.__doc__
        self.__name__ = handler.__name__
        self.__module__ = handler.__module__
        self._rename = renamer(rename)

    @cached_property
    def arguments(self) -> Arguments:
        """The arguments, compiled from the signature when the application starts."""
        try:
            return Arguments(self.path, self.handler, self._rename)
        except (NameError, TypeError) as error:
            raise DefinitionError(f"{self.path}: its annotations can't be used: {error}") from error

    @cached_property
    def returns(self) -> Any:
        """The return annotation, `Any` where there is none."""
        return get_type_hints(self.handler, include_extras=True).get("return", Any)

    @cached_property
    def _check_result(self) -> Callable[[bytes], Any] | None:
        if self.returns is Any or self.returns is object:
            return None
        try:
            return values.decoder_for(self.returns)
        except (TypeError, NameError) as error:
            raise DefinitionError(f"{self.path}: its return annotation can't be used: {error}") from error

    def compile(self) -> None:
        """Builds what calls need, so that a wrong annotation shows when the application starts."""
        _ = self.arguments, self._check_result
        if self.idempotency is not None and self.idempotency not in self.arguments.names:
            raise DefinitionError(f"{self.path}: idempotency={self.idempotency!r} is none of its arguments")

    def encode_result(self, result: Any) -> bytes:
        """The result as JSON, checked against the return annotation. Raises InvalidReturn."""
        try:
            raw = values.encode(result)
            if self._check_result is not None:
                self._check_result(raw)
        except InvalidValue as error:
            raise InvalidReturn(f"ReturnsValidationError: {self.path} returned what it must not: {error}") from None
        return raw

    def decode_result(self, raw: bytes) -> Any:
        """The typed value behind `encode_result`'s JSON."""
        return values.decode(raw) if self._check_result is None else self._check_result(raw)

    async def __call__(self, ctx: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:
        """Runs the handler as a plain function, in the caller's context and transaction."""
        return await self.handler(ctx, *args, **kwargs)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.path}>"


class QueryFunction(Function[P, R]):
    """Reads; live, cached, repeatable."""

    kind = "query"


class MutationFunction(Function[P, R]):
    """Reads and writes in one serializable transaction."""

    kind = "mutation"


class ActionFunction(Function[P, R]):
    """May do anything; reads and writes through queries and mutations."""

    kind = "action"


class Module:
    """A group of functions; `Module("lib/search")` gives paths such as `lib/search:find`.

    `rename="camel"` makes function paths and argument names camelCase for clients.
    """

    def __init__(self, name: str, *, rename: str | None = None) -> None:
        if not _MODULE_PATH.fullmatch(name):
            raise DefinitionError(f"{name!r} can't name a module: use letters, digits and _, with / between parts")
        self.name = name
        self.rename = rename
        self._renamer = renamer(rename)
        self.functions: dict[str, Function[..., Any]] = {}

    def __iter__(self) -> Iterator[Function[..., Any]]:
        return iter(self.functions.values())

    @overload
    def query(self, handler: Callable[Concatenate[QueryCtx, P], Awaitable[R]], /) -> QueryFunction[P, R]: ...
    @overload
    def query(
        self, /, *, name: str | None = None
    ) -> Callable[[Callable[Concatenate[QueryCtx, P], Awaitable[R]]], QueryFunction[P, R]]: ...
    def query(self, handler: Any = None, /, *, name: str | None = None) -> Any:
        """Registers a public query, under the name of the function unless `name` gives another one."""
        return self._register(QueryFunction, handler, name=name)

    @overload
    def internal_query(self, handler: Callable[Concatenate[QueryCtx, P], Awaitable[R]], /) -> QueryFunction[P, R]: ...
    @overload
    def internal_query(
        self, /, *, owners: Owners = "caller", name: str | None = None
    ) -> Callable[[Callable[Concatenate[QueryCtx, P], Awaitable[R]]], QueryFunction[P, R]]: ...
    def internal_query(self, handler: Any = None, /, *, owners: Owners = "caller", name: str | None = None) -> Any:
        """Registers a query that clients can't see. With `owners="all"` it sees the rows of all owners."""
        return self._register(QueryFunction, handler, internal=True, owners=owners, name=name)

    @overload
    def mutation(self, handler: Callable[Concatenate[MutationCtx, P], Awaitable[R]], /) -> MutationFunction[P, R]: ...
    @overload
    def mutation(
        self, /, *, idempotency: str | None = None, name: str | None = None
    ) -> Callable[[Callable[Concatenate[MutationCtx, P], Awaitable[R]]], MutationFunction[P, R]]: ...
    def mutation(self, handler: Any = None, /, *, idempotency: str | None = None, name: str | None = None) -> Any:
        """Registers a public mutation.

        `idempotency` names an argument whose value identifies the call: a second call with the same value within
        `limits.request_retention_seconds` returns the first one's result instead of running.
        """
        return self._register(MutationFunction, handler, idempotency=idempotency, name=name)

    @overload
    def internal_mutation(
        self, handler: Callable[Concatenate[MutationCtx, P], Awaitable[R]], /
    ) -> MutationFunction[P, R]: ...
    @overload
    def internal_mutation(
        self, /, *, idempotency: str | None = None, owners: Owners = "caller", name: str | None = None
    ) -> Callable[[Callable[Concatenate[MutationCtx, P], Awaitable[R]]], MutationFunction[P, R]]: ...
    def internal_mutation(
        self,
        handler: Any = None,
        /,
        *,
        idempotency: str | None = None,
        owners: Owners = "caller",
        name: str | None = None,
    ) -> Any:
        """Registers a mutation that clients can't see. With `owners="all"` it sees the rows of all owners."""
        return self._register(
            MutationFunction, handler, internal=True, idempotency=idempotency, owners=owners, name=name
        )

    @overload
    def action(self, handler: Callable[Concatenate[ActionCtx, P], Awaitable[R]], /) -> ActionFunction[P, R]: ...
    @overload
    def action(
        self, /, *, retry: Retry | None = None, name: str | None = None
    ) -> Callable[[Callable[Concatenate[ActionCtx, P], Awaitable[R]]], ActionFunction[P, R]]: ...
    def action(self, handler: Any = None, /, *, retry: Retry | None = None, name: str | None = None) -> Any:
        """Registers a public action. `retry` applies where it was scheduled, not where a client calls it."""
        return self._register(ActionFunction, handler, retry=retry, name=name)

    @overload
    def internal_action(
        self, handler: Callable[Concatenate[ActionCtx, P], Awaitable[R]], /
    ) -> ActionFunction[P, R]: ...
    @overload
    def internal_action(
        self, /, *, retry: Retry | None = None, owners: Owners = "caller", name: str | None = None
    ) -> Callable[[Callable[Concatenate[ActionCtx, P], Awaitable[R]]], ActionFunction[P, R]]: ...
    def internal_action(
        self,
        handler: Any = None,
        /,
        *,
        retry: Retry | None = None,
        owners: Owners = "caller",
        name: str | None = None,
    ) -> Any:
        """Registers an action that clients can't see. With `owners="all"` its searches see the rows of all owners."""
        return self._register(ActionFunction, handler, internal=True, retry=retry, owners=owners, name=name)

    def migration(self, table: Tabular, /) -> Callable[[Step], Migration]:
        """Registers `async def change(ctx, document)`, which `reflow migrate` gives each stored document of a table.

        It gets the document as it is stored, a dict under stored names, and returns the fields that change
        (`rf.UNSET` removes one), the changed document itself, or None where nothing is to change. Like a mutation it
        may await only `ctx`. The migrations of a table run in the order in which they are registered.
        """
        from reflow.migrations import Migration

        spec = spec_of(table)

        def register(step: Step) -> Migration:
            _check_signature(step, exactly=2)
            return self._added(step, lambda path: Migration(step, spec, path=path, rename=self.rename), pure=True)

        return register

    def _register(
        self,
        kind: Callable[..., Function[..., Any]],
        handler: Any,
        internal: bool = False,
        name: str | None = None,
        **options: Any,
    ) -> Any:
        if handler is None:
            return partial(self._register, kind, internal=internal, name=name, **options)
        _check_signature(handler)
        return self._added(
            handler,
            lambda path: kind(handler, path=path, internal=internal, rename=self.rename, **options),
            pure=kind is not ActionFunction,
            name=name,
        )

    def _added(self, written: Any, make: Callable[[str], F], *, pure: bool, name: str | None = None) -> F:
        """Enters a function under its name: else that of the coroutine function that was written for it."""
        name = self._renamer(name or written.__name__)
        if name in self.functions:
            raise DefinitionError(f"{self.name}:{name} is defined twice; Python names {written.__name__!r} collide")
        path = f"{self.name}:{name}"
        if pure:
            _warn_of_impure_names(written, path)
        function = self.functions[name] = make(path)
        return function


def _check_signature(handler: Any, exactly: int | None = None) -> None:
    if not inspect.iscoroutinefunction(handler):
        raise DefinitionError(f"{handler!r} must be an `async def`")
    parameters = list(inspect.signature(handler).parameters.values())
    if not parameters:
        raise DefinitionError(f"{handler.__qualname__} must take ctx as its first parameter")
    if exactly is not None and len(parameters) != exactly:
        raise DefinitionError(f"{handler.__qualname__} must take {exactly} parameters: ctx and the document")
    for parameter in parameters[1:]:
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
            raise DefinitionError(
                f"{handler.__qualname__}: parameter {parameter} has no name of its own; clients pass arguments by name"
            )


_IMPURE_MODULES = {"time", "random", "uuid", "secrets", "datetime"}
_IMPURE_ADVICE = "use ctx.now(), ctx.random and ctx.env, or do it in an action"


def _warn_of_impure_names(handler: Any, path: str) -> None:
    """Looks at the names in a handler's code: a hint at registration, the guard is what refuses at run time."""
    code: CodeType = handler.__code__
    attributes = {i.argval for i in dis.get_instructions(code) if i.opname in ("LOAD_ATTR", "LOAD_METHOD")}
    for name in code.co_names:
        value = handler.__globals__.get(name)
        owner = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
        impure = owner in _IMPURE_MODULES and not _is_harmless(value, attributes)
        if impure or (owner == "os" and attributes & {"environ", "getenv", "urandom"}):
            warnings.warn(f"{path} names {name!r}: {_IMPURE_ADVICE}", PurityWarning, stacklevel=5)


def _is_harmless(value: Any, attributes: set[str]) -> bool:
    """A datetime class or module is fine as a type and for arithmetic; only its clocks are not."""
    module = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None)
    return module == "datetime" and not attributes & {"now", "utcnow", "today"}
