"""The tables of a corpus. Each corpus has its own, named after it: "docs_sources", "docs_chunks" and so on.

The classes here say what is in them; `Tables` makes the tables of one corpus, with its dimensions, its filter fields
and, where it belongs to its users, with an owner.
"""

from __future__ import annotations

import types
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, TypeVar, cast

import msgspec

import reflow as rf
from reflow.errors import DefinitionError
from reflow.rag.answers.chat import Message
from reflow.rag.answers.citations import Span
from reflow.rag.answers.prompts import Passage
from reflow.rag.answers.templates import Template
from reflow.rag.costs.spending import Per, Work
from reflow.rag.measures.metrics import Average, Expected
from reflow.rag.search.queries import Options, Question

T = TypeVar("T", bound=rf.Table)

OWNER = "owner"
"""The field of every row that says whose it is, in a corpus with an owner."""

Kind = Literal["text", "markdown", "html", "pdf", "docx", "code"]
"""What a source is made of."""

SourceState = Literal["reading", "embedding", "ready", "failed", "stopped"]
"""Where a source is. While a new version is made, `Source.version` still tells which one is searched."""

VersionState = Literal["reading", "embedding", "ready", "replaced", "failed", "stopped"]
"""A version is searched while it is ready, and shown by citations while it is replaced."""

SearchState = Literal["pending", "ready", "failed"]
"""A search that has failed still shows what its words find, unless it is by meaning alone."""

AnswerState = Literal["waiting", "searching", "writing", "done", "stopped", "failed"]
"""Where an answer is. A stopped one keeps what it said, and so does one that failed midway."""

AnswerKind = Literal["chat", "extractive", "nothing"]
"""Worded by a chat model, sentences of the sources, or none: nothing was found."""

FilterValue = str | float | bool | list[str] | None


class Source(rf.Table, rename="camel"):
    """A text that was added, under a key: what is searched now, and what is being made of it.

    `version` is the one that is searched (0: none yet), `pending` the one in the making (absent: none). Times are
    milliseconds since 1970.
    """

    key: str
    name: str
    kind: Kind
    state: SourceState
    origin: str | None = rf.missing()
    """The address or path it came from."""
    version: int = 0
    pending: int | None = rf.missing()
    content_hash: str = ""
    """Of the newest version that was taken in, searched already or not."""
    chunk_count: int = 0
    """Chunks of the version that is searched."""
    importance: float = 1.0
    """Weight of its chunks' scores."""
    category: str | None = rf.missing()
    summary: str | None = rf.missing()
    """What its own vector is made of."""
    own_summary: bool = False
    """Whether the summary was given; else each version brings one."""
    summary_embedded: bool = True
    """Whether there is nothing left to do for that vector."""
    summary_due: float | None = rf.missing()
    """When it is tried again, in milliseconds since 1970."""
    error: str | None = rf.missing()
    updated: float = 0.0

    by_key: ClassVar[rf.Index]
    by_state: ClassVar[rf.Index]
    by_update: ClassVar[rf.Index]
    by_summary: ClassVar[rf.Index]
    by_origin: ClassVar[rf.Index]
    by_importance: ClassVar[rf.Index]
    by_category: ClassVar[rf.Index]
    meaning: ClassVar[rf.VectorIndex]


class Version(rf.Table, rename="camel"):
    """One content of a source, and how far its vectors are."""

    source: rf.Id[Any]
    number: int
    state: VersionState
    content_hash: str
    kind: Kind
    file: rf.Id[rf.File] | None = rf.missing()
    """The original, where it was a file."""
    summary: str | None = rf.missing()
    """Of this text, for the source once this version is searched."""
    characters: int = 0
    size: int = 0
    """Of the text as UTF-8, in bytes."""
    lines: int = 0
    pages: list[int] | None = rf.missing()
    """Where the pages of a PDF start, in characters of its text."""
    chunk_count: int = 0
    reused: int = 0
    """Chunks that the version before had, too: they kept their ids and vectors."""
    model: str = ""
    tokens: int = 0
    embedding_ms: float = 0.0
    cached: int = 0
    """Texts whose vectors were there already."""
    retries: int = 0
    cost: float = 0.0
    """In the currency of the embedder's price."""
    attempts: int = 0
    """Failed tries since the last success."""
    next_try: float | None = rf.missing()
    """When it is tried again, in milliseconds since 1970."""
    failing_since: float | None = rf.missing()
    """When the first of them was, in milliseconds since 1970."""
    bulk: bool = False
    """Whether it came with many others: what a person adds overtakes it."""
    reading: Literal["waiting", "running"] | None = rf.missing()
    """Whether it waits to be read, or is."""
    error: str | None = rf.missing()

    by_source: ClassVar[rf.Index]
    by_turn: ClassVar[rf.Index]
    by_reading: ClassVar[rf.Index]
    by_file: ClassVar[rf.Index]


