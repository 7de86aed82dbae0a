"""What holds for every text that is cut into chunks: nothing is lost, places are true, an edit stays local."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from reflow.rag.chunking import Chunk, chunk
from reflow.rag.reading import Text, read_text

NAMES = ["notes.txt", "notes.md", "notes.py", "notes.json"]
TOKENS = [
    "alpha",
    "Beta. ",
    "gamma, ",
    " ",
    "\n",
    "\r\n",
    "\n\n",
    "\n\n\n",
    "# One\n",
    "## Two\n\n",
    "- item\n",
    "ß",
    "日本。",
]
TOKENS += ["```\n", "    indented\n", "def f():\n", "| a | b |\n", "===\n", "---\n", "e\u0301", "\u2028", "x" * 70]
texts = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"])),
    st.lists(st.sampled_from(TOKENS), max_size=80).map("".join),
)


def changed(before: Sequence[Chunk], after: Sequence[Chunk]) -> int:
    """How many chunks have a text that none had before: what must be embedded."""
    known = {piece.text for piece in before}
    return sum(piece.text not in known for piece in after)


@given(texts, st.sampled_from(NAMES), st.integers(1, 120), st.data())
def test_chunks_hold_all_of_the_text_and_keep_their_bounds(
    source: str, name: str, max_chars: int, data: st.DataObject
) -> None:
    overlap = data.draw(st.integers(0, max_chars - 1))
    chunks = chunk(read_text(source, name), max_chars=max_chars, overlap=overlap)
    covered = bytearray(len(source))
    end = start = -1
    for piece in chunks:
        assert source[piece.start : piece.end] == piece.text
        assert piece.text.strip()
        assert len(piece.text) <= max_chars
        assert piece.start > start
        assert piece.end > end >= piece.start - len(source)
        assert max(0, end) - piece.start <= overlap
        covered[piece.start : piece.end] = b"\1" * len(piece.text)
        start, end = piece.start, piece.end
    assert all(covered[at] or char.isspace() for at, char in enumerate(source))


@given(texts, st.sampled_from(NAMES), st.integers(20, 120))
def test_cutting_is_repeatable_and_knows_its_headings(source: str, name: str, max_chars: int) -> None:
    text = read_text(source, name)
    chunks = chunk(text, max_chars=max_chars, overlap=0)
    assert chunks == chunk(text, max_chars=max_chars, overlap=0)
    for piece in chunks:
        path: list[tuple[int, str]] = []
        for heading in text.headings:
            if heading.start <= piece.start:
                path = [*(above for above in path if above[0] < heading.level), (heading.level, heading.title)]
        assert piece.headings == tuple(title for _, title in path)


@given(st.lists(st.text(max_size=300), min_size=1, max_size=10), st.integers(20, 200))
def test_every_chunk_knows_its_page(pages: list[str], max_chars: int) -> None:
    starts = tuple(sum(len(page) for page in pages[:number]) for number in range(len(pages)))
    text = Text(text="".join(pages).replace("\ud800", "?"), kind="pdf", pages=starts)
    for piece in chunk(text, max_chars=max_chars, overlap=0):
        assert piece.page == sum(start <= piece.start for start in starts)


# Edits

WORDS = (
    "a the of and vector database commit atomic query live index source chunk token answer model page is was".split()
)


def paragraph(rng: random.Random) -> str:
    """One to six sentences."""
    return " ".join(
        " ".join(rng.choices(WORDS, k=rng.randint(4, 24))).capitalize() + "." for _ in range(rng.randint(1, 6))
    )


def document(rng: random.Random, paragraphs: int, *, headings: bool) -> list[str]:
    """Paragraphs, with a heading of Markdown before every ninth if asked for."""
    made = [paragraph(rng) for _ in range(paragraphs)]
    if headings:
        return [f"## Part {number}\n\n{text}" if number % 9 == 0 else text for number, text in enumerate(made)]
    return made


def edited(paragraphs: list[str], rng: random.Random) -> list[str]:
    """The document after somebody reworded, replaced, added or removed one paragraph."""
    at, what = rng.randrange(len(paragraphs)), rng.random()
    if what < 0.6:
        words = paragraphs[at].split(" ")
        words[rng.randrange(len(words))] = rng.choice(["another", "two more", ""])
        return [*paragraphs[:at], " ".join(words), *paragraphs[at + 1 :]]
    if what < 0.8:
        return [*paragraphs[:at], paragraph(rng), *paragraphs[at + 1 :]]
    return (
        [*paragraphs[:at], paragraph(rng), *paragraphs[at:]] if what < 0.9 else paragraphs[:at] + paragraphs[at + 1 :]
    )


def test_editing_one_paragraph_of_two_hundred_pages_changes_at_most_three_chunks() -> None:
    """A page has about 2,500 characters. Nearly all edits change one or two chunks."""
    for suffix, separator in (("txt", "\n\n"), ("md", "\n\n"), ("txt", "\n")):
        rng = random.Random(f"edits {suffix} {separator!r}")
        paragraphs = document(rng, 2000, headings=suffix == "md")
        before = chunk(read_text(separator.join(paragraphs), f"book.{suffix}"))
        assert before[-1].end > 200 * 2500
        counts = [
            changed(before, chunk(read_text(separator.join(edited(paragraphs, rng)), f"book.{suffix}")))
            for _ in range(40)
        ]
        assert sum(count <= 3 for count in counts) >= 38, counts
        assert sum(counts) <= 80
        assert max(counts) <= 6


@given(st.integers(0, 1 << 32), st.sampled_from(["md", "txt", "py"]), st.integers(60, 400))
def test_what_is_far_from_an_edit_keeps_its_chunks(seed: int, suffix: str, max_chars: int) -> None:
    rng = random.Random(seed)
    paragraphs = document(rng, 120, headings=suffix == "md")
    at = rng.randrange(len(paragraphs))
    after = [*paragraphs[:at], paragraph(rng), *paragraphs[at + 1 :]]
    overlap = max_chars // 8
    known = {
        c.text for c in chunk(read_text("\n\n".join(paragraphs), f"x.{suffix}"), max_chars=max_chars, overlap=overlap)
    }
    text = "\n\n".join(after)
    begin = sum(len(one) + 2 for one in after[:at])
    for piece in chunk(read_text(text, f"x.{suffix}"), max_chars=max_chars, overlap=overlap):
        if piece.end < begin - 12 * max_chars or piece.start > begin + len(after[at]) + 12 * max_chars:
            assert piece.text in known
