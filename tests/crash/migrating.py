"""Two versions of a table, and migrations that count how often they met a document."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import reflow as rf

COUNT = 200
LIMITS = rf.Limits(migration_batch=5)


def _tables() -> Any:
    class Old(rf.Table, table="notes"):
        n: int
        met: int = 0

        by_met = rf.Index("met", "n")
        words = rf.TextIndex("word")
        near = rf.VectorIndex(dims=2, filters=("met",))
        word: str = "old"

    class New(rf.Table, table="notes"):
        n: int
        times: int
        word: str

        by_times = rf.Index("times", "n")
        words = rf.TextIndex("word")
        near = rf.VectorIndex(dims=2, filters=("times",))

    return SimpleNamespace(Old=Old, New=New)


T = _tables()


async def meet(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any]:
    """Fits the former version."""
    return {"met": document["met"] + 1, "word": "met"}


async def rename(ctx: rf.MigrationCtx, document: dict[str, Any]) -> dict[str, Any]:
    """Fits the next version; would fail where a document comes twice."""
    return {"times": document["met"] + 10, "met": rf.UNSET, "word": "renamed"}


def app(table: Any, *steps: Any) -> rf.App:
    """A version."""
    module = rf.Module("notes")
    for step in steps:
        module.migration(table)(step)
    return rf.App(modules=[module], tables=[table], limits=LIMITS)


def version(name: str) -> rf.App:
    """The versions by name: without a migration, with one that fits, with the table after the other one."""
    return {"old": app(T.Old), "meeting": app(T.Old, meet), "new": app(T.New, meet, rename)}[name]
