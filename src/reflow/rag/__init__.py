"""From texts to answers: sources, chunks, vectors, searches and answers, as a component of any application.

    from reflow import rag

    corpus = rag.Corpus("docs", embedder=rag.LocalEmbedder())
    app = rf.App(modules=[...], components=[corpus])

Built on the public API only, like any user's code. See docs/rag.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from reflow.rag.asking import SearchSettings
    from reflow.rag.chat import Chat, FunctionChat, Message, Usage
    from reflow.rag.configured import configured_embedder, other_embedders
    from reflow.rag.contents import PieceInput
    from reflow.rag.corpus import Corpus
    from reflow.rag.embedders.base import Embedder
    from reflow.rag.embedders.cohere import Cohere
    from reflow.rag.embedders.function import FunctionEmbedder
    from reflow.rag.embedders.local import LocalEmbedder
    from reflow.rag.embedders.ollama import Ollama
    from reflow.rag.embedders.openai import OpenAICompatible
    from reflow.rag.embedders.voyage import Voyage
    from reflow.rag.extractive import Extractive
    from reflow.rag.golden import GoldenRow
    from reflow.rag.jobs import Pace
    from reflow.rag.local_files import watch_folder
    from reflow.rag.metrics import Expected
    from reflow.rag.openai_chat import OpenAIChat, SdkChat, configured_chat
    from reflow.rag.queries import Options, Question
    from reflow.rag.rerank import CohereReranker, FunctionReranker, RemoteReranker, Reranker, VoyageReranker
    from reflow.rag.spending import Budget, Entry, Price, Spending
    from reflow.rag.transform import Transformed, hypothetical, rewrite

_HOMES = {
    "Budget": "spending",
    "Chat": "chat",
    "Cohere": "embedders.cohere",
    "CohereReranker": "rerank",
    "Corpus": "corpus",
    "Embedder": "embedders.base",
    "Entry": "spending",
    "Expected": "metrics",
    "Extractive": "extractive",
    "FunctionChat": "chat",
    "FunctionEmbedder": "embedders.function",
    "FunctionReranker": "rerank",
    "GoldenRow": "golden",
    "LocalEmbedder": "embedders.local",
    "Message": "chat",
    "Ollama": "embedders.ollama",
    "OpenAIChat": "openai_chat",
    "OpenAICompatible": "embedders.openai",
    "Options": "queries",
    "Pace": "jobs",
    "PieceInput": "contents",
    "Price": "spending",
    "Question": "queries",
    "RemoteReranker": "rerank",
    "Reranker": "rerank",
    "SdkChat": "openai_chat",
    "SearchSettings": "asking",
    "Spending": "spending",
    "Transformed": "transform",
    "Usage": "chat",
    "Voyage": "embedders.voyage",
    "VoyageReranker": "rerank",
    "configured_chat": "openai_chat",
    "configured_embedder": "configured",
    "hypothetical": "transform",
    "other_embedders": "configured",
    "rewrite": "transform",
    "watch_folder": "local_files",
}

__all__ = [
    "Budget",
    "Chat",
    "Cohere",
    "CohereReranker",
    "Corpus",
    "Embedder",
    "Entry",
    "Expected",
    "Extractive",
    "FunctionChat",
    "FunctionEmbedder",
    "FunctionReranker",
    "GoldenRow",
    "LocalEmbedder",
    "Message",
    "Ollama",
    "OpenAIChat",
    "OpenAICompatible",
    "Options",
    "Pace",
    "PieceInput",
    "Price",
    "Question",
    "RemoteReranker",
    "Reranker",
    "SdkChat",
    "SearchSettings",
    "Spending",
    "Transformed",
    "Usage",
    "Voyage",
    "VoyageReranker",
    "configured_chat",
    "configured_embedder",
    "hypothetical",
    "other_embedders",
    "rewrite",
    "watch_folder",
]


def __getattr__(name: str) -> object:
    """Imports a name when it is asked for: an application that only splits texts loads no more than that."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
