"""Answers: asked, written as they come, stopped, repeated, and what remains of them."""

from __future__ import annotations

import asyncio

import pytest

import reflow as rf
from reflow.errors import ApplicationError, ProviderBusy, ProviderError
from reflow.rag.answers.chat import Usage
from reflow.rag.answers.extractive import Extractive
from reflow.rag.costs.spending import Budget, Price, Spending
from reflow.rag.search.queries import Options
from tests.support import arun
from tests.support.answering import TREE_QUESTION, TREES, Script, asking

NO_ID = "j571w1qs5ypkqxbt6gsdmtv1hd7m4s9h"


def test_an_answer_streams_into_blocks_with_its_citations() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.say("By copytree ")
            await app.says(id, "By copytree ")
            view = await app.get(id)
            assert (view.state, view.kind, view.model, view.cited) == ("writing", "chat", "scripted", [])
            assert [passage.key for passage in view.passages] == ["trees", "old"]
            script.say("[", "1", "]", ".")
            await app.says(id, "[1].")
            page = await app.backend.query(app.corpus.answers.blocks, id)
            marks = [span for block in page.blocks for span in block.spans if span.passages]
            assert [(mark.text, mark.passages) for mark in marks] == [("[1]", [1])]
            script.end(Usage(tokens_in=90, tokens_out=6))
            view = await app.ended(id)
            assert (view.state, view.cited, view.error, view.attempts) == ("done", [1], None, 1)
            assert await app.text(id) == "By copytree [1]."
            assert view.characters == len("By copytree [1].")
            assert view.first_token_ms is not None
            assert view.total_ms is not None
            assert 0 <= view.first_token_ms <= view.total_ms
            assert script.open == 0

    arun(main())


def test_pages_of_blocks_fill_up_and_stay() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            for n in range(10):
                script.say(f"w{n} ")
                await app.says(id, f"w{n} ")
            script.end()
            await app.ended(id)
            pages = [await app.backend.query(app.corpus.answers.blocks, id, page) for page in range(4)]
            assert [page.full for page in pages] == [True, True, False, False]
            assert [block.number for page in pages for block in page.blocks] == list(range(10))
            said = "".join(span.text for page in pages for block in page.blocks for span in block.spans)
            assert said == await app.text(id) == "".join(f"w{n} " for n in range(10))

    arun(main())


def test_a_full_page_is_not_sent_again() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            for n in range(4):
                script.say(f"w{n} ")
                await app.says(id, f"w{n} ")
            seen: list[int] = []

            async def watch() -> None:
                async for page in app.backend.watch(app.corpus.answers.blocks, id, 0):
                    seen.append(len(page.blocks))

            watcher = asyncio.create_task(watch())
            while not seen:
                await asyncio.sleep(0)
            for n in range(4, 8):
                script.say(f"w{n} ")
                await app.says(id, f"w{n} ")
            script.end()
            await app.ended(id)
            watcher.cancel()
            assert seen == [4]

    arun(main())


def test_what_was_sent_and_found_is_recorded() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            assert await app.backend.query(app.corpus.answers.inspect, id) is None
            script.say("So.")
            script.end()
            await app.ended(id)
            record = await app.backend.query(app.corpus.answers.inspect, id)
            assert record is not None
            assert record.messages == script.asked[0]
            assert TREE_QUESTION in record.messages[-1].content
            assert [(one.number, one.key, one.first_line, one.last_line) for one in record.passages] == [
                (1, "trees", 1, 3), (2, "old", 1, 3),
            ]  # fmt: skip
            assert "copied by copytree" in (record.passages[0].text or "")
            assert (record.used, record.budget, record.searched) == (2, 4000, TREE_QUESTION)
            assert 0 < record.tokens < 400
            shown = (await app.get(id)).passages
            assert [passage.text for passage in shown] == [None, None]

    arun(main())


def test_what_an_answer_took_is_in_the_ledger() -> None:
    async def main() -> None:
        script = Script()
        prices = {"scripted": Price(per_million_input=10, per_million_output=100)}
        async with asking(script, spending=Spending(prices=prices)) as app:
            id = await app.ask()
            script.say("So.")
            script.end(Usage(tokens_in=1000, tokens_out=50))
            view = await app.ended(id)
            entries = await app.entries(id)
            assert ("answer", "scripted", 1000, 50) in entries
            assert view.cost == pytest.approx(0.015)
            assert view.tokens_out == 50
            assert view.tokens_in == 1000 + sum(entry[2] for entry in entries if entry[0] == "search")

    arun(main())