class TextBlock(rf.Table, rename="camel"):
    """A piece of a version's text: long texts are kept in blocks. `start` counts characters, `first_line` from 1."""

    source: rf.Id[Any]
    version: int
    number: int
    start: int
    first_line: int
    text: str

    by_version: ClassVar[rf.Index]


class Piece(rf.Table, rename="camel"):
    """What a chunk and a draft have in common: a part of a version's text.

    `text == whole[start:end]` where both are there; `first_line` and `last_line` count from 1. `hash` is of the text
    as it is embedded.
    """

    source: rf.Id[Any]
    version: int
    number: int
    """Its place among the chunks of its version, from 0."""
    text: str
    hash: str
    first_line: int
    last_line: int
    start: int | None = rf.missing()
    end: int | None = rf.missing()
    page: int | None = rf.missing()
    """Of a PDF, from 1."""
    headings: list[str] = msgspec.field(default_factory=list[str])
    name: str | None = rf.missing()
    """What it describes, such as a function's qualified name."""
    kind: Kind = "text"
    category: str | None = rf.missing()
    embedded: bool = False
    """Whether it has its vector."""
    error: str | None = rf.missing()
    """Why it will have none."""


class Chunk(Piece):
    """A part of what is searched. It is found by words as soon as it is here, by meaning once it is embedded."""

    by_source: ClassVar[rf.Index]
    by_embedded: ClassVar[rf.Index]
    words: ClassVar[rf.TextIndex]
    meaning: ClassVar[rf.VectorIndex]


class Draft(Piece):
    """A chunk of a version in the making, while the one before is still searched.

    `chunk` is the chunk that it will be, where the version before has the same text; else `vectors` holds one embedding
    for each model in use, once it is embedded.
    """

    chunk: rf.Id[Any] | None = rf.missing()
    vectors: list[rf.Embedding] | None = rf.missing()

    by_source: ClassVar[rf.Index]
    by_embedded: ClassVar[rf.Index]


class Cached(rf.Table, rename="camel"):
    """A vector by what it was made of: float32 numbers, little-endian."""

    digest: str
    vector: bytes
    used: float
    """When it was last of use, in milliseconds since 1970, to the day."""

    by_digest: ClassVar[rf.Index]
    by_use: ClassVar[rf.Index]


class Pump(rf.Table, rename="camel"):
    """What embeds, one row per corpus: the scheduled function that does it or waits to."""

    job: rf.Id[Any] | None = rf.missing()
    """Absent: there is nothing to do."""
    refill: rf.Id[Any] | None = rf.missing()
    """The scheduled function that changes over to another model, or did."""
    until: float | None = rf.missing()
    """The provider wants no call before this, in milliseconds since 1970."""
    reason: str | None = rf.missing()
    """Why it waits or has stopped."""


class Reranked(rf.Object):
    """What a reranker made of a chunk. `hash` tells that its text is still the one that was judged."""

    chunk: str
    hash: str
    score: float


class Search(rf.Table, rename="camel"):
    """A question that was asked, with how. What it finds is not stored, but found anew: see `retrieval`.

    The exception is what a reranker said, which is somebody else's arithmetic. Times are milliseconds.
    """

    input: str
    options: Options
    digest: str
    """Of input and options: an equal search is used again."""
    question_digest: str
    """Of what is embedded: an equal question is not embedded again."""
    state: SearchState
    run: int = 1
    """Which run is the last; what an earlier one brings is dropped."""
    attempts: int = 0
    """Tries of this run."""
    question: Question | None = rf.missing()
    """Absent until it was embedded for the first time."""
    question_run: int = 0
    """The run that it is of."""
    asked: str | None = rf.missing()
    """What was embedded in place of the input."""
    asked_as: Literal["query", "document"] = "query"
    """How it was embedded."""
    reranked: list[Reranked] | None = rf.missing()
    error: str | None = rf.missing()
    """Why the last try of this run failed, also while there will be another."""
    name: str | None = rf.missing()
    """What a pinned search is called."""
    pinned: bool = False
    used: float
    """When it was last asked for, since 1970."""
    asks: int = 1
    tokens: int | None = rf.missing()
    embedding_ms: float | None = rf.missing()
    transform_ms: float | None = rf.missing()
    search_ms: float | None = rf.missing()
    """Time to find what the first run showed."""
    rerank_ms: float | None = rf.missing()

    by_digest: ClassVar[rf.Index]
    by_question: ClassVar[rf.Index]
    by_use: ClassVar[rf.Index]
    by_pin: ClassVar[rf.Index]
    words: ClassVar[rf.TextIndex]
    meaning: ClassVar[rf.VectorIndex]


