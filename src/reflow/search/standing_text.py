"""Live searches by words: which of them a commit concerns.

A search is concerned where a document that holds one of its terms comes, goes or changes. Its scores also depend on
numbers of the whole corpus: how many documents there are, how long they are on average, and how many hold a term. Those
may drift by `limits.text_drift` before they alone concern it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

import msgspec

from reflow.search.filters import Filter
from reflow.search.tokens import tokens
from reflow.storage.base import TextTerm

O = TypeVar("O", bound=Hashable)  # noqa: E741 - the owner of a search


_LOOK = 0.1
"""The part of the drift that a search bears after which it is asked whether it has drifted."""


class TextEntry(msgspec.Struct, gc=False):
    """A document's text in an index, and what filters can ask of the document. Both are computed when needed."""

    source: str
    document: Any
    describe: Callable[[Any], Mapping[str, Any]]
    """Gives the metadata of the document."""
    computed: str | None = None
    described: Mapping[str, Any] | None = None

    @property
    def tokens(self) -> str:
        """The terms in order, separated by single spaces."""
        if self.computed is None:
            self.computed = " ".join(tokens(self.source))
        return self.computed

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What filters can ask."""
        if self.described is None:
            self.described = self.describe(self.document)
        return self.described


class TextChange(msgspec.Struct, frozen=True, gc=False):
    """What one document has in a text index before and after a commit, None for nothing."""

    before: TextEntry | None
    after: TextEntry | None

    @property
    def entries(self) -> list[TextEntry]:
        """The one or two that there are."""
        return [entry for entry in (self.before, self.after) if entry is not None]


class Growth(NamedTuple):
    """What a corpus has gained."""

    documents: int = 0
    tokens: int = 0

    def plus(self, changes: Iterable[TextChange]) -> Growth:
        """The gain when these changes are counted too."""
        documents, tokens = self
        for change in changes:
            documents += (change.after is not None) - (change.before is not None)
            tokens += _length(change.after) - _length(change.before)
        return Growth(documents, tokens)


def _length(entry: TextEntry | None) -> int:
    return 0 if entry is None or not entry.tokens else entry.tokens.count(" ") + 1


@dataclass(frozen=True, slots=True)
class TextRead:
    """A search by words as part of a read set, with the numbers of the corpus that its scores came from."""

    index: int
    terms: tuple[TextTerm, ...]
    filter: Filter | None
    documents: int
    average_length: float
    matches: int
    """Documents per term, added up; 0 where that was not asked for, since every match concerns the search anyway."""
    drift: float
    """The part by which these numbers may change."""

    def drifted(self, growth: Growth) -> bool:
        """Whether the corpus is another one by now."""
        if abs(growth.documents) > self.drift * self.documents:
            return True
        documents = self.documents + growth.documents
        average = (self.documents * self.average_length + growth.tokens) / documents if documents else 0.0
        return abs(average - self.average_length) > self.drift * self.average_length

    def matched(self, words: Iterable[str]) -> bool:
        """Whether one of the words is searched for."""
        plain = {term.term for term in self.terms if not term.prefix}
        prefixes = tuple(term.term for term in self.terms if term.prefix)
        return any(word in plain or word.startswith(prefixes) for word in words)

    def concerned(self, changes: Sequence[TextChange]) -> bool:
        """Whether these changes may change the result."""
        if any(self.matched(entry.tokens.split(" ")) for change in changes for entry in change.entries):
            return True
        return self.drifted(Growth().plus(changes))


class _Watch(Generic[O]):
    """One search of one owner, and how far the corpus has drifted since it ran."""

    __slots__ = ("base", "owner", "read", "strangers")

    def __init__(self, read: TextRead, owner: O, base: Growth) -> None:
        self.read = read
        self.owner = owner
        self.base = base
        """The index's growth when the search was registered."""
        self.strangers = 0
        """Matching documents that its filter does not let pass: they changed only how rare a term is."""

    def drifted(self, growth: Growth) -> bool:
        return self.read.drifted(Growth(growth.documents - self.base.documents, growth.tokens - self.base.tokens))

    def concerned(self, changes: Sequence[TextChange]) -> bool:
        """Asked where a term of the search is among the changes' words."""
        wanted = self.read.filter
        if wanted is None:
            return True
        for change in changes:
            matching = [entry for entry in change.entries if self.read.matched(entry.tokens.split(" "))]
            if any(wanted.matches(entry.metadata) for entry in matching):
                return True
            self.strangers += bool(matching)
        return self.strangers > self.read.drift * self.read.matches


