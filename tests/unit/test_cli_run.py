"""`reflow run`, `reflow dev` and `reflow serve` with an app of a user."""

from __future__ import annotations

import json
import shlex
import subprocess
from pathlib import Path

import pytest
from convex import ConvexClient  # pyright: ignore[reportMissingTypeStubs]

from tests.support.cli import COMMAND, Here, environment, reflow, running

APP = """
import reflow as rf


class Note(rf.Table, table="notes"):
    text: str
    seen: bool = False


notes = rf.Module("notes")


@notes.mutation
async def add(ctx: rf.MutationCtx, text: str) -> rf.Id[Note]:
    ctx.log("adding", text)
    id = await ctx.db.insert(Note(text=text))
    await ctx.scheduler.run_after(0, look, note=id)
    return id


@notes.internal_mutation
async def look(ctx: rf.MutationCtx, note: rf.Id[Note]) -> None:
    await ctx.db.patch(note, seen=True)


@notes.query
async def texts(ctx: rf.QueryCtx) -> list[str]:
    return [note.text.upper() for note in await ctx.db.query(Note).collect()]


@notes.internal_query
async def unseen(ctx: rf.QueryCtx) -> int:
    return len(await ctx.db.query(Note).filter(lambda note: not note.seen).collect())


@notes.mutation
async def refuse(ctx: rf.MutationCtx) -> None:
    raise rf.ApplicationError({"code": 7})


@notes.query
async def broken(ctx: rf.QueryCtx) -> int:
    return 1 // 0


app = rf.App(modules=[notes])
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("REFLOW_DATA", raising=False)
    return tmp_path


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Here:
    return Here(monkeypatch, capsys)


def test_run_opens_the_directory_where_no_server_runs(folder: Path) -> None:
    added = reflow("run", "notes:add", '{"text": "hello"}', cwd=folder)
    assert added.status == 0, added.err
    assert isinstance(json.loads(added.out), str)
    assert "notes:add: adding hello" in added.err, "what the function logs is shown, apart from the result"
    assert json.loads(reflow("run", "notes:texts", cwd=folder).out) == ["HELLO"]
    assert reflow("run", "notes:unseen", cwd=folder).out == "0\n", "what it scheduled has run before it ended"


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["notes:nope"], 1, "no function 'notes:nope' in this app"),
        (["notes:add"], 1, "Object missing required field `text`"),
        (["notes:add", '{"text": 3}'], 1, "Expected `str`, got `int`"),
        (["notes:refuse"], 1, "{'code': 7}"),
        (["notes:broken"], 1, "ZeroDivisionError"),
        (["notes:add", "{text}"], 2, "the arguments must be JSON"),
        (["notes:add", "[1]"], 2, "must be a JSON object"),
        (["notes:add", "--url", "http://x", "--data", "y"], 2, "give one of them"),
        (["notes:add", "--url", "ftp://x"], 2, "is no address of a server"),
        (["notes:texts", "--url", "http://127.0.0.1:1"], 1, "does not answer"),
        (["notes:texts", "--app", "other.py"], 2, "there is no file other.py"),
    ],
)
def test_what_goes_wrong_is_told_in_a_line(
    folder: Path, here: Here, arguments: list[str], status: int, said: str
) -> None:
    ended = here("run", *arguments)
    assert (ended.status, ended.out) == (status, "")
    assert said in ended.err
    assert ended.err.splitlines()[-1].startswith("reflow: ")


def test_without_an_app_and_a_server_run_says_what_to_do(folder: Path, here: Here) -> None:
    (folder / "app.py").unlink()
    ended = here("run", "notes:texts")
    assert ended.status == 2
    assert "start one with `reflow dev`" in ended.err


def test_beside_a_server_the_server_runs_it_internal_functions_too(folder: Path, here: Here) -> None:
    with running("serve", "app.py", "--port", "0", cwd=folder) as server:
        url = server.until(r"http://127\.0\.0\.1:\d+").group()
        assert here("run", "notes:add", '{"text": "there"}').status == 0
        server.until("INFO  notes:add: adding there")
        assert json.loads(here("run", "notes:texts", "--url", url).out) == ["THERE"]
        assert json.loads(here("run", "notes:texts").out) == ["THERE"]
        assert json.loads(here("run", "notes:unseen").out) == 0
        hidden = here("run", "notes:unseen", "--url", url)
        assert (hidden.status, hidden.out) == (1, ""), "without the directory's token it does not exist"
        refused = here("run", "notes:refuse")
        assert (refused.status, refused.out) == (1, "")
        assert "{'code': 7}" in refused.err
        assert server.stop() == 0


def test_serve_refuses_an_app_that_is_none(folder: Path, here: Here) -> None:
    (folder / "app.py").write_text("x = 1\n")
    ended = here("serve", "app.py", "--port", "0")
    assert (ended.status, ended.out) == (2, "")
    assert "app.py has no rf.App" in ended.err


def test_a_schema_that_does_not_fit_is_told(folder: Path, here: Here) -> None:
    assert reflow("run", "notes:add", '{"text": "hello"}', cwd=folder).status == 0
    (folder / "app.py").write_text(APP.replace("text: str\n", "text: int\n", 1))
    ended = here("serve", "app.py", "--port", "0")
    assert (ended.status, ended.out) == (1, "")
    assert "notes" in ended.err
    assert "Traceback" not in ended.err


def test_dev_reloads_shows_what_is_wrong_and_clients_reconnect(folder: Path) -> None:
    path = folder / "app.py"
    with running("dev", "app.py", "--port", "0", cwd=folder) as server:
        url = server.until(r"http://127\.0\.0\.1:\d+").group()
        client = ConvexClient(url)
        client.mutation("notes:add", {"text": "one"})
        server.until("notes:add: adding one")
        live = iter(client.subscribe("notes:texts", {}))
        assert next(live) == ["ONE"]

        path.write_text(APP.replace("text.upper()", "txt.upper("))
        server.until("app.py changed: reloading")
        assert "reflow: app.py:28: " in server.until("reflow: ").string
        path.write_text(APP.replace("text.upper()", "text.lower()"))
        assert server.until(r"http://127\.0\.0\.1:\d+").group() == url
        assert next(live) == ["one"], "the client is back, and sees the new code"
        del live, client
        assert server.stop() == 0
        assert "Traceback" not in "".join(server.said)


def test_dev_ends_when_its_port_is_taken(folder: Path, here: Here) -> None:
    with running("serve", "app.py", "--port", "0", cwd=folder) as server:
        url = server.until(r"http://127\.0\.0\.1:\d+").group()
        taken = reflow("dev", "app.py", "--port", url.rpartition(":")[2], "--data", "other", cwd=folder)
        assert taken.status == 1
        assert "is in use by another program" in taken.err
        assert "Traceback" not in taken.err
        held = reflow("dev", "app.py", "--port", "0", cwd=folder)
        assert held.status == 1
        assert f"which serves {url}" in held.err


def test_the_version_and_the_verbs_are_told(here: Here) -> None:
    assert here("--version").out.startswith("reflow 0.")
    said = here("--help").out
    assert all(verb in said for verb in ("demo", "dev", "serve", "run"))
    for verb in ("demo", "dev", "serve", "run"):
        told = here(verb, "--help")
        assert told.status == 0
        _, _, examples = told.out.partition("Examples:")
        assert f" reflow {verb} " in examples


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_does_its_work_with_standard_streams_closed(folder: Path, closed: str) -> None:
    command = shlex.join([*COMMAND, "run", "notes:add", '{"text": "hello"}'])
    ended = subprocess.run(["sh", "-c", f"{command} {closed}"], env=environment(), capture_output=True, check=False)
    assert ended.returncode == 0, ended.stderr.decode()
    assert json.loads(reflow("run", "notes:texts", cwd=folder).out) == ["HELLO"]
