from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reflow.rag.answers.chat import tokens_of, tokens_of_messages
from reflow.rag.answers.prompts import Passage, PromptTooLong, Turn, compose, history_of
from reflow.rag.answers.templates import ANSWER, BUILT_IN, Template


def passage(number: int, text: str, **more: object) -> Passage:
    fields: dict[str, object] = {"name": f"Note {number}", "first_line": 1, "last_line": 3} | more
    return Passage(number=number, chunk=f"c{number}", source="s", key="k", version=1, text=text, **fields)  # type: ignore[arg-type]


def template(budget: int) -> Template:
    return Template(name=ANSWER, instructions="", prompt="{history}\n\n{sources}\n\n{question}", token_budget=budget)


def test_passages_are_numbered_and_say_where_they_are_from() -> None:
    prompt = compose(
        template(500),
        "Why?",
        [passage(1, "Because.", headings=["Guide", "Reasons"]), passage(2, "So.", page=7, first_line=9, last_line=9)],
        [Turn(question="What?", answer="That.")],
    )
    (message,) = prompt.messages
    assert message.content == (
        "Before this:\n\nQuestion: What?\nAnswer: That.\n\n\n"
        "[1] Note 1 (lines 1-3) > Guide > Reasons\nBecause.\n\n"
        "[2] Note 2 (page 7, line 9)\nSo.\n\nWhy?"
    )
    assert (prompt.used, prompt.tokens) == (2, tokens_of_messages(prompt.messages))


def test_what_does_not_fit_is_left_out_and_numbered_last() -> None:
    prompt = compose(template(200), "Why?", [passage(1, "a" * 300), passage(2, "b" * 4000), passage(3, "c" * 100)])
    assert [(one.number, (one.text or "")[0]) for one in prompt.passages] == [(1, "a"), (2, "c"), (3, "b")]
    assert prompt.used == 2
    assert "b" * 10 not in prompt.messages[0].content


def test_the_first_passage_is_rather_cut_than_left_out() -> None:
    prompt = compose(template(200), "Why?", [passage(1, "a" * 4000), passage(2, "b" * 4000)])
    assert prompt.used == 1
    assert prompt.messages[0].content.count("a") > 400
    assert (prompt.passages[0].text or "").endswith("a […]")


def test_history_gives_way_to_sources_oldest_first() -> None:
    turns = [Turn(question=f"question {n}", answer="x" * 200) for n in range(9)]
    prompt = compose(template(600), "Why?", [passage(1, "a" * 1000)], turns)
    content = prompt.messages[0].content
    assert "question 8" in content
    assert "question 0" not in content
    assert "a" * 1000 in content


def test_a_question_as_long_as_the_budget_is_refused_with_what_to_do() -> None:
    with pytest.raises(PromptTooLong, match="ask a shorter question, or give the template a larger budget"):
        compose(template(100), "why " * 200, [passage(1, "a")])


@given(
    st.integers(120, 3000),
    st.lists(st.text(min_size=1, max_size=2000), max_size=8),
    st.lists(st.tuples(st.text(max_size=300), st.text(max_size=900)), max_size=4),
)
def test_a_prompt_keeps_its_budget_and_loses_no_passage(
    budget: int, texts: list[str], turns: list[tuple[str, str]]
) -> None:
    passages = [passage(number, text) for number, text in enumerate(texts, 1)]
    prompt = compose(template(budget), "Why?", passages, [Turn(question=q, answer=a) for q, a in turns])
    assert prompt.tokens <= budget
    assert [one.number for one in prompt.passages] == list(range(1, len(texts) + 1))
    assert {one.chunk for one in prompt.passages} == {one.chunk for one in passages}
    assert prompt.used >= min(1, len(texts))


def test_the_built_in_template_has_room_for_eight_chunks() -> None:
    prompt = compose(BUILT_IN[ANSWER], "Why?", [passage(number, "word " * 200) for number in range(1, 9)])
    assert prompt.used == 8


def test_letters_of_other_scripts_count_as_one_token_each() -> None:
    assert (tokens_of(""), tokens_of("abcd"), tokens_of("abcde"), tokens_of("検索する")) == (0, 1, 2, 4)


def test_no_turn_that_fits_leaves_no_history() -> None:
    assert history_of([Turn(question="x" * 99, answer="")], 10) == ""
