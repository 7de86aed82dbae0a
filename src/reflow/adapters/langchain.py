"""A LangChain `VectorStore` over a free-standing vector index. Needs the extra `reflow[langchain]`."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import repeat
from math import sqrt
from typing import Any, Self, cast

import numpy as np

from reflow.adapters.metadata import filterable
from reflow.embedded import EmbeddedIndex
from reflow.errors import InvalidValue, MissingExtra
from reflow.vectors import Match, Metric, Record

try:
    from langchain_core.documents import Document
    from langchain_core.embeddings import Embeddings
    from langchain_core.vectorstores import VectorStore
    from langchain_core.vectorstores.utils import maximal_marginal_relevance
except ImportError as error:
    raise MissingExtra("reflow.adapters.langchain needs LangChain: install `reflow[langchain]`") from error

Filter = Mapping[str, Any]
"""A filter on metadata, in the language of vector indexes: `{"year": {"$gte": 2020}}`."""

_REST = "_rest"
"""Under this key an index keeps, as JSON, the metadata that it can't hold or that would hide one of its own keys."""


class ReflowVectorStore(VectorStore):
    """Documents in a namespace of an index; text and metadata are kept with the vector.

    Metadata may be anything that JSON can hold. Filters can name what is a string, a number, a boolean or a list of
    strings. Text and metadata of a document have up to 40,960 bytes together. Every `filter` is one of the index's.

    A search and a write from a coroutine use the methods that begin with "a": the others block their thread.
    """

    def __init__(
        self, index: EmbeddedIndex, embedding: Embeddings, *, namespace: str = "", text_key: str = "text"
    ) -> None:
        """`text_key` is the metadata key under which the index keeps a document's text."""
        self.index = index
        self.namespace = namespace
        self._embedding = embedding
        self._text_key = text_key
        self._metric: Metric | None = None

    @property
    def embeddings(self) -> Embeddings:
        """What turns texts into vectors."""
        return self._embedding

    # Making one

    @classmethod
    def from_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        index: EmbeddedIndex | None = None,
        namespace: str = "",
        text_key: str = "text",
        **kwargs: Any,
    ) -> Self:
        """A store over `index` with these texts in it. Raises InvalidValue without an index."""
        store = cls(_given(index), embedding, namespace=namespace, text_key=text_key)
        store.add_texts(texts, metadatas, ids=ids, **kwargs)
        return store

    @classmethod
    async def afrom_texts(
        cls,
        texts: list[str],
        embedding: Embeddings,
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: list[str] | None = None,
        index: EmbeddedIndex | None = None,
        namespace: str = "",
        text_key: str = "text",
        **kwargs: Any,
    ) -> Self:
        """The same from a coroutine."""
        store = cls(_given(index), embedding, namespace=namespace, text_key=text_key)
        await store.aadd_texts(texts, metadatas, ids=ids, **kwargs)
        return store

    # Writing

    def add_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        namespace: str | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """Stores texts, each in place of one with the same id; an id is made where none is given. Returns the ids."""
        given = list(texts)
        named = _ids(given, ids)
        records = self._records(given, metadatas, named, self._embedding.embed_documents(given) if given else [])
        self.index.upsert(records, namespace=self._space(namespace))
        return named

    async def aadd_texts(
        self,
        texts: Iterable[str],
        metadatas: list[dict[str, Any]] | None = None,
        *,
        ids: Sequence[str | None] | None = None,
        namespace: str | None = None,
        **kwargs: Any,
    ) -> list[str]:
        """The same from a coroutine."""
        given = list(texts)
        named = _ids(given, ids)
        vectors = await self._embedding.aembed_documents(given) if given else []
        records = self._records(given, metadatas, named, vectors)
        await self.index.aio.upsert(records, namespace=self._space(namespace))
        return named

    def delete(
        self, ids: list[str] | None = None, *, filter: Filter | None = None, namespace: str | None = None, **kwargs: Any
    ) -> bool:
        """Removes documents: by id, or those that pass a filter; with neither, all of the namespace. Returns True."""
        everything = ids is None and filter is None
        self.index.delete(ids, filter=filter, delete_all=everything, namespace=self._space(namespace))
        return True

    async def adelete(
        self, ids: list[str] | None = None, *, filter: Filter | None = None, namespace: str | None = None, **kwargs: Any
    ) -> bool:
        """The same from a coroutine."""
        everything = ids is None and filter is None
        await self.index.aio.delete(ids, filter=filter, delete_all=everything, namespace=self._space(namespace))
        return True

    # Reading

    def get_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """Documents by id, in the order of the ids; those that do not exist are left out."""
        found = self.index.fetch(ids, namespace=self.namespace)
        return [self._document(found[id]) for id in ids if id in found]

    async def aget_by_ids(self, ids: Sequence[str], /) -> list[Document]:
        """The same from a coroutine."""
        found = await self.index.aio.fetch(ids, namespace=self.namespace)
        return [self._document(found[id]) for id in ids if id in found]

    def similarity_search(
        self, query: str, k: int = 4, *, filter: Filter | None = None, namespace: str | None = None, **kwargs: Any
    ) -> list[Document]:
        """The `k` documents nearest to a text."""
        return self.similarity_search_by_vector(
            self._embedding.embed_query(query), k, filter=filter, namespace=namespace
        )

    async def asimilarity_search(
        self, query: str, k: int = 4, *, filter: Filter | None = None, namespace: str | None = None, **kwargs: Any
    ) -> list[Document]:
        """The same from a coroutine."""
        vector = await self._embedding.aembed_query(query)
        return await self.asimilarity_search_by_vector(vector, k, filter=filter, namespace=namespace)

    def similarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        *,
        filter: Filter | None = None,
        namespace: str | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The `k` documents nearest to a vector."""
        return [self._document(match) for match in self._nearest(embedding, k, filter, namespace)]

    async def asimilarity_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        *,
        filter: Filter | None = None,
        namespace: str | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The same from a coroutine."""
        return [self._document(match) for match in await self._anearest(embedding, k, filter, namespace)]

    def similarity_search_with_score(
        self, query: str, k: int = 4, *, filter: Filter | None = None, namespace: str | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """Documents with the index's own score: higher is nearer, but for "euclidean" a squared distance."""
        matches = self._nearest(self._embedding.embed_query(query), k, filter, namespace)
        return [(self._document(match), match.score) for match in matches]

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, *, filter: Filter | None = None, namespace: str | None = None, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        """The same from a coroutine."""
        matches = await self._anearest(await self._embedding.aembed_query(query), k, filter, namespace)
        return [(self._document(match), match.score) for match in matches]

    def max_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        namespace: str | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """`k` of the `fetch_k` nearest documents that differ from each other; 0 means the most different ones."""
        return self.max_marginal_relevance_search_by_vector(
            self._embedding.embed_query(query), k, fetch_k, lambda_mult, filter=filter, namespace=namespace
        )

    async def amax_marginal_relevance_search(
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        namespace: str | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The same from a coroutine."""
        return await self.amax_marginal_relevance_search_by_vector(
            await self._embedding.aembed_query(query), k, fetch_k, lambda_mult, filter=filter, namespace=namespace
        )

    def max_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        namespace: str | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The same for a vector."""
        return self._different(embedding, self._nearest(embedding, fetch_k, filter, namespace, True), k, lambda_mult)

    async def amax_marginal_relevance_search_by_vector(
        self,
        embedding: list[float],
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        *,
        filter: Filter | None = None,
        namespace: str | None = None,
        **kwargs: Any,
    ) -> list[Document]:
        """The same for a vector, from a coroutine."""
        matches = await self._anearest(embedding, fetch_k, filter, namespace, True)
        return self._different(embedding, matches, k, lambda_mult)

    def _select_relevance_score_fn(self) -> Callable[[float], float]:
        """From the index's score to 0..1; a dot product counts as that of vectors of length 1."""
        if self._metric is None:
            self._metric = self.index.stats().metric
        if self._metric == "euclidean":
            return lambda squared: 1 / (1 + sqrt(squared))
        return lambda similarity: (1 + similarity) / 2

    # Inside

    def _space(self, namespace: str | None) -> str:
        return self.namespace if namespace is None else namespace

    def _nearest(
        self, vector: list[float], k: int, filter: Filter | None, namespace: str | None, values: bool = False
    ) -> list[Match]:
        found = self.index.query(
            vector=vector,
            top_k=k,
            namespace=self._space(namespace),
            filter=filter,
            include_values=values,
            include_metadata=True,
        )
        return found.matches

    async def _anearest(
        self, vector: list[float], k: int, filter: Filter | None, namespace: str | None, values: bool = False
    ) -> list[Match]:
        found = await self.index.aio.query(
            vector=vector,
            top_k=k,
            namespace=self._space(namespace),
            filter=filter,
            include_values=values,
            include_metadata=True,
        )
        return found.matches

    def _different(self, vector: list[float], matches: list[Match], k: int, lambda_mult: float) -> list[Document]:
        values = [cast("list[float]", match.values) for match in matches]
        chosen = maximal_marginal_relevance(np.array(vector, dtype=np.float32), values, lambda_mult, k)
        return [self._document(matches[place]) for place in chosen]

    def _records(
        self,
        texts: Sequence[str],
        metadatas: list[dict[str, Any]] | None,
        ids: Sequence[str],
        vectors: Sequence[Sequence[float]],
    ) -> list[tuple[str, Sequence[float], dict[str, Any]]]:
        if metadatas is not None and len(metadatas) != len(texts):
            raise InvalidValue(f"{len(metadatas)} metadatas for {len(texts)} texts: give one for each text")
        stored = map(self._stored, texts, metadatas or repeat({}))
        records = {record[0]: record for record in zip(ids, vectors, stored, strict=False)}
        return list(records.values())  # of several with one id the last counts

    def _stored(self, text: str, metadata: Mapping[str, Any]) -> dict[str, Any]:
        """What the index keeps of a document."""
        flat = filterable(metadata)
        for own in (self._text_key, _REST):
            flat.pop(own, None)
        rest = {key: value for key, value in metadata.items() if key not in flat}
        if rest:
            flat[_REST] = _json(rest)
        return {**flat, self._text_key: text}

    def _document(self, record: Record) -> Document:
        metadata = dict(record.metadata)
        text = metadata.pop(self._text_key, "")
        rest = metadata.pop(_REST, None)
        if rest is not None:
            metadata |= json.loads(rest)
        return Document(page_content=text, metadata=metadata, id=record.id)


def _given(index: EmbeddedIndex | None) -> EmbeddedIndex:
    if index is None:
        raise InvalidValue(
            "a ReflowVectorStore needs an index: pass index=reflow.open_vectors(path).create_index(name, dims=...)"
        )
    return index


def _ids(texts: Sequence[str], ids: Sequence[str | None] | None) -> list[str]:
    if ids is not None and len(ids) != len(texts):
        raise InvalidValue(f"{len(ids)} ids for {len(texts)} texts: give one for each text")
    return [id or str(uuid.uuid4()) for id in ids or repeat(None, len(texts))]


def _json(rest: Mapping[str, Any]) -> str:
    try:
        return json.dumps(rest, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise InvalidValue(f"metadata must be what JSON can hold: {error}") from None
