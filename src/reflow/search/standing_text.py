"""Live searches by words: which of them a commit concerns.

A search is concerned where a document that holds one of its terms comes, goes or changes. Its scores also depend on
numbers of the whole corpus: how many documents there are, and how many hold a term. Those may drift by `DRIFT` before
they concern it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, NamedTuple, TypeVar

from reflow.search.filters import Filter
from reflow.search.tokens import tokens
from reflow.storage.base import TextTerm

DRIFT = 0.1
"""The part by which numbers of the corpus may change before a live search runs again for that alone."""

O = TypeVar("O", bound=Hashable)  # noqa: E741 - the owner of a search


class TextEntry:
    """A document's text in an index, and what filters can ask of the document. Tokens are computed when needed."""

    __slots__ = ("_tokens", "metadata", "source")

    def __init__(self, source: str, metadata: Mapping[str, Any]) -> None:
        self.source = source
        self.metadata = metadata
        self._tokens: str | None = None

    @property
    def tokens(self) -> str:
        """The terms in order, separated by single spaces."""
        if self._tokens is None:
            self._tokens = " ".join(tokens(self.source))
        return self._tokens


class TextChange(NamedTuple):
    """What one document has in a text index before and after a commit, None for nothing."""

    before: TextEntry | None
    after: TextEntry | None

    @property
    def entries(self) -> tuple[TextEntry, ...]:
        """The one or two that there are."""
        return tuple(entry for entry in self if entry is not None)


def growth(changes: Iterable[TextChange]) -> int:
    """How many documents the corpus has gained."""
    return sum((change.after is not None) - (change.before is not None) for change in changes)


@dataclass(frozen=True, slots=True)
class TextRead:
    """A search by words as part of a read set, with the numbers of the corpus that its scores came from."""

    index: int
    terms: tuple[TextTerm, ...]
    filter: Filter | None
    documents: int
    matches: int
    """Documents per term, added up; 0 where that was not asked for, since every match concerns the search anyway."""

    def matched(self, words: Iterable[str]) -> bool:
        """Whether one of the words is searched for."""
        plain = {term.term for term in self.terms if not term.prefix}
        prefixes = tuple(term.term for term in self.terms if term.prefix)
        return any(word in plain or word.startswith(prefixes) for word in words)

    def concerned(self, changes: Sequence[TextChange]) -> bool:
        """Whether these changes may change the result."""
        if abs(growth(changes)) > DRIFT * self.documents:
            return True
        return any(self.matched(entry.tokens.split(" ")) for change in changes for entry in change.entries)


class _Watch(Generic[O]):
    """One search of one owner, and how far the corpus has drifted since it ran."""

    __slots__ = ("base", "owner", "read", "strangers")

    def __init__(self, read: TextRead, owner: O, base: int) -> None:
        self.read = read
        self.owner = owner
        self.base = base
        """The index's growth when the search was registered."""
        self.strangers = 0
        """Matching documents that its filter does not let pass: they changed only how rare a term is."""

    def drifted(self, growth: int) -> bool:
        return abs(growth - self.base) > DRIFT * self.read.documents

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
        return self.strangers > DRIFT * self.read.matches


class _Texts(Generic[O]):
    """The searches of one index, by the terms that they look for."""

    def __init__(self) -> None:
        self.watches: set[_Watch[O]] = set()
        self.terms: dict[str, set[_Watch[O]]] = {}
        self.prefixes: dict[str, set[_Watch[O]]] = {}
        self.lengths: Counter[int] = Counter()
        self.growth = 0
        self._calm = (-math.inf, math.inf)
        """While the growth is between these, no search has drifted."""

    def add(self, watch: _Watch[O]) -> None:
        self.watches.add(watch)
        for term in watch.read.terms:
            table = self.prefixes if term.prefix else self.terms
            if term.term not in table:
                table[term.term] = set()
                if term.prefix:
                    self.lengths[len(term.term)] += 1
            table[term.term].add(watch)
        room = DRIFT * watch.read.documents
        self._calm = max(self._calm[0], watch.base - room), min(self._calm[1], watch.base + room)

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
        owners: set[O] = set()
        self.growth += growth(changes)
        low, high = self._calm
        if not low <= self.growth <= high:
            owners |= {watch.owner for watch in self.watches if watch.drifted(self.growth)}
            rooms = [(watch.base, DRIFT * watch.read.documents) for watch in self.watches if watch.owner not in owners]
            self._calm = (
                max((base - room for base, room in rooms), default=-math.inf),
                min((base + room for base, room in rooms), default=math.inf),
            )
        for watch in self._matched(changes):
            if watch.owner not in owners and watch.concerned(changes):
                owners.add(watch.owner)
        return owners

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
