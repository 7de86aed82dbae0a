"""`Corpus`: texts that an application can search and ask, with all that keeps them so.

corpus = rag.Corpus("docs", embedder=rag.LocalEmbedder())
app = rf.App(modules=[...], components=[corpus])

A corpus is built like any application: its tables and functions live beside the app's own, under its name. The app's
functions use its parts: `await corpus.sources.put(ctx, "notes/1", text)` in a mutation is part of its transaction.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import reflow as rf
from reflow.errors import DefinitionError
from reflow.limits import DEFAULT, Limits
from reflow.rag.answers.answers import Answers
from reflow.rag.answers.chat import Chat, Chooser, chosen
from reflow.rag.answers.extractive import Extractive
from reflow.rag.answers.stored_templates import Templates
from reflow.rag.answers.threads import Threads
from reflow.rag.answers.writing import Writing
from reflow.rag.chunking import CHUNK_CHARS, OVERLAP_CHARS, Splitter, chunker_id
from reflow.rag.costs.ledger import Ledger
from reflow.rag.costs.spending import Spending
from reflow.rag.embedders.base import Embedder
from reflow.rag.ingestion.jobs import Jobs, Pace
from reflow.rag.measures.evaluation import Evaluation
from reflow.rag.measures.maps import Maps
from reflow.rag.measures.projection import Projection
from reflow.rag.measures.status import Status
from reflow.rag.part import Part
from reflow.rag.reembed import model_of
from reflow.rag.search.asking import SearchSettings
from reflow.rag.search.searches import Searches
from reflow.rag.sources.sources import Sources
from reflow.rag.tables import OWNER, Tables

_NAME = re.compile(r"[a-z][a-z0-9_]{0,30}")
_PACE = Pace()


class Corpus:
    """Sources that are cut into chunks, embedded in the background, searched and asked.

    `embedder` makes the vectors; `splitter` cuts texts (default: pieces of at most `chunk_chars` characters at the
    boundaries of the text, with `overlap`). `filters` are fields of your own, given with each source, which searches
    can put conditions on beside `category`, `kind` and the length.

    `owner` gives each user (`owner=True`: by their token's identity) or tenant (`rf.Owner(claim="org_id")`) a corpus
    of their own in the same tables: what a search sees is decided by the caller's token, never by an argument.

    `public` lets clients call the corpus's functions by themselves ("docs/searches:ask" and so on). Without it they
    are internal, for the app's own functions to call.

    `keep_versions` replaced texts of each source are kept, so that citations of them still find their lines.
    `allow_private` lets sources come from addresses inside your network, which any of its users could then read.

    `others` are embedders that can take the place of `embedder`, or that it took the place of: `corpus.jobs.reembed`
    changes over to one of them by its id. Where that has other dims, make it the `embedder` afterwards.

    `cache` keeps each vector under what it was made of, so that equal texts are embedded once; `pace` says how many at
    a time, and how long failures are borne.

    `search` has what searches can do besides: rewrite questions before they are embedded, rerank what was found.

    `chat` words answers: a chat model, or a function of `ctx` that gives one or None, such as `configured_chat`. Where
    there is none, answers are sentences of the sources, chosen as `extractive` says.

    `spending` holds the prices of models, and the budgets that stop work. `projection` draws the map of the vectors in
    another way than as the plane in which they differ most, such as UMAP or t-SNE.
    """

    def __init__(
        self,
        name: str,
        *,
        embedder: Embedder,
        splitter: Splitter | None = None,
        chunk_chars: int = CHUNK_CHARS,
        overlap: int = OVERLAP_CHARS,
        filters: Sequence[str] = (),
        owner: bool | rf.Owner = False,
        public: bool = False,
        others: Sequence[Embedder] = (),
        cache: bool = True,
        pace: Pace = _PACE,
        keep_versions: int = 3,
        allow_private: bool = False,
        search: SearchSettings | None = None,
        chat: Chat | Chooser | None = None,
        extractive: Extractive | None = None,
        spending: Spending | None = None,
        projection: Projection | None = None,
        limits: Limits = DEFAULT,
    ) -> None:
        if not _NAME.fullmatch(name):
            raise DefinitionError(f"{name!r} can't name a corpus: use a small letter, then small letters, digits and _")
        self.name = name
        self.embedder = embedder
        self.embedders = (embedder, *others)
        """All there are; the first one makes the vectors until another one takes over."""
        self.splitter = splitter
        self.chunk_chars = chunk_chars
        self.overlap = overlap
        self.filters = tuple(filters)
        self.public = public
        self.cache = cache
        self.pace = pace
        self.keep_versions = keep_versions
        self.allow_private = allow_private
        self.search = search or SearchSettings()
        self.chat = chat
        self.extractive = extractive or Extractive()
        self.spending = spending or Spending()
        self.projection = projection
        self.limits = limits
        self.owner = _owner_of(owner)
        self.tables = Tables(name, embedder.dims, self.filters, self.owner)
        self.sources = Sources(self)
        self.jobs = Jobs(self)
        self.searches = Searches(self)
        self.answers = Answers(self)
        self.writing = Writing(self)
        self.threads = Threads(self)
        self.templates = Templates(self)
        self.ledger = Ledger(self)
        self.evaluation = Evaluation(self)
        self.maps = Maps(self)
        self.status = Status(self)

    @property
    def parts(self) -> tuple[Part, ...]:
        """What it consists of."""
        return (
            self.sources,
            self.jobs,
            self.searches,
            self.answers,
            self.writing,
            self.threads,
            self.templates,
            self.ledger,
            self.evaluation,
            self.maps,
            self.status,
        )

    @property
    def modules(self) -> tuple[rf.Module, ...]:
        """The functions, for `App(components=[corpus])`."""
        return tuple(part.module for part in self.parts)

    @property
    def cutting(self) -> str:
        """What the places of cuts depend on beside the text: a text is cut anew where this has changed."""
        return chunker_id(max_chars=self.chunk_chars, overlap=self.overlap, splitter=self.splitter)

    @property
    def model(self) -> rf.Model:
        """Whose vectors they are. May load the model."""
        return model_of(self.embedder)

    def chat_for(self, ctx: rf.QueryCtx | rf.MutationCtx | rf.ActionCtx) -> Chat | None:
        """The chat model that words answers now, None where there is none."""
        return chosen(self.chat, ctx)

    def whose(self, owner: str) -> dict[str, Any]:
        """An owner as a field of a row, or as a condition: for background work that has no row to go by."""
        return {} if self.owner is None else {OWNER: owner}

    def owned(self, row: rf.Table) -> dict[str, Any]:
        """The owner of a row as a field for another one: background work names it, since it has no caller."""
        return {} if self.owner is None else {OWNER: getattr(row, OWNER)}


def _owner_of(owner: bool | rf.Owner) -> rf.Owner | None:
    if owner is False:
        return None
    if owner is True:
        return rf.Owner(OWNER)
    if owner.field not in ("", OWNER):
        raise DefinitionError(f"the owner's field of a corpus is {OWNER!r}: write rf.Owner(claim=...) without a field")
    return rf.Owner(OWNER, claim=owner.claim, issuer=owner.issuer)