def test_neighbours_that_were_asked_for_are_in_the_passages() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script, splitter=lambda text: text.split("\n\n")) as app:
            id = await app.ask(options=Options(limit=1, before=1))
            script.say("So [1].")
            script.end()
            view = await app.ended(id)
            (passage,) = view.passages
            assert (passage.first_line, passage.last_line, passage.current is not None) == (1, 3, True)
            record = await app.backend.query(app.corpus.answers.inspect, id)
            assert record is not None
            assert record.passages[0].text == TREES

    arun(main())


# Without a model


def test_without_a_model_sentences_answer_with_their_lines() -> None:
    async def main() -> None:
        async with asking() as app:
            id = await app.ask()
            view = await app.ended(id)
            assert (view.state, view.kind, view.model, view.cited) == ("done", "extractive", None, [1])
            assert await app.text(id) == "A directory tree is copied by copytree, links included. [1]"
            page = await app.backend.query(app.corpus.answers.blocks, id)
            (mark,) = [span for block in page.blocks for span in block.spans if span.passages]
            assert (mark.first_line, mark.last_line) == (3, 3)
            record = await app.backend.query(app.corpus.answers.inspect, id)
            assert record is not None
            assert record.messages == []

    arun(main())


def test_several_sentences_come_best_first_as_blocks_of_their_own() -> None:
    async def main() -> None:
        async with asking(extractive=Extractive(floor=-1.0, sentences=2)) as app:
            text = "Paris is a large city. Paris is a large old city."
            await app.backend.mutation(app.corpus.sources.put, key="p", text=text)
            await app.backend.settled()
            id = await app.ask("Is Paris a large city?")
            view = await app.ended(id)
            assert view.state == "done"
            assert await app.text(id) == "Paris is a large city. [1]\n\nParis is a large old city. [1]"

    arun(main())


def test_below_the_floor_nothing_is_found_and_said_so() -> None:
    async def main() -> None:
        async with asking() as app:
            id = await app.ask("Which zebra won the parliament?")
            view = await app.ended(id)
            assert (view.state, view.kind, view.cited) == ("done", "nothing", [])
            assert await app.text(id) == "Nothing in the sources answers this."

    arun(main())


def test_a_model_is_not_asked_about_nothing() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask(options=Options(limit=5, filter='{"category": "none"}'))
            view = await app.ended(id)
            assert (view.kind, view.passages, script.asked) == ("nothing", [], [])

    arun(main())


def test_sentences_can_be_asked_for_where_there_is_a_model() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            view = await app.ended(await app.ask(kind="extractive"))
            assert (view.kind, script.asked) == ("extractive", [])

    arun(main())


# Bad input


REFUSED: list[tuple[dict[str, object], str]] = [
    ({"question": "  "}, "empty"),
    ({"question": "x" * 9000}, "search_input_length"),
    ({"question": "Why?", "thread": NO_ID}, "is no thread"),
    ({"question": "Why?", "template": "nope"}, "There is no template 'nope'; there is answer, condense"),
    ({"question": "Why?", "kind": "chat"}, "no chat model"),
    ({"question": "Why?", "options": Options(limit=21)}, "at most 20 passages, not 21"),
    ({"question": "Why?", "options": Options(limit=0)}, "not 0"),
    ({"question": "Why?", "options": Options(sources=[NO_ID])}, "is no source"),
    ({"question": "Why?", "options": Options(filter="{")}, "no JSON"),
]


def test_what_cant_be_asked_is_refused_at_once() -> None:
    async def main() -> None:
        async with asking() as app:
            for arguments, reason in REFUSED:
                with pytest.raises(ApplicationError, match=reason):
                    await app.backend.mutation("docs/answers:ask", **arguments)
            assert await app.rows() == {}

    arun(main())


def test_unknown_answers_are_told() -> None:
    async def main() -> None:
        async with asking() as app:
            for function in ("get", "blocks", "text", "inspect"):
                for id in ("", "nonsense", NO_ID):
                    with pytest.raises(ApplicationError, match="is no answer of 'docs'"):
                        await app.backend.query(f"docs/answers:{function}", answer=id)

    arun(main())


# Stopping


