"""The other engines behind one face. Their packages live in an environment of their own and have few types, so what
comes from them is `Any` here and nowhere else.

All build their graph with 16 neighbours and 128 candidates; how many candidates a search looks at is the smallest
choice that reaches the recall asked for, without a filter (see `worker`).
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from .cases import Case
from .data import DIMS, Dataset, Floats

NEIGHBOURS = 16
BUILD_CANDIDATES = 128
CANDIDATES = (32, 64, 96, 128, 192, 256)
"""Choices of how many candidates a search looks at."""


class SearchEngine(Protocol):
    """An engine over a directory of its own."""

    choices: Sequence[int]
    """Search efforts to choose from, least first."""
    effort: int
    """The chosen one."""

    def build(self, data: Dataset) -> None:
        """Store the rows and make the index, durably."""
        ...

    def open(self, data: Dataset) -> None:
        """Open what `build` made in another process."""
        ...

    def search(self, query: Floats, k: int, case: Case) -> Sequence[int]:
        """The row numbers of the `k` best, best first."""
        ...


def _batches(data: Dataset, size: int) -> list[range]:
    rows = len(data.vectors)
    return [range(start, min(start + size, rows)) for start in range(0, rows, size)]


class Usearch:
    """A graph library without metadata: numpy columns beside it, and too many hits fetched and then filtered."""

    choices: Sequence[int] = CANDIDATES
    _SURPLUS = 1.5

    def __init__(self, directory: Path) -> None:
        self.effort = self.choices[0]
        self._file = directory / "graph.usearch"
        module: Any = importlib.import_module("usearch.index")
        self._index: Any = module.Index(
            ndim=DIMS, metric="cos", dtype="bf16", connectivity=NEIGHBOURS, expansion_add=BUILD_CANDIDATES
        )

    def build(self, data: Dataset) -> None:
        self._index.add(np.arange(len(data.vectors)), np.asarray(data.vectors))
        self._index.save(str(self._file))

    def open(self, data: Dataset) -> None:
        self._index.load(str(self._file))
        self._data = data

    def search(self, query: Floats, k: int, case: Case) -> Sequence[int]:
        if case.condition is None:
            self._index.expansion_search = max(self.effort, k)
            return self._index.search(query, k).keys.tolist()
        passing = case.condition.mask(self._data)
        share = passing.sum() / len(passing)
        fetched = min(len(passing), int(k / share * self._SURPLUS) + k)
        self._index.expansion_search = max(self.effort, fetched)
        keys = self._index.search(query, fetched).keys
        return keys[passing[keys]][:k].tolist()


class Zvec:
    """zvec: a collection with declared fields, indexed for equality and ranges."""

    choices: Sequence[int] = CANDIDATES
    _BATCH = 1000
    _BRUTE_FORCE_SHARE = 0.05
    """Below this share of the rows it scans; its own choice of 10 % makes searches at that very share slow."""

    def __init__(self, directory: Path) -> None:
        self.effort = self.choices[0]
        self._path = str(directory / "collection")
        self._zvec: Any = importlib.import_module("zvec")
        self._zvec.init(log_level=self._zvec.LogLevel.ERROR, brute_force_by_keys_ratio=self._BRUTE_FORCE_SHARE)
        self._collection: Any = None

    def build(self, data: Dataset) -> None:
        zvec = self._zvec
        inverted = zvec.InvertIndexParam(enable_range_optimization=True)
        graph = zvec.HnswIndexParam(metric_type=zvec.MetricType.COSINE, m=NEIGHBOURS, ef_construction=BUILD_CANDIDATES)
        schema = zvec.CollectionSchema(
            name="rows",
            fields=[
                zvec.FieldSchema("cat", zvec.DataType.INT64, index_param=inverted),
                zvec.FieldSchema("r", zvec.DataType.DOUBLE, index_param=inverted),
                zvec.FieldSchema("topic", zvec.DataType.INT64, index_param=inverted),
            ],
            vectors=zvec.VectorSchema("meaning", zvec.DataType.VECTOR_FP32, DIMS, index_param=graph),
        )
        collection = zvec.create_and_open(path=self._path, schema=schema)
        for rows in _batches(data, self._BATCH):
            collection.insert(
                [
                    zvec.Doc(id=str(row), fields=data.metadata(row), vectors={"meaning": data.vectors[row].tolist()})
                    for row in rows
                ]
            )
        collection.optimize()
        collection.flush()
        collection.close()

    def open(self, data: Dataset) -> None:
        self._collection = self._zvec.open(self._path)

    def search(self, query: Floats, k: int, case: Case) -> Sequence[int]:
        asked = self._zvec.Query(
            field_name="meaning", vector=query, param=self._zvec.HnswQueryParam(ef=max(self.effort, k))
        )
        where = None if case.condition is None else case.condition.as_sql()
        found = self._collection.query(asked, topk=k, filter=where, output_fields=[])
        return [int(document.id) for document in found]


class Chroma:
    """Chroma, embedded and persistent."""

    choices: Sequence[int] = (100,)
    """Its own; it is part of the collection's definition."""
    _BATCH = 5000

    def __init__(self, directory: Path) -> None:
        self.effort = self.choices[0]
        chromadb: Any = importlib.import_module("chromadb")
        settings: Any = importlib.import_module("chromadb.config").Settings(anonymized_telemetry=False)
        self._client: Any = chromadb.PersistentClient(path=str(directory / "chroma"), settings=settings)
        self._collection: Any = None

    def build(self, data: Dataset) -> None:
        graph = {
            "space": "cosine",
            "ef_construction": BUILD_CANDIDATES,
            "ef_search": self.effort,
            "max_neighbors": NEIGHBOURS,
        }
        collection = self._client.create_collection("rows", configuration={"hnsw": graph}, embedding_function=None)
        for rows in _batches(data, self._BATCH):
            collection.add(
                ids=[str(row) for row in rows],
                embeddings=np.asarray(data.vectors[rows.start : rows.stop]),
                metadatas=[data.metadata(row) for row in rows],
            )

    def open(self, data: Dataset) -> None:
        self._collection = self._client.get_collection("rows", embedding_function=None)

    def search(self, query: Floats, k: int, case: Case) -> Sequence[int]:
        where = None if case.condition is None else case.condition.as_mapping()
        found = self._collection.query(query_embeddings=[query], n_results=k, where=where, include=["distances"])
        return [int(id) for id in found["ids"][0]]


