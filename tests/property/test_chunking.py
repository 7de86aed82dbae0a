"""What holds for every text: nothing is lost, offsets and lines are true, sizes and overlaps keep their bounds."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from reflow.rag.chunking import Chunk, split

texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.text(st.sampled_from("ab .\n\r"), max_size=300),
    st.lists(
        st.sampled_from(["alpha", "beta. ", " ", "\n", "\r\n", "\n\n", "Gamma, ", "ß", "日本。"]), max_size=80
    ).map("".join),
)


def check(text: str, chunks: list[Chunk]) -> None:
    covered = bytearray(len(text))
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.text.strip()
        covered[chunk.start : chunk.end] = b"\1" * len(chunk.text)
        # Lines by other means than the module's: universal newlines.
        before, through = text[: chunk.start], text[: chunk.end - 1]
        for line, prefix, at in ((chunk.first_line, before, chunk.start), (chunk.last_line, through, chunk.end - 1)):
            breaks = prefix.count("\n") + prefix.count("\r") - prefix.count("\r\n")
            if prefix.endswith("\r") and text[at] == "\n":
                breaks -= 1  # between the two halves of one ending
            assert line == breaks + 1
    assert all(covered[at] or char.isspace() for at, char in enumerate(text))
    assert all(one.start <= two.start for one, two in pairwise(chunks))


@given(texts, st.integers(1, 60), st.data())
def test_default_splitter(text: str, max_chars: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, max_chars - 1))
    chunks = split(text, max_chars=max_chars, overlap=overlap)
    check(text, chunks)
    assert all(len(chunk.text) <= max_chars for chunk in chunks)
    assert all(one.end - two.start <= overlap for one, two in pairwise(chunks))


@given(texts, st.integers(2, 30), st.data(), st.booleans())
def test_pieces_of_any_covering_splitter_are_found_again(
    text: str, size: int, data: st.DataObject, strip: bool
) -> None:
    overlap = data.draw(st.integers(0, size - 1))
    pieces = [text[at : at + size] for at in range(0, len(text), size - overlap)]
    chunks = split(text, splitter=lambda _: [piece.strip() for piece in pieces] if strip else pieces)
    assert [chunk.text for chunk in chunks] == [p.strip() if strip else p for p in pieces if p.strip()]
    check(text, chunks)


@given(texts)
def test_pieces_with_gaps_are_found_again(text: str) -> None:
    chunks = split(text, splitter=str.split)
    assert [chunk.text for chunk in chunks] == text.split()
    check(text, chunks)
