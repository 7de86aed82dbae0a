"""The embedder that variables name."""

from __future__ import annotations

import pytest

from reflow import rag
from reflow.errors import DefinitionError
from reflow.rag.embedders import batching


@pytest.mark.parametrize(
    ("variables", "id", "dims"),
    [
        ({}, "local/minilm-l6-v2", 384),
        ({"EMBEDDING_MODEL": "local"}, "local/minilm-l6-v2", 384),
        ({"EMBEDDING_MODEL": "openai/text-embedding-3-small"}, "openai/text-embedding-3-small", 1536),
        ({"EMBEDDING_MODEL": "ollama/nomic-embed-text"}, "ollama/nomic-embed-text", 768),
        ({"EMBEDDING_MODEL": "cohere/embed-v4.0"}, "cohere/embed-v4.0", 1536),
        ({"EMBEDDING_MODEL": "voyage/voyage-3.5"}, "voyage/voyage-3.5", 1024),
        (
            {"EMBEDDING_MODEL": "bge-m3", "EMBEDDING_URL": "http://models.example/v1", "EMBEDDING_DIMS": "1024"},
            "models.example/bge-m3",
            1024,
        ),
    ],
)
def test_an_embedder_by_its_name(variables: dict[str, str], id: str, dims: int) -> None:
    embedder = rag.configured_embedder(variables)
    assert (embedder.id, embedder.dims) == (id, dims)


def test_only_a_server_of_ones_own_is_sent_the_key_of_ones_own() -> None:
    own = {"EMBEDDING_MODEL": "m", "EMBEDDING_URL": "http://models.example/v1", "EMBEDDING_DIMS": "3"}
    embedder = rag.configured_embedder({**own, "EMBEDDING_KEY": "k", "OPENAI_API_KEY": "paid for"})
    assert batching(embedder).needs == ("EMBEDDING_KEY",)
    assert batching(rag.configured_embedder(own)).needs == ()


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"EMBEDDING_MODEL": "text-embedding-3-small"}, "openai/MODEL"),
        ({"EMBEDDING_MODEL": "nobody/model"}, "openai, cohere, voyage, ollama"),
        ({"EMBEDDING_MODEL": "ollama/new-model"}, "set EMBEDDING_DIMS"),
        ({"EMBEDDING_MODEL": "ollama/new-model", "EMBEDDING_DIMS": "many"}, "such as 768"),
        ({"EMBEDDING_MODEL": "ollama/new-model", "EMBEDDING_DIMS": "0"}, "such as 768"),
    ],
)
def test_what_names_no_embedder_is_refused(variables: dict[str, str], said: str) -> None:
    with pytest.raises(DefinitionError, match=said):
        rag.configured_embedder(variables)


def test_others_are_named_like_the_first() -> None:
    others = rag.other_embedders({"EMBEDDING_OTHERS": "local, ollama/nomic-embed-text"})
    assert [embedder.id for embedder in others] == ["local/minilm-l6-v2", "ollama/nomic-embed-text"]
    assert rag.other_embedders({}) == []


def test_the_face_of_rag_is_what_it_says() -> None:
    assert [name for name in rag.__all__ if not hasattr(rag, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = rag.Nothing  # pyright: ignore