class Lance:
    """LanceDB: one graph over scalar-quantised vectors, refined from the originals; indexes on all filter columns."""

    choices: Sequence[int] = CANDIDATES
    _REFINE = 2
    """Times as many hits are scored anew with the original vectors."""

    def __init__(self, directory: Path) -> None:
        self.effort = self.choices[0]
        lancedb: Any = importlib.import_module("lancedb")
        self._database: Any = lancedb.connect(str(directory / "lance"))
        self._table: Any = None

    def build(self, data: Dataset) -> None:
        arrow: Any = importlib.import_module("pyarrow")
        index: Any = importlib.import_module("lancedb.index")
        flat = arrow.array(np.asarray(data.vectors).reshape(-1))
        table = arrow.table(
            {
                "row": np.arange(len(data.vectors)),
                "cat": np.asarray(data.cat),
                "r": np.asarray(data.r),
                "topic": np.asarray(data.topic),
                "meaning": arrow.FixedSizeListArray.from_arrays(flat, DIMS),
            }
        )
        made = self._database.create_table("rows", table)
        graph = index.HnswSq(distance_type="cosine", num_partitions=1, m=NEIGHBOURS, ef_construction=BUILD_CANDIDATES)
        made.create_index("meaning", config=graph)
        for column, config in (("cat", index.BTree()), ("r", index.BTree()), ("topic", index.Bitmap())):
            made.create_index(column, config=config)

    def open(self, data: Dataset) -> None:
        self._table = self._database.open_table("rows")

    def search(self, query: Floats, k: int, case: Case) -> Sequence[int]:
        asked = self._table.search(query, vector_column_name="meaning").distance_type("cosine")
        asked = asked.ef(max(self.effort, k * self._REFINE)).refine_factor(self._REFINE)
        if case.condition is not None:
            asked = asked.where(case.condition.as_sql(), prefilter=True)
        return asked.select(["row", "_distance"]).limit(k).to_arrow()["row"].to_pylist()


PEERS: dict[str, Callable[[Path], SearchEngine]] = {"usearch": Usearch, "zvec": Zvec, "chroma": Chroma, "lance": Lance}
