from __future__ import annotations

import json
import sysconfig
from pathlib import Path
from textwrap import dedent

import pytest

from playground.docstrings import Entry, read_docstrings
from playground.stdlib import LibraryEntry, read_library

PLAYGROUND = Path(__file__).parents[2] / "examples" / "playground"


def read(source: str) -> dict[str, Entry]:
    return {entry.name: entry for entry in read_docstrings(dedent(source), "m")}


# One file


def test_modules_classes_methods_and_functions_are_read() -> None:
    found = read('''\
        """Module."""
        import nowhere
        class C(Base, metaclass=M):
            """Class."""
            def __init__(self, a):
                """How to make one."""
            def method(self, x: int = 1, *, y=None) -> str:
                """Method."""
            @property
            def value(self):
                """Value."""
            class Inner:
                """Inner."""
                def deep(self):
                    """Deep."""
        async def function(*args, **kwargs):
            """Function."""
            def local():
                """Local: nobody can reach it."""
        def undocumented(): pass
        ''')
    assert {name: entry.doc for name, entry in found.items()} == {
        "m": "Module.",
        "m.C": "Class.",
        "m.C.__init__": "How to make one.",
        "m.C.method": "Method.",
        "m.C.value": "Value.",
        "m.C.Inner": "Inner.",
        "m.C.Inner.deep": "Deep.",
        "m.function": "Function.",
    }


def test_lines_are_those_of_the_literal_and_of_its_first_visible_line() -> None:
    found = read('''\
        # comment


        def f():
            """

            First.

              Indented.
            """
        def g():
            """One line."""
        ''')
    f, g = found["m.f"], found["m.g"]
    assert (f.first_line, f.doc_line, f.last_line, f.doc) == (5, 7, 10, "First.\n\n  Indented.")
    assert (g.first_line, g.doc_line, g.last_line) == (12, 12, 12)


def test_private_names_are_left_out() -> None:
    found = read("""\
        def _f(): "private"
        def f(): "public"
        class C:
            def _f(self): "private"
            def __repr__(self): "special"
            def __call__(self): "called"
        """)
    assert list(found) == ["m.f", "m.C.__call__"]


def test_all_decides_what_is_public() -> None:
    found = read("""\
        __all__ = ["a"] + other.__all__
        __all__ += ("b",)
        __all__.append("c")
        __all__.extend(["d", "_e"])
        def a(): "."
        def b(): "."
        def c(): "."
        def d(): "."
        def _e(): "."
        def f(): "."
        """)
    assert list(found) == ["m.a", "m.b", "m.c", "m.d"]


def test_a_computed_all_decides_nothing() -> None:
    assert list(read('__all__ = [n for n in dir() if n]\ndef f(): "."\n')) == ["m.f"]


def test_conditional_definitions_count_once() -> None:
    found = read("""\
        if unix:
            def f(): "unix"
        else:
            def f(): "other"
            def g(): "other only"
        try:
            from _m import h
        except ImportError:
            def h(): "fallback"
        """)
    assert {name: entry.doc for name, entry in found.items()} == {"m.f": "unix", "m.g": "other only", "m.h": "fallback"}


def test_methods_of_private_bases_are_listed_where_users_find_them() -> None:
    found = read("""\
        class _Root:
            def deep(self): "from the root"
        class _Base(_Root):
            "private"
            def method(self): "from the base"
        class _Unused:
            def lost(self): "nobody inherits it"
        class First(_Base):
            "first"
            def method(self): "own"
        class Second(_Base): "second"
        """)
    assert {name: entry.doc for name, entry in found.items()} == {
        "m.First.deep": "from the root",
        "m.First.method": "from the base",
        "m.First": "first",
        "m.Second": "second",
    }


@pytest.mark.parametrize("source", ["print 'two'\n", "a = 1\0", "-" * 100_000 + "1", "def f(:"])
def test_what_this_python_cannot_parse_is_an_error(source: str) -> None:
    with pytest.raises(SyntaxError):
        read(source)


# A library


def library(root: Path, files: dict[str, str]) -> list[LibraryEntry]:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return list(read_library(root))


