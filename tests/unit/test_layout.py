from __future__ import annotations

import sysconfig
from pathlib import Path

from playground.docstrings import Entry
from playground.layout import CHUNK_CHARS, SUMMARY_CHARS, EntryChunk, chunks_of_entry
from playground.stdlib import read_library


def entry(doc: str, *, name: str = "m.f", at: int = 10) -> Entry:
    return Entry(name, doc, at - 1, at + doc.count("\n") + 1, at)


def spans(chunks: list[EntryChunk]) -> list[tuple[int, int]]:
    return [(chunk.first_line, chunk.last_line) for chunk in chunks]


def test_a_short_docstring_is_one_chunk_headed_by_its_name() -> None:
    (chunk,) = chunks_of_entry(entry("Does\nthis.\n\nAnd that."))
    assert (chunk.text, chunk.name) == ("m.f: Does this.\n\nAnd that.", "m.f")
    assert spans([chunk]) == [(10, 13)]


def test_a_summary_alone_is_a_chunk() -> None:
    (chunk,) = chunks_of_entry(entry("Does\nthis."))
    assert chunk.text == "m.f: Does this."
    assert spans([chunk]) == [(10, 11)]


def test_every_chunk_of_a_long_docstring_has_the_heading_and_its_own_lines() -> None:
    doc = "Summary.\n\n" + "\n".join(f"Line number {number} of the text." for number in range(60))
    chunks = list(chunks_of_entry(entry(doc)))
    assert len(chunks) > 4
    assert all(chunk.text.startswith("m.f: Summary.\n\nLine number") for chunk in chunks)
    assert all(len(chunk.text) <= CHUNK_CHARS for chunk in chunks)
    lines = doc.split("\n")
    for chunk in chunks[1:]:
        body = chunk.text.removeprefix("m.f: Summary.\n\n").split("\n")
        assert lines[chunk.first_line - 10 : chunk.last_line - 10 + 1] == body
    assert spans(chunks)[0][0] == 10
    assert spans(chunks)[-1][1] == 10 + 61


def test_a_long_first_paragraph_is_not_repeated() -> None:
    doc = "word " * (SUMMARY_CHARS // 2)
    chunks = list(chunks_of_entry(entry(doc.strip())))
    assert all(chunk.text.startswith("m.f\n\nword") for chunk in chunks)
    assert sum(chunk.text.count("word") for chunk in chunks) == doc.count("word")


def test_escaped_line_ends_do_not_lead_out_of_the_literal() -> None:
    escaped = Entry("m.f", "One.\n\nTwo.", 5, 5, 5)
    assert spans(list(chunks_of_entry(escaped))) == [(5, 5)]


def test_an_entry_without_a_name_has_no_heading_but_its_summary() -> None:
    (chunk,) = chunks_of_entry(entry("Does this.\n\nMore.", name=""))
    assert chunk.text == "Does this.\n\nMore."
    assert not chunk.name


def test_chunks_of_the_library_are_thousands_and_their_lines_hold_their_words() -> None:
    root = Path(sysconfig.get_paths()["stdlib"])
    files: dict[str, list[str]] = {}
    count = astray = 0
    for item in read_library():
        lines = files.setdefault(item.file, (root / item.file).read_text("utf-8").split("\n"))
        for chunk in chunks_of_entry(item.entry):
            count += 1
            source = " ".join(lines[chunk.first_line - 1 : chunk.last_line])
            astray += chunk.text.split()[-1] not in source
    assert count >= 3000
    assert astray < count / 200, "only words with escapes may be written otherwise"
