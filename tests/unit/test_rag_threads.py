"""Threads of questions, templates in their users' words, and whose they are."""

from __future__ import annotations

from typing import Any

import pytest

import reflow as rf
from reflow.errors import ApplicationError, ProviderError
from reflow.rag.answers.chat import Usage
from reflow.rag.answers.followups import condensed, joined
from reflow.rag.answers.prompts import Turn
from reflow.rag.answers.templates import BUILT_IN
from tests.support import arun
from tests.support.answering import OLD, TREES, Asking, Script, asking

PAGE = rf.PaginationOptions(num_items=10)


async def answered(app: Asking, script: Script, question: str, said: str, thread: str, rewritten: str = "") -> str:
    """An answer by the scripted model, which first makes the question one of its own where there was one before."""
    id = await app.ask(question, thread=thread)
    if rewritten:
        script.say(rewritten)
        script.end(Usage(tokens_in=5, tokens_out=3))
    script.say(said)
    script.end(Usage(tokens_in=50, tokens_out=7))
    await app.ended(id)
    return id


def test_a_follow_up_is_searched_as_the_model_understands_it() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            thread = await app.backend.mutation(app.corpus.threads.start)
            await answered(app, script, "How is a directory tree copied?", "By copytree [1].", thread)
            id = await answered(app, script, "And links?", "Included [1].", thread, "Are links of a tree copied?")
            view = await app.get(id)
            assert (view.searched, view.number, view.thread) == ("Are links of a tree copied?", 2, thread)
            assert view.condense_ms is not None
            first, condensing, second = script.asked
            assert "Before this" not in first[-1].content
            assert "Question: How is a directory tree copied?\nAnswer: By copytree [1]." in condensing[-1].content
            assert condensing[-1].content.endswith("Question: And links?")
            assert "By copytree [1]." in second[-1].content
            assert second[-1].content.endswith("Question: And links?")
            assert ("rewrite", "scripted", 5, 3) in await app.entries(id)

    arun(main())


def test_without_a_model_a_follow_up_is_searched_with_the_question_before() -> None:
    async def main() -> None:
        async with asking() as app:
            thread = await app.backend.mutation(app.corpus.threads.start)
            for question, searched in [
                ("How is a directory tree copied?", None),
                ("Does it include links?", "How is a directory tree copied? Does it include links?"),
                ("Which old files are removed at night?", None),
            ]:
                view = await app.ended(await app.ask(question, thread=thread))
                assert (view.state, view.searched) == ("done", searched)

    arun(main())


@pytest.mark.parametrize(
    ("question", "refers"),
    [
        ("Does it include links?", True), ("And for files?", True), ("Why?", True), ("Links?", True),
        ("What about the old ones?", True), ("Which files are removed at night?", False), ("How do links work", False),
    ],
)  # fmt: skip
def test_what_refers_to_something_before(question: str, refers: bool) -> None:
    turns = [Turn(question="First?", answer="Yes.")]
    assert joined(question, turns) == (f"First? {question}" if refers else question)
    assert joined(question, []) == question


def test_a_model_that_makes_no_question_of_it_is_not_followed() -> None:
    assert condensed(' "Are links copied?"\n', "And?", 100) == "Are links copied?"
    assert condensed("  \n", "And links?", 100) == "And links?"
    assert condensed("word " * 100, "And links?", 100) == "And links?"


def test_a_follow_up_waits_when_the_model_is_out_of_reach() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            thread = await app.backend.mutation(app.corpus.threads.start)
            await answered(app, script, "How is a directory tree copied?", "By copytree [1].", thread)
            id = await app.ask("And links?", thread=thread)
            script.fail(ProviderError("it does not answer", "unreachable", retryable=True))
            view = await app.when(id, lambda view: view.retries > 0)
            assert (view.state, view.error) == ("waiting", "it does not answer")
            script.say("Are links copied?")
            script.end()
            script.say("Yes.")
            script.end()
            assert (await app.ended(id)).searched == "Are links copied?"

    arun(main())


