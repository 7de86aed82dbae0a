"""Embedders behind an address: prompts, batches and the checks that all of them share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from hashlib import sha256
from random import Random
from typing import Any, NamedTuple, Self, TypedDict

import msgspec

from reflow import Secret
from reflow.errors import EmbedderError, InvalidValue, ProviderError
from reflow.limits import DEFAULT, Limits
from reflow.rag.embedders.base import Embedded, Kind, Vectors
from reflow.rag.embedders.batches import embed_all, estimated_tokens
from reflow.rag.embedders.models import known
from reflow.rag.embedders.replies import checked
from reflow.rag.provider import Endpoint, LimiterStats


class Options(TypedDict, total=False):
    """What all embedders behind an address can be told."""

    dims: int
    """Length of the model's vectors. Known for many models; otherwise learnt from the first reply."""
    dimensions: int
    """Asks the model for vectors of this length, where it can shorten them."""
    query_prefix: str
    """Put before each question; by default what the model's makers prescribe, where that is known."""
    document_prefix: str
    """Put before each text that is searched."""
    normalized: bool
    """Bring vectors to length 1, which is the default; False leaves them as they come."""
    max_batch: int
    """Texts of one request."""
    max_batch_tokens: int
    """Tokens of one request, as `count_tokens` counts them."""
    max_tokens: int
    """What the model reads at once."""
    count_tokens: Callable[[str], int]
    """Counts the tokens of a text; by default three bytes make one, which is rather too many than too few."""
    revision: str
    """Goes into the embedder's `revision`: for models that change under one name."""
    extra: Mapping[str, Any]
    """More fields for the body of each request."""
    headers: Mapping[str, str]
    """More headers for each request; they are no secret."""
    api_key: Secret | str | None
    """The key, where it does not come from a variable."""
    variable: str | None
    """The variable that holds the key; the provider's usual one by default."""
    key_header: str
    """The header that the key goes into, by default `authorization`; Azure has `api-key`."""
    concurrency: int
    """Requests under way at once, for all users of the address and key in this process."""
    limits: Limits
    rng: Random
    """Where the random part of pauses comes from."""


def endpoint_for(base_url: str, path: str, provider: str, usual: str | None, options: Options) -> Endpoint:
    """The endpoint below a base URL. `usual`: the variable that holds the key unless another one is named."""
    return Endpoint(
        f"{base_url.rstrip('/')}/{path}",
        options.get("api_key"),
        provider=provider,
        variable=options.get("variable") or usual,
        key_header=options.get("key_header", "authorization"),
        headers=options.get("headers"),
        concurrency=options.get("concurrency"),
        limits=options.get("limits", DEFAULT),
        rng=options.get("rng"),
    )


class Read(NamedTuple):
    """A reply as it came: vectors in the order of the texts, and the tokens where the provider counts them."""

    vectors: Sequence[Any]
    tokens: int | None


