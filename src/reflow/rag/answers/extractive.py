"""Answers without a chat model: the sentences of the sources that fit a question best, word by word.

A sentence's score is what it and the question have in common by meaning (cosine, three quarters) and by words (the
share of the question's that it has). What is below a floor is no answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from snowballstemmer.porter_stemmer import PorterStemmer  # pyright: ignore[reportMissingTypeStubs]

from reflow.rag.answers.prompts import Passage
from reflow.rag.embedders.base import BatchEmbedder

DENSE_SHARE = 0.75

_BLANK = re.compile(r"\n(?:[^\S\n]*\n)+")
_ITEM = re.compile(r"\n(?=\s*(?:[-*•‣]|\d{1,3}[.)])\s)")
_STOP = re.compile(r"(?<=[.!?。！？])[\"'”’)\]]*\s+(?=[\"'“‘(\[]?[^\Wa-z_])")
_WORD = re.compile(r"\w+")
_LONGEST = 600
_FEWEST_WORDS = 3
_COMMON = frozenset(
    "a an the and or but if of to in on at by for from with as is are was were be been do does did has have had can "
    "could will would should may might must i you he she it we they me my your his her its our their this that these "
    "those what which who whom whose when where why how not no there here than then so such about into over any some "
    "all please tell explain describe".split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Extractive:
    """How answers are made of sentences: those of at least `floor`, `sentences` at most.

    The default floor is for the local model; models whose vectors are all near each other need a higher one.
    """

    floor: float = 0.3
    sentences: int = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Sentence:
    """A sentence and where it is: in which passage, on which lines of the source."""

    text: str
    passage: int
    first_line: int
    last_line: int
    score: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Extract:
    """The sentences that answer, the best first, and what it took to find them."""

    sentences: list[Sentence]
    tokens: int = 0
    ms: float = 0.0
    retries: int = 0


async def extract(
    embedder: BatchEmbedder, question: str, passages: Sequence[Passage], settings: Extractive, *, most: int
) -> Extract:
    """The sentences that answer a question; none where nothing does. At most `most` sentences are looked at, those with
    the most of the question's words first. Raises ProviderError."""
    found = [sentence for passage in passages for sentence in sentences_of(passage)]
    wanted = words_of(question)
    found.sort(key=lambda sentence: -overlap(wanted, sentence.text))
    found = list({sentence.text: sentence for sentence in reversed(found[:most])}.values())
    if not found:
        return Extract(sentences=[])
    asked = await embedder.embed_batch([question], "query")
    vectors: list[NDArray[np.float32]] = []
    tokens, ms, retries = asked.tokens, asked.milliseconds, asked.retries
    for start in range(0, len(found), embedder.max_batch):
        texts = [sentence.text for sentence in found[start : start + embedder.max_batch]]
        embedded = await embedder.embed_batch(texts, "document")
        vectors.append(embedded.vectors)
        tokens += embedded.tokens
        ms += embedded.milliseconds
        retries += embedded.retries
    likeness = np.concatenate(vectors) @ asked.vectors[0]
    if not embedder.normalized:
        lengths = np.linalg.norm(np.concatenate(vectors), axis=1) * np.linalg.norm(asked.vectors[0])
        likeness = likeness / np.maximum(lengths, 1e-12)
    chosen = choose(wanted, found, likeness, settings)
    return Extract(sentences=chosen, tokens=tokens, ms=ms, retries=retries)


def choose(
    wanted: frozenset[str], sentences: Sequence[Sentence], likeness: NDArray[np.float32], settings: Extractive
) -> list[Sentence]:
    """The best sentences; those that are far behind the best one only dilute it."""
    scored = [
        Sentence(
            text=sentence.text,
            passage=sentence.passage,
            first_line=sentence.first_line,
            last_line=sentence.last_line,
            score=DENSE_SHARE * float(cosine) + (1 - DENSE_SHARE) * overlap(wanted, sentence.text),
        )
        for sentence, cosine in zip(sentences, likeness, strict=True)
    ]
    scored.sort(key=lambda sentence: (-sentence.score, sentence.passage, sentence.first_line))
    least = max(settings.floor, 0.8 * scored[0].score)
    return [sentence for sentence in scored[: settings.sentences] if sentence.score >= least]


def sentences_of(passage: Passage) -> Iterator[Sentence]:
    """The sentences of a passage with their lines. Line ends within a sentence become spaces."""
    text = passage.text or ""
    for start, end in _ranges(text):
        plain = " ".join(text[start:end].split())
        if len(_WORD.findall(plain)) < _FEWEST_WORDS or len(plain) > _LONGEST:
            continue
        first = passage.first_line + text.count("\n", 0, start)
        last = first + text.count("\n", start, end)
        yield Sentence(text=plain, passage=passage.number, first_line=first, last_line=min(last, passage.last_line))


def _ranges(text: str) -> Iterator[tuple[int, int]]:
    """Where sentences begin and end, without white space around them."""
    cuts = {0, len(text)}
    for pattern in (_BLANK, _ITEM, _STOP):
        cuts |= {match.end() for match in pattern.finditer(text)}
    for start, end in pairwise(sorted(cuts)):
        whole = text[start:end]
        start += len(whole) - len(whole.lstrip())
        yield start, start + len(whole.strip())


def overlap(wanted: frozenset[str], text: str) -> float:
    """The share of the wanted words that a text has, 0 to 1."""
    return len(wanted & words_of(text)) / len(wanted) if wanted else 0.0


def words_of(text: str) -> frozenset[str]:
    """The stems of the words that say something."""
    return frozenset(_stem(word) for word in _WORD.findall(text.lower()) if word not in _COMMON)


@lru_cache(maxsize=4096)
def _stem(word: str) -> str:
    return cast(str, cast(Any, PorterStemmer()).stemWord(word))
