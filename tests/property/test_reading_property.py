"""Whatever the bytes: reading gives a sound text or refuses with a reason, and never anything else."""

from __future__ import annotations

from itertools import pairwise
from typing import get_args

from hypothesis import example, given, settings
from hypothesis import strategies as st

from reflow.errors import UnreadableSource
from reflow.rag.chunking import chunk
from reflow.rag.reading import Kind, Text, read, read_text
from tests.support import office_files

NAMES = ["a.txt", "a.md", "a.html", "a.pdf", "a.docx", "a.py", "a.json", "a", "https://x.test/a?b", "a.bin"]
TYPES = [
    None,
    "",
    "text/plain",
    "text/html; charset=utf-16",
    "text/html; charset=x",
    "application/pdf",
    "image/png",
    ";;=",
]
REASONS = {"empty", "binary", "too_large", "encrypted", "broken", "unsupported"}
SAMPLES = [
    office_files.pdf([["one line"], ["another (line)"]], [("one", 0)], "Title"),
    office_files.encrypted_pdf(),
    office_files.docx(office_files.paragraph("x", "heading1") + office_files.table([["a", "b"]])),
    b"<!doctype html><title>t</title><main><h1>x</h1><ul><li>a<table><tr><td><pre>b</main>" * 3,
    b"---\ntitle: x\n---\n# H\n```\ncode\n",
]
TAGS = [
    "<div>",
    "</div>",
    "<ul>",
    "<li>",
    "</ul>",
    "<table>",
    "<tr>",
    "<td>",
    "</table>",
    "<pre>",
    "</pre>",
    "<h2>",
    "</h2>",
]
TAGS += [
    "<blockquote>",
    "</blockquote>",
    "<code>",
    "<br>",
    "text ",
    "# x\n",
    "```",
    "<nav>",
    "</nav>",
    "<main>",
    "</li>",
    "|",
]


def check(data: bytes, name: str, content_type: str | None) -> None:
    refusal: UnreadableSource | None = None
    try:
        sound(read(data, name, content_type))
    except UnreadableSource as error:
        refusal = error
    assert refusal is None or (refusal.reason in REASONS and str(refusal))


def sound(text: Text) -> None:
    """What every text must be that is stored, cut and shown."""
    assert text.kind in get_args(Kind)
    text.text.encode("utf-8")
    (text.title or "").encode("utf-8")
    assert all(0 <= heading.start < len(text.text) and heading.level >= 1 for heading in text.headings)
    assert all(one.start < two.start for one, two in pairwise(text.headings))
    assert all(one <= two for one, two in pairwise(text.pages))
    assert not text.pages or text.pages[0] == 0
    for piece in chunk(text, max_chars=50, overlap=10):
        assert text.text[piece.start : piece.end] == piece.text


@given(st.binary(max_size=400), st.sampled_from(NAMES), st.sampled_from(TYPES))
@example(b"\xff\xfe\x00\xd8", "a.txt", None)
@example(b"<!--", "a.html", None)
def test_any_bytes(data: bytes, name: str, content_type: str | None) -> None:
    check(data, name, content_type)


@settings(deadline=None)
@given(st.sampled_from(SAMPLES), st.data(), st.sampled_from(NAMES))
def test_damaged_documents(sample: bytes, data: st.DataObject, name: str) -> None:
    damaged = bytearray(sample)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(damaged) - 1))
        what = data.draw(st.sampled_from(["change", "cut", "double", "end"]))
        if what == "change":
            damaged[at] = data.draw(st.integers(0, 255))
        elif what == "cut":
            del damaged[at : at + data.draw(st.integers(1, 40))]
        elif what == "double":
            damaged[at:at] = damaged[max(0, at - 30) : at]
        else:
            del damaged[max(at, 1) :]
        damaged = damaged or bytearray(b"x")
    check(bytes(damaged), name, None)


@given(st.lists(st.sampled_from(TAGS), max_size=60).map("".join))
def test_any_markup(page: str) -> None:
    check(page.encode(), "a.html", None)


@given(st.text(max_size=300), st.sampled_from(["a.md", "a.py", "a.txt"]))
def test_any_pasted_text_keeps_every_character(source: str, name: str) -> None:
    text = read_text(source, name)
    assert text.text == source
    assert all(one.start < two.start for one, two in pairwise(text.headings))
    assert all(0 <= heading.start < len(source) and heading.title for heading in text.headings)
