"""Reranking: a model that reads the question and a text together judges better than vectors do, and takes longer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from math import isfinite
from time import perf_counter
from typing import NamedTuple, Protocol

from reflow.errors import ProviderError


class Judged(NamedTuple):
    """One score per text, a higher one is better; and what it took."""

    scores: list[float]
    milliseconds: float
    tokens: int = 0
    retries: int = 0


class Reranker(Protocol):
    """A model that judges how well texts answer a question."""

    @property
    def id(self) -> str:
        """Provider and model, as the ledger has it."""
        ...

    async def rerank(self, query: str, texts: Sequence[str]) -> Judged:
        """Judges texts, of which there is at least one. Raises ProviderError."""
        ...


class FunctionReranker:
    """Any function of a question and texts that gives one score for each, such as a cross-encoder's `predict`.

    What is not a coroutine function is run as it is: let one that takes its time go to a thread by itself.
    """

    def __init__(
        self, function: Callable[[str, Sequence[str]], Sequence[float] | Awaitable[Sequence[float]]], *, id: str
    ) -> None:
        self.id = id
        self._function = function

    async def rerank(self, query: str, texts: Sequence[str]) -> Judged:
        """Judges texts. Raises ProviderError for scores that can't be."""
        started = perf_counter()
        given = self._function(query, texts)
        found = await given if isawaitable(given) else given
        return Judged(checked_scores(found, len(texts), self.id), (perf_counter() - started) * 1000)


def checked_scores(found: Sequence[float], count: int, model: str) -> list[float]:
    """The scores as finite numbers. Raises ProviderError, retryable, for too few of them and the like."""
    try:
        scores = [float(score) for score in found]
    except (TypeError, ValueError) as error:
        raise ProviderError(f"{model} gave no scores: {error}", "garbage", retryable=True) from None
    if len(scores) != count or not all(map(isfinite, scores)):
        raise ProviderError(
            f"{model} gave {len(scores)} scores for {count} texts, or some that are no numbers",
            "garbage",
            retryable=True,
        )
    return scores
