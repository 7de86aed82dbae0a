"""A citation is found wherever the stream is cut, and nothing of the text is lost."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st

from reflow.rag.answers.citations import Citations, Span

texts = st.lists(
    st.sampled_from(
        ["[", "]", "【", "】", "1", "2", "12", ",", "-", "^", " ", "`", "```", "\n", "word", "é", "[1]", "[2, 3]"]
    )
    | st.text(max_size=3),
    max_size=30,
).map("".join)


def spans_of(pieces: list[str], count: int) -> tuple[list[Span], list[int]]:
    """The spans of a text that comes in these pieces; neighbours without a mark are one."""
    citations = Citations(count)
    found = [span for piece in pieces for span in citations.feed(piece)] + citations.end()
    joined: list[Span] = []
    for span in found:
        if span.passages is None and joined and joined[-1].passages is None:
            joined[-1] = Span(text=joined[-1].text + span.text)
        else:
            joined.append(span)
    return joined, citations.cited


@given(texts, st.lists(st.integers(0, 60), max_size=20), st.integers(0, 12))
@example("[1" + " " * 40 + "]", [30], 3)
@example("`" * 70 + "[1]", [33, 34], 3)
def test_marks_do_not_depend_on_where_the_text_is_cut(text: str, cuts: list[int], count: int) -> None:
    places = sorted({0, *(cut for cut in cuts if cut < len(text)), len(text)})
    pieces = [text[start:end] for start, end in pairwise(places)]
    assert spans_of(pieces, count) == spans_of([text], count)
    assert spans_of(list(text), count) == spans_of([text], count)


@given(texts, st.integers(0, 12))
def test_no_character_is_lost_and_only_known_passages_are_cited(text: str, count: int) -> None:
    spans, cited = spans_of([text], count)
    assert "".join(span.text for span in spans) == text
    assert all(span.text for span in spans)
    assert cited == list(dict.fromkeys(number for span in spans for number in span.passages or ()))
    assert all(1 <= number <= count for number in cited)
