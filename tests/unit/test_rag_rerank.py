"""Reranking and rewriting: what other models say changes the order and what is embedded, and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import reflow as rf
from reflow.engine.environment import assign
from reflow.errors import ApplicationError, ProviderError, ReflowError
from reflow.rag.answers.chat import FunctionChat, Message
from reflow.rag.answers.openai_chat import OpenAIChat
from reflow.rag.corpus import Corpus
from reflow.rag.provider import Garbage
from reflow.rag.search.asking import SearchSettings
from reflow.rag.search.queries import Options
from reflow.rag.search.rerank import CohereReranker, FunctionReranker, RemoteReranker, VoyageReranker, read_scores
from reflow.rag.search.transform import Transformed, hypothetical, rewrite
from tests.support import arun
from tests.support.model_provider import model_provider
from tests.support.searched import names
from tests.unit.test_rag_searches import ANIMALS, FOOD, results, searched, start, watching

RATED = {text: float(number) for number, text in enumerate([*ANIMALS, *FOOD])}
"""A reranker's opinion: the later the better."""


class Opinion:
    """A reranker whose opinion a test can change."""

    def __init__(self) -> None:
        self.rated = dict(RATED)
        self.asked: list[Sequence[str]] = []
        self.failures: list[Exception] = []

    async def __call__(self, query: str, texts: Sequence[str]) -> list[float]:
        self.asked.append(texts)
        if self.failures:
            raise self.failures.pop()
        return [self.rated.get(text, 0.5) for text in texts]


OPINION = Opinion()
RERANKED = SearchSettings(reranker=FunctionReranker(OPINION, id="testing/opinion"))


@pytest.fixture(autouse=True)
def own_opinion() -> None:
    OPINION.__init__()


@searched(search=RERANKED)
async def test_the_reranker_decides_the_order(sim: Any, corpus: Corpus) -> None:
    id = await sim.mutation(corpus.searches.start, "cat", Options(rerank=True, limit=3))
    assert await sim.query(corpus.searches.results, id) is None
    await sim.quiet()
    found = await sim.query(corpus.searches.results, id)
    assert names(found.rows) == [FOOD[1], FOOD[0], ANIMALS[2]]
    assert [row.rerank for row in found.rows] == [4.0, 3.0, 2.0]
    assert [row.bar for row in found.rows] == [1.0, 0.75, 0.5]
    assert not found.stale
    words = await sim.query(corpus.searches.results, id, "text")
    assert (set(names(words.rows)), words.stale) == ({ANIMALS[0], FOOD[1]}, False)
    assert len(OPINION.asked[0]) == 5, "more is judged than is shown"
    totals = {total.work: total.entries for total in await sim.query("docs/ledger:totals")}
    assert totals == {"search": 1, "rerank": 1}
    once = await sim.action(corpus.searches.once, "cat", Options(rerank=True, limit=3))
    assert names(once.rows) == names(found.rows)
    assert [one.work for one in once.spent] == ["search", "rerank"]


@searched(search=RERANKED)
async def test_reranked_results_say_when_they_are_of_other_chunks(sim: Any, corpus: Corpus) -> None:
    id = await start(sim, corpus, "cat", rerank=True)
    async with watching(sim, corpus.searches.results, id) as seen:
        await sim.action("tests:add_embedded", key="late", texts=["a cat that came late"])
        await sim.quiet()
        assert seen[-1].stale
        assert names(seen[-1].rows) == [*reversed([*ANIMALS, *FOOD]), "a cat that came late"]
        assert (seen[-1].rows[-1].rerank, seen[-1].rows[-1].bar) == (None, 0.0)
        OPINION.rated["a cat that came late"] = 9.0
        await sim.mutation(corpus.searches.rerun, id)
        await sim.quiet()
        assert not seen[-1].stale
        assert names(seen[-1].rows)[0] == "a cat that came late"
        await sim.mutation("tests:drop", key="late")
        await sim.quiet()
        assert seen[-1].stale
        assert names(seen[-1].rows) == [*reversed([*ANIMALS, *FOOD])]


@searched(search=RERANKED)
async def test_another_text_is_not_shown_with_the_former_ones_score(sim: Any, corpus: Corpus) -> None:
    id = await start(sim, corpus, "cat", rerank=True)
    best = (await sim.query(corpus.searches.results, id)).rows[0]
    await sim.mutation("tests:change", id=best.id, fields={"hash": "another"})
    found = await sim.query(corpus.searches.results, id)
    assert found.stale
    assert (found.rows[-1].id, found.rows[-1].rerank) == (best.id, None)


