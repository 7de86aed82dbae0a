"""Cohere's embeddings."""

from __future__ import annotations

from typing import Any, Unpack

import msgspec

from reflow.rag.embedders.base import Kind
from reflow.rag.embedders.remote import Options, Read, RemoteEmbedder, endpoint_for
from reflow.rag.provider.failures import decoded


class _Vectors(msgspec.Struct):
    floats: list[list[float]] = msgspec.field(name="float")


class _Units(msgspec.Struct):
    input_tokens: float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Units | None = None


class _Reply(msgspec.Struct):
    embeddings: _Vectors
    meta: _Meta | None = None


class Cohere(RemoteEmbedder):
    """Cohere's models, which are told what is a question and what a text. The key is in COHERE_API_KEY.

    Texts that are too long are refused, not cut off. A request takes at most 96 texts. Options: see `Options`.
    """

    def __init__(
        self,
        model: str = "embed-v4.0",
        *,
        base_url: str = "https://api.cohere.com",
        **options: Unpack[Options],
    ) -> None:
        endpoint = endpoint_for(base_url, "v2/embed", "Cohere", "COHERE_API_KEY", options)
        super().__init__("cohere", model, endpoint, options)

    def request(self, texts: list[str], kind: Kind) -> dict[str, Any]:
        """The body of a request."""
        body: dict[str, Any] = {
            "model": self.model,
            "texts": texts,
            "input_type": f"search_{kind}",
            "embedding_types": ["float"],
            "truncate": "NONE",
        }
        return body if self.dimensions is None else body | {"output_dimension": self.dimensions}

    def read(self, body: bytes) -> Read:
        """What is in a reply. Raises Garbage."""
        reply = decoded(body, _Reply)
        tokens = reply.meta and reply.meta.billed_units and reply.meta.billed_units.input_tokens
        return Read(reply.embeddings.floats, None if tokens is None else int(tokens))
