"""How far indexing is, in a terminal: one living line, or a line now and then where the output goes elsewhere."""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any

from rich.progress import BarColumn, Progress, TaskID, TextColumn

from reflow.cli.output import STDERR

_PLAIN_SECONDS = 5.0
_REFRESHES = 2  # per second: drawing takes processor time that the embedder needs


class ProgressLine:
    """Shows the totals of a corpus; a context manager that leaves a last line behind."""

    def __init__(self) -> None:
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._said = time.monotonic()
        self._spoke = False
        self._first: tuple[float, int] | None = None

    def __enter__(self) -> ProgressLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def show(self, totals: dict[str, Any]) -> None:
        """Shows a result of `sources:totals`."""
        total, waiting = int(totals["chunks"]), int(totals["waiting"])
        if not totals["reading"] and not totals["embedding"]:
            self._finish(totals)
            return
        done = total - waiting
        rate = self._rate(done)
        if STDERR.is_terminal:
            if self._bar is None:
                columns = (TextColumn("  indexing"), BarColumn(bar_width=30), TextColumn("{task.description}"))
                self._bar = Progress(*columns, console=STDERR, transient=True, refresh_per_second=_REFRESHES)
                self._bar.start()
                self._task = self._bar.add_task("", total=total)
            words = f"{done:,} of {total:,} chunks{rate} · already searchable"
            self._bar.update(self._task, completed=done, total=total, description=words)
        elif not self._spoke or time.monotonic() - self._said >= _PLAIN_SECONDS:
            STDERR.print(f"indexing: {done:,} of {total:,} chunks{rate}")
            self._said = time.monotonic()
        self._spoke = True

    def _rate(self, done: int) -> str:
        """Chunks per second since the first look."""
        now = time.monotonic()
        if self._first is None:
            self._first = now, done
        since, before = self._first
        return f", {(done - before) / (now - since):,.0f}/s" if now - since > 1 and done > before else ""

    def _finish(self, totals: dict[str, Any]) -> None:
        self._end()
        if not self._spoke:
            return
        self._spoke = False
        line = f"searchable: {totals['chunks']:,.0f} chunks, sources: {totals['sources']:,.0f}"
        if self._first is not None:
            line += f"; indexed in {time.monotonic() - self._first[0]:,.0f} s"
        if totals["failed"]:
            line += f"; {totals['failed']:,.0f} sources failed, `reflow jobs` says why"
        STDERR.print(line)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
