"""Typed settings: what a class reads, what it refuses, what it never shows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

import reflow as rf
from reflow.engine.environment import assign
from reflow.errors import CallFailed, DefinitionError, SettingsError
from reflow.settings import read_settings, spelled, variables_of
from reflow.testing import Simulation
from tests.support import arun
from tests.support.client import Client
from tests.support.simulated import simulated

SECRET = "hunter2-hunter2"
LEAST = {"SHOP_NAME": "n", "SHOP_KEY": SECRET}
"""What `Everything` needs. An app's settings are all those that are written beside its functions."""


class Region(Enum):
    EU = "eu"
    US = "us"


class Needed(rf.Settings):
    api_key: rf.Secret
    attempts: int = 3


strict = rf.Module("strict")


@strict.query
async def attempts(ctx: rf.QueryCtx) -> int:
    return ctx.settings(Needed).attempts


@strict.query
async def leak(ctx: rf.QueryCtx) -> Any:
    return {"key": ctx.settings(Needed).api_key}


@strict.action
async def fail(ctx: rf.ActionCtx) -> None:
    settings = ctx.settings(Needed)
    ctx.log("with", settings, settings.api_key)
    raise RuntimeError(f"{settings} {settings.api_key} {settings.api_key!r:>20}")


def test_an_app_starts_only_with_the_settings_that_it_needs(tmp_path: Path) -> None:
    bare = rf.App(modules=[], environment={})
    needing = rf.App(modules=[strict], environment={"ATTEMPTS": "many", **LEAST})

    async def main() -> None:
        with pytest.raises(SettingsError) as caught:
            async with needing.open(tmp_path):
                pass
        assert "API_KEY is not set (Needed.api_key: Secret); set it with `reflow env set API_KEY`" in str(caught.value)
        assert "ATTEMPTS" in str(caught.value)
        assert "many" not in str(caught.value)
        async with bare.open_raw(tmp_path) as raw:
            await assign(raw.engine, {"API_KEY": SECRET, "ATTEMPTS": "7"})
        async with needing.open(tmp_path) as backend:
            assert await backend.query(attempts) == 7

    arun(main())


@simulated(rf.App(modules=[strict], environment={"API_KEY": SECRET, **LEAST}))
async def test_settings_are_live_and_what_does_not_fit_them_is_refused(sim: Simulation) -> None:
    client = Client(sim)
    one = client.add(attempts)
    await client.up_to_date()
    assert client.value(one) == 3
    with pytest.raises(SettingsError, match="ATTEMPTS is set to does not fit") as caught:
        await assign(sim.engine, {"ATTEMPTS": SECRET})
    assert SECRET not in str(caught.value)
    await assign(sim.engine, {"ATTEMPTS": "9"})
    await client.up_to_date()
    assert client.value(one) == 9
    client.close()


@simulated(rf.App(modules=[strict], environment={"API_KEY": SECRET, **LEAST}))
async def test_a_variable_that_was_removed_fails_what_needs_it_and_names_it(sim: Simulation) -> None:
    await assign(sim.engine, {"API_KEY": "other"})
    assert await sim.query(attempts) == 3
    await assign(sim.engine, {"API_KEY": None})
    assert await sim.query(attempts) == 3  # the process's own is there still


@simulated(
    rf.App(modules=[strict], environment={"API_KEY": SECRET, **LEAST}),
)
async def test_a_secret_is_neither_returned_nor_logged_nor_told(sim: Simulation) -> None:
    lines: list[str] = []

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))

    logger, handler = logging.getLogger("reflow"), Lines()
    logger.addHandler(handler)
    try:
        for call in (sim.query(leak), sim.action(fail)):
            with pytest.raises(CallFailed) as caught:
                await call
            lines.append(str(caught.value))
    finally:
        logger.removeHandler(handler)
    text = "\n".join(lines)
    assert "Secret(…)" in text
    assert SECRET not in text


# Reading


class Everything(rf.Settings, prefix="SHOP_"):
    name: str
    key: rf.Secret
    count: int = 0
    share: float = 0.5
    on: bool = False
    region: Region = Region.EU
    level: Literal["low", "high"] = "low"
    other_key: rf.Secret | None = None
    tags: list[str] = []  # noqa: RUF012
    parts: dict[str, int] = {}  # noqa: RUF012


