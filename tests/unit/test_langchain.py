"""The adapter for LangChain beyond LangChain's own tests (`tests/clients/test_langchain.py`)."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings

from reflow.adapters.langchain import ReflowVectorStore
from reflow.embedded import EmbeddedVectors, open_vectors
from reflow.errors import InvalidFilter, InvalidValue

WORDS = {"north": [0.0, 1.0], "east": [1.0, 0.0], "northeast": [0.8, 0.8], "south": [0.0, -1.0], "nnw": [-0.1, 1.0]}


class Compass(Embeddings):
    """Words as points of the compass."""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        return [WORDS[text] for text in texts]

    def embed_query(self, text: str) -> list[float]:
        return WORDS[text]


@pytest.fixture
def vectors() -> Iterator[EmbeddedVectors]:
    with open_vectors(None) as vectors:
        yield vectors


@pytest.fixture
def store(vectors: EmbeddedVectors) -> ReflowVectorStore:
    return ReflowVectorStore(vectors.create_index("compass", dims=2), Compass())


def contents(documents: list[Document]) -> list[str]:
    return [document.page_content for document in documents]


def test_from_texts_and_search_by_score(vectors: EmbeddedVectors):
    index = vectors.create_index("compass", dims=2)
    store = ReflowVectorStore.from_texts(list(WORDS), Compass(), ids=list(WORDS), index=index)
    hits = store.similarity_search_with_score("north", k=3)
    assert [document.id for document, _ in hits] == ["north", "nnw", "northeast"]
    assert [score for _, score in hits] == pytest.approx([1, 1 / math.hypot(1, 0.1), math.sqrt(0.5)])
    assert asyncio.run(store.asimilarity_search_with_score("north", k=3)) == hits
    assert store.similarity_search_by_vector([0, -2], k=1) == store.similarity_search("south", k=1)


def test_from_documents_awaited(vectors: EmbeddedVectors):
    index = vectors.create_index("compass", dims=2)
    documents = [Document(page_content=word, metadata={"length": len(word)}) for word in WORDS]

    async def main() -> list[Document]:
        store = await ReflowVectorStore.afrom_documents(documents, Compass(), index=index, namespace="words")
        return await store.asimilarity_search("east", k=2, filter={"length": {"$gt": 4}})

    assert contents(asyncio.run(main())) == ["northeast", "north"]
    assert index.stats().namespaces == {"words": 5}


def test_without_an_index_the_error_says_where_to_get_one():
    with pytest.raises(InvalidValue, match=r"open_vectors\(path\)"):
        ReflowVectorStore.from_texts(["north"], Compass())


def test_metadata_come_back_as_they_were(store: ReflowVectorStore):
    metadata: dict[str, Any] = {
        "title": "N",
        "year": 2024,
        "share": 0.25,
        "seen": True,
        "tags": ["a", "b"],
        "none": None,
        "nested": {"deep": [1, {"x": None}]},
        "numbers": [1, 2.5],
        "mixed": ["a", 1],
        "nothing": [],
        "huge": 2**80,
        "$odd": 1,
        "text": "hides the text",
        "_rest": "hides the rest",
        "": "no name",
        "ünï": "ço∂é",
    }
    store.add_documents([Document(page_content="north", metadata=metadata)], ids=["n"])
    assert store.get_by_ids(["n"]) == [Document(page_content="north", metadata=metadata, id="n")]
    assert contents(store.similarity_search("north", filter={"tags": "b", "year": {"$gte": 2024}, "seen": True}))
    assert not store.similarity_search("north", filter={"tags": "c"})


@pytest.mark.parametrize("wrong", [object(), {1, 2}, math.nan, b"bytes"])
def test_metadata_that_json_can_not_hold_are_refused(store: ReflowVectorStore, wrong: object):
    with pytest.raises(InvalidValue, match="metadata must be what JSON can hold"):
        store.add_texts(["north"], [{"wrong": wrong}])
    assert store.similarity_search("north") == []


def test_documents_that_are_too_large_are_refused(store: ReflowVectorStore):
    with pytest.raises(InvalidValue, match="40960"):
        store.add_texts(["north"], [{"long": "x" * 50_000}])


def test_of_documents_with_one_id_the_last_counts(store: ReflowVectorStore):
    assert store.add_texts(["north", "south"], ids=["x", "x"]) == ["x", "x"]
    assert contents(store.get_by_ids(["x"])) == ["south"]


def test_numbers_of_ids_and_metadata_must_fit(store: ReflowVectorStore):
    with pytest.raises(InvalidValue, match="1 ids for 2 texts"):
        store.add_texts(["north", "south"], ids=["x"])
    with pytest.raises(InvalidValue, match="1 metadatas for 2 texts"):
        store.add_texts(["north", "south"], [{}])
    assert store.add_texts([]) == []


def test_get_by_ids_keeps_the_order_of_the_ids(store: ReflowVectorStore):
    store.add_texts(["north", "south"], ids=["n", "s"])
    assert contents(store.get_by_ids(["s", "gone", "n"])) == ["south", "north"]
    assert contents(asyncio.run(store.aget_by_ids(["s", "n"]))) == ["south", "north"]


def test_delete_by_filter_and_all(store: ReflowVectorStore):
    store.add_texts(list(WORDS), [{"length": len(word)} for word in WORDS])
    assert store.delete(filter={"length": {"$lt": 5}})
    assert sorted(contents(store.similarity_search("north", k=9))) == ["north", "northeast", "south"]
    assert asyncio.run(store.adelete(filter={"length": 9}))
    assert sorted(contents(store.similarity_search("north", k=9))) == ["north", "south"]
    assert store.delete()
    assert store.similarity_search("north") == []


def test_an_empty_list_of_ids_deletes_nothing(store: ReflowVectorStore):
    store.add_texts(["north"])
    store.delete([])
    asyncio.run(store.adelete([]))
    assert contents(store.similarity_search("north")) == ["north"]


def test_namespaces_are_apart(store: ReflowVectorStore):
    store.add_texts(["north"], namespace="one")
    assert store.similarity_search("north") == []
    assert contents(store.similarity_search("north", namespace="one")) == ["north"]
    store.delete(namespace="one")
    assert store.similarity_search("north", namespace="one") == []


def test_marginal_relevance_prefers_what_differs(store: ReflowVectorStore):
    store.add_texts(list(WORDS))
    alike = store.max_marginal_relevance_search("north", k=2, lambda_mult=1)
    apart = store.max_marginal_relevance_search("north", k=2, lambda_mult=0)
    assert contents(alike) == ["north", "nnw"]
    assert contents(apart) == ["north", "south"]
    assert asyncio.run(store.amax_marginal_relevance_search("north", k=2, lambda_mult=0)) == apart
    near = store.max_marginal_relevance_search("north", k=2, fetch_k=3, lambda_mult=0)
    assert contents(near) == ["north", "northeast"]


@pytest.mark.parametrize("metric", ["cosine", "dotproduct", "euclidean"])
def test_relevance_is_a_number_from_0_to_1(vectors: EmbeddedVectors, metric: Any):
    store = ReflowVectorStore(vectors.create_index(metric, dims=2, metric=metric), Compass())
    store.add_texts(["north", "east", "south"])
    hits = store.similarity_search_with_relevance_scores("north", k=3)
    scores = [score for _, score in hits]
    assert contents([document for document, _ in hits]) == ["north", "east", "south"]
    assert scores[0] == pytest.approx(1)
    assert scores == sorted(scores, reverse=True)
    assert all(0 <= score <= 1 for score in scores)
    assert asyncio.run(store.asimilarity_search_with_relevance_scores("north", k=3)) == hits


def test_as_a_retriever(store: ReflowVectorStore):
    store.add_texts(list(WORDS), [{"length": len(word)} for word in WORDS])
    retriever = store.as_retriever(search_kwargs={"k": 1, "filter": {"length": 4}})
    assert contents(retriever.invoke("north")) == ["east"]
    assert contents(asyncio.run(retriever.ainvoke("north"))) == ["east"]
    strict = store.as_retriever(search_type="similarity_score_threshold", search_kwargs={"score_threshold": 0.99})
    assert contents(strict.invoke("north")) == ["north", "nnw"]
    assert store.embeddings is not None


def test_a_bad_filter_is_told(store: ReflowVectorStore):
    store.add_texts(["north"])
    with pytest.raises(InvalidFilter, match="not a valid operator"):
        store.similarity_search("north", filter={"length": {"$almost": 4}})
