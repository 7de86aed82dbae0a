"""Embeddings of a model that Ollama runs."""

from __future__ import annotations

from typing import Any, Unpack

import msgspec

from reflow.rag.embedders.base import Kind
from reflow.rag.embedders.remote import Options, Read, RemoteEmbedder, endpoint_for
from reflow.rag.provider.failures import decoded


class _Reply(msgspec.Struct):
    embeddings: list[list[float]]
    prompt_eval_count: int | None = None


class Ollama(RemoteEmbedder):
    """A model of an Ollama server, by default the one on this machine, without a key.

    It speaks Ollama's own format: in OpenAI's the server cuts off long texts without a word, here they are refused.
    A request takes 16 texts by default. Other options: see `Options`.
    """

    def __init__(
        self,
        model: str = "nomic-embed-text",
        *,
        base_url: str = "http://localhost:11434",
        **options: Unpack[Options],
    ) -> None:
        options.setdefault("max_batch", 16)
        endpoint = endpoint_for(base_url.rstrip("/").removesuffix("/v1"), "api/embed", "Ollama", None, options)
        super().__init__("ollama", model, endpoint, options)

    def request(self, texts: list[str], kind: Kind) -> dict[str, Any]:
        """The body of a request."""
        body: dict[str, Any] = {"model": self.model, "input": texts, "truncate": False}
        return body if self.dimensions is None else body | {"dimensions": self.dimensions}

    def read(self, body: bytes) -> Read:
        """What is in a reply. Raises Garbage."""
        reply = decoded(body, _Reply)
        return Read(reply.embeddings, reply.prompt_eval_count)
