"""The tokenizer of BERT (uncased): WordPiece, as the models of the MiniLM family were trained with.

It gives the ids of the Hugging Face `tokenizers` library for the same vocabulary, with two intended exceptions: a
text that contains "[SEP]" or the like is plain text and cannot inject a special token, and accents newer than that
library's Unicode tables are dropped like all others.

Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers" (2018); Wu et al., "Google's Neural
Machine Translation System" (2016) for greedy longest-match-first pieces.
"""

from __future__ import annotations

import gzip
import re
import unicodedata
from functools import cache, lru_cache
from importlib.resources import files
from itertools import chain

from reflow.limits import DEFAULT

PAD, UNKNOWN, START, END = 0, 100, 101, 102
"""Ids of [PAD], [UNK], [CLS] and [SEP] in the vocabulary."""

_WORD_CHARS = 100
"""A longer word is one unknown piece, as in the original."""

_ASCII_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]+")
_ASCII_WORD = re.compile(r"[a-z0-9]+|[^\sa-z0-9]")
_IDEOGRAPH = re.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002ceaf\U0002f800-\U0002fa1f]"
)


class _CharTable(dict[int, str | None]):
    """A table for `str.translate` that fills itself, up to a bound."""

    def __missing__(self, code: int) -> str | None:
        value = self.compute(chr(code))
        if len(self) < DEFAULT.cached_words:
            self[code] = value
        return value

    def compute(self, char: str) -> str | None:
        raise NotImplementedError


class _Cleaning(_CharTable):
    """Drops control and format characters, makes any white space a space, and sets ideographs apart."""

    def compute(self, char: str) -> str | None:
        if char in "\t\n\r":
            return " "
        if char == "\ufffd" or unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co"):
            return None
        if char.isspace():
            return " "
        return f" {char} " if _IDEOGRAPH.match(char) else char


class _Folding(_CharTable):
    """Drops accents from decomposed text, lowers it and sets punctuation apart."""

    def compute(self, char: str) -> str | None:
        category = unicodedata.category(char)
        if category == "Mn":
            return None
        if category.startswith("P") or (char.isascii() and not char.isalnum() and not char.isspace()):
            return f" {char} "
        return char.lower()  # one character at a time: a final sigma stays the common one


_cleaning, _folding = _Cleaning(), _Folding()


@cache
def vocabulary() -> dict[str, int]:
    """The 30,522 pieces of bert-base-uncased and their ids; pieces inside of a word start with "##"."""
    data = files("reflow.rag.embedders").joinpath("data", "vocab.txt.gz").read_bytes()
    return {piece: number for number, piece in enumerate(gzip.decompress(data).decode("utf-8").splitlines())}


def encode(text: str) -> list[int]:
    """The ids of a text's pieces, without the special ones around it."""
    words = _words(text)
    pieces = _pieces if max(map(len, words), default=0) <= _WORD_CHARS else _compute_pieces
    return list(chain.from_iterable(map(pieces, words)))


def _words(text: str) -> list[str]:
    """Lower-case words and single punctuation marks."""
    if text.isascii():
        return _ASCII_WORD.findall(_ASCII_CONTROL.sub("", text).lower())
    return unicodedata.normalize("NFD", text.translate(_cleaning)).translate(_folding).split()


def _compute_pieces(word: str) -> tuple[int, ...]:
    """Takes the longest piece that the vocabulary has, again and again; a rest without one makes the word unknown."""
    if len(word) > _WORD_CHARS:
        return (UNKNOWN,)
    known, found = vocabulary(), list[int]()
    start, prefix = 0, ""
    while start < len(word):
        end = len(word)
        while (piece := known.get(prefix + word[start:end])) is None:
            end -= 1
            if end == start:
                return (UNKNOWN,)
        found.append(piece)
        start, prefix = end, "##"
    return tuple(found)


_pieces = lru_cache(maxsize=DEFAULT.cached_words)(_compute_pieces)
