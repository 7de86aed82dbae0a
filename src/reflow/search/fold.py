"""The making of a base out of older segments, in a thread beside everything else."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from reflow.search.columns import Columns
from reflow.search.postings import Postings
from reflow.search.segment import FOREVER, Arrays, Base, Segment

Kind = TypeVar("Kind", bound=np.generic)

LOG = logging.getLogger("reflow.search")

_COPY_BYTES = 4 << 20
"""What is copied before other threads get a turn."""


class Fold:
    """Makes one base of some segments, to which no more rows are added meanwhile. Rows may end meanwhile."""

    def __init__(self, segments: Sequence[Segment], horizon: int) -> None:
        """Rows that ended at or before `horizon` are left out."""
        self.segments = tuple(segments)
        self._horizon = horizon
        self._order = np.empty(0, dtype=np.intp)
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
        if self._error is not None or self._base is None:
            LOG.error("vectors could not be put in order; they are searched as they are", exc_info=self._error)
            return None
        base = self._base
        base.arrays.died[:] = np.concatenate([part.arrays.died[: part.size] for part in self.segments])[self._order]
        base.ends = int(np.count_nonzero(base.arrays.died != FOREVER))
        return base

    def _run(self) -> None:
        try:
            self._base = self._made()
        except Exception as error:
            self._error = error

    def _made(self) -> Base:
        parts = [part.arrays for part in self.segments]
        sizes = [part.size for part in self.segments]
        died = _joined([part.died for part in parts], sizes)
        born = _joined([part.born for part in parts], sizes)
        seqs = _joined([part.seqs for part in parts], sizes)
        spaces = _joined([part.spaces for part in parts], sizes)
        kept = np.flatnonzero(died > self._horizon)
        order = kept[np.lexsort((born[kept], seqs[kept], spaces[kept]))]
        dims, metric = self.segments[0].dims, self.segments[0].metric
        arrays = Arrays.empty(len(order), dims, metric)
        arrays.seqs[:], arrays.spaces[:], arrays.born[:] = seqs[order], spaces[order], born[order]
        arrays.died[:] = FOREVER
        for name in ("vectors", "codes"):
            start = 0
            for block in gathered([getattr(part, name) for part in parts], sizes, order):
                getattr(arrays, name)[start : start + len(block)] = block
                start += len(block)
        for number, bounds in enumerate(arrays.bounds):
            bounds[:] = _joined([part.bounds[number] for part in parts], sizes)[order]
        columns = Columns.merged([part.columns for part in self.segments], order)
        postings = Postings.merged([part.postings for part in self.segments], order)
        self._order = order
        return Base(dims, metric, arrays, columns, postings)


def _joined(arrays: Sequence[NDArray[Kind]], sizes: Sequence[int]) -> NDArray[Kind]:
    return np.concatenate([array[:size] for array, size in zip(arrays, sizes, strict=True)])


def gathered(arrays: Sequence[NDArray[Kind]], sizes: Sequence[int], order: NDArray[np.intp]) -> Iterator[NDArray[Kind]]:
    """Rows of several arrays, numbered through all of them, in that order, a block at a time."""
    ends = np.cumsum(sizes)
    width = max(1, arrays[0].itemsize * int(np.prod(arrays[0].shape[1:])))
    step = max(1, _COPY_BYTES // width)
    for start in range(0, len(order), step):
        rows = order[start : start + step]
        block = np.empty((len(rows), *arrays[0].shape[1:]), dtype=arrays[0].dtype)
        owners = np.searchsorted(ends, rows, side="right")
        for number, array in enumerate(arrays):
            here = owners == number
            if here.any():
                block[here] = array[rows[here] - (ends[number] - sizes[number])]
        yield block
