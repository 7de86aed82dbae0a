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
    from reflow.rag.answers.chat import Chat, FunctionChat, Message, Usage
    from reflow.rag.answers.extractive import Extractive
    from reflow.rag.answers.openai_chat import OpenAIChat, SdkChat, configured_chat
    from reflow.rag.configured import configured_embedder, other_embedders
    from reflow.rag.corpus import Corpus
    from reflow.rag.costs.spending import Budget, Entry, Price, Spending
    from reflow.rag.embedders.base import Embedder
    from reflow.rag.embedders.cohere import Cohere
    from reflow.rag.embedders.function import FunctionEmbedder
    from reflow.rag.embedders.local import LocalEmbedder
    from reflow.rag.embedders.ollama import Ollama
    from reflow.rag.embedders.openai import OpenAICompatible
    from reflow.rag.embedders.voyage import Voyage
    from reflow.rag.ingestion.jobs import Pace
    from reflow.rag.measures.golden import GoldenRow
    from reflow.rag.measures.metrics import Expected
    from reflow.rag.search.asking import SearchSettings
    from reflow.rag.search.queries import Options, Question
    from reflow.rag.search.rerank import CohereReranker, FunctionReranker, RemoteReranker, Reranker, VoyageReranker
    from reflow.rag.search.transform import Transformed, hypothetical, rewrite
    from reflow.rag.sources.contents import PieceInput
    from reflow.rag.sources.local_files import watch_folder

_HOMES = {
    "Budget": "costs.spending",
    "Chat": "answers.chat",
    "Cohere": "embedders.cohere",
    "CohereReranker": "search.rerank",
    "Corpus": "corpus",
    "Embedder": "embedders.base",
    "Entry": "costs.spending",
    "Expected": "measures.metrics",
    "Extractive": "answers.extractive",
    "FunctionChat": "answers.chat",
    "FunctionEmbedder": "embedders.function",
    "FunctionReranker": "search.rerank",
    "GoldenRow": "measures.golden",
    "LocalEmbedder": "embedders.local",
    "Message": "answers.chat",
    "Ollama": "embedders.ollama",
    "OpenAIChat": "answers.openai_chat",
    "OpenAICompatible": "embedders.openai",
    "Options": "search.queries",
    "Pace": "ingestion.jobs",
    "PieceInput": "sources.contents",
    "Price": "costs.spending",
    "Question": "search.queries",
    "RemoteReranker": "search.rerank",
    "Reranker": "search.rerank",
    "SdkChat": "answers.openai_chat",
    "SearchSettings": "search.asking",
    "Spending": "costs.spending",
    "Transformed": "search.transform",
    "Usage": "answers.chat",
    "Voyage": "embedders.voyage",
    "VoyageReranker": "search.rerank",
    "configured_chat": "answers.openai_chat",
    "configured_embedder": "configured",
    "hypothetical": "search.transform",
    "other_embedders": "configured",
    "rewrite": "search.transform",
    "watch_folder": "sources.local_files",
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
