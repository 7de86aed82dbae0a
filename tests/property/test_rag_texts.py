"""Texts in blocks, and the few lines that stand for a whole text."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from reflow.rag.reading import read_text
from reflow.rag.sources.summaries import SUMMARY_CHARS, summary_of
from reflow.rag.sources.texts import blocks_of, lines_in

texts = st.text(alphabet=st.sampled_from("ab \n\r\t.#-é🐙"), max_size=200)


@given(text=texts, size=st.integers(2, 40))
def test_blocks_are_the_text_and_know_where_they_begin(text: str, size: int) -> None:
    blocks = blocks_of(text, size)
    assert "".join(block for _, _, block in blocks) == text
    for start, line, block in blocks:
        assert 0 < len(block) <= size
        assert text[start : start + len(block)] == block
        assert line == lines_in(text[:start])
        assert not (block.endswith("\r") and text.startswith("\n", start + len(block)))


@given(text=texts)
def test_lines_end_as_in_an_editor(text: str) -> None:
    assert lines_in(text) == len(re.split(r"\r\n|\r|\n", text))


@given(text=st.text(max_size=3000), name=st.sampled_from(("a.txt", "a.md", "a.py", "")))
def test_a_summary_is_short_whatever_the_text(text: str, name: str) -> None:
    summary = summary_of(read_text(text, name), name)
    assert len(summary) <= SUMMARY_CHARS
    assert summary == summary.strip()
