from __future__ import annotations

import random
import time
import uuid
from datetime import datetime, timedelta
from typing import Any, Literal

import pytest

import reflow as rf
from reflow import values
from reflow.errors import CallFailed, DefinitionError, FunctionNotFound, InvalidArguments
from reflow.functions import PurityWarning
from reflow.testing import Simulation, simulate
from tests.support import arun
from tests.support.simulated import simulated


class Box(rf.Table, table="boxes"):
    name: str


class Lid(rf.Table, table="lids"):
    name: str


class Size(rf.Object, rename="camel"):
    wide_side: int
    unit: Literal["cm", "in"] = "cm"


api = rf.Module("api/v1", rename="camel")


@api.mutation
async def make_box(ctx: rf.MutationCtx, box_name: str) -> rf.Id[Box]:
    """Makes a box."""
    return await ctx.db.insert(Box(name=box_name))


@api.mutation
async def make_lid(ctx: rf.MutationCtx, name: str) -> rf.Id[Lid]:
    return await ctx.db.insert(Lid(name=name))


@api.query
async def name_of(ctx: rf.QueryCtx, box: rf.Id[Box]) -> str:
    found = await ctx.db.get(box)
    return "" if found is None else found.name


@api.query
async def names(
    ctx: rf.QueryCtx, boxes: list[rf.Id[Box]] | None = None, by: dict[str, rf.Id[Box]] | None = None
) -> int:
    return len(boxes or []) + len(by or {})


@api.query
async def echo(ctx: rf.QueryCtx, x: Any = None, from_: int = 1, size: Size | None = None) -> Any:
    return [x, from_, size]


@api.query
async def typed(ctx: rf.QueryCtx, n: int, x: float = 0.5, big: rf.Int64 | None = None) -> list[str]:
    return [type(n).__name__, type(x).__name__, type(big).__name__]


@api.query
async def liar(ctx: rf.QueryCtx) -> list[int]:
    return ["no"]  # type: ignore[list-item]


@api.query
async def unsendable(ctx: rf.QueryCtx) -> Any:
    return object()


@api.internal_query
async def hidden(ctx: rf.QueryCtx) -> int:
    return 1


@api.query
async def stop(ctx: rf.QueryCtx) -> int:
    raise SystemExit(3)


@api.action
async def act(ctx: rf.ActionCtx, n: int) -> int:
    if n == 0:
        raise SystemExit(4)
    if n == 1:
        raise rf.ApplicationError({"code": 7, "text": "no"})
    return await ctx.run_action(act, n - 1) if n > 2 else n


@api.mutation
async def refuse(ctx: rf.MutationCtx) -> None:
    await ctx.db.insert(Box(name="never"))
    raise rf.ApplicationError(["refused", 1])


app = rf.App(modules=[api])


async def call(sim: Simulation, path: str, raw: bytes) -> Any:
    """What a client gets for arguments in JSON."""
    function = sim.engine.functions[f"api/v1:{path}"]
    result = await sim.engine.query(function, raw)
    return values.decode(result.value) if result.value is not None else result.failure


def test_paths_and_arguments_are_renamed() -> None:
    assert make_box.path == "api/v1:makeBox"
    assert make_box.arguments.wire_names == ("boxName",)
    assert echo.arguments.wire_names == ("x", "from", "size")
    assert make_box.__doc__ == "Makes a box."
    assert repr(make_box) == "<mutation api/v1:makeBox>"


@simulated(app)
async def test_arguments_come_by_name_or_in_order(sim: Simulation) -> None:
    assert await sim.query(echo, 1, from_=2) == [1, 2, None]
    assert await sim.query("api/v1:echo", x=1, size=Size(wide_side=3)) == [1, 1, {"wideSide": 3, "unit": "cm"}]
    assert await call(sim, "echo", b'{"from": 5}') == [None, 5, None]
    with pytest.raises(InvalidArguments, match=r"api/v1:echo: got an unexpected keyword argument 'y'"):
        await sim.query("api/v1:echo", y=1)
    with pytest.raises(InvalidArguments, match=r"missing a required argument: 'n'"):
        await sim.query("api/v1:typed")


@simulated(app)
async def test_wrong_arguments_say_what_and_where(sim: Simulation) -> None:
    for raw, says in (
        (b'{"n": "1"}', "Expected `int`, got `str` - at `$.n`"),
        (b'{"n": 1.5}', "whole number"),
        (b"{}", "required field `n`"),
        (b'{"n": 1, "m": 2}', "unknown field `m`"),
        (b"[]", "Expected `object`"),
        (b'{"n": 1, "big": 5}', "big"),
    ):
        failure = await call(sim, "typed", raw)
        assert failure.code == "ArgumentValidationError"
        assert says in failure.message, failure.message
        assert "arguments of api/v1:typed: n, x, big" in failure.message


@simulated(app)
async def test_numbers_arrive_as_declared(sim: Simulation) -> None:
    assert await call(sim, "typed", b'{"n": 1.0, "x": 2}') == ["int", "float", "NoneType"]
    assert (await call(sim, "typed", b'{"n": 1, "big": {"$integer": "AQAAAAAAAAA="}}'))[2] == "Int64"


@simulated(app)
async def test_not_json_is_an_argument_error(sim: Simulation) -> None:
    for raw in (b"{", b"", b"\xff", b"nonsense"):
        failure = await call(sim, "echo", raw)
        assert failure.message, "a wrong call is answered, not raised"