def test_files_are_read_and_never_run(tmp_path: Path) -> None:
    (entry,) = library(tmp_path, {"boom.py": '"""Boom."""\nraise SystemExit("imported")\n'})
    assert (entry.file, entry.entry.name) == ("boom.py", "boom")


def test_names_are_those_that_users_write(tmp_path: Path) -> None:
    found = library(
        tmp_path,
        {
            "pkg/__init__.py": "from .star import *\nfrom pkg.plain import one\nfrom .other import _hidden\n",
            "pkg/star.py": '__all__ = ["Star"]\nclass Star:\n    "."\n    def m(self): "."\n',
            "pkg/plain.py": '"Plain."\ndef one(): "."\ndef two(): "."\n',
            "pkg/sub/__init__.py": '"Sub."\n',
            "posixpath.py": 'def join(): "."\n',
            "_pydecimal.py": 'class Decimal: "."\n',
            "_private.py": 'def f(): "."\n',
        },
    )
    assert {(item.file, item.entry.name) for item in found} == {
        ("pkg/star.py", "pkg.Star"),
        ("pkg/star.py", "pkg.Star.m"),
        ("pkg/plain.py", "pkg.plain"),
        ("pkg/plain.py", "pkg.one"),
        ("pkg/plain.py", "pkg.plain.two"),
        ("pkg/sub/__init__.py", "pkg.sub"),
        ("posixpath.py", "os.path.join"),
        ("_pydecimal.py", "decimal.Decimal"),
    }


def test_tests_programs_installed_packages_and_broken_files_are_left_out(tmp_path: Path) -> None:
    text = '"""Text."""\n'
    found = library(
        tmp_path,
        {
            "good.py": text,
            "test/regrtest.py": text,
            "unittest/test/support.py": text,
            "site-packages/installed.py": text,
            "idlelib/help.py": text,
            "config-3.11-x86_64/python-config.py": text,
            "cgi.py": text,
            "distutils/core.py": text,
            "broken.py": "print 'two'\n",
            "readme.txt": text,
        },
    )
    assert [item.entry.name for item in found] == ["good"]


def test_what_most_people_look_for_comes_first(tmp_path: Path) -> None:
    names = ["zipapp", "tkinter/dialog", "shutil", "os", "aaa", "json/encoder", "json/__init__"]
    found = library(tmp_path, {f"{name}.py": '"""."""\n' for name in names})
    assert [item.entry.name for item in found] == [
        "os",
        "shutil",
        "json",
        "json.encoder",
        "aaa",
        "zipapp",
        "tkinter.dialog",
    ]


# The library of this Python


@pytest.fixture(scope="module")
def real() -> list[LibraryEntry]:
    return list(read_library())


def test_the_real_library_has_thousands_of_entries_with_distinct_names(real: list[LibraryEntry]) -> None:
    names = [item.entry.name for item in real]
    assert len(names) >= 3000
    assert len(set(names)) == len(names)
    assert {"shutil.copytree", "asyncio.gather", "os.path.commonpath", "ipaddress.IPv4Network.subnets"} <= set(names)
    assert not [name for name in names if name.startswith(("test.", "idlelib.", "_"))]


def test_the_order_is_the_same_each_time(real: list[LibraryEntry]) -> None:
    assert list(read_library()) == real
    assert real[0].file == "os.py"


def test_lines_point_to_the_docstrings(real: list[LibraryEntry]) -> None:
    root, wrong = Path(sysconfig.get_paths()["stdlib"]), list[str]()
    files = {item.file: (root / item.file).read_text("utf-8").split("\n") for item in real}
    for item in real:
        entry = item.entry
        assert 1 <= entry.first_line <= entry.doc_line <= entry.last_line <= len(files[item.file])
        if entry.doc.splitlines()[0].strip() not in files[item.file][entry.doc_line - 1]:
            wrong.append(entry.name)
    assert len(wrong) < 10, "only docstrings with escapes may differ from their source"


def test_every_question_has_its_answer_in_the_library(real: list[LibraryEntry]) -> None:
    questions = json.loads((PLAYGROUND / "questions.json").read_text("utf-8"))
    names = {item.entry.name for item in real}
    assert len(questions) == 30
    assert [item["question"] for item in questions if not names & set(item["expected"])] == []
