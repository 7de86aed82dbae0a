"""The adapter for LlamaIndex: the whole contract of `BasePydanticVectorStore`, blocking and awaited.

LlamaIndex publishes no tests of its own for vector stores.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from llama_index.core.schema import (
    BaseNode,
    ImageNode,
    IndexNode,
    MetadataMode,
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from reflow.adapters.llamaindex import ReflowVectorStore
from reflow.embedded import EmbeddedVectors, open_vectors
from reflow.errors import InvalidFilter, InvalidValue
from reflow.vectors import SparseValues

FRUIT = {
    "apple": ([1.0, 0.1], "doc-1", {"color": "red", "price": 2, "tags": ["sweet", "tree"], "codes": [1, 2]}),
    "cherry": ([1.0, 0.3], "doc-1", {"color": "red", "price": 9.5, "tags": ["sweet"], "note": "Ripe in June"}),
    "lemon": ([0.2, 1.0], "doc-2", {"color": "yellow", "price": 1, "tags": ["sour", "tree"], "note": ""}),
    "potato": ([-1.0, 0.0], "doc-3", {"color": "brown", "price": 0.5, "tags": [], "note": "in the earth"}),
}


def node(name: str, embedding: list[float], document: str, metadata: dict[str, Any]) -> TextNode:
    source = {NodeRelationship.SOURCE: RelatedNodeInfo(node_id=document)}
    return TextNode(id_=name, text=f"a {name}", embedding=embedding, metadata=metadata, relationships=source)


def fruit() -> list[TextNode]:
    return [node(name, *rest) for name, rest in FRUIT.items()]


@pytest.fixture
def vectors() -> Iterator[EmbeddedVectors]:
    with open_vectors(None) as vectors:
        yield vectors


@pytest.fixture
def store(vectors: EmbeddedVectors) -> ReflowVectorStore:
    store = ReflowVectorStore(vectors.create_index("fruit", dims=2))
    assert store.add(fruit()) == list(FRUIT)
    return store


def names(nodes: Sequence[BaseNode]) -> list[str]:
    return [node.node_id for node in nodes]


def asked(store: ReflowVectorStore, **query: Any) -> list[str]:
    """The ids of a query's hits, which has to be answered alike when awaited."""
    question = VectorStoreQuery(**{"query_embedding": [1.0, 0.0], "similarity_top_k": 10, **query})
    found = store.query(question)
    assert asyncio.run(store.aquery(question)) == found
    check(found)
    return found.ids or []


def check(found: VectorStoreQueryResult) -> None:
    assert found.nodes is not None
    assert found.similarities is not None
    assert names(found.nodes) == found.ids
    assert len(found.similarities) == len(found.nodes)


def filters(*given: tuple[str, FilterOperator, Any] | MetadataFilters, condition: str = "and") -> MetadataFilters:
    parts = [
        part if isinstance(part, MetadataFilters) else MetadataFilter(key=part[0], operator=part[1], value=part[2])
        for part in given
    ]
    return MetadataFilters(filters=parts, condition=FilterCondition(condition))


def test_query_gives_nodes_best_first(store: ReflowVectorStore):
    found = store.query(VectorStoreQuery(query_embedding=[1.0, 0.0], similarity_top_k=2))
    check(found)
    assert found.ids == ["apple", "cherry"]
    assert found.similarities == pytest.approx([1 / math.hypot(1, 0.1), 1 / math.hypot(1, 0.3)])
    assert asked(store) == ["apple", "cherry", "lemon", "potato"]


def test_a_node_comes_back_as_it_was(vectors: EmbeddedVectors):
    store = ReflowVectorStore(vectors.create_index("nodes", dims=2), namespace="all")
    metadata = {"none": None, "deep": {"a": [1, {"b": None}]}, "mixed": ["x", 1], "huge": 2**80, "$x": 1, "text": "t"}
    text = node("text", [1, 0], "doc", metadata)
    text.excluded_embed_metadata_keys = ["deep"]
    image = ImageNode(id_="image", text="an image", image="aGk=", embedding=[0, 1])
    link = IndexNode(id_="link", text="a link", index_id="other", embedding=[1, 1])
    store.add([text, image, link])
    for before in (text, image, link):
        (after,) = store.get_nodes([before.node_id])
        assert type(after) is type(before)
        assert after.model_copy(update={"embedding": before.embedding}) == before
    (hit,) = store.query(VectorStoreQuery(query_embedding=[1, 0], similarity_top_k=1)).nodes or []
    assert hit.get_content(MetadataMode.NONE) == "a text"
    assert hit.ref_doc_id == "doc"