@pytest.mark.parametrize(
    ("variable", "text", "field", "expected"),
    [
        ("SHOP_COUNT", "12", "count", 12),
        ("SHOP_SHARE", "1e-3", "share", 0.001),
        ("SHOP_ON", "true", "on", True),
        ("SHOP_ON", "0", "on", False),
        ("SHOP_REGION", "us", "region", Region.US),
        ("SHOP_LEVEL", "high", "level", "high"),
        ("SHOP_OTHER_KEY", "x", "other_key", rf.Secret("x")),
        ("SHOP_TAGS", '["a", "b"]', "tags", ["a", "b"]),
        ("SHOP_PARTS", '{"a": 1}', "parts", {"a": 1}),
        ("SHOP_NAME", "", "name", ""),
        ("SHOP_NAME", "12", "name", "12"),
        ("COUNT", "12", "count", 0),
    ],
)
def test_fields_are_read_from_texts(variable: str, text: str, field: str, expected: object) -> None:
    found = read_settings(Everything, {**LEAST, variable: text})
    assert getattr(found, field) == expected
    assert found.key.reveal() == SECRET


@pytest.mark.parametrize(
    "given",
    [
        {"SHOP_COUNT": "12.5"},
        {"SHOP_COUNT": "many"},
        {"SHOP_SHARE": "half"},
        {"SHOP_ON": "yes please"},
        {"SHOP_REGION": "moon"},
        {"SHOP_LEVEL": "middle"},
        {"SHOP_TAGS": "a,b"},
        {"SHOP_TAGS": "[1]"},
        {"SHOP_PARTS": "[" * 100_000},
    ],
)
def test_what_does_not_fit_is_named_and_not_quoted(given: Mapping[str, str]) -> None:
    ((name, text),) = given.items()
    with pytest.raises(SettingsError, match=f"{name} is set to does not fit Everything") as caught:
        read_settings(Everything, {**LEAST, **given})
    assert text not in str(caught.value)


def test_fields_are_named_as_they_are_written() -> None:
    shown = [spelled(Everything, variable) for variable in variables_of(Everything)]
    assert "Everything.key: Secret" in shown
    assert "Everything.other_key: Secret | None" in shown
    assert "Everything.level: Literal['low', 'high']" in shown


def test_all_that_is_missing_is_named_at_once_and_an_empty_secret_is_none() -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings(Everything, {"SHOP_KEY": "", "SHOP_COUNT": "x"})
    for name in ("SHOP_NAME", "SHOP_KEY", "SHOP_COUNT"):
        assert name in str(caught.value)


def test_an_empty_secret_that_may_be_left_out_is_left_out() -> None:
    assert read_settings(Everything, {**LEAST, "SHOP_OTHER_KEY": ""}).other_key is None


def test_settings_do_not_change_and_are_inherited() -> None:
    class More(Everything):
        extra: int = 1

    found = read_settings(More, {**LEAST, "SHOP_EXTRA": "2"})
    assert (found.name, found.extra) == ("n", 2)
    with pytest.raises(AttributeError):
        found.extra = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_a_secret_hides_its_text() -> None:
    secret = rf.Secret(SECRET)
    shown = [str(secret), repr(secret), f"{secret}", f"{secret:>30}", "%s" % secret, repr({"a": [secret]})]  # noqa: UP031
    assert not [text for text in shown if SECRET in text]
    assert secret == rf.Secret(SECRET)
    assert secret != rf.Secret("x")
    assert secret != SECRET
    assert secret != rf.Secret("half \ud800")
    assert len({secret, rf.Secret(SECRET)}) == 1
    assert not rf.Secret("")
    with pytest.raises(TypeError):
        msgspec.json.encode(secret)


# Definitions


def test_a_settings_class_with_a_reserved_name_is_refused() -> None:
    with pytest.raises(DefinitionError, match="setting of the server itself"):

        class Wrong(rf.Settings, prefix="REFLOW_"):  # pyright: ignore[reportUnusedClass]
            x: str

    options: dict[str, Any] = {"prefix": "A" * 40}
    with pytest.raises(DefinitionError, match="at most"):

        class Long(rf.Settings, **options):  # pyright: ignore[reportUnusedClass]
            x: str


def test_an_annotation_that_can_not_be_used_fails_at_the_start() -> None:
    class Strange(rf.Settings):
        x: "Nowhere" = 1  # type: ignore  # noqa: F821, UP037

    app = rf.App(modules=[], settings=[Strange], environment={})

    async def main() -> None:
        async with app.in_memory():
            pass

    with pytest.raises(DefinitionError, match="annotations can't be used"):
        arun(main())
