"""Calling as somebody: in a test, from the command line, as an administrator."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

import reflow as rf
from reflow.errors import MissingExtra
from reflow.server.admin import FILE_NAME, SETTING
from reflow.server.tokens import TokenVerifier
from tests.support import arun
from tests.support.auth_app import claims, secret, sign, signed, who
from tests.support.cli import Here, running

ANN = rf.Identity(issuer="https://issuer.test", subject="ann", claims={"name": "Ann"})

APP = """
import reflow as rf

notes = rf.Module("notes")


@notes.internal_query
async def caller(ctx: rf.QueryCtx) -> str | None:
    identity = ctx.auth.identity()
    return None if identity is None else f"{identity.token_identifier} {identity.name}"


keys = "data:application/json,{%22keys%22:[{%22kty%22:%22OKP%22,%22crv%22:%22Ed25519%22,%22x%22:%22KEY%22}]}"
app = rf.App(modules=[notes], auth=[rf.JWT("https://issuer.test", jwks=keys, algorithm="EdDSA")])
""".replace("KEY", "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    for name in ("REFLOW_DATA", SETTING):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


roles = rf.Module("roles")


@roles.query
async def with_guest(ctx: rf.QueryCtx) -> list[str]:
    identity = ctx.auth.identity()
    assert identity is not None
    found: list[str] = identity.claims["roles"]
    found.append("guest")
    identity.claims["tenant"]["roles"] = found
    return found


@roles.mutation
async def keep_guest(ctx: rf.MutationCtx) -> list[str]:
    return await ctx.run_query(with_guest)


@roles.action
async def ask_guest(ctx: rf.ActionCtx) -> list[str]:
    identity = ctx.auth.identity()
    assert identity is not None
    identity.claims["roles"].append("asked")
    return await ctx.run_mutation(keep_guest)


def test_what_a_function_does_to_claims_is_forgotten() -> None:
    bob = rf.Identity(issuer="https://issuer.test", subject="bob", claims={"roles": ["user"], "tenant": {"id": 1}})

    async def main() -> None:
        async with rf.App(modules=[roles]).in_memory() as backend:
            caller = backend.as_(bob)
            for _ in range(2):
                assert await caller.query(with_guest) == ["user", "guest"]
                assert await caller.mutation(keep_guest) == ["user", "guest"]
                assert await caller.action(ask_guest) == ["user", "guest"]

    arun(main())
    assert dict(bob.claims) == {"roles": ["user"], "tenant": {"id": 1}}


def test_a_backend_calls_as_somebody() -> None:
    async def main() -> None:
        async with rf.App(modules=[signed]).in_memory() as backend:
            ann = backend.as_(ANN)
            assert await backend.query(who) is None
            assert await ann.query(who) == "ann"
            assert await ann.query(claims) == {"id": "https://issuer.test|ann", "name": "Ann"}
            assert await ann.mutation(sign) == "ann"
            assert await ann.action("signed:asks") == ["ann", "ann"]
            assert await ann.query(secret) == "hidden"
            assert await ann.as_(None).query(who) is None
            async for name in ann.watch(who):
                assert name == "ann"
                break

    arun(main())


def test_run_as_somebody_where_no_server_runs(folder: Path, here: Here) -> None:
    assert json.loads(here("run", "notes:caller").out) is None
    ended = here("run", "notes:caller", "--identity", '{"subject": "ann", "name": "Ann"}')
    assert json.loads(ended.out) == "https://issuer.test|ann Ann"
    ended = here("run", "notes:caller", "--identity", '{"tokenIdentifier": "other|bob"}')
    assert json.loads(ended.out) == "other|bob None"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--identity", "ann"], 2, "--identity must be JSON"),
        (["--identity", "[]"], 2, "--identity must be a JSON object"),
        (["--identity", "{}"], 1, "needs a subject"),
        (["--identity", '{"subject": "a"}', "--url", "http://127.0.0.1:1"], 2, "add --admin"),
        (["--admin"], 2, "--admin goes with --url"),
        (["--admin", "--url", "http://127.0.0.1:1"], 2, SETTING),
    ],
)
def test_what_can_not_be_is_told(folder: Path, here: Here, arguments: list[str], status: int, said: str) -> None:
    ended = here("run", "notes:caller", *arguments)
    assert (ended.status, ended.out) == (status, "")
    assert said in ended.err


def test_run_as_somebody_beside_a_server(folder: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = here("admin-key", "--data", ".reflow")
    assert shown.out.strip() == (folder / ".reflow" / FILE_NAME).read_text()
    ann = ["--identity", '{"subject": "ann", "givenName": "A", "name": "Zoë"}']
    with running("serve", "app.py", "--port", "0", cwd=folder) as server:
        url = server.until(r"http://127\.0\.0\.1:\d+").group()
        assert json.loads(here("run", "notes:caller", *ann).out) == "https://issuer.test|ann Zoë"
        assert here("run", "notes:caller", "--identity", "{}").status == 1
        assert "Could not find" in here("run", "notes:caller", "--url", url).err
        monkeypatch.setenv(SETTING, shown.out.strip())
        assert json.loads(here("run", "notes:caller", "--url", url, "--admin").out) is None
        assert json.loads(here("run", "notes:caller", "--url", url, "--admin", *ann).out) == (
            "https://issuer.test|ann Zoë"
        )
        monkeypatch.setenv(SETTING, "a wrong key, though it is long enough")
        refused = here("run", "notes:caller", "--url", url, "--admin")
        assert (refused.status, refused.out) == (1, "")
        assert "admin key" in refused.err
        assert server.stop() == 0
        said = "".join(server.said)
        assert shown.out.strip() not in said
        assert "wrong key" not in said


def test_the_setting_takes_the_keys_place(folder: Path, here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SETTING, "x" * 24)
    ended = here("admin-key")
    assert (ended.status, ended.out) == (0, "x" * 24 + "\n")
    assert SETTING in ended.err
    monkeypatch.setenv(SETTING, "x" * 23)
    ended = here("admin-key")
    assert (ended.status, ended.out) == (1, "")
    assert "at least 24" in ended.err
    assert not (folder / ".reflow").exists()


def test_without_the_extra_it_is_told_at_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    provider = rf.JWT("https://issuer.test", jwks="https://issuer.test/keys")
    monkeypatch.setitem(sys.modules, "jwt", None)
    with pytest.raises(MissingExtra, match=r"reflow\[auth\]"):
        TokenVerifier([provider], rf.Limits(), time.time)
    TokenVerifier([], rf.Limits(), time.time)


def test_tokens_cost_nothing_where_nobody_takes_them() -> None:
    code = "import sys, reflow.server.serve, reflow.testing; print(sorted({'jwt', 'cryptography'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