def test_a_stop_is_seen_at_once_and_closes_the_stream() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.say("By copytree [1], ")
            await app.says(id, "[1], ")
            assert await app.backend.mutation(app.corpus.answers.stop, id)
            view = await app.get(id)
            assert (view.state, view.cited, view.error) == ("stopped", [1], None)
            while script.open:
                await asyncio.sleep(0.001)
            script.say("too late")
            script.end()
            await app.backend.settled()
            assert await app.text(id) == "By copytree [1], "
            assert (await app.get(id)).state == "stopped"
            assert not await app.backend.mutation(app.corpus.answers.stop, id)
            # What the model has said is paid for, though it sends no count of it.
            (spent,) = [entry for entry in await app.entries(id) if entry[0] == "answer"]
            assert spent[1] == "scripted"
            assert spent[2] > 50
            assert spent[3] == 5

    arun(main())


def test_a_stop_before_the_first_word() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            assert await app.backend.mutation(app.corpus.answers.stop, id)
            await app.backend.settled()
            view = await app.get(id)
            assert (view.state, view.characters, script.open) == ("stopped", 0, 0)

    arun(main())


def test_an_answer_can_be_written_anew() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.say("The first [1].")
            await app.says(id, "first")
            # In the middle: what the former run still brings is not mixed in.
            await app.backend.mutation(app.corpus.answers.retry, id)
            while len(script.asked) < 2 or script.open > 1:
                await asyncio.sleep(0.001)
            script.say("The second [2].")
            script.end()
            view = await app.ended(id)
            assert (view.state, view.attempts, view.cited) == ("done", 2, [2])
            assert await app.text(id) == "The second [2]."

    arun(main())


def test_a_retry_uses_the_template_as_it_is_now() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.say("So.")
            script.end()
            await app.ended(id)
            await app.backend.mutation(
                app.corpus.templates.save, name="answer", instructions="Rhyme.", prompt="{sources} {question}"
            )
            await app.backend.mutation(app.corpus.answers.retry, id)
            script.say("So so.")
            script.end()
            await app.ended(id)
            assert [messages[0].content == "Rhyme." for messages in script.asked] == [False, True]

    arun(main())


def test_a_deleted_answer_leaves_nothing_behind() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.say("Some words ")
            await app.says(id, "Some")
            await app.backend.mutation(app.corpus.answers.delete, id)
            while script.open:
                await asyncio.sleep(0.001)
            await app.backend.settled()
            assert await app.rows() == {}

    arun(main())


# When a provider fails


@pytest.mark.parametrize(
    "error",
    [
        ProviderError("it does not answer", "unreachable", retryable=True),
        ProviderBusy("it asks for patience", 0.3),
        ProviderError("no words", "garbage", retryable=True),
    ],
)
def test_what_may_pass_is_waited_for_visibly(error: ProviderError) -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.fail(error)
            view = await app.when(id, lambda view: view.retries > 0)
            assert (view.state, view.error) == ("waiting", str(error))
            assert view.next_try is not None
            script.say("So.")
            script.end()
            view = await app.ended(id)
            assert (view.state, view.error, view.retries, view.next_try) == ("done", None, 1, None)
            assert await app.text(id) == "So."

    arun(main())


def test_patience_ends_with_the_reason_and_what_to_do() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.fail(ProviderBusy("models.example answers: too many requests", 3600))
            view = await app.ended(id)
            assert view.state == "failed"
            assert view.error is not None
            assert view.error.startswith("models.example answers: too many requests. Waited 0 s; the next try would")
            assert view.error.endswith("in 3600 s: try again later.")

    arun(main())


def test_retries_end_with_the_patience() -> None:
    async def main() -> None:
        script = Script()
        limits = rf.Limits(answer_pause_seconds=0.01, answer_patience_seconds=0.2)
        async with asking(script, limits=limits) as app:
            id = await app.ask()
            for _ in range(20):
                script.fail(ProviderError("it does not answer", "unreachable", retryable=True))
            view = await app.ended(id)
            assert (view.state, view.next_try) == ("failed", None)
            assert 2 <= view.retries <= 7
            assert len(script.asked) == view.retries + 1

    arun(main())


def test_what_will_not_pass_fails_at_once() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.fail(ProviderError("the key is not accepted", "key", status=401))
            view = await app.ended(id)
            assert (view.state, view.error, view.retries) == ("failed", "the key is not accepted", 0)

    arun(main())


