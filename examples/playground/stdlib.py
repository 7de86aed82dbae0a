"""The Python standard library of this machine as a corpus: real text that every user has.

Read are the docstrings of the public modules, classes, functions and methods in the library's Python files; nothing
is imported. What is implemented in C (`math`, `itertools`, most of the built-in types) has no docstrings in files, so
it is not there. Left out are tests, bundled programs (IDLE, lib2to3, the turtle's demos), the tables of single
encodings, modules that later Pythons removed, and what an installer added.

Names are those that users write. Where a private module implements a public one, or a package gives a name of one of
its modules as its own, the public name counts: `_pydecimal.Decimal` is `decimal.Decimal`, `asyncio.tasks.gather` is
`asyncio.gather`, `posixpath.join` is `os.path.join`.
"""

from __future__ import annotations

import ast
import os
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from playground.docstrings import Entry, exported, read_docstrings

_SKIPPED_FOLDERS = frozenset(
    "__pycache__ _bundled _pyrepl dist-packages distutils encodings idlelib lib-dynload lib2to3 pydoc_data"
    " site-packages test tests turtledemo".split()
)
_SKIPPED_MODULES = frozenset("antigravity this ntpath nturl2path sre_compile sre_constants sre_parse".split())
_REMOVED_MODULES = frozenset(
    "aifc asynchat asyncore audioop cgi cgitb chunk crypt imghdr imp mailcap msilib nis nntplib ossaudiodev pipes smtpd"
    " sndhdr spwd sunau telnetlib uu xdrlib".split()
)
"""Deprecated in 3.11 and gone from 3.12 or 3.13, as distutils is: nobody should find them any more."""

_PUBLIC_NAMES = {
    "_collections_abc": "collections.abc",
    "_pydatetime": "datetime",
    "_pydecimal": "decimal",
    "_pyio": "io",
    "_strptime": "time",
    "_threading_local": "threading",
    "_weakrefset": "weakref",
    "genericpath": "os.path",
    "posixpath": "os.path",
    "concurrent.futures._base": "concurrent.futures",
    "importlib._abc": "importlib.abc",
    "pathlib._local": "pathlib",
    "pathlib._abc": "pathlib",
}

_FIRST = (
    "os posixpath genericpath shutil pathlib glob tempfile subprocess json re string textwrap collections functools"
    " contextlib dataclasses enum typing datetime _pydatetime calendar random secrets statistics heapq bisect copy"
    " pprint csv io _pyio threading queue asyncio concurrent urllib http html logging argparse shlex difflib inspect"
    " traceback timeit unittest zipfile tarfile gzip base64 hashlib hmac uuid mimetypes email smtplib socket ssl"
    " sqlite3 pickle configparser decimal _pydecimal fractions operator ast"
).split()
"""What most people look for, so that the first batches answer most questions."""

_LAST = frozenset("turtle tkinter xml ctypes multiprocessing".split())


@dataclass(frozen=True, slots=True)
class LibraryEntry:
    """An entry of the library: the file's path is relative to the library's folder, with forward slashes."""

    file: str
    entry: Entry


def read_library(folder: Path | None = None) -> Iterator[LibraryEntry]:
    """All entries of the library (default: that of the running Python), the most looked for first.

    The order depends on the files alone, and within a file follows it. Of entries with one public name the first
    stays. Files that this Python can't parse are left out.
    """
    root = folder or Path(sysconfig.get_paths()["stdlib"])
    modules = dict(sorted(_modules(root), key=_rank))
    packages = _package_names(modules)
    seen: set[str] = set()
    for module, path in modules.items():
        try:
            entries = read_docstrings(path.read_text("utf-8"), module)
        except (SyntaxError, UnicodeDecodeError):
            continue
        file = path.relative_to(root).as_posix()
        for entry in entries:
            name = _public_name(entry.name, module, packages)
            if name not in seen:
                seen.add(name)
                yield LibraryEntry(file, replace(entry, name=name))


def _modules(root: Path) -> Iterator[tuple[str, Path]]:
    """Modules by the name that users know, with their files."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name.isidentifier() and name not in _SKIPPED_FOLDERS]
        package = Path(folder).relative_to(root).parts
        for name in files:
            stem, dot, suffix = name.partition(".")
            if dot + suffix != ".py":
                continue
            module = ".".join(package if stem == "__init__" else (*package, stem))
            skipped = module in _SKIPPED_MODULES or module in _REMOVED_MODULES or "._" in f".{module}"
            if module in _PUBLIC_NAMES or not skipped:
                yield module, Path(folder, name)


def _rank(module: tuple[str, Path]) -> tuple[int, int, str]:
    name = module[0]
    top = name.partition(".")[0]
    if top in _FIRST:
        return 0, _FIRST.index(top), name
    return 2 if top in _LAST else 1, name.count("."), name


def _package_names(modules: dict[str, Path]) -> dict[tuple[str, str], str]:
    """(module, name in it) -> the package that gives this name as its own."""
    found: dict[tuple[str, str], str] = {}
    for package, path in modules.items():
        text = path.read_text("utf-8") if path.name == "__init__.py" else ""
        if "from ." not in text and f"from {package}." not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if not isinstance(node, ast.ImportFrom) or not node.module:
                continue
            module = f"{package}.{node.module}" if node.level == 1 else node.module
            if node.level > 1 or module not in modules or not module.startswith(package + "."):
                continue
            names = {alias.name for alias in node.names}
            if names == {"*"}:
                names = exported(ast.parse(modules[module].read_text("utf-8")))
            found.update(((module, name), package) for name in names if not name.startswith("_"))
    return found


def _public_name(name: str, module: str, packages: dict[tuple[str, str], str]) -> str:
    """What users call the entry `name` of a module."""
    inside = name[len(module) + 1 :]
    public = packages.get((module, inside.partition(".")[0])) or _PUBLIC_NAMES.get(module, module)
    return f"{public}.{inside}" if inside else public