def test_adding_replaces_nodes_with_the_same_id(store: ReflowVectorStore):
    again = node("apple", [-1.0, -1.0], "doc-9", {"color": "green"})
    assert asyncio.run(store.async_add([again])) == ["apple"]
    assert asked(store, query_embedding=[-1.0, -1.0])[0] == "apple"
    assert store.get_nodes(["apple"])[0].metadata == {"color": "green"}
    store.add([node("twice", [1, 0], "d", {"n": 1}), node("twice", [1, 0], "d", {"n": 2})])
    assert store.get_nodes(["twice"])[0].metadata == {"n": 2}
    assert store.add([]) == []


def test_a_node_without_an_embedding_is_refused_whole(store: ReflowVectorStore):
    with pytest.raises(ValueError, match="embedding not set"):
        store.add([node("new", [1, 1], "d", {}), TextNode(text="bare")])
    assert store.get_nodes(["new"]) == []


def test_delete_removes_a_documents_nodes(store: ReflowVectorStore):
    store.delete("doc-1")
    assert asked(store) == ["lemon", "potato"]
    asyncio.run(store.adelete("doc-2"))
    store.delete("unknown")
    assert asked(store) == ["potato"]


def test_delete_nodes_by_id_by_filters_and_by_both(store: ReflowVectorStore):
    store.delete_nodes()
    store.delete_nodes([])
    assert len(asked(store)) == 4
    red = filters(("color", FilterOperator.EQ, "red"))
    store.delete_nodes(["apple", "lemon"], red)
    assert asked(store) == ["cherry", "lemon", "potato"]
    asyncio.run(store.adelete_nodes(["lemon", "gone"]))
    store.delete_nodes(filters=filters(("note", FilterOperator.TEXT_MATCH, "earth")))
    assert asked(store) == ["cherry"]
    asyncio.run(store.adelete_nodes(filters=red))
    assert asked(store) == []


def test_clear_empties_the_namespace_and_no_other(vectors: EmbeddedVectors):
    index = vectors.create_index("fruit", dims=2)
    one, other = (ReflowVectorStore(index, namespace=name) for name in ("one", "other"))
    one.add(fruit())
    other.add(fruit())
    one.clear()
    assert asked(one) == []
    assert len(asked(other)) == 4
    asyncio.run(other.aclear())
    other.clear()
    assert asked(other) == []


def test_get_nodes_by_id_by_filters_and_by_both(store: ReflowVectorStore):
    red = filters(("color", FilterOperator.EQ, "red"))
    assert names(store.get_nodes(["lemon", "gone", "apple"])) == ["lemon", "apple"]
    assert names(store.get_nodes(filters=red)) == ["apple", "cherry"]
    assert names(asyncio.run(store.aget_nodes(["lemon", "cherry"], red))) == ["cherry"]
    assert sorted(names(asyncio.run(store.aget_nodes()))) == sorted(FRUIT)
    assert store.get_nodes([]) == []


def test_more_nodes_than_a_page_and_a_filter_have(vectors: EmbeddedVectors):
    store = ReflowVectorStore(vectors.create_index("many", dims=2))
    store.add([node(f"n{number}", [1, number / 1000], "d", {"name": f"name {number}"}) for number in range(1200)])
    assert len(store.get_nodes()) == 1200
    sevens = filters(("name", FilterOperator.TEXT_MATCH, "7"))
    expected = [f"n{number}" for number in range(1200) if "7" in str(number)]
    assert asked(store, filters=sevens, similarity_top_k=1000) == expected
    assert asked(store, filters=sevens, similarity_top_k=3) == ["n7", "n17", "n27"]


def test_queries_of_some_documents_and_of_some_nodes(store: ReflowVectorStore):
    assert asked(store, doc_ids=["doc-1", "doc-3"]) == ["apple", "cherry", "potato"]
    assert asked(store, node_ids=["lemon", "cherry", "gone"]) == ["cherry", "lemon"]
    assert asked(store, node_ids=["lemon", "cherry"], doc_ids=["doc-2"]) == ["lemon"]
    assert asked(store, doc_ids=["doc-1"], filters=filters(("price", FilterOperator.GT, 5))) == ["cherry"]
    assert asked(store, node_ids=[]) == []
    assert asked(store, doc_ids=[]) == []


