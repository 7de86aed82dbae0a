"""`reflow env`, with and without a server."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from reflow.limits import DEFAULT
from reflow.storage import lock
from tests.support.cli import Here, reflow, running

SECRET = "hunter2-hunter2"

APP = """
import reflow as rf


class Shop(rf.Settings):
    api_key: rf.Secret
    attempts: int = 3


module = rf.Module("shop")


@module.query
async def key(ctx: rf.QueryCtx) -> str:
    settings = ctx.settings(Shop)
    return f"{settings.api_key.reveal()} {settings.attempts} {settings}"


app = rf.App(modules=[module], environment={"FROM_PROCESS": "x"})
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REFLOW_DATA", raising=False)
    return tmp_path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Here]:
    modules = set(sys.modules)
    yield Here(monkeypatch, capsys)
    for name in set(sys.modules) - modules:
        if name in ("app", "reflow_app_app"):
            del sys.modules[name]


def test_what_an_app_needs_is_named_set_and_used(folder: Path, here: Here) -> None:
    missing = here("run", "shop:key")
    assert missing.status == 1
    assert "API_KEY is not set (Shop.api_key: Secret); set it with `reflow env set API_KEY`" in missing.err
    assert here("env", "set", "API_KEY", SECRET).status == 0
    used = here("run", "shop:key")
    assert json.loads(used.out) == f"{SECRET} 3 Shop(api_key=Secret(…), attempts=3)"


def test_values_are_shown_only_to_who_asks(folder: Path, here: Here) -> None:
    here("env", "set", "API_KEY", SECRET)
    here("env", "set", "COLOR", "red")
    listed = here("env", "list")
    assert [line.split() for line in listed.out.splitlines()] == [
        ["API_KEY", "stored", "Shop.api_key:", "Secret"],
        ["ATTEMPTS", "not", "set", "Shop.attempts:", "int"],
        ["COLOR", "stored"],
    ]
    told = here("env", "get", "API_KEY")
    assert (told.status, told.out) == (0, "API_KEY is set (stored); --show prints it\n")
    assert here("env", "get", "API_KEY", "--show").out == f"{SECRET}\n"
    assert SECRET not in listed.out + listed.err + told.out + told.err
    unknown = here("env", "get", "NOWHERE", "--show")
    assert (unknown.status, unknown.out) == (1, "")
    assert "reflow env set NOWHERE" in unknown.err


def test_unset_removes_and_says_what_was_not_there(folder: Path, here: Here) -> None:
    here("env", "set", "COLOR", "red")
    gone = here("env", "unset", "COLOR", "NOWHERE")
    assert (gone.status, gone.out) == (0, "")
    assert "NOWHERE was not stored" in gone.err
    assert "COLOR" not in gone.err + here("env", "list").out


@pytest.mark.parametrize(("piped", "expected"), [(SECRET + "\n", SECRET), ("a\nb\r\n", "a\nb"), ("x", "x")])
def test_a_value_can_be_piped_in(
    folder: Path, here: Here, monkeypatch: pytest.MonkeyPatch, piped: str, expected: str
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO(piped))
    said = here("env", "set", "API_KEY")
    assert (said.status, said.out, said.err) == (0, "", "")
    assert here("env", "get", "API_KEY", "--show").out == expected + "\n"


REFUSED = [
    (["1A", SECRET], 1, "can't name a variable"),
    (["REFLOW_VECTORS_URL", SECRET], 1, "setting of the server itself"),
    (["ATTEMPTS", SECRET], 1, "ATTEMPTS is set to does not fit Shop.attempts: int"),
    (["COLOR", "é" * DEFAULT.variable_bytes], 1, "limits.variable_bytes"),
    (["COLOR", SECRET + "\udc80"], 2, "no text in this terminal's encoding"),
    (["COLOR"], 2, "no value for COLOR came"),
]


def check_refusals(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    for arguments, status, message in REFUSED:
        said = here("env", "set", *arguments)
        assert (said.status, said.out) == (status, ""), said.err
        assert message in said.err
        assert SECRET not in said.err
        assert "Traceback" not in said.err


def test_what_is_refused_is_told_without_the_value(folder: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    check_refusals(here, monkeypatch)


def test_nothing_is_made_by_looking(folder: Path, here: Here) -> None:
    assert here("env", "list").out.startswith("API_KEY   not set  Shop.api_key: Secret\n")
    assert not (folder / ".reflow").exists()
    other = folder / "other"
    assert "no variable is stored" in here("env", "list", "--data", other).err
    assert not other.exists()


def test_a_running_server_follows_at_once(folder: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    refused = reflow("serve", "app.py", "--port", "0")
    assert refused.status == 1
    assert "API_KEY is not set" in refused.err
    assert here("env", "set", "API_KEY", "first").status == 0
    with running("serve", "app.py", "--port", "0") as server:
        url = server.until(r"http://[\d.:]+")[0]

        def key() -> str:
            return httpx.post(f"{url}/api/query", json={"path": "shop:key"}).json()["value"].split()[0]

        assert key() == "first"
        assert here("env", "set", "API_KEY", SECRET, "--data", ".reflow").status == 0
        assert key() == SECRET
        assert here("env", "get", "API_KEY", "--show").out == f"{SECRET}\n"
        assert "in the environment of the server's process" in here("env", "get", "FROM_PROCESS").out
        assert [line.split()[:2] for line in here("env", "list").out.splitlines()] == [
            ["API_KEY", "stored"],
            ["ATTEMPTS", "not"],
        ]
        check_refusals(here, monkeypatch)
        _the_door_is_for_who_holds_the_token(url)
    assert SECRET not in "".join(server.said)
    assert here("env", "get", "API_KEY", "--show").out == f"{SECRET}\n"


def test_dev_waits_until_what_is_missing_is_set(folder: Path, here: Here) -> None:
    with running("dev", "app.py", "--port", "0") as server:
        server.until("API_KEY is not set")
        server.until("waiting until that is done")
        assert here("env", "set", "OTHER", "x").status == 0
        server.until("API_KEY is not set")
        server.until("waiting until that is done")
        assert here("env", "set", "API_KEY", SECRET).status == 0
        url = server.until(r"http://[\d.:]+")[0]
        value = httpx.post(f"{url}/api/query", json={"path": "shop:key"}).json()["value"]
        assert value.startswith(SECRET)


def _the_door_is_for_who_holds_the_token(url: str) -> None:
    info = lock.read(".reflow")
    assert info is not None
    assert info.token is not None
    body = {"name": "API_KEY", "show": True}
    door = f"{url}/api/local/env"
    for headers in ({}, {"x-reflow-token": "wrong"}, {"authorization": "Bearer x"}):
        response = httpx.post(door, json=body, headers=headers)
        assert response.status_code == 403
        assert SECRET not in response.text
    known = {"x-reflow-token": info.token}
    assert httpx.get(door, headers=known).status_code == 405
    for bad in (b"", b"[]", b'{"changes": {"A": 5}}', b'{"changes": {"A": "\\ud800' + SECRET.encode() + b'"}}'):
        response = httpx.post(door, content=bad, headers=known)
        assert response.status_code == 400
        assert SECRET not in response.text
    assert httpx.post(door, json={"show": True}, headers=known).json()["value"]["variables"][0]["value"] is None
    assert SECRET in httpx.post(door, json=body, headers=known).text
