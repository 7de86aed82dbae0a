"""An embedder for tests that needs no model: texts that share words are near each other."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from reflow.rag.embedders.base import Kind, Vectors

_WORD = re.compile(r"\w+")


class Words:
    """Adds up one random direction per word. `asked` has the texts of all calls."""

    id = "local/words"
    revision = "1"
    normalized = True
    max_tokens = None

    def __init__(self, dims: int = 64) -> None:
        self.dims = dims
        self.asked: list[str] = []

    def count_tokens(self, text: str) -> int:
        """Its words."""
        return len(_WORD.findall(text))

    async def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """One vector per text, of length 1."""
        self.asked += texts
        vectors = np.zeros((len(texts), self.dims), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for word in _WORD.findall(text.lower()) or [""]:
                row += _direction(word, self.dims)
            row /= np.linalg.norm(row)
        return vectors


@lru_cache(maxsize=1 << 14)
def _direction(word: str, dims: int) -> Any:
    return np.random.default_rng(zlib.crc32(word.encode())).standard_normal(dims)
