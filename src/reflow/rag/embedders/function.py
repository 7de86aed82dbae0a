"""Any callable as an embedder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from inspect import isawaitable, iscoroutinefunction
from time import perf_counter
from typing import Any

from reflow.errors import EmbedderError, InvalidValue, ProviderError
from reflow.limits import DEFAULT
from reflow.rag.embedders.base import Embedded, Kind, Vectors
from reflow.rag.embedders.batches import embed_all, estimated_tokens
from reflow.rag.embedders.replies import checked
from reflow.rag.provider import Garbage
from reflow.rag.provider.limiter import Limiter

Embeds = Callable[[list[str]], Any | Awaitable[Any]]
"""Texts in, vectors out: lists of numbers or an array, one row per text, at once or awaited."""


class FunctionEmbedder:
    """What a function makes of texts. A function that is not async runs in a thread, so it may take its time.

        FunctionEmbedder(model.encode, id="mine/e5", dims=384)

    `query` is another function for questions. `revision` is to be changed when the same text would get another vector.
    At most `concurrency` calls run at once, with `max_batch` texts each; questions go first.
    """

    needs: tuple[str, ...] = ()
    max_batch_tokens: int | None = None

    def __init__(
        self,
        function: Embeds,
        *,
        id: str,
        dims: int,
        query: Embeds | None = None,
        revision: str = "1",
        normalized: bool = True,
        max_tokens: int | None = None,
        max_batch: int = DEFAULT.model_batch_texts,
        concurrency: int = 1,
        count_tokens: Callable[[str], int] = estimated_tokens,
    ) -> None:
        if dims < 1 or max_batch < 1 or concurrency < 1:
            raise InvalidValue(
                f"dims, max_batch and concurrency are at least 1: got {dims}, {max_batch}, {concurrency}"
            )
        self.id = id
        self.dims = dims
        self.revision = revision
        self.normalized = normalized
        self.max_tokens = max_tokens
        self.max_batch = max_batch
        self.concurrency = concurrency
        self._functions: dict[Kind, Embeds] = {"document": function, "query": query or function}
        self._count = count_tokens
        self._turns = Limiter(concurrency)

    def __repr__(self) -> str:
        return f"FunctionEmbedder(id={self.id!r}, dims={self.dims})"

    def configured(self, variables: Mapping[str, str]) -> FunctionEmbedder:
        """Itself: it needs nothing."""
        return self

    def count_tokens(self, text: str) -> int:
        """The length of a text in tokens."""
        return self._count(text)

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        """One vector per text, shape (texts, dims). Raises what the function raises, and ProviderError for garbage."""
        return await embed_all(self, texts, kind)

    async def embed_batch(self, texts: Sequence[str], kind: Kind = "document") -> Embedded:
        """One call of the function."""
        async with self._turns.turn(self._turns.ticket(urgent=kind == "query")):
            started = perf_counter()
            found = await _called(self._functions[kind], list(texts))
            spent = (perf_counter() - started) * 1000
        try:
            vectors = checked(found, len(texts), self.dims, self.normalized)
        except Garbage as error:
            raise ProviderError(f"the function of {self.id} gave {error}", "garbage", retryable=True) from None
        except TypeError:
            raise EmbedderError(
                f"the function of {self.id} gave {type(found).__name__}: it has to give one vector per text"
            ) from None
        return Embedded(vectors, sum(map(self._count, texts)), spent, 0)


async def _called(function: Embeds, texts: list[str]) -> Any:
    """What the function gives, called in a thread unless it is a coroutine function."""
    if iscoroutinefunction(function):
        return await function(texts)
    found = await asyncio.to_thread(function, texts)
    return await found if isawaitable(found) else found
