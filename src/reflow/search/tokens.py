"""From text to the terms of a text index, the same for every storage.

A term is lower case, without diacritics, stemmed (Porter, English) and free of spaces and ASCII punctuation, so that
a storage can keep a document's terms joined by spaces and split them with the plainest of tokenizers.

Identifiers are found by their parts and as a whole: `RotatingFileHandler` and `rotating_file_handler` both give
`rotat file handler rotatingfilehandl`. Chinese and Japanese characters, and those of Thai, Lao, Burmese and Khmer,
are terms of their own, because these languages put no spaces between words.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from itertools import chain
from threading import Lock
from typing import cast

# The package root may hand out another implementation.
from snowballstemmer.porter_stemmer import PorterStemmer  # pyright: ignore[reportMissingTypeStubs]

from reflow.limits import DEFAULT
from reflow.storage.base import TextTerm

_UNSPACED = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\U00020000-\U0003ffff"
_INDIC = "\u0900-\u0963\u0966-\u0dff"  # vowel signs are no letters for `\w`, yet belong to the word
_ASCII_WORD = re.compile(r"[A-Za-z0-9_]+")
_WORD = re.compile(rf"[{_UNSPACED}]|(?:(?![{_UNSPACED}])[\w{_INDIC}])+")
_DIACRITIC = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u0610-\u061a\u064b-\u065f\u1ab0-\u1aff\u1dc0-\u1dff]"
)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_CACHED_WORD = 64
"""A text with a longer word bypasses the cache, which must not hold megabytes of base64."""

_stemmer = PorterStemmer()
_stemmer_turn = Lock()  # the stemmer works on its own fields


def tokens(text: str) -> list[str]:
    """The terms of a text in order, with repetitions. Terms above `limits.term_bytes` are dropped."""
    words = _words(text)
    terms = _terms if max(map(len, words), default=0) <= _CACHED_WORD else _compute_terms
    return list(chain.from_iterable(map(terms, words)))


def query_terms(text: str) -> list[TextTerm]:
    """What to look for: the distinct terms of the first `limits.query_text_length` characters of a query, at most
    `limits.query_terms`.

    The last word may still be typed, so every term that starts with it matches too.
    """
    words = _words(text[: DEFAULT.query_text_length])  # anybody may send megabytes
    if not words:
        return []
    last = _normal(words[-1]).replace("_", "")
    if len(text) > DEFAULT.query_text_length:  # the last word may be cut, and nobody is typing it
        last = ""
        words.pop()
    distinct: dict[TextTerm, None] = {}
    for word in words:
        if len(distinct) >= DEFAULT.query_terms:
            break
        distinct.update((TextTerm(term), None) for term in tokens(word) if term != last)
    if last and _fits(last):
        # The stem is no prefix of what the word may become: "copy" is stored as "copi", "copytree" as "copytre".
        distinct[TextTerm(last, prefix=True)] = None
    return list(distinct)[: DEFAULT.query_terms]


def _words(text: str) -> list[str]:
    """Runs of letters, digits and underscores, composed and without diacritics, in their original case."""
    if text.isascii():
        return _ASCII_WORD.findall(text)
    folded = _DIACRITIC.sub("", unicodedata.normalize("NFKD", text))
    return _WORD.findall(unicodedata.normalize("NFKC", folded))


def _normal(word: str) -> str:
    lowered = word.casefold()
    # Folding can bring a mark of its own: "İ" becomes "i" and a dot.
    return lowered if lowered.isascii() else _DIACRITIC.sub("", lowered)


def _fits(term: str) -> bool:
    return len(term.encode("utf-8", "surrogatepass")) <= DEFAULT.term_bytes


def _stem(term: str) -> str:
    with _stemmer_turn:
        stem = cast(str, _stemmer.stemWord(term))  # pyright: ignore[reportUnknownMemberType]
    return stem or term  # the stem of "s" is empty


def _compute_terms(word: str) -> tuple[str, ...]:
    """The parts of an identifier, then the whole without underscores; a plain word is its own only part."""
    parts = [_normal(part) for piece in word.split("_") if piece for part in _CAMEL.split(piece)]
    if len(parts) > 1:
        parts.append("".join(parts))
    return tuple(_stem(part) for part in parts if part and _fits(part))


_terms = lru_cache(maxsize=DEFAULT.cached_words)(_compute_terms)
