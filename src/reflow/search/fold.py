"""The making of a base out of older segments, in a thread beside everything else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reflow.search.columns import Columns
from reflow.search.postings import Postings
from reflow.search.rows_file import ARRAYS, Header, Writer, read
from reflow.search.segment import Arrays, Base, Segment

LOG = logging.getLogger("reflow.search")

_COPY_BYTES = 4 << 20
"""What is copied at once."""


@dataclass(frozen=True, slots=True)
class Target:
    """Where a base is to be written: the directory, and what the file shall say of itself."""

    directory: Path
    header: Header


class Fold:
    """Makes one base of some segments, to which no more rows are added meanwhile. Rows may end meanwhile."""

    def __init__(self, segments: Sequence[Segment], horizon: int, target: Target | None) -> None:
        """Rows that ended at or before `horizon` are left out. Without a target the base is in memory."""
        self.segments: tuple[Segment, ...] = tuple(segments)
        self.target = target
        self.name: str | None = None
        """The name of the file that was written."""
        self._horizon = horizon
        self._order: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._base: Base | None = None
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="reflow-fold", daemon=True)
        self._thread.start()

    @property
    def done(self) -> bool:
        """Whether the base is there, or has failed."""
        return not self._thread.is_alive()

    def join(self) -> None:
        """Waits for the end."""
        self._thread.join()

    def result(self) -> Base | None:
        """The base with the ends of its rows as they are now; None when it could not be made. Waits for it."""
        self._thread.join()
        if self._base is None:
            LOG.error("vectors could not be put in order; they are searched as they are", exc_info=self._error)
            return None
        self._base.set_ends(np.concatenate([part.arrays.died[: part.size] for part in self.segments])[self._order])
        return self._base

    def release(self) -> None:
        """Lets go of the segments, in a thread: to give back much memory takes a while."""
        held = list(self.segments)
        self.segments = ()
        threading.Thread(target=held.clear, name="reflow-release", daemon=True).start()

    def _run(self) -> None:
        try:
            picked = _Picked(self.segments, self._horizon)
            self._order = picked.order
            if self.target is None or not len(picked.order):
                base = picked.in_memory()
            else:
                base, self.name = picked.in_file(self.target)
            base.set_births(picked.one("born"))
            self._base = base
        except Exception as error:
            self._error = error


class _Picked:
    """Rows of several segments, in the order of space, sequence number and time."""

    def __init__(self, segments: Sequence[Segment], horizon: int) -> None:
        self._segments = segments
        self._parts = [part.arrays for part in segments]
        self._sizes = [part.size for part in segments]
        self.died = self._joined([part.died for part in self._parts])
        kept = np.flatnonzero(self.died > horizon)
        keys = [
            self._joined([getattr(part, name) for part in self._parts])[kept] for name in ("born", "seqs", "spaces")
        ]
        self.order: NDArray[np.intp] = kept[np.lexsort(keys)]

    def _joined(self, arrays: Sequence[NDArray[Any]]) -> NDArray[Any]:
        return np.concatenate([array[:size] for array, size in zip(arrays, self._sizes, strict=True)])

    def one(self, name: str) -> NDArray[Any]:
        """One of the arrays with a number per row."""
        return self._joined([getattr(part, name) for part in self._parts])[self.order]

    def blocks(self, name: str) -> Iterator[NDArray[Any]]:
        """One of the arrays in pieces."""
        if name in ("vectors", "codes"):
            yield from self._gathered([getattr(part, name) for part in self._parts])
        elif name == "bounds":
            for number in range(len(self._parts[0].bounds)):
                yield self._joined([part.bounds[number] for part in self._parts])[self.order]
        else:
            yield self.one(name)

    def _gathered(self, arrays: Sequence[NDArray[Any]]) -> Iterator[NDArray[Any]]:
        """Rows of the arrays, without a copy of all of them."""
        ends = np.cumsum(self._sizes)
        dims = arrays[0].shape[1]
        step = max(1, _COPY_BYTES // max(1, dims * arrays[0].itemsize))
        for start in range(0, len(self.order), step):
            rows = self.order[start : start + step]
            owners = np.searchsorted(ends, rows, side="right")
            block = np.empty((len(rows), dims), dtype=arrays[0].dtype)
            for number, array in enumerate(arrays):
                here = np.flatnonzero(owners == number)
                if len(here):
                    block[here] = array[rows[here] - (ends[number] - self._sizes[number])]
            yield block

    def _shape(self, name: str) -> tuple[int, ...]:
        shape = getattr(self._parts[0], name).shape
        return (shape[0], len(self.order)) if name == "bounds" else (len(self.order), *shape[1:])

    def _metadata(self) -> tuple[Columns, Postings]:
        columns = Columns.merged([part.columns for part in self._segments], self.order)
        return columns, Postings.merged([part.postings for part in self._segments], self.order)

    def in_memory(self) -> Base:
        """The rows in arrays of their own."""
        first = self._segments[0]
        arrays = Arrays.empty(len(self.order), first.dims, first.metric)
        for name in ARRAYS:
            flat, start = getattr(arrays, name).reshape(-1), 0
            for block in self.blocks(name):
                flat[start : start + block.size] = block.reshape(-1)
                start += block.size
        return Base(first.dims, first.metric, arrays, *self._metadata())

    def in_file(self, target: Target) -> tuple[Base, str]:
        """The rows in a file, and its name."""
        writer = Writer(target.directory, target.header)
        try:
            for name in ARRAYS:
                writer.add(name, getattr(self._parts[0], name).dtype, self._shape(name), self.blocks(name))
            ended = self.died[self.order] <= target.header.ts
            writer.add("ended", ended.dtype, ended.shape, iter((ended,)))
            path = writer.finish(*self._metadata())
        except BaseException:
            writer.discard()
            raise
        found = read(path, target.header)
        if found is None:
            raise OSError(f"{path} can't be read, though it was just written")
        return found[0], path.name
