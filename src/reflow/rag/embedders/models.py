"""What is known of models that are often used, so that nobody has to write it down: always to be overridden."""

from __future__ import annotations

from typing import NamedTuple


class Known(NamedTuple):
    """A model as its makers describe it."""

    dims: int
    max_tokens: int
    query_prefix: str = ""
    document_prefix: str = ""


_RETRIEVAL = "Represent this sentence for searching relevant passages: "

KNOWN: dict[str, Known] = {
    "text-embedding-3-small": Known(1536, 8192),
    "text-embedding-3-large": Known(3072, 8192),
    "text-embedding-ada-002": Known(1536, 8192),
    "mistral-embed": Known(1024, 8192),
    "embed-v4.0": Known(1536, 128_000),
    "embed-english-v3.0": Known(1024, 512),
    "embed-multilingual-v3.0": Known(1024, 512),
    "embed-english-light-v3.0": Known(384, 512),
    "embed-multilingual-light-v3.0": Known(384, 512),
    "voyage-4-large": Known(1024, 32_000),
    "voyage-4": Known(1024, 32_000),
    "voyage-4-lite": Known(1024, 32_000),
    "voyage-3-large": Known(1024, 32_000),
    "voyage-3.5": Known(1024, 32_000),
    "voyage-3.5-lite": Known(1024, 32_000),
    "voyage-code-3": Known(1024, 32_000),
    "nomic-embed-text": Known(768, 2048, "search_query: ", "search_document: "),
    "mxbai-embed-large": Known(1024, 512, _RETRIEVAL),
    "snowflake-arctic-embed": Known(1024, 512, _RETRIEVAL),
    "all-minilm": Known(384, 256),
    "bge-m3": Known(1024, 8192),
    "embeddinggemma": Known(768, 2048, "task: search result | query: ", "title: none | text: "),
    "multilingual-e5-small": Known(384, 512, "query: ", "passage: "),
    "multilingual-e5-base": Known(768, 512, "query: ", "passage: "),
    "multilingual-e5-large": Known(1024, 512, "query: ", "passage: "),
    "e5-small-v2": Known(384, 512, "query: ", "passage: "),
    "e5-base-v2": Known(768, 512, "query: ", "passage: "),
    "e5-large-v2": Known(1024, 512, "query: ", "passage: "),
}


def known(model: str) -> Known | None:
    """What is known of a model, by its name without the maker's before it and the version's tag after it."""
    return KNOWN.get(model.rpartition("/")[2].removesuffix(":latest"))
