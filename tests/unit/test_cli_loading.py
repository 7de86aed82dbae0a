"""Which app a user means, and what is said when it can't be had."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from reflow.cli.loading import load_app, source_folder
from reflow.cli.output import UsageError
from reflow.errors import DefinitionError, ReflowError

APP = """
import reflow as rf

notes = rf.Module("notes")


@notes.query
async def here(ctx: rf.QueryCtx) -> str:
    return "{where}"


{name} = rf.App(modules=[notes])
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    kept, modules = sys.path[:], set(sys.modules)
    yield tmp_path
    sys.path[:] = kept
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def write(path: Path, name: str = "app", where: str = "") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(APP.format(name=name, where=where))
    return path


def refusal(target: str) -> ReflowError:
    with pytest.raises(ReflowError) as raised:
        load_app(target)
    return raised.value


@pytest.mark.parametrize("name", ["app", "backend"])
def test_the_only_app_of_a_file_is_found_under_any_name(folder: Path, name: str) -> None:
    write(folder / "own.py", name)
    assert load_app("own.py").functions.keys() == {"notes:here"}
    assert load_app(f"own.py:{name}").functions.keys() == {"notes:here"}


def test_a_file_may_have_the_name_of_a_known_module(folder: Path) -> None:
    write(folder / "json.py")
    assert load_app("json.py").functions.keys() == {"notes:here"}


def test_a_module_is_found_from_the_current_folder(folder: Path) -> None:
    write(folder / "shop" / "backend.py", "shop")
    (folder / "shop" / "__init__.py").touch()
    assert load_app("shop.backend:shop").functions.keys() == {"notes:here"}
    assert source_folder("shop.backend:shop") == folder / "shop"


def test_a_file_in_a_package_can_import_its_package(folder: Path) -> None:
    write(folder / "inner" / "parts.py", "parts")
    (folder / "inner" / "__init__.py").touch()
    (folder / "inner" / "main.py").write_text("from inner.parts import parts as app\n")
    assert load_app("inner/main.py").functions.keys() == {"notes:here"}
    assert source_folder("inner/main.py") == folder


def test_of_two_apps_the_one_called_app_is_meant(folder: Path) -> None:
    path = write(folder / "two.py")
    path.write_text(path.read_text() + "other = rf.App(modules=[])\n")
    assert load_app("two.py").functions.keys() == {"notes:here"}
    assert not load_app("two.py:other").functions


def test_of_two_apps_without_that_name_one_must_be_named(folder: Path) -> None:
    path = write(folder / "two.py", "first")
    path.write_text(path.read_text() + "second = rf.App(modules=[])\n")
    error = refusal("two.py")
    assert isinstance(error, UsageError)
    assert "two.py:first or two.py:second" in str(error)


@pytest.mark.parametrize(
    ("target", "said"),
    [
        ("missing.py", "there is no file missing.py"),
        ("nowhere.at.all", "there is no file or module 'nowhere.at.all'"),
        (".", "is a folder"),
        ("empty.py", "empty.py has no rf.App"),
        ("good.py:nope", "'nope' is not there; its apps: app"),
        ("good.py:notes", "'notes' is a Module; its apps: app"),
    ],
)
def test_what_is_not_there_is_told(folder: Path, target: str, said: str) -> None:
    write(folder / "good.py")
    (folder / "empty.py").write_text("x = 1\n")
    error = refusal(target)
    assert isinstance(error, UsageError)
    assert said in str(error)


def test_an_error_in_the_app_is_told_with_its_own_line(folder: Path) -> None:
    path = write(folder / "broken.py")
    path.write_text(path.read_text() + "unknown_name + 1\n")
    error = refusal("broken.py")
    assert isinstance(error, DefinitionError)
    line = path.read_text().count("\n")
    assert f"broken.py:{line}:  unknown_name + 1" in str(error)
    assert "NameError: name 'unknown_name' is not defined" in str(error)


def test_an_error_of_ours_is_told_with_the_users_line(folder: Path) -> None:
    path = folder / "clash.py"
    path.write_text('import reflow as rf\n\n\nclass A(rf.Table, table="a b"):\n    x: int\n')
    error = refusal("clash.py")
    assert 'clash.py:4:  class A(rf.Table, table="a b"):' in str(error)
    assert "'a b' can't name a table" in str(error)


def test_a_syntax_error_is_told_with_its_line(folder: Path) -> None:
    (folder / "typo.py").write_text("import reflow as rf\n\napp = = 3\n")
    error = refusal("typo.py")
    assert "typo.py:3: invalid syntax  app = = 3" in str(error)


def test_a_missing_import_is_told_with_its_line(folder: Path) -> None:
    (folder / "needs.py").write_text("import not_installed_here\n")
    error = refusal("needs.py")
    assert "needs.py:1:  import not_installed_here" in str(error)
    assert "No module named 'not_installed_here'" in str(error)


def test_a_file_that_ends_the_program_is_told(folder: Path) -> None:
    (folder / "exits.py").write_text("raise SystemExit(0)\n")
    assert "exits.py ends the program" in str(refusal("exits.py"))
