from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from reflow.rag.answers.extractive import Extractive, Sentence, extract, overlap, sentences_of, words_of
from reflow.rag.answers.prompts import Passage
from reflow.rag.embedders.base import batching
from reflow.testing import HashingEmbedder
from tests.support import arun


def passage(text: str, number: int = 1, first_line: int = 1) -> Passage:
    last = first_line + text.count("\n")
    return Passage(
        number=number, chunk="c", source="s", key="k", name="n", version=1, first_line=first_line, last_line=last,
        text=text,
    )  # fmt: skip


def split(text: str, first_line: int = 1) -> list[tuple[str, int, int]]:
    return [(one.text, one.first_line, one.last_line) for one in sentences_of(passage(text, first_line=first_line))]


def answer(question: str, *texts: str, **settings: float) -> list[Sentence]:
    passages = [passage(text, number) for number, text in enumerate(texts, 1)]
    chosen = Extractive(**settings)  # type: ignore[arg-type]
    return arun(extract(batching(HashingEmbedder()), question, passages, chosen, most=64)).sentences


def test_sentences_know_their_lines() -> None:
    text = "# A heading here\n\nThe first one goes\nover two lines. A second follows!\n\n"
    text += "- an item of a list\n- and one more item\n"
    assert split(text, first_line=10) == [
        ("# A heading here", 10, 10),
        ("The first one goes over two lines.", 12, 13),
        ("A second follows!", 13, 13),
        ("- an item of a list", 15, 15),
        ("- and one more item", 16, 16),
    ]


def test_no_sentence_is_made_of_scraps_or_of_walls() -> None:
    assert split("Yes. No.\n\n----\n\n" + "word " * 300) == []


@given(st.text(alphabet="ab.!? \n-'\")", max_size=200), st.integers(1, 50))
def test_every_sentence_is_in_the_text_on_its_lines(text: str, first_line: int) -> None:
    lines = text.split("\n")
    for sentence in sentences_of(passage(text, first_line=first_line)):
        own = lines[sentence.first_line - first_line : sentence.last_line - first_line + 1]
        assert sentence.text in " ".join(" ".join(own).split())


def test_the_sentence_that_answers_comes_first_with_its_passage() -> None:
    best, *rest = answer(
        "How is a directory tree copied?",
        "Files have names. Names are short and plain.",
        "The function removes files. A directory tree is copied by copytree, links included.",
    )
    assert (best.text, best.passage) == ("A directory tree is copied by copytree, links included.", 2)
    assert all(best.score >= other.score >= 0.3 for other in rest)


def test_nothing_is_answered_below_the_floor() -> None:
    texts = "Files have names. Names are short and plain.", "The function removes old files."
    assert answer("Who won the cup in 1998?", *texts) == []
    assert answer("Who won the cup in 1998?", *texts, floor=-1.0) != []
    assert answer("anything at all") == []


def test_the_same_sentence_of_two_passages_is_said_once() -> None:
    said = answer("Are names of files short?", "The names of files are short.", "The names of files are short.")
    assert [(one.text, one.passage) for one in said] == [("The names of files are short.", 1)]


def test_words_are_compared_by_their_stems_without_common_ones() -> None:
    assert overlap(words_of("How do I copy files?"), "Copying a file is easy.") == 1.0
    assert overlap(words_of("how do I"), "whatever") == 0.0