EQ, NE, GT, GTE, LT, LTE = (FilterOperator(sign) for sign in ("==", "!=", ">", ">=", "<", "<="))


@pytest.mark.parametrize(
    ("key", "operator", "value", "expected"),
    [
        ("color", EQ, "red", "apple cherry"),
        ("price", EQ, 2, "apple"),
        ("price", EQ, 9.5, "cherry"),
        ("price", EQ, "2", ""),
        ("tags", EQ, ["sweet"], "cherry"),
        ("color", NE, "red", "lemon potato"),
        ("note", NE, "in the earth", "apple cherry lemon"),
        ("tags", NE, ["sweet"], "apple lemon potato"),
        ("price", GT, 2, "cherry"),
        ("price", GTE, 2, "apple cherry"),
        ("price", LT, 1, "potato"),
        ("price", LTE, 1, "lemon potato"),
        ("color", GT, "red", "lemon"),
        ("color", LTE, "red", "apple cherry potato"),
        ("color", FilterOperator.IN, ["red", "brown"], "apple cherry potato"),
        ("price", FilterOperator.IN, [1, 2], "apple lemon"),
        ("color", FilterOperator.IN, [], ""),
        ("color", FilterOperator.NIN, ["red", "brown"], "lemon"),
        ("note", FilterOperator.NIN, ["Ripe in June"], "apple lemon potato"),
        ("color", FilterOperator.NIN, [], "apple cherry lemon potato"),
        ("tags", FilterOperator.ANY, ["sour", "sweet"], "apple cherry lemon"),
        ("codes", FilterOperator.ANY, [2, 3], "apple"),
        ("tags", FilterOperator.ALL, ["sour", "tree"], "lemon"),
        ("codes", FilterOperator.ALL, [1, 2], "apple"),
        ("codes", FilterOperator.ALL, [1, 3], ""),
        ("tags", FilterOperator.CONTAINS, "tree", "apple lemon"),
        ("codes", FilterOperator.CONTAINS, 2, "apple"),
        ("note", FilterOperator.TEXT_MATCH, "in", "cherry potato"),
        ("note", FilterOperator.TEXT_MATCH, "ripe", ""),
        ("note", FilterOperator.TEXT_MATCH_INSENSITIVE, "RIPE", "cherry"),
        ("note", FilterOperator.IS_EMPTY, None, "apple lemon"),
        ("tags", FilterOperator.IS_EMPTY, None, "potato"),
        ("codes", FilterOperator.IS_EMPTY, None, "cherry lemon potato"),
        ("doc_id", EQ, "doc-2", "lemon"),
    ],
)
def test_every_operator(store: ReflowVectorStore, key: str, operator: FilterOperator, value: Any, expected: str):
    given = filters((key, operator, value))
    assert sorted(asked(store, filters=given)) == expected.split()
    assert sorted(names(store.get_nodes(filters=given))) == expected.split()
    opposite = filters((key, operator, value), condition="not")
    assert sorted(asked(store, filters=opposite)) == sorted(set(FRUIT) - set(expected.split()))


def test_conditions_nested(store: ReflowVectorStore):
    red, cheap = ("color", EQ, "red"), ("price", LT, 1.5)
    earth = ("note", FilterOperator.TEXT_MATCH, "earth")
    assert asked(store, filters=filters(red, cheap)) == []
    assert asked(store, filters=filters(red, cheap, condition="or")) == ["apple", "cherry", "lemon", "potato"]
    assert asked(store, filters=filters(red, cheap, condition="not")) == []
    assert asked(store, filters=filters(cheap, filters(earth, condition="not"))) == ["lemon"]
    assert asked(store, filters=filters(red, earth, condition="or")) == ["apple", "cherry", "potato"]
    assert asked(store, filters=filters(filters(red, condition="not"), filters(cheap, earth))) == ["potato"]
    assert len(asked(store, filters=filters())) == 4
    assert asked(store, filters=filters(red, filters())) == ["apple", "cherry"]