class Thread(rf.Table, rename="camel"):
    """Questions that follow one another. `updated` is in milliseconds since 1970."""

    title: str
    answers: int = 0
    """How many there have been: the number of the last one."""
    updated: float

    by_update: ClassVar[rf.Index]


class StoredTemplate(rf.Table, rename="camel"):
    """A template in its users' words. See `templates.Template`."""

    name: str
    instructions: str
    prompt: str
    token_budget: int

    by_name: ClassVar[rf.Index]


class Answer(rf.Table, rename="camel"):
    """A question and how far its answer is. Its text is in blocks, so that this row changes a few times only.

    Times are milliseconds, `asked` and `next_try` since 1970.
    """

    question: str
    options: Options
    """How is searched for what it is made of."""
    wanted: Literal["chat", "extractive"] | None = rf.missing()
    template: str
    thread: rf.Id[Any] | None = rf.missing()
    number: int = 1
    """Its place in the thread."""
    state: AnswerState = "waiting"
    turn: int = 1
    """Which of its scheduled runs counts: an earlier one that comes late does nothing."""
    run: int = 0
    """Which run writes: what another one brings is dropped."""
    interruptions: int = 0
    """Runs that a crash has ended."""
    retries: int = 0
    """Times that a provider had to be asked again later."""
    asked: float
    """When it was asked for, or to be written anew."""
    next_try: float | None = rf.missing()
    error: str | None = rf.missing()
    """Why it failed; while it waits, why it has to."""
    note: str | None = rf.missing()
    """What a reader should know, such as that the text was cut."""
    searched: str | None = rf.missing()
    """The question as it was searched for, where that is another one."""
    kind: AnswerKind | None = rf.missing()
    model: str | None = rf.missing()
    passages: list[Passage] = msgspec.field(default_factory=list[Passage])
    """What it is made of, without the texts."""
    used: int = 0
    """How many of the passages the prompt has."""
    cited: list[int] = msgspec.field(default_factory=list[int])
    characters: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    cost: float | None = rf.missing()
    """In the currency of the `Spending`; absent where the model has no price."""
    condense_ms: float | None = rf.missing()
    search_ms: float | None = rf.missing()
    first_token_ms: float | None = rf.missing()
    total_ms: float | None = rf.missing()

    by_asked: ClassVar[rf.Index]
    by_thread: ClassVar[rf.Index]


class AnswerBlock(rf.Table, rename="camel"):
    """A piece of an answer's text. Blocks are added and never changed."""

    answer: rf.Id[Any]
    number: int
    """From 0."""
    spans: list[Span]

    by_answer: ClassVar[rf.Index]


class AnswerRecord(rf.Table, rename="camel"):
    """What an answer was made with: the templates as they were, what was found, and what was sent."""

    answer: rf.Id[Any]
    template: Template
    condense: Template | None = rf.missing()
    """In a thread."""
    messages: list[Message] = msgspec.field(default_factory=list[Message])
    passages: list[Passage] = msgspec.field(default_factory=list[Passage])
    tokens: int = 0
    """Of the messages, estimated."""
    said: str = ""
    """How the answer begins: what later questions of its thread refer to."""

    by_answer: ClassVar[rf.Index]


class Golden(rf.Table, rename="camel"):
    """A question of the golden set, and what searches should find for it."""

    question: str
    expected: list[Expected]
    note: str | None = rf.missing()

    by_question: ClassVar[rf.Index]


class GoldenQuestion(rf.Table, rename="camel"):
    """A question of the golden set as it was embedded: once without a transformation (""), once for each."""

    golden: rf.Id[Any]
    transform: str
    question: Question | None = rf.missing()
    error: str | None = rf.missing()
    """Why it could not be embedded."""

    by_golden: ClassVar[rf.Index]


class Measured(rf.Table, rename="camel"):
    """What a golden set was worth at one time: to be compared with."""

    name: str
    options: Options
    average: Average
    model: str
    sources: int
    search_ms: float
    """Mean time of a search, without embedding."""


