"""Texts to vectors: the embedder of this server under its own name."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Literal, Protocol

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from reflow.errors import MissingExtra
from reflow.limits import Limits
from reflow.server.pinecone.errors import Refused, invalid, not_found, unimplemented
from reflow.server.pinecone.requests import Reply, Request, Routes, reply


class Embedder(Protocol):
    """What the API needs of a model."""

    @property
    def id(self) -> str:
        """Its name, for clients too."""
        ...

    @property
    def dims(self) -> int:
        """Length of a vector."""
        ...

    @property
    def max_tokens(self) -> int | None:
        """What it reads at once; None where that is unknown."""
        ...

    def count_tokens(self, text: str) -> int:
        """The length of a text as the model counts it."""
        ...

    async def load(self) -> None:
        """Gets ready. Raises MissingExtra where its packages are not installed."""
        ...

    async def embed(self, texts: Sequence[str], kind: Literal["document", "query"]) -> NDArray[np.float32]:
        """One vector per text, in order."""
        ...

    def close(self) -> None:
        """Ends its threads."""
        ...


OpensEmbedder = Callable[[], Embedder]
"""Makes the embedder when it is first needed."""


class Embed(Struct):
    """`/embed`"""

    model: str
    inputs: list[Input]
    parameters: dict[str, Any] | None = None


class Input(Struct):
    """One text of `/embed`."""

    text: str


_decode_embed = msgspec.json.Decoder(Embed).decode


class Inference:
    """Opens the embedder once, and says what it can do."""

    def __init__(self, opens: OpensEmbedder, limits: Limits) -> None:
        self._opens = opens
        self._limits = limits
        self._opening = asyncio.Lock()
        self._embedder: Embedder | None = None

    async def embedder(self) -> Embedder:
        """The embedder, ready. Raises MissingExtra."""
        async with self._opening:
            if self._embedder is None:
                embedder = self._opens()
                await embedder.load()
                self._embedder = embedder
        return self._embedder

    def close(self) -> None:
        """Closes the embedder, if it was opened."""
        if self._embedder is not None:
            self._embedder.close()
            self._embedder = None

    async def named(self, model: str) -> Embedder:
        """The embedder, if that is its name. Raises Refused, and MissingExtra."""
        embedder = await self.embedder()
        if model != embedder.id:
            raise invalid(f"the model {model[:100]!r} is not served here; available is {embedder.id!r} (GET /models)")
        return embedder

    async def vectors(
        self, model: str, texts: Sequence[str], kind: Literal["document", "query"]
    ) -> tuple[NDArray[np.float32], int]:
        """Vectors of texts, and how many tokens these have. Raises Refused."""
        embedder = await self.named(model)
        if len(texts) > self._limits.texts_per_request:
            raise invalid(f"one request may bring {self._limits.texts_per_request} texts, got {len(texts)}")
        if not all(text.strip() for text in texts):
            raise invalid("a text to be embedded must not be empty")
        vectors = await embedder.embed(texts, kind)
        return vectors, sum(map(embedder.count_tokens, texts))

    async def models(self) -> list[dict[str, Any]]:
        """What there is, as clients read it."""
        try:
            embedder = await self.embedder()
        except MissingExtra:
            return []
        return [
            {
                "model": embedder.id,
                "short_description": "The embedder of this server.",
                "type": "embed",
                "vector_type": "dense",
                "default_dimension": embedder.dims,
                "supported_dimensions": [embedder.dims],
                "modality": "text",
                "max_sequence_length": embedder.max_tokens,
                "max_batch_size": self._limits.texts_per_request,
                "provider_name": "reflow",
                "supported_metrics": ["cosine", "dotproduct", "euclidean"],
                "supported_parameters": [
                    {
                        "parameter": "input_type",
                        "type": "one_of",
                        "value_type": "string",
                        "required": False,
                        "default": "passage",
                        "allowed_values": ["query", "passage"],
                    }
                ],
            }
        ]


def inference_routes(inference: Inference) -> Routes:
    """What the control plane's host answers about models."""

    async def embed(request: Request) -> Reply:
        body = request.decoded(_decode_embed)
        parameters = body.parameters or {}
        kind = parameters.get("input_type", "passage")
        if kind not in ("query", "passage"):
            raise invalid("input_type must be 'query' or 'passage'")
        embedder = await inference.named(body.model)
        if parameters.get("dimension", embedder.dims) != embedder.dims:
            raise invalid(f"{embedder.id} gives vectors of dimension {embedder.dims} only")
        texts = [given.text for given in body.inputs]
        if not texts:
            raise invalid("inputs must have at least one text")
        vectors, tokens = await inference.vectors(body.model, texts, "query" if kind == "query" else "document")
        data = [{"values": vector, "vector_type": "dense"} for vector in vectors.tolist()]
        usage = {"total_tokens": tokens}
        return reply({"model": embedder.id, "vector_type": "dense", "data": data, "usage": usage})

    async def models(request: Request) -> Reply:
        fields = request.fields()
        wanted = fields.text("type") in (None, "embed") and fields.text("vector_type") in (None, "dense")
        return reply({"models": await inference.models() if wanted else []})

    async def model(request: Request) -> Reply:
        for found in await inference.models():
            if found["model"] == request.names[0]:
                return reply(found)
        raise not_found(f"there is no model {request.names[0][:100]!r}; GET /models lists what is served here")

    return {
        "embed": {"POST": embed},
        "rerank": {"POST": _rerank},
        "models": {"GET": models},
        "models/*": {"GET": model},
        "models/*/*": {"GET": _slashed(model)},
    }


def _slashed(model: Any) -> Any:
    """A model whose name has a slash that the client did not encode."""

    async def found(request: Request) -> Reply:
        return await model(replace(request, names=("/".join(request.names),)))

    return found


async def _rerank(_request: Request) -> Reply:
    raise no_reranker()


def no_reranker() -> Refused:
    """There is no model for it, and the embedder again would only repeat the order that the search gave."""
    return unimplemented("reranking is not served here: no reranking model is installed; leave out 'rerank'")
