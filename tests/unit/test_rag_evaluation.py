"""The golden set of a corpus and the measures of its searches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

import reflow as rf
from reflow import values
from reflow.context import Identity
from reflow.errors import ApplicationError, ProviderBusy, ProviderError
from reflow.limits import Limits
from reflow.rag.corpus import Corpus
from reflow.rag.costs.spending import Budget, Spending
from reflow.rag.measures.golden import GoldenRow
from reflow.rag.measures.metrics import Expected
from reflow.rag.search.asking import SearchSettings
from reflow.rag.search.queries import Mode, Options
from reflow.rag.search.rerank import FunctionReranker
from reflow.rag.search.transform import Transformed
from reflow.testing import HashingEmbedder, Simulation, simulate
from tests.support import arun

ANN = Identity(issuer="https://id.example", subject="ann")
EVE = Identity(issuer="https://id.example", subject="eve")

TEXTS = {
    "ships": "A ship floats on water and has a keel.",
    "lamps": "A lighthouse has a lamp that warns sailors.",
    "ropes": "A rope ties something to a berth.",
    "gulls": "Gulls are birds and live near the sea.",
}
QUESTIONS = [
    GoldenRow(question="Which lamp warns sailors?", expected=[Expected(key="lamps")]),
    GoldenRow(question="What ties something?", expected=[Expected(key="ropes", text="a ROPE ties")]),
    GoldenRow(question="What floats on water?", expected=[Expected(key="ships"), Expected(key="nowhere")]),
]


def with_corpus(**options: Any) -> Any:
    """Runs a test over a corpus with four sources (of Ann's, where it has owners)."""

    def decorate(test: Any) -> Any:
        def run() -> None:
            async def main() -> None:
                corpus = Corpus("docs", embedder=HashingEmbedder(), public=True, **options)
                async with simulate(rf.App(components=[corpus])) as sim:
                    backend = sim.as_(ANN) if corpus.owner is not None else sim
                    for key, text in TEXTS.items():
                        await backend.mutation(corpus.sources.put, key, text)
                    await sim.quiet()
                    await test(corpus, sim)

            arun(main())

        run.__name__ = test.__name__
        return run

    return decorate


def page(count: int = 50) -> rf.PaginationOptions:
    return rf.PaginationOptions(num_items=count)


async def ranks(corpus: Corpus, backend: rf.Backend, options: Options | None = None) -> dict[str, Any]:
    found = await backend.query(corpus.evaluation.ranks, page(), options)
    return {row.question: row for row in found.page}


@with_corpus()
async def test_measures_are_of_the_whole_golden_set(corpus: Corpus, sim: Simulation) -> None:
    assert await sim.mutation(corpus.evaluation.golden.put, QUESTIONS) == 3
    report = await sim.query(corpus.evaluation.metrics)
    assert (report.questions, report.pending, report.failed) == (0, 3, 0)
    await sim.quiet()
    modes: tuple[Mode, ...] = ("dense", "text", "hybrid")
    for mode in modes:
        report = await sim.query(corpus.evaluation.metrics, Options(mode=mode), cutoffs=[1, 4])
        assert (report.questions, report.pending, report.mrr) == (3, 0, 1)
        first, all_ = report.at
        assert (first.k, first.recall, first.hit, all_.k) == (1, pytest.approx(5 / 6), 1, 4)


@with_corpus()
async def test_measures_are_live(corpus: Corpus, sim: Simulation) -> None:
    await sim.mutation(corpus.evaluation.golden.put, QUESTIONS[:1])
    await sim.quiet()
    watch = sim.watch(corpus.evaluation.metrics, Options(mode="dense"), [1])
    assert (await anext(watch)).at[0].recall == 1
    await sim.mutation(corpus.sources.put, "better", "Which lamp warns sailors?")
    await sim.quiet()
    assert (await anext(watch)).at[0].recall == 0
    assert (await sim.query(corpus.evaluation.metrics)).mrr == 0.5
    await sim.mutation(corpus.sources.remove_key, "better")
    await sim.quiet()
    assert (await anext(watch)).at[0].recall == 1
    await watch.aclose()  # pyright: ignore[reportAttributeAccessIssue] - it is a generator


@with_corpus()
async def test_each_question_tells_what_it_found(corpus: Corpus, sim: Simulation) -> None:
    await sim.mutation(corpus.evaluation.golden.put, QUESTIONS)
    await sim.quiet()
    found = await ranks(corpus, sim)
    row = found["What floats on water?"]
    assert (row.measures.ranks, row.measures.rank, row.error) == ([1, None], 1, None)
    assert row.top[0].source_key == "ships"
    assert len(row.top) == 3
    assert row.expected == QUESTIONS[2].expected
    first = await sim.query(corpus.evaluation.ranks, page(2))
    assert (len(first.page), first.is_done) == (2, False)


@with_corpus()
async def test_the_set_is_exported_as_it_is_taken_in(corpus: Corpus, sim: Simulation) -> None:
    golden = corpus.evaluation.golden
    await sim.mutation(
        golden.put, [*QUESTIONS, GoldenRow(question="  a bird? ", expected=QUESTIONS[0].expected, note="!")]
    )
    exported = await sim.query(golden.export)
    assert [row.question for row in exported] == sorted(["a bird?", *(row.question for row in QUESTIONS)])
    assert await sim.mutation(golden.clear) == 4
    assert await sim.query(golden.export) == []
    await sim.mutation(golden.put, exported)
    assert await sim.query(golden.export) == exported


@with_corpus()
async def test_a_question_that_is_put_again_gets_its_new_expectations(corpus: Corpus, sim: Simulation) -> None:
    golden = corpus.evaluation.golden
    await sim.mutation(golden.put, [GoldenRow(question="What floats?", expected=[Expected(key="x")], note="why")])
    assert await sim.mutation(golden.put, [GoldenRow(question="What floats?", expected=[Expected(key="y")])]) == 1
    (row,) = (await sim.query(golden.list, page())).page
    assert (row.expected, row.note) == ([Expected(key="y")], None)
    await sim.mutation(golden.delete, row._id)
    await sim.mutation(golden.delete, row._id)
    await sim.mutation(golden.delete, "nothing")
    assert (await sim.query(golden.list, page())).page == []


@with_corpus()
async def test_the_wire_has_camel_case(corpus: Corpus, sim: Simulation) -> None:
    async def call(kind: str, path: str, args: dict[str, Any]) -> Any:
        function, raw = sim.engine.functions[path], values.encode(args)
        if kind == "mutation":
            found = (await sim.engine.mutation(function, raw, None)).result
        else:
            found = await sim.engine.query(function, raw, None)
        assert found.failure is None, found.failure
        return values.decode(found.value or b"null")

    golden = {"questions": [{"question": "lamp?", "expected": [{"key": "lamps"}]}]}
    assert await call("mutation", "docs/evaluation:put", golden) == 1
    await sim.quiet()
    wanted = {"paginationOpts": {"numItems": 5, "cursor": None}, "options": {"minLength": 3}}
    (row,) = (await call("query", "docs/evaluation:ranks", wanted))["page"]
    assert row["measures"]["reciprocalRank"] == 1
    assert row["top"][0]["sourceKey"] == "lamps"
    assert row["expected"] == [{"key": "lamps"}]


@with_corpus()
async def test_measures_can_be_kept_to_compare_with(corpus: Corpus, sim: Simulation) -> None:
    evaluation = corpus.evaluation
    await sim.mutation(evaluation.golden.put, QUESTIONS)
    report = await sim.action(evaluation.measure, Options(mode="dense"), name="before")
    assert (report.questions, report.mrr, report.pending) == (3, 1, 0)
    await sim.action(evaluation.measure, Options(mode="text"))
    await sim.action(evaluation.measure, Options(mode="text"), [2], "after")
    after, before = (await sim.query(evaluation.measured, page())).page
    assert (after.name, after.options.mode, [cut.k for cut in after.at]) == ("after", "text", [2])
    assert (before.name, before.questions, before.mrr, before.sources) == ("before", 3, 1, 4)
    assert "hashing" in before.model
    await sim.mutation(evaluation.forget, before._id)
    await sim.mutation(evaluation.forget, before._id)
    assert [one.name for one in (await sim.query(evaluation.measured, page())).page] == ["after"]


async def shortest_first(query: str, texts: Sequence[str]) -> list[float]:
    return [1 / len(text) for text in texts]


@with_corpus(search=SearchSettings(reranker=FunctionReranker(shortest_first, id="short-first")))
async def test_a_reranker_is_measured_once(corpus: Corpus, sim: Simulation) -> None:
    evaluation = corpus.evaluation
    await sim.mutation(evaluation.golden.put, QUESTIONS[:1])
    await sim.quiet()
    with pytest.raises(ApplicationError, match="evaluation:measure"):
        await sim.query(evaluation.metrics, Options(rerank=True))
    report = await sim.action(evaluation.measure, Options(mode="dense", rerank=True))
    shortest = sorted(TEXTS, key=lambda key: len(TEXTS[key]))
    assert report.mrr == 1 / (shortest.index("lamps") + 1)
    totals = {(one.work, one.model): one for one in await sim.query(corpus.ledger.totals)}
    assert totals["rerank", "short-first"].entries == 1
    assert totals["search", "testing/hashing"].entries == 2


async def _upside_down(ctx: rf.ActionCtx, text: str) -> Transformed:
    return Transformed(text="What floats on water?", model="tiny", tokens_in=3)


@with_corpus(search=SearchSettings(transforms={"upside": _upside_down}))
async def test_transformations_are_measured_when_they_are_prepared(corpus: Corpus, sim: Simulation) -> None:
    evaluation = corpus.evaluation
    await sim.mutation(evaluation.golden.put, QUESTIONS[:1])
    await sim.quiet()
    options = Options(mode="dense", transform="upside")
    assert (await sim.query(evaluation.metrics, options)).pending == 1
    await sim.mutation(evaluation.golden.prepare, "upside")
    await sim.quiet()
    assert (await ranks(corpus, sim, options))[QUESTIONS[0].question].top[0].source_key == "ships"
    assert (await ranks(corpus, sim))[QUESTIONS[0].question].top[0].source_key == "lamps"
    with pytest.raises(ApplicationError, match="no transformation"):
        await sim.mutation(evaluation.golden.prepare, "sideways")


@with_corpus(limits=Limits(golden_live=2, golden_questions=3))
async def test_rule_10_large_sets_are_measured_in_pages(corpus: Corpus, sim: Simulation) -> None:
    evaluation = corpus.evaluation
    await sim.mutation(evaluation.golden.put, QUESTIONS)
    await sim.quiet()
    with pytest.raises(ApplicationError, match=r"limits\.golden_live = 2"):
        await sim.query(evaluation.metrics)
    assert len((await sim.query(evaluation.ranks, page())).page) == 2
    with pytest.raises(ApplicationError, match=r"limits\.golden_questions"):
        await sim.mutation(evaluation.golden.put, [GoldenRow(question="one more", expected=QUESTIONS[0].expected)])
    assert len(await sim.query(evaluation.golden.export)) == 3


@with_corpus()
async def test_rule_9_questions_that_can_not_be(corpus: Corpus, sim: Simulation) -> None:
    golden, good = corpus.evaluation.golden, QUESTIONS[0]
    cases = [
        (GoldenRow(question=" ", expected=good.expected), "Question 2: An empty search"),
        (GoldenRow(question="x" * 1001, expected=good.expected), "more than 1000 characters"),
        (GoldenRow(question="what?", expected=[]), "1 to 50 expectations, it has 0"),
        (GoldenRow(question="what?", expected=good.expected * 51), "it has 51"),
        (GoldenRow(question="what?", expected=[Expected(text=" ")]), "without key and text"),
    ]
    for wrong, says in cases:
        with pytest.raises(ApplicationError, match=says):
            await sim.mutation(golden.put, [good, wrong])
    assert await sim.query(golden.export) == []
    with pytest.raises(ApplicationError, match="golden set is empty"):
        await sim.action(corpus.evaluation.measure)
    for options in (Options(weight=2), Options(transform="none")):
        with pytest.raises(ApplicationError):
            await sim.query(corpus.evaluation.metrics, options)


def test_questions_that_can_not_be_embedded_say_why() -> None:
    async def main() -> None:
        embedder = HashingEmbedder()
        corpus = Corpus("docs", embedder=embedder, public=True)
        async with simulate(rf.App(components=[corpus])) as sim:
            embedder.failures.append(ProviderError("The key is wrong", reason="key"))
            await sim.mutation(corpus.evaluation.golden.put, QUESTIONS[:1])
            await sim.quiet()
            report = await sim.query(corpus.evaluation.metrics)
            assert (report.questions, report.pending, report.failed) == (0, 0, 1)
            assert "key is wrong" in (await ranks(corpus, sim))[QUESTIONS[0].question].error
            await sim.mutation(corpus.evaluation.golden.prepare)
            await sim.quiet()
            assert (await sim.query(corpus.evaluation.metrics)).questions == 1

    arun(main())


def test_questions_are_embedded_when_the_model_is_back() -> None:
    async def main() -> None:
        embedder = HashingEmbedder(failures=[ConnectionError("down"), ProviderBusy("busy", 30)])
        corpus = Corpus("docs", embedder=embedder, public=True, limits=Limits(golden_attempts=3))
        async with simulate(rf.App(components=[corpus])) as sim:
            await sim.mutation(corpus.evaluation.golden.put, QUESTIONS[:1])
            await sim.quiet()
            assert (await sim.query(corpus.evaluation.metrics)).pending == 1
            await sim.advance(2.5)
            assert (await sim.query(corpus.evaluation.metrics)).pending == 1, "the model asked for half a minute"
            await sim.advance(30)
            assert (await sim.query(corpus.evaluation.metrics)).questions == 1
            embedder.failures.extend([ConnectionError("down")] * 30)
            await sim.mutation(corpus.evaluation.golden.put, QUESTIONS)
            await sim.advance(10)
            report = await sim.query(corpus.evaluation.metrics)
            assert (report.questions, report.pending, report.failed) == (1, 0, 2), "none waits for ever"
            assert (await ranks(corpus, sim))[QUESTIONS[1].question].error == "ConnectionError: down"

    arun(main())


@with_corpus(spending=Spending(budgets=[Budget(tokens=0, work="search")]))
async def test_a_budget_stops_the_embedding_of_questions(corpus: Corpus, sim: Simulation) -> None:
    await sim.mutation(corpus.evaluation.golden.put, QUESTIONS[:1])
    await sim.quiet()
    assert "budget" in (await ranks(corpus, sim))[QUESTIONS[0].question].error
    with pytest.raises(ApplicationError, match="budget"):
        await sim.action(corpus.evaluation.measure)
    await sim.mutation(corpus.ledger.set_budget, per="total", work="search")
    await sim.mutation(corpus.evaluation.golden.prepare)
    await sim.quiet()
    assert (await sim.query(corpus.evaluation.metrics)).questions == 1


@with_corpus(owner=True)
async def test_rule_8_each_owner_has_a_golden_set_of_their_own(corpus: Corpus, sim: Simulation) -> None:
    evaluation, golden = corpus.evaluation, corpus.evaluation.golden
    ann, eve = sim.as_(ANN), sim.as_(EVE)
    await ann.mutation(golden.put, QUESTIONS[:2])
    await eve.mutation(golden.put, QUESTIONS[:1])
    await sim.quiet()
    report = await ann.query(evaluation.metrics)
    assert (report.questions, report.mrr) == (2, 1)
    report = await eve.query(evaluation.metrics)
    assert (report.questions, report.mrr) == (1, 0), "what she finds is hers, and she has nothing"
    await ann.action(evaluation.measure, name="ann's")
    assert (await eve.query(evaluation.measured, page())).page == []
    (row,) = (await ann.query(golden.list, page())).page[:1]
    await eve.mutation(golden.delete, row._id)
    assert await eve.mutation(golden.clear) == 1
    assert len(await ann.query(golden.export)) == 2
    assert await sim.query(golden.export) == []
    assert sum(one.entries for one in await eve.query(corpus.ledger.totals)) == 1
