"""Reranking: a model that reads the question and a text together judges better than vectors do, and takes longer."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from copy import copy
from inspect import isawaitable, iscoroutinefunction
from math import isfinite
from time import perf_counter
from typing import Any, NamedTuple, Protocol, Self, cast

import msgspec

from reflow import Secret
from reflow.errors import ProviderError
from reflow.rag.provider import Endpoint, Garbage
from reflow.rag.provider.failures import decoded


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

    @property
    def needs(self) -> tuple[str, ...]:
        """The variables that `configured` has to find, such as the one that holds the key."""
        ...

    def configured(self, variables: Mapping[str, str]) -> Reranker:
        """This reranker with what it still needs taken from variables, such as `ctx.env`."""
        ...

    async def rerank(self, query: str, texts: Sequence[str]) -> Judged:
        """Judges texts, of which there is at least one. Raises ProviderError."""
        ...


Judge = Callable[[str, Sequence[str]], Sequence[float]] | Callable[[str, Sequence[str]], Awaitable[Sequence[float]]]


class FunctionReranker:
    """Any function of a question and texts that gives one score for each, such as a cross-encoder's `predict`.

    One that is no coroutine function runs in a thread.
    """

    needs: tuple[str, ...] = ()

    def __init__(self, function: Judge, *, id: str) -> None:
        self.id = id
        self._function = function

    def configured(self, variables: Mapping[str, str]) -> Self:
        """Itself: it needs nothing."""
        return self

    async def rerank(self, query: str, texts: Sequence[str]) -> Judged:
        """Judges texts. Raises ProviderError for scores that can't be."""
        started = perf_counter()
        function = cast("Callable[[str, Sequence[str]], Any]", self._function)
        found = function(query, texts) if iscoroutinefunction(function) else asyncio.to_thread(function, query, texts)
        found = await found
        try:
            scores = [float(score) for score in (await found if isawaitable(found) else found)]
        except (TypeError, ValueError) as error:
            raise ProviderError(f"{self.id} gave no scores: {error}", "garbage", retryable=True) from None
        if len(scores) != len(texts) or not all(map(isfinite, scores)):
            what = f"{len(scores)} scores for {len(texts)} texts, or some that are no numbers"
            raise ProviderError(f"{self.id} gave {what}", "garbage", retryable=True)
        return Judged(scores, (perf_counter() - started) * 1000)


class _Score(msgspec.Struct):
    index: int
    relevance_score: float


class _Usage(msgspec.Struct):
    total_tokens: int | None = None


class _Reply(msgspec.Struct):
    """Cohere, Jina and vLLM say `results`, Voyage says `data`."""

    results: list[_Score] | None = None
    data: list[_Score] | None = None
    usage: _Usage | None = None


class RemoteReranker:
    """A reranker behind an address that speaks Cohere's format, as Jina, vLLM and others do, or Voyage's.

    `variable` names the variable that holds the key, where `api_key` is not given; `extra` are more fields for the
    body of each request. Requests are tried again, bounded and paused as `reflow.rag.provider.Endpoint` says.
    """

    def __init__(
        self,
        model: str,
        url: str,
        *,
        provider: str,
        api_key: Secret | str | None = None,
        variable: str | None = None,
        extra: Mapping[str, Any] | None = None,
        concurrency: int | None = None,
    ) -> None:
        self.model = model
        self.endpoint = Endpoint(url, api_key, provider=provider, variable=variable, concurrency=concurrency)
        self._extra = dict(extra or {})

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {self.endpoint.url!r})"

    @property
    def id(self) -> str:
        """Provider and model, such as "cohere/rerank-v3.5"."""
        return f"{self.endpoint.provider.lower()}/{self.model}"

    @property
    def needs(self) -> tuple[str, ...]:
        """The variables that have to be set."""
        return self.endpoint.needs

    def configured(self, variables: Mapping[str, str]) -> Self:
        """This reranker with its key from variables, such as `ctx.env`."""
        other = copy(self)
        other.endpoint = self.endpoint.configured(variables)
        return other

    async def rerank(self, query: str, texts: Sequence[str]) -> Judged:
        """Judges texts in one request. Raises ProviderError, ProviderBusy."""
        body = {"model": self.model, "query": query, "documents": list(texts), **self._extra}
        answered = await self.endpoint.post(body, lambda raw: read_scores(raw, len(texts)), urgent=True)
        scores, tokens = answered.value
        return Judged(scores, answered.milliseconds, tokens, answered.retries)


class CohereReranker(RemoteReranker):
    """Cohere's rerankers. The key is in COHERE_API_KEY."""

    def __init__(
        self,
        model: str = "rerank-v3.5",
        *,
        base_url: str = "https://api.cohere.com",
        api_key: Secret | str | None = None,
        **options: Any,
    ) -> None:
        url = f"{base_url.rstrip('/')}/v2/rerank"
        super().__init__(model, url, provider="Cohere", api_key=api_key, variable="COHERE_API_KEY", **options)


class VoyageReranker(RemoteReranker):
    """Voyage's rerankers. The key is in VOYAGE_API_KEY."""

    def __init__(
        self,
        model: str = "rerank-2.5",
        *,
        base_url: str = "https://api.voyageai.com",
        api_key: Secret | str | None = None,
        **options: Any,
    ) -> None:
        url = f"{base_url.rstrip('/')}/v1/rerank"
        super().__init__(model, url, provider="Voyage", api_key=api_key, variable="VOYAGE_API_KEY", **options)


def read_scores(raw: bytes, count: int) -> tuple[list[float], int]:
    """One score per text, in their order, and the tokens that were counted. Raises Garbage."""
    reply = decoded(raw, _Reply)
    listed = reply.results if reply.results is not None else reply.data
    if listed is None:
        raise Garbage("a reply without results")
    scores = {one.index: one.relevance_score for one in listed}
    if len(listed) != count or sorted(scores) != list(range(count)):
        raise Garbage(f"{len(listed)} scores for {count} texts, or the same text twice")
    if not all(map(isfinite, scores.values())):
        raise Garbage("scores that are no numbers")
    return [scores[index] for index in range(count)], (reply.usage and reply.usage.total_tokens) or 0
