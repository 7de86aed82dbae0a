"""Vectors in two dimensions: the plane in which they differ most (principal components).

The plane is found by subspace iteration on a random start (Halko, Martinsson and Tropp, "Finding structure with
randomness", 2011): a few products with the data, where an exact decomposition of long vectors takes minutes. The same
vectors give the same plane.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
"""Shape (count, dims)."""

Points = NDArray[np.float32]
"""Shape (count, 2)."""

Projection = Callable[[Vectors], NDArray[np.floating]]
"""Another way to two dimensions: vectors, shape (count, dims), to points, shape (count, 2). It runs in a thread."""

_WIDTH = 12
"""Directions that are followed: more than two, so that the second is not confused with the third."""
_ROUNDS = 8


@dataclass(frozen=True, slots=True)
class Plane:
    """The plane through `centre` (dims,) along `axes` (2, dims), in units of `scale`.

    `explained` is the part of the vectors' variance that is seen in it, 0 to 1.
    """

    centre: NDArray[np.float32]
    axes: NDArray[np.float32]
    scale: float
    explained: float

    def place(self, vectors: Vectors) -> Points:
        """Where vectors, shape (count, dims), are in the plane: those it was made of are in -1..1."""
        return ((vectors - self.centre) @ self.axes.T / self.scale).astype(np.float32)

    def packed(self) -> bytes:
        """Centre and axes as float32 numbers, little-endian, one after another."""
        return np.vstack([self.centre, self.axes]).astype("<f4").tobytes()

    @classmethod
    def unpacked(cls, data: bytes, scale: float, explained: float) -> Plane:
        """The plane that was packed."""
        rows = np.frombuffer(data, "<f4").reshape(3, -1)
        return cls(rows[0], rows[1:], scale, explained)


def principal_plane(vectors: Vectors) -> Plane:
    """The plane of the two directions in which vectors, shape (count, dims), differ most. There must be a vector."""
    centre = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred = vectors - centre
    count, dims = centred.shape
    basis = np.random.default_rng(0).standard_normal((dims, min(_WIDTH, dims))).astype(np.float32)
    for _ in range(_ROUNDS):
        basis = np.linalg.qr(centred.T @ (centred @ basis))[0]
    seen = centred @ basis
    spread, turn = np.linalg.eigh((seen.T @ seen).astype(np.float64))
    axes = np.zeros((2, dims), np.float32)
    found = (basis @ turn[:, ::-1][:, :2]).T
    axes[: len(found)] = found
    # A direction and its opposite are equally good: which of them it is must not change from one map to the next.
    for axis in axes:
        axis *= 1.0 if axis[np.abs(axis).argmax()] >= 0 else -1.0
    points = centred @ axes.T
    scale = float(np.abs(points).max()) or 1.0
    variance = float((centred.astype(np.float64) ** 2).sum())
    explained = min(1.0, float(spread[::-1][:2].sum()) / variance) if variance > 0 and count > 1 else 1.0
    return Plane(centre, axes, scale, explained)


def fitted(points: NDArray[np.floating]) -> Points:
    """Points of another projection, moved and scaled alike in both directions so that they fill -1..1."""
    lowest, highest = points.min(axis=0), points.max(axis=0)
    reach = float((highest - lowest).max()) / 2 or 1.0
    return ((points - (lowest + highest) / 2) / reach).astype(np.float32)