class _Texts(Generic[O]):
    """The searches of one index, by the terms that they look for."""

    def __init__(self) -> None:
        self.watches: set[_Watch[O]] = set()
        self.terms: dict[str, set[_Watch[O]]] = {}
        self.prefixes: dict[str, set[_Watch[O]]] = {}
        self.lengths: Counter[int] = Counter()
        self.growth = Growth()
        self._looked = Growth()
        """The growth when all searches were last asked whether they have drifted."""
        self._bears = (math.inf, math.inf)
        """How many documents and tokens may come or go until they are asked again."""

    def add(self, watch: _Watch[O]) -> None:
        self.watches.add(watch)
        for term in watch.read.terms:
            table = self.prefixes if term.prefix else self.terms
            if term.term not in table:
                table[term.term] = set()
                if term.prefix:
                    self.lengths[len(term.term)] += 1
            table[term.term].add(watch)
        self._bears = self._least([watch])

    def remove(self, watch: _Watch[O]) -> None:
        self.watches.discard(watch)
        for term in watch.read.terms:
            table = self.prefixes if term.prefix else self.terms
            table[term.term].discard(watch)
            if not table[term.term]:
                del table[term.term]
                if term.prefix:
                    self.lengths[len(term.term)] -= 1
        self.lengths = +self.lengths

    def concerned(self, changes: Sequence[TextChange]) -> set[O]:
        self.growth = self.growth.plus(changes)
        owners = self._drifted()
        for watch in self._matched(changes):
            if watch.owner not in owners and watch.concerned(changes):
                owners.add(watch.owner)
        return owners

    def _least(self, watches: Iterable[_Watch[O]]) -> tuple[float, float]:
        documents, tokens = self._bears
        for watch in watches:
            part = _LOOK * watch.read.drift * watch.read.documents
            documents, tokens = min(documents, part), min(tokens, part * watch.read.average_length)
        return documents, tokens

    def _drifted(self) -> set[O]:
        documents, tokens = (abs(now - then) for now, then in zip(self.growth, self._looked, strict=True))
        if documents <= self._bears[0] and tokens <= self._bears[1]:
            return set()
        self._looked, self._bears = self.growth, (math.inf, math.inf)
        self._bears = self._least(self.watches)
        return {watch.owner for watch in self.watches if watch.drifted(self.growth)}

    def _matched(self, changes: Sequence[TextChange]) -> set[_Watch[O]]:
        words = {word for change in changes for entry in change.entries for word in entry.tokens.split(" ")}
        found: set[_Watch[O]] = set()
        for term in self.terms.keys() & words:
            found |= self.terms[term]
        for length in self.lengths:
            for start in {word[:length] for word in words} & self.prefixes.keys():
                found |= self.prefixes[start]
        return found


class StandingTexts(Generic[O]):
    """The live searches by words of all owners."""

    def __init__(self) -> None:
        self._indexes: dict[int, _Texts[O]] = {}
        self._watches: dict[O, list[_Watch[O]]] = {}

    def register(self, owner: O, reads: Iterable[TextRead]) -> None:
        """Sets the searches of an owner, in place of its former ones."""
        self.remove(owner)
        for read in reads:
            texts = self._indexes.setdefault(read.index, _Texts())
            watch = _Watch(read, owner, texts.growth)
            texts.add(watch)
            self._watches.setdefault(owner, []).append(watch)

    def remove(self, owner: O) -> None:
        """Forgets an owner's searches."""
        for watch in self._watches.pop(owner, ()):
            texts = self._indexes[watch.read.index]
            texts.remove(watch)
            if not texts.watches:
                del self._indexes[watch.read.index]

    def concerned(self, index: int, changes: Sequence[TextChange]) -> set[O]:
        """The owners whose searches these changes concern. Every commit is to be told, once."""
        texts = self._indexes.get(index)
        return set() if texts is None else texts.concerned(changes)