@simulated(app)
async def test_ids_of_another_table_are_refused(sim: Simulation) -> None:
    box = await sim.mutation(make_box, "b")
    lid = await sim.mutation(make_lid, "l")
    assert await sim.query(name_of, box) == "b"
    for function, args in (
        ("nameOf", {"box": lid}),
        ("names", {"boxes": [box, lid]}),
        ("names", {"by": {"a": lid}}),
    ):
        failure = await call(sim, function, values.encode(args))
        assert failure.code == "ArgumentValidationError"
        assert "is an id of table 'lids', expected one of table 'boxes'" in failure.message
    failure = await call(sim, "nameOf", b'{"box": "x"}')
    assert "'x' is not a document id" in failure.message


@simulated(app)
async def test_results_are_checked(sim: Simulation) -> None:
    with pytest.raises(CallFailed, match=r"api/v1:liar returned what it must not: Expected `int`, got `str`"):
        await sim.query(liar)
    with pytest.raises(CallFailed, match=r"ReturnsValidationError"):
        await sim.query(unsendable)


@simulated(app)
async def test_rule_8_internal_functions_do_not_exist_for_clients(sim: Simulation) -> None:
    assert sim.engine.public("api/v1:hidden", "query") is None
    assert sim.engine.public("api/v1:echo", "mutation") is None
    assert sim.engine.public("api/v1:echo", "query") is echo
    assert await sim.query(hidden) == 1
    with pytest.raises(FunctionNotFound, match=r"no function 'api/v1:none' in this app"):
        await sim.query("api/v1:none")
    with pytest.raises(DefinitionError, match=r"api/v1:echo is a query, not a mutation"):
        await sim.mutation("api/v1:echo")


@simulated(app)
async def test_application_errors_carry_their_data_and_undo_the_writes(sim: Simulation) -> None:
    with pytest.raises(rf.ApplicationError) as caught:
        await sim.mutation(refuse)
    assert caught.value.data == ["refused", 1]
    with pytest.raises(rf.ApplicationError) as caught:
        await sim.action(act, 1)
    assert caught.value.data == {"code": 7, "text": "no"}
    assert await sim.action(act, 2) == 2
    assert await sim.action(act, 5) == 2


@simulated(app)
async def test_leaving_the_process_is_an_error_of_the_function_only(sim: Simulation) -> None:
    with pytest.raises(CallFailed, match=r"Uncaught SystemExit: 3"):
        await sim.query(stop)
    with pytest.raises(CallFailed, match=r"Uncaught SystemExit: 4"):
        await sim.action(act, 0)
    assert await sim.query(hidden) == 1


def test_arguments_and_results_have_bounds() -> None:
    async def main() -> None:
        small = rf.App(modules=[api], limits=rf.Limits(arguments_bytes=50, result_bytes=20))
        async with simulate(small) as sim:
            assert (await call(sim, "echo", b'{"x": "%s"}' % (b"x" * 60))).message.endswith("arguments_bytes is 50")
            assert "limits.result_bytes is 20" in (await call(sim, "echo", b'{"x": "%s"}' % (b"x" * 20))).message

    arun(main())


# Definitions


def define(**options: Any) -> Any:
    return rf.Module("m", **options)


def test_definitions_that_cannot_work_say_so() -> None:
    module = define()
    with pytest.raises(DefinitionError, match=r"must be an `async def`"):
        module.query(lambda ctx: None)
    with pytest.raises(DefinitionError, match=r"must take ctx"):

        @module.query
        async def nothing() -> None: ...

    with pytest.raises(DefinitionError, match=r"has no name of its own"):

        @module.query
        async def many(ctx: rf.QueryCtx, *rest: int) -> None: ...

    with pytest.raises(DefinitionError, match=r"can't name a module"):
        rf.Module("a b")
    with pytest.raises(DefinitionError, match=r"unknown"):
        rf.Module("m", rename="kebab")


def test_two_functions_of_one_path_are_refused() -> None:
    module = define(rename="camel")

    @module.query
    async def a_b(ctx: rf.QueryCtx) -> None: ...

    with pytest.raises(DefinitionError, match=r"m:aB is defined twice"):

        @module.query
        async def aB(ctx: rf.QueryCtx) -> None: ...

    other = define()
    other.query(a_b.handler)
    twin = define()
    twin.query(a_b.handler)
    with pytest.raises(DefinitionError, match=r"two modules define m:a_b"):
        rf.App(modules=[other, twin])


def test_wrong_annotations_show_when_the_application_starts() -> None:
    module = define()

    @module.query
    async def wrong(ctx: rf.QueryCtx, x: "Unknown") -> None: ...  # type: ignore[name-defined]  # noqa: F821, UP037

    async def main() -> None:
        async with simulate(rf.App(modules=[module])):
            pass

    with pytest.raises(DefinitionError, match=r"m:wrong: its annotations can't be used"):
        arun(main())


def test_an_idempotency_argument_must_be_there() -> None:
    module = define()

    @module.mutation(idempotency="key")
    async def once(ctx: rf.MutationCtx, other: str) -> None: ...

    with pytest.raises(DefinitionError, match=r"idempotency='key' is none of its arguments"):
        once.compile()


def test_impure_names_are_warned_of() -> None:
    module = define()

    async def clock(ctx: rf.QueryCtx) -> float:
        return time.time()

    async def dice(ctx: rf.QueryCtx) -> float:
        return random.random()

    async def name(ctx: rf.QueryCtx) -> str:
        return str(uuid.uuid4())

    async def today(ctx: rf.QueryCtx) -> str:
        return datetime.now().isoformat()

    async def harmless(ctx: rf.QueryCtx) -> str:
        return str(timedelta(seconds=1) + timedelta(minutes=1))

    for function in (clock, dice, name, today):
        with pytest.warns(PurityWarning, match=f"m:{function.__name__} names"):
            module.query(function)
    module.query(harmless)
    rf.Module("actions").action(clock)  # type: ignore[arg-type]
