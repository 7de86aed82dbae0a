"""The vectors that are searched: clustered ones made from a seed, and real ones (see `corpus`).

Clustered data imitates the embeddings of texts: topics in groups, each topic an anisotropic gaussian whose spectrum
falls with a power law, topic sizes by Zipf's law, one common offset, unit length. At 100,000 rows the median cosine of
a query to its best row is 0.87, to its tenth 0.84, of a random pair 0.14.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .places import CACHE

DIMS = 384
QUERIES = 200
BLOCK = 100_000
"""Rows made at once, each block from a seed of its own, so that a smaller set is the beginning of a larger one."""

_SEED = 20_260_912
_VERSION = 1
"""Part of the folder's name; grows when the recipe changes."""
_TOPICS = 400
_GROUPS = 40
_CATEGORIES = 1000
_CORRELATED_TOPICS = 6
_CORRELATED_SHARE = 0.015
_OFFSET, _GROUP, _TOPIC, _WITHIN, _DECAY = 0.36, 0.5, 0.5, 0.6, 0.66
_COLUMNS = ("vectors", "queries", "cat", "r", "topic", "correlated")

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Dataset:
    """Rows with three metadata fields, and queries of the same kind. Arrays are mapped from files."""

    name: str
    folder: Path
    vectors: Floats
    """Shape (rows, DIMS), unit length."""
    queries: Floats
    cat: NDArray[np.int64]
    """0 to 999, evenly spread."""
    r: NDArray[np.float64]
    """0 to 1, evenly spread."""
    topic: NDArray[np.int64]
    """What the row is about."""
    correlated: tuple[int, ...]
    """Topics that together hold about 1.5 % of the rows and have little to do with most queries."""

    def column(self, field: str) -> NDArray[Any]:
        """A metadata field of all rows."""
        return {"cat": self.cat, "r": self.r, "topic": self.topic}[field]

    def metadata(self, row: int) -> dict[str, int | float]:
        """The metadata of one row."""
        return {"cat": int(self.cat[row]), "r": float(self.r[row]), "topic": int(self.topic[row])}


def dataset(name: str) -> Dataset:
    """The data set of this name: `clustered-ROWS`, made when it is not there yet, or `corpus`, which must be there.

    Raises FileNotFoundError for a corpus that nobody has embedded yet (see `corpus`).
    """
    folder = CACHE / "data" / f"{name}-v{_VERSION}"
    if not folder.exists() and name.startswith("clustered-"):
        print(f"making {name}", file=sys.stderr, flush=True)
        save(name, *_clustered(int(name.removeprefix("clustered-"))))
    parts = {part: np.load(folder / f"{part}.npy", mmap_mode="r") for part in _COLUMNS}
    correlated = tuple(int(topic) for topic in parts.pop("correlated"))
    return Dataset(name=name, folder=folder, correlated=correlated, **parts)


def save(name: str, vectors: Floats, queries: Floats, topic: NDArray[np.int64], shares: NDArray[np.float64]) -> None:
    """Keeps a data set under its name, with metadata drawn for it. `shares` are the expected sizes of the topics."""
    chance = np.random.default_rng([_SEED, 1])
    blocks = [min(BLOCK, len(vectors) - start) for start in range(0, len(vectors), BLOCK)]
    drawn = [(chance.integers(0, _CATEGORIES, BLOCK)[:rows], chance.random(BLOCK)[:rows]) for rows in blocks]
    parts = {
        "vectors": vectors,
        "queries": queries,
        "cat": np.concatenate([cat for cat, _ in drawn]),
        "r": np.concatenate([r for _, r in drawn]),
        "topic": topic,
        "correlated": _some_topics(shares),
    }
    folder = CACHE / "data" / f"{name}-v{_VERSION}"
    unfinished = folder.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    for part, array in parts.items():
        np.save(unfinished / f"{part}.npy", array)
    unfinished.rename(folder)


def _some_topics(shares: NDArray[np.float64]) -> NDArray[np.int64]:
    """Six neighbours in the order of size that come nearest to 1.5 % of all rows."""
    order = np.argsort(-shares, kind="stable")
    sums = np.convolve(shares[order], np.ones(_CORRELATED_TOPICS), mode="valid")
    first = int(np.abs(sums - _CORRELATED_SHARE * shares.sum()).argmin())
    return np.sort(order[first : first + _CORRELATED_TOPICS]).astype(np.int64)


def _clustered(rows: int) -> tuple[Floats, Floats, NDArray[np.int64], NDArray[np.float64]]:
    mixture = _Mixture(np.random.default_rng([_SEED, 0]))
    vectors = np.empty((rows, DIMS), dtype=np.float32)
    topic = np.empty(rows, dtype=np.int64)
    for number, start in enumerate(range(0, rows, BLOCK)):
        size = min(BLOCK, rows - start)
        part, topics = mixture.draw(BLOCK, np.random.default_rng([_SEED, 2, number]))
        vectors[start : start + size], topic[start : start + size] = part[:size], topics[:size]
    queries, _ = mixture.draw(QUERIES, np.random.default_rng([_SEED, 3]))
    return vectors, queries, topic, mixture.shares


class _Mixture:
    """The distribution of the clustered data."""

    def __init__(self, chance: np.random.Generator) -> None:
        self._rotation = np.linalg.qr(chance.standard_normal((DIMS, DIMS)))[0].astype(np.float32)
        spectrum = np.arange(1, DIMS + 1) ** -_DECAY
        spectrum *= _WITHIN / np.linalg.norm(spectrum)
        offset = _OFFSET * _unit(chance.standard_normal(DIMS))
        groups = _GROUP * _unit(chance.standard_normal((_GROUPS, DIMS)))
        topics = _TOPIC * _unit(chance.standard_normal((_TOPICS, DIMS)))
        self._centres = (offset + groups[chance.integers(0, _GROUPS, _TOPICS)] + topics).astype(np.float32)
        # Each topic varies along axes of its own.
        self._spread = np.stack([chance.permutation(spectrum) for _ in range(_TOPICS)]).astype(np.float32)
        weights = 1 / np.arange(1, _TOPICS + 1)
        self.shares = weights / weights.sum()

    def draw(self, count: int, chance: np.random.Generator) -> tuple[Floats, NDArray[np.int64]]:
        """`count` vectors with their topics."""
        topics = chance.choice(_TOPICS, size=count, p=self.shares)
        noise = chance.standard_normal((count, DIMS), dtype=np.float32) * self._spread[topics]
        return _unit(noise @ self._rotation + self._centres[topics]), topics


def _unit(vectors: NDArray[Any]) -> NDArray[Any]:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
