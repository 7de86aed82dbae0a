"""Waiting for sources to be read and embedded, with bars that show how far each is."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from reflow.cli.desks import Desk
from reflow.cli.output import STDERR, note
from reflow.cli.rows import counted
from reflow.errors import ReflowError

_IN_WORK = ("reading", "embedding")
_LOOK_SECONDS = 0.2
_PLAIN_SECONDS = 5.0
_MOST_BARS = 8
"""More sources than this share one bar."""


class SourcesFailed(ReflowError):
    """Sources that were added and could not be embedded or read; the message says which and why."""

    code = "SourcesFailed"


async def until_done(desk: Desk, ids: Sequence[str]) -> list[dict[str, Any]]:
    """The sources once each is ready; a deleted one is left out.

    Raises SourcesFailed where some failed. Ended before, the work goes on beside a server, or at the next start.
    """
    reasons: set[str] = set()
    with _Bars(len(ids)) as bars:
        while True:
            rows = [await desk.call("sources:get", source=id) for id in ids]
            known = [row for row in rows if row is not None]
            bars.show(known)
            for reason in {row["error"]: None for row in known if row["state"] in _IN_WORK and row.get("error")}:
                if reason not in reasons:
                    reasons.add(reason)
                    note(f"waiting: {reason}")
            if not any(row["state"] in _IN_WORK for row in known):
                break
            await asyncio.sleep(_LOOK_SECONDS)
    failed = [row for row in known if row["state"] == "failed"]
    if failed:
        told = "\n".join(f"  {row['key']}: {row.get('error')}" for row in failed)
        raise SourcesFailed(f"failed: {counted(len(failed), 'source')}; `reflow jobs retry` goes on\n{told}")
    return known


class _Bars:
    """A bar per source on a terminal, one for all where there are many; elsewhere a line now and then."""

    def __init__(self, count: int) -> None:
        self._each = count <= _MOST_BARS
        columns = (TextColumn("  {task.description}"), BarColumn(bar_width=30), MofNCompleteColumn())
        self._progress = Progress(*columns, console=STDERR, transient=True) if STDERR.is_terminal else None
        self._tasks: dict[str, TaskID] = {}
        self._said = time.monotonic()

    def __enter__(self) -> _Bars:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def show(self, rows: Sequence[dict[str, Any]]) -> None:
        """Shows how far these sources are."""
        if self._progress is None:
            self._say(rows)
        elif self._each:
            for row in rows:
                done, total = _done(row), _total(row)
                self._bar(row["id"], row["key"] if total else f"{row['key']} ({row['state']})", done, total)
        else:
            self._bar("", "indexing", sum(map(_done, rows)), sum(map(_total, rows)))

    def _bar(self, name: str, label: str, done: int, total: int) -> None:
        assert self._progress is not None
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task(label, total=None)
        self._progress.update(self._tasks[name], description=label, completed=done, total=total or None)

    def _say(self, rows: Sequence[dict[str, Any]]) -> None:
        if time.monotonic() - self._said >= _PLAIN_SECONDS:
            self._said = time.monotonic()
            note(f"indexing: {sum(map(_done, rows)):,} of {sum(map(_total, rows)):,} chunks")


def _total(row: dict[str, Any]) -> int:
    progress = row.get("progress")
    return int(row["chunkCount"] if progress is None else progress["total"])


def _done(row: dict[str, Any]) -> int:
    progress = row.get("progress")
    return int(row["chunkCount"] if progress is None else progress["embedded"])
