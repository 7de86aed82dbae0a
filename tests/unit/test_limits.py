from __future__ import annotations

import ast
import re
from dataclasses import fields

from reflow.limits import DEFAULT, Limits
from tests.support import ROOT

PACKAGE = ROOT / "src" / "reflow"
NAMES = [field.name for field in fields(Limits)]


def used_bounds() -> set[str]:
    """The bounds that some line of code reads: an attribute of what is called limits, or of DEFAULT."""
    used: set[str] = set()
    for path in PACKAGE.rglob("*.py"):
        if path.name == "limits.py":
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Attribute) and re.search(r"(limits|DEFAULT)$", ast.unparse(node.value)):
                used.add(node.attr)
    return used


def test_rule_10_every_bound_has_an_effect() -> None:
    idle = sorted(set(NAMES) - used_bounds())
    assert not idle, f"nothing reads these bounds: {idle}"


def test_rule_10_every_bound_is_a_positive_number_and_is_explained() -> None:
    lines = (PACKAGE / "limits.py").read_text(encoding="utf-8").splitlines()
    for name in NAMES:
        assert getattr(DEFAULT, name) > 0, name
        place = next(number for number, line in enumerate(lines) if line.strip().startswith(f"{name}:"))
        assert lines[place + 1].strip().startswith('"""'), f"limits.{name} has no explanation"


def test_rule_10_an_error_that_names_a_bound_names_one_that_exists() -> None:
    wrong: list[str] = []
    for path in PACKAGE.rglob("*.py"):
        for name in re.findall(r"\blimits\.([a-z_]+)\b", path.read_text(encoding="utf-8")):
            if name not in NAMES and not hasattr(Limits, name):
                wrong.append(f"{path.relative_to(ROOT)}: limits.{name}")
    assert not wrong, wrong
