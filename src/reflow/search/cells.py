"""The vectors of a namespace in cells around centres: a search looks only into the cells nearest to it.

An inverted file whose vectors are kept as codes of four bits for every few of their numbers, relative to the centre of
their cell. It proposes candidates; who asks compares them exactly.

Jegou, Douze, Schmid, "Product quantization for nearest neighbor search", 2011; Andre, Kermarrec, Le Scouarnec, "Cache
locality is not enough: high-performance nearest neighbor search with product quantization fast scan", 2015. The
implementation is faiss's (`pip install reflow[approximate]`). It lets the interpreter go on with other work meanwhile.
"""

from __future__ import annotations

import hashlib
import math
import os
import platform
import struct
import zlib
from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reflow.search.metric import Metric, Vector

AVAILABLE = find_spec("faiss") is not None
"""Whether the package is there."""
FEWEST_DIMS = 8
"""Vectors of fewer numbers are not kept in cells: four bits say too little of them."""
SLICE = 512
"""Vectors that are added at once."""

_CELLS_SHARE = 2.0
"""Cells per square root of the number of vectors."""
_SAMPLE_PER_CELL = 40
"""Vectors from which a centre is learnt."""
_SAMPLE_BYTES = 256 << 20
_ROUNDS = 10
"""Rounds of k-means."""
_LOOKED_INTO = 40
"""Cells that a search looks into, where all vectors may be found."""
_BITS = 4
_BY_HEAP = 10
_HEAP_MOST = 512
_GROW = 2
_SHRINK = 8
_TYPICAL = 0.999
"""The length that no more than one vector in a thousand exceeds is the unit of lengths."""

_FORMAT = 1
_END = struct.Struct("<QQdQ16s8s")
_MARK = b"rflwcell"
_READ_BYTES = 1 << 20

Rows = NDArray[np.float32]
"""Shape (rows, dims)."""


def engine() -> Any:
    """The package, to be used by the calling thread alone. Importing it holds the interpreter for some milliseconds."""
    faiss = import_module("faiss")
    faiss.omp_set_num_threads(1)
    return faiss


class _Form:
    """How vectors are put before the package, so that the nearest are those with the best score.

    With cosine similarity they have length 1. With the dot product they get a number more that makes their length the
    unit, which a query has as 0: then the best by angle are the best (Bachrach et al., "Speeding up the Xbox
    recommender system using a Euclidean transformation for inner-product spaces", 2014).
    """

    def __init__(self, dims: int, metric: Metric, unit: float = 1.0) -> None:
        self.dims = dims
        self.metric: Metric = metric
        self.unit = unit
        together = 1 if dims < 256 else 2 if dims < 1024 else 4
        self.parts = math.ceil((dims + (metric == "dotproduct")) / together)
        self.width = self.parts * together

    def measured(self, rows: Rows) -> _Form:
        """The same with the unit of some vectors."""
        if self.metric == "cosine":
            return self
        unit = float(np.quantile(_lengths(rows), _TYPICAL))
        return _Form(self.dims, self.metric, unit if unit > 0 else 1.0)

    def rows(self, rows: Rows) -> Rows:
        """Vectors, shape (rows, width)."""
        made = np.zeros((len(rows), self.width), dtype=np.float32)
        lengths = _lengths(rows)
        divisors = np.where(lengths > 0, lengths, 1.0) if self.metric == "cosine" else np.full(len(rows), self.unit)
        np.divide(rows, divisors[:, np.newaxis], out=made[:, : self.dims], casting="same_kind")
        if self.metric == "dotproduct":
            made[:, self.dims] = np.sqrt(np.maximum(0.0, 1.0 - (lengths / self.unit) ** 2))
        return made

    def query(self, query: Vector) -> Rows | None:
        """A query, shape (1, width); None for one to which all vectors are alike."""
        made = np.zeros((1, self.width), dtype=np.float32)
        divisor = self.unit if self.metric == "euclidean" else float(_lengths(query[np.newaxis])[0])
        if divisor <= 0:
            return None
        made[0, : self.dims] = query.astype(np.float64) / divisor
        return made


