"""Voyage's embeddings."""

from __future__ import annotations

from typing import Any, Unpack

from reflow.rag.embedders.base import Kind
from reflow.rag.embedders.openai import Reply
from reflow.rag.embedders.remote import Options, Read, RemoteEmbedder, endpoint_for


class Voyage(RemoteEmbedder):
    """Voyage AI's models, which are told what is a question and what a text. The key is in VOYAGE_API_KEY.

    Texts that are too long are refused, not cut off. Options: see `Options`.
    """

    def __init__(
        self,
        model: str = "voyage-3.5",
        *,
        base_url: str = "https://api.voyageai.com/v1",
        **options: Unpack[Options],
    ) -> None:
        endpoint = endpoint_for(base_url, "embeddings", "Voyage", "VOYAGE_API_KEY", options)
        super().__init__("voyage", model, endpoint, options)

    def request(self, texts: list[str], kind: Kind) -> dict[str, Any]:
        """The body of a request."""
        body: dict[str, Any] = {"model": self.model, "input": texts, "input_type": kind, "truncation": False}
        return body if self.dimensions is None else body | {"output_dimension": self.dimensions}

    def read(self, body: bytes) -> Read:
        """What is in a reply. Raises Garbage."""
        return Reply.read(body)
