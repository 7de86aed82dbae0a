from __future__ import annotations

import subprocess
import sys
from dataclasses import dataclass

import pytest
from semantic_text_splitter import MarkdownSplitter

from reflow.errors import InvalidValue
from reflow.limits import DEFAULT
from reflow.rag.chunking import Chunk, split


def spans(chunks: list[Chunk]) -> list[tuple[int, int]]:
    return [(chunk.start, chunk.end) for chunk in chunks]


def test_a_blank_text_has_no_chunks() -> None:
    assert split("") == []
    assert split(" \n\t\r\n ") == []
    assert split("", splitter=str.split) == []


def test_a_short_text_is_one_chunk_without_the_white_space_around_it() -> None:
    assert split("\n\n  one\ntwo \n") == [Chunk("one\ntwo", 4, 11, 3, 4)]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_line_numbers_count_every_kind_of_line_ending(ending: str) -> None:
    text = ending.join(["alpha", "", "beta", "gamma", "", "", "delta"])
    chunks = split(text, max_chars=12 + len(ending), overlap=0)
    assert [(chunk.text.split(), chunk.first_line, chunk.last_line) for chunk in chunks] == [
        (["alpha"], 1, 1),
        (["beta", "gamma"], 3, 4),
        (["delta"], 7, 7),
    ]


def test_form_feeds_and_line_separators_end_no_line() -> None:
    chunks = split("one\x0c\x85\u2028two\nthree", splitter=str.split)
    assert [(chunk.text, chunk.first_line) for chunk in chunks] == [("one", 1), ("two", 1), ("three", 2)]


def test_a_line_ending_belongs_to_the_line_it_ends() -> None:
    (first, second) = split("one\r\ntwo", splitter=lambda text: ["one\r\n", "two"])
    assert (first.first_line, first.last_line, second.first_line) == (1, 1, 2)


@pytest.mark.parametrize(("max_chars", "overlap"), [(0, 0), (-1, 0), (10, 10), (10, 11), (10, -1)])
def test_impossible_sizes_are_refused(max_chars: int, overlap: int) -> None:
    with pytest.raises(InvalidValue, match=f"max_chars={max_chars}, overlap={overlap}"):
        split("text", max_chars=max_chars, overlap=overlap)


def test_half_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidValue, match=r"character 3.*surrogate"):
        split("abc\ud800")


def test_long_texts_are_cut_at_blank_lines_and_offsets_stay_true() -> None:
    paragraph = "word " * 300 + "end\n\n"
    text = paragraph * (3 * DEFAULT.split_block_chars // len(paragraph))
    chunks = split(text, overlap=0)
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert chunks == split(text, splitter=lambda _: [chunk.text for chunk in chunks])
    assert sum(chunk.text.endswith("end") for chunk in chunks) == text.count("end")
    assert chunks[-1].last_line == text.count("\n") - 1


@pytest.mark.parametrize("separator", ["", " ", "\n"])
def test_a_long_text_without_blank_lines_is_covered(separator: str) -> None:
    text = ("x" * 49 + separator) * (2 * DEFAULT.split_block_chars // 50 + 100)
    chunks = split(text, max_chars=5000, overlap=0)
    assert "".join(chunk.text for chunk in chunks).count("x") == text.count("x")


# Splitters of the application


@dataclass
class Document:
    page_content: str


class LangChainLike:
    """The parts of LangChain's interface that count: overlapping, stripped pieces; documents from header splitters."""

    def __init__(self, size: int, overlap: int, *, documents: bool = False) -> None:
        self.size, self.overlap, self.documents = size, overlap, documents

    def split_text(self, text: str) -> list[str] | list[Document]:
        starts = range(0, max(len(text) - self.overlap, 1), self.size - self.overlap)
        pieces = [text[start : start + self.size].strip() for start in starts]
        return [Document(piece) for piece in pieces] if self.documents else pieces


@pytest.mark.parametrize("documents", [False, True])
def test_a_langchain_splitter_keeps_its_overlap(documents: bool) -> None:
    text = "".join(f"line {number}\n" for number in range(50))
    chunks = split(text, splitter=LangChainLike(40, 10, documents=documents))
    assert all(text[chunk.start : chunk.end] == chunk.text for chunk in chunks)
    assert all(0 <= chunk.start - 30 * number <= 1 for number, chunk in enumerate(chunks))
    assert chunks[-1].last_line == 50


def test_a_splitter_with_offsets_is_believed_after_a_check() -> None:
    text = "# One\n\nsame\n\n# Two\n\nsame\n"
    assert [chunk.first_line for chunk in split(text, splitter=MarkdownSplitter(12))] == [1, 5]

    class Wrong:
        def chunk_indices(self, text: str) -> list[tuple[int, str]]:
            return [(1, text[:3])]

    with pytest.raises(InvalidValue, match="Piece 1 of the splitter is not at offset 1"):
        split(text, splitter=Wrong())


def test_repeated_pieces_are_found_one_after_the_other() -> None:
    assert spans(split("aaaa", splitter=lambda _: ["aa", "aa"])) == [(0, 2), (2, 4)]
    assert spans(split("aa bb aa", splitter=str.split)) == [(0, 2), (3, 5), (6, 8)]
    assert spans(split("xyxyxyxy", splitter=lambda _: ["xyxy"] * 3)) == [(0, 4), (2, 6), (4, 8)]


def test_a_splitter_may_leave_text_out() -> None:
    assert spans(split("a---b---c", splitter=lambda text: text.split("---"))) == [(0, 1), (4, 5), (8, 9)]


def test_a_changed_piece_is_an_error_that_shows_it() -> None:
    with pytest.raises(InvalidValue, match=r"Piece 2 of the splitter is not in the text: 'Beta'"):
        split("alpha beta", splitter=lambda _: ["alpha", "Beta"])


def test_pieces_out_of_order_are_an_error() -> None:
    with pytest.raises(InvalidValue, match=r"Piece 1 .* not before the pieces that follow it: 'beta'"):
        split("alpha beta", splitter=lambda _: ["beta", "alpha"])


def test_a_splitter_that_returns_no_strings_is_an_error() -> None:
    with pytest.raises(InvalidValue, match="Piece 1 of the splitter is a int"):
        split("alpha", splitter=lambda _: [1])  # type: ignore[list-item, return-value]


def test_a_missing_package_names_its_extra() -> None:
    program = """
import sys
sys.modules["semantic_text_splitter"] = None
from reflow.errors import MissingExtra
from reflow.rag.chunking import split
print(len(split("a b", splitter=str.split)))
try:
    split("text")
except MissingExtra as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("2\n")
    assert "reflow[rag]" in done.stdout
