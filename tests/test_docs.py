"""The documentation is code too: its Python compiles, what it says can be run is run, and every public name is told.

A snippet fenced as ```python run``` is executed; one fenced as ```python``` must compile.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import pytest

import reflow
from tests.support import ROOT

FENCE = re.compile(r"^```python(?P<mark>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
TOP_LEVEL_AWAIT = 0x2000  # ast.PyCF_ALLOW_TOP_LEVEL_AWAIT: fragments of a function's body may await


@dataclass(frozen=True, kw_only=True)
class Snippet:
    """One fenced piece of Python in a document."""

    path: Path
    line: int
    code: str
    runs: bool

    def __str__(self) -> str:
        return f"{self.path.relative_to(ROOT)}:{self.line}"


def snippets() -> list[Snippet]:
    """Return every Python snippet of the documents people read."""
    found: list[Snippet] = []
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Snippet(path=path, line=line, code=match["code"], runs="run" in match["mark"].split()))
    return found


def compiled(snippet: Snippet) -> types.CodeType:
    """Compile a snippet so that an error names the document's own line."""
    return compile("\n" * snippet.line + snippet.code, str(snippet), "exec", flags=TOP_LEVEL_AWAIT, dont_inherit=True)


def test_each_guarantee_is_the_name_of_a_test() -> None:
    section = (ROOT / "docs" / "design.md").read_text(encoding="utf-8").partition("## Guarantees")[2].partition("##")[0]
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    numbers = re.findall(r"^(\d+)\. ", section, re.MULTILINE)
    assert len(numbers) == 10
    assert [n for n in numbers if f"def test_rule_{n}_" not in tests] == []


def test_each_test_that_a_document_names_is_there() -> None:
    named = re.compile(r"`((?:unit|protocol|property|clients|browser|crash)/\w+\.py)(?:::(\w+))?`")
    texts = [path.read_text(encoding="utf-8") for path in (ROOT / "docs").glob("*.md")]
    found = [match for text in texts for match in named.findall(text)]
    assert len(found) > 50
    for file, name in found:
        assert f"def {name}" in (ROOT / "tests" / file).read_text(encoding="utf-8"), f"{file}::{name}"


def test_the_readme_has_an_application_that_runs() -> None:
    assert any(snippet.runs for snippet in snippets() if snippet.path.name == "README.md")


@pytest.mark.parametrize("snippet", snippets(), ids=str)
def test_python_in_the_documents_compiles(snippet: Snippet) -> None:
    compiled(snippet)


@pytest.mark.parametrize("snippet", [s for s in snippets() if s.runs], ids=str)
def test_python_marked_run_runs(snippet: Snippet, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    module = types.ModuleType("snippet")
    monkeypatch.setitem(sys.modules, "snippet", module)  # annotations are resolved through the module's name
    monkeypatch.chdir(tmp_path)
    exec(compiled(snippet), module.__dict__)


@pytest.mark.parametrize("name", sorted(reflow.__all__))
def test_public_names_have_docstrings(name: str) -> None:
    thing = getattr(reflow, name)
    if isinstance(thing, types.ModuleType) or inspect.isclass(thing) or callable(thing):
        assert (thing.__doc__ or "").strip(), f"reflow.{name} has no docstring"
    else:
        assert (type(thing).__doc__ or "").strip(), f"reflow.{name} is a {type(thing).__name__} without a docstring"


@pytest.mark.parametrize("name", sorted(n for n in reflow.__all__ if inspect.isclass(getattr(reflow, n))))
def test_public_methods_have_docstrings(name: str) -> None:
    kind = getattr(reflow, name)
    silent = [
        member
        for member, thing in vars(kind).items()
        if not member.startswith("_")
        and isinstance(thing, types.FunctionType | property | staticmethod | classmethod)
        and kind.__module__.startswith("reflow")
        and not (thing.__doc__ or "").strip()
    ]
    assert not silent, f"reflow.{name}: no docstring on {', '.join(silent)}"
