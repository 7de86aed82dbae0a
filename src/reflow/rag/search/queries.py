"""What a search asks for, and the question as it was embedded."""

from __future__ import annotations

import json
from collections.abc import Collection
from hashlib import sha256
from typing import Any, Literal, cast

import msgspec

import reflow as rf
from reflow.limits import Limits
from reflow.rag.costs.spending import Entry, Work

Mode = Literal["hybrid", "dense", "text"]
"""By meaning and words, by meaning alone, by words alone."""

DENSE_WEIGHT = 0.75
"""Share of meaning in a hybrid score: questions in natural language share few words with their answers."""


class Narrow(rf.Object, rename="camel", frozen=True):
    """A search in two steps: first the `to` sources whose summaries are nearest, then their chunks only.

    By "category" all sources of those sources' categories are searched.
    """

    by: Literal["source", "category"] = "source"
    to: int = 5


class Options(rf.Object, rename="camel", frozen=True):
    """How to search. All of it is part of what makes two searches the same.

    `filter` is a metadata filter as JSON, such as `{"category": "news", "year": {"$gte": 2020}}`: names with "$" can't
    travel as values. It knows `category`, `kind`, `source`, `len(text)` and the corpus's own filters. `sources` are
    ids. `before` and `after` are chunks to be shown around each hit. `transform` names one of the corpus's
    transformations, which rewrites the question before it is embedded.
    """

    mode: Mode = "hybrid"
    limit: int = 10
    weight: float = DENSE_WEIGHT
    method: Literal["minmax", "rrf"] = "minmax"
    filter: str | None = rf.missing()
    sources: list[str] | None = rf.missing()
    min_length: int | None = rf.missing()
    before: int = 0
    after: int = 0
    transform: str | None = rf.missing()
    rerank: bool = False
    narrow: Narrow | None = rf.missing()

    @property
    def needs_vector(self) -> bool:
        """Whether the question has to be embedded."""
        return self.mode != "text" or self.narrow is not None

    @property
    def conditions(self) -> dict[str, Any] | None:
        """The filter as the database takes it. Raises ApplicationError for what is no JSON object."""
        if self.filter is None:
            return None
        try:
            found = json.loads(self.filter)
        except (ValueError, RecursionError) as error:
            raise rf.ApplicationError(f"The filter is no JSON ({error}): write it like {_EXAMPLE}") from None
        if not isinstance(found, dict):
            raise rf.ApplicationError(f"The filter must be a JSON object like {_EXAMPLE}")
        return cast("dict[str, Any]", found)


_EXAMPLE = '{"category": "news", "year": {"$gte": 2020}}'


class Question(rf.Object, rename="camel"):
    """What is searched for: `text` by its words, and by meaning one embedding for each model in use."""

    text: str
    embeddings: list[rf.Embedding] = msgspec.field(default_factory=list[rf.Embedding])


class Spent(rf.Object, rename="camel"):
    """Work that a search took, for the ledger; `ms` are milliseconds."""

    work: Work
    model: str
    tokens_in: int = 0
    tokens_out: int = 0
    ms: float = 0.0
    retries: int = 0

    def entry(self, row: rf.Table | None = None) -> Entry:
        """The ledger's entry; `row` is what it was done for."""
        return Entry(row=row, **msgspec.structs.asdict(self))


class Asked(rf.Object, rename="camel"):
    """A question that was made ready, and what it took."""

    question: Question
    text: str
    """What was embedded: the question, or what the transformation made of it."""
    kind: Literal["query", "document"] = "query"
    """How it was embedded."""
    spent: list[Spent] = msgspec.field(default_factory=list[Spent])

    def spent_on(self, work: Work) -> Spent | None:
        """What one kind of work took."""
        return next((one for one in self.spent if one.work == work), None)


def check_input(text: str, limits: Limits) -> str:
    """The question without white space around it. Raises ApplicationError for one that can't be searched for."""
    found = text.strip()
    if not found:
        raise rf.ApplicationError("An empty search finds nothing: ask for something")
    if len(found) > limits.search_input_length:
        raise rf.ApplicationError(
            f"A question has at most {limits.search_input_length} characters (limits.search_input_length), this one "
            f"{len(found)}: ask for less at once"
        )
    return found


def check_limit(limit: int, limits: Limits) -> None:
    """Raises ApplicationError for a number of results that can't be."""
    if not 1 <= limit <= limits.search_results:
        raise rf.ApplicationError(f"A search gives 1 to {limits.search_results} results, not {limit}: change limit")


def check_options(options: Options, limits: Limits, transforms: Collection[str], reranks: bool) -> None:
    """Raises ApplicationError that names the first option that can't be."""
    most, around = limits.search_results, limits.search_neighbours
    check_limit(options.limit, limits)
    if not 0 <= options.weight <= 1:
        raise rf.ApplicationError(f"weight is the share of meaning, 0 to 1, not {options.weight}")
    if options.min_length is not None and options.min_length < 0:
        raise rf.ApplicationError(f"minLength is a number of characters, at least 0, not {options.min_length}")
    for name, count in (("before", options.before), ("after", options.after)):
        if not 0 <= count <= around:
            raise rf.ApplicationError(f"{name} is a number of neighbours, 0 to {around}, not {count}")
    if options.filter is not None and len(options.filter) > limits.search_filter_length:
        raise rf.ApplicationError(
            f"A filter has at most {limits.search_filter_length} characters, this one {len(options.filter)}"
        )
    if options.sources is not None and not 1 <= len(options.sources) <= limits.search_sources:
        raise rf.ApplicationError(
            f"sources names 1 to {limits.search_sources} sources to search in, not {len(options.sources)}: leave it "
            "out to search in all of them"
        )
    if options.narrow is not None and not 1 <= options.narrow.to <= most:
        raise rf.ApplicationError(f"narrow.to is a number of sources, 1 to {most}, not {options.narrow.to}")
    if options.narrow is not None and options.narrow.by == "source" and options.sources is not None:
        raise rf.ApplicationError("sources are chosen already: leave out sources, or narrow")
    if options.transform is not None and options.transform not in transforms:
        known = ", ".join(sorted(transforms)) or "none: a chat model brings some, SearchSettings(transforms=...) others"
        raise rf.ApplicationError(f"There is no transformation {options.transform!r}; there is {known}")
    if options.rerank and not reranks:
        raise rf.ApplicationError(
            "This corpus has no reranker: leave rerank out, or add Corpus(search=SearchSettings(reranker=...))"
        )


def digest_of(text: str, options: Options) -> str:
    """Equal for equal questions with equal options, however their filters are spelled."""
    spelled = options.conditions
    plain = msgspec.structs.replace(options, filter=None, sources=options.sources and sorted(set(options.sources)))
    return _digest([text, msgspec.to_builtins(plain), spelled])


def question_digest_of(text: str, options: Options) -> str:
    """Equal for what is embedded as the same question, whatever is done with the vector."""
    return _digest([text, options.transform, options.needs_vector])


def _digest(value: object) -> str:
    # Half of a surrogate pair is no valid text, and no database takes it; here it must only not stop the check of it.
    return sha256(json.dumps(value, sort_keys=True).encode("utf-8", "surrogatepass")).hexdigest()[:32]
