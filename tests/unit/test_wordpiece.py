"""`wordpiece.json` holds texts with the ids that Hugging Face `tokenizers` 0.23 gives for the same vocabulary."""

from __future__ import annotations

import json
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.rag.embedders import wordpiece
from reflow.rag.embedders.wordpiece import END, PAD, START, UNKNOWN, encode, vocabulary

REFERENCE: list[tuple[str, list[int]]] = json.loads(Path(__file__).with_name("wordpiece.json").read_text("utf-8"))


@pytest.mark.parametrize(("text", "ids"), REFERENCE, ids=[str(number) for number in range(len(REFERENCE))])
def test_ids_are_those_of_the_reference(text: str, ids: list[int]) -> None:
    assert encode(text) == ids


def test_the_vocabulary_is_whole() -> None:
    assert len(vocabulary()) == 30_522
    assert sorted(vocabulary().values()) == list(range(30_522))
    assert [vocabulary()[name] for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]")] == [PAD, UNKNOWN, START, END]


def test_a_text_cannot_inject_special_tokens() -> None:
    assert not {PAD, START, END} & set(encode("a [SEP] b [CLS] c [PAD]"))


@given(st.text())
def test_every_text_has_ids_of_the_vocabulary(text: str) -> None:
    assert all(UNKNOWN <= piece < 30_522 and piece not in (START, END) for piece in encode(text))


@given(st.text(st.characters(codec="ascii")))
def test_the_short_way_for_ascii_gives_what_the_long_way_gives(text: str) -> None:
    assert encode(text + " ж") == [*encode(text), *encode("ж")]


@given(st.lists(st.text("ab1_.é", max_size=12), max_size=8))
def test_words_are_encoded_one_by_one(words: list[str]) -> None:
    assert encode(" ".join(words)) == list(chain.from_iterable(map(encode, words)))


def test_the_cache_of_words_changes_nothing() -> None:
    text = "uncached " * 3
    long_word = "x" * 101
    assert encode(f"{text}{long_word}") == [*encode(text), wordpiece.UNKNOWN]
