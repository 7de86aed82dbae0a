"""What turns texts into vectors, whichever model does it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import perf_counter
from typing import Literal, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from reflow.limits import DEFAULT

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


class Embedded(NamedTuple):
    """Vectors, and what they took."""

    vectors: Vectors
    """One per text, in order."""
    tokens: int
    """As the provider counts and bills them; where it does not say, as `count_tokens` does."""
    milliseconds: float
    """Time in the model or in requests for it, all tries together, without waiting for a turn."""
    retries: int
    """Requests that had to be made again."""


class BatchEmbedder(Embedder, Protocol):
    """An embedder that says how much it takes at once and what that cost. `batching` makes one of any embedder."""

    @property
    def max_batch(self) -> int:
        """Texts of one request."""
        ...

    @property
    def max_batch_tokens(self) -> int | None:
        """Tokens of one request as `count_tokens` counts them; None: any number."""
        ...

    @property
    def concurrency(self) -> int:
        """Requests that are worth making at the same time; more would wait for their turn."""
        ...

    @property
    def needs(self) -> tuple[str, ...]:
        """The variables that `configured` has to find, such as the one that holds the key."""
        ...

    def configured(self, variables: Mapping[str, str]) -> BatchEmbedder:
        """This embedder with what it still needs taken from variables, such as `ctx.env`."""
        ...

    async def embed_batch(self, texts: Sequence[str], kind: Kind) -> Embedded:
        """One request with all of the texts. Raises ProviderError; its `input_refused` says that a part may work."""
        ...


def batching(embedder: Embedder) -> BatchEmbedder:
    """The embedder itself where it knows about batches, else one that counts for it."""
    return cast(BatchEmbedder, embedder) if hasattr(embedder, "embed_batch") else Counting(embedder)


class Counting:
    """Any embedder as one with batches. It is called with `max_batch` texts at most, and its time is taken."""

    needs: tuple[str, ...] = ()

    def __init__(self, embedder: Embedder, *, max_batch: int = DEFAULT.local_batch_texts, concurrency: int = 2) -> None:
        self.embedder = embedder
        self.max_batch = max_batch
        self.max_batch_tokens: int | None = None
        self.concurrency = concurrency

    @property
    def id(self) -> str:
        """Its name."""
        return self.embedder.id

    @property
    def revision(self) -> str:
        """Its revision."""
        return self.embedder.revision

    @property
    def dims(self) -> int:
        """Length of a vector."""
        return self.embedder.dims

    @property
    def normalized(self) -> bool:
        """True where vectors have length 1."""
        return self.embedder.normalized

    @property
    def max_tokens(self) -> int | None:
        """What the model reads at once."""
        return self.embedder.max_tokens

    def configured(self, variables: Mapping[str, str]) -> Counting:
        """Itself: it needs nothing."""
        return self

    def count_tokens(self, text: str) -> int:
        """The length of a text as the model counts it."""
        return self.embedder.count_tokens(text)

    async def embed(self, texts: Sequence[str], kind: Kind) -> Vectors:
        """One vector per text, in order."""
        return await self.embedder.embed(texts, kind)

    async def embed_batch(self, texts: Sequence[str], kind: Kind) -> Embedded:
        """One call of the embedder."""
        started = perf_counter()
        vectors = await self.embedder.embed(texts, kind)
        spent = (perf_counter() - started) * 1000
        return Embedded(vectors, sum(map(self.embedder.count_tokens, texts)), spent, 0)