def test_half_a_stream_keeps_what_was_said_and_fails() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.say("By copytree [1] and ", "[2")
            await app.says(id, "and ")
            script.fail(ProviderError("the answer broke off in the middle", "broken", retryable=True))
            view = await app.ended(id)
            assert view.state == "failed"
            assert view.error == "the answer broke off in the middle. What came before is kept: try again."
            assert (await app.text(id), view.cited) == ("By copytree [1] and [2", [1])
            assert [entry[0] for entry in await app.entries(id) if entry[1] == "scripted"] == ["answer"]

    arun(main())


def test_an_error_of_a_models_own_code_is_told_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            first, second = await app.ask(), ""
            script.fail(KeyError("choices"))
            assert (await app.ended(first)).error == "KeyError: 'choices'"
            second = await app.ask()
            script.say("Half ")
            await app.says(second, "Half")
            script.fail(ValueError("odd"))
            view = await app.ended(second)
            assert view.error == "ValueError: odd. What came before is kept: try again."
            await app.backend.settled()

    arun(main())
    assert "KeyError" in caplog.text


def test_a_search_that_fails_fails_the_answer() -> None:
    async def main() -> None:
        async with asking() as app:
            app.corpus.embedder.failures.append(ProviderError("no vectors", "key"))  # type: ignore[attr-defined]
            view = await app.ended(await app.ask())
            assert (view.state, view.error) == ("failed", "no vectors")

    arun(main())


def test_an_endless_answer_is_cut() -> None:
    async def main() -> None:
        script = Script()
        limits = rf.Limits(answer_write_seconds=0.001, answer_chars=1000)
        async with asking(script, limits=limits) as app:
            id = await app.ask()
            for _ in range(500):
                script.say("more and more ")
            view = await app.ended(id)
            assert (view.state, view.characters) == ("done", 1000)
            assert view.note == "Cut after 1000 characters (limits.answer_chars)."
            while script.open:
                await asyncio.sleep(0.001)

    arun(main())


def test_a_model_that_stops_at_its_limit_leaves_a_note() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.say("So")
            script.end(Usage(tokens_out=1, cut="length"))
            view = await app.ended(id)
            assert view.note == "The model stopped at its limit of tokens: the answer may lack its end."

    arun(main())


def test_half_of_a_character_does_no_harm() -> None:
    async def main() -> None:
        script = Script()
        async with asking(script) as app:
            id = await app.ask()
            script.say("odd \ud83d and \U0001f332 \x00 fine")
            script.end()
            assert (await app.ended(id)).state == "done"
            assert await app.text(id) == "odd ? and \U0001f332 \x00 fine"

    arun(main())


def test_a_budget_that_is_used_up_is_the_reason() -> None:
    async def main() -> None:
        script = Script()
        spending = Spending(budgets=[Budget(tokens=500, work="answer")])
        async with asking(script, spending=spending) as app:
            view = await app.ended(await app.ask())
            assert view.state == "failed"
            assert (view.error or "").startswith("Not begun: the budget for answer ")
            assert script.asked == []
            await app.backend.mutation(app.corpus.ledger.set_budget, per="total", tokens=100_000, work="answer")
            script.say("So.")
            script.end()
            assert (await app.ended(await app.ask())).state == "done"

    arun(main())


# Citations later on


def test_a_citation_says_where_its_text_is_now() -> None:
    async def main() -> None:
        async with asking() as app:
            id = await app.ask()
            view = await app.ended(id)
            place = view.passages[0].current
            assert place is not None
            assert (place.version, place.first_line) == (1, 1)
            text = "A directory tree is moved by move."
            await app.backend.mutation(app.corpus.sources.put, key="trees", text=text)
            await app.backend.settled()
            passage = (await app.get(id)).passages[0]
            assert (passage.version, passage.current, passage.gone) == (1, None, None)
            await app.backend.mutation(app.corpus.sources.remove, source=passage.source)
            passage = (await app.get(id)).passages[0]
            assert (passage.key, passage.gone) == ("trees", True)
            assert await app.text(id) != ""

    arun(main())


def test_answers_are_listed_the_last_asked_first() -> None:
    async def main() -> None:
        async with asking() as app:
            ids = [await app.ask(f"How is tree {n} copied?") for n in range(3)]
            await app.backend.settled()
            await app.backend.mutation(app.corpus.answers.retry, ids[0])
            await app.backend.settled()
            options = rf.PaginationOptions(num_items=2)
            page = await app.backend.query(app.corpus.answers.history, pagination_opts=options)
            assert [row._id for row in page.page] == [ids[0], ids[2]]
            assert not page.is_done

    arun(main())
