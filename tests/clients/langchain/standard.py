"""LangChain's own standard tests of vector stores, over an index in memory and over one on disk.

Run by `test_langchain.py` in a process of its own: the package of these tests brings plugins for pytest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_tests.integration_tests.vectorstores import (  # pyright: ignore[reportMissingImports]
    EMBEDDING_SIZE,
    VectorStoreIntegrationTests,
)

from reflow.adapters.langchain import ReflowVectorStore
from reflow.embedded import open_vectors


class TestInMemory(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self) -> Iterator[ReflowVectorStore]:
        with open_vectors(None) as vectors:
            yield ReflowVectorStore(vectors.create_index("standard", dims=EMBEDDING_SIZE), self.get_embeddings())


class TestOnDisk(VectorStoreIntegrationTests):
    @pytest.fixture
    def vectorstore(self, tmp_path: Path) -> Iterator[ReflowVectorStore]:
        with open_vectors(tmp_path) as vectors:
            index = vectors.create_index("standard", dims=EMBEDDING_SIZE)
            yield ReflowVectorStore(index, self.get_embeddings(), namespace="documents")
