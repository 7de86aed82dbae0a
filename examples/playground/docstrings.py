"""The docstrings of a Python source file, read with `ast`: nothing is imported or run."""

from __future__ import annotations

import ast
import inspect
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

_CALLED = frozenset({"__init__", "__new__", "__call__"})
"""The special methods whose docstrings tell how to use a class; those of the others repeat the language reference."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A documented module, class, function or method."""

    name: str
    """Qualified, such as "shutil.copytree"; empty for the module itself when the module has no name."""
    doc: str
    """The docstring without indentation."""
    first_line: int
    last_line: int
    """Lines of the file, from 1, that hold the docstring's literal."""
    doc_line: int
    """The line of the file that holds the first line of `doc`."""


def read_docstrings(source: str, module: str) -> list[Entry]:
    """The public entries of a file in its order, the module first; of equal names the first.

    Public is what `__all__` lists; without one, what has no underscore in front. Public methods of a private base class
    are listed under the first public class of the file that inherits them.
    Raises SyntaxError for a file that this Python can't parse.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SyntaxWarning)  # about escapes, in files that are not ours
        try:
            tree = ast.parse(source)
        except (ValueError, RecursionError, MemoryError) as error:  # null characters, endless nesting
            raise SyntaxError(str(error)) from error
    reader = _Reader(module, _heirs(tree), exported(tree))
    entries: dict[str, Entry] = {}
    for entry in reader.walk(tree):
        entries.setdefault(entry.name, entry)
    return list(entries.values())


def definitions(body: list[ast.stmt]) -> Iterator[Definition]:
    """What a body defines, also under a condition or in a `try`."""
    return (node for node in _statements(body) if isinstance(node, Definition))


def _statements(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        yield node
        if isinstance(node, ast.If):
            yield from _statements([*node.body, *node.orelse])
        elif isinstance(node, ast.Try):
            yield from _statements(
                [*node.body, *(one for handler in node.handlers for one in handler.body), *node.orelse]
            )


def exported(tree: ast.Module) -> frozenset[str]:
    """The public names of `__all__` as far as they are written out, else of all that is defined."""
    values: list[ast.expr] = []
    for node in _statements(tree.body):
        if isinstance(node, ast.Assign | ast.AugAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            values += [node.value for target in targets if _is_all(target)]
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            function = node.value.func  # __all__.append("x"), __all__.extend(["x"])
            if isinstance(function, ast.Attribute) and _is_all(function.value):
                values.append(ast.List(node.value.args))
    lists = (node for value in values for node in ast.walk(value) if isinstance(node, ast.List | ast.Tuple))
    listed = {str(item.value) for node in lists for item in node.elts if isinstance(item, ast.Constant)}
    names = listed or {node.name for node in definitions(tree.body)}
    return frozenset(name for name in names if not name.startswith("_"))


def _is_all(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id == "__all__"


class _Reader:
    def __init__(self, module: str, heirs: dict[str, str], public: frozenset[str]) -> None:
        self._module = module
        self._heirs = heirs
        self._public = public

    def walk(self, tree: ast.Module) -> Iterator[Entry]:
        yield from self._entry(tree, self._module)
        for node in definitions(tree.body):
            if self._heirs.get(node.name, node.name) not in self._public:
                continue
            if isinstance(node, ast.ClassDef):
                yield from self._class(node, node.name)
            else:
                yield from self._entry(node, self._qualify(node.name))

    def _class(self, node: ast.ClassDef, name: str) -> Iterator[Entry]:
        """`name` is qualified within the module. Of a private class only what a public one inherits."""
        heir = self._heirs.get(name)
        if heir is None:
            yield from self._entry(node, self._qualify(name))
        for inner in definitions(node.body):
            inner_name = f"{heir or name}.{inner.name}"
            if inner.name.startswith("_") and inner.name not in _CALLED:
                continue
            if isinstance(inner, ast.ClassDef):
                yield from self._class(inner, inner_name)
            else:
                yield from self._entry(inner, self._qualify(inner_name))

    def _qualify(self, name: str) -> str:
        return f"{self._module}.{name}" if self._module else name

    def _entry(self, node: ast.Module | Definition, name: str) -> Iterator[Entry]:
        docstring = ast.get_docstring(node, clean=False)
        doc = inspect.cleandoc(docstring).strip() if docstring else ""
        if not docstring or not doc:
            return
        literal = node.body[0]
        blank = docstring[: len(docstring) - len(docstring.lstrip())].count("\n")
        last = literal.end_lineno or literal.lineno
        yield Entry(name, doc, literal.lineno, last, min(literal.lineno + blank, last))


def _heirs(tree: ast.Module) -> dict[str, str]:
    """Private class name -> the first public class of the module that inherits it, directly or not."""
    classes = {node.name: node for node in definitions(tree.body) if isinstance(node, ast.ClassDef)}
    found: dict[str, str] = {}

    def mark(node: ast.ClassDef, heir: str) -> None:
        for base in node.bases:
            if isinstance(base, ast.Name) and base.id.startswith("_") and base.id in classes and base.id not in found:
                found[base.id] = heir
                mark(classes[base.id], heir)

    for name, node in classes.items():
        if not name.startswith("_"):
            mark(node, name)
    return found