class Stamp(rf.Object):
    """What a map is of: it is stale once one of these has changed."""

    updated: float = 0.0
    sources: int = 0
    model: str = ""


class Share(rf.Object):
    """How many points of a map are a source's."""

    source: str
    count: int


class MapRow(rf.Table, rename="camel"):
    """The map of the vectors: what of it is shown, and the one that is being made. Times are milliseconds."""

    version: int = 0
    """The one that is shown; 0: none yet."""
    making: int | None = rf.missing()
    making_stamp: Stamp = msgspec.field(default_factory=Stamp)
    job: rf.Id[Any] | None = rf.missing()
    """The scheduled function that makes it."""
    error: str | None = rf.missing()
    stamp: Stamp = msgspec.field(default_factory=Stamp)
    blocks: int = 0
    count: int = 0
    total: int = 0
    """Vectors that there were; `count` of them are on the map."""
    scale: float = 1.0
    plane: bytes | None = rf.missing()
    """Centre and axes, where the map is a plane; see `projection.Plane`."""
    explained: float | None = rf.missing()
    largest: list[Share] = msgspec.field(default_factory=list[Share])
    made: float | None = rf.missing()
    ms: float | None = rf.missing()

    by_owner: ClassVar[rf.Index]


class MapBlock(rf.Table, rename="camel"):
    """Some points of a map, column by column; `source` has places in `sources`."""

    version: int
    number: int
    chunks: list[str]
    sources: list[str]
    source: list[int]
    x: list[float]
    y: list[float]

    by_number: ClassVar[rf.Index]


class LedgerEntry(rf.Table, rename="camel"):
    """Work that was done. Rows stay when what they were done for is deleted: it is paid for."""

    day: str
    """Such as "2026-11-23"."""
    work: Work
    model: str
    subject: str | None = rf.missing()
    """The id of the source, search or answer that it was for."""
    tokens_in: int = 0
    tokens_out: int = 0
    time_us: int = 0
    """Microseconds."""
    retries: int = 0
    calls: int = 0
    cached: int = 0
    """Texts that needed no work."""
    cost_nanos: int | None = rf.missing()
    """Billionths of the currency; absent where the model has no price."""

    by_day: ClassVar[rf.Index]
    by_subject: ClassVar[rf.Index]
    by_work: ClassVar[rf.Index]


class LedgerTotal(rf.Table, rename="camel"):
    """What the entries of a period add up to, per kind of work and model. `period` is "2026-11-23", "2026-11" or
    "total".

    A total is in several rows (shards), so that work that ends at the same time need not wait for the same row.
    """

    period: str
    work: Work
    model: str
    shard: int
    entries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0
    time_us: int = 0
    retries: int = 0
    calls: int = 0
    cached: int = 0
    cost_nanos: int = 0
    unpriced: int = 0
    """Entries whose model has no price."""

    by_period: ClassVar[rf.Index]


class LedgerBudget(rf.Table, rename="camel"):
    """A budget that was set while the application runs: it stands before the one in its code. Without numbers there is
    no bound."""

    per: Per
    work: Work | None = None
    each: bool = False
    only: str = ""
    """The owner whose budget it is; "": it is that of all together, or of `each`."""
    money: float | None = None
    tokens: int | None = None

    by_owner: ClassVar[rf.Index]


