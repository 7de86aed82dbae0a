from __future__ import annotations

import pytest

from reflow.rag.answers.citations import Citations


def marks(text: str, count: int = 5) -> list[tuple[str, list[int]]]:
    citations = Citations(count)
    spans = [*citations.feed(text), *citations.end()]
    return [(span.text, span.passages) for span in spans if span.passages]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It copies [1].", [("[1]", [1])]),
        ("Both [1][2], or [3, 4].", [("[1]", [1]), ("[2]", [2]), ("[3, 4]", [3, 4])]),
        ("A range [2-4] and [1–2].", [("[2-4]", [2, 3, 4]), ("[1–2]", [1, 2])]),
        ("Others write 【2】 or [^3].", [("【2】", [2]), ("[^3]", [3])]),
        ("No such source [6], [0] or [1, 9].", []),
        ("Backwards [4-2], empty [], years [1999].", []),
        ("In code `a[1]` and\n```\nb[2]\n```\nbut not here [3].", [("[3]", [3])]),
        ("A lone ` tick ends with its paragraph.\n\nSo [1] counts.", [("[1]", [1])]),
        ("```\nan open fence\n\nlasts [1]", []),
        ("Never closed [1", []),
    ],
)
def test_a_mark_cites_what_was_offered(text: str, expected: list[tuple[str, list[int]]]) -> None:
    assert marks(text) == expected


def test_a_mark_comes_with_the_text_that_completes_it() -> None:
    citations = Citations(3)
    assert [span.text for span in citations.feed("So it is [")] == ["So it is "]
    assert citations.feed("1") == []
    (mark,) = citations.feed("]")
    assert (mark.text, mark.passages) == ("[1]", [1])
    assert citations.cited == [1]


def test_what_can_be_no_mark_is_not_held_back() -> None:
    citations = Citations(3)
    assert "".join(span.text for span in citations.feed("see [the guide")) == "see [the guide"
    assert "".join(span.text for span in citations.feed("[" + "1" * 40)) == "[" + "1" * 40
