"""`reflow migrate`."""

from __future__ import annotations

from pathlib import Path

import pytest

from reflow.cli import remote
from reflow.storage.lock import DirectoryLock
from tests.support.cli import Here, running

OLD = """
import reflow as rf

class Note(rf.Table, table="notes"):
    text: str
    by_text = rf.Index("text")

notes = rf.Module("notes")

@notes.mutation
async def fill(ctx: rf.MutationCtx, count: int) -> None:
    await ctx.db.insert_many(Note(text=f"n{n}") for n in range(count))

@notes.query
async def texts(ctx: rf.QueryCtx) -> list[str]:
    return [note.text for note in await ctx.db.query(Note).using(Note.by_text).take(3)]

app = rf.App(modules=[notes], limits=rf.Limits(migration_batch=10))
"""

NEW = OLD.replace("    by_text", "    owner: str\n    by_text").replace("note.text for", "note.owner + note.text for")

MIGRATION = """
@notes.migration(Note)
async def add_owner(ctx, document):
    if document["text"] == BAD:
        raise KeyError("whose is this?")
    return {"owner": "me:"}

app = rf.App(modules=[notes], limits=rf.Limits(migration_batch=10))
"""


class Files:
    """The versions of an app, one after another in one file, with a directory of its own."""

    def __init__(self, folder: Path, here: Here) -> None:
        self.file = folder / "notes_app.py"
        self.data = folder / "data"
        self.here = here
        self.write(OLD)

    def write(self, code: str, *, bad: str = "") -> None:
        self.file.write_text(f"BAD = {bad!r}\n{code}")

    def migrate(self, *options: str) -> tuple[int, str, str]:
        said = self.here("migrate", *options, "--app", self.file, "--data", self.data)
        return said.status, said.out, said.err

    def run(self, *args: str) -> tuple[int, str, str]:
        said = self.here("run", *args, "--app", self.file, "--data", self.data)
        return said.status, said.out, said.err


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Files:
    monkeypatch.setenv("COLUMNS", "200")
    files = Files(tmp_path, Here(monkeypatch, capsys))
    assert files.run("notes:fill", '{"count": 25}')[0] == 0
    return files


def test_a_refused_deploy_says_the_command_that_helps(files: Files) -> None:
    files.write(NEW + MIGRATION)
    status, _, err = files.run("notes:texts")
    assert status == 1
    assert "Nothing was changed. `reflow migrate notes:add_owner` changes the documents" in err
    assert files.migrate("--dry-run") == (0, "notes: notes:add_owner would change 25 of 25 documents\n", "")
    assert files.migrate("add_owner") == (0, "notes:add_owner: 25 of 25 documents changed\n", "")
    assert files.run("notes:texts") == (0, '[\n  "me:n0",\n  "me:n1",\n  "me:n10"\n]\n', "")
    assert files.migrate() == (0, "", "all migrations are done\n")
    status, out, _ = files.migrate("--list")
    assert status == 0
    assert "notes:add_owner" in out
    assert "25 of 25" in out
    assert "done" in out
    assert files.migrate("add_owner", "--again")[1] == "notes:add_owner: 0 of 25 documents changed\n"


def test_what_stopped_goes_on(files: Files) -> None:
    files.write(NEW + MIGRATION, bad="n14")
    status, out, err = files.migrate("--dry-run")
    assert (status, out) == (1, "notes: notes:add_owner would change 24 of 25 documents\n")
    assert "1 documents of table 'notes' would not be changed as they must; the first is" in err
    status, out, err = files.migrate()
    assert (status, out) == (1, "")
    assert "KeyError: 'whose is this?'" in err
    assert "10 of 25 documents are done and stay so" in err
    status, out, _ = files.migrate("--list")
    assert "10 of 25" in out
    assert "failed" in out
    files.write(NEW + MIGRATION)
    assert files.migrate("notes:add_owner") == (0, "notes:add_owner: 25 of 25 documents changed\n", "")
    assert files.run("notes:texts")[0] == 0


def test_a_running_server_migrates_while_it_serves(files: Files) -> None:
    files.write(OLD + MIGRATION.replace('{"owner": "me:"}', '{"text": "x" + document["text"]}'))
    with running("serve", files.file, "--port", "0", "--data", files.data) as server:
        server.until(r"http://")
        assert files.migrate("add_owner") == (0, "notes:add_owner: 25 of 25 documents changed\n", "")
        assert files.run("notes:texts")[1] == '[\n  "xn0",\n  "xn1",\n  "xn10"\n]\n'
        status, _, err = files.migrate("other")
        assert status == 2
        assert "there is no migration other: the app that http://" in err


def test_mistakes_are_told(files: Files, tmp_path: Path) -> None:
    assert files.migrate() == (0, "", "the app has no migrations\n")
    assert "there is no migration add_owner: the app has none" in files.migrate("add_owner")[2]
    assert "--again begins one migration again: name it" in files.migrate("--again")[2]
    said = files.here("migrate", "--app", files.file, "--data", tmp_path / "nowhere")
    assert said.status == 2
    assert "holds no database" in said.err
    assert not (tmp_path / "nowhere").exists()


def test_two_migrations_of_one_name_are_told_apart(files: Files) -> None:
    files.write(
        OLD
        + "more = rf.Module('more')\n"
        + MIGRATION.replace("[notes]", "[notes, more]")
        + """
more.migration(Note)(add_owner.step)
"""
        + "app = rf.App(modules=[notes, more])\n"
    )
    status, _, err = files.migrate("add_owner")
    assert status == 2
    assert "say notes:add_owner or more:add_owner" in err


def test_a_directory_in_use_is_left_alone(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "_STARTING_SECONDS", 0.2)
    with DirectoryLock(files.data):
        status, _, err = files.migrate()
    assert status == 1
    assert "is in use by process" in err
