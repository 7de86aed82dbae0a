"""Approximate search among many vectors: cells per namespace, kept up to date in a thread beside everything else.

The cells know the vectors of a base, a little late: they propose candidates by sequence number, and the caller compares
them exactly as they are now, together with the rows that the cells do not know yet. So what is found is right, and
only what is not found may be missed.
"""

from __future__ import annotations

import logging
import threading
import weakref
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reflow.search.cells import SLICE, Cells
from reflow.search.metric import Metric, Vector
from reflow.search.segment import FOREVER, Base

LOG = logging.getLogger("reflow.search")

SUFFIX = ".cells"
UNFINISHED = ".cells.new"

_GONE_SHARE = 8
"""Vectors of documents that are gone are removed when they are more than one in so many."""


class Approximation:
    """What finds candidates in one namespace of a place."""

    def __init__(self, metric: Metric, space: int, directory: Path | None) -> None:
        self.space = space
        self.covered = -1
        """All rows that appeared up to this timestamp are known; -1 before anything can be found."""
        self.learnt = 0
        """Rows that were added in this process."""
        self.saved_as: str | None = None
        """The base file beside which the cells are saved as they are."""
        self._metric: Metric = metric
        self._directory = directory
        self._cells: Cells | None = None
        self._followed: weakref.ref[Base] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = False
        self._failed = False

    @property
    def ready(self) -> bool:
        """Whether candidates can be had."""
        return self.covered >= 0

    @property
    def idle(self) -> bool:
        """Whether a search need not wait for what is just being added or removed."""
        return not self._lock.locked()

    def search(self, query: Vector, count: int, share: float) -> NDArray[np.int64]:
        """The sequence numbers of about the `count` nearest rows that are known, of which `share` are wanted."""
        with self._lock:
            return np.empty(0, dtype=np.int64) if self._cells is None else self._cells.search(query, count, share)

    # Following the base

    def follow(self, base: Base, name: str | None) -> None:
        """Learns in a thread what the base has and the cells lack. `name` is the base's file, if it has one."""
        if self._failed or self._stop or (self._thread is not None and self._thread.is_alive()):
            return
        if self._followed is not None and self._followed() is base:
            return
        self._thread = threading.Thread(target=self._follow, args=(base, name), name="reflow-cells", daemon=True)
        self._thread.start()

    def _follow(self, base: Base, name: str | None) -> None:
        try:
            if self._cells is None:
                self._load(base, name)
            newest = base.newest
            if self._learn(base):
                self.covered = newest
                self._followed = weakref.ref(base)
                self._save(name)
        except Exception:
            self._failed = True
            LOG.exception("approximate search can't be brought up to date; what it lacks is searched without it")

    def _learn(self, base: Base) -> bool:
        """Makes the cells where there are none that suit, and adds what is missing; returns whether it got through."""
        rows = base.rows_of(self.space, FOREVER)
        arrays = base.arrays
        present = arrays.died[rows] == FOREVER
        if base.bare:
            present &= ~np.isnan(arrays.bounds[0, rows])
        numbers, seqs, vectors = np.flatnonzero(present), arrays.seqs[rows], arrays.vectors[rows]
        cells = self._cells
        if cells is None or not cells.suit(len(numbers)):
            self.saved_as = None
            made = Cells.made(self._metric, vectors, numbers, self._stopped)
            if made is None or not self._add(made, seqs, vectors, numbers, nullcontext()):
                return False
            with self._lock:
                self._cells = made
            return True
        known, here = cells.seqs(), seqs.take(numbers)
        current = _among(here, known)
        changed = arrays.born[rows].take(numbers) > self.covered if self.ready else np.zeros(len(here), dtype=np.bool_)
        gone = known[~_among(known, here)]
        if len(gone) * _GONE_SHARE <= len(known):
            gone = gone[:0]
        former, lacking = np.concatenate([gone, here[changed & current]]), numbers[changed | ~current]
        if len(former) or len(lacking):
            self.saved_as = None
        with self._lock:
            cells.remove(former)
        return self._add(cells, seqs, vectors, lacking, self._lock)

    def _add(
        self,
        cells: Cells,
        seqs: NDArray[np.int64],
        vectors: NDArray[np.float32],
        numbers: NDArray[np.intp],
        lock: AbstractContextManager[object],
    ) -> bool:
        """Adds some rows; False when it was stopped. Only while a few are added may nobody search."""
        for start in range(0, len(numbers), SLICE):
            if self._stop:
                return False
            some = numbers[start : start + SLICE]
            block = vectors.take(some, axis=0)  # unlike an index, this lets others run while pages are read
            with lock:
                cells.add(seqs.take(some), block)
            self.learnt += len(some)
        return True

    # Files

    def _path(self, name: str) -> Path | None:
        return None if self._directory is None else self._directory / f"{name}.{self.space}{SUFFIX}"

    def saved(self, name: str) -> bool:
        """Whether there are cells beside a base file."""
        path = self._path(name)
        return path is not None and path.exists()

    def _load(self, base: Base, name: str | None) -> None:
        path = None if name is None else self._path(name)
        if path is None or not path.exists():
            return
        try:
            self._cells = Cells.load(path, base.dims, self._metric)
            self.saved_as = name
        except (RuntimeError, ValueError, OSError) as error:
            LOG.warning("%s is not used, it is made anew: %s", path, error)

    def _save(self, name: str | None) -> None:
        """Saves the cells beside a base file."""
        path = None if name is None else self._path(name)
        if path is None or self._cells is None or self.saved_as == name:
            return
        try:
            self._cells.save(path)
            self.saved_as = name
        except (RuntimeError, OSError) as error:
            # Or the base has a successor by now, and the files beside it are being cleared away.
            LOG.warning("%s could not be written, it is made anew at the next start: %s", path, error)

    # The end

    def stop(self) -> None:
        """Learns no more."""
        self._stop = True

    def _stopped(self) -> bool:
        return self._stop

    def join(self) -> None:
        """Waits until nothing more is learnt."""
        if self._thread is not None:
            self._thread.join()

    def leave(self, base: Base | None, name: str | None) -> None:
        """Stops learning, and saves what is known for the next start. May take seconds."""
        self.stop()
        self.join()
        if self._cells is None or not self.ready or base is None:
            return
        rows = base.rows_of(self.space, FOREVER)
        later = base.arrays.born[rows] > self.covered
        if later.any():
            # What is not saved is learnt at the next start; former vectors must not stand for it.
            self._cells.remove(base.arrays.seqs[rows][later])
            self.saved_as = None
        self._save(name)


def _among(values: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which values are among others; both in order."""
    if not len(others):
        return np.zeros(len(values), dtype=np.bool_)
    return others.take(np.searchsorted(others, values), mode="clip") == values
