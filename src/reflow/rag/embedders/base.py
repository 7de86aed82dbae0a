"""What turns texts into vectors, whichever model does it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

Kind = Literal["document", "query"]
"""Some models embed a question otherwise than what answers it."""

Vectors = NDArray[np.float32]
"""Shape (texts, dims)."""


class Embedder(Protocol):
    """A model that embeds. Vectors are comparable only when `id` and `revision` are equal: store both with an index."""

    @property
    def id(self) -> str:
        """Provider and model, such as "local/minilm-l6-v2"."""
        ...

    @property
    def revision(self) -> str:
        """Changes whenever the same text would get another vector: other weights, other arithmetic."""
        ...

    @property
    def dims(self) -> int:
        """Length of a vector."""
        ...

    @property
    def normalized(self) -> bool:
        """True where vectors have length 1, so that their dot product is the cosine."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """What the model reads at once; None where it is unknown."""
        ...

    def count_tokens(self, text: str) -> int:
        """The length of a text as the model counts it."""
        ...

    async def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """One vector per text, in order; no texts give the shape (0, dims)."""
        ...
