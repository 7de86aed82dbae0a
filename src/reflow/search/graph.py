"""Approximate search among many vectors: a graph (HNSW) per namespace, built beside everything else.

A graph knows the vectors of a base, a little late: it finds candidates by sequence number, and the caller compares
them exactly as they are now, together with the rows that the graph does not know yet. So what is found is right, and
only what is not found may be missed.

Malkov and Yashunin, "Efficient and robust approximate nearest neighbor search using hierarchical navigable small world
graphs", 2016. The implementation is usearch's (`pip install reflow[graph]`); without it searches stay exact.
"""

from __future__ import annotations

import logging
import os
import threading
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reflow.search.metric import Metric, Vector
from reflow.search.segment import FOREVER, Base

LOG = logging.getLogger("reflow.search")

SUFFIX = ".graph"
UNFINISHED = ".graph.new"
AVAILABLE = find_spec("usearch") is not None
"""Whether the package that makes graphs is there."""

_METRICS: dict[Metric, str] = {"cosine": "cos", "dotproduct": "ip", "euclidean": "l2sq"}
_NEIGHBOURS = 16
_BUILD_WIDTH = 128
SEARCH_WIDTH = 256
"""How many candidates a search keeps on its way: recall@10 was 0.995 at 100,000 clustered vectors, 0.96 at a
million, where 1,024 would give 0.977 for thrice the time."""
_SLICE = 64
"""Vectors that are added before a search gets its turn."""
_LOOKED_UP = 4096
"""Vectors that are looked up at once: the interpreter is held meanwhile."""
_STALE_SHARE = 2
"""A graph is made anew when it knows so many times the rows that there are."""


class Graph:
    """The graph of one namespace of a place."""

    def __init__(self, dims: int, metric: Metric, space: int) -> None:
        self.space = space
        self.covered = -1
        """All rows that appeared up to this timestamp are known; -1 before the graph can be used."""
        self.learnt = 0
        """Rows that were added in this process."""
        self.saved_as: str | None = None
        """The base file beside which the graph is saved as it is."""
        self._dims = dims
        self._metric: Metric = metric
        self._index = self._empty()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._stop = False
        self._failed = False

    def _empty(self) -> Any:
        return import_module("usearch.index").Index(
            ndim=self._dims,
            metric=_METRICS[self._metric],
            dtype="bf16",
            connectivity=_NEIGHBOURS,
            expansion_add=_BUILD_WIDTH,
            expansion_search=SEARCH_WIDTH,
        )

    @property
    def ready(self) -> bool:
        """Whether candidates can be had from the graph."""
        return self.covered >= 0

    def search(self, query: Vector, count: int) -> NDArray[np.int64]:
        """The sequence numbers of about the `count` nearest rows that the graph knows."""
        with self._lock:
            found = self._index.search(query, count, threads=1).keys
        return np.asarray(found).astype(np.int64)

    # Building

    def follow(self, base: Base, name: str | None, directory: Path | None) -> None:
        """Learns in a thread what the base has and the graph lacks. `name` is the base's file, if it has one."""
        if self._failed or (self._thread is not None and self._thread.is_alive()):
            return
        if self.ready and base.newest <= self.covered:
            return
        self._thread = threading.Thread(
            target=self._follow, args=(base, name, directory), name="reflow-graph", daemon=True
        )
        self._thread.start()

    def _follow(self, base: Base, name: str | None, directory: Path | None) -> None:
        try:
            if not self.ready and name is not None and directory is not None:
                self._load(directory, name)
            newest = base.newest
            if self._learn(base):
                self.covered = newest
        except Exception:
            self._failed = True
            LOG.exception("a graph of vectors could not be brought up to date; what it lacks is searched without it")

    def _learn(self, base: Base) -> bool:
        """Adds what is missing; returns whether it got through."""
        rows = base.rows_of(self.space, FOREVER)
        arrays = base.arrays
        present = arrays.died[rows] == FOREVER
        if self._dims and base.bare:
            present &= ~np.isnan(arrays.bounds[0, rows])
        seqs = arrays.seqs[rows]
        if len(self._index) > _STALE_SHARE * np.count_nonzero(present):
            self._index = self._empty()
            self.covered = -1
        if self.ready:
            fresh = np.flatnonzero(present & (arrays.born[rows] > self.covered))
            with self._lock:
                self._remove(seqs[fresh])
        else:
            fresh = np.flatnonzero(present)
            known = [
                np.asarray(self._index.contains(seqs[part].astype(np.uint64)))
                for part in np.array_split(fresh, len(fresh) // _LOOKED_UP + 1)
                if len(part)
            ]
            fresh = fresh[~np.concatenate(known)] if known else fresh
        if len(fresh):
            self.saved_as = None
        for start in range(0, len(fresh), _SLICE):
            if self._stop:
                return False
            some = fresh[start : start + _SLICE]
            vectors = arrays.vectors[rows][some]
            with self._lock:
                self._index.add(seqs[some].astype(np.uint64), vectors, threads=1)
            self.learnt += len(some)
        return True

    def _remove(self, seqs: NDArray[np.int64]) -> None:
        keys = seqs.astype(np.uint64)
        known = keys[np.asarray(self._index.contains(keys))] if len(keys) else keys
        if len(known):
            self._index.remove(known, threads=1)

    # Files. Reading and writing one holds the interpreter: about 1.5 s for a million vectors of 384 numbers. So it is
    # read once, before the first approximate search, and written when nobody is served any more.

    def _path(self, directory: Path, name: str) -> Path:
        return directory / f"{name}.{self.space}{SUFFIX}"

    def _load(self, directory: Path, name: str) -> None:
        path = self._path(directory, name)
        if not path.exists():
            return
        try:
            index = self._empty()
            index.load(str(path))
            index.expansion_search = SEARCH_WIDTH
            if index.ndim == self._dims:
                self._index = index
                self.saved_as = name
        except (RuntimeError, ValueError, OSError) as error:
            LOG.warning("%s is not used, the graph is made anew: %s", path, error)

    def _save(self, directory: Path | None, name: str | None) -> None:
        """Saves the graph beside a base file."""
        if directory is None or name is None or self.saved_as == name:
            return
        path = self._path(directory, name)
        unfinished = path.with_name(path.name + ".new")
        with self._lock:
            self._index.save(str(unfinished))
        with unfinished.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(unfinished, path)
        self.saved_as = name

    def stop(self) -> None:
        """Learns no more."""
        self._stop = True

    def join(self) -> None:
        """Waits until nothing more is learnt."""
        if self._thread is not None:
            self._thread.join()

    def leave(self, base: Base | None, name: str | None, directory: Path | None) -> None:
        """Stops learning, and saves what is known for the next start. May take seconds."""
        self.stop()
        self.join()
        if not self.ready or base is None:
            return
        rows = base.rows_of(self.space, FOREVER)
        later = base.arrays.born[rows] > self.covered
        if later.any():
            # What is not in the saved graph is learnt at the next start; former vectors must not stand for it.
            self._remove(base.arrays.seqs[rows][later])
            self.saved_as = None
        self._save(directory, name)
