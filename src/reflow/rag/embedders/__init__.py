"""What turns texts into vectors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from reflow.rag.embedders.base import BatchEmbedder, Embedded, Embedder, Kind, Vectors, batching

if TYPE_CHECKING:
    from reflow.rag.embedders.cohere import Cohere
    from reflow.rag.embedders.function import FunctionEmbedder
    from reflow.rag.embedders.local import LocalEmbedder
    from reflow.rag.embedders.ollama import Ollama
    from reflow.rag.embedders.openai import OpenAICompatible
    from reflow.rag.embedders.remote import Options, RemoteEmbedder
    from reflow.rag.embedders.voyage import Voyage

__all__ = [
    "BatchEmbedder",
    "Cohere",
    "Embedded",
    "Embedder",
    "FunctionEmbedder",
    "Kind",
    "LocalEmbedder",
    "Ollama",
    "OpenAICompatible",
    "Options",
    "RemoteEmbedder",
    "Vectors",
    "Voyage",
    "batching",
]

_MODULES = {
    "Cohere": "cohere",
    "FunctionEmbedder": "function",
    "LocalEmbedder": "local",
    "Ollama": "ollama",
    "OpenAICompatible": "openai",
    "Options": "remote",
    "RemoteEmbedder": "remote",
    "Voyage": "voyage",
}


def __getattr__(name: str) -> object:
    """Imports an embedder when it is asked for: an application has one of them."""
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
