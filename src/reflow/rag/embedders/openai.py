"""OpenAI's embeddings, and everything that speaks their format."""

from __future__ import annotations

from typing import Any, Self, Unpack
from urllib.parse import urlsplit

import msgspec

from reflow.rag.embedders.base import Kind
from reflow.rag.embedders.remote import Options, Read, RemoteEmbedder, endpoint_for
from reflow.rag.embedders.replies import in_order
from reflow.rag.provider.failures import decoded

OPENAI = "https://api.openai.com/v1"


class _Item(msgspec.Struct):
    embedding: list[float] | str
    index: int | None = None


class _Usage(msgspec.Struct):
    total_tokens: int | None = None


class Reply(msgspec.Struct):
    """The reply of /v1/embeddings, at OpenAI and at Voyage."""

    data: list[_Item]
    usage: _Usage | None = None

    @classmethod
    def read(cls, body: bytes) -> Read:
        """The vectors of a reply. Raises Garbage."""
        reply = decoded(body, cls)
        vectors = in_order([item.embedding for item in reply.data], [item.index for item in reply.data])
        return Read(vectors, None if reply.usage is None else reply.usage.total_tokens)


class OpenAICompatible(RemoteEmbedder):
    """Embeddings of OpenAI (the default), Azure, Mistral, vLLM, LM Studio, text-embeddings-inference and many others.

        OpenAICompatible()                                             # the key in OPENAI_API_KEY
        OpenAICompatible("mistral-embed", base_url="https://api.mistral.ai/v1", variable="MISTRAL_API_KEY")
        OpenAICompatible.vllm("BAAI/bge-m3")                           # on this machine, without a key

    OPENAI_API_KEY is only ever sent to OpenAI; for others, `variable` names the one that holds their key. `provider`
    is the first part of `id`, by default "openai" there and elsewhere the host's name. Other options: see `Options`.
    """

    def __init__(
        self,
        model: str = "text-embedding-3-small",
        *,
        base_url: str = OPENAI,
        provider: str | None = None,
        **options: Unpack[Options],
    ) -> None:
        ours = base_url.rstrip("/") == OPENAI
        host = _host(base_url)
        usual = "OPENAI_API_KEY" if ours else None
        endpoint = endpoint_for(base_url, "embeddings", "OpenAI" if ours else provider or host, usual, options)
        super().__init__(provider or ("openai" if ours else host), model, endpoint, options)
        self._packed = ours  # others may not know base64, or ignore it

    @classmethod
    def lm_studio(cls, model: str, *, base_url: str = "http://localhost:1234/v1", **options: Unpack[Options]) -> Self:
        """LM Studio's server on this machine."""
        return cls(model, base_url=base_url, provider="lmstudio", **options)

    @classmethod
    def vllm(cls, model: str, *, base_url: str = "http://localhost:8000/v1", **options: Unpack[Options]) -> Self:
        """A vLLM server."""
        return cls(model, base_url=base_url, provider="vllm", **options)

    @classmethod
    def tei(cls, model: str, *, base_url: str = "http://localhost:8080/v1", **options: Unpack[Options]) -> Self:
        """A server of text-embeddings-inference, which takes 32 texts at once unless it is told otherwise.

        It refuses texts that are too long, unless it was started with --auto-truncate.
        """
        options.setdefault("max_batch", 32)
        return cls(model, base_url=base_url, provider="tei", **options)

    def request(self, texts: list[str], kind: Kind) -> dict[str, Any]:
        """The body of a request."""
        body: dict[str, Any] = {"model": self.model, "input": texts}
        body["encoding_format"] = "base64" if self._packed else "float"
        return body if self.dimensions is None else body | {"dimensions": self.dimensions}

    def read(self, body: bytes) -> Read:
        """What is in a reply. Raises Garbage."""
        return Reply.read(body)


def _host(url: str) -> str:
    """Names a provider by its address. What is no address, the endpoint refuses."""
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""
