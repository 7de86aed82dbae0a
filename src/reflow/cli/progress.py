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
    """Shows what `corpus:progress` says; a context manager that leaves a last line behind."""

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

    def show(self, progress: dict[str, Any]) -> None:
        """Shows a result of `corpus:progress`."""
        done, total, pending = progress["embedded"], progress["total"], progress["pending"]
        if pending == 0:
            self._finish(progress)
            return
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

    def _finish(self, progress: dict[str, Any]) -> None:
        self._end()
        if not self._spoke:
            return
        self._spoke = False
        line = f"searchable: {progress['embedded']:,} chunks, sources: {progress['sources']:,}"
        if progress["startedAt"] is not None and progress["finishedAt"] is not None and progress["rate"]:
            seconds = (progress["finishedAt"] - progress["startedAt"]) / 1000
            line += f"; indexed in {seconds:,.0f} s, {progress['rate']:,.0f} chunks/s"
        if progress["failed"]:
            line += f"; {progress['failed']:,} chunks failed, the Sources tab says why"
        STDERR.print(line)

    def _end(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