class Tables:
    """The tables of one corpus."""

    def __init__(self, name: str, dims: int, filters: tuple[str, ...], owned: rf.Owner | None) -> None:
        self._name = name
        self._owned = owned
        self._made: list[type[rf.Table]] = []
        fields = dict.fromkeys(filters, FilterValue)
        conditions = ("source", "category", "kind", "len(text)", *filters)
        self.Source = self.table(
            Source,
            "sources",
            fields,
            by_key=self._of_owner("key"),
            by_state=self._of_owner("state", "updated"),
            by_update=self._of_owner("updated"),
            by_origin=self._of_owner("origin"),
            by_summary=rf.Index("summary_embedded", "summary_due"),
            by_importance=self._of_owner("importance"),
            by_category=self._of_owner("category"),
            meaning=rf.VectorIndex(dims=dims, filters=("category", "kind", *filters)),
        )
        self.Version = self.table(
            Version,
            "versions",
            by_source=rf.Index("source", "number"),
            by_turn=rf.Index("state", "bulk", "next_try"),
            by_reading=rf.Index("reading", "bulk"),
            by_file=rf.Index("file"),
        )
        self.TextBlock = self.table(TextBlock, "texts", by_version=rf.Index("source", "version", "number"))
        self.Chunk = self.table(
            Chunk,
            "chunks",
            fields,
            by_source=rf.Index("source", "number"),
            by_embedded=rf.Index("embedded", "source", "number"),
            words=rf.TextIndex("text", filters=conditions),
            meaning=rf.VectorIndex(dims=dims, filters=conditions),
        )
        self.Draft = self.table(
            Draft,
            "drafts",
            fields,
            by_source=rf.Index("source", "version", "number"),
            by_embedded=rf.Index("embedded", "source", "number"),
        )
        self.Cached = self.table(Cached, "vectors", shared=True, by_digest=rf.Index("digest"), by_use=rf.Index("used"))
        self.Pump = self.table(Pump, "pump", shared=True)
        self.Search = self.table(
            Search,
            "searches",
            by_digest=self._of_owner("digest"),
            by_question=self._of_owner("question_digest"),
            by_use=self._of_owner("used"),
            by_pin=self._of_owner("pinned", "used"),
            words=rf.TextIndex("input"),
            meaning=rf.VectorIndex(dims=dims),
        )
        self._make_answers()
        self._make_measures()

    def _make_measures(self) -> None:
        """How good searches are, the map of the vectors, and what all of it takes."""
        self.Golden = self.table(Golden, "golden", by_question=self._of_owner("question"))
        self.GoldenQuestion = self.table(
            GoldenQuestion, "golden_questions", by_golden=self._of_owner("golden", "transform")
        )
        self.Measured = self.table(Measured, "measured")
        self.Map = self.table(MapRow, "maps", by_owner=self._of_owner("version"))
        self.MapBlock = self.table(MapBlock, "map_blocks", by_number=self._of_owner("version", "number"))
        self.LedgerEntry = self.table(
            LedgerEntry,
            "ledger",
            by_day=self._of_owner("day"),
            by_subject=self._of_owner("subject"),
            by_work=self._of_owner("work"),
        )
        place = ("period", "work", "model", "shard")
        self.LedgerTotal = self.table(LedgerTotal, "ledger_totals", shared=True, by_period=rf.Index(*place))
        self.LedgerShare = self.table(LedgerTotal, "ledger_shares", by_period=self._of_owner(*place))
        """In a corpus with owners: the totals of each of them."""
        self.LedgerBudget = self.table(LedgerBudget, "budgets", shared=True, by_owner=rf.Index("only", "per"))

    def _make_answers(self) -> None:
        """Answers, and what they are asked with."""
        self.Thread = self.table(Thread, "threads", by_update=self._of_owner("updated"))
        self.Template = self.table(StoredTemplate, "templates", by_name=self._of_owner("name"))
        self.Answer = self.table(
            Answer, "answers", by_asked=self._of_owner("asked"), by_thread=rf.Index("thread", "number")
        )
        self.AnswerBlock = self.table(AnswerBlock, "answer_blocks", by_answer=rf.Index("answer", "number"))
        self.AnswerRecord = self.table(AnswerRecord, "answer_records", by_answer=rf.Index("answer"))

    def table(
        self,
        base: type[T],
        name: str,
        fields: Mapping[str, Any] | None = None,
        *,
        shared: bool = False,
        **indexes: rf.Index,
    ) -> type[T]:
        """A table of the corpus: `base` with further fields that may be absent, with indexes, and with the owner unless
        it is shared by all."""
        further = dict(fields or {})
        taken = further.keys() & set(base.__struct_fields__)
        if taken:
            raise DefinitionError(
                f"corpus {self._name!r}: {sorted(taken)} can't be filters of your own: they are there"
            )
        namespace: dict[str, Any] = {**indexes, **{field: rf.missing() for field in further}}
        options: dict[str, Any] = {"table": f"{self._name}_{name}"}
        if self._owned is not None and not shared:
            further[OWNER] = str
            namespace[OWNER] = rf.owner()
            options["owner"] = self._owned
        namespace |= {"__annotations__": further, "__module__": base.__module__, "__doc__": base.__doc__}
        made = cast("type[T]", types.new_class(base.__name__, (base,), options, lambda space: space.update(namespace)))
        self._made.append(made)
        return made

    def _of_owner(self, *fields: str) -> rf.Index:
        """An index that keeps each owner's rows apart, so that a query wakes for its caller's only."""
        return rf.Index(*fields) if self._owned is None else rf.Index(OWNER, *fields)

    def __iter__(self) -> Iterator[type[rf.Table]]:
        return iter(self._made)