@pytest.mark.parametrize(
    ("operator", "value", "told"),
    [
        (EQ, None, "use IS_EMPTY"),
        (GT, [1], "GT needs one value"),
        (FilterOperator.IN, "red", "IN needs a list"),
        (FilterOperator.ANY, 1, "ANY needs a list"),
        (FilterOperator.CONTAINS, ["a"], "CONTAINS needs one value"),
        (FilterOperator.TEXT_MATCH, 1, "TEXT_MATCH needs a text"),
    ],
)
def test_a_filter_with_a_wrong_value_is_refused(
    store: ReflowVectorStore, operator: FilterOperator, value: Any, told: str
):
    with pytest.raises(InvalidFilter, match=told):
        asked(store, filters=filters(("color", operator, value)))


def letters(texts: Sequence[str]) -> list[SparseValues]:
    """Texts as counts of their letters."""
    sets = [sorted({ord(letter) for letter in text if letter.isalpha()}) for text in texts]
    return [SparseValues(indices=found, values=[1.0] * len(found)) for found in sets]


def test_sparse_and_hybrid_queries(vectors: EmbeddedVectors):
    store = ReflowVectorStore(vectors.create_index("fruit", dims=2, metric="dotproduct"), sparse=letters)
    store.add([TextNode(id_=name, text=name, embedding=row) for name, (row, _, _) in FRUIT.items()])
    sparse = {"mode": VectorStoreQueryMode.SPARSE, "query_str": "melon"}
    hybrid = {"mode": VectorStoreQueryMode.HYBRID, "query_str": "melon"}
    assert asked(store, similarity_top_k=1, **sparse) == ["lemon"]
    assert asked(store, **hybrid, alpha=1.0)[:2] == ["apple", "cherry"]
    assert asked(store, **hybrid, alpha=0.0)[:1] == ["lemon"]
    assert asked(store, **hybrid, alpha=0.5, hybrid_top_k=1, similarity_top_k=3) == ["lemon"]
    found = store.query(VectorStoreQuery(query_embedding=[1.0, 0.0], similarity_top_k=1, **hybrid))
    assert found.similarities == pytest.approx([5 + 0.2])


def test_modes_that_are_not_offered_say_what_is(store: ReflowVectorStore):
    with pytest.raises(InvalidValue, match="it has default, mmr, sparse and hybrid"):
        asked(store, mode=VectorStoreQueryMode.SVM)
    with pytest.raises(InvalidValue, match="a store made with `sparse=`"):
        asked(store, mode=VectorStoreQueryMode.HYBRID, query_str="melon")
    with pytest.raises(InvalidValue, match="needs the question's embedding"):
        asked(store, query_embedding=None)


def test_marginal_relevance_prefers_what_differs(store: ReflowVectorStore):
    mmr = {"mode": VectorStoreQueryMode.MMR, "similarity_top_k": 2}
    assert asked(store, **mmr, mmr_threshold=1.0) == ["apple", "cherry"]
    assert asked(store, **mmr, mmr_threshold=0.1) == ["apple", "potato"]
    assert asked(store, **mmr, mmr_threshold=0.1, filters=filters(("color", EQ, "red"))) == ["apple", "cherry"]
    question = VectorStoreQuery(query_embedding=[1.0, 0.0], **mmr)
    assert store.query(question, mmr_threshold=0.1, mmr_prefetch_k=3).ids == ["apple", "lemon"]


@pytest.mark.parametrize(("metric", "best"), [("cosine", "apple"), ("dotproduct", "cherry"), ("euclidean", "apple")])
def test_similarities_of_every_metric_fall(vectors: EmbeddedVectors, metric: Any, best: str):
    store = ReflowVectorStore(vectors.create_index(metric, dims=2, metric=metric))
    store.add(fruit())
    found = store.query(VectorStoreQuery(query_embedding=[1.0, 0.1], similarity_top_k=4))
    assert found.similarities is not None
    assert found.similarities == sorted(found.similarities, reverse=True)
    assert found.ids is not None
    assert (found.ids[0], found.ids[-1]) == (best, "potato")


def test_what_llamaindex_asks_of_a_store(store: ReflowVectorStore):
    assert store.stores_text
    assert store.is_embedding_query
    assert store.client.name == "fruit"
    assert store.class_name() == "ReflowVectorStore"
    assert store.to_dict()["class_name"] == "ReflowVectorStore"