def test_what_a_run_took_that_failed_is_in_the_ledger() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            thread = await app.backend.mutation(app.corpus.threads.start)
            await answered(app, script, "How is a directory tree copied?", "By copytree [1].", thread)
            app.corpus.embedder.failures.append(ProviderError("no vectors", "key"))  # type: ignore[attr-defined]
            id = await answered(app, script, "And links?", "unheard", thread, "Are links of a tree copied?")
            view = await app.get(id)
            assert (view.state, view.error, view.tokens_in) == ("failed", "no vectors", 5)
            assert await app.entries(id) == [("rewrite", "scripted", 5, 3)]

    arun(main())


def test_a_thread_takes_its_first_question_as_its_title() -> None:
    async def main() -> None:
        async with asking() as app:
            threads = app.corpus.threads
            first = await app.backend.mutation(threads.start)
            second = await app.backend.mutation(threads.start, title=" My  own ")
            for thread in (second, first):
                await app.ended(await app.ask("How is a tree copied?", thread=thread))
            page = await app.backend.query(threads.list, pagination_opts=PAGE)
            assert [(row.title, row.answers) for row in page.page] == [("How is a tree copied?", 1), ("My own", 1)]
            await app.backend.mutation(threads.rename, first, "Trees")
            assert (await app.backend.query(threads.get, first)).title == "Trees"
            with pytest.raises(ApplicationError, match="at most 200 characters"):
                await app.backend.mutation(threads.rename, first, "x" * 201)

    arun(main())


def test_a_deleted_thread_takes_all_its_answers_along() -> None:
    async def main() -> None:
        async with asking() as app:
            thread = await app.backend.mutation(app.corpus.threads.start)
            for n in range(11):
                await app.ask(f"How is tree {n} copied?", thread=thread)
            other = await app.ask("How is a tree copied?")
            await app.backend.settled()
            page = await app.backend.query(app.corpus.threads.answers, thread, pagination_opts=PAGE)
            assert [row.number for row in page.page] == list(range(1, 11))
            await app.backend.mutation(app.corpus.threads.delete, thread)
            await app.backend.settled()
            rows = await app.rows()
            assert (rows["Answer"], rows["AnswerRecord"], "Thread" in rows) == (1, 1, False)
            assert (await app.get(other)).state == "done"
            with pytest.raises(ApplicationError, match="is no thread"):
                await app.ask(thread=thread)

    arun(main())


# Templates


def test_templates_can_be_changed_added_and_made_what_they_were() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            templates, mutation = app.corpus.templates, app.backend.mutation
            await mutation(templates.save, name="answer", instructions="", prompt="{sources} {question} Rhyme!")
            await mutation(
                templates.save, name="short", instructions="Two words.", prompt="{question} {sources}", token_budget=500
            )
            rows = {row.name: row for row in await app.backend.query(templates.list)}
            assert {name: (row.built_in, row.changed) for name, row in rows.items()} == {
                "answer": (True, True), "condense": (True, False), "short": (False, False),
            }  # fmt: skip
            assert rows["answer"].token_budget == BUILT_IN["answer"].token_budget
            assert [(field.name, field.required) for field in rows["short"].fields] == [
                ("question", True), ("sources", True), ("history", False),
            ]  # fmt: skip
            id = await app.ask(template="short")
            script.say("So.")
            script.end()
            await app.ended(id)
            assert script.asked[0][0].content == "Two words."
            await mutation(templates.reset, "answer")
            await mutation(templates.reset, "short")
            assert [row.name for row in await app.backend.query(templates.list)] == ["answer", "condense"]
            with pytest.raises(ApplicationError, match="no template 'short'"):
                await mutation(templates.reset, "short")

    arun(main())


def test_a_template_with_unknown_fields_is_refused_with_the_known_ones() -> None:
    async def main() -> None:
        async with asking() as app:
            templates = app.corpus.templates
            with pytest.raises(ApplicationError) as caught:
                await app.backend.mutation(templates.save, name="answer", instructions="", prompt="{sources} {query}")
            assert caught.value.data == {
                "message": "Unknown: {query}. A template can use {question}, {sources}, {history}.",
                "unknown": ["query"],
                "known": ["question", "sources", "history"],
            }
            assert await app.backend.query(templates.check, "answer", "", "{question") == [
                "The prompt can't be read: a brace has no partner; one that is no field is written twice, {{ or }}."
            ]
            assert await app.backend.query(templates.check, "answer", "", "{question} {sources}") == []

    arun(main())


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"name": " "}, "1 to 60 characters"),
        ({"prompt": "{question} {sources}" + "x" * 20_000}, "at most 20000 characters"),
        ({"token_budget": 10}, "200 to 100000, not 10"),
    ],
)
def test_a_template_has_bounds(changed: dict[str, Any], reason: str) -> None:
    async def main() -> None:
        async with asking() as app:
            given: dict[str, Any] = {"name": "mine", "instructions": "", "prompt": "{question} {sources}"} | changed
            with pytest.raises(ApplicationError, match=reason):
                await app.backend.mutation(app.corpus.templates.save, **given)

    arun(main())


