from __future__ import annotations

import pytest

from reflow.rag.answers.templates import ANSWER, BUILT_IN, CONDENSE, Misfit, Template, check, render


def template(prompt: str, instructions: str = "", name: str = ANSWER) -> Template:
    return Template(name=name, instructions=instructions, prompt=prompt)


def problems(prompt: str, instructions: str = "", name: str = ANSWER) -> Misfit:
    with pytest.raises(Misfit) as caught:
        check(template(prompt, instructions, name))
    return caught.value


@pytest.mark.parametrize("name", sorted(BUILT_IN))
def test_what_is_built_in_fits(name: str) -> None:
    check(BUILT_IN[name])


def test_unknown_fields_are_refused_with_the_known_ones_named() -> None:
    fault = problems("{question} {sources} {user} {context}", "You are {name}")
    assert fault.unknown == ["context", "name", "user"]
    assert fault.known == ["question", "sources", "history"]
    assert str(fault) == "Unknown: {context}, {name}, {user}. A template can use {question}, {sources}, {history}."


def test_a_template_must_say_what_was_asked_and_found() -> None:
    assert str(problems("{question}")) == "{sources} must be in it, or the model does not learn of it."
    assert problems("Hello").problems == ["{question}, {sources} must be in it, or the model does not learn of it."]
    assert problems("{question}", name=CONDENSE).problems == [
        "{history} must be in it, or the model does not learn of it."
    ]


@pytest.mark.parametrize(
    "prompt", ["{", "}", "{question", "a } b", "{question!r}", "{question:>9}", "{a.b}", "{}", "{0}"]
)
def test_braces_that_are_no_fields_are_refused(prompt: str) -> None:
    assert "written twice" in str(problems("{question} {sources} " + prompt))


def test_fields_may_stand_in_the_instructions_and_in_the_prompt() -> None:
    messages = render(template("{ sources }", "Answer {question}"), {"question": "Why?", "sources": "[1] So."})
    assert [(message.role, message.content) for message in messages] == [
        ("system", "Answer Why?"),
        ("user", "[1] So."),
    ]


def test_what_is_filled_in_is_never_a_template_again() -> None:
    hostile = "{history} {unknown} {{ }} {0.__class__} %s"
    (message,) = render(template("{{{question}}} {sources}"), {"question": "{sources}", "sources": hostile})
    assert message.content == "{{sources}} " + hostile
