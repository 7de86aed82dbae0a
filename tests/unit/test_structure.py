"""The shape of the house: which way imports point, how long things are, what the core may not call."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import ROOT

PACKAGE = ROOT / "src" / "reflow"
MODULES = sorted(p for p in PACKAGE.rglob("*.py") if "_web" not in p.parts)
LONGEST_MODULE = 700
LONGEST_FUNCTION = 70

ASSEMBLY = {"app", "backend", "embedded", "system", "__init__", "__main__"}
CONCRETE_STORAGE = {"reflow.storage.sqlite", "reflow.storage.memory"}
ABOVE_LANGUAGE = {"app", "cli", "engine", "rag", "search", "server", "storage", "testing"}

# What each part may not import. `language` stands for the modules directly below src/reflow that are not ASSEMBLY.
FORBIDDEN: dict[str, set[str]] = {
    "language": ABOVE_LANGUAGE,
    "storage": {"app", "cli", "engine", "rag", "search", "server", "testing"},
    "search": {"app", "cli", "engine", "rag", "server", "storage", "testing"},
    "engine": {"app", "cli", "rag", "server", "testing"},
    "server": {"cli", "rag", "testing"},
}
# What a part may import all the same: the search speaks the storage's vocabulary and knows no storage; every storage
# cuts text into the same terms and scores it by the same formula.
ALLOWED = {"search": ("reflow.storage.base",), "storage": ("reflow.search.bm25", "reflow.search.tokens")}
RAG_MAY_IMPORT = {"reflow", "reflow.errors", "reflow.limits"}

# Clock and randomness are given to the core, never taken: otherwise no run could be repeated from its seed.
BANNED_CALLS = re.compile(
    r"^(time\.(time|time_ns)|(datetime\.)?(datetime|date)\.(now|utcnow|today)|random\.(?!Random$)\w+|os\.urandom"
    r"|uuid\.uuid[14]|secrets\.\w+)$"
)
WITHOUT_CLOCK = {"engine", "search"}


def part_of(path: Path) -> str:
    """Return the part of the house a module belongs to: a folder's name, "assembly" or "language"."""
    relative = path.relative_to(PACKAGE)
    if len(relative.parts) > 1:
        return relative.parts[0]
    return "assembly" if relative.stem in ASSEMBLY else "language"


def imports_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line, absolute name) of every import of our own in a module; `from x import y` yields x and x.y."""
    inside = ("reflow", *path.relative_to(PACKAGE).with_suffix("").parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = ".".join(inside[: len(inside) - node.level]) if node.level else ""
            module = ".".join(filter(None, [above, node.module or ""]))
            names = [module, *(f"{module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from ((node.lineno, name) for name in names if name.split(".")[0] == "reflow")


def dotted(node: ast.expr) -> str:
    """Return `a.b.c` for an attribute chain, else an empty text."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        left = dotted(node.value)
        return f"{left}.{node.attr}" if left else ""
    return ""


def imported_names(tree: ast.Module) -> dict[str, str]:
    """Return what each plainly imported name stands for: `from time import time as now` gives now: time.time."""
    names: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {alias.asname or alias.name: f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.asname: alias.name for alias in node.names if alias.asname}
    return names


def where(path: Path, line: int, text: str) -> str:
    """Return one line of a failure's report."""
    return f"{path.relative_to(ROOT)}:{line}: {text}"


def test_there_is_something_to_check() -> None:
    assert {part_of(path) for path in MODULES} >= {"language", "engine", "storage"}


def test_imports_point_one_way() -> None:
    wrong: list[str] = []
    for path in MODULES:
        forbidden = FORBIDDEN.get(part_of(path), set())
        for line, name in imports_of(path):
            parts = name.split(".")
            allowed = any(f"{name}.".startswith(f"{prefix}.") for prefix in ALLOWED.get(part_of(path), ()))
            if len(parts) > 1 and parts[1] in forbidden and not allowed:
                wrong.append(where(path, line, f"{part_of(path)} may not import {name}"))
    assert not wrong, "\n".join(wrong)


def test_rag_stands_on_the_public_api_only() -> None:
    wrong: list[str] = []
    for path in MODULES:
        if part_of(path) != "rag":
            continue
        for line, name in imports_of(path):
            public = name in RAG_MAY_IMPORT or name.startswith(("reflow.rag", "reflow.errors.", "reflow.limits."))
            if not public and not is_public_name(name):
                wrong.append(where(path, line, f"rag may not import {name}"))
    assert not wrong, "\n".join(wrong)


def is_public_name(name: str) -> bool:
    """Say whether `reflow.x` names something of the public face rather than one of its modules."""
    head, _, rest = name.partition(".")
    is_module = (PACKAGE / rest).is_dir() or (PACKAGE / f"{rest}.py").is_file()
    return head == "reflow" and "." not in rest and not is_module