class RemoteEmbedder(ABC):
    """An embedder behind an address. Subclasses say what a request has in it and how a reply is read.

    Keys are given as `api_key`, found by `configured(ctx.env)`, or in the process's environment; nothing shows them.
    Requests are tried again, bounded and paused as `reflow.rag.provider.Endpoint` says; questions go before texts.
    """

    def __init__(self, provider: str, model: str, endpoint: Endpoint, options: Options) -> None:
        facts = known(model)
        limits = options.get("limits", DEFAULT)
        self.provider = provider
        self.model = model
        self.endpoint = endpoint
        self.normalized = options.get("normalized", True)
        self.dimensions = options.get("dimensions")
        self.max_batch = options.get("max_batch", limits.model_batch_texts)
        self.max_batch_tokens: int | None = options.get("max_batch_tokens", limits.model_batch_tokens)
        self.max_tokens: int | None = options.get("max_tokens", facts and facts.max_tokens)
        self.query_prefix = options.get("query_prefix", facts.query_prefix if facts else "")
        self.document_prefix = options.get("document_prefix", facts.document_prefix if facts else "")
        self._dims: int | None = self.dimensions or options.get("dims", facts and facts.dims)
        self._count = options.get("count_tokens", estimated_tokens)
        self._revision = options.get("revision", "")
        self._extra = dict(options.get("extra", {}))
        if self.max_batch < 1:
            raise InvalidValue(f"max_batch is at least 1, got {self.max_batch}")
        if self._dims is not None and self._dims < 1:
            raise InvalidValue(f"vectors have at least 1 dimension, got {self._dims}")

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.model!r}, {self.endpoint.url!r})"

    @property
    def id(self) -> str:
        """Provider and model, such as "openai/text-embedding-3-small"."""
        return f"{self.provider}/{self.model}"

    @property
    def revision(self) -> str:
        """Tells apart what would get other vectors of the same model: other prompts, lengths, or `revision=`."""
        shaping = [self.dimensions, self.query_prefix, self.document_prefix, self.normalized, self._extra]
        digest = sha256(msgspec.json.encode(shaping, order="deterministic")).hexdigest()[:12]
        return f"{self._revision}-{digest}" if self._revision else digest

    @property
    def dims(self) -> int:
        """Length of a vector. Raises EmbedderError before the first reply of a model that is not known."""
        if self._dims is None:
            raise EmbedderError(
                f"the length of the vectors of {self.id} is not known: give dims=..., or `await embedder.load()` first"
            )
        return self._dims

    @property
    def concurrency(self) -> int:
        """Requests under way at once."""
        return self.endpoint.concurrency

    @property
    def needs(self) -> tuple[str, ...]:
        """The variables that have to be set."""
        return self.endpoint.needs

    @property
    def stats(self) -> LimiterStats:
        """The counters of the address and key, for all their users in this process."""
        return self.endpoint.stats

    def configured(self, variables: Mapping[str, str]) -> Self:
        """This embedder with its key from variables, such as `ctx.env`; itself where it needs none of them."""
        endpoint = self.endpoint.configured(variables)
        if endpoint is self.endpoint:
            return self
        other = copy(self)
        other.endpoint = endpoint
        return other

    def count_tokens(self, text: str) -> int:
        """The length of a text in tokens, about."""
        return self._count(text)

    async def load(self) -> None:
        """Asks for the length of vectors where it is not known."""
        if self._dims is None:
            await self.embed_batch(["length"], "document")

    async def embed(self, texts: Sequence[str], kind: Kind = "document") -> Vectors:
        """One vector per text, shape (texts, dims), in as many requests as that takes.

        Raises ProviderError, ProviderBusy, Overloaded, and MissingExtra without `reflow[remote]`.
        """
        if not texts:
            await self.load()
        return await embed_all(self, texts, kind)

    async def embed_batch(self, texts: Sequence[str], kind: Kind = "document") -> Embedded:
        """One request with all of the texts. Raises ProviderError; its `input_refused` says that a part may work."""
        for number, text in enumerate(texts):
            if not text.strip():
                raise ProviderError(f"text {number + 1} of {len(texts)} is empty", "refused", input_refused=True)
        prefix = self.query_prefix if kind == "query" else self.document_prefix
        sent = [prefix + text for text in texts] if prefix else list(texts)

        def read(body: bytes) -> tuple[Vectors, int | None]:
            found = self.read(body)
            return checked(found.vectors, len(texts), self._dims, self.normalized), found.tokens

        answered = await self.endpoint.post(self.request(sent, kind) | self._extra, read, urgent=kind == "query")
        vectors, tokens = answered.value
        self._dims = vectors.shape[1]
        counted = sum(map(self._count, sent)) if tokens is None else tokens
        return Embedded(vectors, counted, answered.milliseconds, answered.retries)

    @abstractmethod
    def request(self, texts: list[str], kind: Kind) -> dict[str, Any]:
        """The body of a request."""

    @abstractmethod
    def read(self, body: bytes) -> Read:
        """What is in a reply. Raises Garbage."""
