from __future__ import annotations

from itertools import pairwise

import pytest

from reflow.errors import InvalidValue
from reflow.rag.chunking import Chunk, chunk, chunker_id
from reflow.rag.reading import Heading, Text, read_text


def words(count: int, word: str = "word") -> str:
    """A sentence of so many words."""
    return " ".join([word.capitalize(), *[word] * (count - 1)]) + "."


def texts(chunks: list[Chunk]) -> list[str]:
    return [piece.text for piece in chunks]


def test_a_blank_text_has_no_chunks_and_a_short_one_has_one() -> None:
    assert chunk("") == chunk(" \n\t\r\n") == []
    assert chunk("\n\n  one\ntwo \n") == [Chunk("one\ntwo", 4, 11, 3, 4)]


@pytest.mark.parametrize(("max_chars", "overlap"), [(0, 0), (-1, 0), (10, 10), (10, 11), (10, -1)])
def test_impossible_sizes_are_refused(max_chars: int, overlap: int) -> None:
    with pytest.raises(InvalidValue, match=rf"chunk\(max_chars={max_chars}, overlap={overlap}\)"):
        chunk("text", max_chars=max_chars, overlap=overlap)


def test_a_section_begins_a_chunk_and_its_path_is_known() -> None:
    source = "\n\n".join(
        ["# Guide", words(20), "## Use", words(30), words(30), "### Deep", words(30), "## Other", words(30)]
    )
    chunks = chunk(read_text(source, "a.md"), max_chars=400, overlap=0)
    assert [piece.text.split("\n")[0] for piece in chunks] == ["# Guide", "## Use", "### Deep", "## Other"]
    assert [piece.headings for piece in chunks] == [
        ("Guide",),
        ("Guide", "Use"),
        ("Guide", "Use", "Deep"),
        ("Guide", "Other"),
    ]
    assert [piece.first_line for piece in chunks] == [1, 5, 11, 15]


def test_small_sections_share_a_chunk() -> None:
    source = "".join(f"## Option {number}\n\nA few words.\n\n" for number in range(6))
    (only,) = chunk(read_text(source, "a.md"), max_chars=400, overlap=0)
    assert only.headings == ("Option 0",)


def test_a_heading_is_never_the_end_of_a_chunk() -> None:
    for size in (18, 35, 36, 37, 50, 200):  # also where a paragraph fits but for its heading
        source = "".join(f"{words(9)}\n\n## Head {number}\n\n{words(size)}\n\n" for number in range(20))
        for piece in chunk(read_text(source, "a.md"), max_chars=200, overlap=20):
            assert not piece.text.split("\n")[-1].startswith("#")


def test_a_list_is_cut_between_its_items_and_a_paragraph_between_sentences() -> None:
    items = "\n".join(f"- Item {number} which has\n  two lines, e.g. this one." for number in range(20))
    for piece in chunk(read_text(items, "a.md"), max_chars=150, overlap=0):
        assert piece.text.startswith("- Item")
        assert piece.text.endswith("this one.")
    prose = " ".join(words(12) for _ in range(20))
    for piece in chunk(prose, max_chars=150, overlap=0):
        assert piece.text.startswith("Word")
        assert piece.text.endswith(".")


def test_code_keeps_its_margin_and_its_definitions() -> None:
    body = "\n".join(f"        value_{number} = compute({number})" for number in range(12))
    source = f"class Store:\n    def put(self):\n{body}\n\n    def get(self):\n{body}\n\n\ndef main():\n    pass\n"
    chunks = chunk(read_text(source, "a.py"), max_chars=300, overlap=0)
    assert all(line.startswith("    ") for piece in chunks[:-1] for line in piece.text.split("\n")[1:])
    starts = [piece.text.split("\n")[0] for piece in chunks]
    assert "    def get(self):" in starts
    assert next(p for p in chunks if "def get" in p.text).headings == ("class Store", "def get(self)")