def test_only_the_assembly_knows_a_concrete_storage() -> None:
    wrong: list[str] = []
    for path in MODULES:
        if part_of(path) in {"storage", "cli", "testing", "assembly"}:
            continue
        wrong += [where(path, line, name) for line, name in imports_of(path) if name in CONCRETE_STORAGE]
    assert not wrong, "\n".join(wrong)


def test_modules_and_functions_stay_short() -> None:
    wrong: list[str] = []
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        if (lines := text.count("\n")) >= LONGEST_MODULE:
            wrong.append(where(path, 1, f"{lines} lines; fewer than {LONGEST_MODULE}, one noun to a module"))
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                if length > LONGEST_FUNCTION:
                    wrong.append(where(path, node.lineno, f"{node.name} has {length} lines (most: {LONGEST_FUNCTION})"))
    assert not wrong, "\n".join(wrong)


def test_the_core_is_given_its_clock_and_randomness() -> None:
    wrong: list[str] = []
    for path in MODULES:
        if part_of(path) not in WITHOUT_CLOCK:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = imported_names(tree)
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute | ast.Name):
                continue
            head, _, rest = dotted(node).partition(".")
            full = ".".join(filter(None, [names.get(head, head), rest]))
            if BANNED_CALLS.match(full):
                wrong.append(where(path, node.lineno, f"{full}: take it from the injected clock or randomness"))
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("code", "banned"),
    [
        ("import time\ntime.time()", True),
        ("from time import time as now\nnow()", True),
        ("import random\nrandom.random()", True),
        ("import random\nrandom.Random(1)", False),
        ("from datetime import datetime\ndatetime.now()", True),
        ("import time\ntime.perf_counter()", False),
    ],
)
def test_the_rule_on_clocks_sees_what_it_should(code: str, banned: bool) -> None:
    tree = ast.parse(code)
    names = imported_names(tree)
    found = False
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute | ast.Name):
            head, _, rest = dotted(node).partition(".")
            found = found or bool(BANNED_CALLS.match(".".join(filter(None, [names.get(head, head), rest]))))
    assert found is banned


# --- The tree names no machine -----------------------------------------------------------------------------------

SKIPPED_FOLDERS = {".git", ".venv", ".cache", "node_modules", "_web", "__pycache__", "build", "dist", ".hypothesis"}
SKIPPED_FOLDERS |= {".pytest_cache", ".ruff_cache", "screenshots", ".reflow"}
# Put together here, so that this file does not find itself.
HOSTS = ["py" + "pi.org", "python" + "hosted.org", "registry.npm" + "js.org", "registry.yarn" + "pkg.com"]
FOLDERS = ["/ro" + "ot/", "/wo" + "rk/", "/fa" + "rm/", "/opt/wh" + "eels"]
NAMES_A_MACHINE = re.compile("|".join([*map(re.escape, HOSTS), *(rf"(?<![\w.$}}])(?:{f})" for f in FOLDERS)]))


def texts_of_the_tree() -> Iterator[tuple[Path, str]]:
    """Yield every text file that is part of the project, with its text."""
    folders = [ROOT]
    while folders:
        for path in sorted(folders.pop().iterdir()):
            if path.is_dir():
                if path.name not in SKIPPED_FOLDERS and not path.is_symlink():
                    folders.append(path)
            elif path.name != "uv.lock" and path.stat().st_size < 4_000_000:
                try:
                    yield path, path.read_text(encoding="utf-8")
                except UnicodeDecodeError:
                    continue


def test_no_file_names_a_machine_or_a_registry() -> None:
    wrong = [
        where(path, number, line.strip()[:100])
        for path, text in texts_of_the_tree()
        for number, line in enumerate(text.splitlines(), 1)
        if NAMES_A_MACHINE.search(line)
    ]
    assert not wrong, "\n".join(wrong)


def test_npm_locks_are_exact_and_name_no_address() -> None:
    manifests = [path for path, _ in texts_of_the_tree() if path.name == "package.json"]
    assert manifests
    for manifest in manifests:
        lock = manifest.with_name("package-lock.json")
        assert lock.is_file(), f"{manifest.relative_to(ROOT)} has no lock file"
        assert '"resolved"' not in lock.read_text(encoding="utf-8"), f"{lock.relative_to(ROOT)} names a registry"
        ranges = re.findall(r'"[\w@/.-]+": "([\^~><*][^"]*)"', manifest.read_text(encoding="utf-8"))
        assert not [r for r in ranges if not r.startswith(">=")], f"{manifest.relative_to(ROOT)}: pin exactly"