class Cells:
    """Vectors in cells. One thread at a time may use them."""

    def __init__(self, index: Any, form: _Form, made_for: int) -> None:
        self._index = index
        self._form = form
        self._made_for = made_for
        self._reach = (0, 0)

    @classmethod
    def made(cls, metric: Metric, vectors: Rows, rows: NDArray[np.intp], stopped: Callable[[], bool]) -> Cells | None:
        """Cells for some rows of `vectors`, still empty. None when it was stopped, which takes up to a few seconds.

        Raises RuntimeError where the package can't make any.
        """
        dims = vectors.shape[1]
        form = _Form(dims, metric)
        most = max(1, _SAMPLE_BYTES // (4 * form.width)) // _SAMPLE_PER_CELL
        count = max(1, min(int(_CELLS_SHARE * math.sqrt(len(rows))), most, len(rows) // _SAMPLE_PER_CELL))
        # Evenly spread over the rows, that is over the time of their documents.
        spread = np.linspace(0, len(rows) - 1, min(len(rows), count * _SAMPLE_PER_CELL)).astype(np.intp)
        sample = rows[spread]
        form = form.measured(vectors.take(sample[:: max(1, len(sample) // SLICE)], axis=0))
        taught = np.empty((len(sample), form.width), dtype=np.float32)
        for start in range(0, len(sample), SLICE):
            taught[start : start + SLICE] = form.rows(vectors.take(sample[start : start + SLICE], axis=0))
            if stopped():
                return None
        index = _taught(form, taught, count, stopped)
        return None if index is None else cls(index, form, len(rows))

    def suit(self, count: int) -> bool:
        """Whether so many vectors are not far more or fewer than the cells were made for."""
        return self._made_for // _SHRINK <= count <= self._made_for * _GROW

    def __len__(self) -> int:
        return int(self._index.ntotal)

    def seqs(self) -> NDArray[np.int64]:
        """The sequence numbers of all vectors, in order."""
        lists, pointed = self._index.invlists, engine().rev_swig_ptr
        sizes = [(number, lists.list_size(number)) for number in range(self._index.nlist)]
        parts = [np.array(pointed(lists.get_ids(number), size), dtype=np.int64) for number, size in sizes if size]
        return np.sort(np.concatenate(parts)) if parts else np.empty(0, dtype=np.int64)

    def add(self, seqs: NDArray[np.int64], vectors: Rows) -> None:
        """Adds vectors under sequence numbers that are not there."""
        engine()
        self._index.add_with_ids(self._form.rows(vectors), np.ascontiguousarray(seqs))

    def remove(self, seqs: NDArray[np.int64]) -> None:
        """Removes those that are there."""
        if len(seqs):
            engine()
            self._index.remove_ids(np.ascontiguousarray(seqs))

    def search(self, query: Vector, count: int, share: float) -> NDArray[np.int64]:
        """The sequence numbers of about the `count` nearest. The fewer of all vectors are wanted, by `share`, the
        farther it looks."""
        made = self._form.query(query)
        if made is None:
            return np.empty(0, dtype=np.int64)
        engine()
        # For one query a heap, a cell at a time, is quicker than what the package chooses: it has many queries in mind.
        reach = (min(self._index.nlist, math.ceil(_LOOKED_INTO / share)), _BY_HEAP if count <= _HEAP_MOST else 0)
        if reach != self._reach:  # to say so takes a while
            self._index.nprobe, self._index.implem = self._reach = reach
        found = self._index.search(made, count)[1][0]
        return found[found >= 0]

    # Files: what the package writes, then what is needed to know that it is whole and can be read here.

    def save(self, path: Path) -> None:
        """Writes a file and brings it to the disk. Raises OSError and RuntimeError."""
        unfinished = path.with_name(path.name + ".new")
        engine().write_index(self._index, str(unfinished))
        length, checksum = unfinished.stat().st_size, _checksum(unfinished, None)
        with unfinished.open("ab") as file:
            form = self._form
            file.write(_END.pack(length, checksum, form.unit, self._made_for, _maker(form.dims, form.metric), _MARK))
            file.flush()
            os.fsync(file.fileno())
        os.replace(unfinished, path)

    @classmethod
    def load(cls, path: Path, dims: int, metric: Metric) -> Cells:
        """What `save` wrote. Raises OSError, ValueError and RuntimeError for a file that can't be used."""
        length = path.stat().st_size - _END.size
        if length < 0:
            raise ValueError("it is cut off")
        with path.open("rb") as file:
            file.seek(length)
            noted, checksum, unit, made_for, maker, mark = _END.unpack(file.read(_END.size))
        if mark != _MARK or noted != length:
            raise ValueError("it is cut off, or no file of cells")
        if maker != _maker(dims, metric):
            raise ValueError("it was made by another version or for other vectors")
        if _checksum(path, length) != checksum:
            raise ValueError("it is damaged")
        return cls(engine().read_index(str(path)), _Form(dims, metric, unit), made_for)


def _taught(form: _Form, sample: Rows, count: int, stopped: Callable[[], bool]) -> Any:
    """An empty index of the package; None when it was stopped."""
    faiss = engine()
    by_angle = form.metric != "euclidean"
    measure = faiss.METRIC_INNER_PRODUCT if by_angle else faiss.METRIC_L2
    centres = faiss.IndexFlat(form.width, measure)
    settings = faiss.ClusteringParameters()
    settings.niter, settings.spherical, settings.min_points_per_centroid = 1, by_angle, 1
    learning = faiss.Clustering(form.width, count, settings)
    for _ in range(_ROUNDS):
        if stopped():
            return None
        learning.train(sample, centres)
    if stopped():
        return None
    index = faiss.IndexIVFPQFastScan(centres, form.width, count, form.parts, _BITS, measure)
    index.by_residual = True
    index.train(sample)
    return index


def _lengths(rows: Rows) -> NDArray[np.float64]:
    wide = rows.astype(np.float64)
    return np.sqrt(np.vecdot(wide, wide))


def _maker(dims: int, metric: Metric) -> bytes:
    """Stands for all that must be the same where a file is written and read."""
    parts = (_FORMAT, engine().__version__, platform.machine(), dims, metric)
    return hashlib.blake2b(repr(parts).encode(), digest_size=16).digest()


def _checksum(path: Path, length: int | None) -> int:
    """The CRC-32 of a file's first `length` bytes."""
    checksum, left = 0, length
    with path.open("rb") as file:
        while block := file.read(_READ_BYTES if left is None else min(_READ_BYTES, left)):
            checksum = zlib.crc32(block, checksum)
            left = None if left is None else left - len(block)
    return checksum
