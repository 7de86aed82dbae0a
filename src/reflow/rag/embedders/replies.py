"""Vectors as providers send them, and what must be true of them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from typing import Any

import numpy as np

from reflow.rag.embedders.base import Vectors
from reflow.rag.provider import Garbage

SHORTEST = 1e-6
"""A vector that is shorter has no direction worth keeping."""


def in_order(vectors: Sequence[Any], indexes: Sequence[int | None]) -> list[Any]:
    """Vectors in the order of the texts, by the index that came with each of them. Raises Garbage."""
    if all(index is None for index in indexes):
        return list(vectors)
    if sorted(index if index is not None else -1 for index in indexes) != list(range(len(vectors))):
        raise Garbage("vectors whose indexes are not those of the texts")
    placed = list(vectors)
    for vector, index in zip(vectors, indexes, strict=True):
        placed[index or 0] = vector
    return placed


def checked(vectors: Any, texts: int, dims: int | None, normalized: bool) -> Vectors:
    """Vectors of shape (texts, dims), of length 1 where `normalized`. Without `dims`, any length that all of them have.

    `vectors`: lists of numbers, texts in base64 with float32 in them (little-endian), or an array. Raises Garbage.
    """
    if len(vectors) != texts:
        raise Garbage(f"{len(vectors)} vectors for {texts} texts")
    matrix = _matrix([_unpacked(vector) for vector in vectors] if _has_text(vectors) else vectors)
    if texts == 0:
        return np.empty((0, dims or 0), np.float32)
    if matrix.ndim != 2 or matrix.shape[1] == 0:
        raise Garbage("vectors that have no numbers in them")
    if dims is not None and matrix.shape[1] != dims:
        raise Garbage(
            f"vectors of {matrix.shape[1]} dimensions where {dims} were expected: look at dims and dimensions"
        )
    if not np.isfinite(matrix).all():
        raise Garbage("vectors with numbers that are not finite")
    # In float64: the squares of large float32 numbers have no place in float32.
    lengths = np.linalg.norm(matrix.astype(np.float64), axis=1, keepdims=True)
    if lengths.min() < SHORTEST:
        raise Garbage("a vector of nothing but zeros")
    return (matrix / lengths).astype(np.float32) if normalized else matrix


def _has_text(vectors: Sequence[Any]) -> bool:
    return any(isinstance(vector, str) for vector in vectors)


def _matrix(vectors: Any) -> Vectors:
    try:
        with np.errstate(over="ignore"):  # what float32 can't hold becomes infinite, which is looked for
            return np.asarray(vectors, np.float32)
    except (ValueError, TypeError):
        raise Garbage("vectors of different lengths, or with something else than numbers in them") from None


def _unpacked(vector: str | Sequence[float]) -> Any:
    if not isinstance(vector, str):
        return vector
    try:
        return np.frombuffer(base64.b64decode(vector, validate=True), "<f4")
    except (binascii.Error, ValueError):
        raise Garbage("a vector that is no base64 of float32 numbers") from None