def test_a_preview_shows_what_would_be_sent_and_asks_nobody() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            shown = await app.backend.action(
                app.corpus.answers.preview, "How is a tree copied?", prompt="{question} Sources: {sources}"
            )
            assert shown.messages[-1].content.startswith("How is a tree copied? Sources: [1] trees (lines 1-3)\nFiles")
            assert (shown.used, script.asked, await app.rows()) == (2, [], {})
            with pytest.raises(ApplicationError, match=r"Unknown: \{nope\}"):
                await app.backend.action(app.corpus.answers.preview, "Why?", prompt="{question} {sources} {nope}")
            with pytest.raises(ApplicationError, match="larger budget"):
                await app.backend.action(app.corpus.answers.preview, "Why " * 300, token_budget=200)

    arun(main())


# Whose


def test_rule_8_answers_are_made_of_the_askers_sources_and_seen_by_nobody_else() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script, owner=True) as app:
            ann, eve = (
                Asking(app.backend.as_(rf.Identity(issuer="https://id.example", subject=name)), app.corpus)
                for name in ("ann", "eve")
            )
            await ann.backend.mutation(app.corpus.sources.put, key="trees", text=TREES)
            await eve.backend.mutation(app.corpus.sources.put, key="old", text=OLD)
            await app.backend.settled()
            await ann.backend.mutation(
                app.corpus.templates.save, name="answer", instructions="Ann's.", prompt="{sources} {question}"
            )
            thread = await ann.backend.mutation(app.corpus.threads.start, title="Ann's")
            ids: dict[str, str] = {}
            for name, asker, own in (("ann", ann, thread), ("eve", eve, None)):
                ids[name] = await asker.ask("Which files are there?", thread=own)
                script.say(f"For {name} [1].")
                script.end(Usage(tokens_in=9, tokens_out=4))
                view = await asker.ended(ids[name])
                assert [passage.key for passage in view.passages] == (["trees"] if name == "ann" else ["old"])
            assert [messages[0].content == "Ann's." for messages in script.asked] == [True, False]
            assert await ann.text(ids["ann"]) == "For ann [1]."
            assert ("answer", "scripted", 9, 4) in await ann.entries(ids["ann"])
            assert await eve.entries(ids["ann"]) == []
            for other, id in ((eve, ids["ann"]), (ann, ids["eve"]), (app, ids["ann"])):
                for function in ("get", "blocks", "text", "inspect"):
                    with pytest.raises(ApplicationError, match="is no answer"):
                        await other.backend.query(f"docs/answers:{function}", answer=id)
                for function in ("stop", "retry", "delete"):
                    with pytest.raises(ApplicationError, match="is no answer"):
                        await other.backend.mutation(f"docs/answers:{function}", answer=id)
            with pytest.raises(ApplicationError, match="is no thread"):
                await eve.ask(thread=thread)
            page = await eve.backend.query(app.corpus.answers.history, pagination_opts=PAGE)
            assert [row._id for row in page.page] == [ids["eve"]]
            assert (await eve.backend.query(app.corpus.threads.list, pagination_opts=PAGE)).page == []
            assert not (await eve.backend.query(app.corpus.templates.list))[0].changed
            shown = await eve.backend.action(app.corpus.answers.preview, "Which files are there?")
            assert {passage.key for passage in shown.passages} == {"old"}
            await ann.backend.mutation(app.corpus.threads.delete, thread)
            await app.backend.settled()
            assert await app.rows() == {"Answer": 1, "AnswerBlock": 1, "AnswerRecord": 1}

    arun(main())
