from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.limits import DEFAULT
from reflow.search.tokens import _terms, query_terms, tokens  # pyright: ignore[reportPrivateUsage]
from reflow.storage.base import TextTerm


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        (" \t\n?!—", []),
        ("Copying directories", ["copi", "directori"]),
        ("shutil.copytree", ["shutil", "copytre"]),
        ("copy_tree", ["copi", "tree", "copytre"]),
        ("RotatingFileHandler", ["rotat", "file", "handler", "rotatingfilehandl"]),
        ("HTTPServer", ["http", "server", "httpserver"]),
        ("__init__ _", ["init"]),
        ("it's", ["it", "s"]),
        ("utf8 3.11", ["utf8", "3", "11"]),
        ("Ünïcode café cafe\u0301", ["unicod", "cafe", "cafe"]),
        ("ﬁle ＦＵＬＬ straße İstanbul", ["file", "full", "strass", "istanbul"]),
        ("हिन्दी 한국어", ["हिन्दी", "한국어"]),
        ("中文字 abc日本", ["中", "文", "字", "abc", "日", "本"]),
        ("סֵפֶר", ["ספר"]),
    ],
)
def test_terms_of(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


def test_terms_above_the_byte_bound_are_dropped_and_their_neighbours_stay() -> None:
    limit = DEFAULT.term_bytes
    assert tokens(f"a {'1' * limit} b {'1' * (limit + 1)} c") == ["a", "1" * limit, "b", "c"]
    assert tokens("é" * 20 + " " + "ж" * 17) == ["e" * 20]  # 34 bytes of Cyrillic
    assert tokens("x" * 100_000 + " tail") == ["tail"]


def test_a_long_identifier_is_found_by_its_parts() -> None:
    name = "_".join(["alpha", "beta", "gamma"] * 10)
    assert set(tokens(name)) == {"alpha", "beta", "gamma"}


def test_a_query_ends_in_a_prefix() -> None:
    assert query_terms("how to copy") == [
        TextTerm("how"),
        TextTerm("to"),
        TextTerm("copi"),
        TextTerm("copy", prefix=True),
    ]
    assert query_terms("a tree") == [TextTerm("a"), TextTerm("tree", prefix=True)]
    assert query_terms("?!") == []


def test_a_word_that_is_still_typed_matches_what_it_becomes() -> None:
    for typed, stored in [
        ("copy", "copytree"),
        ("direct", "directories"),
        ("get_clo", "get_close_matches"),
        ("中", "中文"),
    ]:
        assert any(
            term.startswith(query.term) if query.prefix else term == query.term
            for query in query_terms(typed)
            for term in tokens(stored)
        )


def test_query_terms_are_distinct_and_bounded() -> None:
    assert query_terms("tree tree Tree") == [TextTerm("tree", prefix=True)]
    many = " ".join(f"w{i}" for i in range(100))
    assert len(query_terms(many)) == DEFAULT.query_terms


@given(st.text())
def test_terms_join_by_spaces_and_survive_plain_tokenizers(text: str) -> None:
    found = tokens(text)
    assert " ".join(found).split(" ") == (found or [""])
    for term in found:
        assert term
        assert not set(term) & set(string.punctuation + string.whitespace)
        assert len(term.encode()) <= DEFAULT.term_bytes


@given(st.text(st.characters(exclude_categories=["Cs"])), st.text(st.characters(exclude_categories=["Cs"])))
def test_terms_of_a_text_are_those_of_its_lines(first: str, second: str) -> None:
    assert tokens(f"{first}\n{second}") == tokens(first) + tokens(second)


@given(st.text(min_size=1))
def test_a_query_finds_the_text_it_was_taken_from(text: str) -> None:
    stored = set(tokens(text))
    asked = query_terms(text)
    assert all(term.term in stored for term in asked if not term.prefix)
    assert bool(asked) or not stored


def test_of_a_query_with_too_many_words_only_the_first_are_looked_at() -> None:
    before = _terms.cache_info().misses
    found = query_terms(" ".join(f"many{number}" for number in range(50_000)))
    assert found == [TextTerm(f"many{number}") for number in range(DEFAULT.query_terms)]
    assert _terms.cache_info().misses - before == DEFAULT.query_terms


def test_of_a_long_query_only_the_beginning_is_looked_at() -> None:
    # Its words repeat, so that their number alone would not end the search for further ones.
    repeated = "tree " * DEFAULT.query_text_length
    assert query_terms(repeated) == [TextTerm("tree")]
    assert query_terms(repeated + "late") == query_terms(repeated)
