"""What the functions of searches give."""

from __future__ import annotations

from typing import Any

import msgspec

import reflow as rf
from reflow.rag.search.queries import Options, Spent
from reflow.rag.search.results import Explained, Found, ResultRow
from reflow.rag.tables import Search, SearchState


class SearchRow(rf.Object, rename="camel"):
    """A stored search in a list. Times are milliseconds.

    `asked` is what was embedded, where a transformation changed it; `outdated`: its vector is of another model than
    the chunks', so that it has to run again.
    """

    _id: str
    _creationTime: float
    input: str
    options: Options
    state: SearchState
    error: str | None
    name: str | None
    pinned: bool
    used: float
    asks: int
    asked: str | None
    model: str | None
    tokens: int | None
    embedding_ms: float | None
    transform_ms: float | None
    search_ms: float | None
    rerank_ms: float | None
    outdated: bool


class PastRow(SearchRow):
    """An earlier search that was found; `score` is BM25 or a cosine."""

    score: float


class Results(Found):
    """What a stored search shows; `error` is why its last run failed."""

    state: SearchState
    error: str | None


class Explanation(Explained, rename="camel"):
    """The same with reasons, and how it came about."""

    options: Options
    asked: str
    """What was embedded."""
    model: str | None
    state: SearchState
    error: str | None


class Near(rf.Object):
    """The chunks nearest to a chunk. `error`: it has no vector and will have none."""

    target: ResultRow
    rows: list[ResultRow]
    error: str | None = rf.missing()


class Choices(rf.Object, rename="camel"):
    """What a search can be asked for here."""

    transforms: list[str]
    rerank: bool
    filters: list[str]
    """Names that filters can use."""
    categories: list[str]
    """In order, at most `limits.choices_listed`."""
    limit: int
    """Largest number of results."""


class FoundOnce(Found):
    """What a search found that is not stored. `searchMs` is without embedding, rewriting and reranking."""

    asked: str
    spent: list[Spent]
    search_ms: float


def shown(row: Search, active: rf.Model | None) -> dict[str, Any]:
    """The fields of a `SearchRow`; `active` is the model of the chunks' vectors in use."""
    same = {name: getattr(row, name) for name in SearchRow.__struct_fields__ if name in row.__struct_fields__}
    return same | {"model": model_of(row, active), "outdated": is_outdated(row, active)}


def is_outdated(row: Search, active: rf.Model | None) -> bool:
    """Whether a search's vector is of another model than the chunks' vectors in use."""
    if row.question is None or not row.options.needs_vector or active is None:
        return False
    return all(one.model != active for one in row.question.embeddings)


def model_of(row: Search, active: rf.Model | None) -> str | None:
    """The model of the vector that a search is shown by, as people read it."""
    models = [] if row.question is None else [one.model for one in row.question.embeddings]
    return str(active if active in models else models[0]) if models else None


def fields_of(value: msgspec.Struct) -> dict[str, Any]:
    """A struct's fields as they are, for one that has more."""
    return {name: getattr(value, name) for name in value.__struct_fields__}