def test_a_definition_keeps_what_stands_right_above_it() -> None:
    body = "\n".join(f"    value_{number} = compute({number})" for number in range(9))
    parts = [
        f"# Of the first.\n@decorated(\n    1,\n)\ndef first():\n{body}",
        f"# Far above.\n\n// Of the second.\n@plain\ndef second():\n{body}",
        f"other = 1\ndef third():\n{body}",
    ]
    chunks = chunk(read_text("\n\n\n".join(parts), "a.py"), max_chars=330, overlap=0)
    assert [piece.headings for piece in chunks if "def" in piece.text] == [
        ("def first()",),
        ("def second()",),
        ("def third()",),
    ]
    assert [piece.text.split("\n")[0] for piece in chunks if "def" in piece.text] == [
        "# Of the first.",
        "// Of the second.",
        "def third():",
    ]


def test_the_first_lines_of_code_are_code() -> None:
    source = "\n".join(f"value_{number} = compute('Yes. It is. So.')" for number in range(20))
    for piece in chunk(read_text(source, "a.py"), max_chars=150, overlap=0):
        assert piece.text.startswith("value_")
    fence = read_text(f"```\n{source}\n```", "a.md")
    assert all(piece.text.startswith(("value_", "```")) for piece in chunk(fence, max_chars=150, overlap=0))


def test_fenced_code_stays_whole_where_it_fits() -> None:
    fence = "```python\nfirst = 1\n\nsecond = 2\n\n# no heading\n```"
    source = f"{words(30)}\n\n{fence}\n\n{words(30)}"
    chunks = chunk(read_text(source, "a.md"), max_chars=160, overlap=0)
    assert fence in texts(chunks)


def test_overlap_repeats_whole_sentences_within_a_section_only() -> None:
    prose = " ".join(words(10, name) for name in ("ant", "bee", "cat", "dog", "elk", "fox", "gnu", "hen"))
    first, *others = chunk(prose, max_chars=140, overlap=50)
    end = first.end
    for piece in others:
        assert 0 < end - piece.start <= 50
        assert piece.text[0].isupper()
        end = piece.end
    source = f"# One\n\n{words(20)}\n\n# Two\n\n{words(20)}"
    one, two = chunk(read_text(source, "a.md"), max_chars=200, overlap=60)
    assert one.end < two.start


def test_overlap_falls_back_to_words_and_to_characters() -> None:
    for source in ("word " * 200, "x" * 1000, "日本語" * 300):
        chunks = chunk(source, max_chars=100, overlap=20)
        assert len(chunks) > 5
        for one, two in pairwise(chunks):
            assert 0 < one.end - two.start <= 20
            assert two.text[0] != " "


def test_no_character_is_cut_in_two() -> None:
    source = "e\u0301" * 500 + "👩\u200d👩\u200d👧" * 200
    for piece in chunk(source, max_chars=61, overlap=7):
        assert piece.text[0] in "e👩👧"
        assert piece.text[0] != "👧" or source[piece.start - 1] != "\u200d"


def test_pages_and_headings_of_a_pdf() -> None:
    text = Text(
        text=f"{words(20)}\n\n{words(20)}\n\n{words(20)}",
        kind="pdf",
        pages=(0, 103, 206),
        headings=(Heading(0, 1, "One"), Heading(103, 1, "Two")),
    )
    found = [(piece.page, piece.headings) for piece in chunk(text, max_chars=110, overlap=0)]
    assert found == [(1, ("One",)), (2, ("Two",)), (3, ("Two",))]


def test_a_splitter_of_ones_own_gets_headings_and_pages_as_well() -> None:
    text = read_text("# One\nfirst part\n# Two\nsecond part\n", "a.md")
    overlapping = chunk(text, splitter=lambda source: [source[0:20], source[10:25], source[22:]])
    assert [piece.headings for piece in overlapping] == [("One",), ("Two",), ("Two",)]
    with pytest.raises(InvalidValue, match="Piece 1 of the splitter is not in the text"):
        chunk(text, splitter=lambda _: ["something else"])


def test_the_name_of_a_way_of_cutting_changes_with_it() -> None:
    class Named:
        id = "mine/3"

        def split_text(self, text: str) -> list[str]:
            return [text]

    names = {
        chunker_id(),
        chunker_id(max_chars=500),
        chunker_id(overlap=10),
        chunker_id(splitter=str.split),
        chunker_id(splitter=Named()),
    }
    assert len(names) == 5
    assert "splitter mine/3" in names
    assert chunker_id() == chunker_id()