@searched(search=RERANKED)
async def test_importance_weighs_the_rerankers_scores(sim: Any, corpus: Corpus) -> None:
    id = await start(sim, corpus, "cat", rerank=True)
    source = (await sim.query(corpus.searches.results, id)).rows[-1].source
    await sim.mutation("tests:change", id=source, fields={"importance": 3.0})
    found = await sim.query(corpus.searches.results, id)
    assert names(found.rows)[0] == ANIMALS[2]
    assert (found.rows[0].score, found.rows[0].rerank) == (6.0, 2.0)
    assert not found.stale


@searched(search=RERANKED)
async def test_a_reranker_that_fails_leaves_the_results_as_they_are(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    OPINION.failures = [ProviderError("no such model", "missing")]
    id = await start(sim, corpus, "cat", rerank=True)
    found = await sim.query(corpus.searches.results, id)
    assert (found.state, found.error) == ("ready", "not reranked: no such model")
    plain = await sim.query(corpus.searches.results, await start(sim, corpus, "cat"))
    assert names(found.rows) == names(plain.rows)
    calls = len(embedder.calls)
    assert await start(sim, corpus, "cat", rerank=True) == id, "asked for again, it is tried again"
    again = await sim.query(corpus.searches.results, id)
    assert (again.error, names(again.rows)[0]) == (None, FOOD[1])
    assert len(embedder.calls) == calls, "the question need not be embedded again for it"
    OPINION.failures = [ProviderError("slow down", "busy", retryable=True)] * 2
    await sim.mutation(corpus.searches.rerun, id)
    await sim.advance(30)
    assert (await sim.query(corpus.searches.get, id)).state == "ready"
    assert len(embedder.calls) == calls + 1, "what failed was the order alone"


@pytest.mark.parametrize("scores", [[1.0], [1.0] * 4 + [float("nan")], [1.0] * 4 + ["x"], None])
def test_scores_that_can_not_be_are_refused(scores: Any) -> None:
    reranker = FunctionReranker(lambda query, texts: scores, id="testing/wrong")
    with pytest.raises(ProviderError, match="testing/wrong gave") as refused:
        arun(reranker.rerank("q", ["text"] * 5))
    assert refused.value.retryable


# Behind an address


def test_rerankers_behind_an_address() -> None:
    async def main() -> None:
        texts = ["bread and butter", "the cat sat on the mat", "cats"]
        with model_provider() as provider:
            for reranker in (
                CohereReranker(base_url=provider.root, api_key=provider.key),
                VoyageReranker(base_url=provider.root, api_key=provider.key),
                RemoteReranker("any", f"{provider.root}/v2/rerank", provider="Jina", api_key=provider.key),
            ):
                judged = await reranker.rerank("the cat", texts)
                assert judged.scores.index(max(judged.scores)) == 1
                assert (await reranker.rerank("the cat", texts[::-1])).scores == judged.scores[::-1]
            provider.next("429-ms", "not-json")
            assert (await reranker.rerank("the cat", texts)).retries == 2
            wrong = CohereReranker(base_url=provider.root, api_key="not-the-key-at-all")
            with pytest.raises(ProviderError) as refused:
                await wrong.rerank("the cat", texts)
            assert refused.value.reason == "key"
            assert "not-the-key-at-all" not in repr(wrong) + str(refused.value)
            unset = CohereReranker(base_url=provider.root)
            assert unset.needs == ("COHERE_API_KEY",)
            assert (await unset.configured({"COHERE_API_KEY": provider.key}).rerank("q", texts)).scores

    arun(main())


@pytest.mark.parametrize(
    "reply",
    [
        b"{}",
        b'{"results": []}',
        b'{"results": [{"index": 0, "relevance_score": 1}, {"index": 0, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": 1}, {"index": 2, "relevance_score": 1}]}',
        b'{"results": [{"index": 0, "relevance_score": 1}, {"index": 1, "relevance_score": 1e999}]}',
        b"no JSON",
    ],
)
def test_replies_that_can_not_be_are_garbage(reply: bytes) -> None:
    with pytest.raises(Garbage):
        read_scores(reply, 2)


# Rewriting


async def shout(ctx: rf.ActionCtx, text: str) -> Transformed:
    return Transformed(text=f"{text} dog in the fog", model="testing/shout", tokens_in=3, tokens_out=5, ms=1.5)


def answers(messages: Sequence[Message]) -> Any:
    async def answer() -> str:
        return f"  an answer to {messages[-1].content}: a dog in the fog "

    return answer()


SILENT = FunctionChat(lambda messages: _nothing(), id="testing/silent")
CHAT = FunctionChat(answers, id="testing/chat")


async def _nothing() -> str:
    return " \n"


TRANSFORMS = SearchSettings(
    transforms={
        "shout": shout,
        "rewrite": rewrite(CHAT),
        "hypothetical": hypothetical(lambda ctx: CHAT),
        "silent": rewrite(SILENT),
        "unset": rewrite(lambda ctx: None),
    }
)


@searched(search=TRANSFORMS)
async def test_what_is_embedded_is_rewritten_and_the_words_stay(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    id = await start(sim, corpus, "butter", transform="shout")
    assert embedder.calls[-1] == (("butter dog in the fog",), "query")
    row = await sim.query(corpus.searches.get, id)
    assert (row.input, row.asked, row.transform_ms) == ("butter", "butter dog in the fog", 1.5)
    assert (await sim.query(corpus.searches.results, id, "dense")).rows[0].text == ANIMALS[1]
    assert names((await sim.query(corpus.searches.results, id, "text")).rows) == [FOOD[0]]
    assert (await sim.query(corpus.searches.explain, id)).asked == "butter dog in the fog"
    totals = {total.work: (total.tokens_in, total.tokens_out) for total in await sim.query("docs/ledger:totals")}
    assert totals == {"rewrite": (3, 5), "search": (5, 0)}
    calls = len(embedder.calls)
    await start(sim, corpus, "butter", transform="shout", limit=3)
    assert len(embedder.calls) == calls, "an equal question is neither rewritten nor embedded again"


@searched(search=TRANSFORMS)
async def test_chat_models_rewrite_and_make_up_answers(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    await start(sim, corpus, "butter", transform="rewrite")
    assert embedder.calls[-1] == (("an answer to butter: a dog in the fog",), "query")
    found = await results(sim, corpus, "butter", transform="hypothetical", mode="dense")
    assert embedder.calls[-1] == (("an answer to butter: a dog in the fog",), "document")
    assert found.rows[0].text == ANIMALS[1]
    unset = await sim.query(corpus.searches.get, await start(sim, corpus, "butter", transform="unset"))
    assert unset.error == "there is no chat model to rewrite the question with: set one, or leave transform out"
    id = await sim.mutation(corpus.searches.start, "butter", Options(transform="silent"))
    await sim.advance(60)
    row = await sim.query(corpus.searches.get, id)
    assert (row.state, row.error) == ("failed", "testing/silent made nothing of the question")
    choices = await sim.query(corpus.searches.choices)
    assert choices.transforms == ["hypothetical", "rewrite", "shout", "silent", "unset"]


@searched(chat=lambda ctx: CHAT if ctx.env.get("CHAT_MODEL") else None)
async def test_a_corpus_with_a_chat_model_can_rewrite(sim: Any, corpus: Corpus) -> None:
    """Where the model is chosen by variables, what can be asked for is live, too."""
    async with watching(sim, corpus.searches.choices) as seen:
        assert seen[-1].transforms == []
        with pytest.raises(ApplicationError, match="no transformation 'rewrite'; there is none"):
            await sim.mutation(corpus.searches.start, "butter", Options(transform="rewrite"))
        await assign(sim.engine, {"CHAT_MODEL": "any"})
        await sim.quiet()
        assert seen[-1].transforms == ["hypothetical", "rewrite"]
    found = await results(sim, corpus, "butter", transform="hypothetical", mode="dense")
    assert found.rows[0].text == ANIMALS[1]


def test_a_question_is_rewritten_through_a_chat_endpoint() -> None:
    with model_provider() as provider:
        provider.answer = lambda messages: "dog fog"
        chat = OpenAIChat("test-chat", base_url=provider.url, api_key=provider.key)

        @searched(search=SearchSettings(transforms={"rewrite": rewrite(chat)}))
        async def body(sim: Any, corpus: Corpus) -> None:
            found = await sim.action(corpus.searches.once, "butter", Options(transform="rewrite", mode="dense"))
            assert (found.asked, found.rows[0].text) == ("dog fog", ANIMALS[1])
            assert [one.work for one in found.spent] == ["rewrite", "search"]

        body()


@searched(search=TRANSFORMS)
async def test_what_was_paid_for_before_a_failure_is_in_the_ledger(sim: Any, corpus: Corpus) -> None:
    embedder: Any = corpus.embedder
    embedder.failures.extend([ProviderError("no", "key")] * 2)
    await start(sim, corpus, "butter", transform="shout")
    with pytest.raises(ReflowError, match="no"):
        await sim.action(corpus.searches.once, "butter", Options(transform="shout"))
    totals = {total.work: total.entries for total in await sim.query("docs/ledger:totals")}
    assert totals == {"rewrite": 2}
