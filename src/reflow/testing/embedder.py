"""A test double of an embedder: fast, deterministic, and with no understanding whatever."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from hashlib import blake2b

import numpy as np

from reflow.rag.embedders.base import Kind, Vectors
from reflow.search.tokens import tokens


class HashingEmbedder:
    """Counts hashed words: texts that share words are near each other. Only for tests; never a default.

    `failures` are raised one per call before calls succeed, so that an application can test its retries. `calls`
    records what was asked for.
    """

    id = "testing/hashing"
    revision = "1"
    normalized = True
    max_tokens: int | None = None

    def __init__(self, dims: int = 384, *, failures: Iterable[Exception] = ()) -> None:
        self.dims = dims
        self.failures = deque(failures)
        self.calls: list[tuple[tuple[str, ...], Kind]] = []

    def count_tokens(self, text: str) -> int:
        """The number of words."""
        return len(tokens(text))

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        """Unit vectors, shape (texts, dims)."""
        self.calls.append((tuple(texts), kind))
        if self.failures:
            raise self.failures.popleft()
        vectors = np.zeros((len(texts), self.dims), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            for term in tokens(text) or [""]:
                digest = int.from_bytes(blake2b(term.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
                row[digest % self.dims] += 1 if digest >> 63 else -1
            # Two words in one place can cancel each other.
            row[0] += not row.any()
            row /= np.linalg.norm(row)
        return vectors
